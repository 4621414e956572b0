"""``DeltaTable.merge`` and every clause of its builder."""

from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from .helpers import actions, ids, plain_error, raises_exactly, rows, sample


def source(**columns: Any) -> pa.Table:
    return pa.table(columns or {"id": [1, 5], "name": ["one", "five"]})


def merge(
    table: Any, data: Any = None, predicate: Any = "s.id = t.id", **options: Any
) -> Any:
    aliases = {"source_alias": "s", "target_alias": "t"}
    return table.merge(
        source() if data is None else data, predicate, **(aliases | options)
    )


def names(table: Any) -> dict[Any, Any]:
    return {row["id"]: row["name"] for row in rows(table)}


def test_merge_returns_a_builder(dl, table):
    builder = merge(table)
    assert isinstance(builder, dl.table.TableMerger)
    assert builder.when_matched_delete() is builder
    assert table.version() == 0


def test_merge_upsert(dl, path, table):
    metrics = (
        merge(table).when_matched_update_all().when_not_matched_insert_all().execute()
    )
    assert metrics["num_source_rows"] == 2
    assert metrics["num_target_rows_inserted"] == 1
    assert metrics["num_target_rows_updated"] == 1
    assert metrics["num_target_rows_deleted"] == 0
    assert metrics["num_target_rows_copied"] == 2
    assert metrics["num_output_rows"] == 4
    assert names(table) == {0: "a", 1: "one", 2: "c", 5: "five"}
    assert table.version() == dl.DeltaTable(path).version() == 1


def test_merge_metrics_names(table):
    assert set(merge(table).when_matched_delete().execute()) == {
        "num_source_rows",
        "num_target_rows_inserted",
        "num_target_rows_updated",
        "num_target_rows_deleted",
        "num_target_rows_copied",
        "num_output_rows",
        "num_target_files_scanned",
        "num_target_files_skipped_during_scan",
        "num_target_files_added",
        "num_target_files_removed",
        "execution_time_ms",
        "scan_time_ms",
        "rewrite_time_ms",
    }


def test_merge_without_clauses_adds_no_version(dl, path, table):
    metrics = merge(table).execute()
    assert metrics["num_target_files_added"] == 0
    assert dl.DeltaTable(path).version() == 0


def test_merge_without_matches_adds_no_version(dl, path, table):
    data = source(id=[99], name=["x"])
    merge(table, data).when_matched_update_all().execute()
    assert names(table) == {0: "a", 1: "b", 2: "c"}
    assert dl.DeltaTable(path).version() == 0


def test_matched_update(table):
    merge(table).when_matched_update({"name": "upper(s.name)"}).execute()
    assert names(table) == {0: "a", 1: "ONE", 2: "c"}


def test_matched_update_with_a_predicate(table):
    data = source(id=[0, 1], name=["zero", "one"])
    merge(table, data).when_matched_update(
        {"name": "s.name"}, predicate="t.id > 0"
    ).execute()
    assert names(table) == {0: "a", 1: "one", 2: "c"}


def test_matched_update_from_both_sides(table):
    merge(table).when_matched_update({"t.name": "t.name || '-' || s.name"}).execute()
    assert names(table)[1] == "b-one"


def test_matched_update_all_with_a_predicate(table):
    merge(table).when_matched_update_all(predicate="s.name = 'nobody'").execute()
    assert names(table)[1] == "b"


def test_matched_update_all_except_columns(table):
    data = source(id=[1], name=["one"], note=["ignored"])
    merge(table, data).when_matched_update_all(except_cols=["note"]).execute()
    assert names(table)[1] == "one"


def test_matched_update_all_keeps_excepted_columns(table):
    merge(table).when_matched_update_all(except_cols=["name"]).execute()
    assert names(table)[1] == "b"


def test_matched_delete(table):
    metrics = merge(table).when_matched_delete().execute()
    assert metrics["num_target_rows_deleted"] == 1
    assert names(table) == {0: "a", 2: "c"}


def test_matched_delete_with_a_predicate(table):
    data = source(id=[0, 1], gone=[False, True])
    merge(table, data).when_matched_delete("s.gone").execute()
    assert names(table) == {0: "a", 2: "c"}


def test_not_matched_insert(table):
    merge(table).when_not_matched_insert(
        {"id": "s.id", "name": "upper(s.name)"}
    ).execute()
    assert names(table) == {0: "a", 1: "b", 2: "c", 5: "FIVE"}


def test_not_matched_insert_with_a_predicate(table):
    data = source(id=[5, 6], name=["five", "six"])
    merge(table, data).when_not_matched_insert(
        {"id": "s.id", "name": "s.name"}, predicate="s.id > 5"
    ).execute()
    assert set(names(table)) == {0, 1, 2, 6}


def test_not_matched_insert_leaves_other_columns_null(table):
    merge(table).when_not_matched_insert({"id": "s.id"}).execute()
    assert names(table)[5] is None


def test_not_matched_insert_all_with_a_predicate(table):
    merge(table).when_not_matched_insert_all(predicate="s.id > 5").execute()
    assert set(names(table)) == {0, 1, 2}


def test_not_matched_insert_all_except_columns(table):
    merge(table).when_not_matched_insert_all(except_cols=["name"]).execute()
    assert names(table)[5] is None


def test_not_matched_insert_rewrites_nothing(path, table):
    metrics = merge(table).when_not_matched_insert_all().execute()
    assert metrics["num_target_files_removed"] == 0
    assert metrics["num_target_rows_copied"] == 0
    assert actions(path, 1, "remove") == []


def test_not_matched_by_source_delete(table):
    metrics = merge(table).when_not_matched_by_source_delete().execute()
    assert metrics["num_target_rows_deleted"] == 2
    assert names(table) == {1: "b"}


def test_not_matched_by_source_delete_with_a_predicate(table):
    merge(table).when_not_matched_by_source_delete("t.id = 2").execute()
    assert names(table) == {0: "a", 1: "b"}


def test_not_matched_by_source_update(table):
    merge(table).when_not_matched_by_source_update({"name": "'gone'"}).execute()
    assert names(table) == {0: "gone", 1: "b", 2: "gone"}


def test_not_matched_by_source_update_with_a_predicate(table):
    merge(table).when_not_matched_by_source_update(
        {"name": "'gone'"}, predicate="t.id = 0"
    ).execute()
    assert names(table) == {0: "gone", 1: "b", 2: "c"}


def test_the_first_clause_that_applies_wins(table):
    (
        merge(table, source(id=[0, 1], name=["x", "y"]))
        .when_matched_update({"name": "'first'"}, predicate="s.id = 0")
        .when_matched_update({"name": "'second'"})
        .execute()
    )
    assert names(table) == {0: "first", 1: "second", 2: "c"}


def test_all_clauses_at_once(dl, path):
    dl.write_deltalake(path, sample(5))
    table = dl.DeltaTable(path)
    data = source(id=[1, 2, 3, 9, 10], name=["A", "B", "C", "D", "E"])
    metrics = (
        merge(table, data)
        .when_matched_update({"name": "'updated'"}, predicate="s.id = 1")
        .when_matched_delete(predicate="s.id = 2")
        .when_not_matched_insert({"id": "s.id", "name": "s.name"}, "s.id < 10")
        .when_not_matched_by_source_update({"name": "'left'"}, "t.id = 0")
        .when_not_matched_by_source_delete("t.id = 4")
        .execute()
    )
    assert names(table) == {0: "left", 1: "updated", 3: "d", 9: "D"}
    assert metrics["num_target_rows_updated"] == 2
    assert metrics["num_target_rows_deleted"] == 2
    assert metrics["num_target_rows_inserted"] == 1


def test_several_source_rows_for_one_target_row(dl, path, table):
    data = source(id=[1, 1], name=["x", "y"])
    with raises_exactly(dl.exceptions.DeltaError, "multiple source rows"):
        merge(table, data).when_matched_update_all().execute()
    assert dl.DeltaTable(path).version() == 0


def test_several_source_rows_may_delete_one_target_row(table):
    data = source(id=[1, 1], name=["x", "y"])
    metrics = merge(table, data).when_matched_delete().execute()
    assert metrics["num_target_rows_deleted"] == 1
    assert names(table) == {0: "a", 2: "c"}


def test_null_keys_do_not_match(dl, path):
    dl.write_deltalake(path, pa.table({"id": [1, None], "name": ["a", "n"]}))
    table = dl.DeltaTable(path)
    data = source(id=[None, 1], name=["new", "one"])
    merge(table, data).when_matched_update_all().when_not_matched_insert_all().execute()
    found = [(row["id"], row["name"]) for row in rows(table, "id", "name")]
    assert found == [(1, "one"), (None, "n"), (None, "new")]


def test_columns_without_alias(dl, path):
    dl.write_deltalake(path, pa.table({"tid": [1, 2]}))
    table = dl.DeltaTable(path)
    data = pa.table({"sid": [1]})
    merge(table, data, "tid = sid").when_matched_update({"tid": "sid + 10"}).execute()
    assert rows(table) == [{"tid": 2}, {"tid": 11}]


def test_source_alias_only(dl, path):
    dl.write_deltalake(path, pa.table({"tid": [1, 2]}))
    table = dl.DeltaTable(path)
    builder = table.merge(pa.table({"sid": [1]}), "tid = s.sid", source_alias="s")
    builder.when_matched_delete().execute()
    assert rows(table) == [{"tid": 2}]


def test_ambiguous_column(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "Ambiguous reference"):
        merge(table, predicate="id = 1").when_matched_delete().execute()


def test_unknown_column_in_the_predicate(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        merge(table, predicate="s.id = nope").when_matched_delete().execute()


def test_unknown_column_in_an_expression(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, r"No field named (s\.)?nope"):
        merge(table).when_matched_update({"name": "s.nope"}).execute()


def test_merge_predicate_that_does_not_parse(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "parser"):
        merge(table, predicate="s.id =").when_matched_delete().execute()


def test_failed_merge_leaves_no_version(dl, path, table):
    with pytest.raises(dl.exceptions.DeltaError):
        merge(table).when_matched_update({"name": "s.nope"}).execute()
    assert dl.DeltaTable(path).version() == 0


def test_source_must_be_arrow_data(table):
    with raises_exactly(ValueError, "__arrow_c_array__ or __arrow_c_stream__"):
        table.merge({"id": [1]}, "s.id = t.id")


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"id": [1], "name": ["one"]}),
        pl.DataFrame({"id": [1], "name": ["one"]}),
        pa.record_batch({"id": [1], "name": ["one"]}),
        duckdb.sql("select 1::bigint as id, 'one' as name"),
    ],
    ids=["pandas", "polars", "batch", "duckdb"],
)
def test_source_of_other_packages(table, data):
    merge(table, data).when_matched_update_all().execute()
    assert names(table)[1] == "one"


def test_source_from_another_table(dl, new_path, table):
    other = new_path()
    dl.write_deltalake(other, source())
    data = dl.DeltaTable(other).scan()
    merge(table, data).when_matched_update_all().execute()
    assert names(table)[1] == "one"


@pytest.mark.parametrize("streamed", [True, False])
def test_streamed_execution(table, streamed):
    merge(table, streamed_exec=streamed).when_matched_delete().execute()
    assert names(table) == {0: "a", 2: "c"}


def test_spill_limits(table):
    merge(
        table, max_spill_size=10**9, max_temp_directory_size=10**9
    ).when_matched_delete().execute()
    assert names(table) == {0: "a", 2: "c"}


def test_empty_source(table):
    merge(table, sample(0)).when_not_matched_by_source_delete().execute()
    assert rows(table, "id") == []


def test_empty_target(dl, path):
    table = dl.DeltaTable.create(
        path, dl.Schema([dl.Field("id", "long"), dl.Field("name", "string")])
    )
    merge(table).when_not_matched_insert_all().execute()
    assert names(table) == {1: "one", 5: "five"}


def test_merge_schema_adds_source_columns(table):
    data = source(id=[1, 5], name=["one", "five"], extra=[1.5, 2.5])
    (
        merge(table, data, merge_schema=True)
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
    assert [field.name for field in table.schema().fields] == ["id", "name", "extra"]
    assert {row["id"]: row["extra"] for row in rows(table)} == {
        0: None,
        1: 1.5,
        2: None,
        5: 2.5,
    }


def test_merge_schema_is_off_by_default(table):
    data = source(id=[1], name=["one"], extra=[1.5])
    merge(table, data).when_matched_update({"name": "s.name"}).execute()
    assert [field.name for field in table.schema().fields] == ["id", "name"]


def test_all_clauses_leave_out_columns_of_the_source_alone(table):
    data = source(id=[1, 5], name=["one", "five"], extra=[1.5, 2.5])
    (
        merge(table, data)
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
    assert [field.name for field in table.schema().fields] == ["id", "name"]
    assert names(table) == {0: "a", 1: "one", 2: "c", 5: "five"}


def test_values_are_cast_to_the_target(dl, path):
    schema = pa.schema([("id", pa.int64()), ("x", pa.int8())])
    dl.write_deltalake(path, pa.table({"id": [1], "x": [0]}, schema=schema))
    table = dl.DeltaTable(path)
    merge(table, source(id=[1], x=["7"])).when_matched_update_all().execute()
    assert table.to_pyarrow_table().schema == schema
    assert rows(table) == [{"id": 1, "x": 7}]


def test_value_that_cannot_be_cast(dl, table):
    builder = merge(table).when_matched_update({"id": "s.name"})
    with pytest.raises(plain_error(dl), match="Cast error: Cannot cast string 'one'"):
        builder.execute()


def test_value_that_cannot_be_cast_becomes_null_on_request(table):
    merge(table, error_on_type_mismatch=False).when_matched_update(
        {"id": "s.name"}
    ).execute()
    assert names(table) == {0: "a", 2: "c", None: "b"}


def test_column_names_in_backticks(dl, path):
    dl.write_deltalake(path, pa.table({"id": [1], "my col": [2], "1y": [3]}))
    table = dl.DeltaTable(path)
    data = source(**{"id": [1], "my col": [5], "1y": [6]})
    merge(table, data).when_matched_update({"`my col`": "s.`1y`"}).execute()
    assert rows(table) == [{"id": 1, "my col": 6, "1y": 3}]
    merge(table, data).when_matched_update_all().execute()
    assert rows(table) == [{"id": 1, "my col": 5, "1y": 6}]


def test_column_names_in_upper_case(dl, path):
    dl.write_deltalake(path, pa.table({"Id": [1], "Name": ["a"]}))
    table = dl.DeltaTable(path)
    data = source(Id=[1], Name=["one"])
    merge(table, data, "s.Id = t.Id").when_matched_update({"Name": "s.Name"}).execute()
    assert rows(table) == [{"Id": 1, "Name": "one"}]


def test_merge_history(table):
    merge(table).when_matched_update_all("s.id > 0").execute()
    entry = table.history(1)[0]
    assert entry["operation"] == "MERGE"
    parameters = entry["operationParameters"]
    assert set(parameters) == {
        "mergePredicate",
        "matchedPredicates",
        "notMatchedPredicates",
        "notMatchedBySourcePredicates",
    }
    assert '"actionType":"update"' in parameters["matchedPredicates"]
    assert parameters["notMatchedPredicates"] == "[]"
    assert entry["readVersion"] == 0


def test_merge_custom_metadata_and_writer_properties(dl, table):
    merge(
        table,
        writer_properties=dl.WriterProperties(compression="GZIP"),
        commit_properties=dl.CommitProperties(custom_metadata={"job": "x"}),
    ).when_matched_update_all().execute()
    assert table.history(1)[0]["job"] == "x"
    assert all("gz" in uri for uri in table.file_uris())


def test_merge_into_a_partitioned_table(dl, path):
    data = pa.table({"id": [1, 2], "p": ["a", "b"]})
    dl.write_deltalake(path, data, partition_by="p")
    table = dl.DeltaTable(path)
    (
        merge(table, source(id=[1, 3], p=["a", "c"]), "s.id = t.id and s.p = t.p")
        .when_matched_update({"id": "s.id + 10"})
        .when_not_matched_insert_all()
        .execute()
    )
    assert rows(table) == [
        {"id": 2, "p": "b"},
        {"id": 3, "p": "c"},
        {"id": 11, "p": "a"},
    ]


def test_merge_touches_only_matching_files(dl, path):
    for first in (0, 100):
        dl.write_deltalake(path, ids(first, first + 1), mode="append")
    table = dl.DeltaTable(path)
    metrics = merge(table, ids(100)).when_matched_delete().execute()
    assert metrics["num_target_files_removed"] == 1
    assert metrics["num_target_rows_copied"] == 1


def test_merge_skips_partitions_outside_the_predicate(dl, path):
    data = pa.table({"id": range(10, 15), "p": range(5)})
    dl.write_deltalake(path, data, partition_by="p")
    builder = merge(dl.DeltaTable(path), ids(13, 14), "s.id = t.id and t.p in (3, 4)")
    metrics = builder.when_matched_update({"id": "s.id + 10"}).execute()
    assert metrics["num_target_files_scanned"] == 2
    assert metrics["num_target_files_skipped_during_scan"] == 3
    assert metrics["num_target_rows_updated"] == 2


def test_merge_into_an_append_only_table(dl, path):
    dl.write_deltalake(path, sample(), configuration={"delta.appendOnly": "true"})
    with raises_exactly(dl.exceptions.CommitFailedError, "append-only"):
        merge(dl.DeltaTable(path)).when_matched_delete().execute()


def test_defect_merge_executed_twice(table):
    """The error of an executed builder is an ordinary exception, not a panic."""
    builder = merge(table).when_matched_delete()
    builder.execute()
    with pytest.raises(BaseException) as info:
        builder.execute()
    assert isinstance(info.value, Exception)
