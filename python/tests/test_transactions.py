"""Transactions across tables: everything is committed, or nothing."""

from __future__ import annotations

import contextvars
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deltalakedb import Catalog, DeltaTable, begin, write_deltalake
from deltalakedb.exceptions import (
    CommitFailedError,
    DeltaError,
    TableNotFoundError,
    TransactionClosedError,
    TransactionConflictError,
)
from deltalakedb.transaction import AddAction, RemoveAction

from .conftest import ids, read


def data_files(path: str) -> list[str]:
    return sorted(file.name for file in Path(path).rglob("*.parquet"))


def test_two_tables_are_committed_together(orders: str, customers: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        tx.delete(customers, "id = 0")
        assert tx.versions == {}
    assert tx.versions == {"default.orders": 1, "default.customers": 1}
    assert (read(orders), read(customers)) == ([0, 1, 2, 3], [1, 2])


def test_other_engines_see_it_afterwards(orders: str, customers: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        tx.update(customers, {"id": "id + 10"}, "id > 0")
    for path, expected in ((orders, [0, 1, 2, 3]), (customers, [0, 11, 12])):
        theirs = deltalake.DeltaTable(path)
        assert theirs.version() == 1
        assert read(theirs.to_pyarrow_table()) == expected


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_rolls_back(
    orders: str, customers: str, error: type[BaseException]
) -> None:
    before = data_files(orders)
    with pytest.raises(error, match="mine"), begin() as tx:
        tx.write(orders, ids(3))
        tx.delete(customers)
        raise error("mine")
    assert tx.versions == {}
    assert (read(orders), read(customers)) == ([0, 1, 2], [0, 1, 2])
    assert DeltaTable(orders).version() == 0
    assert data_files(orders) == before


def test_it_reads_its_own_writes_and_others_do_not(orders: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        tx.delete(orders, "id = 0")
        assert read(tx.scan(orders)) == [1, 2, 3]
        assert pa.table(tx.scan(orders, ["id"], "id > 2")).to_pylist() == [{"id": 3}]
        assert read(orders) == [0, 1, 2]
    assert read(orders) == [1, 2, 3]


def test_it_reads_tables_as_they_were(orders: str, customers: str) -> None:
    with begin() as tx:
        tx.write(customers, ids(3))
        write_deltalake(orders, ids(9), mode="append")
        assert read(tx.scan(orders)) == [0, 1, 2]
    assert read(orders) == [0, 1, 2, 9]


def test_a_conflict_names_table_version_and_operation(
    orders: str, customers: str
) -> None:
    lost = "Failed to commit transaction: .* default.orders .DELETE."
    with pytest.raises(TransactionConflictError, match=lost) as info, begin() as tx:
        tx.delete(orders, "id = 1")
        tx.write(customers, ids(3))
        DeltaTable(orders).delete("id = 2")
    assert isinstance(info.value, CommitFailedError)
    assert info.value.table == "default.orders"
    assert info.value.version == 1
    assert info.value.operation == "DELETE"
    assert tx.versions == {}
    assert (read(orders), read(customers)) == ([0, 1], [0, 1, 2])


def test_appends_do_not_contradict_each_other(orders: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        write_deltalake(orders, ids(4), mode="append")
    assert tx.versions == {"default.orders": 2}
    assert read(orders) == [0, 1, 2, 3, 4]


def test_what_was_read_may_change_unless_serializable(
    orders: str, customers: str
) -> None:
    def move(serializable: bool) -> None:
        with begin(serializable=serializable) as tx:
            highest = max(read(tx.scan(orders)))
            tx.write(customers, ids(highest))
            DeltaTable(orders).delete(f"id = {highest}")

    move(serializable=False)
    assert read(customers) == [0, 1, 2, 2]
    with pytest.raises(TransactionConflictError, match="orders .DELETE."):
        move(serializable=True)
    assert read(customers) == [0, 1, 2, 2]


def test_use_before_and_after_the_block(orders: str) -> None:
    tx = begin()
    with pytest.raises(TransactionClosedError, match="has not begun"):
        tx.write(orders, ids(3))
    with tx:
        tx.write(orders, ids(3))
    for use in (
        lambda: tx.write(orders, ids(4)),
        lambda: tx.delete(orders),
        lambda: tx.scan(orders),
        tx.commit,
        tx.rollback,
    ):
        with pytest.raises(TransactionClosedError, match="has ended"):
            use()
    with pytest.raises(TransactionClosedError, match="one block"), tx:
        pass
    assert read(orders) == [0, 1, 2, 3]


def test_commit_and_rollback_within_the_block(orders: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        assert tx.commit() == {"default.orders": 1}
        with pytest.raises(TransactionClosedError, match="has ended"):
            tx.write(orders, ids(4))
    with begin() as tx:
        tx.write(orders, ids(5))
        tx.rollback()
    assert tx.versions == {}
    assert read(orders) == [0, 1, 2, 3]


def test_an_exception_after_the_commit_changes_nothing(orders: str) -> None:
    with pytest.raises(ValueError, match="mine"), begin() as tx:
        tx.write(orders, ids(3))
        tx.commit()
        raise ValueError("mine")
    assert read(orders) == [0, 1, 2, 3]


def test_one_within_another_is_refused(orders: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        with pytest.raises(DeltaError, match="open here already"), begin():
            pass
        tx.write(orders, ids(4))
    with begin() as tx:
        tx.write(orders, ids(5))
    assert read(orders) == [0, 1, 2, 3, 4, 5]


def test_one_that_another_task_ends_leaves_nothing_marked(orders: str) -> None:
    one = begin()
    one.__enter__()

    def end_it_beside_its_own() -> None:
        with begin() as own:
            own.write(orders, ids(3))
            one.rollback()
            with pytest.raises(DeltaError, match="open here already"), begin():
                pass

    # As in another thread, no transaction is open there yet.
    context = contextvars.Context()
    context.run(end_it_beside_its_own)
    context.run(begin().__enter__).rollback()
    with begin():
        pass
    assert read(orders) == [0, 1, 2, 3]


def test_one_that_another_thread_ends_is_over_here_too(orders: str) -> None:
    tx = begin()
    with tx:
        tx.write(orders, ids(3))
        thread = threading.Thread(target=tx.commit)
        thread.start()
        thread.join()
    with begin() as another:
        another.write(orders, ids(4))
    assert read(orders) == [0, 1, 2, 3, 4]


def test_each_thread_has_its_own(orders: str, customers: str) -> None:
    both_open = threading.Barrier(2, timeout=60)
    failures: list[BaseException] = []

    def append(path: str) -> None:
        try:
            with begin() as tx:
                tx.write(path, ids(3))
                both_open.wait()
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=append, args=(p,)) for p in (orders, customers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (read(orders), read(customers)) == ([0, 1, 2, 3], [0, 1, 2, 3])


def test_a_new_table_is_made(catalog: Catalog, path: str, customers: str) -> None:
    with begin(catalog) as tx:
        data = pa.table({"id": [1], "day": ["monday"]})
        tx.write("sales.new", data, partition_by="day", location=path)
        tx.write(customers, ids(3))
        assert not DeltaTable.is_deltatable(path)
    assert tx.versions == {"sales.new": 0, "default.customers": 1}
    assert catalog.table("sales.new").metadata().partition_columns == ["day"]
    assert read(path) == [1]


def test_a_new_table_is_rolled_back(catalog: Catalog, path: str) -> None:
    with pytest.raises(ValueError, match="mine"), begin(catalog) as tx:
        tx.write("new", ids(1), location=path)
        raise ValueError("mine")
    assert catalog.tables() == []
    assert not DeltaTable.is_deltatable(path)


@pytest.mark.parametrize("given", ["name", "full name", "path", "URI", "table"])
def test_ways_to_name_a_table(catalog_uri: str, orders: str, given: str) -> None:
    mark = "&" if "?" in catalog_uri else "?"
    table = {
        "name": "orders",
        "full name": "default.orders",
        "path": Path(orders),
        "URI": f"{catalog_uri}{mark}table=default.orders",
        "table": DeltaTable(orders),
    }[given]
    with begin() as tx:
        tx.write(table, ids(3))
        assert read(tx.scan(table)) == [0, 1, 2, 3]
    assert tx.versions == {"default.orders": 1}


def test_merge(orders: str, customers: str) -> None:
    with begin() as tx:
        merger = tx.merge(orders, ids(2, 3), "s.id = t.id", "s", "t")
        metrics = merger.when_matched_delete().when_not_matched_insert_all().execute()
        assert metrics["num_target_rows_inserted"] == 1
        assert metrics["num_target_rows_deleted"] == 1
        tx.write(customers, ids(3))
        assert read(orders) == [0, 1, 2]
    assert read(orders) == [0, 1, 3]


def test_columns_that_are_not_there_are_not_set(orders: str) -> None:
    wider = ids(2, 3).append_column("more", pa.array([0, 0]))
    with begin() as tx:
        merger = tx.merge(orders, wider, "s.id = t.id", "s", "t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()
        with pytest.raises(DeltaError, match='no column "more"'):
            tx.update(orders, {"id": "id + 1", "more": "0"})
    assert read(orders) == [0, 1, 2, 3]
    assert DeltaTable(orders).schema().to_arrow().names == ["id"]


def test_a_relative_uri_is_of_the_catalog_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalog = "deltasql://sqlite/own.db"
    table = f"{catalog}?table=default.t"
    write_deltalake(table, ids(1))
    with begin(catalog) as tx:
        tx.write(table, ids(2))
        with pytest.raises(DeltaError, match="in another catalog"):
            tx.write("deltasql://sqlite/other.db?table=default.t", ids(3))
    assert read(table) == [1, 2]


def test_a_merge_after_the_block(orders: str) -> None:
    with begin() as tx:
        merger = tx.merge(orders, ids(3), "s.id = t.id", "s", "t")
    with pytest.raises(TransactionClosedError, match="has ended"):
        merger.when_not_matched_insert_all().execute()


def test_update_with_values(orders: str) -> None:
    with begin() as tx:
        tx.update(orders, new_values={"id": 7}, predicate="id = 0")
    assert read(orders) == [1, 2, 7]


def test_overwrite_and_schema_merge(orders: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(7), mode="overwrite", predicate="id > 6")
        wider = pa.table({"id": [8], "note": ["x"]})
        tx.write(orders, wider, schema_mode="merge")
    assert read(orders) == [0, 1, 2, 7, 8]
    assert [field.name for field in DeltaTable(orders).schema().fields] == [
        "id",
        "note",
    ]


def written(path: str, name: str, *values: int) -> AddAction:
    """A data file that the test has written."""
    file = Path(path) / name
    pq.write_table(ids(*values), file)
    stats = json.dumps({"numRecords": len(values)})
    return AddAction(name, file.stat().st_size, {}, 0, True, stats)


def test_files_are_staged(orders: str, customers: str) -> None:
    with begin() as tx:
        tx.stage_table(orders, actions=[written(orders, "mine.parquet", 3, 4)])
        tx.stage_table(customers, df=ids(3))
        assert read(tx.scan(orders)) == [0, 1, 2, 3, 4]
    assert read(orders) == [0, 1, 2, 3, 4]
    assert read(customers) == [0, 1, 2, 3]


def test_files_are_staged_for_removal(orders: str) -> None:
    (name,) = data_files(orders)
    with begin() as tx:
        added = written(orders, "mine.parquet", 5)
        tx.stage_table(orders, actions=[RemoveAction(name, True, 0), added])
    assert read(orders) == [5]


def test_stage_table_takes_one_of_both(orders: str) -> None:
    for arguments in ({}, {"df": ids(3), "actions": []}):
        with pytest.raises(TypeError, match="either"), begin() as tx:
            tx.stage_table(orders, **arguments)  # type: ignore[arg-type]


def test_max_tables(orders: str, customers: str) -> None:
    refused = "may touch 1 tables, and default.customers is one more: raise max_tables"
    with pytest.raises(DeltaError, match=refused), begin(max_tables=1) as tx:
        tx.write(orders, ids(3))
        tx.write(customers, ids(3))
    assert (read(orders), read(customers)) == ([0, 1, 2], [0, 1, 2])


def test_timeout(orders: str) -> None:
    with (
        pytest.raises(DeltaError, match="its timeout is 0 s"),
        begin(timeout_secs=0.2) as tx,
    ):
        tx.write(orders, ids(3))
        time.sleep(0.5)
    assert read(orders) == [0, 1, 2]


def test_data_that_breaks_rolls_back_with_its_own_error(orders: str) -> None:
    class Mine(Exception):
        pass

    def batches() -> Iterator[pa.RecordBatch]:
        yield ids(3).to_batches()[0]
        raise Mine

    with pytest.raises(Mine), begin() as tx:
        tx.write(orders, batches())
    assert read(orders) == [0, 1, 2]


def test_an_error_within_leaves_the_transaction_usable(orders: str) -> None:
    with begin() as tx:
        with pytest.raises(TableNotFoundError, match="no table default.nope"):
            tx.delete("nope")
        with pytest.raises(DeltaError, match="No field named nope"):
            tx.delete(orders, "nope = 1")
        tx.write(orders, ids(3))
    assert read(orders) == [0, 1, 2, 3]


def test_history_tells_what_belongs_together(orders: str, customers: str) -> None:
    with begin() as tx:
        tx.write(orders, ids(3))
        tx.write(customers, ids(3))

    def group(path: str) -> Any:
        return DeltaTable(path).history(1)[0]["deltalakedb"]["groupId"]

    assert group(orders) == group(customers)


def test_nothing_done_is_nothing_committed(orders: str) -> None:
    with begin() as tx:
        assert read(tx.scan(orders)) == [0, 1, 2]
    assert tx.versions == {}
    assert DeltaTable(orders).version() == 0
