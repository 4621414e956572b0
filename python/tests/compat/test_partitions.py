"""Partitioned tables: layout, values, listing and changing the partitioning."""

import os
from datetime import date, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import actions, ids, raises_exactly, rows


def orders() -> pa.Table:
    return pa.table(
        {
            "id": [1, 2, 3, 4],
            "day": ["mon", "tue", "mon", None],
            "paid": [True, False, False, True],
        }
    )


@pytest.fixture
def by_day(dl: ModuleType, path: str) -> Any:
    dl.write_deltalake(path, orders(), partition_by="day")
    return dl.DeltaTable(path)


def test_partition_columns(by_day):
    assert by_day.metadata().partition_columns == ["day"]


def test_partition_columns_by_list(dl, path):
    dl.write_deltalake(path, orders(), partition_by=["paid", "day"])
    table = dl.DeltaTable(path)
    assert table.metadata().partition_columns == ["paid", "day"]
    assert all("/paid=" in uri and "/day=" in uri for uri in table.file_uris())


def test_partitions_listing(by_day):
    found = sorted(by_day.partitions(), key=str)
    assert found == [{"day": "mon"}, {"day": "tue"}, {"day": None}]


def test_partitions_of_several_columns(dl, path):
    dl.write_deltalake(path, orders(), partition_by=["day", "paid"])
    found = {(p["day"], p["paid"]) for p in dl.DeltaTable(path).partitions()}
    assert found == {
        ("mon", "true"),
        ("mon", "false"),
        ("tue", "false"),
        (None, "true"),
    }


def test_partitions_of_an_unpartitioned_table(table):
    assert table.partitions() == []


def test_partition_directories(by_day, path):
    directories = {
        os.path.dirname(os.path.relpath(u, path)) for u in by_day.file_uris()
    }
    assert directories == {"day=mon", "day=tue", "day=__HIVE_DEFAULT_PARTITION__"}


def test_partition_columns_are_not_in_the_files(by_day):
    names = [field.name for field in by_day.to_pyarrow_dataset().schema]
    assert names == ["id", "day", "paid"]
    fragment = next(by_day.to_pyarrow_dataset().get_fragments())
    assert fragment.physical_schema.names == ["id", "paid"]


def test_partition_values_in_the_log(by_day, path):
    values = [add["partitionValues"] for add in actions(path, 0, "add")]
    assert sorted(values, key=str) == [{"day": "mon"}, {"day": "tue"}, {"day": None}]


def test_partitioned_rows_come_back(by_day):
    assert rows(by_day, "id") == orders().to_pylist()


def test_partition_history(by_day):
    parameters = by_day.history(1)[0]["operationParameters"]
    assert parameters["partitionBy"] == '["day"]'


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([7]), "7"),
        (pa.array([-7], pa.int8()), "-7"),
        (pa.array([1.5]), "1.5"),
        (pa.array([True]), "true"),
        (pa.array([date(2024, 1, 2)]), "2024-01-02"),
        (pa.array([Decimal("1.20")], pa.decimal128(10, 2)), "1.20"),
        (
            pa.array([datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("us")),
            "2024-01-02 03:04:05.000000",
        ),
        (
            pa.array([datetime(2024, 1, 2, 3, 4, 5, 67)], pa.timestamp("us", "UTC")),
            "2024-01-02 03:04:05.000067",
        ),
        (pa.array(["a b/c=d%e"]), "a b/c=d%e"),
        (pa.array(["é☃"]), "é☃"),
        (pa.array([None], pa.string()), None),
        (pa.array([None], pa.int64()), None),
    ],
    ids=str,
)
def test_partition_values(dl, path, values, text):
    data = pa.table({"x": [0], "p": values})
    dl.write_deltalake(path, data, partition_by="p")
    table = dl.DeltaTable(path)
    assert [p["p"] for p in table.partitions()] == [text]
    read = table.to_pyarrow_table()
    assert read.schema.field("p").type == values.type
    assert read.column("p").to_pylist() == values.to_pylist()


def test_special_characters_are_escaped_in_paths(dl, path):
    data = pa.table({"x": [0], "p": ["a b/c=d%e"]})
    dl.write_deltalake(path, data, partition_by="p")
    (uri,) = dl.DeltaTable(path).file_uris()
    assert os.path.dirname(uri).endswith("/p=a%20b%2Fc%3Dd%25e")
    assert os.path.exists(uri)


def test_empty_string_is_read_back_as_null(dl, path):
    data = pa.table({"x": [0], "p": [""]})
    dl.write_deltalake(path, data, partition_by="p")
    assert rows(dl.DeltaTable(path)) == [{"x": 0, "p": None}]


@pytest.mark.parametrize(
    "values",
    [pa.array(["a"]).dictionary_encode(), pa.array([[1]])],
    ids=["dictionary", "list"],
)
def test_unsupported_partition_types(dl, path, values):
    data = pa.table({"x": [0], "p": values})
    with raises_exactly(dl.exceptions.DeltaError, "partition column value"):
        dl.write_deltalake(path, data, partition_by="p")


def test_unknown_partition_column(dl, path):
    with raises_exactly(dl.exceptions.DeltaError, "Partition column 'nope' not found"):
        dl.write_deltalake(path, orders(), partition_by="nope")


def test_partitioning_by_every_column(dl, path):
    with raises_exactly(dl.exceptions.DeltaError, "partition"):
        dl.write_deltalake(path, ids(1), partition_by="id")


def test_append_uses_the_partitioning_of_the_table(dl, path, by_day):
    dl.write_deltalake(by_day, orders(), mode="append")
    assert len(by_day.file_uris()) == 6


def test_append_with_the_same_partitioning(dl, path, by_day):
    dl.write_deltalake(by_day, orders(), mode="append", partition_by=["day"])
    assert by_day.version() == 1


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_write_with_another_partitioning(dl, path, by_day, mode):
    with raises_exactly(dl.exceptions.DeltaError, "does not match table partitioning"):
        dl.write_deltalake(by_day, orders(), mode=mode, partition_by="paid")


def test_overwrite_schema_changes_the_partitioning(dl, path, by_day):
    dl.write_deltalake(
        by_day,
        orders(),
        mode="overwrite",
        schema_mode="overwrite",
        partition_by="paid",
    )
    assert by_day.metadata().partition_columns == ["paid"]
    assert {p["paid"] for p in by_day.partitions()} == {"true", "false"}


def test_overwrite_schema_removes_the_partitioning(dl, path, by_day):
    dl.write_deltalake(
        by_day, orders(), mode="overwrite", schema_mode="overwrite", partition_by=[]
    )
    assert by_day.metadata().partition_columns == []
    assert by_day.partitions() == []
    assert [os.path.dirname(uri) for uri in by_day.file_uris()] == [path]
    assert rows(by_day, "id") == orders().to_pylist()


def test_partitions_with_a_pruning_predicate(by_day):
    assert by_day.partitions(file_pruning_predicate="day = 'mon'") == [{"day": "mon"}]
    found = by_day.partitions(file_pruning_predicate=[("day", "!=", "mon")])
    assert {"day": "tue"} in found
    assert {"day": "mon"} not in found


def test_delete_of_a_partition_removes_its_file(by_day, path):
    by_day.delete("day = 'mon'")
    assert len(actions(path, 1, "remove")) == 1
    assert actions(path, 1, "add") == []
    assert [row["id"] for row in rows(by_day, "id")] == [2, 4]


def test_add_actions_hold_typed_partition_values(dl, path):
    data = pa.table({"x": [0, 1], "p": pa.array([7, None], pa.int32())})
    dl.write_deltalake(path, data, partition_by="p")
    added = pa.table(dl.DeltaTable(path).get_add_actions(flatten=True))
    assert added.schema.field("partition.p").type == pa.int32()
    assert sorted(added.column("partition.p").to_pylist(), key=str) == [7, None]


def test_defect_binary_partition_values(dl, path):
    data = pa.table({"x": [0], "p": [b"ab"]})
    dl.write_deltalake(path, data, partition_by="p")
    assert rows(dl.DeltaTable(path)) == [{"x": 0, "p": b"ab"}]
