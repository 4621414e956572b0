"""``write_deltalake(mode="overwrite", predicate=…)``."""

from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import actions, raises_exactly, rows


def pets(**columns: Any) -> pa.Table:
    return pa.table(columns)


@pytest.fixture
def cats(dl: ModuleType, path: str) -> Any:
    dl.write_deltalake(path, pets(a=[1, 2, 3], kind=["cat", "dog", "cat"]))
    return dl.DeltaTable(path)


def replace(
    dl: ModuleType, table: Any, data: Any, predicate: Any, **options: Any
) -> None:
    dl.write_deltalake(table, data, mode="overwrite", predicate=predicate, **options)


def test_replaces_matching_rows(dl, cats):
    replace(dl, cats, pets(a=[10], kind=["cat"]), "kind = 'cat'")
    assert rows(cats) == [{"a": 2, "kind": "dog"}, {"a": 10, "kind": "cat"}]


def test_adds_when_nothing_matches(dl, cats):
    replace(dl, cats, pets(a=[10], kind=["cow"]), "kind = 'cow'")
    assert [row["a"] for row in rows(cats)] == [1, 2, 3, 10]


def test_removes_with_no_rows(dl, cats):
    nothing = pets(a=pa.array([], pa.int64()), kind=pa.array([], pa.string()))
    replace(dl, cats, nothing, "kind = 'cat'")
    assert rows(cats) == [{"a": 2, "kind": "dog"}]


def test_history(dl, cats):
    replace(dl, cats, pets(a=[10], kind=["cat"]), "kind = 'cat'")
    entry = cats.history(1)[0]
    assert entry["operation"] == "WRITE"
    assert entry["operationParameters"] == {
        "mode": "Overwrite",
        "predicate": "kind = 'cat'",
    }
    assert entry["operationMetrics"]["num_removed_files"] == 1


def test_data_outside_the_predicate(dl, cats):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found: 1 rows failed"):
        replace(dl, cats, pets(a=[10], kind=["dog"]), "kind = 'cat'")
    assert cats.version() == 0


def test_append_with_a_predicate_checks_the_data(dl, cats):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        dl.write_deltalake(
            cats,
            pets(a=[10], kind=["dog"]),
            mode="append",
            predicate="kind = 'cat'",
        )


def test_replace_where_unknown_column(dl, cats):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        replace(dl, cats, pets(a=[10], kind=["cat"]), "nope = 'cat'")


def test_replace_where_that_does_not_parse(dl, cats):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        replace(dl, cats, pets(a=[10], kind=["cat"]), "kind =")


def test_partitioned_table_replaces_only_its_partition(dl, path):
    data = pets(a=[1, 2, 3], kind=["cat", "dog", "cat"])
    dl.write_deltalake(path, data, partition_by="kind")
    table = dl.DeltaTable(path)
    kept = table.file_uris(file_pruning_predicate="kind = 'dog'")
    replace(dl, table, pets(a=[10], kind=["cat"]), "kind = 'cat'")
    assert len(actions(path, 1, "remove")) == 1
    assert table.file_uris(file_pruning_predicate="kind = 'dog'") == kept
    assert rows(table) == [{"a": 2, "kind": "dog"}, {"a": 10, "kind": "cat"}]


def test_several_conditions(dl, cats):
    replace(dl, cats, pets(a=[3], kind=["cat"]), "kind = 'cat' and a > 1")
    assert [row["a"] for row in rows(cats)] == [1, 2, 3]
    assert cats.version() == 1


def test_with_merged_schema(dl, cats):
    data = pets(a=[10], kind=["cat"], age=[4])
    replace(dl, cats, data, "kind = 'cat'", schema_mode="merge")
    assert rows(cats) == [
        {"a": 2, "kind": "dog", "age": None},
        {"a": 10, "kind": "cat", "age": 4},
    ]


def test_with_overwritten_schema_of_the_same_columns(dl, cats):
    data = pets(a=[10], kind=["cat"])
    replace(dl, cats, data, "kind = 'cat'", schema_mode="overwrite")
    assert rows(cats) == [{"a": 2, "kind": "dog"}, {"a": 10, "kind": "cat"}]


@pytest.mark.parametrize("schema_mode", [None, "overwrite"])
@pytest.mark.parametrize("columns", ["a", []], ids=["another", "none"])
def test_with_another_partitioning(dl, path, columns, schema_mode):
    data = pets(a=[1, 2], kind=["cat", "dog"])
    dl.write_deltalake(path, data, partition_by="kind")
    table = dl.DeltaTable(path)
    with raises_exactly(
        dl.exceptions.DeltaError, "Specified table partitioning does not match"
    ):
        replace(
            dl,
            table,
            pets(a=[10], kind=["cat"]),
            "kind = 'cat'",
            partition_by=columns,
            schema_mode=schema_mode,
        )
    assert dl.DeltaTable(path).version() == 0


def test_nulls_do_not_match(dl, path):
    dl.write_deltalake(path, pets(a=[1, 2], kind=["cat", None]))
    table = dl.DeltaTable(path)
    replace(dl, table, pets(a=[3], kind=["cat"]), "kind = 'cat'")
    assert rows(table) == [{"a": 2, "kind": None}, {"a": 3, "kind": "cat"}]
