"""Tables as frames, relations and streams of other libraries, and in notebooks."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import arro3.core
import duckdb
import polars as pl
import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import DeltaTable, Field, Schema, begin, write_deltalake
from deltalakedb._frames import Rows
from deltalakedb.exceptions import DeltaError

from .conftest import ids, read

ROWS = pa.table({"id": [1, 2, 3], "name": ["a", "b", None]})


@pytest.fixture
def table(embedded: str, path: str) -> DeltaTable:
    write_deltalake(path, ROWS)
    return DeltaTable(path)


def with_deletion_vector(table: DeltaTable) -> DeltaTable:
    """The table without its second row, hidden in a file that pyarrow cannot read."""
    table.alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    # Of a smaller file, more than a tenth would be hidden, and it would be rewritten.
    write_deltalake(table, ids(*range(10, 30)), mode="append", schema_mode="merge")
    table.optimize.compact()
    table.delete("id = 2 OR id > 30")
    assert table.deletion_vectors().read_all().num_rows == 1
    return table


def test_a_table_is_a_stream(table: DeltaTable) -> None:
    assert pa.table(table)["id"].to_pylist() == [1, 2, 3]
    assert pa.RecordBatchReader.from_stream(table).read_all().num_rows == 3
    assert pl.DataFrame(table)["name"].to_list() == ["a", "b", None]
    assert arro3.core.Table.from_arrow(table).num_rows == 3
    orders = table
    total = duckdb.sql("SELECT sum(a.id) FROM orders AS a JOIN orders AS b USING (id)")
    assert total.fetchall() == [(6,)]
    assert orders is table
    with_deletion_vector(table)
    assert sorted(pa.table(table)["id"].to_pylist())[:3] == [1, 3, 10]


def test_a_stream_has_the_version_of_the_object(table: DeltaTable, path: str) -> None:
    write_deltalake(path, ids(4), mode="append", schema_mode="merge")
    assert pa.table(table).num_rows == 3
    table.update_incremental()
    assert pa.table(table).num_rows == 4


def test_a_table_is_written_to_another(table: DeltaTable, path: str) -> None:
    write_deltalake(f"{path}-copy", table)
    with begin() as tx:
        tx.write(f"{path}-copy", table)
    assert read(f"{path}-copy") == [1, 1, 2, 2, 3, 3]


def test_polars(table: DeltaTable) -> None:
    frame = table.to_polars()
    assert frame.schema == {"id": pl.Int64, "name": pl.String}
    assert frame.rows() == [(1, "a"), (2, "b"), (3, None)]
    assert table.to_polars(["name"], "id < 3").rows() == [("a",), ("b",)]
    found = with_deletion_vector(table).to_polars()["id"]
    assert found.sort().to_list()[:3] == [1, 3, 10]
    with pytest.raises(DeltaError, match="nope"):
        table.to_polars(["nope"])


def test_a_relation_is_queried_more_than_once(table: DeltaTable) -> None:
    for relation in (table.to_duckdb(), table.to_duckdb(predicate="id > 0")):
        gc.collect()
        assert relation.fetchall() == [(1, "a"), (2, "b"), (3, None)]
        assert relation.filter("id > 1").aggregate("sum(id)").fetchall() == [(5,)]
        assert relation.fetchall() == [(1, "a"), (2, "b"), (3, None)]


def test_a_relation_has_the_columns_and_rows_that_are_asked_for(
    table: DeltaTable,
) -> None:
    with duckdb.connect() as connection:
        relation = table.to_duckdb(["id"], "name = 'b'", connection=connection)
        assert (relation.columns, relation.fetchall()) == (["id"], [(2,)])
    with pytest.raises(duckdb.Error, match='has no column "nope"'):
        table.to_duckdb(["nope"]).fetchall()


def test_a_relation_of_a_table_that_pyarrow_cannot_read(table: DeltaTable) -> None:
    relation = with_deletion_vector(table).to_duckdb()
    assert relation.filter("id < 10").fetchall() == [(1, "a"), (3, None)]
    table.delete("id = 1")
    with pytest.raises(duckdb.Error, match=r"call to_duckdb\(\) again"):
        relation.fetchall()
    assert table.to_duckdb().filter("id < 10").fetchall() == [(3, None)]


def test_a_relation_of_a_table_with_files_elsewhere(
    table: DeltaTable, path: str
) -> None:
    """A shallow clone, whose files datasets of pyarrow do not reach."""
    first = Path(path) / "_delta_log" / f"{0:020}.json"
    log = Path(f"{path}-clone") / "_delta_log"
    log.mkdir(parents=True)
    actions = [json.loads(line) for line in first.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            action["add"]["path"] = f"{Path(path).as_uri()}/{action['add']['path']}"
    lines = [json.dumps(action) for action in actions]
    (log / first.name).write_text("\n".join(lines) + "\n")
    relation = DeltaTable(f"{path}-clone").to_duckdb()
    assert relation.filter("id > 1").fetchall() == [(2, "b"), (3, None)]


def test_a_relation_keeps_its_version(table: DeltaTable) -> None:
    relation = table.to_duckdb()
    table.delete("id = 1")
    assert relation.aggregate("count(*)").fetchall() == [(3,)]
    rows = Rows(table, None, None)
    table.delete("id = 2")
    with pytest.raises(DeltaError, match="version 1, and its DeltaTable is at"):
        pa.table(rows)


@pytest.mark.parametrize("library", ["polars", "duckdb"])
def test_a_library_that_is_not_installed(
    embedded: str, path: str, library: str
) -> None:
    write_deltalake(path, ids(1))
    program = f"""
import sys
sys.modules["{library}"] = None
from deltalakedb import DeltaTable
DeltaTable("{path}").to_{library}()
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    said = f"ImportError: {library} is not installed: install deltalakedb[{library}]"
    assert run.stderr.splitlines()[-1] == said


class Cells(HTMLParser):
    """The texts of an HTML page, which must close what it opens."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.opened: list[str] = []
        self.feed(html)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_table_in_a_notebook(embedded: str, path: str) -> None:
    name = "<b>&amp;"
    schema = Schema([Field(name, "long", nullable=False), Field("day", "date")])
    table = DeltaTable.create(path, schema, partition_by=["day"])
    found = Cells(table._repr_html_()).texts
    assert found[0] == "default.table"
    assert found[-4:] == ["not null", "day", "date", "partition"]
    assert found[-6:-4] == [name, "long"]
    assert any("version 0" in text for text in found)


def test_a_wide_table_in_a_notebook(embedded: str, path: str) -> None:
    schema = Schema([Field(f"c{n}", "long") for n in range(60)])
    found = Cells(DeltaTable.create(path, schema)._repr_html_()).texts
    assert found[-1] == "and 10 more columns"
    assert "c49" in found
    assert "c50" not in found


def test_a_catalog_in_a_notebook(table: DeltaTable) -> None:
    with deltalakedb.connect() as catalog:
        found = Cells(catalog._repr_html_()).texts
        assert found[0] == catalog.uri
        assert {"default.table", "0", "following"} <= set(found)
    assert "is closed: connect again" in Cells(catalog._repr_html_()).texts[-1]
