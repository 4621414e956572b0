"""Transactions across tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal

from arro3.core import RecordBatchReader

from deltalakedb._arrow import Stream
from deltalakedb._assignments import Clause, assignments
from deltalakedb._internal import RawCatalog, RawTable, RawTransaction
from deltalakedb._merger import MergeBuilder, TableMerger
from deltalakedb._util import (
    check_type,
    column_names,
    parse_metrics,
    path_text,
    place_text,
    warn_caller,
)
from deltalakedb.exceptions import DeltaError, TransactionClosedError
from deltalakedb.results import DeleteMetrics, UpdateMetrics, WriteMetrics
from deltalakedb.schema import Schema
from deltalakedb.table import DeltaTable
from deltalakedb.transaction import AddAction, RemoveAction, action_json
from deltalakedb.writer.writer import ArrowData

TableLike = str | os.PathLike[str] | DeltaTable

# The transaction that was begun last in this thread, or in this task.
begun: ContextVar[TableTransaction | None] = ContextVar(
    "deltalakedb_transaction_begun", default=None
)


class TableTransaction:
    """A transaction across tables, as returned by `begin`.

    It is used within its ``with`` block only, and one at a time. Tables are given by
    name, by path, by ``deltasql://`` URI, or as a `DeltaTable` of the same catalog. A
    text without a slash is a name here.
    """

    # Where users find it.
    __module__ = "deltalakedb.catalog"

    def __init__(
        self,
        catalog: RawCatalog,
        max_tables: int | None,
        timeout_secs: float | None,
        serializable: bool,
    ) -> None:
        check_type("max_tables", max_tables, int, type(None))
        check_type("timeout_secs", timeout_secs, int, float, type(None))
        check_type("serializable", serializable, bool)
        self._catalog: RawCatalog | None = catalog
        self._limits = (max_tables, timeout_secs, serializable)
        self._transaction: RawTransaction | None = None
        self._versions: dict[str, int] = {}

    def __enter__(self) -> TableTransaction:
        catalog = self._catalog
        if catalog is None or self._transaction is not None:
            raise TransactionClosedError("a transaction has one block: begin another")
        before = begun.get()
        if before is not None and before._transaction is not None:
            raise DeltaError(
                "a transaction is open here already: commit it or roll it back before "
                "another one begins"
            )
        self._transaction = catalog.begin(*self._limits)
        begun.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._transaction is None:
            return
        if error is None:
            self.commit()
            return
        try:
            self.rollback()
        except Exception as e:
            if sys.version_info >= (3, 11):
                error.add_note(f"Rolling the transaction back failed, too: {e}")
            else:
                warn_caller(
                    RuntimeWarning, f"Rolling the transaction back failed, too: {e}"
                )

    @property
    def versions(self) -> dict[str, int]:
        """The new version of each table, by its name; empty before the commit."""
        return dict(self._versions)

    def commit(self) -> dict[str, int]:
        """Commits it before the block ends.

        Returns:
            The new version of each table, by its name.

        Raises:
            TransactionConflictError: a concurrent commit conflicts with this one.
                Nothing of this transaction is visible.
            CommitOutcomeUnknownError: it is not known whether it was committed.
        """
        with self._closing() as transaction:
            self._versions = transaction.commit()
        return self.versions

    def rollback(self) -> None:
        """Rolls the transaction back and deletes the files that it wrote."""
        with self._closing() as transaction:
            transaction.rollback()

    def write(
        self,
        table: TableLike,
        data: ArrowData,
        mode: Literal["error", "append", "overwrite", "ignore"] = "append",
        schema_mode: Literal["merge", "overwrite"] | None = None,
        predicate: str | None = None,
        partition_by: Sequence[str] | str | None = None,
        location: str | os.PathLike[str] | None = None,
    ) -> WriteMetrics:
        """Writes rows to a table, as `write_deltalake` does.

        Args:
            table: the table; created if it does not exist.
            data: rows of any library that supports Arrow.
            mode: what to do if the table exists.
            schema_mode: how the schema of the table may change.
            predicate: with ``overwrite``, the rows that are replaced, in SQL.
            partition_by: the columns that files of a new table are partitioned by.
            location: where the files of a new table are stored.

        Returns:
            The metrics of the operation.
        """
        transaction = self._running()
        target = _target(table)
        check_type("mode", mode, str)
        check_type("predicate", predicate, str, type(None))
        with Stream(data).reading() as rows:
            metrics = transaction.write(
                target,
                rows,
                mode,
                schema_mode,
                predicate,
                column_names(partition_by),
                path_text(location),
            )
        # Without metrics it was ignored.
        return parse_metrics(metrics, WriteMetrics) or _nothing_written()

    def delete(self, table: TableLike, predicate: str | None = None) -> DeleteMetrics:
        """Removes rows, as `DeltaTable.delete` does.

        Args:
            table: the table.
            predicate: a condition in SQL; by default all rows.

        Returns:
            The metrics of the operation.
        """
        transaction = self._running()
        check_type("predicate", predicate, str, type(None))
        return parse_metrics(
            transaction.delete(_target(table), predicate), DeleteMetrics
        )

    def update(
        self,
        table: TableLike,
        updates: dict[str, str] | None = None,
        predicate: str | None = None,
        *,
        new_values: dict[str, Any] | None = None,
    ) -> UpdateMetrics:
        """Changes rows, as `DeltaTable.update` does.

        Args:
            table: the table.
            updates: the new values by column, in SQL.
            predicate: a condition in SQL; by default all rows.
            new_values: the new values by column, not as SQL; instead of `updates`.

        Returns:
            The metrics of the operation.

        Raises:
            DeltaError: there is no such column.
        """
        transaction = self._running()
        check_type("updates", updates, dict, type(None))
        check_type("predicate", predicate, str, type(None))
        values = assignments(updates, new_values)
        return parse_metrics(
            transaction.update(_target(table), values, predicate), UpdateMetrics
        )

    def merge(
        self,
        table: TableLike,
        source: ArrowData,
        predicate: str,
        source_alias: str | None = None,
        target_alias: str | None = None,
        merge_schema: bool = False,
    ) -> TableMerger:
        """Changes rows by those of a source, as `DeltaTable.merge` does.

        Args:
            table: the table.
            source: rows of any library that supports Arrow.
            predicate: the join condition of the table and the source, in SQL.
            source_alias: the alias of the source in SQL.
            target_alias: the alias of the table in SQL.
            merge_schema: whether new columns of the source are added to the table.

        Returns:
            A merger, to which clauses are added. Its ``execute`` is part of the
            transaction.
        """
        target = _target(table)
        check_type("predicate", predicate, str)
        schema = Schema.from_json(self._running().schema(target))

        def run(rows: RecordBatchReader, clauses: list[Clause]) -> str:
            return self._running().merge(
                target,
                rows,
                predicate,
                source_alias,
                target_alias,
                merge_schema,
                clauses,
            )

        columns = None if merge_schema else schema
        return TableMerger(
            MergeBuilder(Stream(source), source_alias, target_alias, columns, run), self
        )

    def stage_table(
        self,
        table: TableLike,
        df: ArrowData | None = None,
        actions: Sequence[AddAction | RemoveAction] | None = None,
        mode: Literal["append", "overwrite"] = "append",
    ) -> None:
        """Stages rows, or data files that were written by other means.

        Args:
            table: the table.
            df: rows of any library that supports Arrow.
            actions: files that are added and removed; instead of `df`.
            mode: ``append``, or ``overwrite``.

        Raises:
            TypeError: both are given, or neither, or an action is invalid.
        """
        transaction = self._running()
        if (df is None) == (actions is None):
            raise TypeError("stage_table takes either df or actions")
        if actions is None:
            self.write(table, df, mode)  # type: ignore[arg-type]
            return
        check_type("actions", actions, Sequence)
        staged = [action_json(action) for action in actions]
        transaction.stage_actions(_target(table), staged, mode)

    def scan(
        self,
        table: TableLike,
        columns: list[str] | None = None,
        predicate: str | None = None,
    ) -> RecordBatchReader:
        """The rows of a table, including the writes of the transaction.

        Args:
            table: the table.
            columns: some of the columns.
            predicate: a condition in SQL.
        """
        transaction = self._running()
        check_type("predicate", predicate, str, type(None))
        return transaction.scan(_target(table), columns, predicate)

    def _running(self) -> RawTransaction:
        if self._transaction is None:
            state = "has ended" if self._catalog is None else "has not begun"
            raise TransactionClosedError(
                f"the transaction {state}: use it within its with block"
            )
        return self._transaction

    @contextmanager
    def _closing(self) -> Iterator[RawTransaction]:
        """The transaction, which is closed afterwards in any case."""
        transaction = self._running()
        try:
            yield transaction
        finally:
            self._transaction = None
            # It may be the last reference that keeps the catalog open.
            self._catalog = None
            if begun.get() is self:
                begun.set(None)


def _target(table: TableLike) -> RawTable | str:
    check_type("table", table, str, os.PathLike, DeltaTable)
    return table._table if isinstance(table, DeltaTable) else place_text(table)


def _nothing_written() -> WriteMetrics:
    return {
        "num_added_files": 0,
        "num_removed_files": 0,
        "num_partitions": 0,
        "num_added_rows": 0,
        "execution_time_ms": 0,
    }
