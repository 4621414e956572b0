"""Commit arguments given positionally: still accepted, with a warning."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import ids, raises_exactly, sample


def properties(dl: ModuleType) -> Any:
    return dl.CommitProperties(custom_metadata={"job": "x"})


# The call, its legacy order and the arguments in front of the commit arguments.
CALLS = {
    "add_columns": (
        lambda dl, table: table.alter.add_columns,
        "commit first",
        lambda dl, table: [dl.Field("x", "long")],
    ),
    "add_constraint": (
        lambda dl, table: table.alter.add_constraint,
        "hooks first",
        lambda dl, table: [{"c": "id >= 0"}],
    ),
    "add_feature": (
        lambda dl, table: table.alter.add_feature,
        "commit first",
        lambda dl, table: [dl.TableFeatures.AppendOnly, True],
    ),
    "set_table_properties": (
        lambda dl, table: table.alter.set_table_properties,
        "commit first",
        lambda dl, table: [{"delta.appendOnly": "true"}, True],
    ),
    "set_table_name": (
        lambda dl, table: table.alter.set_table_name,
        "commit first",
        lambda dl, table: ["n"],
    ),
    "set_table_description": (
        lambda dl, table: table.alter.set_table_description,
        "commit first",
        lambda dl, table: ["d"],
    ),
    "set_column_metadata": (
        lambda dl, table: table.alter.set_column_metadata,
        "commit first",
        lambda dl, table: ["id", {"k": "v"}],
    ),
    "delete": (
        lambda dl, table: table.delete,
        "hooks first",
        lambda dl, table: ["id = 0", None],
    ),
    "update": (
        lambda dl, table: table.update,
        "hooks first",
        lambda dl, table: [{"id": "7"}, None, None, None, True],
    ),
    "compact": (
        lambda dl, table: table.optimize.compact,
        "hooks first",
        lambda dl, table: [None] * 7,
    ),
    "z_order": (
        lambda dl, table: table.optimize.z_order,
        "hooks first",
        lambda dl, table: [["id"], *[None] * 7],
    ),
}


@pytest.fixture
def two_files(dl: ModuleType, table: Any) -> Any:
    dl.write_deltalake(table, sample(), mode="append")
    return table


@pytest.mark.parametrize("name", CALLS)
def test_positional_commit_properties(dl, two_files, name):
    method, order, arguments = CALLS[name]
    extra = [properties(dl)]
    if order == "hooks first":
        extra = [dl.PostCommitHookProperties(), *extra]
    message = rf"positionally to {name}\(\) is deprecated"
    with pytest.warns(DeprecationWarning, match=message):
        method(dl, two_files)(*arguments(dl, two_files), *extra)
    assert two_files.history(1)[0]["job"] == "x"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_commit_properties_twice(dl, two_files, name):
    method, _, arguments = CALLS[name]
    with raises_exactly(TypeError, "multiple values for 'commit_properties'"):
        method(dl, two_files)(
            *arguments(dl, two_files), None, None, commit_properties=properties(dl)
        )


@pytest.mark.parametrize("name", CALLS)
def test_too_many_positional_arguments(dl, two_files, name):
    method, _, arguments = CALLS[name]
    with raises_exactly(TypeError, rf"{name}\(\) takes at most 2 positional commit"):
        method(dl, two_files)(*arguments(dl, two_files), None, None, None)


def test_positional_commit_arguments_of_merge(dl, table):
    arguments = ["s", "t", False, True, None, True, None, None]
    with pytest.warns(DeprecationWarning, match=r"positionally to merge\(\)"):
        builder = table.merge(
            ids(1),
            "s.id = t.id",
            *arguments,
            dl.PostCommitHookProperties(),
            properties(dl),
        )
    builder.when_matched_delete().execute()
    assert table.history(1)[0]["job"] == "x"


def test_positional_commit_arguments_of_repair(dl, table):
    with pytest.warns(DeprecationWarning, match=r"positionally to repair\(\)"):
        found = table.repair(True, dl.PostCommitHookProperties(), properties(dl))
    assert found["files_removed"] == []


def test_positional_commit_arguments_of_drop_constraint(dl, table):
    table.alter.add_constraint({"c": "id >= 0"})
    with pytest.warns(DeprecationWarning, match=r"positionally to drop_constraint\(\)"):
        table.alter.drop_constraint(
            "c", True, dl.PostCommitHookProperties(), properties(dl)
        )
    assert table.history(1)[0]["job"] == "x"


def test_positional_commit_arguments_of_create(dl, path):
    schema = pa.schema([("id", pa.int64())])
    arguments = ["error", None, None, None, {"mine": "x"}, None]
    with pytest.warns(DeprecationWarning, match=r"positionally to create\(\)"):
        table = dl.DeltaTable.create(
            path, schema, *arguments, properties(dl), None, False
        )
    assert table.history(1)[0]["job"] == "x"
    assert table.metadata().configuration == {"mine": "x"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_create_arguments_twice(dl, path):
    schema = pa.schema([("id", pa.int64())])
    arguments = ["error", None, None, None, None, None]
    with raises_exactly(TypeError, "unexpected positional arguments"):
        dl.DeltaTable.create(path, schema, *arguments, None, None, True, None)
    with raises_exactly(TypeError, "multiple values for 'commit_properties'"):
        dl.DeltaTable.create(
            path, schema, *arguments, None, commit_properties=properties(dl)
        )
    with raises_exactly(TypeError, "multiple values for 'raise_if_key_not_exists'"):
        dl.DeltaTable.create(
            path, schema, *arguments, None, None, True, raise_if_key_not_exists=True
        )


def test_positional_commit_arguments_of_vacuum(dl, path, table):
    dl.write_deltalake(table, sample(1), mode="overwrite")
    with pytest.warns(DeprecationWarning, match=r"positionally to vacuum\(\)"):
        table.vacuum(0, False, False, None, properties(dl), False, None)
    assert dl.DeltaTable(path).history(1)[0]["job"] == "x"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_vacuum_arguments_twice(dl, table):
    with raises_exactly(TypeError, "unexpected positional arguments"):
        table.vacuum(0, True, False, None, None, False, None, None)
    with raises_exactly(TypeError, "multiple values for 'full'"):
        table.vacuum(0, True, False, None, None, False, full=True)
    with raises_exactly(TypeError, "multiple values for 'keep_versions'"):
        table.vacuum(0, True, False, None, None, False, None, keep_versions=[0])


def test_positional_commit_arguments_of_create_write_transaction(dl, table):
    with pytest.warns(
        DeprecationWarning, match=r"positionally to create_write_transaction\(\)"
    ):
        table.create_write_transaction(
            [], "append", table.schema(), None, None, properties(dl)
        )
    table.update_incremental()
    assert table.history(1)[0]["job"] == "x"


def test_positional_commit_arguments_of_convert(dl, path):
    Path(path).mkdir()
    pq.write_table(sample(), f"{path}/a.parquet")
    with pytest.warns(
        DeprecationWarning, match=r"positionally to convert_to_deltalake\(\)"
    ):
        dl.convert_to_deltalake(path, "error", *[None] * 6, properties(dl))
    assert dl.DeltaTable(path).history(1)[0]["job"] == "x"


def test_positional_commit_arguments_of_create_table_with_add_actions(dl, path):
    schema = dl.Schema([dl.Field("id", "long")])
    with pytest.warns(
        DeprecationWarning, match=r"positionally to create_table_with_add_actions\(\)"
    ):
        dl.transaction.create_table_with_add_actions(
            path, schema, [], "error", *[None] * 5, properties(dl)
        )
    assert dl.DeltaTable(path).history(1)[0]["job"] == "x"


def test_keyword_arguments_do_not_warn(dl, table, recwarn):
    table.delete("id = 0", commit_properties=properties(dl))
    table.optimize.compact(commit_properties=properties(dl))
    table.alter.set_table_name("n", commit_properties=properties(dl))
    assert [w for w in recwarn if w.category is DeprecationWarning] == []
