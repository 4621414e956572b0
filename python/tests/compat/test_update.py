"""``DeltaTable.update``."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from .helpers import actions, column, ids, raises_exactly, rows, sample


def test_update_matching_rows(dl, path, table):
    metrics = table.update({"name": "'z'"}, predicate="id = 1")
    assert metrics["num_updated_rows"] == 1
    assert metrics["num_copied_rows"] == 2
    assert metrics["num_added_files"] == 1
    assert metrics["num_removed_files"] == 1
    assert rows(table)[1] == {"id": 1, "name": "z"}
    assert table.version() == dl.DeltaTable(path).version() == 1


def test_update_metrics_names(table):
    assert set(table.update({"name": "'z'"})) == {
        "num_added_files",
        "num_removed_files",
        "num_updated_rows",
        "num_copied_rows",
        "execution_time_ms",
        "scan_time_ms",
    }


def test_update_every_row(table):
    metrics = table.update(updates={"name": "'z'"})
    assert metrics["num_updated_rows"] == 3
    assert column(table, "name") == ["z", "z", "z"]


def test_update_expressions_see_the_old_row(table):
    table.update({"id": "id + 10", "name": "concat(name, id)"})
    assert rows(table) == [
        {"id": 10, "name": "a0"},
        {"id": 11, "name": "b1"},
        {"id": 12, "name": "c2"},
    ]


def test_update_to_null(table):
    table.update({"name": "null"}, predicate="id = 0")
    assert rows(table)[0] == {"id": 0, "name": None}


def test_update_case_expression(table):
    table.update({"name": "case when id > 1 then 'big' else 'small' end"})
    assert column(table, "name") == ["big", "small", "small"]


def test_update_without_matches_adds_no_version(dl, path, table):
    metrics = table.update({"name": "'z'"}, predicate="id = 99")
    assert metrics["num_updated_rows"] == 0
    assert dl.DeltaTable(path).version() == 0


def test_update_nothing_adds_no_version(dl, path, table):
    assert table.update({})["num_updated_rows"] == 0
    assert dl.DeltaTable(path).version() == 0


def test_update_new_values(table):
    table.update(new_values={"name": "q", "id": 7}, predicate="id = 0")
    assert rows(table)[-1] == {"id": 7, "name": "q"}


def test_update_new_values_of_every_type(dl, path):
    moment = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    data = pa.table(
        {
            "i": [0],
            "f": [0.0],
            "b": [False],
            "s": ["x"],
            "l": [[0]],
            "t": pa.array([0], pa.timestamp("us", "UTC")),
        }
    )
    dl.write_deltalake(path, data)
    table = dl.DeltaTable(path)
    table.update(
        new_values={"i": 5, "f": 2.5, "b": True, "s": "y", "l": [1, 2], "t": moment}
    )
    assert rows(table) == [
        {"i": 5, "f": 2.5, "b": True, "s": "y", "l": [1, 2], "t": moment}
    ]


def test_defect_update_new_values_with_quotes(table):
    table.update(new_values={"name": "it's"}, predicate="id = 0")
    assert rows(table)[0] == {"id": 0, "name": "it's"}


@pytest.mark.parametrize("value", [None, b"x", date(2024, 1, 1), {"a": 1}], ids=str)
def test_update_new_values_of_wrong_type(table, value):
    with raises_exactly(TypeError, "Invalid datatype provided in new_values"):
        table.update(new_values={"name": value})


def test_update_needs_values(table):
    with raises_exactly(ValueError, "updates or new_values need to be passed"):
        table.update()


def test_update_takes_one_kind_of_values(table):
    with raises_exactly(ValueError, "at same time is not allowed"):
        table.update(updates={"id": "1"}, new_values={"id": 1})


def test_update_expressions_must_be_text(table):
    with raises_exactly(TypeError, "Did you mean to use the new_values"):
        table.update(updates={"id": 1})


def test_update_text_that_is_no_number(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "Cannot cast string 'abc'"):
        table.update({"id": "'abc'"})


def test_update_mismatch_becomes_null_on_request(table):
    table.update({"id": "'abc'"}, error_on_type_mismatch=False)
    assert column(table, "id") == [None, None, None]


def test_update_casts(dl, path):
    dl.write_deltalake(path, pa.table({"x": pa.array([1], pa.int8())}))
    table = dl.DeltaTable(path)
    table.update({"x": "'7'"})
    assert table.to_pyarrow_table().column("x") == pa.chunked_array(
        [pa.array([7], pa.int8())]
    )


def test_update_predicate_that_is_no_condition(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "non-boolean predicate"):
        table.update({"name": "'z'"}, predicate="id")


def test_update_ignores_unknown_columns(dl, path, table):
    table.update({"nope": "1"})
    assert dl.DeltaTable(path).schema() == table.schema()
    assert rows(table) == sample().to_pylist()


def test_update_unknown_column_in_predicate(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        table.update({"id": "1"}, predicate="nope = 1")


def test_update_unknown_column_in_expression(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        table.update({"id": "nope + 1"})


def test_update_expression_that_does_not_parse(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        table.update({"id": "id +"})


def test_update_history(table):
    table.update({"name": "'z'"}, predicate="id = 1")
    entry = table.history(1)[0]
    assert entry["operation"] == "UPDATE"
    assert entry["operationParameters"] == {"predicate": "id = 1"}
    assert entry["readVersion"] == 0
    assert entry["operationMetrics"]["num_updated_rows"] == 1


def test_update_log(path, table):
    table.update({"name": "'z'"}, predicate="id = 1")
    assert len(actions(path, 1, "remove")) == 1
    assert len(actions(path, 1, "add")) == 1


def test_update_touches_only_matching_files(dl, path):
    for value in (1, 2):
        dl.write_deltalake(path, ids(value), mode="append")
    table = dl.DeltaTable(path)
    metrics = table.update({"id": "10"}, predicate="id = 1")
    assert metrics["num_removed_files"] == 1
    assert column(table, "id") == [2, 10]


def test_update_keeps_rows_where_the_predicate_is_null(dl, path):
    dl.write_deltalake(path, ids(1, None))
    table = dl.DeltaTable(path)
    table.update({"id": "5"}, predicate="id > 0")
    assert column(table, "id") == [5, None]


def test_update_of_the_partition_column_moves_the_rows(dl, path):
    data = pa.table({"id": [1, 2], "p": ["a", "b"]})
    dl.write_deltalake(path, data, partition_by="p")
    table = dl.DeltaTable(path)
    table.update({"p": "'c'"}, predicate="id = 1")
    assert sorted(p["p"] for p in table.partitions()) == ["b", "c"]


def test_update_of_an_append_only_table(dl, path):
    dl.write_deltalake(path, sample(), configuration={"delta.appendOnly": "true"})
    with raises_exactly(dl.exceptions.CommitFailedError, "append-only"):
        dl.DeltaTable(path).update({"id": "1"})


def test_update_null_into_a_required_column(dl, path):
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    dl.write_deltalake(path, pa.table({"id": [1]}, schema=schema))
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        dl.DeltaTable(path).update({"id": "null"})


def test_update_quoted_column_name(dl, path):
    dl.write_deltalake(path, pa.table({"my col": [1]}))
    table = dl.DeltaTable(path)
    table.update({"`my col`": "`my col` + 1"})
    assert column(table, "my col") == [2]


def test_update_custom_metadata_and_writer_properties(dl, table):
    table.update(
        {"id": "1"},
        writer_properties=dl.WriterProperties(compression="ZSTD"),
        commit_properties=dl.CommitProperties(custom_metadata={"job": "x"}),
    )
    assert table.history(1)[0]["job"] == "x"
    assert all("zstd" in uri for uri in table.file_uris())
