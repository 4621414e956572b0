"""Catalogs and their tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import Catalog, DeltaTable, Field, Schema, write_deltalake
from deltalakedb.exceptions import CatalogError, DeltaError, TableNotFoundError

from .conftest import ids, postgres_uri, read

SCHEMA = Schema([Field("id", "long"), Field("day", "date")])


def test_a_new_catalog_is_empty(catalog: Catalog, catalog_uri: str) -> None:
    assert catalog.tables() == []
    assert deltalakedb.connect().tables() == []
    assert catalog.uri.startswith(catalog_uri.partition("?")[0])
    assert repr(catalog) == f"Catalog({catalog.uri!r})"


def test_a_write_to_a_path_registers_the_table(orders: str, catalog: Catalog) -> None:
    assert catalog.tables() == ["default.orders"]
    assert read(catalog.table("orders")) == [0, 1, 2]
    assert read(catalog.table("default.orders")) == [0, 1, 2]


def test_a_name_that_is_taken_gets_a_number(
    orders: str, catalog: Catalog, new_path: Callable[[str], str]
) -> None:
    write_deltalake(new_path("elsewhere/orders"), ids(7))
    first, second = catalog.tables()
    assert first == "default.orders"
    assert second.startswith("default.orders")
    assert read(catalog.table(second)) == [7]


def test_tables_by_version(orders: str, catalog: Catalog) -> None:
    write_deltalake(orders, ids(3), mode="append")
    assert catalog.table("orders").version() == 1
    assert read(catalog.table("orders", 0)) == [0, 1, 2]
    with pytest.raises(DeltaError, match="has no version 5") as info:
        catalog.table("orders", 5)
    assert not isinstance(info.value, TableNotFoundError)


def test_a_table_by_its_uri(orders: str, catalog_uri: str) -> None:
    mark = "&" if "?" in catalog_uri else "?"
    uri = f"{catalog_uri}{mark}table=default.orders"
    write_deltalake(uri, ids(3), mode="append")
    assert read(uri) == [0, 1, 2, 3]
    assert DeltaTable.is_deltatable(uri)


def test_create(catalog: Catalog, path: str) -> None:
    table = catalog.create(
        "sales.days",
        SCHEMA,
        location=Path(path),
        partition_by="day",
        configuration={"delta.appendOnly": "true"},
    )
    assert catalog.tables() == ["sales.days"]
    assert table.version() == 0
    assert table.schema() == SCHEMA
    assert table.metadata().partition_columns == ["day"]
    assert table.metadata().configuration == {"delta.appendOnly": "true"}
    assert deltalake.DeltaTable(path).version() == 0


def test_create_takes_an_arrow_schema(catalog: Catalog, path: str) -> None:
    table = catalog.create("a", pa.schema([("id", pa.int64())]), location=path)
    assert [field.name for field in table.schema().fields] == ["id"]


def test_create_twice(catalog: Catalog, path: str) -> None:
    catalog.create("a", SCHEMA, location=path)
    with pytest.raises(DeltaError, match="there is a table default.a already"):
        catalog.create("a", SCHEMA, location=path + "2")
    with pytest.raises(DeltaError, match="is in the catalog already, as default.a"):
        catalog.create("b", SCHEMA, location=path)


def test_import_of_a_table_with_history(catalog: Catalog, path: str) -> None:
    deltalake.write_deltalake(path, ids(0))
    deltalake.write_deltalake(path, ids(1), mode="append")
    table = catalog.import_table(path, "sales.old")
    assert table.version() == 1
    assert read(table) == [0, 1]
    assert read(catalog.table("sales.old", 0)) == [0]
    assert pa.table(catalog.history("sales.old"))["version"].to_pylist() == [1, 0]


def test_import_names_the_table_after_its_folder(catalog: Catalog, path: str) -> None:
    deltalake.write_deltalake(path, ids(0))
    catalog.import_table(Path(path))
    assert catalog.tables() == ["default.table"]


def test_import_of_nothing(catalog: Catalog, path: str) -> None:
    with pytest.raises(TableNotFoundError, match="is not a Delta table"):
        catalog.import_table(path)
    assert catalog.tables() == []


def test_history(orders: str, catalog: Catalog) -> None:
    DeltaTable(orders).delete("id = 0")
    history = pa.table(catalog.history("orders"))
    assert history.schema == pa.schema(
        [
            pa.field("version", pa.int64(), nullable=False),
            ("timestamp", pa.timestamp("ms", "UTC")),
            ("operation", pa.string()),
            ("parameters", pa.string()),
            ("metrics", pa.string()),
            ("user_name", pa.string()),
        ]
    )
    assert history["version"].to_pylist() == [1, 0]
    assert history["operation"].to_pylist() == ["DELETE", "WRITE"]
    assert None not in history["timestamp"].to_pylist()
    assert "predicate" in json.loads(history["parameters"][0].as_py())
    assert json.loads(history["metrics"][0].as_py())["num_deleted_rows"] == 1


def test_history_limit(orders: str, catalog: Catalog) -> None:
    DeltaTable(orders).delete("id = 0")
    assert pa.table(catalog.history("orders", 1))["version"].to_pylist() == [1]
    assert pa.table(catalog.history("orders", limit=0)).num_rows == 0


def test_mirror(orders: str, catalog: Catalog) -> None:
    catalog.publish()
    catalog.publish("orders")
    assert len(catalog.mirror_status()) == 1
    assert catalog.verify() == []
    assert catalog.verify("orders") == []
    assert deltalake.DeltaTable(orders).version() == 0


def test_sql(orders: str, customers: str, catalog: Catalog) -> None:
    rows = catalog.query(
        "SELECT o.id FROM orders o JOIN customers c ON o.id = c.id WHERE c.id > 0"
    )
    assert read(rows) == [1, 2]


def test_the_rows_of_the_last_statement(orders: str, catalog: Catalog) -> None:
    assert read(catalog.query("SELECT 1; SELECT id FROM orders WHERE id = 2")) == [2]


def test_wrong_sql(catalog: Catalog) -> None:
    with pytest.raises(DeltaError, match="SELEC"):
        catalog.query("SELEC")
    with pytest.raises(DeltaError, match="no table .*nope"):
        catalog.query("SELECT * FROM nope")


@pytest.mark.parametrize("use", ["table", "history", "publish", "verify"])
def test_an_unknown_table(catalog: Catalog, use: str) -> None:
    with pytest.raises(TableNotFoundError, match="no table default.nope"):
        getattr(catalog, use)("nope")


def test_a_catalog_that_must_be_there(tmp_path: Path) -> None:
    uri = f"deltasql://sqlite/{tmp_path}/nope.db"
    with pytest.raises(CatalogError, match="there is no catalog at"):
        deltalakedb.connect(uri, create=False)
    assert not (tmp_path / "nope.db").exists()


def test_a_catalog_on_a_server_is_made_when_that_is_asked_for() -> None:
    uri = postgres_uri()
    with pytest.raises(CatalogError, match="is not a catalog yet"):
        deltalakedb.connect(uri)
    assert deltalakedb.connect(uri, create=True).tables() == []
    assert deltalakedb.connect(uri).tables() == []


def test_no_catalog_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DELTALAKEDB_CATALOG", raising=False)
    with pytest.raises(DeltaError, match="no catalog"):
        deltalakedb.connect()
    with pytest.raises(DeltaError, match="no catalog"):
        deltalakedb.begin()


def test_a_table_on_disk_comes_in_when_it_is_written(
    catalog: Catalog, path: str
) -> None:
    rows = pa.table({"id": [1, 2]})
    deltalake.write_deltalake(path, rows)
    deltalake.write_deltalake(path, rows, mode="append")
    table = DeltaTable(path)
    assert (table.version(), table.count()) == (1, 4)
    assert catalog.tables() == []
    deltalakedb.write_deltalake(table, rows, mode="append")
    (name,) = catalog.tables()
    assert DeltaTable(path).history() == catalog.table(name).history()
    assert [entry["version"] for entry in table.history()] == [2, 1, 0]
    assert deltalake.DeltaTable(path).version() == 2
    assert catalog.verify() == []
