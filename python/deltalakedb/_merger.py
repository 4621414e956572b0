"""Merges, clause by clause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
)

from arro3.core import RecordBatchReader

from deltalakedb._arrow import Stream
from deltalakedb._assignments import Clause
from deltalakedb._table_features import TableFeatures as TableFeatures
from deltalakedb._util import (
    check_type,
    parse_metrics,
)
from deltalakedb.exceptions import DeltaError
from deltalakedb.results import MergeMetrics
from deltalakedb.schema import Schema

if TYPE_CHECKING:

    pass


@dataclass
class MergeBuilder:
    """The clauses of a merge that `execute` runs."""

    source: Stream
    source_alias: str | None
    target_alias: str | None
    #: The columns that "all" means; `None` where others are added.
    columns: Schema | None
    run: Callable[[RecordBatchReader, list[Clause]], str]
    clauses: list[Clause] = field(default_factory=list)
    is_over: bool = False

    def all_columns(self, except_cols: list[str] | None) -> dict[str, str]:
        """The assignment of each column of the source to that of the table."""
        target_alias = f"{self.target_alias}." if self.target_alias is not None else ""
        source_alias = f"{self.source_alias}." if self.source_alias is not None else ""
        return {
            f"{target_alias}`{column}`": f"{source_alias}`{column}`"
            for column in self.source.schema.names
            if column not in (except_cols or ()) and self._has(column)
        }

    def _has(self, column: str) -> bool:
        return self.columns is None or _has(self.columns, column)


class TableMerger:
    """A merge, to which clauses are added. It runs with `execute`.

    For each row the first clause with a true predicate applies.

    Args:
        builder: the clauses of the merge.
        table: the table.
    """

    def __init__(self, builder: MergeBuilder, table: Any) -> None:
        self._builder = builder
        self._table = table

    def when_matched_update(
        self, updates: dict[str, str], predicate: str | None = None
    ) -> TableMerger:
        """Changes rows that match one of the source.

        Args:
            updates: the new values by column, in SQL.
            predicate: an additional condition in SQL.
        """
        return self._add("matched_update", updates, predicate)

    def when_matched_update_all(
        self, predicate: str | None = None, except_cols: list[str] | None = None
    ) -> TableMerger:
        """Changes rows that match one of the source: all columns become the source's.

        Args:
            predicate: an additional condition in SQL.
            except_cols: columns that stay.
        """
        updates = self._builder.all_columns(except_cols)
        return self._add("matched_update", updates, predicate)

    def when_matched_delete(self, predicate: str | None = None) -> TableMerger:
        """Removes rows that match one of the source.

        Args:
            predicate: an additional condition in SQL.
        """
        return self._add("matched_delete", None, predicate)

    def when_not_matched_insert(
        self, updates: dict[str, str], predicate: str | None = None
    ) -> TableMerger:
        """Adds rows of the source that match none of the table.

        Args:
            updates: the values by column, in SQL.
            predicate: an additional condition in SQL.
        """
        return self._add("not_matched_insert", updates, predicate)

    def when_not_matched_insert_all(
        self, predicate: str | None = None, except_cols: list[str] | None = None
    ) -> TableMerger:
        """Adds rows of the source that match none of the table, with all columns.

        Args:
            predicate: an additional condition in SQL.
            except_cols: columns that are left out.
        """
        updates = self._builder.all_columns(except_cols)
        return self._add("not_matched_insert", updates, predicate)

    def when_not_matched_by_source_update(
        self, updates: dict[str, str], predicate: str | None = None
    ) -> TableMerger:
        """Changes rows that match none of the source.

        Args:
            updates: the new values by column, in SQL.
            predicate: an additional condition in SQL.
        """
        return self._add("not_matched_by_source_update", updates, predicate)

    def when_not_matched_by_source_delete(
        self, predicate: str | None = None
    ) -> TableMerger:
        """Removes rows that match none of the source.

        Args:
            predicate: an additional condition in SQL.
        """
        return self._add("not_matched_by_source_delete", None, predicate)

    def execute(self) -> MergeMetrics:
        """Runs the merge and commits it.

        Returns:
            The metrics of the merge.

        Raises:
            DeltaError: there is no such column, the SQL is invalid, or several rows
                of the source match one of the table.
            CommitFailedError: a concurrent commit conflicts with this one.
        """
        builder = self._builder
        if builder.is_over:
            raise DeltaError("the merge was executed already: begin another one")
        builder.is_over = True
        with builder.source.reading() as rows:
            return parse_metrics(builder.run(rows, builder.clauses), MergeMetrics)

    def _add(
        self, kind: str, updates: dict[str, str] | None, predicate: str | None
    ) -> TableMerger:
        if updates is not None:
            check_type("updates", updates, dict)
            for column, value in updates.items():
                check_type("a column of updates", column, str)
                check_type("a value of updates", value, str)
        check_type("predicate", predicate, str, type(None))
        self._builder.clauses.append((kind, updates, predicate))
        return self


def _has(columns: Schema, column: str) -> bool:
    return any(field.name.lower() == column.lower() for field in columns.fields)
