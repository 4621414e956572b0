"""The actions and the properties of a commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deltalakedb import _internal
from deltalakedb._table_features import TableFeatures as TableFeatures
from deltalakedb._util import check_type, deprecate_positional_commit_args
from deltalakedb.schema import Schema


@dataclass(frozen=True, repr=False)
class Transaction:
    """The progress of an application, kept with the table.

    It is written with `CommitProperties.app_transactions` and read with
    `DeltaTable.transaction_version`, so that an application knows what it has written.

    Attributes:
        app_id: the id of the application.
        version: the version of its progress.
        last_updated: when, in milliseconds since 1970.
    """

    app_id: str
    version: int
    last_updated: int | None = None

    def __post_init__(self) -> None:
        check_type("app_id", self.app_id, str)
        check_type("version", self.version, int)
        check_type("last_updated", self.last_updated, int, type(None))

    def __repr__(self) -> str:
        return _repr(self)


@dataclass
class AddAction:
    """A data file that becomes part of a table.

    Attributes:
        path: where it is, relative to the table.
        size: bytes.
        partition_values: the values of the partition columns, as the log spells them.
        modification_time: when it was written, in milliseconds since 1970.
        data_change: whether the rows change; false if files are only rearranged.
        stats: its statistics, as JSON in the form of the log.
    """

    path: str
    size: int
    partition_values: Mapping[str, str | None]
    modification_time: int
    data_change: bool
    stats: str


@dataclass(frozen=True, repr=False)
class RemoveAction:
    """A data file that is no longer part of a table.

    Attributes:
        path: where it is, as the table has it.
        data_change: whether the rows change.
        deletion_timestamp: when, in milliseconds since 1970.
        size: bytes.
        partition_values: the values of the partition columns, as the log spells them.
    """

    path: str
    data_change: bool
    deletion_timestamp: int
    size: int | None = None
    partition_values: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        check_type("path", self.path, str)
        check_type("data_change", self.data_change, bool)
        check_type("deletion_timestamp", self.deletion_timestamp, int)

    def __repr__(self) -> str:
        return _repr(self)


@dataclass(init=False)
class PostCommitHookProperties:
    """Options for the steps after a commit.

    Args:
        create_checkpoint: whether a checkpoint is written when one is due.
        cleanup_expired_logs: whether expired log files are deleted. By default the
            property ``delta.enableExpiredLogCleanup`` decides.
    """

    create_checkpoint: bool
    cleanup_expired_logs: bool | None

    def __init__(
        self, create_checkpoint: bool = True, cleanup_expired_logs: bool | None = None
    ) -> None:
        self.create_checkpoint = create_checkpoint
        self.cleanup_expired_logs = cleanup_expired_logs


@dataclass(init=False)
class CommitProperties:
    """The properties of a commit.

    Args:
        custom_metadata: additional entries for `DeltaTable.history`.
        max_commit_retries: how often a commit is retried when the database is busy or
            unreachable. A conflict is never retried, and concurrent commits that do not
            conflict need no retry.
        app_transactions: the progress of applications, set by this commit.

    Example:
        >>> from deltalakedb import write_deltalake
        >>> properties = CommitProperties(custom_metadata={"job": "nightly"})
        >>> write_deltalake(dt, data, mode="append", commit_properties=properties)
        >>> dt.history(1)[0]["job"]
        'nightly'
    """

    custom_metadata: dict[str, Any] | None
    max_commit_retries: int | None
    app_transactions: list[Transaction] | None

    def __init__(
        self,
        custom_metadata: dict[str, Any] | None = None,
        max_commit_retries: int | None = None,
        app_transactions: list[Transaction] | None = None,
    ) -> None:
        for transaction in app_transactions or ():
            check_type("app_transactions", transaction, Transaction)
        self.custom_metadata = custom_metadata
        self.max_commit_retries = max_commit_retries
        self.app_transactions = app_transactions


def create_table_with_add_actions(
    table_uri: str,
    schema: Schema,
    add_actions: list[AddAction],
    mode: Literal["error", "append", "overwrite", "ignore"] = "error",
    partition_by: list[str] | str | None = None,
    name: str | None = None,
    description: str | None = None,
    configuration: Mapping[str, str | None] | None = None,
    storage_options: dict[str, str] | None = None,
    *args: Any,
    commit_properties: CommitProperties | None = None,
    post_commithook_properties: PostCommitHookProperties | None = None,
) -> None:
    """Creates a table from existing data files.

    Args:
        table_uri: where it is.
        schema: the schema of the table.
        add_actions: the files.
        mode: what to do if the table exists.
        partition_by: the columns that files are partitioned by.
        name: the name in the table's metadata.
        description: the description of the table.
        configuration: properties of the table.
        storage_options: options for the object store.
        *args: deprecated; name the arguments below instead.
        commit_properties: properties of the commit.
        post_commithook_properties: options for the steps after the commit.

    Raises:
        DeltaError: the table exists.
    """
    commit_properties, post_commithook_properties = deprecate_positional_commit_args(
        "create_table_with_add_actions",
        args,
        commit_properties,
        post_commithook_properties,
    )
    if isinstance(partition_by, str):
        partition_by = [partition_by]
    _internal.create_table(
        table_uri,
        schema.to_json(),
        mode,
        partition_by or [],
        name,
        description,
        configuration,
        True,
        [action_json(action) for action in add_actions],
        storage_options,
        commit_properties,
        post_commithook_properties,
    )


def action_json(action: AddAction | RemoveAction) -> str:
    """The action as a line of the log."""
    match action:
        case AddAction():
            return json.dumps({"add": _add(action)})
        case RemoveAction():
            return json.dumps({"remove": _remove(action)})
    kind = type(action).__name__
    raise TypeError(f"failed to extract an AddAction or a RemoveAction from {kind}")


def _add(action: AddAction) -> dict[str, Any]:
    check_type("path", action.path, str)
    check_type("size", action.size, int)
    check_type("modification_time", action.modification_time, int)
    check_type("data_change", action.data_change, bool)
    check_type("stats", action.stats, str, type(None))
    return {
        "path": action.path,
        "partitionValues": _partition_values(action.partition_values),
        "size": action.size,
        "modificationTime": action.modification_time,
        "dataChange": action.data_change,
        "stats": action.stats,
    }


def _remove(action: RemoveAction) -> dict[str, Any]:
    known = {
        "partitionValues": action.partition_values,
        "size": action.size,
    }
    return {
        "path": action.path,
        "dataChange": action.data_change,
        "deletionTimestamp": action.deletion_timestamp,
        "extendedFileMetadata": None not in known.values(),
        **{key: value for key, value in known.items() if value is not None},
    }


def _partition_values(values: Mapping[str, str | None]) -> dict[str, str | None]:
    check_type("partition_values", values, Mapping)
    for name, value in values.items():
        check_type(f"the partition value of {name}", value, str, type(None))
    return dict(values)


def _repr(value: object) -> str:
    parts = ", ".join(f"{name}={part}" for name, part in vars(value).items())
    return f"{type(value).__name__}({parts})"
