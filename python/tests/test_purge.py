"""Files with deletion vectors are rewritten without the hidden rows."""

from __future__ import annotations

import pyarrow as pa
import pytest

from deltalakedb import DeltaTable, write_deltalake
from deltalakedb.exceptions import DeltaError

VECTORS = "delta.enableDeletionVectors"


@pytest.fixture
def deleted(catalog_uri: str, path: str) -> DeltaTable:
    """A table with two partitions, in each of which a vector hides a row."""
    rows = pa.table({"id": list(range(20)), "p": ["a"] * 10 + ["b"] * 10})
    write_deltalake(path, rows, partition_by=["p"])
    table = DeltaTable(path)
    table.alter.set_table_properties({VECTORS: "true"})
    table.delete("id IN (1, 11)")
    return table


def ids(table: DeltaTable) -> list[int]:
    return sorted(pa.table(table.scan()).column("id").to_pylist())


def vectors(table: DeltaTable) -> int:
    return pa.table(table.deletion_vectors()).num_rows


def test_a_purge_takes_vectors_out(deleted: DeltaTable) -> None:
    before = ids(deleted)
    assert (vectors(deleted), len(before)) == (2, 18)
    assert deleted.protocol().min_writer_version == 7
    metrics = deleted.optimize.purge(partition_filters=[("p", "=", "a")])
    assert (metrics["numFilesRemoved"], metrics["numRowsPurged"]) == (1, 1)
    assert (vectors(deleted), ids(deleted)) == (1, before)
    assert deleted.optimize.purge()["numRowsPurged"] == 1
    assert (vectors(deleted), ids(deleted)) == (0, before)
    assert deleted.history(1)[0]["operation"] == "REORG"
    version = deleted.version()
    assert deleted.optimize.purge()["numFilesRemoved"] == 0
    assert deleted.version() == version


def test_a_purge_of_an_unknown_partition_is_refused(deleted: DeltaTable) -> None:
    with pytest.raises(DeltaError, match="nope"):
        deleted.optimize.purge(partition_filters=[("nope", "=", "a")])


def test_a_table_keeps_its_vectors_when_they_are_turned_off(
    deleted: DeltaTable,
) -> None:
    deleted.alter.set_table_properties({VECTORS: "false"})
    assert vectors(deleted) == 2
    deleted.delete("id = 2")
    assert (vectors(deleted), len(ids(deleted))) == (1, 17)
