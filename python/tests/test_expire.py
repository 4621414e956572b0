"""Expiry of history."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from deltalakedb import Catalog, DeltaTable, Field, Schema, write_deltalake
from deltalakedb.exceptions import DeltaError

from .conftest import ids, read


@pytest.fixture
def table(catalog: Catalog, path: str) -> DeltaTable:
    """A table of six versions without retention of removed files."""
    keeps = {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
    schema = Schema([Field("id", "long")])
    catalog.create("t", schema, location=path, configuration=keeps)
    for n in range(5):
        write_deltalake(path, ids(n), mode="overwrite")
    return catalog.table("t")


def test_versions_that_ended(catalog: Catalog, path: str, table: DeltaTable) -> None:
    assert catalog.expire("t")[0]["versions"] == 0
    would = catalog.expire("t", keep=timedelta(), keep_versions=2, dry_run=True)[0]
    assert (would["base_version"], would["versions"]) == (4, 4)
    assert Path(path, "_delta_log", f"{0:020}.json").exists()
    ended = catalog.expire(keep=timedelta(), keep_versions=2)[0]
    assert (ended["table"], ended["base_version"]) == ("default.t", 4)
    assert not Path(path, "_delta_log", f"{3:020}.json").exists()
    with pytest.raises(DeltaError, match="the oldest version that is retained is 4"):
        catalog.table("t", version=3)
    assert read(catalog.table("t", version=4)) == [3]
    assert catalog.verify() == []


def test_what_is_kept_must_make_sense(catalog: Catalog, table: DeltaTable) -> None:
    with pytest.raises(ValueError, match="not negative"):
        catalog.expire("t", keep=timedelta(days=-1))
    with pytest.raises(ValueError, match="1 or more"):
        catalog.expire("t", keep_versions=0)
