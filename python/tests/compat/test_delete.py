"""``DeltaTable.delete``."""

import pyarrow as pa
import pytest

from .helpers import actions, column, ids, plain_error, raises_exactly, rows, sample


def test_delete_with_a_predicate(dl, path, table):
    metrics = table.delete("id = 1")
    assert metrics["num_deleted_rows"] == 1
    assert metrics["num_copied_rows"] == 2
    assert metrics["num_added_files"] == 1
    assert metrics["num_removed_files"] == 1
    assert column(table, "id") == [0, 2]
    assert table.version() == dl.DeltaTable(path).version() == 1


def test_delete_metrics_names(table):
    assert set(table.delete("id = 1")) == {
        "num_added_files",
        "num_removed_files",
        "num_deleted_rows",
        "num_copied_rows",
        "execution_time_ms",
        "scan_time_ms",
        "rewrite_time_ms",
    }


def test_delete_everything(dl, path, table):
    metrics = table.delete()
    assert metrics["num_removed_files"] == 1
    assert metrics["num_added_files"] == 0
    assert metrics["num_deleted_rows"] == 3
    assert rows(table, "id") == []
    assert table.file_uris() == []


def test_delete_everything_of_an_empty_table_adds_no_version(table):
    table.delete()
    metrics = table.delete()
    assert metrics["num_removed_files"] == 0
    assert table.version() == 1


def test_delete_without_matches_adds_no_version(dl, path, table):
    metrics = table.delete("id = 77")
    assert metrics["num_deleted_rows"] == 0
    assert dl.DeltaTable(path).version() == 0


def test_delete_of_whole_files_rewrites_nothing(dl, path):
    dl.write_deltalake(path, ids(1), mode="append")
    dl.write_deltalake(path, ids(2), mode="append")
    table = dl.DeltaTable(path)
    metrics = table.delete("id = 1")
    assert metrics["num_removed_files"] == 1
    assert metrics["num_copied_rows"] == 0
    assert column(table, "id") == [2]


@pytest.mark.parametrize(
    ("predicate", "left"),
    [
        ("id > 0", [0]),
        ("id in (0, 2)", [1]),
        ("id between 1 and 2", [0]),
        ("name like 'a%'", [1, 2]),
        ("name = 'a' or id = 2", [1]),
        ("not (id = 0)", [0]),
        ("id % 2 = 0", [1]),
        ("upper(name) = 'B'", [0, 2]),
        ("true", []),
        ("false", [0, 1, 2]),
    ],
)
def test_delete_predicates(table, predicate, left):
    table.delete(predicate)
    assert column(table, "id") == left


def test_delete_keeps_rows_where_the_predicate_is_null(dl, path):
    dl.write_deltalake(path, ids(1, 2, None))
    table = dl.DeltaTable(path)
    table.delete("id = 1")
    assert column(table, "id") == [2, None]


def test_delete_nulls(dl, path):
    dl.write_deltalake(path, ids(1, None))
    table = dl.DeltaTable(path)
    table.delete("id is null")
    assert column(table, "id") == [1]


def test_delete_history(table):
    table.delete("id = 1")
    entry = table.history(1)[0]
    assert entry["operation"] == "DELETE"
    assert entry["operationParameters"] == {"predicate": "id = 1"}
    assert entry["readVersion"] == 0
    assert entry["operationMetrics"]["num_deleted_rows"] == 1


def test_delete_everything_history(table):
    table.delete()
    assert table.history(1)[0]["operationParameters"] == {}


def test_delete_log(path, table):
    old = table.get_add_actions().column("path").to_pylist()
    table.delete("id = 1")
    (removed,) = actions(path, 1, "remove")
    (added,) = actions(path, 1, "add")
    assert [removed["path"]] == old
    assert removed["dataChange"] is True
    assert added["path"] != removed["path"]


def test_delete_keeps_the_old_version(dl, path, table):
    table.delete()
    assert len(rows(dl.DeltaTable(path, version=0))) == 3


def test_delete_unknown_column(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        table.delete("nope = 1")


def test_delete_predicate_that_does_not_parse(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        table.delete("id =")


@pytest.mark.parametrize("predicate", ["id", "id + 1", "name"])
def test_delete_predicate_that_is_no_condition(dl, table, predicate):
    with raises_exactly(dl.exceptions.DeltaError, "non-boolean predicate"):
        table.delete(predicate)


def test_delete_predicate_comparing_a_number_with_text(dl, table):
    with pytest.raises(plain_error(dl), match="Cannot cast string 'abc'"):
        table.delete("id = 'abc'")
    table.delete("id = '1'")
    assert column(table, "id") == [0, 2]


def test_delete_empty_predicate(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        table.delete("")


def test_delete_predicate_must_be_text(table):
    with raises_exactly(TypeError, "str"):
        table.delete(3)


def test_delete_column_names_are_case_sensitive(dl, path):
    dl.write_deltalake(path, pa.table({"Id": [1, 2]}))
    table = dl.DeltaTable(path)
    table.delete("Id = 1")
    assert column(table, "Id") == [2]


def test_delete_quoted_column_name(dl, path):
    dl.write_deltalake(path, pa.table({"my col": [1, 2]}))
    table = dl.DeltaTable(path)
    table.delete("`my col` = 1")
    assert column(table, "my col") == [2]


def test_delete_from_an_append_only_table(dl, path):
    dl.write_deltalake(path, sample(), configuration={"delta.appendOnly": "true"})
    with raises_exactly(dl.exceptions.CommitFailedError, "append-only"):
        dl.DeltaTable(path).delete()


def test_delete_writer_properties(dl, table):
    table.delete("id = 1", dl.WriterProperties(compression="GZIP"))
    assert all("gz" in uri for uri in table.file_uris())


def test_delete_custom_metadata(dl, table):
    properties = dl.CommitProperties(custom_metadata={"why": "gdpr"})
    table.delete("id = 1", commit_properties=properties)
    assert table.history(1)[0]["why"] == "gdpr"


def test_delete_from_a_nested_column(dl, path):
    dl.write_deltalake(path, pa.table({"s": [{"a": 1}, {"a": 2}]}))
    table = dl.DeltaTable(path)
    table.delete("s['a'] = 1")
    assert table.to_pyarrow_table().to_pylist() == [{"s": {"a": 2}}]


def test_delete_by_date(dl, path):
    days = pa.array([19000, 20000], pa.int32()).cast(pa.date32())
    dl.write_deltalake(path, pa.table({"day": days}))
    table = dl.DeltaTable(path)
    table.delete("day < '2023-01-01'")
    assert table.count() == 1
