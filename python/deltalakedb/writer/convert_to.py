"""Creating a table from existing Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deltalakedb import _internal
from deltalakedb._util import deprecate_positional_commit_args, place_text
from deltalakedb.schema import Schema
from deltalakedb.writer._utils import try_get_deltatable

if TYPE_CHECKING:
    from deltalakedb.transaction import CommitProperties, PostCommitHookProperties


def convert_to_deltalake(
    uri: str | Path,
    mode: Literal["error", "ignore"] = "error",
    partition_by: Schema | None = None,
    partition_strategy: Literal["hive", "directory"] | None = None,
    name: str | None = None,
    description: str | None = None,
    configuration: Mapping[str, str | None] | None = None,
    storage_options: dict[str, str] | None = None,
    *args: Any,
    collect_stats: bool = True,
    commit_properties: CommitProperties | None = None,
    post_commithook_properties: PostCommitHookProperties | None = None,
) -> None:
    """Creates a table from the Parquet files below a folder. They are not moved.

    Args:
        uri: the folder.
        mode: ``error`` rejects a folder that is a table, ``ignore`` leaves it
            unchanged.
        partition_by: the partition columns of the folders below it.
        partition_strategy: ``hive`` for folders like ``year=2024``.
        name: the name in the table's metadata.
        description: the description of the table.
        configuration: properties of the table.
        storage_options: options for the object store.
        *args: deprecated; name the arguments below instead.
        collect_stats: accepted for compatibility, and ignored: the statistics of the
            files are written to the log in any case.
        commit_properties: properties of the commit.
        post_commithook_properties: options for the steps after the commit.

    Raises:
        DeltaError: the folder is a table, or has no Parquet files.
        ValueError: partition columns are given without a strategy.

    Example:
        >>> import os, pyarrow.parquet
        >>> from deltalakedb import DeltaTable, convert_to_deltalake
        >>> os.makedirs(path)
        >>> pyarrow.parquet.write_table(data, f"{path}/part.parquet")
        >>> convert_to_deltalake(path)
        >>> DeltaTable(path).count()
        3
    """
    commit_properties, post_commithook_properties = deprecate_positional_commit_args(
        "convert_to_deltalake", args, commit_properties, post_commithook_properties
    )
    if partition_by is not None and partition_strategy is None:
        raise ValueError("Partition strategy has to be provided with partition_by.")
    if partition_strategy not in (None, "hive", "directory"):
        raise ValueError("Partition strategy must be `hive` or `directory`.")
    if mode == "ignore" and try_get_deltatable(uri, storage_options) is not None:
        return
    _internal.convert_table(
        place_text(uri),
        None if partition_by is None else partition_by.to_json(),
        partition_strategy,
        name,
        description,
        configuration,
        storage_options,
        collect_stats,
        commit_properties,
        post_commithook_properties,
    )
