"""Tables: reading, changing, maintaining."""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    cast,
)

from arro3.core import RecordBatchReader, Table
from arro3.core.types import (
    ArrowArrayExportable,
    ArrowSchemaExportable,
    ArrowStreamExportable,
)

from deltalakedb import _frames, _html, _internal
from deltalakedb._alterer import TableAlterer
from deltalakedb._arrow import Stream
from deltalakedb._assignments import Clause, assignments, utc
from deltalakedb._filters import (
    FilePruningPredicateType,
    FilterConjunctionType,
    FilterDNFType,
    FilterLiteralType,
    FilterType,
    PartitionFilterType,
    conjunctions,
    pruning,
    replaced_filters,
)
from deltalakedb._hold import Hold
from deltalakedb._internal import RawTable
from deltalakedb._merger import MergeBuilder, TableMerger
from deltalakedb._metadata import DeltaTableConfig, Metadata, ProtocolVersions
from deltalakedb._optimizer import TableOptimizer
from deltalakedb._table_features import TableFeatures
from deltalakedb._util import (
    HOOKS_FIRST,
    Default,
    check_type,
    deprecate_positional_commit_args,
    given,
    parse_metrics,
    place_text,
    positional_args,
)
from deltalakedb.exceptions import DeltaProtocolError
from deltalakedb.results import (
    CommitInfo,
    DeleteMetrics,
    RepairMetrics,
    RestoreMetrics,
    UpdateMetrics,
)
from deltalakedb.schema import Schema
from deltalakedb.transaction import action_json

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow
    import pyarrow.dataset
    import pyarrow.fs

    from deltalakedb.transaction import (
        AddAction,
        CommitProperties,
        PostCommitHookProperties,
        RemoveAction,
    )
    from deltalakedb.writer.properties import WriterProperties

__all__ = [
    "FSCK_METRICS_FILES_REMOVED_LABEL",
    "MAX_SUPPORTED_PYARROW_WRITER_VERSION",
    "MAX_SUPPORTED_READER_VERSION",
    "NOT_SUPPORTED_PYARROW_WRITER_VERSIONS",
    "NOT_SUPPORTED_READER_VERSION",
    "SUPPORTED_READER_FEATURES",
    "SUPPORTED_WRITER_FEATURES",
    "DeltaTable",
    "DeltaTableConfig",
    "FilePruningPredicateType",
    "FilterConjunctionType",
    "FilterDNFType",
    "FilterLiteralType",
    "FilterType",
    "MergeBuilder",
    "Metadata",
    "PartitionFilterType",
    "ProtocolVersions",
    "TableAlterer",
    "TableFeatures",
    "TableMerger",
    "TableOptimizer",
]

MAX_SUPPORTED_PYARROW_WRITER_VERSION = 7
NOT_SUPPORTED_PYARROW_WRITER_VERSIONS = [3, 4, 5, 6]
SUPPORTED_WRITER_FEATURES = {
    "appendOnly",
    "invariants",
    "timestampNtz",
    "variantType",
    "variantType-preview",
}

MAX_SUPPORTED_READER_VERSION = 3
NOT_SUPPORTED_READER_VERSION = -1
SUPPORTED_READER_FEATURES = {"timestampNtz", "variantType", "variantType-preview"}

FSCK_METRICS_FILES_REMOVED_LABEL = "files_removed"


_DEFAULT_TRUE = Default(True)
_DEFAULT_FALSE = Default(False)
_DEFAULT_NONE = Default(None)


class DeltaTable:
    """A table at one version.

    It stays at that version: later commits are visible after `update_incremental`. A
    write through this object moves it to the new version.

    Args:
        table_uri: where it is: a path, the URI of an object store, or a ``deltasql://``
            URI that names catalog and table. A text without a slash is a path as well;
            only if nothing exists there, ``namespace.name`` may be a table of the
            catalog.
        version: the version, instead of the latest.
        storage_options: options for the object store.
        without_files: deprecated, and ignored.
        log_buffer_size: deprecated, and ignored.
        skip_stats: deprecated, and ignored.

    Raises:
        TableNotFoundError: the table does not exist.
        DeltaError: there is no such version.

    Example:
        >>> from deltalakedb import write_deltalake
        >>> write_deltalake(path, data)
        >>> table = DeltaTable(path)
        >>> table.version()
        0
        >>> pa.table(table.scan(predicate="price > 2")).num_rows
        2
    """

    _table: RawTable
    _storage_options: dict[str, str] | None

    def __init__(
        self,
        table_uri: str | Path | os.PathLike[str],
        version: int | None = None,
        storage_options: dict[str, str] | None = None,
        without_files: bool = False,
        log_buffer_size: int | None = None,
        skip_stats: bool = False,
    ) -> None:
        ignored = {
            "without_files": without_files,
            "log_buffer_size": log_buffer_size is not None,
            "skip_stats": skip_stats,
        }
        for name in [name for name, is_given in ignored.items() if is_given]:
            warnings.warn(
                f"The '{name}' parameter is deprecated and ignored.",
                DeprecationWarning,
                stacklevel=2,
            )
        self._storage_options = storage_options
        self._table = RawTable(place_text(table_uri), version, storage_options)

    @classmethod
    def _of(
        cls, raw: RawTable, storage_options: dict[str, str] | None = None
    ) -> DeltaTable:
        table = cls.__new__(cls)
        table._storage_options = storage_options
        table._table = raw
        return table

    def __repr__(self) -> str:
        return "DeltaTable()"

    def _repr_html_(self) -> str:
        return _html.of_table(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeltaTable):
            return NotImplemented
        return (self.table_uri, self.version()) == (other.table_uri, other.version())

    __hash__ = None  # type: ignore[assignment]

    @property
    def table_config(self) -> DeltaTableConfig:
        """How the table was loaded.

        .. deprecated:: it has no effect.
        """
        warnings.warn(
            "The 'table_config' property is deprecated: nothing depends on it.",
            DeprecationWarning,
            stacklevel=2,
        )
        return DeltaTableConfig(False, 4 * (os.cpu_count() or 1), False)

    @staticmethod
    def is_deltatable(
        table_uri: str | Path | os.PathLike[str],
        storage_options: dict[str, str] | None = None,
    ) -> bool:
        """Whether the table exists.

        Args:
            table_uri: where.
            storage_options: options for the object store.

        Example:
            >>> DeltaTable.is_deltatable(path)
            False
        """
        return RawTable.exists(place_text(table_uri), storage_options)

    @classmethod
    def create(
        cls,
        table_uri: str | Path,
        schema: Schema | ArrowSchemaExportable,
        mode: Literal["error", "append", "overwrite", "ignore"] = "error",
        partition_by: list[str] | str | None = None,
        name: str | None = None,
        description: str | None = None,
        configuration: Mapping[str, str | None] | None = None,
        storage_options: dict[str, str] | None = None,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
        raise_if_key_not_exists: bool = cast(bool, _DEFAULT_TRUE),
    ) -> DeltaTable:
        """Creates a table without rows.

        Args:
            table_uri: its location.
            schema: its columns.
            mode: what to do if the table exists: ``error``, ``overwrite`` it, or
                ``ignore`` the call. ``append`` is an error, too.
            partition_by: the columns that files are partitioned by.
            name: the name in its metadata.
            description: its description.
            configuration: its properties.
            storage_options: options for the object store.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.
            raise_if_key_not_exists: whether properties unknown to Delta are rejected.

        Raises:
            DeltaError: the table exists, or a property is invalid.

        Example:
            >>> from deltalakedb import Field, Schema
            >>> table = DeltaTable.create(path, Schema([Field("id", "long")]))
            >>> table.count()
            0
        """
        named = positional_args(
            "create",
            args,
            (
                "commit_properties",
                "post_commithook_properties",
                "raise_if_key_not_exists",
            ),
            {
                "commit_properties": commit_properties,
                "post_commithook_properties": post_commithook_properties,
                "raise_if_key_not_exists": raise_if_key_not_exists,
            },
        )
        if isinstance(table_uri, Path):
            table_uri = place_text(table_uri)
        _internal.create_table(
            table_uri,
            _schema(schema).to_json(),
            mode,
            _listed(partition_by),
            name,
            description,
            configuration,
            given(named["raise_if_key_not_exists"]),
            [],
            storage_options,
            named["commit_properties"],
            named["post_commithook_properties"],
        )
        return cls(table_uri, storage_options=storage_options)

    @property
    def table_uri(self) -> str:
        """The URI of the table."""
        return self._table.table_uri()

    @property
    def optimize(self) -> TableOptimizer:
        """Operations that rewrite the files."""
        return TableOptimizer(self)

    @property
    def alter(self) -> TableAlterer:
        """Operations that change the metadata."""
        return TableAlterer(self)

    def version(self) -> int:
        """The version of this object."""
        return self._table.version()

    def schema(self) -> Schema:
        """The schema of this version."""
        return Schema.from_json(self._table.schema())

    def metadata(self) -> Metadata:
        """The metadata."""
        return Metadata(self._table)

    def protocol(self) -> ProtocolVersions:
        """The protocol of this version: what readers and writers must support."""
        return ProtocolVersions(*self._table.protocol())

    def partitions(
        self,
        partition_filters: FilterType | None = None,
        *,
        file_pruning_predicate: FilePruningPredicateType | None = None,
    ) -> list[dict[str, str]]:
        """The partitions that have files, each as its values by column.

        Args:
            partition_filters: deprecated; use `file_pruning_predicate`.
            file_pruning_predicate: omits partitions, as in `file_uris`.

        Example:
            >>> from deltalakedb import write_deltalake
            >>> write_deltalake(path, data, partition_by="name")
            >>> DeltaTable(path).partitions(file_pruning_predicate="name = 'a'")
            [{'name': 'a'}]
        """
        predicate = replaced_filters(
            "partition_filters", partition_filters, file_pruning_predicate
        )
        found = self._table.partitions(pruning(predicate))
        return cast(list[dict[str, str]], [values for values in found if values])

    def file_uris(
        self,
        partition_filters: FilterType | None = None,
        *,
        file_pruning_predicate: FilePruningPredicateType | None = None,
    ) -> list[str]:
        """The URIs of the data files.

        Args:
            partition_filters: deprecated; use `file_pruning_predicate`.
            file_pruning_predicate: omits files without a matching row, by their
                partition and their statistics. A condition in SQL,
                or filters ``(column, operator, value)``: a list of filters that must
                all match, or a list of such lists of which one must match. Operators
                are ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` and ``not in``.

        Raises:
            DeltaError: there is no such column or operator.

        Example:
            >>> len(dt.file_uris())
            1
            >>> dt.file_uris(file_pruning_predicate="id > 100")
            []
            >>> dt.file_uris(file_pruning_predicate=[("id", ">", 100)])
            []
        """
        predicate = replaced_filters(
            "partition_filters", partition_filters, file_pruning_predicate
        )
        return self._table.file_uris(pruning(predicate))

    def get_add_actions(self, flatten: bool = False) -> Table:
        """The data files, one row each.

        Args:
            flatten: whether partition values and statistics are columns of their own,
                like ``min.id``, and not structs.

        Returns:
            ``path``, ``size_bytes``, ``modification_time`` (milliseconds since 1970),
            ``num_records``, ``null_count``, ``min``, ``max``, and, in a table that has
            partitions, ``partition``.

        Example:
            >>> pa.table(dt.get_add_actions(flatten=True))["max.id"].to_pylist()
            [3]
        """
        return self._table.add_actions(flatten)

    def count(self) -> int:
        """The number of rows.

        It is read from the log, which is cheap; if the log does not have the number of
        every file, from the data files.

        Example:
            >>> dt.count()
            3
        """
        return self._table.count()

    def load_as_version(self, version: int | str | datetime) -> None:
        """Loads another version into this object.

        Args:
            version: the version; or a time, which selects the last version at that
                time. A time is a datetime (in UTC, without a zone) or text in the form
                of RFC 3339.

        Raises:
            DeltaError: there is no such version.
            ValueError: the text is not a time.

        Example:
            >>> dt.delete("id = 1")["num_deleted_rows"]
            1
            >>> dt.load_as_version(0)
            >>> dt.count()
            3
        """
        match version:
            case int():
                self._table.load_version(version)
            case datetime():
                self._table.load_timestamp(utc(version).isoformat())
            case str():
                self._table.load_timestamp(version)
            case _:
                raise TypeError(
                    "Invalid datatype provided for version, only int, str or datetime "
                    f"are accepted, not {type(version).__name__}."
                )

    def update_incremental(self) -> None:
        """Loads the latest version into this object."""
        self._table.refresh()

    def scan(
        self, columns: list[str] | None = None, predicate: str | None = None
    ) -> RecordBatchReader:
        """The rows, read on demand.

        Args:
            columns: some of the columns.
            predicate: a condition in SQL.

        Raises:
            DeltaError: there is no such column, or the SQL is invalid.

        Example:
            >>> pa.table(dt.scan(columns=["name"], predicate="id = 2")).to_pylist()
            [{'name': 'b'}]
        """
        return self._table.scan(columns, predicate)

    def load_cdf(
        self,
        starting_version: int = 0,
        ending_version: int | None = None,
        starting_timestamp: str | None = None,
        ending_timestamp: str | None = None,
        columns: list[str] | None = None,
        predicate: str | None = None,
        allow_out_of_range: bool = False,
    ) -> RecordBatchReader:
        """The rows that versions added, changed and removed.

        The table must have the property ``delta.enableChangeDataFeed`` in all of them.

        Args:
            starting_version: the first version.
            ending_version: the last version, instead of the latest.
            starting_timestamp: the time of the first version, in RFC 3339.
            ending_timestamp: the time of the last version.
            columns: some of the columns.
            predicate: a condition in SQL.
            allow_out_of_range: whether versions and times beyond the latest give no
                rows instead of an error.

        Returns:
            The rows, with ``_change_type``, ``_commit_version`` and
            ``_commit_timestamp``.
        """
        return self._table.changes(
            columns,
            predicate,
            starting_version,
            ending_version,
            starting_timestamp,
            ending_timestamp,
            allow_out_of_range,
        )

    def deletion_vectors(self) -> RecordBatchReader:
        """The deletion vectors, one row for each file that has one.

        Returns:
            ``filepath``, and ``selection_vector``: for each row of the file, whether it
            is kept.
        """
        return self._table.deletion_vectors()

    def history(self, limit: int | None = None) -> list[CommitInfo]:
        """The commits, newest first.

        Args:
            limit: the maximum number.

        Example:
            >>> [(c["version"], c["operation"]) for c in dt.history()]
            [(0, 'WRITE')]
        """
        return [json.loads(commit) for commit in self._table.history(limit)]

    def transaction_version(self, app_id: str) -> int | None:
        """The latest ``txn`` version that an application has committed.

        Args:
            app_id: the id of the application.
        """
        return self._table.transaction_version(app_id)

    def hold(
        self,
        version: int | None = None,
        *,
        seconds: float = 3600,
        holder: str | None = None,
    ) -> Hold:
        """Holds a version, so that neither vacuum nor expiry removes it.

        Args:
            version: the version, instead of the one that this object is at.
            seconds: the maximum duration, also for a reader that was killed.
            holder: the name of the holder in ``dl show``; by default the process and
                the machine.

        Returns:
            A context manager that ends the hold.

        Raises:
            DeltaError: there is no such version, or no catalog has the table.
            CommitFailedError: a vacuum is running that may remove its files.

        Example:
            >>> with dt.hold(seconds=60):
            ...     dt.count()
            3
        """
        check_type("version", version, int, type(None))
        check_type("seconds", seconds, int, float)
        check_type("holder", holder, str, type(None))
        if holder is None:
            holder = f"process {os.getpid()} on {socket.gethostname()}"
        version = self.version() if version is None else version
        return Hold(_internal.RawHold(self._table, version, seconds, holder))

    def generate(self) -> None:
        """Writes a manifest of the files, for readers without Delta support."""
        self._table.generate()

    def vacuum(
        self,
        retention_hours: int | None = None,
        dry_run: bool = True,
        enforce_retention_duration: bool = True,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
        full: bool = cast(bool, _DEFAULT_FALSE),
        keep_versions: list[int] | None = cast(  # noqa: B008
            list[int] | None, _DEFAULT_NONE
        ),
    ) -> list[str]:
        """Deletes data files that no version within the retention has.

        Older versions can no longer be read afterwards.

        Args:
            retention_hours: the retention, instead of the property
                ``delta.deletedFileRetentionDuration``.
            dry_run: whether nothing is changed.
            enforce_retention_duration: whether a shorter retention than the property's
                is an error.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.
            full: whether files that were never part of the table are deleted as well.
            keep_versions: versions whose files are kept.

        Returns:
            The paths of the files.

        Raises:
            ValueError: the retention is negative.
            DeltaError: the retention is too short.

        Example:
            >>> dt.vacuum()
            []
        """
        named = positional_args(
            "vacuum",
            args,
            (*HOOKS_FIRST, "full", "keep_versions"),
            {
                "commit_properties": commit_properties,
                "post_commithook_properties": post_commithook_properties,
                "full": full,
                "keep_versions": keep_versions,
            },
        )
        if retention_hours is not None and retention_hours < 0:
            raise ValueError("The retention periods should be positive.")
        return self._table.vacuum(
            retention_hours,
            dry_run,
            enforce_retention_duration,
            given(named["full"]),
            given(named["keep_versions"]),
            named["commit_properties"],
            named["post_commithook_properties"],
        )

    def update(
        self,
        updates: dict[str, str] | None = None,
        new_values: (
            dict[str, int | float | str | datetime | bool | list[Any]] | None
        ) = None,
        predicate: str | None = None,
        writer_properties: WriterProperties | None = None,
        error_on_type_mismatch: bool = True,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> UpdateMetrics:
        """Changes rows.

        Args:
            updates: the new values by column, in SQL.
            new_values: the new values by column, not as SQL; instead of `updates`.
            predicate: a condition in SQL; by default all rows.
            writer_properties: properties of the Parquet files.
            error_on_type_mismatch: whether a value that does not fit its column is an
                error instead of null.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            The metrics of the operation.

        Raises:
            DeltaError: there is no such column, or the SQL is invalid.
            CommitFailedError: a concurrent commit conflicts with this one.

        Example:
            >>> dt.update({"price": "2 * price"}, predicate="id=1")["num_updated_rows"]
            1
            >>> dt.update(new_values={"name": "it"})["num_updated_rows"]
            3
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "update",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        metrics = self._table.update(
            assignments(updates, new_values),
            predicate,
            not error_on_type_mismatch,
            writer_properties,
            commit_properties,
            post_commithook_properties,
        )
        return parse_metrics(metrics, UpdateMetrics)

    def delete(
        self,
        predicate: str | None = None,
        writer_properties: WriterProperties | None = None,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> DeleteMetrics:
        """Removes rows.

        Args:
            predicate: a condition in SQL; by default all rows.
            writer_properties: properties of the Parquet files.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            The metrics of the operation.

        Raises:
            DeltaError: there is no such column, or the SQL is invalid.
            CommitFailedError: a concurrent commit conflicts with this one.

        Example:
            >>> dt.delete("price > 2")["num_deleted_rows"]
            2
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "delete",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        metrics = self._table.delete(
            predicate, writer_properties, commit_properties, post_commithook_properties
        )
        return parse_metrics(metrics, DeleteMetrics)

    def merge(
        self,
        source: ArrowStreamExportable | ArrowArrayExportable,
        predicate: str,
        source_alias: str | None = None,
        target_alias: str | None = None,
        merge_schema: bool = False,
        error_on_type_mismatch: bool = True,
        writer_properties: WriterProperties | None = None,
        streamed_exec: bool = True,
        max_spill_size: int | None = None,
        max_temp_directory_size: int | None = None,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> TableMerger:
        """Changes rows by those of a source: update, delete and insert in one commit.

        It runs with `TableMerger.execute`.

        Args:
            source: rows of any library that supports Arrow.
            predicate: the join condition of the table and the source, in SQL.
            source_alias: the alias of the source in SQL.
            target_alias: the alias of the table in SQL.
            merge_schema: whether new columns of the source are added to the table.
            error_on_type_mismatch: whether a value that does not fit its column is an
                error instead of null.
            writer_properties: properties of the Parquet files.
            streamed_exec: whether the values of the source are not used for data
                skipping when the table is read. The source is held in memory in either
                case.
            max_spill_size: accepted for compatibility, and ignored.
            max_temp_directory_size: accepted for compatibility, and ignored.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            A merger, to which clauses are added.

        Example:
            >>> source = data.set_column(0, "id", pa.array([3, 4, 5]))
            >>> merger = dt.merge(source, "s.id = t.id", "s", "t")
            >>> merger = merger.when_matched_update_all().when_not_matched_insert_all()
            >>> merger.execute()["num_target_rows_inserted"]
            2
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "merge",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        check_type("predicate", predicate, str)

        def run(source: RecordBatchReader, clauses: list[Clause]) -> str:
            return self._table.merge(
                source,
                predicate,
                source_alias,
                target_alias,
                merge_schema,
                not error_on_type_mismatch,
                streamed_exec,
                clauses,
                writer_properties,
                commit_properties,
                post_commithook_properties,
            )

        return TableMerger(
            MergeBuilder(
                Stream(source),
                source_alias,
                target_alias,
                None if merge_schema else self.schema(),
                run,
            ),
            self._table,
        )

    def restore(
        self,
        target: int | datetime | str,
        *,
        ignore_missing_files: bool = False,
        protocol_downgrade_allowed: bool = False,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> RestoreMetrics:
        """Restores the rows of an earlier version, as a new version.

        Args:
            target: the version; or a time: a datetime with a zone, or text in the form
                of RFC 3339.
            ignore_missing_files: whether missing files are omitted instead of an error.
            protocol_downgrade_allowed: whether the protocol of the table may be
                lowered.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            The metrics of the operation.

        Example:
            >>> dt.delete("id = 1")["num_deleted_rows"]
            1
            >>> dt.restore(0)["numRestoredFile"]
            1
            >>> dt.count()
            3
        """
        metrics = self._table.restore(
            target.isoformat() if isinstance(target, datetime) else target,
            ignore_missing_files,
            protocol_downgrade_allowed,
            commit_properties,
            post_commithook_properties,
        )
        return parse_metrics(metrics, RestoreMetrics)

    def repair(
        self,
        dry_run: bool = False,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> RepairMetrics:
        """Removes data files from the table that no longer exist.

        Args:
            dry_run: whether nothing is changed.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            ``dry_run``, and the paths as ``files_removed``.

        Example:
            >>> dt.repair(dry_run=True)
            {'dry_run': True, 'files_removed': []}
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "repair",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        text = self._table.repair(
            dry_run, commit_properties, post_commithook_properties
        )
        metrics = parse_metrics(text, RepairMetrics)
        # delta-rs has the list as text.
        removed: list[str] | str = metrics["files_removed"]
        if isinstance(removed, str):
            metrics["files_removed"] = json.loads(removed)
        return metrics

    def create_write_transaction(
        self,
        actions: list[AddAction | RemoveAction],
        mode: str,
        schema: Schema | ArrowSchemaExportable,
        partition_by: list[str] | str | None = None,
        partition_filters: FilterType | None = None,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Commits data files that the caller has written.

        Args:
            actions: the files. None is added and removed at once, and with
                ``overwrite`` none is removed: that follows from `partition_filters`.
            mode: ``append``, or ``overwrite``.
            schema: the schema of the files.
            partition_by: the columns that files are partitioned by.
            partition_filters: the partitions that ``overwrite`` replaces.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            TypeError: an action is invalid.
            CommitFailedError: the table is append-only, or a concurrent commit
                conflicts with this one.
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "create_write_transaction",
                args,
                commit_properties,
                post_commithook_properties,
            )
        )
        filters = conjunctions(partition_filters)
        if filters is not None and len(filters) != 1:
            raise ValueError("partition_filters must be one list of filters")
        self._table.commit_actions(
            [action_json(action) for action in actions],
            mode,
            _listed(partition_by),
            _schema(schema).to_json(),
            filters[0] if filters else None,
            commit_properties,
            post_commithook_properties,
        )

    def create_checkpoint(self) -> None:
        """Writes a checkpoint of the version of this object."""
        self._table.create_checkpoint()

    def compact_logs(self, starting_version: int, ending_version: int) -> None:
        """Writes a log compaction file for some versions.

        Args:
            starting_version: the first version.
            ending_version: the last version.
        """
        self._table.compact_logs(starting_version, ending_version)

    def cleanup_metadata(self) -> None:
        """Deletes log files older than the property ``delta.logRetentionDuration``."""
        self._table.cleanup_metadata()

    def to_pyarrow_dataset(
        self,
        partitions: FilterType | None = None,
        filesystem: str | pyarrow.fs.FileSystem | None = None,
        parquet_read_options: pyarrow.dataset.ParquetReadOptions | None = None,
        schema: pyarrow.Schema | None = None,
        as_large_types: bool = False,
        file_pruning_predicate: FilePruningPredicateType | None = None,
    ) -> pyarrow.dataset.Dataset:
        """The data files as a dataset of pyarrow.

        Args:
            partitions: deprecated; use `file_pruning_predicate`.
            filesystem: the files of the table, by paths relative to it; for example a
                ``SubTreeFileSystem``.
            parquet_read_options: how Parquet files are read.
            schema: the schema of the dataset, instead of the table's.
            as_large_types: lists, text and binary with offsets of 64 bits.
            file_pruning_predicate: omits files, as in `file_uris`.

        Raises:
            DeltaProtocolError: the table has deletion vectors, column mapping, or
                another feature that pyarrow cannot read; use `scan`.
            ImportError: pyarrow is not installed.

        Example:
            >>> dataset = dt.to_pyarrow_dataset()
            >>> dataset.to_table(filter=dataset_field("price") > 2).num_rows
            2
        """
        predicate = replaced_filters("partitions", partitions, file_pruning_predicate)
        dataset = _dataset()
        self._check_protocol()
        return dataset.of_table(
            self,
            pruning(predicate),
            filesystem,
            parquet_read_options,
            schema,
            as_large_types,
        )

    def to_pyarrow_table(
        self,
        partitions: FilterType | None = None,
        columns: list[str] | None = None,
        filesystem: str | pyarrow.fs.FileSystem | None = None,
        filters: FilterType | pyarrow.dataset.Expression | None = None,
    ) -> pyarrow.Table:
        """The rows as a table of pyarrow.

        Args:
            partitions: deprecated; use `filters`.
            columns: some of the columns.
            filesystem: as in `to_pyarrow_dataset`.
            filters: which rows: filters ``(column, operator, value)``, as in
                `file_uris`, or an expression of pyarrow.

        Raises:
            DeltaProtocolError: as in `to_pyarrow_dataset`.
            ImportError: pyarrow is not installed.

        Example:
            >>> dt.to_pyarrow_table(filters=[("id", "=", 2)]).to_pylist()
            [{'id': 2, 'name': 'b', 'price': 2.5}]
        """
        dataset = _dataset()
        if partitions is not None:
            warnings.warn(
                "`partitions` is deprecated; use `filters` instead",
                DeprecationWarning,
                stacklevel=2,
            )
        found = self.to_pyarrow_dataset(
            filesystem=filesystem, file_pruning_predicate=partitions
        )
        return found.to_table(columns=columns, filter=dataset.expression(filters))

    def to_pandas(
        self,
        partitions: FilterType | None = None,
        columns: list[str] | None = None,
        filesystem: str | pyarrow.fs.FileSystem | None = None,
        filters: FilterType | pyarrow.dataset.Expression | None = None,
        types_mapper: Callable[[pyarrow.DataType], Any] | None = None,
    ) -> pandas.DataFrame:
        """The rows as a data frame of pandas.

        Args:
            partitions: deprecated; use `filters`.
            columns: some of the columns.
            filesystem: as in `to_pyarrow_dataset`.
            filters: which rows, as in `to_pyarrow_table`.
            types_mapper: the type of pandas for a type of pyarrow.

        Example:
            >>> dt.to_pandas(columns=["id"]).shape
            (3, 1)
        """
        table = self.to_pyarrow_table(partitions, columns, filesystem, filters)
        return table.to_pandas(types_mapper=types_mapper)

    def to_polars(
        self, columns: list[str] | None = None, predicate: str | None = None
    ) -> polars.DataFrame:
        """The rows as a data frame of polars.

        ``deltalake`` has no such method.

        Args:
            columns: some of the columns.
            predicate: a condition in SQL.

        Raises:
            DeltaError: there is no such column, or the SQL is invalid.
            ImportError: polars is not installed.

        Example:
            >>> dt.to_polars(columns=["id"], predicate="id > 1").shape
            (2, 1)
        """
        return _frames.to_polars(self, columns, predicate)

    def to_duckdb(
        self,
        columns: list[str] | None = None,
        predicate: str | None = None,
        *,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """The rows of this version as a relation of DuckDB, read by each query on it.

        ``deltalake`` has no such method. If pyarrow can read the table, and neither
        `columns` nor `predicate` is given, DuckDB reads only the columns and files that
        a query needs. Otherwise it reads what `scan` returns, as long as this object
        stays at its version.

        Args:
            columns: some of the columns.
            predicate: a condition in SQL.
            connection: the connection of DuckDB; by default that of the module.

        Raises:
            DeltaError: there is no such column, or the SQL is invalid.
            ImportError: DuckDB is not installed.

        Example:
            >>> dt.to_duckdb().filter("price > 2").aggregate("sum(id)").fetchall()
            [(5,)]
        """
        return _frames.to_duckdb(self, columns, predicate, connection)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, for every library that takes Arrow streams.

        ``pyarrow.table(table)``, ``polars.DataFrame(table)`` and a query of DuckDB that
        names the variable read the table in this way.

        Args:
            requested_schema: the types that are preferred.

        Example:
            >>> pa.table(dt).num_rows
            3
        """
        return self.scan().__arrow_c_stream__(requested_schema)

    def __datafusion_table_provider__(self, session: Any | None = None) -> Any:
        """For ``SessionContext.register_table`` of DataFusion.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "the package datafusion cannot use the table as a provider: pass the table "
            "to from_arrow(), register to_pyarrow_dataset(), or use QueryBuilder"
        )

    def _check_protocol(self) -> None:
        """Raises if pyarrow would read wrong rows."""
        protocol = self.protocol()
        if protocol.min_reader_version > MAX_SUPPORTED_READER_VERSION:
            raise DeltaProtocolError(
                f"The table asks for reader version {protocol.min_reader_version}, and "
                f"{MAX_SUPPORTED_READER_VERSION} is the latest that is supported."
            )
        features = set(protocol.reader_features or ())
        # Version 2 implies column mapping, without a feature list.
        if protocol.min_reader_version == 2 and self._maps_columns():
            features.add("columnMapping")
        missing = sorted(features - SUPPORTED_READER_FEATURES)
        if missing:
            raise DeltaProtocolError(
                f"The table has set these reader features: {missing} but these are not "
                "yet supported by datasets of pyarrow: use scan() instead."
            )

    def _maps_columns(self) -> bool:
        mode = self.metadata().configuration.get("delta.columnMapping.mode")
        return mode not in (None, "none")


def _dataset() -> ModuleType:
    try:
        import pyarrow.dataset  # noqa: F401
    except ImportError:
        raise ImportError(
            "Pyarrow is required: install deltalakedb[pyarrow]."
        ) from None
    from deltalakedb import _dataset

    return _dataset


def _schema(given: Schema | ArrowSchemaExportable) -> Schema:
    return given if isinstance(given, Schema) else Schema.from_arrow(given)


def _listed(columns: list[str] | str | None) -> list[str]:
    return [columns] if isinstance(columns, str) else columns or []
