"""Checkpoints, log cleanup, log compaction and manifests."""

import json
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from .helpers import ids, log_files, raises_exactly, rows, sample


def checkpoints(path: str) -> list[str]:
    return [name for name in log_files(path) if name.endswith(".checkpoint.parquet")]


def test_create_checkpoint(path, table):
    assert table.create_checkpoint() is None
    assert checkpoints(path) == ["00000000000000000000.checkpoint.parquet"]
    assert table.version() == 0


def test_last_checkpoint_file(dl, path, table):
    dl.write_deltalake(table, sample(), mode="append")
    table.create_checkpoint()
    last = json.loads((Path(path) / "_delta_log" / "_last_checkpoint").read_text())
    assert last["version"] == 1
    assert last["numOfAddFiles"] == 2
    assert last["size"] > 0
    assert last["sizeInBytes"] > 0


def test_checkpoint_contents(path, table):
    table.create_checkpoint()
    file = Path(path) / "_delta_log" / checkpoints(path)[0]
    found = pq.read_table(file)
    assert {"add", "remove", "metaData", "protocol"} <= set(found.column_names)
    added = [row["add"]["path"] for row in found.to_pylist() if row["add"]]
    assert [uri.endswith(added[0]) for uri in table.file_uris()] == [True]


def test_table_opens_from_its_checkpoint(dl, path, table):
    for _ in range(2):
        dl.write_deltalake(table, sample(), mode="append")
    table.create_checkpoint()
    opened = dl.DeltaTable(path)
    assert opened.version() == 2
    assert opened.count() == 9
    assert opened.schema() == table.schema()


def test_time_travel_before_a_checkpoint(dl, path, table):
    dl.write_deltalake(table, sample(), mode="append")
    table.create_checkpoint()
    assert dl.DeltaTable(path, version=0).count() == 3


def test_checkpoint_of_an_older_version(dl, path):
    for i in range(4):
        dl.write_deltalake(path, ids(i), mode="append")
    dl.DeltaTable(path, version=1).create_checkpoint()
    assert checkpoints(path) == ["00000000000000000001.checkpoint.parquet"]
    found = pq.read_table(Path(path) / "_delta_log" / checkpoints(path)[0])
    assert len([row for row in found.to_pylist() if row["add"]]) == 2
    assert dl.DeltaTable(path).version() == 3
    assert dl.DeltaTable(path).count() == 4


def test_checkpoint_interval(dl, path):
    configuration = {"delta.checkpointInterval": "3"}
    found = []
    for i in range(7):
        dl.write_deltalake(path, ids(i), mode="append", configuration=configuration)
        found.append(len(checkpoints(path)))
    assert found == [0, 0, 1, 1, 1, 2, 2]
    assert checkpoints(path) == [
        "00000000000000000002.checkpoint.parquet",
        "00000000000000000005.checkpoint.parquet",
    ]


def test_no_checkpoint_on_request(dl, path):
    configuration = {"delta.checkpointInterval": "2"}
    dl.write_deltalake(path, ids(0), configuration=configuration)
    quiet = dl.PostCommitHookProperties(create_checkpoint=False)
    for i in range(1, 5):
        dl.write_deltalake(
            path, ids(i), mode="append", post_commithook_properties=quiet
        )
    assert checkpoints(path) == []


def test_transaction_versions_survive_a_checkpoint(dl, path):
    dl.write_deltalake(
        path,
        ids(0),
        commit_properties=dl.CommitProperties(
            app_transactions=[dl.Transaction("app", 7)]
        ),
    )
    dl.DeltaTable(path).create_checkpoint()
    dl.write_deltalake(path, ids(1), mode="append")
    assert dl.DeltaTable(path).transaction_version("app") == 7


@pytest.fixture
def forgetful(dl: ModuleType, path: str) -> Any:
    """Four versions of a table without log retention."""
    configuration = {
        "delta.logRetentionDuration": "interval 0 days",
        "delta.enableExpiredLogCleanup": "false",
    }
    dl.write_deltalake(path, ids(0), configuration=configuration)
    for i in range(1, 4):
        dl.write_deltalake(path, ids(i), mode="append")
    time.sleep(0.01)
    return dl.DeltaTable(path)


def test_cleanup_without_a_checkpoint(path, forgetful):
    assert forgetful.cleanup_metadata() is None
    assert len(log_files(path)) == 4


def test_cleanup_keeps_the_log_from_the_checkpoint_on(dl, path, forgetful):
    forgetful.create_checkpoint()
    forgetful.cleanup_metadata()
    assert "00000000000000000000.json" not in log_files(path)
    assert checkpoints(path) == ["00000000000000000003.checkpoint.parquet"]
    assert len(rows(dl.DeltaTable(path))) == 4


def test_cleanup_forgets_old_versions(dl, path, forgetful):
    forgetful.create_checkpoint()
    forgetful.cleanup_metadata()
    with pytest.raises(dl.exceptions.DeltaError):
        dl.DeltaTable(path, version=0)


def test_cleanup_respects_the_retention(dl, path, table):
    dl.write_deltalake(table, sample(), mode="append")
    table.create_checkpoint()
    table.cleanup_metadata()
    assert "00000000000000000000.json" in log_files(path)


def test_cleanup_leaves_data_files(path, forgetful):
    forgetful.create_checkpoint()
    forgetful.cleanup_metadata()
    assert all(Path(uri).exists() for uri in forgetful.file_uris())


def test_write_after_cleanup(dl, path, forgetful):
    forgetful.create_checkpoint()
    forgetful.cleanup_metadata()
    dl.write_deltalake(path, ids(9), mode="append")
    assert dl.DeltaTable(path).version() == 4
    assert dl.DeltaTable(path).count() == 5


def age(path: str, *names: str) -> None:
    """Make files of the log older than it is kept: 30 days."""
    past = time.time() - 60 * 24 * 60 * 60
    for name in names:
        os.utime(Path(path) / "_delta_log" / name, (past, past))


def commits(path: str) -> list[str]:
    return [name for name in log_files(path) if name.endswith(".json")]


@pytest.fixture
def five(dl: ModuleType, path: str) -> Any:
    for i in range(5):
        dl.write_deltalake(path, ids(i), mode="append")
    return dl.DeltaTable(path)


def test_cleanup_keeps_old_commits_that_younger_versions_need(dl, path, five):
    five.create_checkpoint()
    age(path, *commits(path)[:3])
    five.cleanup_metadata()
    assert len(commits(path)) == 5
    assert dl.DeltaTable(path, version=3).count() == 4


def test_cleanup_removes_old_commits_before_a_checkpoint(dl, path, five):
    five.load_as_version(2)
    five.create_checkpoint()
    age(path, *commits(path)[:3])
    dl.DeltaTable(path).cleanup_metadata()
    assert commits(path) == [f"{version:020}.json" for version in (2, 3, 4)]
    assert dl.DeltaTable(path, version=3).count() == 4


def test_cleanup_when_every_commit_is_old(dl, path, five):
    five.create_checkpoint()
    age(path, *commits(path))
    five.cleanup_metadata()
    assert commits(path) == ["00000000000000000004.json"]
    assert dl.DeltaTable(path).count() == 5


def test_compact_logs(dl, path, five):
    assert five.compact_logs(0, 3) is None
    name = "00000000000000000000.00000000000000000003.compacted.json"
    assert name in log_files(path)
    assert len(log_files(path)) == 6
    assert dl.DeltaTable(path).count() == 5


@pytest.mark.parametrize(("start", "end"), [(3, 1), (1, 1)])
def test_compact_logs_empty_range(dl, five, start, end):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid version range"):
        five.compact_logs(start, end)


def test_compact_logs_beyond_the_end(dl, five):
    with raises_exactly(dl.exceptions.DeltaError, "version 4 .*version 99"):
        five.compact_logs(0, 99)


def test_compact_logs_negative_version(five):
    with raises_exactly(OverflowError, "negative"):
        five.compact_logs(-1, 1)


def test_generate_writes_a_manifest(path, table):
    assert table.generate() is None
    manifest = Path(path) / "_symlink_format_manifest" / "manifest"
    assert manifest.read_text().split() == table.file_uris()


def test_generate_for_partitions(dl, path):
    dl.write_deltalake(path, sample(2), partition_by="name")
    dl.DeltaTable(path).generate()
    root = Path(path) / "_symlink_format_manifest"
    found = sorted(str(file.relative_to(root)) for file in root.rglob("manifest"))
    assert found == ["name=a/manifest", "name=b/manifest"]


def test_generate_again_follows_the_table(dl, path, table):
    table.generate()
    dl.write_deltalake(table, sample(1), mode="overwrite")
    table.generate()
    manifest = Path(path) / "_symlink_format_manifest" / "manifest"
    assert manifest.read_text().split() == table.file_uris()


def test_post_commit_hook_properties_defaults(dl):
    properties = dl.PostCommitHookProperties()
    assert properties.create_checkpoint is True
    assert properties.cleanup_expired_logs is None


def test_expired_logs_are_cleaned_after_a_commit_on_request(dl, path):
    configuration = {
        "delta.logRetentionDuration": "interval 0 days",
        "delta.checkpointInterval": "2",
        "delta.enableExpiredLogCleanup": "false",
    }
    dl.write_deltalake(path, ids(0), configuration=configuration)
    hooks = dl.PostCommitHookProperties(cleanup_expired_logs=True)
    for i in range(1, 6):
        time.sleep(0.01)
        dl.write_deltalake(
            path, ids(i), mode="append", post_commithook_properties=hooks
        )
    assert "00000000000000000000.json" not in log_files(path)
    assert dl.DeltaTable(path).count() == 6


def merge_delete(table: Any, **options: Any) -> None:
    builder = table.merge(ids(1), "s.id = t.id", "s", "t", **options)
    builder.when_matched_delete().execute()


COMMITS = {
    "append": lambda dl, t, **o: dl.write_deltalake(t, ids(9), mode="append", **o),
    "delete": lambda dl, t, **o: t.delete("id = 0", **o),
    "update": lambda dl, t, **o: t.update({"id": "7"}, **o),
    "merge": lambda dl, t, **o: merge_delete(t, **o),
    "restore": lambda dl, t, **o: t.restore(0, **o),
    "add_columns": lambda dl, t, **o: t.alter.add_columns(dl.Field("x", "long"), **o),
    "add_constraint": lambda dl, t, **o: t.alter.add_constraint({"c": "id >= 0"}, **o),
    "add_feature": lambda dl, t, **o: t.alter.add_feature(
        dl.TableFeatures.AppendOnly, True, **o
    ),
    "set_table_name": lambda dl, t, **o: t.alter.set_table_name("n", **o),
    "set_table_description": lambda dl, t, **o: t.alter.set_table_description("d", **o),
    "set_column_metadata": lambda dl, t, **o: t.alter.set_column_metadata(
        "id", {"k": "v"}, **o
    ),
    "set_table_properties": lambda dl, t, **o: t.alter.set_table_properties(
        {"delta.appendOnly": "false"}, **o
    ),
}
REWRITES = {
    "compact": lambda dl, t, **o: t.optimize.compact(**o),
    "z_order": lambda dl, t, **o: t.optimize.z_order(["id"], **o),
}


@pytest.fixture
def eager(dl: ModuleType, path: str) -> Any:
    """A table of two versions that makes a checkpoint of each, but has none yet."""
    quiet = {
        "post_commithook_properties": dl.PostCommitHookProperties(
            create_checkpoint=False
        )
    }
    configuration = {"delta.checkpointInterval": "1"}
    dl.write_deltalake(path, ids(0, 1), configuration=configuration, **quiet)
    dl.write_deltalake(path, ids(2), mode="append", **quiet)
    return dl.DeltaTable(path)


@pytest.mark.parametrize("name", [*COMMITS, *REWRITES])
def test_commit_makes_the_checkpoint(dl, path, eager, name):
    (COMMITS | REWRITES)[name](dl, eager)
    assert checkpoints(path) == ["00000000000000000002.checkpoint.parquet"]


@pytest.mark.parametrize("name", ["append", "delete", "merge", "compact"])
def test_checkpoint_interval_counts_every_commit(dl, path, name):
    configuration = {"delta.checkpointInterval": "3"}
    dl.write_deltalake(path, ids(0, 1), configuration=configuration)
    dl.write_deltalake(path, ids(2), mode="append")
    assert checkpoints(path) == []
    (COMMITS | REWRITES)[name](dl, dl.DeltaTable(path))
    assert checkpoints(path) == ["00000000000000000002.checkpoint.parquet"]


@pytest.mark.parametrize("name", COMMITS)
def test_commit_without_checkpoint(dl, path, eager, name):
    hooks = dl.PostCommitHookProperties(create_checkpoint=False)
    COMMITS[name](dl, eager, post_commithook_properties=hooks)
    assert eager.version() == 2
    assert checkpoints(path) == []


@pytest.mark.parametrize("name", REWRITES)
def test_defect_optimize_without_checkpoint(dl, path, eager, name):
    hooks = dl.PostCommitHookProperties(create_checkpoint=False)
    REWRITES[name](dl, eager, post_commithook_properties=hooks)
    assert checkpoints(path) == []


@pytest.mark.parametrize("name", REWRITES)
def test_defect_optimize_with_app_transactions(dl, eager, name):
    properties = dl.CommitProperties(app_transactions=[dl.Transaction("app", 4)])
    REWRITES[name](dl, eager, commit_properties=properties)
    assert eager.transaction_version("app") == 4


@pytest.mark.parametrize("name", COMMITS)
def test_commit_with_app_transactions(dl, path, eager, name):
    properties = dl.CommitProperties(app_transactions=[dl.Transaction("app", 4)])
    COMMITS[name](dl, eager, commit_properties=properties)
    assert eager.transaction_version("app") == 4
    assert dl.DeltaTable(path).transaction_version("app") == 4
