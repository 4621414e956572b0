"""The package for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import aio
from deltalakedb.catalog import TableTransaction
from deltalakedb.exceptions import (
    CatalogError,
    DeltaError,
    TableNotFoundError,
    TransactionClosedError,
)
from deltalakedb.warnings import MirrorWarning

from .conftest import ids, read

PAIRS: dict[type, type] = {
    deltalakedb.Catalog: aio.Catalog,
    deltalakedb.DeltaTable: aio.DeltaTable,
    deltalakedb.table.TableAlterer: aio.TableAlterer,
    deltalakedb.table.TableMerger: aio.TableMerger,
    deltalakedb.table.TableOptimizer: aio.TableOptimizer,
    TableTransaction: aio.TableTransaction,
}
# Reached through `sync`: they need no I/O, or are rarely used in a server.
ONLY_SYNC = {
    "cleanup_metadata",
    "compact_logs",
    "create_checkpoint",
    "create_write_transaction",
    "deletion_vectors",
    "generate",
    "get_add_actions",
    "hold",
    "is_deltatable",
    "metadata",
    "partitions",
    "protocol",
    "schema",
    "table_config",
    "to_duckdb",
    "to_pyarrow_dataset",
    "transaction_version",
}


@pytest.mark.parametrize(("sync", "wrapper"), PAIRS.items(), ids=lambda c: c.__name__)
def test_methods_are_those_that_are_wrapped(sync: type, wrapper: type) -> None:
    for name, function in vars(sync).items():
        if name.startswith("_") or name in ONLY_SYNC:
            continue
        if wrapper is aio.DeltaTable and name == "create":
            continue
        ours = getattr(wrapper, name)
        if callable(function):
            theirs = list(inspect.signature(function).parameters)
            assert list(inspect.signature(ours).parameters) == theirs, name
            assert inspect.getdoc(ours), name


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_tables(catalog_uri: str, path: str) -> None:
    async def main() -> None:
        await aio.write_deltalake(path, ids(1, 2, 3))
        table = await aio.DeltaTable.open(path)
        assert (await table.delete("id = 1"))["num_deleted_rows"] == 1
        merge = await table.merge(ids(2, 9), "s.id = t.id", "s", "t")
        merge = merge.when_matched_delete().when_not_matched_insert_all()
        assert (await merge.execute())["num_target_rows_inserted"] == 1
        assert table.version() == 2
        await table.optimize.compact()
        await table.alter.set_table_properties({"delta.appendOnly": "false"})
        assert [c["operation"] for c in await table.history(1)] == ["SET TBLPROPERTIES"]
        rows = await table.scan(columns=["id"])
        assert rows.schema.names == ["id"]
        batches = [pa.record_batch(batch) async for batch in rows]
        assert read(pa.Table.from_batches(batches)) == [3, 9]
        assert (await (await table.scan()).read_all()).num_rows == 2
        assert pa.table(await table.scan()).num_rows == 2
        assert (await table.to_polars(predicate="id > 3"))["id"].to_list() == [9]
        await table.load_as_version(0)
        assert await table.count() == 3

    run(main)


def test_a_catalog(catalog_uri: str, path: str) -> None:
    async def main() -> None:
        await aio.write_deltalake(path, ids(1, 2))
        async with aio.connect(catalog_uri) as catalog:
            assert await catalog.tables() == ["default.table"]
            table = await catalog.rename("table", "sales.orders")
            assert isinstance(table, aio.DeltaTable)
            rows = await catalog.execute(
                "SELECT id FROM sales.orders WHERE id > $1", [1]
            )
            assert rows is not None
            assert pa.table(await rows.read_all()).to_pylist() == [{"id": 2}]
            assert await catalog.execute("DELETE FROM sales.orders") is None
            assert await catalog.verify() == []
        with pytest.raises(CatalogError, match="is closed"):
            await catalog.tables()
        awaited = await aio.connect()
        assert await awaited.exists("sales.orders")
        await awaited.close()

    run(main)


def test_errors_are_those_of_the_package(embedded: str, path: str) -> None:
    async def main() -> None:
        with pytest.raises(TableNotFoundError):
            await aio.DeltaTable.open(path)
        with pytest.raises(CatalogError, match="there is no catalog"):
            await aio.connect(create=False)

    run(main)


def test_a_transaction(catalog_uri: str, path: str) -> None:
    async def main() -> None:
        async with aio.begin() as tx:
            await tx.write(path, ids(1, 2))
            assert (await tx.delete(path, "id = 1"))["num_deleted_rows"] == 1
            found = await (await tx.scan(path)).read_all()
            assert found.num_rows == 1
        assert tx.versions == {"default.table": 0}
        with pytest.raises(TransactionClosedError, match="has ended"):
            await tx.write(path, ids(3))
        with pytest.raises(ValueError, match="mine"):
            async with aio.begin() as tx:
                await tx.write(path, ids(4))
                raise ValueError("mine")
        async with aio.connect() as catalog, catalog.begin() as tx:
            await tx.write(path, ids(5))
            assert await tx.commit() == {"default.table": 1}

    run(main)
    assert read(path) == [2, 5]


def test_transactions_of_one_task_are_not_nested(embedded: str, path: str) -> None:
    async def main() -> None:
        async with aio.begin() as tx:
            await tx.write(path, ids(1))
            with pytest.raises(DeltaError, match="a transaction is open here already"):
                async with aio.begin():
                    pass
            await tx.write(path, ids(2))
        async with aio.begin() as tx:
            await tx.rollback()
            async with aio.begin() as other:
                await other.write(path, ids(3))

    run(main)
    assert read(path) == [1, 2, 3]


def test_tasks_have_transactions_of_their_own(embedded: str, path: str) -> None:
    async def append(value: int) -> None:
        async with aio.begin() as tx:
            await tx.write(path, ids(value))

    async def main() -> None:
        await append(0)
        await asyncio.gather(*(append(value) for value in range(1, 5)))

    run(main)
    assert read(path) == [0, 1, 2, 3, 4]


def test_the_loop_runs_during_a_call(embedded: str, path: str) -> None:
    """A write waits for its data, which the loop releases."""
    released = threading.Event()

    def batches() -> Iterator[pa.RecordBatch]:
        assert released.wait(60)
        yield from ids(1).to_batches()

    async def main() -> None:
        reader = pa.RecordBatchReader.from_batches(ids(1).schema, batches())
        write = asyncio.create_task(aio.write_deltalake(path, reader))
        await asyncio.sleep(0)
        released.set()
        await write

    run(main)
    assert read(path) == [1]


def test_a_cancelled_call_is_waited_for(embedded: str, path: str) -> None:
    deltalakedb.write_deltalake(path, ids(0))
    reading, released = threading.Event(), threading.Event()

    def batches() -> Iterator[pa.RecordBatch]:
        reading.set()
        assert released.wait(60)
        yield from ids(1).to_batches()

    async def transaction() -> None:
        reader = pa.RecordBatchReader.from_batches(ids(1).schema, batches())
        async with aio.begin() as tx:
            await tx.write(path, reader)

    async def main() -> None:
        task = asyncio.create_task(transaction())
        assert await aio.run(reading.wait, 60)
        # The second time is while it waits for the call.
        for _ in range(2):
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=0.2)
            assert not done
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert read(path) == [0]
    with deltalakedb.begin() as tx:
        tx.write(path, ids(2))
    assert read(path) == [0, 2]


def test_an_error_of_a_cancelled_call(embedded: str) -> None:
    """It is not logged as one that was never retrieved."""
    problems: list[Any] = []
    released = threading.Event()

    def fail() -> None:
        released.wait(60)
        raise ValueError("lost")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        task = asyncio.create_task(aio.run(fail))
        await asyncio.sleep(0)
        task.cancel()
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert problems == []


def test_a_warning_is_shown_at_the_line_that_waits(embedded: str, path: str) -> None:
    deltalakedb.write_deltalake(path, ids(0))
    log = Path(path) / "_delta_log"
    log.rename(Path(path) / "_away")
    log.write_text("a file, so that no file can be put there")

    async def main() -> int:
        table = await aio.DeltaTable.open(path)
        line = sys._getframe().f_lineno + 1
        await table.delete()
        return line

    with pytest.warns(MirrorWarning, match="version 1 of") as told:
        line = asyncio.run(main())
    assert [(one.filename, one.lineno) for one in told] == [(__file__, line)]
