"""Catalogs, which store the logs of tables, and transactions across tables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal

from arro3.core import Array, DataType, Field, RecordBatchReader, Table
from arro3.core import Schema as ArrowSchema
from arro3.core.types import ArrowSchemaExportable

from deltalakedb import _html
from deltalakedb._arrow import Stream
from deltalakedb._assignments import Clause, assignments
from deltalakedb._internal import RawCatalog, RawTable, RawTransaction
from deltalakedb._merger import MergeBuilder
from deltalakedb._parameters import Parameters, parameters
from deltalakedb._util import check_type, parse_metrics, place_text, warn_caller
from deltalakedb.exceptions import DeltaError, TransactionClosedError
from deltalakedb.results import (
    DeleteMetrics,
    ExpiredHistory,
    MirrorStatus,
    UpdateMetrics,
    WriteMetrics,
)
from deltalakedb.schema import Schema
from deltalakedb.table import DeltaTable, TableMerger
from deltalakedb.transaction import AddAction, RemoveAction, action_json
from deltalakedb.writer.writer import ArrowData

__all__ = ["Catalog", "TableTransaction", "begin", "connect"]

TableLike = str | os.PathLike[str] | DeltaTable

_HISTORY = ArrowSchema(
    [
        Field("version", DataType.int64(), nullable=False),
        Field("timestamp", DataType.timestamp("ms", tz="UTC")),
        Field("operation", DataType.utf8()),
        Field("parameters", DataType.utf8()),
        Field("metrics", DataType.utf8()),
        Field("user_name", DataType.utf8()),
    ]
)


def connect(
    uri: str | None = None,
    *,
    create: bool | None = None,
    settings: Mapping[str, str] | None = None,
    data: str | os.PathLike[str] | None = None,
) -> Catalog:
    """Connects to a catalog.

    Args:
        uri: ``deltasql://sqlite//var/data/meta.db``,
            ``deltasql://duckdb//var/data/catalog.duckdb`` or
            ``deltasql://postgres/mydb/public``. By default that of
            ``DELTALAKEDB_CATALOG``.
        create: whether a missing catalog is created, and one of an older release
            upgraded. By default the setting ``sql.schema`` decides: a file is, a schema
            in PostgreSQL is not.
        settings: settings such as ``{"mirror.mode": "background"}``.
        data: a data directory of row tables, which is created if it does not exist.
            Without ``uri`` and ``DELTALAKEDB_CATALOG`` it has a catalog of its own. One
            process has it open, until the catalog is closed.

    Raises:
        CatalogError: the catalog does not exist, or cannot be opened.
        DeltaError: the URI is invalid.

    Example:
        >>> connect().tables()
        ['default.dt']
    """
    check_type("uri", uri, str, type(None))
    check_type("create", create, bool, type(None))
    check_type("settings", settings, Mapping, type(None))
    check_type("data", data, str, os.PathLike, type(None))
    own = dict(settings) if settings else None
    place = None if data is None else os.fspath(data)
    return Catalog(RawCatalog(uri, create, own, place))


class Catalog:
    """A connected catalog, as returned by `connect`.

    A table has a name, such as ``sales.orders``; without a namespace it is in
    ``default``.

    All objects of a catalog share its connections. They end with the process, or when
    the last `Catalog` is closed: with `close`, or at the end of a ``with`` block. That
    releases a DuckDB file, which only one process can have open.

    Example:
        >>> with connect() as catalog:
        ...     catalog.tables()
        ['default.dt']
    """

    def __init__(self, raw: RawCatalog) -> None:
        self._catalog = raw

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Catalog({self.uri!r})"

    def _repr_html_(self) -> str:
        return _html.of_catalog(self._catalog)

    @property
    def uri(self) -> str:
        """The URI of the catalog."""
        return self._catalog.uri()

    def close(self) -> None:
        """Ends its connections, unless another `Catalog` uses them.

        A closed catalog can only be closed again. Tables and transactions that were
        opened before can no longer be used; open them again.
        """
        self._catalog.close()

    def tables(self) -> list[str]:
        """The names of its tables, sorted.

        Example:
            >>> connect().tables()
            ['default.dt']
        """
        return sorted(json.loads(table)["name"] for table in self._catalog.tables())

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """Opens a table.

        Args:
            name: its name.
            version: the version, instead of the latest.

        Raises:
            TableNotFoundError: no table has that name.
            DeltaError: there is no such version.

        Example:
            >>> connect().table("dt").count()
            3
        """
        check_type("name", name, str)
        return DeltaTable._of(self._catalog.open(name, version))

    def create(
        self,
        name: str,
        schema: Schema | ArrowSchemaExportable,
        *,
        location: str | os.PathLike[str] | None = None,
        partition_by: Sequence[str] | str | None = None,
        configuration: Mapping[str, str | None] | None = None,
    ) -> DeltaTable:
        """Creates a table without rows.

        Args:
            name: its name.
            schema: its columns.
            location: where its files are stored; by default below the setting
                ``warehouse``.
            partition_by: the columns that files are partitioned by.
            configuration: its properties.

        Raises:
            DeltaError: the name or the location is taken, or a property is invalid.

        Example:
            >>> from deltalakedb import Field
            >>> schema = Schema([Field("id", "long")])
            >>> table = connect().create("sales.orders", schema, location=path)
            >>> table.version()
            0
        """
        check_type("name", name, str)
        if not isinstance(schema, Schema):
            schema = Schema.from_arrow(schema)
        self._catalog.create(
            name,
            schema.to_json(),
            _path(location),
            _columns(partition_by) or [],
            configuration,
        )
        return self.table(name)

    def import_table(
        self, location: str | os.PathLike[str], name: str | None = None
    ) -> DeltaTable:
        """Imports an existing Delta table with its history.

        Called again, it resumes an interrupted import, or imports the commits that
        other engines have made since.

        Args:
            location: where it is.
            name: its name; without it, ``default.<folder>``.

        Raises:
            TableNotFoundError: there is no Delta table.
            DeltaError: the name is taken.
        """
        check_type("location", location, str, os.PathLike)
        check_type("name", name, str, type(None))
        return self.table(self._catalog.import_table(os.fspath(location), name))

    def exists(self, name: str) -> bool:
        """Whether the table exists.

        Args:
            name: its name.

        Example:
            >>> connect().exists("dt"), connect().exists("nope")
            (True, False)
        """
        check_type("name", name, str)
        return self._catalog.exists(name)

    def rename(self, name: str, new_name: str) -> DeltaTable:
        """Renames a table. Its files are not moved.

        Args:
            name: its name.
            new_name: its new name; without a namespace it is in ``default``.

        Returns:
            The table.

        Raises:
            TableNotFoundError: no table has that name.
            DeltaError: another table has the new name.
        """
        check_type("name", name, str)
        check_type("new_name", new_name, str)
        self._catalog.rename(name, new_name)
        return self.table(new_name)

    def drop(
        self, name: str, *, delete_files: bool = False, force: bool = False
    ) -> None:
        """Drops a table, after its commits are published.

        Its name and its location are free then, and `undrop` restores it until the time
        of the setting ``retention.time``, or of the catalog, has passed, by default
        thirty days. An import that was not finished is abandoned.

        Args:
            name: its name.
            delete_files: also deletes the files that belong to it. They cannot be
                restored; by default all files stay.
            force: drops it even if not all of its commits can be published.

        Raises:
            TableNotFoundError: no table has that name.
            DeltaError: not all of its commits can be published.
        """
        check_type("name", name, str)
        check_type("delete_files", delete_files, bool)
        check_type("force", force, bool)
        self._catalog.drop(name, delete_files, force)

    def undrop(self, name: str, new_name: str | None = None) -> DeltaTable:
        """Restores a dropped table.

        Args:
            name: the name it had; of several tables, the one that was dropped last.
            new_name: another name, if its own has been taken since.

        Returns:
            The table.

        Raises:
            TableNotFoundError: no table of that name was dropped, or its retention
                has ended.
            DeltaError: its name or its location has been taken since, or its files were
                deleted.
        """
        check_type("name", name, str)
        check_type("new_name", new_name, str, type(None))
        return self.table(self._catalog.undrop(name, new_name))

    def detach(self, name: str) -> None:
        """Detaches a table from the catalog, after its commits are published.

        Its files stay, and are a plain Delta table that no catalog manages.
        `import_table` imports it again.

        Args:
            name: its name.

        Raises:
            TableNotFoundError: no table has that name.
            DeltaError: not all of its commits can be published.
        """
        check_type("name", name, str)
        self._catalog.detach(name)

    def history(self, name: str, limit: int | None = None) -> Table:
        """The commits of a table, newest first.

        Args:
            name: the table.
            limit: the maximum number.

        Returns:
            ``version``, ``timestamp``, ``operation``, ``parameters`` and ``metrics`` as
            JSON text, and ``user_name``.

        Example:
            >>> pa.table(connect().history("dt"))["operation"].to_pylist()
            ['WRITE']
        """
        check_type("name", name, str)
        commits = [json.loads(commit) for commit in self._catalog.history(name, limit)]
        columns = {
            "version": [commit["version"] for commit in commits],
            "timestamp": [commit.get("timestamp") for commit in commits],
            "operation": [commit.get("operation") for commit in commits],
            "parameters": [
                _text(commit.get("operationParameters")) for commit in commits
            ],
            "metrics": [_text(commit.get("operationMetrics")) for commit in commits],
            "user_name": [commit.get("userName") for commit in commits],
        }
        arrays = [
            _array(columns[name], _HISTORY.field(name)) for name in _HISTORY.names
        ]
        return Table.from_arrays(arrays, schema=_HISTORY)

    def mirror_status(self) -> list[MirrorStatus]:
        """How far the ``_delta_log`` of each table is behind the catalog."""
        return [json.loads(status) for status in self._catalog.mirror_status()]

    def publish(self, name: str | None = None) -> None:
        """Publishes the commits to ``_delta_log``, for other engines.

        Args:
            name: the table; without it, all.
        """
        check_type("name", name, str, type(None))
        self._catalog.publish(name)

    def expire(
        self,
        name: str | None = None,
        *,
        keep: timedelta | None = None,
        keep_versions: int | None = None,
        dry_run: bool = False,
    ) -> list[ExpiredHistory]:
        """Expires old versions, in the catalog and in ``_delta_log``.

        Expired versions can no longer be read. A version is kept as long as `keep` or
        `keep_versions` retains it.

        Args:
            name: the table; by default all, and the audit entries of that time. Then
                tables that were dropped at least seven days ago and whose retention has
                ended are removed as well.
            keep: versions that were the newest within this time are kept; by default
                the table's property ``delta.logRetentionDuration``, or else the setting
                ``retention.time``, or that of the catalog, thirty days.
            keep_versions: this many of the newest versions are kept, however old they
                are; by default the table's property ``deltalakedb.retention.versions``,
                or else the setting ``retention.versions``, or that of the catalog, 1.
            dry_run: only reports what would expire.

        Returns:
            For each table, ``table``, its ``base_version``, which is the oldest
            retained version, how many ``versions`` and ``files`` expired, and how many
            ``log_files`` were removed.

        Raises:
            TableNotFoundError: no table has that name.
            DeltaError: a history cannot be expired.

        Example:
            >>> connect().expire("dt")[0]["versions"]
            0
        """
        check_type("name", name, str, type(None))
        check_type("keep", keep, timedelta, type(None))
        check_type("keep_versions", keep_versions, int, type(None))
        check_type("dry_run", dry_run, bool)
        if keep is not None and keep < timedelta():
            raise ValueError(f"keep is {keep}: expected a time that is not negative")
        if keep_versions is not None and keep_versions < 1:
            raise ValueError(f"keep_versions is {keep_versions}: expected 1 or more")
        keep_ms = None if keep is None else keep // timedelta(milliseconds=1)
        ended = self._catalog.expire(name, keep_ms, keep_versions, dry_run)
        return [json.loads(table) for table in ended]

    def verify(self, name: str | None = None) -> list[str]:
        """Compares ``_delta_log`` with the catalog.

        Args:
            name: the table; without it, all.

        Returns:
            The differences, one sentence each.

        Example:
            >>> connect().verify()
            []
        """
        check_type("name", name, str, type(None))
        return self._catalog.verify(name)

    def query(self, sql: str) -> RecordBatchReader | None:
        """Runs SQL over its tables.

        Args:
            sql: statements, separated by ``;``.

        Returns:
            The rows of the last statement that has any.

        Raises:
            DeltaError: the SQL is invalid, or names something unknown.

        Example:
            >>> rows = connect().query("SELECT count(*) AS n FROM dt")
            >>> pa.table(rows).to_pylist()
            [{'n': 3}]
        """
        return self.execute(sql)

    def execute(
        self, sql: str, params: Parameters | None = None
    ) -> RecordBatchReader | None:
        """Runs SQL over its tables, with values for placeholders.

        Args:
            sql: statements, separated by ``;``.
            params: a sequence of the values of ``$1``, ``$2`` and so on, or a mapping
                with those of ``:name``. They can be used in every statement.

        Returns:
            The rows of the last statement that has any.

        Raises:
            DeltaError: the SQL is invalid, or names something unknown, or a placeholder
                has no value.

        Example:
            >>> with connect(data="notes") as catalog:
            ...     create = "CREATE SHARED TABLE t (id INT PRIMARY KEY, x TEXT)"
            ...     _ = catalog.execute(create)
            ...     _ = catalog.execute("INSERT INTO t VALUES ($1, $2)", [1, "milk"])
            ...     rows = catalog.execute("SELECT x FROM t WHERE id = :id", {"id": 1})
            ...     pa.table(rows).to_pylist()
            [{'x': 'milk'}]
        """
        check_type("sql", sql, str)
        return self._catalog.query(sql, parameters(params))

    def begin(
        self,
        *,
        max_tables: int | None = None,
        timeout_secs: float | None = None,
        serializable: bool = False,
    ) -> TableTransaction:
        """A transaction across tables of this catalog. See `begin`."""
        return TableTransaction(self._catalog, max_tables, timeout_secs, serializable)


def begin(
    catalog: str | Catalog | None = None,
    *,
    max_tables: int | None = None,
    timeout_secs: float | None = None,
    serializable: bool = False,
) -> TableTransaction:
    """A transaction across tables: everything is committed, or nothing.

    It begins with its ``with`` block, is committed at the end of it, and is rolled back
    by an exception. It reads all tables as they were when it began, and its own writes.

    Args:
        catalog: the catalog or its URI; by default that of ``DELTALAKEDB_CATALOG``.
        max_tables: the maximum number of tables it may write.
        timeout_secs: after how many seconds it can no longer be committed.
        serializable: whether everything it has read must also be unchanged when it is
            committed.

    Raises:
        TransactionConflictError: at the end of the block, a concurrent commit conflicts
            with this one.
        CommitOutcomeUnknownError: at the end of the block, it is not known whether it
            was committed.

    Example:
        >>> source = pa.table({"id": [1], "amount": [20]})
        >>> with begin() as tx:
        ...     deleted = tx.delete(dt, "id = 1")
        ...     written = tx.write(path, source)
        >>> sorted(tx.versions.values())
        [0, 1]
    """
    if not isinstance(catalog, Catalog):
        check_type("catalog", catalog, str, Catalog, type(None))
        catalog = connect(catalog)
    return catalog.begin(
        max_tables=max_tables, timeout_secs=timeout_secs, serializable=serializable
    )


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
                _columns(partition_by),
                _path(location),
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


def _path(location: str | os.PathLike[str] | None) -> str | None:
    check_type("location", location, str, os.PathLike, type(None))
    return None if location is None else os.fspath(location)


def _columns(names: Sequence[str] | str | None) -> list[str] | None:
    check_type("partition_by", names, str, Sequence, type(None))
    return [names] if isinstance(names, str) else list(names) if names else None


def _nothing_written() -> WriteMetrics:
    return {
        "num_added_files": 0,
        "num_removed_files": 0,
        "num_partitions": 0,
        "num_added_rows": 0,
        "execution_time_ms": 0,
    }


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _array(values: list[Any], field: Field) -> Array:
    if DataType.is_timestamp(field.type):
        return Array(values, DataType.int64()).cast(field.type)
    return Array(values, field.type)
