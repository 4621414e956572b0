"""Versions that readers hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltalakedb import Catalog, DeltaTable, write_deltalake
from deltalakedb.exceptions import DeltaError

from .conftest import ids, read


def vacuum(table: DeltaTable) -> list[str]:
    return table.vacuum(0, dry_run=False, enforce_retention_duration=False)


def test_a_version_is_held_within_a_block(orders: str) -> None:
    write_deltalake(orders, ids(9), mode="overwrite")
    then = DeltaTable(orders, version=0)
    with then.hold(holder="nightly report") as held:
        assert held.version == 0
        assert vacuum(DeltaTable(orders)) == []
        assert read(then) == [0, 1, 2]
        before = held.until
        held.renew(7200)
        assert held.until > before
    assert len(vacuum(DeltaTable(orders))) == 1
    held.release()
    with pytest.raises(DeltaError, match="version 0 by nightly report has ended"):
        held.renew()


def test_what_is_not_there_cannot_be_held(orders: str, tmp_path: Path) -> None:
    table = DeltaTable(orders)
    with pytest.raises(DeltaError, match="has no version 7"):
        table.hold(7)
    with pytest.raises(DeltaError, match="a later time"):
        table.hold(seconds=0)
    with pytest.raises(ValueError, match="seconds must be a number above 0"):
        table.hold(seconds=-1)
    with pytest.raises(TypeError, match="holder must be str"):
        table.hold(holder=3)  # type: ignore[arg-type]


def test_the_holder_is_named(orders: str, catalog: Catalog) -> None:
    with DeltaTable(orders).hold(), catalog.table("orders").hold(0, seconds=60) as held:
        assert repr(held).startswith("Hold(version=0, until='2")
