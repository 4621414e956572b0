"""``optimize.compact`` and ``optimize.z_order``."""

import json
from datetime import timedelta
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import actions, ids, raises_exactly, rows


@pytest.fixture
def small_files(dl: ModuleType, path: str) -> Any:
    """Six one-row files in the partitions a and b."""
    for i in range(6):
        data = pa.table({"id": [i], "p": ["ab"[i % 2]]})
        dl.write_deltalake(path, data, mode="append", partition_by="p")
    return dl.DeltaTable(path)


def test_optimize_namespace(dl, table):
    assert isinstance(table.optimize, dl.table.TableOptimizer)
    assert table.optimize.table is table


def test_compact(dl, path, small_files):
    metrics = small_files.optimize.compact()
    assert metrics["numFilesAdded"] == 2
    assert metrics["numFilesRemoved"] == 6
    assert metrics["partitionsOptimized"] == 2
    assert metrics["totalConsideredFiles"] == 6
    assert metrics["preserveInsertionOrder"] is True
    assert len(small_files.file_uris()) == 2
    assert small_files.version() == dl.DeltaTable(path).version() == 6
    assert [row["id"] for row in rows(small_files)] == [0, 1, 2, 3, 4, 5]


def test_compact_metrics_names(small_files):
    assert set(small_files.optimize.compact()) >= {
        "numFilesAdded",
        "numFilesRemoved",
        "filesAdded",
        "filesRemoved",
        "partitionsOptimized",
        "numBatches",
        "totalConsideredFiles",
        "totalFilesSkipped",
        "preserveInsertionOrder",
        "plannerStrategy",
    }


def test_compact_file_metrics_are_json_text(small_files):
    metrics = small_files.optimize.compact()
    removed = json.loads(metrics["filesRemoved"])
    assert removed["totalFiles"] == 6
    assert set(removed) == {"avg", "max", "min", "totalFiles", "totalSize"}


def test_compact_twice(small_files):
    small_files.optimize.compact()
    metrics = small_files.optimize.compact()
    assert metrics["numFilesAdded"] == metrics["numFilesRemoved"] == 0
    assert metrics["totalFilesSkipped"] == 2
    assert small_files.version() == 6


def test_compact_actions_are_no_data_change(path, small_files):
    small_files.optimize.compact()
    changes = actions(path, 6, "add") + actions(path, 6, "remove")
    assert [change["dataChange"] for change in changes] == [False] * 8


def test_compact_keeps_the_order_of_rows_within_files(dl, path):
    for values in ([3, 1], [4, 2]):
        dl.write_deltalake(path, ids(*values), mode="append")
    table = dl.DeltaTable(path)
    table.optimize.compact()
    found = table.to_pyarrow_table().column("id").to_pylist()
    assert sorted((found[:2], found[2:])) == [[3, 1], [4, 2]]


def test_compact_partition_filters(small_files):
    metrics = small_files.optimize.compact(partition_filters=[("p", "=", "a")])
    assert metrics["numFilesRemoved"] == 3
    assert metrics["totalConsideredFiles"] == 3
    assert len(small_files.file_uris()) == 4


def test_compact_unknown_partition(dl, small_files):
    with raises_exactly(dl.exceptions.DeltaError, "nope"):
        small_files.optimize.compact(partition_filters=[("nope", "=", "a")])


def test_compact_history(small_files):
    small_files.optimize.compact()
    entry = small_files.history(1)[0]
    assert entry["operation"] == "OPTIMIZE"
    assert entry["operationParameters"]["targetSize"] == "104857600"
    assert entry["readVersion"] == 5


def test_compact_target_size(small_files):
    (size,) = set(small_files.get_add_actions().column("size_bytes").to_pylist())
    metrics = small_files.optimize.compact(target_size=int(2.5 * size))
    assert metrics["numFilesRemoved"] == 4
    assert len(small_files.file_uris()) == 4
    parameters = small_files.history(1)[0]["operationParameters"]
    assert parameters["targetSize"] == str(int(2.5 * size))


def test_compact_target_size_below_two_files(small_files):
    metrics = small_files.optimize.compact(target_size=600)
    assert metrics["totalFilesSkipped"] == 6
    assert small_files.version() == 5


def test_compact_target_size_property(dl, path):
    configuration = {"delta.targetFileSize": "12345"}
    dl.write_deltalake(path, ids(1), configuration=configuration)
    dl.write_deltalake(path, ids(2), mode="append")
    table = dl.DeltaTable(path)
    table.optimize.compact()
    assert table.history(1)[0]["operationParameters"]["targetSize"] == "12345"


def test_compact_target_size_negative(small_files):
    with raises_exactly(OverflowError, "negative"):
        small_files.optimize.compact(target_size=-1)


@pytest.mark.parametrize(
    "optimize",
    [
        lambda table, size: table.optimize.compact(target_size=size),
        lambda table, size: table.optimize.z_order(["id"], target_size=size),
    ],
    ids=["compact", "z_order"],
)
@pytest.mark.parametrize("size", [0, 2**63])
def test_target_size_out_of_range(small_files, optimize, size):
    with raises_exactly(ValueError, "target_file_size must be between 1 and"):
        optimize(small_files, size)
    assert small_files.version() == 5


@pytest.mark.parametrize("interval", [0, timedelta(0)], ids=["int", "timedelta"])
def test_compact_commit_per_partition(small_files, interval):
    small_files.optimize.compact(min_commit_interval=interval)
    assert small_files.version() == 7


def test_compact_long_commit_interval(small_files):
    small_files.optimize.compact(min_commit_interval=timedelta(minutes=10))
    assert small_files.version() == 6


def test_compact_limits(small_files):
    metrics = small_files.optimize.compact(
        max_concurrent_tasks=1, max_spill_size=10**9, max_temp_directory_size=10**9
    )
    assert metrics["numFilesRemoved"] == 6


def test_compact_writer_properties_and_custom_metadata(dl, small_files):
    small_files.optimize.compact(
        writer_properties=dl.WriterProperties(compression="GZIP"),
        commit_properties=dl.CommitProperties(custom_metadata={"job": "x"}),
    )
    assert all("gz" in uri for uri in small_files.file_uris())
    assert small_files.history(1)[0]["job"] == "x"


def test_compact_an_append_only_table(dl, path):
    dl.write_deltalake(path, ids(1), configuration={"delta.appendOnly": "true"})
    dl.write_deltalake(path, ids(2), mode="append")
    metrics = dl.DeltaTable(path).optimize.compact()
    assert metrics["numFilesRemoved"] == 2


def test_compact_an_empty_table(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("id", "long")]))
    assert table.optimize.compact()["numFilesAdded"] == 0
    assert table.version() == 0


def test_old_files_stay_until_vacuum(dl, path, small_files):
    small_files.optimize.compact()
    assert len(rows(dl.DeltaTable(path, version=5))) == 6


def test_z_order(small_files):
    metrics = small_files.optimize.z_order(["id"])
    assert metrics["numFilesAdded"] == 2
    assert metrics["numFilesRemoved"] == 6
    assert metrics["plannerStrategy"] == "zOrder"
    assert metrics["preserveInsertionOrder"] is False
    assert small_files.version() == 6
    assert len(rows(small_files)) == 6


def test_z_order_rewrites_every_time(small_files):
    small_files.optimize.z_order(["id"])
    assert small_files.optimize.z_order(["id"])["numFilesRemoved"] == 2
    assert small_files.version() == 7


def test_z_order_sorts(dl, path):
    for values in ([3, 1], [4, 2]):
        dl.write_deltalake(path, ids(*values), mode="append")
    table = dl.DeltaTable(path)
    table.optimize.z_order(["id"])
    assert table.to_pyarrow_table().column("id").to_pylist() == [1, 2, 3, 4]


def test_z_order_accepts_any_iterable(small_files):
    metrics = small_files.optimize.z_order(name for name in ("id",))
    assert metrics["numFilesAdded"] == 2


def test_z_order_partition_filters(small_files):
    metrics = small_files.optimize.z_order(["id"], partition_filters=[("p", "=", "a")])
    assert metrics["numFilesRemoved"] == 3


def test_z_order_history(small_files):
    small_files.optimize.z_order(["id"])
    assert small_files.history(1)[0]["operation"] == "OPTIMIZE"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "at least one column"),
        (["nope"], "nope.*not found"),
        (["p"], "cannot be partition columns"),
    ],
    ids=str,
)
def test_z_order_errors(dl, small_files, columns, message):
    with raises_exactly(dl.exceptions.DeltaError, message):
        small_files.optimize.z_order(columns)


def test_z_order_commit_properties(dl, small_files):
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    small_files.optimize.z_order(
        ["id"], min_commit_interval=timedelta(hours=1), commit_properties=properties
    )
    assert small_files.history(1)[0]["job"] == "x"
