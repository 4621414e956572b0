"""The behaviour here where tests of `tests/compat` must fail.

There are one or more tests for each reason in its `differences.py`.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import deltalakedb
from deltalakedb import (
    CommitProperties,
    DeltaTable,
    Field,
    Schema,
    TableFeatures,
    Transaction,
    convert_to_deltalake,
    write_deltalake,
)
from deltalakedb.exceptions import (
    CommitFailedError,
    DeltaError,
    SchemaMismatchError,
)
from deltalakedb.schema import ArrayType, MapType, PrimitiveType, StructType
from deltalakedb.transaction import AddAction

from .compat.differences import DIFFERENCES
from .conftest import ids, read

pytestmark = pytest.mark.usefixtures("embedded")


def test_each_reason_has_its_test() -> None:
    for difference in DIFFERENCES.values():
        for test in difference.kind.instead:
            assert callable(getattr(sys.modules[__name__], test, None)), test
        assert difference.kind.instead, difference.kind.reason


@pytest.fixture
def table(path: str) -> DeltaTable:
    """A table with ids 0 and 1 in one file, and 2 and 3 in another."""
    write_deltalake(path, ids(0, 1))
    write_deltalake(path, ids(2, 3), mode="append")
    return DeltaTable(path)


def test_an_append_of_an_old_handle_holds(table: DeltaTable, path: str) -> None:
    old = DeltaTable(path)
    table.alter.add_columns(Field("x", "long"))
    table.alter.add_feature(TableFeatures.AppendOnly, True)
    wider = ids(9).append_column("x", pa.nulls(1, pa.int64()))
    properties = CommitProperties(max_commit_retries=0)
    write_deltalake(
        old, wider, mode="append", schema_mode="merge", commit_properties=properties
    )
    assert old.version() == DeltaTable(path).version() == 4
    assert read(path) == [0, 1, 2, 3, 9]


def test_an_append_of_an_old_handle_comes_after_an_overwrite(
    table: DeltaTable, path: str
) -> None:
    old = DeltaTable(path)
    write_deltalake(table, ids(8), mode="overwrite")
    write_deltalake(old, ids(9), mode="append")
    assert read(path) == [8, 9]


def test_rows_of_other_files_do_not_conflict(table: DeltaTable, path: str) -> None:
    old = DeltaTable(path)
    table.delete("id = 0")
    # Reads the whole file, which lacks a row now.
    with pytest.raises(CommitFailedError, match="added the file.* matches what"):
        old.delete("id = 1")
    old.delete("id = 2")
    assert read(path) == [1, 3]


def test_an_overwrite_of_an_old_handle_conflicts_with_an_append(
    table: DeltaTable, path: str
) -> None:
    old = DeltaTable(path)
    write_deltalake(table, ids(9), mode="append")
    for use in (lambda: write_deltalake(old, ids(8), mode="overwrite"), old.delete):
        with pytest.raises(CommitFailedError, match="added the file"):
            use()
    assert read(path) == [0, 1, 2, 3, 9]


def test_the_catalog_keeps_what_is_cleaned_up(table: DeltaTable, path: str) -> None:
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 days"})
    table.create_checkpoint()
    table.cleanup_metadata()
    assert not (Path(path) / "_delta_log" / f"{0:020}.json").exists()
    assert read(DeltaTable(path, version=0)) == [0, 1]
    with pytest.raises(deltalake.exceptions.DeltaError):
        deltalake.DeltaTable(path, version=0)


def test_count_is_exact(path: str) -> None:
    Path(path).mkdir(parents=True)
    pq.write_table(ids(1, 2, 3), f"{path}/a.parquet", write_statistics=False)
    convert_to_deltalake(path, collect_stats=False)
    assert DeltaTable(path).count() == 3
    DeltaTable(path).delete("id = 1")
    assert DeltaTable(path).count() == 2


def test_files_that_no_version_names_stay(table: DeltaTable, path: str) -> None:
    stray = Path(path) / "stray.parquet"
    stray.write_bytes(b"x")
    options = {"retention_hours": 0, "enforce_retention_duration": False}
    assert table.vacuum(**options, full=True) == []  # type: ignore[arg-type]
    table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert stray.exists()


@pytest.mark.parametrize(
    "value",
    [
        PrimitiveType("long"),
        ArrayType("long", True),
        MapType("string", "long", False),
        StructType([Field("a", "long")]),
        Schema([Field("a", "long")]),
        Field("a", "long", False),
        Transaction("a", 1, 2),
    ],
    ids=repr,
)
def test_types_are_pickled(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_tables_with_domain_metadata_are_written(table: DeltaTable, path: str) -> None:
    table.alter.add_feature(TableFeatures.DomainMetadata, True)
    write_deltalake(table, ids(9), mode="append")
    assert read(path) == [0, 1, 2, 3, 9]


def test_datafusion_is_told_other_ways(table: DeltaTable) -> None:
    with pytest.raises(NotImplementedError, match="to_pyarrow_dataset"):
        table.__datafusion_table_provider__()


def test_nanoseconds_cannot_be_enabled() -> None:
    with pytest.raises(RuntimeError, match="timestamps have microseconds"):
        deltalakedb.enable_nanosecond_timestamps()


NANOSECONDS = {
    "plain": pa.array([None, 1_000, 2_001], pa.timestamp("ns")),
    "zone": pa.array([2_001], pa.timestamp("ns", "Europe/Paris")),
    "before 1970": pa.array([-1], pa.timestamp("ns")),
    "list": pa.array([[], [1]], pa.list_(pa.timestamp("ns"))),
    "struct": pa.array([{"a": 1}], pa.struct([("a", pa.timestamp("ns"))])),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.timestamp("ns", "UTC"))),
}


@pytest.mark.parametrize("values", NANOSECONDS.values(), ids=NANOSECONDS)
def test_nanoseconds_are_refused(path: str, values: pa.Array) -> None:
    """`dl write` rejects them as well."""
    rounded = values.slice(0, 0)
    write_deltalake(path, pa.table({"id": pa.array([], pa.int64()), "t": rounded}))
    data = pa.table({"id": range(len(values)), "t": values})
    with pytest.raises(DeltaError, match="has a time with nanoseconds.*round it"):
        write_deltalake(path, data, mode="append")
    refused = pytest.raises(DeltaError, match="has a time with nanoseconds")
    with refused, deltalakedb.begin() as tx:
        tx.write(path, data)
    assert DeltaTable(path).version() == 0


def test_nanoseconds_that_are_whole_microseconds_are_taken(path: str) -> None:
    values = pa.array([None, 1_000, -2_000], pa.timestamp("ns"))
    write_deltalake(path, pa.table({"t": values}))
    read = DeltaTable(path).to_pyarrow_table()["t"].combine_chunks()
    assert read.cast(pa.timestamp("ns")) == values


def test_merge_history_has_the_predicate(table: DeltaTable) -> None:
    merger = table.merge(ids(1), "s.id = t.id", "s", "t")
    merger.when_matched_update_all("s.id > 0").execute()
    parameters = table.history(1)[0]["operationParameters"]
    assert {"predicate", "mergePredicate"} <= set(parameters)


def test_an_unknown_partition_column_is_of_the_schema(path: str) -> None:
    write_deltalake(path, pa.table({"id": [1], "p": ["a"]}), partition_by="p")
    with pytest.raises(SchemaMismatchError, match="nope"):
        DeltaTable(path).optimize.compact(partition_filters=[("nope", "=", "a")])


def test_an_append_with_a_predicate_is_refused(table: DeltaTable) -> None:
    with pytest.raises(DeltaError, match="append"):
        write_deltalake(table, ids(9), mode="append", predicate="id = 9")  # type: ignore[call-overload]


def test_timestamps_of_seconds_are_taken(path: str) -> None:
    values = pa.array([1, None], pa.timestamp("s"))
    assert PrimitiveType.from_arrow(values.type) == PrimitiveType("timestamp_ntz")
    write_deltalake(path, pa.table({"t": values}))
    read = DeltaTable(path).to_pyarrow_table()["t"].combine_chunks()
    assert read.cast(pa.timestamp("s")) == values


def test_a_transaction_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'version'"):
        Transaction("app", 3).version = 4  # type: ignore[misc]


def test_the_repr_of_commit_properties_has_their_values() -> None:
    shown = repr(CommitProperties(custom_metadata={"a": "b"}, max_commit_retries=1))
    assert "custom_metadata={'a': 'b'}" in shown
    assert "max_commit_retries=1" in shown


def test_a_handle_that_commits_is_at_its_version(table: DeltaTable, path: str) -> None:
    pq.write_table(ids(7), f"{path}/mine.parquet")
    size = Path(f"{path}/mine.parquet").stat().st_size
    add = AddAction("mine.parquet", size, {}, 0, True, '{"numRecords": 1}')
    table.create_write_transaction([add], "append", table.schema())
    assert table.version() == DeltaTable(path).version() == 2
    assert read(table) == [0, 1, 2, 3, 7]


def test_an_update_computes_generated_columns(tmp_path: Path) -> None:
    expression = {"delta.generationExpression": "a * 2"}
    fields = [Field("a", "long"), Field("twice", "long", metadata=expression)]
    table = DeltaTable.create(str(tmp_path / "generated"), Schema(fields))
    write_deltalake(table, pa.table({"a": [1]}), mode="append")
    table.update({"a": "100"})
    assert pa.table(table.scan()).to_pylist() == [{"a": 100, "twice": 200}]
    with pytest.raises(DeltaError, match='"twice" is generated as a \\* 2'):
        table.update({"twice": "1"})


def test_an_update_of_an_unknown_column_is_refused(table: DeltaTable) -> None:
    with pytest.raises(DeltaError, match="nope"):
        table.update({"nope": "1"})
    assert table.version() == 1
