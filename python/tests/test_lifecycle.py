"""Tables that are renamed, dropped, undropped and detached."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pytest

from deltalakedb import Catalog, DeltaTable, Field, Schema, write_deltalake
from deltalakedb.exceptions import DeltaError, TableNotFoundError
from deltalakedb.warnings import MirrorWarning

from .conftest import ids, read


def test_exists(orders: str, catalog: Catalog) -> None:
    assert catalog.exists("orders")
    assert catalog.exists("default.orders")
    assert catalog.exists(orders)
    assert not catalog.exists("nope")


def test_rename(orders: str, catalog: Catalog) -> None:
    before = DeltaTable(orders)
    table = catalog.rename("orders", "sales.orders")
    assert catalog.tables() == ["sales.orders"]
    assert read(table) == [0, 1, 2]
    write_deltalake(before, ids(3), mode="append")
    assert read(catalog.table("sales.orders")) == [0, 1, 2, 3]
    with pytest.raises(TableNotFoundError, match="no table default.orders"):
        catalog.rename("orders", "x")
    catalog.create("other", Schema([Field("id", "long")]), location=orders + "2")
    with pytest.raises(DeltaError, match="there is a table default.other already"):
        catalog.rename("sales.orders", "other")


def test_a_dropped_table_comes_back(orders: str, catalog: Catalog) -> None:
    table = DeltaTable(orders)
    catalog.drop("orders")
    assert catalog.tables() == []
    assert not catalog.exists("orders")
    with pytest.raises(TableNotFoundError, match="default.orders was dropped at"):
        catalog.table("orders")
    with pytest.raises(TableNotFoundError, match="default.orders was dropped at"):
        catalog.drop("orders")
    with pytest.raises(TableNotFoundError, match="default.orders was dropped at"):
        table.delete("id = 0")
    assert read(catalog.undrop("orders")) == [0, 1, 2]
    table.delete("id = 0")
    assert read(catalog.table("orders")) == [1, 2]
    with pytest.raises(TableNotFoundError, match="is not dropped"):
        catalog.undrop("orders")
    with pytest.raises(TableNotFoundError, match="no table default.nope was dropped"):
        catalog.undrop("nope")


def test_a_name_that_was_taken_meanwhile(orders: str, catalog: Catalog) -> None:
    catalog.drop("orders")
    catalog.create("orders", Schema([Field("id", "long")]), location=orders + "2")
    with pytest.raises(DeltaError, match="there is a table default.orders already"):
        catalog.undrop("orders")
    assert read(catalog.undrop("orders", "first")) == [0, 1, 2]


def test_a_drop_with_its_files(orders: str, catalog: Catalog) -> None:
    Path(orders, "notes.txt").write_text("mine")
    catalog.drop("orders", delete_files=True)
    assert [file.name for file in Path(orders).iterdir()] == ["notes.txt"]
    with pytest.raises(DeltaError, match="with its files and cannot be undropped"):
        catalog.undrop("orders")


def test_a_detached_table_is_a_plain_one(orders: str, catalog: Catalog) -> None:
    write_deltalake(orders, ids(3), mode="append")
    catalog.detach("orders")
    assert catalog.tables() == []
    plain = deltalake.DeltaTable(orders)
    assert plain.version() == 2
    assert plain.history(1)[0]["operation"] == "DETACH TABLE"
    deltalake.write_deltalake(plain, ids(4), mode="append")
    assert read(DeltaTable(orders)) == [0, 1, 2, 3, 4]
    assert catalog.verify() == []
    table = catalog.import_table(orders, "again")
    assert (table.version(), read(table)) == (3, [0, 1, 2, 3, 4])


def test_a_table_that_others_wrote_to_while_it_was_dropped(
    orders: str, catalog: Catalog
) -> None:
    catalog.drop("orders")
    deltalake.write_deltalake(orders, ids(3), mode="append")
    with pytest.warns(MirrorWarning, match="dl import default.orders"):
        catalog.undrop("orders")
    assert read(catalog.import_table(orders)) == [0, 1, 2, 3]


def test_an_import_that_failed_is_given_up(catalog: Catalog, path: str) -> None:
    deltalake.write_deltalake(path, ids(0))
    for n in (1, 2):
        deltalake.write_deltalake(path, ids(n), mode="append")
    deltalake.DeltaTable(path).create_checkpoint()
    torn = Path(path, "_delta_log", "00000000000000000001.json")
    torn.write_text('{"add":')
    with pytest.raises(DeltaError, match=torn.name):
        catalog.import_table(path, "old")
    with pytest.raises(DeltaError, match="import of default.old .*not finished"):
        catalog.create("old", Schema([Field("id", "long")]), location=path + "2")
    catalog.drop("old")
    catalog.create("old", Schema([Field("id", "long")]), location=path + "2")


def test_drop_in_sql(orders: str, catalog: Catalog) -> None:
    catalog.query("ALTER TABLE orders RENAME TO old; DROP TABLE IF EXISTS nope")
    assert catalog.tables() == ["default.old"]
    catalog.query("DROP TABLE old")
    assert catalog.tables() == []
