"""A fresh catalog in each database, and paths for tables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import Catalog


def postgres_uri() -> str:
    """The URI of a schema of its own in the server for tests."""
    url = os.environ.get("TEST_DATABASE_URL")
    if not url:
        pytest.fail(
            "TEST_DATABASE_URL is not set, and this test needs a PostgreSQL server: "
            "run `make test`, which starts one, or set it to "
            "postgres://user@host:port/database",
            pytrace=False,
        )
    parts = re.fullmatch(r"postgres://([^:@]+)@(.+):(\d+)/(\w+)", url)
    if parts is None:
        pytest.fail(
            f"TEST_DATABASE_URL={url!r} is not postgres://user@host:port/database (a "
            "password belongs in PGPASSWORD)",
            pytrace=False,
        )
    user, host, port, database = parts.groups()
    schema = f"t_{uuid4().hex[:16]}"
    return (
        f"deltasql://postgres/{database}/{schema}?host={host}&port={port}&user={user}"
    )


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def catalog_uri(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URI of an empty catalog, which is the one for plain paths."""
    uri = {
        "sqlite": lambda: f"deltasql://sqlite/{tmp_path}/catalog.db",
        "duckdb": lambda: f"deltasql://duckdb/{tmp_path}/catalog.duckdb",
        "postgres": postgres_uri,
    }[request.param]()
    deltalakedb.connect(uri, settings={"sql.schema": "create_if_missing"})
    monkeypatch.setenv("DELTALAKEDB_CATALOG", uri)
    return uri


@pytest.fixture
def catalog(catalog_uri: str) -> Catalog:
    return deltalakedb.connect(catalog_uri)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a catalog in a file, for tests independent of the database."""
    uri = f"deltasql://sqlite/{tmp_path}/catalog.db"
    monkeypatch.setenv("DELTALAKEDB_CATALOG", uri)
    return uri


@pytest.fixture
def new_path(tmp_path: Path) -> Callable[[str], str]:
    """Makes paths without a table."""
    return lambda name: str(tmp_path / "tables" / name)


@pytest.fixture
def path(new_path: Callable[[str], str]) -> str:
    """A path without a table."""
    return new_path("table")


@pytest.fixture
def orders(catalog_uri: str, new_path: Callable[[str], str]) -> str:
    """The path of a table with ids 0 to 2."""
    path = new_path("orders")
    deltalakedb.write_deltalake(path, ids(0, 1, 2))
    return path


@pytest.fixture
def customers(catalog_uri: str, new_path: Callable[[str], str]) -> str:
    """The path of another table with ids 0 to 2."""
    path = new_path("customers")
    deltalakedb.write_deltalake(path, ids(0, 1, 2))
    return path


def ids(*values: int) -> pa.Table:
    """A table with a column of ids."""
    return pa.table({"id": pa.array(values, pa.int64())})


def read(table: object) -> list[int]:
    """The ids of a table, or of rows, in order."""
    if isinstance(table, str):
        table = deltalakedb.DeltaTable(table)
    rows = table.scan() if isinstance(table, deltalakedb.DeltaTable) else table
    return sorted(pa.table(rows)["id"].to_pylist())
