"""Commit properties, application transactions and hand-made commits."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import actions, column, commit, ids, raises_exactly, rows, sample


def append(dl: ModuleType, table: Any, data: Any = None, **properties: Any) -> None:
    dl.write_deltalake(
        table,
        sample(1) if data is None else data,
        mode="append",
        commit_properties=dl.CommitProperties(**properties),
    )


def test_transaction_attributes(dl):
    transaction = dl.Transaction("app", 3, 99)
    assert transaction.app_id == "app"
    assert transaction.version == 3
    assert transaction.last_updated == 99
    assert dl.Transaction(app_id="app", version=3).last_updated is None


def test_transaction_repr(dl):
    assert repr(dl.Transaction("app", 3)) == (
        "Transaction(app_id=app, version=3, last_updated=None)"
    )


def test_transaction_is_read_only(dl):
    transaction = dl.Transaction("app", 3)
    with raises_exactly(AttributeError, "not writable"):
        transaction.version = 4


@pytest.mark.parametrize("arguments", [("app",), (1, 1), ("app", "1")], ids=str)
def test_transaction_wrong_arguments(dl, arguments):
    with pytest.raises(TypeError):
        dl.Transaction(*arguments)


def test_commit_properties_attributes(dl):
    transactions = [dl.Transaction("app", 1)]
    properties = dl.CommitProperties({"a": "b"}, 5, transactions)
    assert properties.custom_metadata == {"a": "b"}
    assert properties.max_commit_retries == 5
    assert properties.app_transactions is transactions


def test_commit_properties_defaults(dl):
    properties = dl.CommitProperties()
    assert properties.custom_metadata is None
    assert properties.max_commit_retries is None
    assert properties.app_transactions is None
    assert repr(properties) == "CommitProperties()"


def test_app_transaction(dl, path, table):
    append(dl, table, app_transactions=[dl.Transaction("app", 7, 123)])
    assert table.transaction_version("app") == 7
    assert dl.DeltaTable(path).transaction_version("app") == 7
    assert actions(path, 1, "txn") == [
        {"appId": "app", "version": 7, "lastUpdated": 123}
    ]


def test_app_transaction_unknown(table):
    assert table.transaction_version("nobody") is None


def test_app_transaction_on_creation(dl, path):
    dl.write_deltalake(
        path,
        sample(),
        commit_properties=dl.CommitProperties(
            app_transactions=[dl.Transaction("app", 1)]
        ),
    )
    assert dl.DeltaTable(path).transaction_version("app") == 1


def test_app_transactions_of_several_applications(dl, table):
    append(dl, table, app_transactions=[dl.Transaction("a", 1), dl.Transaction("b", 2)])
    append(dl, table, app_transactions=[dl.Transaction("b", 3)])
    assert table.transaction_version("a") == 1
    assert table.transaction_version("b") == 3


def test_app_transaction_may_go_back(dl, table):
    append(dl, table, app_transactions=[dl.Transaction("app", 7)])
    append(dl, table, app_transactions=[dl.Transaction("app", 3)])
    assert table.transaction_version("app") == 3


def test_app_transaction_of_a_version(dl, path, table):
    append(dl, table, app_transactions=[dl.Transaction("app", 1)])
    assert dl.DeltaTable(path, version=0).transaction_version("app") is None


def test_app_transaction_conflict(dl, path, table):
    other = dl.DeltaTable(path)
    append(dl, table, app_transactions=[dl.Transaction("app", 1)])
    with raises_exactly(
        dl.exceptions.CommitFailedError, "Concurrent transaction failed"
    ):
        append(dl, other, app_transactions=[dl.Transaction("app", 1)])
    assert dl.DeltaTable(path).version() == 1


def test_app_transactions_of_different_applications_do_not_conflict(dl, path, table):
    other = dl.DeltaTable(path)
    append(dl, table, app_transactions=[dl.Transaction("a", 1)])
    append(dl, other, app_transactions=[dl.Transaction("b", 1)])
    assert other.transaction_version("a") == other.transaction_version("b") == 1


def test_app_transactions_must_be_transactions(dl, table):
    with raises_exactly(TypeError, "Transaction"):
        append(dl, table, app_transactions=["app"])


def test_commit_properties_must_be_commit_properties(dl, table):
    with raises_exactly(AttributeError, "custom_metadata"):
        dl.write_deltalake(table, sample(), mode="append", commit_properties={"a": "b"})


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": "b"},
        {"a": 1},
        {"a": 1.5},
        {"a": True},
        {"a": None},
        {"a": {"b": [1, None, "x"]}},
        {"userName": "me"},
        {"userId": "7"},
        {"userMetadata": "text"},
        {"readVersion": 0},
        {"isolationLevel": "Serializable"},
        {"isBlindAppend": True},
        {"clientVersion": "mine"},
    ],
    ids=str,
)
def test_custom_metadata(dl, path, table, metadata):
    append(dl, table, custom_metadata=metadata)
    entry = table.history(1)[0]
    info = commit(path, 1)[0]["commitInfo"]
    for key, value in metadata.items():
        assert entry.get(key) == value
        assert info.get(key) == value


def test_custom_metadata_keeps_every_value_json_has(dl, table):
    metadata = {"note": None, "source": {"files": [1, None, {}]}, "final": False}
    append(dl, table, custom_metadata=metadata)
    entry = table.history(1)[0]
    assert entry | metadata == entry


def test_read_version_of_the_commit_that_creates_a_table(dl, path):
    properties = dl.CommitProperties(custom_metadata={"readVersion": 7})
    dl.write_deltalake(path, sample(), commit_properties=properties)
    (entry,) = dl.DeltaTable(path).history()
    assert entry["readVersion"] == 7


def test_custom_metadata_is_merged_into_operation_parameters(dl, table):
    append(dl, table, custom_metadata={"operationParameters": {"extra": 1}})
    parameters = table.history(1)[0]["operationParameters"]
    assert parameters == {"mode": "Append", "extra": "1"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"timestamp": 1}, "'timestamp' is generated.*cannot be set"),
        ({"operation": "x"}, "'operation' is generated.*cannot be set"),
        ({"engineInfo": "x"}, "'engineInfo' is generated.*cannot be set"),
        ({"userName": 1}, "must be a string"),
        ({"userId": 1}, "must be a string"),
        ({"userMetadata": 1}, "must be a string"),
        ({"readVersion": 1.5}, "must be a non-negative integer"),
        ({"readVersion": -1}, "must be a non-negative integer"),
        ({"isolationLevel": "x"}, "must be a valid IsolationLevel"),
        ({"isBlindAppend": "x"}, "must be a boolean"),
        ({"operationParameters": 1}, "must be a JSON object"),
        ({"x": float("nan")}, "must be JSON-serializable"),
        ({"x": float("inf")}, "must be JSON-serializable"),
        ({"x": object}, "must be JSON-serializable"),
        ({1: "x"}, "keys must be strings"),
        ([("job", "x")], "must be a mapping"),
    ],
    ids=str,
)
def test_invalid_custom_metadata(dl, path, table, metadata, message):
    with raises_exactly(ValueError, message):
        append(dl, table, custom_metadata=metadata)
    assert dl.DeltaTable(path).version() == 0


def test_max_commit_retries_negative(dl, table):
    with raises_exactly(OverflowError, "negative"):
        append(dl, table, max_commit_retries=-1)


def test_max_commit_retries_zero_without_contention(dl, table):
    append(dl, table, max_commit_retries=0)
    assert table.version() == 1


@pytest.fixture
def add(dl: ModuleType, path: str, table: Any) -> Callable[..., Any]:
    """Writes a Parquet file next to the table's own and describes it."""

    def make(name="new.parquet", data=None, stats='{"numRecords":1}', **partition):
        file = Path(path) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [50], "name": ["x"]}), file)
        return dl.transaction.AddAction(
            path=name,
            size=os.path.getsize(file),
            partition_values=partition,
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=stats,
        )

    return make


def remove(dl: ModuleType, path: str, **options: Any) -> Any:
    defaults = {"data_change": True, "deletion_timestamp": int(time.time() * 1000)}
    return dl.transaction.RemoveAction(path, **(defaults | options))


def only_file(table: Any) -> str:
    (path,) = table.get_add_actions().column("path").to_pylist()
    return path


def test_add_action_is_a_dataclass(dl):
    arguments = ("a.parquet", 1, {"p": None}, 2, True, "{}")
    action = dl.transaction.AddAction(*arguments)
    assert action == dl.transaction.AddAction(*arguments)
    assert repr(action) == (
        "AddAction(path='a.parquet', size=1, partition_values={'p': None}, "
        "modification_time=2, data_change=True, stats='{}')"
    )


def test_remove_action_attributes(dl):
    action = dl.transaction.RemoveAction("a", True, 1)
    assert (action.path, action.data_change, action.deletion_timestamp) == (
        "a",
        True,
        1,
    )
    assert action.size is None
    assert action.partition_values is None
    full = dl.transaction.RemoveAction("a", False, 1, 10, {"p": None})
    assert full.size == 10
    assert full.partition_values == {"p": None}


def test_remove_action_repr(dl):
    assert repr(dl.transaction.RemoveAction("a", True, 1)) == (
        "RemoveAction(path=a, data_change=True, deletion_timestamp=1, "
        "size=None, partition_values=None)"
    )


def test_write_transaction_append(dl, path, table, add):
    table.create_write_transaction([add()], "append", table.schema())
    opened = dl.DeltaTable(path)
    assert opened.version() == 1
    assert column(opened, "id") == [0, 1, 2, 50]
    assert opened.count() == 4


def test_write_transaction_leaves_the_handle_behind(table, add):
    table.create_write_transaction([add()], "append", table.schema())
    assert table.version() == 0
    table.update_incremental()
    assert table.version() == 1


def test_write_transaction_log(dl, path, table, add):
    action = add()
    table.create_write_transaction([action], "append", table.schema())
    (written,) = actions(path, 1, "add")
    assert written["path"] == "new.parquet"
    assert written["size"] == action.size
    assert written["modificationTime"] == action.modification_time
    assert written["stats"] == '{"numRecords":1}'
    entry = dl.DeltaTable(path).history(1)[0]
    assert entry["operation"] == "WRITE"
    assert entry["operationParameters"]["mode"] == "Append"


def test_write_transaction_with_an_arrow_schema(dl, path, table, add):
    table.create_write_transaction([add()], "append", sample().schema)
    assert dl.DeltaTable(path).count() == 4


def test_write_transaction_overwrite(dl, path, table, add):
    table.create_write_transaction([add()], "overwrite", table.schema())
    assert column(dl.DeltaTable(path), "id") == [50]


def test_write_transaction_remove(dl, path, table):
    action = remove(dl, only_file(table))
    table.create_write_transaction([action], "append", table.schema())
    assert rows(dl.DeltaTable(path), "id") == []


def test_write_transaction_replace(dl, path, table, add):
    table.create_write_transaction(
        [add(), remove(dl, only_file(table))], "append", table.schema()
    )
    assert column(dl.DeltaTable(path), "id") == [50]


def test_write_transaction_remove_with_overwrite(dl, table):
    action = remove(dl, only_file(table))
    with raises_exactly(ValueError, "not supported with mode='overwrite'"):
        table.create_write_transaction([action], "overwrite", table.schema())


def test_write_transaction_add_and_remove_one_path(dl, table, add):
    with raises_exactly(ValueError, "Cannot add and remove the same file path"):
        table.create_write_transaction(
            [add(), remove(dl, "new.parquet")], "append", table.schema()
        )


def test_write_transaction_unknown_mode(dl, table, add):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid save mode.*nope"):
        table.create_write_transaction([add()], "nope", table.schema())


def test_write_transaction_needs_actions(table):
    with raises_exactly(TypeError, "extract"):
        table.create_write_transaction([3], "append", table.schema())


def test_write_transaction_properties(dl, path, table, add):
    table.create_write_transaction(
        [add()],
        "append",
        table.schema(),
        commit_properties=dl.CommitProperties(
            custom_metadata={"job": "x"}, app_transactions=[dl.Transaction("app", 4)]
        ),
    )
    opened = dl.DeltaTable(path)
    assert opened.history(1)[0]["job"] == "x"
    assert opened.transaction_version("app") == 4


def test_write_transaction_remove_from_an_append_only_table(dl, new_path):
    path = new_path()
    dl.write_deltalake(path, sample(), configuration={"delta.appendOnly": "true"})
    table = dl.DeltaTable(path)
    action = remove(dl, only_file(table))
    with raises_exactly(dl.exceptions.CommitFailedError, "append-only"):
        table.create_write_transaction([action], "append", table.schema())


def test_write_transaction_overwrites_a_partition(dl, new_path):
    path = new_path()
    dl.write_deltalake(path, sample(2), partition_by="name")
    table = dl.DeltaTable(path)
    file = Path(path) / "name=a" / "new.parquet"
    pq.write_table(ids(50), file)
    action = dl.transaction.AddAction(
        "name=a/new.parquet", file.stat().st_size, {"name": "a"}, 1, True, "{}"
    )
    table.create_write_transaction(
        [action], "overwrite", table.schema(), "name", [("name", "=", "a")]
    )
    assert rows(dl.DeltaTable(path), "id") == [
        {"id": 1, "name": "b"},
        {"id": 50, "name": "a"},
    ]


@pytest.fixture
def lonely(dl: ModuleType, path: str) -> Any:
    """A directory with one Parquet file, not yet a table; and its AddAction."""
    os.makedirs(path)
    file = Path(path) / "new.parquet"
    pq.write_table(sample(), file)
    return dl.transaction.AddAction(
        "new.parquet", file.stat().st_size, {}, 1, True, '{"numRecords":3}'
    )


def create(dl: ModuleType, path: str, action: Any, **options: Any) -> None:
    schema = dl.Schema([dl.Field("id", "long"), dl.Field("name", "string")])
    dl.transaction.create_table_with_add_actions(path, schema, [action], **options)


def test_create_table_with_add_actions(dl, path, lonely):
    create(
        dl,
        path,
        lonely,
        name="orders",
        description="text",
        configuration={"delta.appendOnly": "true"},
    )
    table = dl.DeltaTable(path)
    assert rows(table) == sample().to_pylist()
    assert table.count() == 3
    assert table.metadata().name == "orders"
    assert table.metadata().description == "text"
    assert table.metadata().configuration == {"delta.appendOnly": "true"}


def test_create_table_with_add_actions_history(dl, path, lonely):
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    create(dl, path, lonely, commit_properties=properties)
    (entry,) = dl.DeltaTable(path).history()
    assert entry["operation"] == "CREATE TABLE"
    assert entry["job"] == "x"


def test_create_table_with_add_actions_twice(dl, path, lonely):
    create(dl, path, lonely)
    with raises_exactly(dl.exceptions.DeltaError, "already exists"):
        create(dl, path, lonely)
    create(dl, path, lonely, mode="ignore")
    assert dl.DeltaTable(path).version() == 0


def test_create_table_with_add_actions_append(dl, path, lonely):
    create(dl, path, lonely)
    with raises_exactly(dl.exceptions.DeltaError, "append.*not allowed"):
        create(dl, path, lonely, mode="append")


def test_create_table_with_add_actions_partitioned(dl, path):
    file = Path(path) / "name=a" / "f.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(ids(1), file)
    action = dl.transaction.AddAction(
        "name=a/f.parquet", file.stat().st_size, {"name": "a"}, 1, True, "{}"
    )
    create(dl, path, action, partition_by="name")
    assert rows(dl.DeltaTable(path)) == [{"id": 1, "name": "a"}]
