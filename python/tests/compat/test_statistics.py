"""Which columns get file statistics, and how they look."""

import json

import pyarrow as pa
import pytest

from .helpers import actions, ids, stats


def wide() -> pa.Table:
    return pa.table(
        {
            "a": [1, 2],
            "b": ["x", None],
            "c": [1.5, 2.5],
            "s": [{"x": 1, "y": 2}, {"x": 3, "y": 4}],
        }
    )


def columns_of(path: str) -> list[str]:
    return sorted(stats(path)["minValues"])


def test_statistics_of_every_column(dl, path):
    dl.write_deltalake(path, wide())
    found = stats(path)
    assert found["numRecords"] == 2
    assert found["minValues"] == {"a": 1, "b": "x", "c": 1.5, "s": {"x": 1, "y": 2}}
    assert found["maxValues"] == {"a": 2, "b": "x", "c": 2.5, "s": {"x": 3, "y": 4}}
    assert found["nullCount"] == {"a": 0, "b": 1, "c": 0, "s": {"x": 0, "y": 0}}


@pytest.mark.parametrize(
    ("count", "expected"),
    [("0", []), ("1", ["a"]), ("2", ["a", "b"]), ("-1", ["a", "b", "c", "s"])],
)
def test_number_of_indexed_columns(dl, path, count, expected):
    configuration = {"delta.dataSkippingNumIndexedCols": count}
    dl.write_deltalake(path, wide(), configuration=configuration)
    assert columns_of(path) == expected
    assert stats(path)["numRecords"] == 2


@pytest.mark.parametrize(
    ("names", "expected"), [("c", ["c"]), ("a,c", ["a", "c"]), ("nope", [])]
)
def test_named_columns(dl, path, names, expected):
    configuration = {"delta.dataSkippingStatsColumns": names}
    dl.write_deltalake(path, wide(), configuration=configuration)
    assert columns_of(path) == expected


def test_named_columns_take_precedence(dl, path):
    configuration = {
        "delta.dataSkippingStatsColumns": "c",
        "delta.dataSkippingNumIndexedCols": "1",
    }
    dl.write_deltalake(path, wide(), configuration=configuration)
    assert columns_of(path) == ["c"]


def test_first_32_columns_by_default(dl, path):
    dl.write_deltalake(path, pa.table({f"c{i:02}": [i] for i in range(40)}))
    assert columns_of(path) == [f"c{i:02}" for i in range(32)]


def test_changed_setting_applies_to_new_files(dl, path):
    dl.write_deltalake(path, wide())
    table = dl.DeltaTable(path)
    table.alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "1"})
    dl.write_deltalake(table, wide(), mode="append")
    assert sorted(stats(path, 2)["minValues"]) == ["a"]


def test_partition_columns_have_no_statistics(dl, path):
    dl.write_deltalake(path, pa.table({"a": [1], "p": ["x"]}), partition_by="p")
    assert columns_of(path) == ["a"]


def test_all_nulls(dl, path):
    dl.write_deltalake(path, ids(None, None))
    assert stats(path) == {
        "numRecords": 2,
        "minValues": {},
        "maxValues": {},
        "nullCount": {"id": 2},
    }


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"x"]),
        pa.array([[1]]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda values: str(values.type),
)
def test_types_without_statistics(dl, path, values):
    dl.write_deltalake(path, pa.table({"x": values, "a": [1]}))
    assert columns_of(path) == ["a"]


def test_long_text_is_truncated(dl, path):
    dl.write_deltalake(path, pa.table({"s": ["x" * 100]}))
    found = stats(path)
    assert found["minValues"]["s"] == "x" * 64
    assert found["maxValues"]["s"] == "x" * 63 + "y"


def test_not_a_number_is_left_out(dl, path):
    dl.write_deltalake(path, pa.table({"f": [1.5, float("nan")]}))
    found = stats(path)
    assert found["minValues"] == {"f": 1.5}
    assert found["maxValues"] == {"f": 1.5}


def test_statistics_after_delete(dl, path):
    dl.write_deltalake(path, ids(1, 2, 3))
    dl.DeltaTable(path).delete("id = 3")
    assert stats(path, 1)["maxValues"] == {"id": 2}
    assert stats(path, 1)["numRecords"] == 2


def test_statistics_after_compaction(dl, path):
    for i in (1, 2):
        dl.write_deltalake(path, ids(i), mode="append")
    dl.DeltaTable(path).optimize.compact()
    found = stats(path, 2)
    assert (found["minValues"], found["maxValues"]) == ({"id": 1}, {"id": 2})


def test_statistics_of_several_files(dl, path):
    data = pa.table({"a": range(20_000)})
    dl.write_deltalake(path, data, target_file_size=20_000)
    found = [json.loads(add["stats"]) for add in actions(path, 0, "add")]
    assert sum(s["numRecords"] for s in found) == 20_000
    assert min(s["minValues"]["a"] for s in found) == 0
    assert max(s["maxValues"]["a"] for s in found) == 19_999
