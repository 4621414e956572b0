"""Reading neither creates nor upgrades a catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import deltalake
import pytest

import deltalakedb
from deltalakedb import DeltaTable, write_deltalake
from deltalakedb.exceptions import CatalogError, DeltaError, TableNotFoundError

from .conftest import ids, read

READS: dict[str, Callable[[str], object]] = {
    "open": lambda path: DeltaTable(path),
    "count": lambda path: DeltaTable(path).count(),
    "scan": lambda path: DeltaTable(path).scan().read_all(),
    "is_deltatable": lambda path: DeltaTable.is_deltatable(path),
    "history": lambda path: DeltaTable(path).history(),
    "files": lambda path: DeltaTable(path).file_uris(),
    "repair, dry": lambda path: DeltaTable(path).repair(dry_run=True),
    "vacuum, dry": lambda path: DeltaTable(path).vacuum(),
}


@pytest.mark.parametrize("use", READS.values(), ids=READS)
@pytest.mark.parametrize("database", ["sqlite", "duckdb"])
def test_a_read_makes_no_catalog(
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    database: str,
    use: Callable[[str], object],
) -> None:
    deltalake.write_deltalake(path, ids(1))
    file = tmp_path / "typo.db"
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://{database}/{file}")
    use(path)
    assert not file.exists()


def test_a_table_of_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    uri = f"deltasql://sqlite/{tmp_path}/nope.db?table=default.t"
    with pytest.raises(TableNotFoundError, match="there is no catalog"):
        DeltaTable(uri)
    assert not DeltaTable.is_deltatable(uri)
    assert not (tmp_path / "nope.db").exists()
    write_deltalake(uri, ids(1))
    assert read(uri) == [1]


def test_a_dry_vacuum_registers_no_table(embedded: str, path: str) -> None:
    deltalake.write_deltalake(path, ids(1))
    (removed,) = deltalake.DeltaTable(path).file_uris()
    deltalake.write_deltalake(path, ids(2), mode="overwrite")
    before = sorted(Path(path).rglob("*"))
    found = DeltaTable(path).vacuum(0, enforce_retention_duration=False)
    assert found == [Path(removed).name]
    assert deltalakedb.connect().tables() == []
    assert sorted(Path(path).rglob("*")) == before


def older(file: Path) -> None:
    """A catalog before its first migration."""
    deltalakedb.connect(f"deltasql://sqlite/{file}").close()
    with sqlite3.connect(file) as db:
        db.execute("UPDATE dl_catalog SET schema_version = 0")
    db.close()


def schema_version(file: Path) -> int:
    with sqlite3.connect(file) as db:
        (version,) = db.execute("SELECT schema_version FROM dl_catalog").fetchone()
    db.close()
    assert isinstance(version, int)
    return version


def test_a_read_brings_no_catalog_up_to_date(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltalake.write_deltalake(path, ids(1))
    file = tmp_path / "older.db"
    older(file)
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{file}")
    for use in (DeltaTable, DeltaTable.is_deltatable):
        with pytest.raises(DeltaError, match="schema version 0.*dl init"):
            use(path)
    with pytest.raises(CatalogError, match="schema version 0"):
        deltalakedb.connect(create=False)
    assert schema_version(file) == 0


def test_connect_without_a_uri_takes_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "meta.db"
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{file}")
    with pytest.raises(CatalogError, match="there is no catalog"):
        deltalakedb.connect(create=False)
    assert not file.exists()
    with pytest.raises(CatalogError, match="durability=nope"):
        deltalakedb.connect(settings={"durability": "nope"})
    warehouse = tmp_path / "house"
    catalog = deltalakedb.connect(settings={"warehouse": str(warehouse)})
    with catalog.begin() as tx:
        tx.write("a.b", ids(1))
    assert (warehouse / "a" / "b").is_dir()
