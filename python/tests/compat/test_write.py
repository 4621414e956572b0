"""``write_deltalake``: modes, accepted data, metadata, file sizes and errors."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from .helpers import (
    actions,
    commit,
    data_files,
    ids,
    raises_exactly,
    rows,
    sample,
    stats,
)


def test_write_creates_the_table(dl, path):
    assert dl.write_deltalake(path, sample()) is None
    table = dl.DeltaTable(path)
    assert table.version() == 0
    assert rows(table) == sample().to_pylist()


def test_write_accepts_a_path_object(dl, path):
    dl.write_deltalake(Path(path), sample())
    assert dl.DeltaTable(path).count() == 3


def test_write_first_commit(dl, path):
    dl.write_deltalake(path, sample())
    kinds = [kind for action in commit(path, 0) for kind in action]
    assert kinds == ["commitInfo", "protocol", "metaData", "add"]


def test_write_add_action(dl, path):
    dl.write_deltalake(path, sample())
    (add,) = actions(path, 0, "add")
    file = Path(path) / add["path"]
    assert add["size"] == file.stat().st_size
    assert add["partitionValues"] == {}
    assert add["dataChange"] is True


def test_write_statistics(dl, path):
    dl.write_deltalake(path, sample())
    assert stats(path) == {
        "numRecords": 3,
        "minValues": {"id": 0, "name": "a"},
        "maxValues": {"id": 2, "name": "c"},
        "nullCount": {"id": 0, "name": 0},
    }


def test_write_error_mode_is_the_default(dl, path, table):
    with raises_exactly(dl.exceptions.DeltaError, "already exists"):
        dl.write_deltalake(path, sample())
    assert dl.DeltaTable(path).version() == 0


def test_write_append(dl, path, table):
    dl.write_deltalake(path, ids(7), mode="append", schema_mode="merge")
    dl.write_deltalake(path, sample(1), mode="append")
    opened = dl.DeltaTable(path)
    assert opened.version() == 2
    assert [row["id"] for row in rows(opened)] == [0, 0, 1, 2, 7]


def test_write_append_creates_a_missing_table(dl, path):
    dl.write_deltalake(path, sample(), mode="append")
    assert dl.DeltaTable(path).version() == 0


def test_write_overwrite(dl, path, table):
    dl.write_deltalake(path, sample(1), mode="overwrite")
    opened = dl.DeltaTable(path)
    assert opened.version() == 1
    assert rows(opened) == sample(1).to_pylist()
    assert len(data_files(path)) == 2
    assert len(actions(path, 1, "remove")) == 1


def test_write_overwrite_creates_a_missing_table(dl, path):
    dl.write_deltalake(path, sample(), mode="overwrite")
    assert dl.DeltaTable(path).version() == 0


def test_write_ignore_leaves_the_table_alone(dl, path, table):
    dl.write_deltalake(path, sample(1), mode="ignore")
    assert dl.DeltaTable(path).version() == 0
    assert dl.DeltaTable(path).count() == 3


def test_write_ignore_creates_a_missing_table(dl, path):
    dl.write_deltalake(path, sample(), mode="ignore")
    assert dl.DeltaTable(path).count() == 3


def test_write_unknown_mode(dl, path):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid save mode.*nope"):
        dl.write_deltalake(path, sample(), mode="nope")


@pytest.mark.parametrize(
    ("mode", "recorded"),
    [
        ("error", "ErrorIfExists"),
        ("append", "Append"),
        ("overwrite", "Overwrite"),
        ("ignore", "Ignore"),
    ],
)
def test_write_history(dl, path, mode, recorded):
    dl.write_deltalake(path, sample(), mode=mode)
    (entry,) = dl.DeltaTable(path).history()
    assert entry["operation"] == "WRITE"
    assert entry["operationParameters"]["mode"] == recorded


def test_write_history_metrics(dl, path, table):
    dl.write_deltalake(table, sample(2), mode="overwrite")
    metrics = table.history(1)[0]["operationMetrics"]
    assert metrics["num_added_rows"] == 2
    assert metrics["num_added_files"] == 1
    assert metrics["num_removed_files"] == 1
    assert metrics["num_partitions"] == 0
    assert metrics["num_retries"] == 0


def test_write_to_a_delta_table_moves_it_forward(dl, path, table):
    dl.write_deltalake(table, sample(1), mode="append")
    assert table.version() == 1
    assert len(rows(table)) == 4


def test_write_to_an_older_handle_appends_at_the_end(dl, path, table):
    dl.write_deltalake(path, sample(1), mode="append")
    assert table.version() == 0
    dl.write_deltalake(table, sample(1), mode="append")
    assert table.version() == 2
    assert len(rows(table)) == 5


def test_write_empty_append_of_same_schema(dl, path, table):
    dl.write_deltalake(table, sample(0), mode="append")
    assert len(rows(dl.DeltaTable(path))) == 3


COLUMNS = {"a": [1, 2], "b": ["x", None]}


@pytest.mark.parametrize(
    "produce",
    [
        lambda: pa.table(COLUMNS),
        lambda: pa.table(COLUMNS).to_reader(),
        lambda: pa.record_batch(COLUMNS),
        lambda: pa.table(COLUMNS).to_batches(max_chunksize=1),
        lambda: pd.DataFrame(COLUMNS),
        lambda: pl.DataFrame(COLUMNS),
    ],
    ids=["table", "reader", "batch", "batches", "pandas", "polars"],
)
def test_write_accepts_arrow_producers(dl, path, produce):
    dl.write_deltalake(path, produce())
    table = dl.DeltaTable(path)
    assert rows(table) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert [field.type.type for field in table.schema().fields] == ["long", "string"]


def test_write_accepts_a_duckdb_relation(dl, path):
    dl.write_deltalake(path, duckdb.sql("select 1::bigint as a, 'x' as b"))
    assert rows(dl.DeltaTable(path)) == [{"a": 1, "b": "x"}]


def test_write_accepts_what_scan_returns(dl, path, new_path, table):
    copy = new_path()
    dl.write_deltalake(copy, table.scan())
    assert rows(dl.DeltaTable(copy)) == rows(table)


def test_write_pandas_index_becomes_a_column(dl, path):
    frame = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="key"))
    dl.write_deltalake(path, frame)
    assert rows(dl.DeltaTable(path)) == [{"a": 1, "key": "x"}]


@pytest.mark.parametrize("data", [{"a": [1]}, None, 3, pl.LazyFrame({"a": [1]})])
def test_write_needs_arrow_data(dl, path, data):
    with raises_exactly(ValueError, "__arrow_c_array__ or __arrow_c_stream__"):
        dl.write_deltalake(path, data)
    assert not dl.DeltaTable.is_deltatable(path)


@pytest.mark.parametrize(
    ("data", "error"), [([], IndexError), ([1], AttributeError)], ids=str
)
def test_write_sequences_must_hold_batches(dl, path, data, error):
    with pytest.raises(error):
        dl.write_deltalake(path, data)


class UncountedBatches(Sequence):
    """Three batches, of which only the first has an index."""

    def __len__(self):
        raise NotImplementedError

    def __getitem__(self, index):
        assert index == 0
        return next(iter(self))

    def __iter__(self):
        return (pa.record_batch({"a": [i]}) for i in range(3))


def test_write_accepts_sequences_that_do_not_know_their_length(dl, path):
    dl.write_deltalake(path, UncountedBatches())
    assert rows(dl.DeltaTable(path)) == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_write_needs_a_location(dl):
    with raises_exactly(ValueError, "table_or_uri must be a str, Path or DeltaTable"):
        dl.write_deltalake(3, sample())


def test_write_options_are_keyword_only(dl, path):
    with raises_exactly(TypeError, "positional argument"):
        dl.write_deltalake(path, sample(), ["id"])


def test_write_rejects_removed_options(dl, path):
    with raises_exactly(TypeError, "unexpected keyword argument 'engine'"):
        dl.write_deltalake(path, sample(), engine="rust")


def test_write_no_rows_creates_an_empty_table(dl, path):
    dl.write_deltalake(path, sample(0))
    table = dl.DeltaTable(path)
    assert table.version() == 0
    assert table.file_uris() == []
    assert [field.name for field in table.schema().fields] == ["id", "name"]


def test_write_no_columns(dl, path):
    with raises_exactly(dl.exceptions.DeltaError, "At least one column"):
        dl.write_deltalake(path, pa.table({}))


def test_write_name_description_configuration(dl, path):
    dl.write_deltalake(
        path,
        sample(),
        name="orders",
        description="what was sold",
        configuration={"delta.logRetentionDuration": "interval 2 days"},
    )
    metadata = dl.DeltaTable(path).metadata()
    assert metadata.name == "orders"
    assert metadata.description == "what was sold"
    assert metadata.configuration == {"delta.logRetentionDuration": "interval 2 days"}


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_write_does_not_change_metadata_of_existing_tables(dl, path, mode):
    dl.write_deltalake(path, sample(), name="first", description="one")
    dl.write_deltalake(
        path,
        sample(),
        mode=mode,
        name="second",
        description="two",
        configuration={"delta.appendOnly": "true"},
    )
    metadata = dl.DeltaTable(path).metadata()
    assert (metadata.name, metadata.description) == ("first", "one")
    assert metadata.configuration == {}


def test_write_unknown_property(dl, path):
    with raises_exactly(dl.exceptions.DeltaError, "Error parsing property"):
        dl.write_deltalake(path, sample(), configuration={"delta.nope": "x"})


def test_write_storage_options(dl, path):
    dl.write_deltalake(path, sample(), storage_options={"timeout": "3s"})
    dl.write_deltalake(path, sample(), mode="append", storage_options={"timeout": "3s"})
    assert dl.DeltaTable(path).version() == 1


def test_write_custom_metadata(dl, path, table):
    properties = dl.CommitProperties(custom_metadata={"job": "nightly", "try": 2})
    dl.write_deltalake(table, sample(), mode="append", commit_properties=properties)
    entry = table.history(1)[0]
    assert entry["job"] == "nightly"
    assert entry["try"] == 2


def test_write_target_file_size_splits_files(dl, path):
    data = pa.table({"a": range(20_000), "b": [str(i) for i in range(20_000)]})
    dl.write_deltalake(path, data, target_file_size=20_000)
    table = dl.DeltaTable(path)
    assert len(table.file_uris()) > 1
    assert table.count() == 20_000


def test_write_target_file_size_property(dl, path):
    data = pa.table({"a": range(20_000), "b": [str(i) for i in range(20_000)]})
    dl.write_deltalake(path, data, configuration={"delta.targetFileSize": "20000"})
    assert len(dl.DeltaTable(path).file_uris()) > 1


def test_write_target_file_size_zero(dl, path):
    with raises_exactly(ValueError, "target_file_size must be greater than 0"):
        dl.write_deltalake(path, sample(), target_file_size=0)


def test_write_target_file_size_negative(dl, path):
    with raises_exactly(OverflowError, "negative"):
        dl.write_deltalake(path, sample(), target_file_size=-1)


def test_write_append_only_table(dl, path):
    dl.write_deltalake(path, sample(), configuration={"delta.appendOnly": "true"})
    dl.write_deltalake(path, sample(), mode="append")
    with raises_exactly(dl.exceptions.CommitFailedError, "append-only"):
        dl.write_deltalake(path, sample(), mode="overwrite")
    assert dl.DeltaTable(path).version() == 1


def test_write_large_table_in_one_file(dl, path):
    dl.write_deltalake(path, pa.table({"a": range(50_000)}))
    table = dl.DeltaTable(path)
    assert len(table.file_uris()) == 1
    assert table.count() == 50_000


def test_write_reader_is_consumed_lazily(dl, path):
    seen = []

    def batches():
        for i in range(5):
            seen.append(i)
            yield pa.record_batch({"a": [i]})

    reader = pa.RecordBatchReader.from_batches(
        pa.schema([("a", pa.int64())]), batches()
    )
    assert seen == []
    dl.write_deltalake(path, reader)
    assert seen == [0, 1, 2, 3, 4]
    assert dl.DeltaTable(path).count() == 5


def test_write_failing_reader_leaves_no_version(dl, path, table):
    def batches():
        yield pa.record_batch({"id": [1], "name": ["x"]})
        raise RuntimeError("the source broke")

    reader = pa.RecordBatchReader.from_batches(sample().schema, batches())
    with pytest.raises(Exception, match="the source broke"):
        dl.write_deltalake(table, reader, mode="append")
    assert dl.DeltaTable(path).version() == 0


@pytest.mark.parametrize("name", ["a b", "a.b", "a-b", "é", "select", "A"])
def test_write_unusual_column_names(dl, path, name):
    dl.write_deltalake(path, pa.table({name: [1]}))
    table = dl.DeltaTable(path)
    assert table.schema().fields[0].name == name
    assert rows(table) == [{name: 1}]


def test_write_file_names(dl, path):
    dl.write_deltalake(path, sample())
    (name,) = data_files(path)
    assert name.startswith("part-00000-")
    assert name.endswith("-c000.snappy.parquet")
