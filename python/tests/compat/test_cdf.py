"""``DeltaTable.load_cdf``: the change data feed."""

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from arro3.core import DataType

from .helpers import PAUSE, actions, moment_before_next, raises_exactly, sample

FEED = {"delta.enableChangeDataFeed": "true"}


@pytest.fixture
def feed(dl: ModuleType, path: str) -> Any:
    """Versions: 0 insert 0, 1, 2; 1 delete 0; 2 update 1; 3 append 3."""
    dl.write_deltalake(path, sample(), configuration=FEED)
    table = dl.DeltaTable(path)
    time.sleep(PAUSE)
    table.delete("id = 0")
    time.sleep(PAUSE)
    table.update({"name": "'z'"}, predicate="id = 1")
    time.sleep(PAUSE)
    dl.write_deltalake(table, pa.table({"id": [3], "name": ["d"]}), mode="append")
    return table


def changes(reader: Any) -> list[tuple[Any, ...]]:
    found = [
        (row["_commit_version"], row["_change_type"], row["id"], row["name"])
        for row in pa.table(reader).to_pylist()
    ]
    return sorted(found)


DELETED = (1, "delete", 0, "a")
UPDATED = [(2, "update_postimage", 1, "z"), (2, "update_preimage", 1, "b")]
APPENDED = (3, "insert", 3, "d")


def test_load_cdf(feed):
    assert changes(feed.load_cdf()) == [
        (0, "insert", 0, "a"),
        (0, "insert", 1, "b"),
        (0, "insert", 2, "c"),
        DELETED,
        *UPDATED,
        APPENDED,
    ]


def test_load_cdf_schema(feed):
    schema = pa.schema(feed.load_cdf().schema)
    assert schema.names == [
        "id",
        "name",
        "_change_type",
        "_commit_version",
        "_commit_timestamp",
    ]
    assert schema.field("_commit_timestamp").type == pa.timestamp("ms")


@pytest.mark.parametrize("columns", [None, ["s", "b", "_change_type"]], ids=str)
def test_load_cdf_returns_views(dl, path, columns):
    data = pa.table({"s": ["a"], "b": [b"x"], "n": [1]})
    dl.write_deltalake(path, data, configuration=FEED)
    table = dl.DeltaTable(path)
    table.update({"s": "'z'"})
    schema = table.load_cdf(columns=columns).schema
    assert DataType.is_string_view(schema.field("s").type)
    assert DataType.is_binary_view(schema.field("b").type)
    assert DataType.is_string_view(schema.field("_change_type").type)


def test_load_cdf_starting_version(feed):
    assert changes(feed.load_cdf(starting_version=1)) == [DELETED, *UPDATED, APPENDED]
    assert changes(feed.load_cdf(3)) == [APPENDED]


def test_load_cdf_ending_version(feed):
    assert changes(feed.load_cdf(1, 2)) == [DELETED, *UPDATED]
    assert changes(feed.load_cdf(starting_version=1, ending_version=1)) == [DELETED]


def test_load_cdf_ending_version_beyond_the_end(feed):
    assert changes(feed.load_cdf(3, 99)) == [APPENDED]


def test_load_cdf_start_after_end(dl, feed):
    with raises_exactly(dl.exceptions.DeltaError, "Start version 2 is greater than"):
        feed.load_cdf(2, 1)


def test_load_cdf_start_out_of_range(dl, feed):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid table version: 99"):
        feed.load_cdf(99)


def test_load_cdf_start_out_of_range_allowed(feed):
    reader = feed.load_cdf(99, allow_out_of_range=True)
    assert pa.table(reader).num_rows == 0


def test_load_cdf_negative_version(feed):
    with raises_exactly(OverflowError, "negative"):
        feed.load_cdf(-1)


def test_load_cdf_starting_timestamp(feed):
    start = moment_before_next(feed, 1).isoformat()
    found = changes(feed.load_cdf(starting_timestamp=start))
    assert found == [*UPDATED, APPENDED]


def test_load_cdf_ending_timestamp(feed):
    end = moment_before_next(feed, 1).isoformat()
    found = changes(feed.load_cdf(1, ending_timestamp=end))
    assert found == [DELETED]


def test_load_cdf_timestamp_before_the_table(feed):
    found = changes(feed.load_cdf(starting_timestamp="2000-01-01T00:00:00Z"))
    assert len(found) == 7


def test_load_cdf_timestamp_after_the_table(dl, feed):
    with raises_exactly(dl.exceptions.DeltaError, "greater than latest commit"):
        feed.load_cdf(starting_timestamp="2999-01-01T00:00:00Z")


def test_load_cdf_timestamp_after_the_table_allowed(feed):
    reader = feed.load_cdf(
        starting_timestamp="2999-01-01T00:00:00Z", allow_out_of_range=True
    )
    assert pa.table(reader).num_rows == 0


def test_load_cdf_timestamp_that_is_none(feed):
    with raises_exactly(ValueError, "invalid"):
        feed.load_cdf(starting_timestamp="nonsense")


def test_load_cdf_columns(feed):
    read = pa.table(feed.load_cdf(columns=["id", "_change_type"]))
    assert read.column_names == ["id", "_change_type"]
    assert read.num_rows == 7


def test_load_cdf_unknown_column(dl, feed):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        pa.table(feed.load_cdf(columns=["nope"]))


@pytest.mark.parametrize(
    ("predicate", "count"),
    [
        ("id = 1", 3),
        ("_change_type = 'delete'", 1),
        ("_commit_version > 0 and name = 'z'", 1),
        ("false", 0),
    ],
)
def test_load_cdf_predicate(feed, predicate, count):
    assert pa.table(feed.load_cdf(predicate=predicate)).num_rows == count


def test_load_cdf_predicate_that_does_not_parse(dl, feed):
    with raises_exactly(dl.exceptions.DeltaError, "ParserError"):
        feed.load_cdf(predicate="id =")


def test_load_cdf_of_a_table_without_feed(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "not have change data enabled"):
        pa.table(table.load_cdf())


def test_load_cdf_from_before_the_feed_was_enabled(dl, table):
    table.alter.set_table_properties(FEED)
    dl.write_deltalake(table, sample(1), mode="append")
    with raises_exactly(dl.exceptions.DeltaError, "version: 0 .*change data enabled"):
        pa.table(table.load_cdf())
    assert changes(table.load_cdf(2)) == [(2, "insert", 0, "a")]


def test_load_cdf_of_a_merge(dl, feed):
    feed.merge(
        pa.table({"id": [1, 9], "name": ["m", "n"]}),
        "s.id = t.id",
        source_alias="s",
        target_alias="t",
    ).when_matched_update_all().when_not_matched_insert_all().execute()
    assert changes(feed.load_cdf(4)) == [
        (4, "insert", 9, "n"),
        (4, "update_postimage", 1, "m"),
        (4, "update_preimage", 1, "z"),
    ]


def test_load_cdf_of_an_overwrite(dl, feed):
    dl.write_deltalake(feed, pa.table({"id": [7], "name": ["q"]}), mode="overwrite")
    assert changes(feed.load_cdf(4)) == [
        (4, "delete", 1, "z"),
        (4, "delete", 2, "c"),
        (4, "delete", 3, "d"),
        (4, "insert", 7, "q"),
    ]


def test_load_cdf_of_a_replace_where(dl, feed):
    dl.write_deltalake(
        feed,
        pa.table({"id": [3], "name": ["q"]}),
        mode="overwrite",
        predicate="id = 3",
    )
    assert changes(feed.load_cdf(4)) == [(4, "delete", 3, "d"), (4, "insert", 3, "q")]


def test_load_cdf_skips_compaction(dl, feed):
    feed.optimize.compact()
    assert changes(feed.load_cdf(4)) == []


def test_load_cdf_of_a_partitioned_table(dl, path):
    dl.write_deltalake(path, sample(), partition_by="name", configuration=FEED)
    table = dl.DeltaTable(path)
    table.delete("name = 'a'")
    assert changes(table.load_cdf(1)) == [(1, "delete", 0, "a")]


def test_change_files_are_written_for_updates(path, feed):
    for version in (1, 2):
        (change,) = actions(path, version, "cdc")
        assert change["path"].startswith("_change_data/")
        assert change["dataChange"] is False
        assert (Path(path) / change["path"]).is_file()


def test_no_change_files_are_written_for_appends(path, feed):
    assert actions(path, 0, "cdc") == []
    assert actions(path, 3, "cdc") == []
