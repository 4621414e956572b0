"""Check constraints, invariants and generated columns."""

import json
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import column, ids, raises_exactly, rows, sample


@pytest.fixture
def checked(table: Any) -> Any:
    table.alter.add_constraint({"positive": "id >= 0"})
    return table


def test_add_constraint(dl, path, checked):
    assert checked.version() == dl.DeltaTable(path).version() == 1
    assert checked.metadata().configuration == {"delta.constraints.positive": "id >= 0"}
    assert checked.protocol() == (1, 3, None, None)


def test_add_constraint_history(checked):
    entry = checked.history(1)[0]
    assert entry["operation"] == "ADD CONSTRAINT"
    assert json.loads(entry["operationParameters"]["constraints"]) == [
        {"name": "positive", "expr": "id >= 0"}
    ]


def test_add_constraint_that_does_not_hold(dl, path, table):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found: 2 rows failed"):
        table.alter.add_constraint({"large": "id > 1"})
    assert dl.DeltaTable(path).version() == 0


def test_add_constraint_on_unknown_column(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        table.alter.add_constraint({"c": "nope > 1"})


def test_add_constraint_that_does_not_parse(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        table.alter.add_constraint({"c": "id >"})


def test_add_several_constraints(table):
    table.alter.add_constraint({"a": "id >= 0", "b": "id < 100"})
    assert set(table.metadata().configuration) == {
        "delta.constraints.a",
        "delta.constraints.b",
    }


def test_add_no_constraint(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No check constraint"):
        table.alter.add_constraint({})


def test_constraint_on_append(dl, path, checked):
    bad = pa.table({"id": [-1], "name": ["x"]})
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found: 1 rows failed"):
        dl.write_deltalake(checked, bad, mode="append")
    assert dl.DeltaTable(path).version() == 1


def test_constraint_on_append_of_good_data(dl, checked):
    dl.write_deltalake(checked, sample(), mode="append")
    assert checked.count() == 6


def test_constraint_rejects_nulls(dl, checked):
    bad = pa.table({"id": pa.array([None], pa.int64()), "name": ["x"]})
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        dl.write_deltalake(checked, bad, mode="append")


def test_constraint_on_update(dl, checked):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found: 3 rows failed"):
        checked.update({"id": "-5"})
    assert column(checked, "id") == [0, 1, 2]


def test_constraint_on_merge(dl, checked):
    builder = checked.merge(
        pa.table({"id": [-9], "name": ["x"]}),
        "s.id = t.id",
        source_alias="s",
        target_alias="t",
    ).when_not_matched_insert_all()
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        builder.execute()


def test_constraint_on_overwrite(dl, checked):
    bad = pa.table({"id": [-1], "name": ["x"]})
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        dl.write_deltalake(checked, bad, mode="overwrite")


def test_drop_constraint(dl, path, checked):
    checked.alter.drop_constraint("positive")
    assert checked.metadata().configuration == {}
    dl.write_deltalake(path, pa.table({"id": [-1], "name": ["x"]}), mode="append")
    assert -1 in column(dl.DeltaTable(path), "id")


def test_drop_constraint_history(checked):
    checked.alter.drop_constraint("positive")
    entry = checked.history(1)[0]
    assert entry["operation"] == "DROP CONSTRAINT"
    assert entry["operationParameters"] == {"name": "positive"}


def test_drop_constraint_keeps_the_protocol(checked):
    checked.alter.drop_constraint("positive")
    assert checked.protocol() == (1, 3, None, None)


def test_drop_unknown_constraint(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "'nope' does not exist"):
        table.alter.drop_constraint("nope")


def test_drop_unknown_constraint_silently(table):
    table.alter.drop_constraint("nope", raise_if_not_exists=False)
    assert table.version() == 0


def test_drop_constraint_custom_metadata(dl, checked):
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    checked.alter.drop_constraint("positive", commit_properties=properties)
    assert checked.history(1)[0]["job"] == "x"


@pytest.fixture
def invariant(dl: ModuleType, path: str) -> Any:
    expression = json.dumps({"expression": {"expression": "id > 3"}})
    field = dl.Field("id", "long", metadata={"delta.invariants": expression})
    return dl.DeltaTable.create(path, dl.Schema([field]))


def test_invariants_of_a_table(invariant):
    assert invariant.schema().invariants == [("id", "id > 3")]


def test_invariant_on_append(dl, invariant):
    dl.write_deltalake(invariant, ids(5), mode="append")
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        dl.write_deltalake(invariant, ids(3), mode="append")
    assert column(invariant, "id") == [5]


@pytest.fixture
def generated(dl: ModuleType, path: str) -> Any:
    expression = {"delta.generationExpression": "a * 2"}
    return dl.DeltaTable.create(
        path,
        dl.Schema(
            [dl.Field("a", "long"), dl.Field("twice", "long", metadata=expression)]
        ),
    )


def test_generated_column_raises_the_protocol(generated):
    assert generated.protocol() == (1, 4, None, None)


def test_generated_column_is_computed(dl, generated):
    dl.write_deltalake(generated, pa.table({"a": [1, 2]}), mode="append")
    assert rows(generated) == [{"a": 1, "twice": 2}, {"a": 2, "twice": 4}]


def test_generated_column_may_be_given(dl, generated):
    data = pa.table({"a": [3], "twice": [6]})
    dl.write_deltalake(generated, data, mode="append")
    assert rows(generated) == [{"a": 3, "twice": 6}]


def test_generated_column_is_checked(dl, generated):
    data = pa.table({"a": [3], "twice": [7]})
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        dl.write_deltalake(generated, data, mode="append")


def test_generated_column_in_merge(dl, generated):
    generated.merge(
        pa.table({"a": [9]}), "s.a = t.a", source_alias="s", target_alias="t"
    ).when_not_matched_insert({"a": "s.a"}).execute()
    assert rows(generated) == [{"a": 9, "twice": 18}]


def test_generated_column_is_not_recomputed_by_update(dl, generated):
    dl.write_deltalake(generated, pa.table({"a": [1]}), mode="append")
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found"):
        generated.update({"a": "100"})


def test_generated_column_metadata_is_kept(dl, path, generated):
    dl.write_deltalake(generated, pa.table({"a": [1]}), mode="append")
    metadata = dl.DeltaTable(path).schema().fields[1].metadata
    assert metadata == {"delta.generationExpression": "a * 2"}


GENERATED = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field(
            "twice", pa.int64(), metadata={"delta.generationExpression": "id * 2"}
        ),
    ]
)


@pytest.mark.parametrize(
    "evolve",
    [
        lambda dl, t, data: dl.write_deltalake(
            t, data, mode="append", schema_mode="merge"
        ),
        lambda dl, t, data: (
            t.merge(data, "s.id = t.id", "s", "t", merge_schema=True)
            .when_not_matched_insert_all()
            .execute()
        ),
    ],
    ids=["append", "merge"],
)
def test_generated_column_in_schema_evolution(dl, path, evolve):
    dl.write_deltalake(path, ids(1))
    data = pa.table({"id": [5], "twice": [10]}, schema=GENERATED)
    with raises_exactly(
        dl.exceptions.SchemaMismatchError,
        "Schema evolved fields cannot have generated expressions",
    ):
        evolve(dl, dl.DeltaTable(path), data)
    assert dl.DeltaTable(path).version() == 0
