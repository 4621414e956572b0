"""Compaction and Z-ordering of a table."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
)

from deltalakedb._filters import FilterConjunctionType, encoded
from deltalakedb._table_features import TableFeatures as TableFeatures
from deltalakedb._util import (
    HOOKS_FIRST,
    deprecate_positional_commit_args,
    parse_metrics,
)
from deltalakedb.exceptions import DeltaError
from deltalakedb.results import OptimizeMetrics, PurgeMetrics

if TYPE_CHECKING:

    from deltalakedb.table import DeltaTable
    from deltalakedb.transaction import (
        CommitProperties,
        PostCommitHookProperties,
    )
    from deltalakedb.writer.properties import WriterProperties


class TableOptimizer:
    """Rewrites the data files of a table. The rows do not change.

    Args:
        table: the table.
    """

    def __init__(self, table: DeltaTable) -> None:
        self.table = table

    def compact(
        self,
        partition_filters: FilterConjunctionType | None = None,
        target_size: int | None = None,
        max_concurrent_tasks: int | None = None,
        max_spill_size: int | None = None,
        max_temp_directory_size: int | None = None,
        min_commit_interval: int | timedelta | None = None,
        writer_properties: WriterProperties | None = None,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> OptimizeMetrics:
        """Compacts small files into larger ones.

        Args:
            partition_filters: in which partitions, as filters that must all match.
            target_size: the approximate size of a file in bytes, instead of the
                property ``delta.targetFileSize``.
            max_concurrent_tasks: how many files are written at once.
            max_spill_size: accepted for compatibility, and ignored.
            max_temp_directory_size: accepted for compatibility, and ignored.
            min_commit_interval: makes a commit of the finished files each time this
                time (a timedelta, or seconds) has passed, instead of one for all files.
                The commits are made when the last file is finished.
            writer_properties: properties of the Parquet files.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            The metrics of the operation.

        Example:
            >>> from deltalakedb import write_deltalake
            >>> write_deltalake(dt, data, mode="append")
            >>> dt.optimize.compact()["numFilesRemoved"]
            2
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "compact",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        return self._optimize(
            [],
            partition_filters,
            target_size,
            max_concurrent_tasks,
            _seconds(min_commit_interval),
            max_spill_size,
            max_temp_directory_size,
            writer_properties,
            commit_properties,
            post_commithook_properties,
        )

    def z_order(
        self,
        columns: Iterable[str],
        partition_filters: FilterConjunctionType | None = None,
        target_size: int | None = None,
        max_concurrent_tasks: int | None = None,
        max_spill_size: int | None = None,
        max_temp_directory_size: int | None = None,
        min_commit_interval: int | timedelta | None = None,
        writer_properties: WriterProperties | None = None,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> OptimizeMetrics:
        """Clusters rows with similar values (Z-order), so that reads need fewer files.

        Args:
            columns: the columns to cluster by.
            partition_filters: in which partitions, as filters that must all match.
            target_size: the approximate size of a file in bytes, instead of the
                property ``delta.targetFileSize``.
            max_concurrent_tasks: how many files are written at once.
            max_spill_size: accepted for compatibility, and ignored.
            max_temp_directory_size: accepted for compatibility, and ignored.
            min_commit_interval: makes a commit of the finished files each time this
                time (a timedelta, or seconds) has passed, instead of one for all files.
                The commits are made when the last file is finished.
            writer_properties: properties of the Parquet files.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            The metrics of the operation.

        Raises:
            DeltaError: there is no column, or no such column.

        Example:
            >>> dt.optimize.z_order(["id", "price"])["numFilesAdded"]
            1
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "z_order",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        columns = list(columns)
        if not columns:
            raise DeltaError("Z-order requires at least one column")
        return self._optimize(
            columns,
            partition_filters,
            target_size,
            max_concurrent_tasks,
            _seconds(min_commit_interval),
            max_spill_size,
            max_temp_directory_size,
            writer_properties,
            commit_properties,
            post_commithook_properties,
        )

    def purge(
        self,
        partition_filters: FilterConjunctionType | None = None,
        writer_properties: WriterProperties | None = None,
        *,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> PurgeMetrics:
        """Rewrites the files that have a deletion vector, without the rows it hides.

        ``deltalake`` has no such method.

        Args:
            partition_filters: in which partitions, as filters that must all match.
            writer_properties: properties of the Parquet files.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Returns:
            The metrics of the operation: ``numFilesAdded``, ``numFilesRemoved``,
            ``numBytesAdded``, ``numBytesRemoved``, ``numDeletionVectorsRemoved``,
            ``numRowsCopied`` and ``numRowsPurged``.

        Example:
            >>> dt.optimize.purge()["numRowsPurged"]
            0
        """
        metrics = self.table._table.purge(
            _encoded(partition_filters),
            writer_properties,
            commit_properties,
            post_commithook_properties,
        )
        self.table.update_incremental()
        return parse_metrics(metrics, PurgeMetrics)

    def _optimize(
        self,
        zorder: list[str],
        partition_filters: FilterConjunctionType | None,
        *options: Any,
    ) -> OptimizeMetrics:
        filters = _encoded(partition_filters)
        metrics = self.table._table.optimize(zorder, filters, *options)
        self.table.update_incremental()
        return parse_metrics(metrics, OptimizeMetrics)


def _encoded(partition_filters: FilterConjunctionType | None) -> Any:
    return encoded(partition_filters) if partition_filters else None


def _seconds(interval: int | timedelta | None) -> int | None:
    if isinstance(interval, timedelta):
        return int(interval.total_seconds())
    return interval
