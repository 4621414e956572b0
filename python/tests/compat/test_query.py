"""``QueryBuilder``: SQL over tables."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from .helpers import raises_exactly, sample


@pytest.fixture
def query(dl: ModuleType, table: Any) -> Callable[[str], list[dict[str, Any]]]:
    """Runs SQL with the table registered as ``t``."""
    builder = dl.QueryBuilder().register("t", table)
    return lambda sql: pa.table(builder.execute(sql)).to_pylist()


def test_register_returns_the_builder(dl, table):
    builder = dl.QueryBuilder()
    assert builder.register("t", table) is builder


def test_execute_streams_arrow(dl, table):
    reader = dl.QueryBuilder().register("t", table).execute("select * from t")
    read = pa.table(reader)
    assert read.column_names == ["id", "name"]
    assert read.num_rows == 3


def test_execute_read_all(dl, table):
    reader = dl.QueryBuilder().register("t", table).execute("select id from t")
    assert reader.read_all().num_rows == 3


def test_execute_result_for_other_packages(dl, table):
    builder = dl.QueryBuilder().register("t", table)
    frame = pl.from_arrow(pa.table(builder.execute("select * from t")))
    assert frame.height == 3
    reader = builder.execute("select * from t")
    database = duckdb.connect()
    database.register("u", pa.RecordBatchReader.from_stream(reader))
    assert database.sql("select sum(id) from u").fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select count(*) as n from t", [{"n": 3}]),
        ("select name from t where id = 1", [{"name": "b"}]),
        ("select max(id) as m, min(name) as n from t", [{"m": 2, "n": "a"}]),
        ("select id from t order by id desc limit 1", [{"id": 2}]),
        ("select a.id from t a join t b on a.id = b.id + 2", [{"id": 2}]),
        ("with x as (select 1 as one) select one from x", [{"one": 1}]),
    ],
)
def test_queries(query, sql, expected):
    assert query(sql) == expected


def test_join_of_two_tables(dl, new_path, table):
    other = new_path()
    dl.write_deltalake(other, pa.table({"key": [1], "value": ["x"]}))
    builder = dl.QueryBuilder()
    builder.register("t", table).register("u", dl.DeltaTable(other))
    reader = builder.execute("select name, value from t join u on t.id = u.key")
    assert pa.table(reader).to_pylist() == [{"name": "b", "value": "x"}]


def test_query_of_an_older_version(dl, path, table):
    dl.write_deltalake(path, sample(1), mode="overwrite")
    reader = dl.QueryBuilder().register("t", table).execute("select id from t")
    assert pa.table(reader).num_rows == 3


def test_unknown_table(dl, query):
    with raises_exactly(dl.exceptions.DeltaError, "nope.*not found"):
        query("select * from nope")


def test_query_of_unknown_column(dl, query):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        query("select nope from t")


def test_sql_that_does_not_parse(dl, query):
    with raises_exactly(dl.exceptions.DeltaError, "ParserError"):
        query("select")


def test_register_one_name_twice(dl, table):
    builder = dl.QueryBuilder().register("t", table)
    with raises_exactly(dl.exceptions.DeltaError, "already exists"):
        builder.register("t", table)


def test_register_something_else(dl):
    with pytest.raises(AttributeError):
        dl.QueryBuilder().register("t", 3)


def test_session_config(dl, table):
    builder = dl.QueryBuilder({"datafusion.execution.batch_size": "1"})
    reader = builder.register("t", table).execute("select * from t")
    assert pa.table(reader).num_rows == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"nope.x": "1"}, "nope"),
        ({"datafusion.execution.batch_size": "x"}, "batch_size"),
    ],
    ids=str,
)
def test_invalid_session_config(dl, config, message):
    with raises_exactly(dl.exceptions.DeltaError, message):
        dl.QueryBuilder(config)


def test_query_of_a_table_with_deletion_vectors_enabled(dl, path):
    dl.write_deltalake(
        path, sample(), configuration={"delta.enableDeletionVectors": "true"}
    )
    table = dl.DeltaTable(path)
    table.delete("id = 0")
    reader = dl.QueryBuilder().register("t", table).execute("select count(*) n from t")
    assert pa.table(reader).to_pylist() == [{"n": 2}]
