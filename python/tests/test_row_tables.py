"""Row tables: `connect(data=…)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import Catalog, DeltaTable, write_deltalake
from deltalakedb.exceptions import CatalogError, DeltaError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DELTALAKEDB_CATALOG", raising=False)
    return tmp_path / "data"


def rows(catalog: Catalog, sql: str, params: Any = None) -> list[dict[str, Any]]:
    return pa.table(catalog.execute(sql, params)).to_pylist()


NOTES = (
    "CREATE NAMESPACE IF NOT EXISTS app; "
    "CREATE SHARED TABLE app.notes (id BIGINT PRIMARY KEY, body TEXT)"
)


def test_rows_are_there_when_the_directory_is_opened_again(data: Path) -> None:
    with deltalakedb.connect(data=data) as catalog:
        assert catalog.execute(NOTES) is None
        catalog.execute("INSERT INTO app.notes VALUES ($1, $2), (2, 'b')", [1, "a"])
        catalog.execute("FLUSH TABLE app.notes; DELETE FROM app.notes WHERE id = 2")
        assert rows(catalog, "SELECT * FROM app.notes") == [{"id": 1, "body": "a"}]
    flushed = DeltaTable(str(data / "app" / "notes"))
    assert flushed.version() == 1
    with deltalakedb.connect(data=str(data)) as catalog:
        catalog.execute(
            "UPDATE app.notes SET body = :body WHERE id = :id", {"id": 1, "body": "x"}
        )
        assert rows(catalog, "SELECT * FROM app.notes") == [{"id": 1, "body": "x"}]
        with pytest.raises(DeltaError, match="id = 1"):
            catalog.execute("INSERT INTO app.notes VALUES (1, 'again')")


def test_keys_are_updated(data: Path) -> None:
    with deltalakedb.connect(data=data) as catalog:
        catalog.execute(f"{NOTES}; INSERT INTO app.notes VALUES (1, 'a'), (2, 'b')")
        catalog.execute("FLUSH ALL; UPDATE app.notes SET id = id + 1")
        catalog.execute("UPDATE app.notes SET id = $1 WHERE id = $2", [7, 3])
        with pytest.raises(DeltaError, match="id = 7 cannot be inserted"):
            catalog.execute("UPDATE app.notes SET id = 7 WHERE id = 2")
        with pytest.raises(DeltaError, match='"id" of app.notes cannot be null'):
            catalog.execute("UPDATE app.notes SET id = :id", {"id": None})
        catalog.execute("FLUSH ALL")
    with deltalakedb.connect(data=data) as catalog:
        found = rows(catalog, "SELECT * FROM app.notes ORDER BY id")
        assert found == [{"id": 2, "body": "a"}, {"id": 7, "body": "b"}]


def test_a_directory_has_one_catalog(data: Path, tmp_path: Path) -> None:
    with deltalakedb.connect(data=data):
        other = f"deltasql://sqlite/{tmp_path}/other.db"
        with pytest.raises(CatalogError, match="another catalog"):
            deltalakedb.connect(other, data=data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"uri": "deltasql://sqlite//no/such/folder/meta.db"},
        {"uri": "deltasql://sqlite/meta.db?table=t"},
        {"create": False},
        {"settings": {"nosuch": "1"}},
        {"settings": {"sql.schema": "error"}},
    ],
)
def test_no_directory_is_created_for_a_catalog_that_cannot_be_opened(
    data: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(CatalogError):
        deltalakedb.connect(data=data / "app", **wrong)
    assert not data.exists()
    data.mkdir()
    with pytest.raises(CatalogError):
        deltalakedb.connect(data=data, **wrong)
    assert data.exists()


CHANGES: dict[str, Callable[[str], Any]] = {
    "append": lambda at: write_deltalake(
        at, pa.table({"id": [2], "body": ["b"], "_seq": [1]}), mode="append"
    ),
    "delete": lambda at: DeltaTable(at).delete("id = 1"),
    "update": lambda at: DeltaTable(at).update({"body": "'x'"}),
    "compact": lambda at: DeltaTable(at).optimize.compact(),
    "restore": lambda at: DeltaTable(at).restore(0),
    "vacuum": lambda at: DeltaTable(at).vacuum(dry_run=False),
    "properties": lambda at: DeltaTable(at).alter.set_table_properties(
        {"delta.appendOnly": "true"}
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_only_the_engine_changes_its_tables(
    data: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], Any]
) -> None:
    with deltalakedb.connect(data=data) as catalog:
        catalog.execute(f"{NOTES}; INSERT INTO app.notes VALUES (1, 'a'); FLUSH ALL")
        monkeypatch.setenv(
            "DELTALAKEDB_CATALOG", f"deltasql://sqlite/{data}/catalog.db"
        )
        with pytest.raises(DeltaError, match="owned by the row engine"):
            change(str(data / "app" / "notes"))
        assert DeltaTable(str(data / "app" / "notes")).version() == 1
        assert rows(catalog, "SELECT * FROM app.notes") == [{"id": 1, "body": "a"}]


VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    -1e300,
    math.inf,
    "it's",
    "",
    b"\x00\xff",
    date(2024, 2, 29),
    datetime(2024, 1, 2, 3, 4, 5, 6),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    Decimal("-12.340"),
    Decimal("12345678901234567890123456789012345678"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_arrive_as_they_are(data: Path, value: Any) -> None:
    with deltalakedb.connect(data=data) as catalog:
        assert rows(catalog, "SELECT $1 AS x", [value]) == [{"x": value}]
        assert rows(catalog, "SELECT :x AS x", {"x": value}) == [{"x": value}]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ([], r"\$1 has no value: none are given"),
        ({"y": 1}, r"\$1 has no value: given are :y"),
        ("text", "params must be a sequence"),
        ([object()], r"\$1 cannot be a object"),
        ([2**63], "64-bit"),
        ([Decimal("NaN")], r"\$1 cannot be a Decimal"),
    ],
)
def test_bad_parameters_are_named(data: Path, params: Any, says: str) -> None:
    refused = pytest.raises((DeltaError, TypeError, ValueError), match=says)
    with deltalakedb.connect(data=data) as catalog, refused:
        catalog.execute("SELECT $1", params)
