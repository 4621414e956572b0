"""Writing rows to a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from arro3.core.types import ArrowArrayExportable, ArrowStreamExportable

from deltalakedb import _internal
from deltalakedb._arrow import Stream
from deltalakedb.writer._utils import try_get_table_and_table_uri

if TYPE_CHECKING:
    from deltalakedb.table import DeltaTable
    from deltalakedb.transaction import CommitProperties, PostCommitHookProperties
    from deltalakedb.writer.properties import WriterProperties

ArrowData = (
    ArrowStreamExportable
    | ArrowArrayExportable
    | Sequence[ArrowArrayExportable]
    | Iterator[ArrowArrayExportable]
)


@overload
def write_deltalake(
    table_or_uri: str | Path | DeltaTable,
    data: ArrowData,
    *,
    partition_by: list[str] | str | None = ...,
    mode: Literal["error", "append", "ignore"] = ...,
    name: str | None = ...,
    description: str | None = ...,
    configuration: Mapping[str, str | None] | None = ...,
    schema_mode: Literal["merge", "overwrite"] | None = ...,
    storage_options: dict[str, str] | None = ...,
    target_file_size: int | None = ...,
    writer_properties: WriterProperties | None = ...,
    commit_properties: CommitProperties | None = ...,
    post_commithook_properties: PostCommitHookProperties | None = ...,
) -> None: ...


@overload
def write_deltalake(
    table_or_uri: str | Path | DeltaTable,
    data: ArrowData,
    *,
    partition_by: list[str] | str | None = ...,
    mode: Literal["overwrite"],
    name: str | None = ...,
    description: str | None = ...,
    configuration: Mapping[str, str | None] | None = ...,
    schema_mode: Literal["merge", "overwrite"] | None = ...,
    storage_options: dict[str, str] | None = ...,
    predicate: str | None = ...,
    target_file_size: int | None = ...,
    writer_properties: WriterProperties | None = ...,
    commit_properties: CommitProperties | None = ...,
    post_commithook_properties: PostCommitHookProperties | None = ...,
) -> None: ...


def write_deltalake(
    table_or_uri: str | Path | DeltaTable,
    data: ArrowData,
    *,
    partition_by: list[str] | str | None = None,
    mode: Literal["error", "append", "overwrite", "ignore"] = "error",
    name: str | None = None,
    description: str | None = None,
    configuration: Mapping[str, str | None] | None = None,
    schema_mode: Literal["merge", "overwrite"] | None = None,
    storage_options: dict[str, str] | None = None,
    predicate: str | None = None,
    target_file_size: int | None = None,
    writer_properties: WriterProperties | None = None,
    commit_properties: CommitProperties | None = None,
    post_commithook_properties: PostCommitHookProperties | None = None,
) -> None:
    """Writes rows to a table, in one commit. A missing table is created.

    A new table at a location without a table is registered in the catalog as
    ``default.<folder>``.

    Args:
        table_or_uri: a table, or its location: a path, the URI of an object store, or a
            ``deltasql://`` URI. A text without a slash is a path as well; only if
            nothing exists there, ``namespace.name`` may be a table of the catalog.
        data: rows of any library that supports Arrow: tables, data frames, batches,
            readers, datasets; or a list or an iterator of batches. It is read while it
            is written; the first batch of an iterator determines the schema.
        partition_by: the columns that files are partitioned by, for a new table or one
            whose schema is overwritten.
        mode: what to do if the table exists: ``error``, ``append`` to it,
            ``overwrite`` its rows, or ``ignore`` the data.
        name: the name in the metadata of a new table.
        description: the description of a new table.
        configuration: properties of a new table.
        schema_mode: ``merge`` adds new columns to the table, ``overwrite`` replaces its
            schema. Without it, the data must fit the table.
        storage_options: options for the object store.
        predicate: with ``overwrite``, the rows that are replaced, in SQL.
        target_file_size: the approximate size of a data file in bytes. By default the
            property ``delta.targetFileSize``.
        writer_properties: properties of the Parquet files.
        commit_properties: properties of the commit.
        post_commithook_properties: options for the steps after the commit.

    Raises:
        SchemaMismatchError: the data does not fit the table.
        CommitFailedError: a concurrent commit conflicts with this one.
        CommitOutcomeUnknownError: it is not known whether the rows were committed.
        DeltaError: the table exists (with ``error``), a value does not fit its type,
            or a row violates a constraint.
        ValueError: `data` is not Arrow data, or `table_or_uri` is not a table.

    Example:
        >>> from deltalakedb import DeltaTable, write_deltalake
        >>> write_deltalake(path, data)
        >>> write_deltalake(path, data, mode="append")
        >>> DeltaTable(path).count()
        6
    """
    table, uri = try_get_table_and_table_uri(table_or_uri, storage_options)
    if table is not None and mode == "ignore":
        return
    if isinstance(partition_by, str):
        partition_by = [partition_by]
    existing = None if table is None else table.schema().to_arrow()
    with Stream(data, existing).reading() as rows:
        if table is not None:
            table._table.write(
                rows,
                mode,
                partition_by,
                schema_mode,
                predicate,
                target_file_size,
                name,
                description,
                configuration,
                writer_properties,
                commit_properties,
                post_commithook_properties,
            )
        else:
            _internal.create_table_of_rows(
                uri,
                rows,
                mode,
                partition_by or [],
                target_file_size,
                name,
                description,
                configuration,
                storage_options,
                writer_properties,
                commit_properties,
                post_commithook_properties,
            )
