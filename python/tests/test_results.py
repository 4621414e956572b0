"""What operations return is what `deltalakedb.results` declares."""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import DeltaTable, begin, results, write_deltalake

from .conftest import ids


def check(found: Any, kind: type) -> None:
    """All required keys are there, no unknown ones, and the values have their types."""
    hints = get_type_hints(kind, include_extras=True)
    assert found.keys() <= hints.keys(), found
    for key, hint in hints.items():
        if get_origin(hint) is NotRequired:
            if key not in found:
                continue
            (hint,) = get_args(hint)
        assert is_of(found[key], hint), f"{key} is {found[key]!r}, and not {hint}"


def is_of(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(is_of(value, one) for one in get_args(hint))
    if origin is list:
        return type(value) is list and all(
            is_of(one, get_args(hint)[0]) for one in value
        )
    return type(value) is (origin or hint)


@pytest.fixture
def table(embedded: str, path: str) -> DeltaTable:
    write_deltalake(path, ids(*range(40)))
    return DeltaTable(path)


@pytest.fixture(params=["files", "deletion vectors"])
def deletes(request: pytest.FixtureRequest, table: DeltaTable) -> DeltaTable:
    """A table that rewrites files for a delete, or marks rows."""
    if request.param == "deletion vectors":
        table.alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    return table


def merge(table: DeltaTable) -> Any:
    merger = table.merge(ids(1, 50), "s.id = t.id", "s", "t")
    return merger.when_matched_delete().when_not_matched_insert_all().execute()


OPERATIONS: dict[str, tuple[type, Callable[[DeltaTable], Any]]] = {
    "delete": (results.DeleteMetrics, lambda t: t.delete("id = 1")),
    "delete nothing": (results.DeleteMetrics, lambda t: t.delete("id = 100")),
    "delete all": (results.DeleteMetrics, lambda t: t.delete()),
    "update": (
        results.UpdateMetrics,
        lambda t: t.update({"id": "7"}, predicate="id = 1"),
    ),
    "update nothing": (
        results.UpdateMetrics,
        lambda t: t.update({"id": "7"}, predicate="id = 100"),
    ),
    "merge": (results.MergeMetrics, merge),
    "compact": (results.OptimizeMetrics, lambda t: t.optimize.compact()),
    "z_order": (results.OptimizeMetrics, lambda t: t.optimize.z_order(["id"])),
    "purge": (results.PurgeMetrics, lambda t: t.optimize.purge()),
    "restore": (results.RestoreMetrics, lambda t: t.delete() and t.restore(0)),
    "repair": (results.RepairMetrics, lambda t: t.repair()),
    "repair, dry": (results.RepairMetrics, lambda t: t.repair(dry_run=True)),
}


@pytest.mark.parametrize(("kind", "act"), OPERATIONS.values(), ids=OPERATIONS)
def test_metrics(
    deletes: DeltaTable, kind: type, act: Callable[[DeltaTable], Any]
) -> None:
    check(act(deletes), kind)


def test_a_purge_and_a_repair_that_do_something(table: DeltaTable) -> None:
    table.alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    table.delete("id = 1")
    purged = table.optimize.purge()
    check(purged, results.PurgeMetrics)
    assert purged["numRowsPurged"] == 1
    for file in table.file_uris():
        Path(file).unlink()
    repaired = table.repair()
    check(repaired, results.RepairMetrics)
    assert len(repaired["files_removed"]) == 1


def test_metrics_in_a_transaction(deletes: DeltaTable) -> None:
    with begin() as tx:
        check(tx.write("new", ids(1)), results.WriteMetrics)
        check(tx.write("new", ids(2)), results.WriteMetrics)
        check(tx.write("new", ids(3), mode="overwrite"), results.WriteMetrics)
        ignored = tx.write("new", ids(4), mode="ignore")
        check(tx.update(deletes, {"id": "7"}, "id = 1"), results.UpdateMetrics)
        check(tx.delete(deletes, "id = 7"), results.DeleteMetrics)
        merger = tx.merge(deletes, ids(60), "s.id = t.id", "s", "t")
        merged = merger.when_not_matched_insert_all().execute()
        check(merged, results.MergeMetrics)
    check(ignored, results.WriteMetrics)
    assert (ignored["num_added_rows"], ignored["num_added_files"]) == (0, 0)
    assert merged["num_target_rows_inserted"] == 1
    assert pa.table(deltalakedb.connect().table("new").scan()).num_rows == 1


def test_history(deletes: DeltaTable) -> None:
    deletes.delete("id = 1")
    deletes.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with begin() as tx:
        tx.write(deletes, ids(1))
    for commit in DeltaTable(deletes.table_uri).history():
        check(commit, results.CommitInfo)


def test_a_catalog(table: DeltaTable) -> None:
    catalog = deltalakedb.connect()
    table.delete("id = 1")
    (status,) = catalog.mirror_status()
    check(status, results.MirrorStatus)
    for dry_run in (True, False):
        keep = timedelta()
        (expired,) = catalog.expire("table", keep=keep, dry_run=dry_run)
        check(expired, results.ExpiredHistory)
        assert (expired["files"] is None) == dry_run


def test_check_fails() -> None:
    """The check of these tests finds missing, unknown and wrong values."""
    right = {"numRemovedFile": 1, "numRestoredFile": 0}
    check(right, results.RestoreMetrics)
    for wrong in (
        {"numRemovedFile": 1},
        right | {"x": 1},
        right | {"numRemovedFile": "1"},
    ):
        with pytest.raises((AssertionError, KeyError)):
            check(wrong, results.RestoreMetrics)
