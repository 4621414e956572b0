"""``DeltaTable.restore`` and ``DeltaTable.repair``."""

import os
import time
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest

from .helpers import (
    PAUSE,
    actions,
    column,
    ids,
    moment_before_next,
    raises_exactly,
)


@pytest.fixture
def versions(dl: ModuleType, path: str) -> Any:
    """Ids [0], then [1], then [1, 2]."""
    dl.write_deltalake(path, ids(0))
    dl.write_deltalake(path, ids(1), mode="overwrite")
    time.sleep(PAUSE)
    dl.write_deltalake(path, ids(2), mode="append")
    return dl.DeltaTable(path)


def test_restore_version(dl, path, versions):
    metrics = versions.restore(0)
    assert metrics == {"numRemovedFile": 2, "numRestoredFile": 1}
    assert versions.version() == dl.DeltaTable(path).version() == 3
    assert column(versions, "id") == [0]


def test_restore_history(versions):
    versions.restore(0)
    entry = versions.history(1)[0]
    assert entry["operation"] == "RESTORE"
    assert entry["operationParameters"] == {"version": "0"}
    assert entry["operationMetrics"] == {"numRemovedFile": 2, "numRestoredFile": 1}


def test_restore_log(path, versions):
    versions.restore(0)
    assert len(actions(path, 3, "add")) == 1
    assert len(actions(path, 3, "remove")) == 2


def test_restore_can_be_undone(versions):
    versions.restore(0)
    versions.restore(2)
    assert column(versions, "id") == [1, 2]
    assert versions.version() == 4


@pytest.mark.parametrize("as_text", [True, False])
def test_restore_moment(versions, as_text):
    moment = moment_before_next(versions, 1)
    versions.restore(moment.isoformat() if as_text else moment)
    assert column(versions, "id") == [1]


def test_restore_moment_before_the_table(versions):
    versions.restore("2000-01-01T00:00:00Z")
    assert column(versions, "id") == [0]


def test_restore_moment_after_the_table(dl, versions):
    with raises_exactly(dl.exceptions.DeltaError, "should be less then last available"):
        versions.restore("2999-01-01T00:00:00Z")


def test_restore_schema(dl, versions):
    versions.alter.add_columns(dl.Field("extra", "long"))
    versions.restore(2)
    assert [field.name for field in versions.schema().fields] == ["id"]


def test_restore_unknown_version(dl, versions):
    with raises_exactly(dl.exceptions.DeltaError, "version 2 .*version 99"):
        versions.restore(99)
    assert versions.version() == 2


@pytest.mark.parametrize("target", [None, 1.5, -1], ids=repr)
def test_restore_needs_a_target(dl, versions, target):
    with raises_exactly(dl.exceptions.DeltaError, "version or datetime"):
        versions.restore(target)


@pytest.mark.parametrize("target", ["nonsense", datetime(2024, 1, 1)], ids=repr)
def test_restore_target_that_is_no_timestamp(versions, target):
    """A datetime needs a time zone here, unlike in ``load_as_version``."""
    with raises_exactly(ValueError, "Failed to parse datetime string"):
        versions.restore(target)


def test_restore_options_are_keyword_only(versions):
    with raises_exactly(TypeError, "positional argument"):
        versions.restore(0, True)


def test_restore_missing_files(dl, path, versions):
    os.remove(dl.DeltaTable(path, version=0).file_uris()[0])
    with raises_exactly(
        dl.exceptions.DeltaError, "missing file|the file .* no longer exists"
    ):
        versions.restore(0)


def test_restore_ignoring_missing_files(dl, path, versions):
    os.remove(dl.DeltaTable(path, version=0).file_uris()[0])
    metrics = versions.restore(0, ignore_missing_files=True)
    assert metrics["numRemovedFile"] == 2


def test_restore_custom_metadata(dl, versions):
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    versions.restore(0, commit_properties=properties)
    assert versions.history(1)[0]["job"] == "x"


def test_restore_below_a_protocol_upgrade(dl, versions):
    versions.alter.add_feature(dl.TableFeatures.DeletionVectors, True)
    versions.restore(0, protocol_downgrade_allowed=False)
    assert versions.protocol().min_reader_version == 3


def test_restore_with_protocol_downgrade(dl, versions):
    versions.alter.add_feature(dl.TableFeatures.DeletionVectors, True)
    versions.restore(0, protocol_downgrade_allowed=True)
    assert versions.protocol().min_reader_version == 1


def test_repair_nothing(table):
    assert table.repair() == {"dry_run": False, "files_removed": []}
    assert table.version() == 0


@pytest.fixture
def damaged(dl: ModuleType, path: str) -> tuple[Any, str]:
    """Two files, one of which is missing on disk; and the name of that file."""
    dl.write_deltalake(path, ids(1))
    dl.write_deltalake(path, ids(2), mode="append")
    table = dl.DeltaTable(path)
    lost = table.file_uris(file_pruning_predicate="id = 1")[0]
    os.remove(lost)
    return table, os.path.basename(lost)


def test_repair_dry_run(damaged):
    table, lost = damaged
    assert table.repair(dry_run=True) == {"dry_run": True, "files_removed": [lost]}
    assert table.version() == 1


def test_repair(dl, path, damaged):
    table, lost = damaged
    assert table.repair() == {"dry_run": False, "files_removed": [lost]}
    assert table.version() == dl.DeltaTable(path).version() == 2
    assert column(table, "id") == [2]


def test_repair_log(path, damaged):
    table, lost = damaged
    table.repair()
    (removed,) = actions(path, 2, "remove")
    assert removed["path"] == lost


def test_repair_history(dl, damaged):
    table, _ = damaged
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    table.repair(commit_properties=properties)
    entry = table.history(1)[0]
    assert entry["operation"] == "FSCK"
    assert entry["job"] == "x"


def test_reading_a_damaged_table(damaged):
    table, _ = damaged
    with pytest.raises(FileNotFoundError):
        table.to_pyarrow_table()
