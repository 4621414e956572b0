"""Catalogs are closed, and then other processes can open their files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import deltalakedb
from deltalakedb import Catalog, DeltaTable, begin, write_deltalake
from deltalakedb.exceptions import CatalogError, DeltaError

from .conftest import ids, read

OPEN = """
import sys, deltalakedb
print(deltalakedb.connect(sys.argv[1]).tables())
"""


def opened_elsewhere(uri: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, uri], capture_output=True, text=True, timeout=120
    )
    return done.stdout or done.stderr


@pytest.fixture
def duckdb_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"deltasql://duckdb/{tmp_path}/catalog.duckdb"
    monkeypatch.setenv("DELTALAKEDB_CATALOG", uri)
    return uri


def test_a_closed_catalog_lets_go_of_its_file(duckdb_uri: str, path: str) -> None:
    with deltalakedb.connect() as catalog:
        write_deltalake(path, ids(1))
        table = DeltaTable(path)
        with begin() as tx:
            tx.write(path, ids(2))
        assert "in use by another process" in opened_elsewhere(duckdb_uri)
    assert tx.versions == {"default.table": 1}
    assert "['default.table']" in opened_elsewhere(duckdb_uri)
    with pytest.raises(CatalogError, match="is closed: connect again"):
        catalog.tables()
    with pytest.raises(OSError, match="was closed"):
        table.update_incremental()
    assert read(path) == [1, 2]
    deltalakedb.connect().close()


def test_closing_twice_and_closing_one_of_two(catalog: Catalog, orders: str) -> None:
    second = deltalakedb.connect()
    assert second.tables() == ["default.orders"]
    second.close()
    second.close()
    assert catalog.tables() == ["default.orders"]
    assert read(orders) == [0, 1, 2]
    assert repr(second) == repr(catalog)
    catalog.close()
    for closed in (second, catalog):
        with pytest.raises(CatalogError, match="is closed"):
            closed.query("SELECT 1")
    assert read(orders) == [0, 1, 2]


def test_an_exception_closes_it_too(duckdb_uri: str) -> None:
    with pytest.raises(ValueError, match="mine"), deltalakedb.connect():
        raise ValueError("mine")
    assert opened_elsewhere(duckdb_uri) == "[]\n"


def test_a_transaction_of_a_catalog_that_was_closed(embedded: str, path: str) -> None:
    write_deltalake(path, ids(1))
    catalog = deltalakedb.connect()
    with pytest.raises((DeltaError, OSError)), begin(catalog) as tx:
        tx.write(path, ids(2))
        catalog.close()
    assert read(path) == [1]
