"""Resolution of texts, paths and open tables, and their catalogs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import Catalog, DeltaTable, begin, write_deltalake
from deltalakedb.catalog import TableTransaction
from deltalakedb.exceptions import DeltaError, TableNotFoundError

from .conftest import ids, read


@pytest.fixture
def other(embedded: str, tmp_path: Path) -> Catalog:
    """A catalog that is not the one for plain paths."""
    return deltalakedb.connect(f"deltasql://sqlite/{tmp_path}/other.db")


USES: dict[str, Callable[[TableTransaction, DeltaTable], Any]] = {
    "write": lambda tx, table: tx.write(table, ids(9)),
    "delete": lambda tx, table: tx.delete(table),
    "update": lambda tx, table: tx.update(table, {"id": "7"}),
    "merge": lambda tx, table: tx.merge(table, ids(1), "true"),
    "stage": lambda tx, table: tx.stage_table(table, df=ids(9)),
    "scan": lambda tx, table: tx.scan(table),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("has_the_name", [True, False])
def test_a_table_of_another_catalog_is_refused(
    other: Catalog,
    path: str,
    tmp_path: Path,
    use: Callable[[TableTransaction, DeltaTable], Any],
    has_the_name: bool,
) -> None:
    write_deltalake(path, ids(1))
    if has_the_name:
        other.create("table", DeltaTable(path).schema(), location=tmp_path / "theirs")
    refused = pytest.raises(DeltaError, match="in another catalog than the transaction")
    with begin(other) as tx, refused:
        use(tx, DeltaTable(path))
    assert tx.versions == {}
    assert read(path) == [1]
    assert other.tables() == (["default.table"] if has_the_name else [])


def test_a_table_of_the_same_catalog_by_another_spelling(
    embedded: str, path: str, tmp_path: Path
) -> None:
    write_deltalake(path, ids(1))
    (tmp_path / "linked").symlink_to(tmp_path)
    with begin(f"deltasql://sqlite/{tmp_path}/linked/catalog.db") as tx:
        tx.write(DeltaTable(path), ids(2))
    assert read(path) == [1, 2]


def test_a_table_that_no_catalog_knows_is_where_it_is(
    other: Catalog, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_deltalake(path, ids(1))
    monkeypatch.delenv("DELTALAKEDB_CATALOG")
    table = DeltaTable(path)
    with (
        begin(other) as tx,
        pytest.raises(DeltaError, match="Delta table at .* already"),
    ):
        tx.write(table, ids(2))
    other.import_table(path, "sales.mine")
    with begin(other) as tx:
        tx.write(table, ids(2))
    assert tx.versions == {"sales.mine": 1}


@pytest.mark.parametrize("text", ["events", "events.delta", "a.b.c"])
def test_a_text_without_a_slash_is_a_place(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_deltalake(text, ids(1))
    write_deltalake(text, ids(2), mode="append")
    assert (tmp_path / text / "_delta_log").is_dir()
    assert DeltaTable.is_deltatable(text)
    assert read(text) == [1, 2]
    assert not (tmp_path / "warehouse").exists()


def test_the_same_text_elsewhere_is_another_place(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        write_deltalake("events", ids(value), mode="append")
    assert read(str(tmp_path / "a" / "events")) == [1]
    assert read(str(tmp_path / "b" / "events")) == [2]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TableNotFoundError, match="does not exist"):
        DeltaTable("events")


def test_a_full_name_is_a_table_of_the_catalog_where_nothing_is_there(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with begin() as tx:
        tx.write("sales.orders", ids(1))
    write_deltalake("sales.orders", ids(2), mode="append")
    assert read("sales.orders") == [1, 2]
    assert not (tmp_path / "sales.orders").exists()
    # A path never is.
    with pytest.raises(TableNotFoundError, match="does not exist"):
        DeltaTable(Path("sales.orders"))
    write_deltalake(Path("sales.orders"), ids(3))
    assert read(str(tmp_path / "sales.orders")) == [3]
    assert read("sales.orders") == [3]
    assert read(deltalakedb.connect().table("sales.orders")) == [1, 2]


def test_in_a_transaction_a_text_without_a_slash_is_a_name(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").mkdir()
    with begin() as tx:
        tx.write("events", ids(1))
        tx.write(Path("elsewhere"), ids(2))
    assert tx.versions == {"default.events": 0, "default.elsewhere": 0}
    assert list((tmp_path / "events").iterdir()) == []
    assert (tmp_path / "warehouse" / "default" / "events").is_dir()
    assert read("elsewhere") == [2]


def test_a_write_says_what_it_did(embedded: str, path: str) -> None:
    with begin() as tx:
        made = tx.write(path, ids(1, 2))
        more = tx.write(path, ids(3))
        replaced = tx.write(path, ids(1), mode="overwrite", predicate="id = 1")
    assert (made["num_added_rows"], made["num_added_files"]) == (2, 1)
    assert (more["num_added_rows"], more["num_added_files"]) == (1, 1)
    assert replaced["num_added_rows"] >= 1


def test_columns_that_are_not_there_are_refused(embedded: str, path: str) -> None:
    write_deltalake(path, pa.table({"id": [1], "price": [2.5]}))
    table = DeltaTable(path)
    said = 'no column "?pricee'
    with pytest.raises(DeltaError, match=said):
        table.update({"pricee": "1"})
    with pytest.raises(DeltaError, match=said):
        table.update({"price": "1", "pricee": "1"})
    with pytest.raises(DeltaError, match=said):
        table.update(new_values={"pricee": 1})
    merge = table.merge(ids(1), "s.id = t.id", "s", "t")
    with pytest.raises(DeltaError, match="pricee"):
        merge.when_matched_update({"pricee": "1.0"}).execute()
    merge = table.merge(ids(1), "s.id = t.id", "s", "t")
    with pytest.raises(DeltaError, match="pricee"):
        merge.when_not_matched_insert({"t.pricee": "1.0"}).execute()
    with begin() as tx, pytest.raises(DeltaError, match=said):
        tx.update(path, {"pricee": "1"})
    assert DeltaTable(path).version() == 0
