"""The types of what operations return: dictionaries with known keys.

Times are in milliseconds. The metrics have the names that delta-rs gives them.

Example:
    >>> from deltalakedb import DeltaTable
    >>> def deleted(table: DeltaTable) -> DeleteMetrics:
    ...     return table.delete("id = 1")
    >>> deleted(dt)["num_copied_rows"]
    2
"""

# Without `from __future__ import annotations`, with which `NotRequired` would be only
# text at runtime.
import sys
from typing import Any, TypedDict

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    from typing_extensions import NotRequired

__all__ = [
    "CommitInfo",
    "DeleteMetrics",
    "ExpiredHistory",
    "MergeMetrics",
    "MirrorStatus",
    "OptimizeMetrics",
    "PurgeMetrics",
    "RepairMetrics",
    "RestoreMetrics",
    "UpdateMetrics",
    "WriteMetrics",
]


class WriteMetrics(TypedDict):
    """What a write in a transaction did. With mode ``ignore`` it may be nothing."""

    num_added_files: int
    num_removed_files: int
    num_partitions: int
    num_added_rows: int
    execution_time_ms: int
    num_retries: NotRequired[int]


class DeleteMetrics(TypedDict):
    """What a delete did.

    ``num_deleted_rows`` is missing or `None` if whole files were removed and the log
    does not have their numbers of rows. A table with deletion vectors has
    ``num_deletion_vectors``, another one ``scan_time_ms`` and ``rewrite_time_ms``.
    """

    num_deleted_rows: NotRequired[int | None]
    num_added_files: int
    num_removed_files: int
    num_copied_rows: int
    num_deletion_vectors: NotRequired[int]
    execution_time_ms: int
    scan_time_ms: NotRequired[int]
    rewrite_time_ms: NotRequired[int]


class UpdateMetrics(TypedDict):
    """What an update did.

    A table with deletion vectors has ``num_deletion_vectors``, another one
    ``scan_time_ms``.
    """

    num_updated_rows: int
    num_added_files: int
    num_removed_files: int
    num_copied_rows: int
    num_deletion_vectors: NotRequired[int]
    execution_time_ms: int
    scan_time_ms: NotRequired[int]


class MergeMetrics(TypedDict):
    """What a merge did.

    A table with deletion vectors has ``num_deletion_vectors``, another one
    ``num_target_files_skipped_during_scan``, ``scan_time_ms`` and ``rewrite_time_ms``.
    """

    num_source_rows: int
    num_target_rows_inserted: int
    num_target_rows_updated: int
    num_target_rows_deleted: int
    num_target_rows_copied: int
    num_output_rows: int
    num_target_files_scanned: int
    num_target_files_skipped_during_scan: NotRequired[int]
    num_target_files_added: int
    num_target_files_removed: int
    num_deletion_vectors: NotRequired[int]
    execution_time_ms: int
    scan_time_ms: NotRequired[int]
    rewrite_time_ms: NotRequired[int]


class OptimizeMetrics(TypedDict):
    """What a compaction or a Z-order did.

    ``filesAdded`` and ``filesRemoved`` are JSON text with ``avg``, ``min``, ``max``,
    ``totalFiles`` and ``totalSize``; sizes are in bytes.
    """

    numFilesAdded: int
    numFilesRemoved: int
    filesAdded: str
    filesRemoved: str
    partitionsOptimized: int
    numBatches: int
    totalConsideredFiles: int
    totalFilesSkipped: int
    preserveInsertionOrder: bool
    plannerStrategy: str
    preservedStableOrder: bool
    maxBinSpanFiles: int


class PurgeMetrics(TypedDict):
    """What a purge of deletion vectors did. Sizes are in bytes."""

    numFilesAdded: int
    numFilesRemoved: int
    numBytesAdded: int
    numBytesRemoved: int
    numDeletionVectorsRemoved: int
    numRowsCopied: int
    numRowsPurged: int
    executionTimeMs: int


class RestoreMetrics(TypedDict):
    """How many files a restore removed and restored."""

    numRemovedFile: int
    numRestoredFile: int


class RepairMetrics(TypedDict):
    """The paths of the files that a repair removed, or would remove."""

    dry_run: bool
    files_removed: list[str]


class CommitInfo(TypedDict):
    """A commit in the history of a table.

    Only the version, the time and the operation are always there, and a commit of
    another engine may have other keys in addition.
    """

    version: int
    timestamp: int
    operation: NotRequired[str]
    operationParameters: NotRequired[dict[str, Any]]
    operationMetrics: NotRequired[dict[str, Any]]
    userName: NotRequired[str]
    engineInfo: NotRequired[str]
    clientVersion: NotRequired[str]
    txnId: NotRequired[str]
    isBlindAppend: NotRequired[bool]
    isolationLevel: NotRequired[str]
    readVersion: NotRequired[int]
    deltalakedb: NotRequired[dict[str, Any]]


class MirrorStatus(TypedDict):
    """How far the ``_delta_log`` of a table is behind the catalog.

    ``mirror`` is ``following``, or says where it has diverged; ``failures`` are the
    errors of the last attempts to publish.
    """

    table: str
    version: int
    published_version: int | None
    behind: int
    lag_ms: int
    mirror: str
    failures: list[str]


class ExpiredHistory(TypedDict):
    """What expired of a table, or would expire.

    ``base_version`` is the oldest retained version. ``files`` are in no version any
    more, ``log_files`` were removed from ``_delta_log``; both are `None` with
    ``dry_run``.
    """

    table: str
    base_version: int
    versions: int
    files: int | None
    log_files: int | None
