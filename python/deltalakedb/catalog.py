"""Catalogs, which store the logs of tables, and transactions across tables."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from arro3.core import Array, DataType, Field, RecordBatchReader, Table
from arro3.core import Schema as ArrowSchema
from arro3.core.types import ArrowSchemaExportable

from deltalakedb import _html
from deltalakedb._internal import RawCatalog
from deltalakedb._parameters import Parameters, parameters
from deltalakedb._table_transaction import TableTransaction
from deltalakedb._util import check_type, column_names, path_text
from deltalakedb.results import ExpiredHistory, MirrorStatus
from deltalakedb.schema import Schema
from deltalakedb.table import DeltaTable

__all__ = ["Catalog", "TableTransaction", "begin", "connect"]

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
            path_text(location),
            column_names(partition_by) or [],
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


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _array(values: list[Any], field: Field) -> Array:
    if DataType.is_timestamp(field.type):
        return Array(values, DataType.int64()).cast(field.type)
    return Array(values, field.type)
