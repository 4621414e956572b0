"""The files of a table: URIs, pruning, add actions and the row count."""

import os
import re
import time
from datetime import date, datetime
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import ids, raises_exactly, sample


@pytest.fixture
def years(dl: ModuleType, path: str) -> Any:
    """Partitions 2020 and 2021 with ids 1, 2 and 11, 12."""
    for year, first in ((2020, 1), (2021, 11)):
        data = pa.table(
            {
                "id": [first, first + 1],
                "year": pa.array([year, year], pa.int32()),
                "name": ["a", "b"],
            }
        )
        dl.write_deltalake(path, data, mode="append", partition_by="year")
    return dl.DeltaTable(path)


def years_of(uris: list[str]) -> list[int]:
    return sorted(int(uri.split("year=")[1][:4]) for uri in uris)


def test_file_uris_are_absolute_paths(table, path):
    (uri,) = table.file_uris()
    assert uri.startswith(f"{path}/")
    assert os.path.isfile(uri)


def test_file_uris_of_older_versions(dl, path, table):
    dl.write_deltalake(path, sample(), mode="overwrite")
    new = dl.DeltaTable(path).file_uris()
    assert table.file_uris() != new
    assert dl.DeltaTable(path, version=0).file_uris() == table.file_uris()


def test_files_come_newest_first(dl, path):
    for first in (0, 10, 20):
        dl.write_deltalake(path, ids(first, first + 1), mode="append")
    table = dl.DeltaTable(path)
    added = pa.table(table.get_add_actions(flatten=True))
    assert added.column("min.id").to_pylist() == [20, 10, 0]
    assert [os.path.relpath(uri, path) for uri in table.file_uris()] == (
        added.column("path").to_pylist()
    )


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("year = 2020", [2020]),
        ("year > 2020", [2021]),
        ("year in (2020, 2021)", [2020, 2021]),
        ("year not in (2020)", [2021]),
        ("year between 2019 and 2020", [2020]),
        ("not year = 2020", [2021]),
        ("year = 2020 or id = 11", [2020, 2021]),
        ("year = 2020 and id = 11", []),
        ("year is null", []),
        ("year is not null", [2020, 2021]),
        ("id < 5", [2020]),
        ("id = 5", []),
        ("name = 'a'", [2020, 2021]),
        ([("year", "=", 2020)], [2020]),
        ([("year", "=", "2020")], [2020]),
        ([("year", "!=", 2020)], [2021]),
        ([("year", "<", 2021)], [2020]),
        ([("year", "<=", 2020)], [2020]),
        ([("year", ">", 2020)], [2021]),
        ([("year", ">=", 2021)], [2021]),
        ([("year", "in", [2020, 2021])], [2020, 2021]),
        ([("year", "in", (2021,))], [2021]),
        ([("year", "not in", [2020])], [2021]),
        ([("year", "=", 2020), ("year", "=", 2021)], []),
        ([[("year", "=", 2020)], [("year", "=", 2021)]], [2020, 2021]),
        ([("id", ">", 5)], [2021]),
        ([("id", "=", 5)], []),
        ([], [2020, 2021]),
        (None, [2020, 2021]),
    ],
    ids=str,
)
def test_file_pruning_predicate(years, predicate, expected):
    uris = years.file_uris(file_pruning_predicate=predicate)
    assert years_of(uris) == expected


@pytest.mark.parametrize(
    ("values", "value"),
    [
        (pa.array([date(2024, 1, 2), date(2024, 1, 3)]), date(2024, 1, 2)),
        (
            pa.array([datetime(2024, 1, 2, 3), datetime(2024, 1, 3)]).cast(
                pa.timestamp("us")
            ),
            datetime(2024, 1, 2, 3),
        ),
        (pa.array([True, False]), True),
        (pa.array([1.5, 2.5]), 1.5),
        (pa.array(["x", "y"]), "x"),
    ],
    ids=["date", "timestamp", "boolean", "double", "string"],
)
def test_tuple_filters_accept_python_values(dl, path, values, value):
    data = pa.table({"x": [0, 1], "p": values})
    dl.write_deltalake(path, data, partition_by="p")
    table = dl.DeltaTable(path)
    assert len(table.file_uris(file_pruning_predicate=[("p", "=", value)])) == 1


def test_tuple_filter_on_null_partition(dl, path):
    dl.write_deltalake(
        path, pa.table({"x": [0, 1], "p": ["a", None]}), partition_by="p"
    )
    table = dl.DeltaTable(path)
    assert len(table.file_uris(file_pruning_predicate=[("p", "=", "")])) == 1
    assert len(table.file_uris(file_pruning_predicate="p is null")) == 1


def test_pruning_keeps_files_without_statistics(dl, path):
    dl.write_deltalake(
        path, ids(1), configuration={"delta.dataSkippingNumIndexedCols": "0"}
    )
    table = dl.DeltaTable(path)
    assert len(table.file_uris(file_pruning_predicate="id = 99")) == 1


def test_pruning_by_an_unknown_column(dl, years):
    with raises_exactly(dl.exceptions.DeltaError, "'nope' is not a root table field"):
        years.file_uris(file_pruning_predicate=[("nope", "=", 1)])
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        years.file_uris(file_pruning_predicate="nope = 1")


def test_pruning_by_sql_that_does_not_parse(dl, years):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        years.file_uris(file_pruning_predicate="year =")


@pytest.mark.filterwarnings("ignore:`partition_filters` is deprecated")
@pytest.mark.parametrize("argument", ["partition_filters", "file_pruning_predicate"])
@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        (("year", "=>", "3"), '("year", "=>", "3")'),
        (("year", "~", 2020), '("year", "~", "2020")'),
        (("year", "=", ["2020", 2021]), '("year", "=", ["2020", "2021"])'),
        (("year", "in", 2020), '("year", "in", "2020")'),
    ],
    ids=str,
)
def test_pruning_with_an_invalid_filter(dl, years, argument, condition, shown):
    message = re.escape(f"Invalid partition filter found: {shown}")
    with raises_exactly(dl.exceptions.DeltaError, message):
        years.file_uris(**{argument: [condition]})


def test_pruning_with_a_value_of_another_type(dl, years):
    with raises_exactly(dl.exceptions.DeltaError, "Failed to parse value 'abc'"):
        years.file_uris(file_pruning_predicate=[("year", "=", "abc")])


@pytest.mark.parametrize("value", [None, object()], ids=["None", "object"])
def test_pruning_with_an_unencodable_value(years, value):
    with raises_exactly(ValueError, "Could not encode partition value"):
        years.file_uris(file_pruning_predicate=[("year", "=", value)])


def test_pruning_with_an_empty_conjunction(years):
    with raises_exactly(ValueError, "empty conjunction"):
        years.file_uris(file_pruning_predicate=[[]])


def test_pruning_with_mixed_filters(years):
    mixed = [("year", "=", 2020), [("year", "=", 2021)]]
    with raises_exactly(ValueError, "not a mix of both"):
        years.file_uris(file_pruning_predicate=mixed)


@pytest.mark.parametrize("method", ["file_uris", "partitions"])
def test_partition_filters_are_deprecated(years, method):
    with pytest.warns(DeprecationWarning, match="`partition_filters` is deprecated"):
        found = getattr(years, method)([("year", "=", "2020")])
    assert len(found) == 1


@pytest.mark.parametrize("method", ["file_uris", "partitions"])
def test_partition_filters_and_predicate(years, method):
    with raises_exactly(ValueError, "pass only `file_pruning_predicate`"):
        getattr(years, method)(
            [("year", "=", "2020")], file_pruning_predicate="year = 2020"
        )


def test_add_actions(years):
    added = pa.table(years.get_add_actions())
    assert added.column_names[:4] == [
        "path",
        "size_bytes",
        "modification_time",
        "num_records",
    ]
    assert set(added.column_names[4:]) == {"null_count", "min", "max", "partition"}
    assert added.num_rows == 2


def test_add_actions_values(years, path):
    for added in pa.table(years.get_add_actions()).to_pylist():
        file = os.path.join(path, added["path"])
        assert added["size_bytes"] == os.path.getsize(file)
        assert abs(added["modification_time"] / 1000 - time.time()) < 60
        assert added["num_records"] == 2
        assert added["null_count"] == {"id": 0, "name": 0}
        first = 1 if added["partition"] == {"year": 2020} else 11
        assert added["min"] == {"id": first, "name": "a"}
        assert added["max"] == {"id": first + 1, "name": "b"}


def test_add_actions_flattened(years):
    added = pa.table(years.get_add_actions(flatten=True))
    assert set(added.column_names) == {
        "path",
        "size_bytes",
        "modification_time",
        "num_records",
        "null_count.id",
        "null_count.name",
        "min.id",
        "min.name",
        "max.id",
        "max.name",
        "partition.year",
    }


def test_add_actions_have_typed_columns(years):
    schema = pa.table(years.get_add_actions(flatten=True)).schema
    assert schema.field("path").type == pa.string()
    assert schema.field("size_bytes").type == pa.int64()
    assert schema.field("num_records").type == pa.int64()
    assert schema.field("min.id").type == pa.int64()
    assert schema.field("partition.year").type == pa.int32()


def test_add_actions_of_an_unpartitioned_table(table):
    assert "partition" not in pa.table(table.get_add_actions()).column_names


def test_add_actions_of_an_empty_table(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("id", "long")]))
    added = pa.table(table.get_add_actions())
    assert added.num_rows == 0
    assert "path" in added.column_names


def test_add_actions_offer_columns_by_name(table):
    paths = table.get_add_actions().column("path").to_pylist()
    assert [uri.endswith(paths[0]) for uri in table.file_uris()] == [True]


def test_add_file_sizes(years):
    added = pa.table(years.get_add_actions())
    paths, sizes = (added.column(name) for name in ("path", "size_bytes"))
    expected = dict(zip(paths.to_pylist(), sizes.to_pylist(), strict=True))
    assert years._table.get_add_file_sizes() == expected


def test_add_file_sizes_of_escaped_paths(dl, path):
    data = pa.table({"id": [1, 2], "p": ["a b", "c/d"]})
    dl.write_deltalake(path, data, partition_by="p")
    table = dl.DeltaTable(path)
    assert table._table.get_add_file_sizes() == {
        os.path.relpath(uri, path): os.path.getsize(uri) for uri in table.file_uris()
    }


def test_count(dl, path, table):
    assert table.count() == 3
    dl.write_deltalake(table, sample(2), mode="append")
    assert table.count() == 5


def test_count_of_an_empty_table(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("id", "long")]))
    assert table.count() == 0


def test_count_after_delete(table):
    table.delete("id = 1")
    assert table.count() == 2


def test_deletion_vectors_of_a_table_without_any(table):
    reader = table.deletion_vectors()
    schema = pa.schema(reader.schema)
    assert schema.names == ["filepath", "selection_vector"]
    assert pa.types.is_list(schema.field("selection_vector").type)
    assert pa.table(reader).num_rows == 0
