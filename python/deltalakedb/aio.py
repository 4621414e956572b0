"""The package for asyncio: the same methods as coroutines, each run in a thread.

The classes and their methods have the names, arguments, results and exceptions of those
that they wrap. The wrapped object is the attribute ``sync``, which is also what other
functions take. It has the methods that are missing here, for `run`: those that are
rarely used in a server, and those that need no I/O.

A call that is cancelled is waited for, because a thread cannot be stopped: a task ends
when its call has, and what the call committed stays. A transaction is rolled back.

Example:
    >>> async def main() -> int:
    ...     async with connect() as catalog:
    ...         table = await catalog.table("dt")
    ...         await table.delete("id = 1")
    ...         return await table.count()
    >>> asyncio.run(main())
    2
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from arro3.core import RecordBatch, RecordBatchReader, Schema, Table

from deltalakedb import _table_transaction
from deltalakedb import catalog as _catalog
from deltalakedb import table as _table
from deltalakedb import writer as _writer
from deltalakedb._alterer import TableAlterer as _TableAlterer
from deltalakedb._merger import TableMerger as _TableMerger
from deltalakedb._optimizer import TableOptimizer as _TableOptimizer
from deltalakedb._util import calling_line, waiting_line

__all__ = [
    "Catalog",
    "DeltaTable",
    "Rows",
    "TableAlterer",
    "TableMerger",
    "TableOptimizer",
    "TableTransaction",
    "begin",
    "connect",
    "run",
    "write_deltalake",
]

_P = ParamSpec("_P")
_S = TypeVar("_S")
_R = TypeVar("_R")
_T = TypeVar("_T")


async def run(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Runs a function in a thread of the event loop, as all methods here are run.

    Args:
        function: the function, such as a method of a `DeltaTable`.
        *args: its arguments.
        **kwargs: its arguments by name.

    Returns:
        Its result.
    """
    context = contextvars.copy_context()
    # For warnings: the frames of the program are not in the thread.
    context.run(waiting_line.set, calling_line())
    call = asyncio.get_running_loop().run_in_executor(
        None, functools.partial(context.run, function, *args, **kwargs)
    )
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        # Cancelled again, it goes on waiting: what the call uses is free only then.
        while not call.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([call])
        # Otherwise asyncio logs that the exception was never retrieved.
        call.exception()
        raise


class _Wrapper(Generic[_S]):
    """An object whose methods are run in threads."""

    def __init__(self, sync: _S) -> None:
        #: The wrapped object.
        self.sync = sync

    def __repr__(self) -> str:
        return f"aio.{self.sync!r}"


def _method(
    function: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_Wrapper[_S], _P], Coroutine[Any, Any, _R]]:
    async def call(self: _Wrapper[_S], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await run(function, self.sync, *args, **kwargs)

    return _described(call, function)


def _converted(
    function: Callable[Concatenate[_S, _P], _R], convert: Callable[[_R], _T]
) -> Callable[Concatenate[_Wrapper[_S], _P], Coroutine[Any, Any, _T]]:
    """A method whose result is wrapped, too."""

    async def call(self: _Wrapper[_S], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return convert(await run(function, self.sync, *args, **kwargs))

    return _described(call, function)


def _described(wrapper: _T, function: Callable[..., Any]) -> _T:
    """The wrapper with the name, the signature and the description of the function."""
    names = ("__name__", "__qualname__")
    functools.update_wrapper(wrapper, function, names)  # type: ignore[arg-type]
    # Its example is not one for asyncio.
    text = (function.__doc__ or "").partition("Example:")[0].rstrip()
    wrapper.__doc__ = text
    return wrapper


class Rows(_Wrapper[RecordBatchReader]):
    """Rows that are read on demand: ``async for`` gives their batches.

    Every library that takes Arrow streams reads it, too, and then blocks.
    """

    def __aiter__(self) -> AsyncIterator[RecordBatch]:
        return self

    async def __anext__(self) -> RecordBatch:
        batch = await run(next, self.sync, None)
        if batch is None:
            raise StopAsyncIteration
        return batch

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.sync.__arrow_c_stream__(requested_schema)

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return self.sync.schema

    async def read_all(self) -> Table:
        """Reads all rows that were not read yet."""
        return await run(self.sync.read_all)


def _rows(reader: RecordBatchReader | None) -> Rows | None:
    return None if reader is None else Rows(reader)


class TableOptimizer(_Wrapper[_TableOptimizer]):
    """Operations that rewrite the files of a table."""

    compact = _method(_TableOptimizer.compact)
    z_order = _method(_TableOptimizer.z_order)
    purge = _method(_TableOptimizer.purge)


class TableAlterer(_Wrapper[_TableAlterer]):
    """Operations that change the metadata of a table."""

    add_feature = _method(_TableAlterer.add_feature)
    add_columns = _method(_TableAlterer.add_columns)
    add_constraint = _method(_TableAlterer.add_constraint)
    drop_constraint = _method(_TableAlterer.drop_constraint)
    drop_column_not_null = _method(_TableAlterer.drop_column_not_null)
    set_table_properties = _method(_TableAlterer.set_table_properties)
    set_table_name = _method(_TableAlterer.set_table_name)
    set_table_description = _method(_TableAlterer.set_table_description)
    set_column_metadata = _method(_TableAlterer.set_column_metadata)


def _clause(
    function: Callable[Concatenate[_TableMerger, _P], _TableMerger],
) -> Callable[Concatenate[TableMerger, _P], TableMerger]:
    def add(self: TableMerger, /, *args: _P.args, **kwargs: _P.kwargs) -> TableMerger:
        function(self.sync, *args, **kwargs)
        return self

    return _described(add, function)


class TableMerger(_Wrapper[_TableMerger]):
    """A merge, to which clauses are added. It runs with `execute`."""

    when_matched_update = _clause(_TableMerger.when_matched_update)
    when_matched_update_all = _clause(_TableMerger.when_matched_update_all)
    when_matched_delete = _clause(_TableMerger.when_matched_delete)
    when_not_matched_insert = _clause(_TableMerger.when_not_matched_insert)
    when_not_matched_insert_all = _clause(_TableMerger.when_not_matched_insert_all)
    when_not_matched_by_source_update = _clause(
        _TableMerger.when_not_matched_by_source_update
    )
    when_not_matched_by_source_delete = _clause(
        _TableMerger.when_not_matched_by_source_delete
    )
    execute = _method(_TableMerger.execute)


class DeltaTable(_Wrapper[_table.DeltaTable]):
    """A table at one version. `open` opens it.

    Example:
        >>> async def main() -> None:
        ...     table = await DeltaTable.open(path)
        ...     async for batch in await table.scan(predicate="id > 1"):
        ...         print(batch.num_rows)
        >>> asyncio.run(write_deltalake(path, data))
        >>> asyncio.run(main())
        2
    """

    @classmethod
    async def open(
        cls,
        table_uri: str | Path,
        version: int | None = None,
        storage_options: dict[str, str] | None = None,
    ) -> DeltaTable:
        """Opens a table.

        Args:
            table_uri: where it is, as for `deltalakedb.DeltaTable`.
            version: the version, instead of the latest.
            storage_options: options for the object store.

        Raises:
            TableNotFoundError: the table does not exist.
            DeltaError: there is no such version.
        """
        return cls(await run(_table.DeltaTable, table_uri, version, storage_options))

    @property
    def table_uri(self) -> str:
        """The URI of the table."""
        return self.sync.table_uri

    @property
    def optimize(self) -> TableOptimizer:
        """Operations that rewrite the files."""
        return TableOptimizer(self.sync.optimize)

    @property
    def alter(self) -> TableAlterer:
        """Operations that change the metadata."""
        return TableAlterer(self.sync.alter)

    def version(self) -> int:
        """The version of this object."""
        return self.sync.version()

    count = _method(_table.DeltaTable.count)
    delete = _method(_table.DeltaTable.delete)
    file_uris = _method(_table.DeltaTable.file_uris)
    history = _method(_table.DeltaTable.history)
    load_as_version = _method(_table.DeltaTable.load_as_version)
    load_cdf = _converted(_table.DeltaTable.load_cdf, Rows)
    merge = _converted(_table.DeltaTable.merge, TableMerger)
    repair = _method(_table.DeltaTable.repair)
    restore = _method(_table.DeltaTable.restore)
    scan = _converted(_table.DeltaTable.scan, Rows)
    to_pandas = _method(_table.DeltaTable.to_pandas)
    to_polars = _method(_table.DeltaTable.to_polars)
    to_pyarrow_table = _method(_table.DeltaTable.to_pyarrow_table)
    update = _method(_table.DeltaTable.update)
    update_incremental = _method(_table.DeltaTable.update_incremental)
    vacuum = _method(_table.DeltaTable.vacuum)


class Catalog(_Wrapper[_catalog.Catalog]):
    """A connected catalog, as returned by `connect`."""

    async def __aenter__(self) -> Catalog:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def uri(self) -> str:
        """The URI of the catalog."""
        return self.sync.uri

    close = _method(_catalog.Catalog.close)
    create = _converted(_catalog.Catalog.create, DeltaTable)
    detach = _method(_catalog.Catalog.detach)
    drop = _method(_catalog.Catalog.drop)
    execute = _converted(_catalog.Catalog.execute, _rows)
    exists = _method(_catalog.Catalog.exists)
    expire = _method(_catalog.Catalog.expire)
    history = _method(_catalog.Catalog.history)
    import_table = _converted(_catalog.Catalog.import_table, DeltaTable)
    mirror_status = _method(_catalog.Catalog.mirror_status)
    publish = _method(_catalog.Catalog.publish)
    query = _converted(_catalog.Catalog.query, _rows)
    rename = _converted(_catalog.Catalog.rename, DeltaTable)
    table = _converted(_catalog.Catalog.table, DeltaTable)
    tables = _method(_catalog.Catalog.tables)
    undrop = _converted(_catalog.Catalog.undrop, DeltaTable)
    verify = _method(_catalog.Catalog.verify)

    def begin(
        self,
        *,
        max_tables: int | None = None,
        timeout_secs: float | None = None,
        serializable: bool = False,
    ) -> TableTransaction:
        """A transaction across tables of this catalog. See `deltalakedb.begin`."""
        return TableTransaction(
            self.sync.begin(
                max_tables=max_tables,
                timeout_secs=timeout_secs,
                serializable=serializable,
            )
        )


class _Opening(Generic[_T]):
    """Something that is opened by ``await``, or for a block by ``async with``."""

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._open = open_
        self._opened: Any = None

    def __await__(self) -> Generator[Any, None, _T]:
        return self._open().__await__()

    async def __aenter__(self) -> _T:
        opened: _T = await self._open()
        self._opened = opened
        await self._opened.__aenter__()
        return opened

    async def __aexit__(self, *error: Any) -> None:
        await self._opened.__aexit__(*error)


def connect(
    uri: str | None = None,
    *,
    create: bool | None = None,
    settings: Mapping[str, str] | None = None,
    data: str | Path | None = None,
) -> _Opening[Catalog]:
    """Connects to a catalog: ``await`` it, or use it with ``async with``.

    Args:
        uri: the URI of the catalog.
        create: whether a missing catalog is created, and one of an older release
            upgraded.
        settings: settings such as ``{"mirror.mode": "background"}``.
        data: a data directory of row tables. See `deltalakedb.connect`.

    Raises:
        CatalogError: the catalog does not exist, or cannot be opened.
        DeltaError: the URI is invalid.
    """

    async def opened() -> Catalog:
        return Catalog(
            await run(
                _catalog.connect, uri, create=create, settings=settings, data=data
            )
        )

    return _Opening(opened)


def begin(
    catalog: str | Catalog | None = None,
    *,
    max_tables: int | None = None,
    timeout_secs: float | None = None,
    serializable: bool = False,
) -> _Opening[TableTransaction]:
    """A transaction across tables, for ``async with``. See `deltalakedb.begin`.

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
        >>> async def main() -> None:
        ...     async with begin() as tx:
        ...         await tx.delete(dt, "id = 1")
        ...         await tx.write(path, data)
        >>> asyncio.run(main())
    """

    async def opened() -> TableTransaction:
        sync = catalog.sync if isinstance(catalog, Catalog) else catalog
        return TableTransaction(
            await run(
                _catalog.begin,
                sync,
                max_tables=max_tables,
                timeout_secs=timeout_secs,
                serializable=serializable,
            )
        )

    return _Opening(opened)


class TableTransaction(_Wrapper[_catalog.TableTransaction]):
    """A transaction across tables, as returned by `begin`.

    It is used within its ``async with`` block only, and by one task at a time.
    """

    async def __aenter__(self) -> TableTransaction:
        try:
            await run(self.sync.__enter__)
        except asyncio.CancelledError as e:
            await run(self.sync.__exit__, type(e), e, None)
            raise
        # The thread had only a copy of the context.
        _table_transaction.begun.set(self.sync)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await run(self.sync.__exit__, kind, error, traceback)

    @property
    def versions(self) -> dict[str, int]:
        """The new version of each table, by its name; empty before the commit."""
        return self.sync.versions

    commit = _method(_catalog.TableTransaction.commit)
    rollback = _method(_catalog.TableTransaction.rollback)
    write = _method(_catalog.TableTransaction.write)
    delete = _method(_catalog.TableTransaction.delete)
    update = _method(_catalog.TableTransaction.update)
    merge = _converted(_catalog.TableTransaction.merge, TableMerger)
    stage_table = _method(_catalog.TableTransaction.stage_table)
    scan = _converted(_catalog.TableTransaction.scan, Rows)


def _function(
    function: Callable[_P, _R],
) -> Callable[_P, Coroutine[Any, Any, _R]]:
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await run(function, *args, **kwargs)

    return _described(call, function)


write_deltalake = _function(_writer.write_deltalake)
