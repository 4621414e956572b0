"""``DeltaTable.vacuum``."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .helpers import data_files, ids, raises_exactly, rows, sample


@pytest.fixture
def overwritten(dl: ModuleType, path: str) -> Any:
    """Four versions of one row each; three files are no longer referenced."""
    for i in range(4):
        dl.write_deltalake(path, ids(i), mode="overwrite")
    return dl.DeltaTable(path)


def unreferenced(table: Any, path: str) -> list[str]:
    used = {Path(uri).name for uri in table.file_uris()}
    return sorted(set(data_files(path)) - used)


def test_vacuum_is_a_dry_run_by_default(path, overwritten):
    found = overwritten.vacuum(retention_hours=0, enforce_retention_duration=False)
    assert sorted(found) == unreferenced(overwritten, path)
    assert len(found) == 3
    assert len(data_files(path)) == 4
    assert overwritten.version() == 3


def test_vacuum_keeps_young_files(path, overwritten):
    assert overwritten.vacuum() == []
    assert overwritten.vacuum(dry_run=False) == []
    assert len(data_files(path)) == 4


def test_vacuum_deletes(path, overwritten):
    expected = unreferenced(overwritten, path)
    found = overwritten.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert sorted(found) == expected
    assert len(data_files(path)) == 1
    assert rows(overwritten) == [{"id": 3}]


def test_vacuum_leaves_old_versions_unreadable(dl, path, overwritten):
    overwritten.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(FileNotFoundError):
        dl.DeltaTable(path, version=0).to_pyarrow_table()


def test_vacuum_adds_two_commits(dl, path, overwritten):
    overwritten.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert overwritten.version() == 5
    end, start = dl.DeltaTable(path).history(2)
    # Here they also have an id that connects start and end.
    assert start["operationParameters"].pop("vacuumId", None) == end[
        "operationParameters"
    ].pop("vacuumId", None)
    assert start["operation"] == "VACUUM START"
    assert start["operationParameters"] == {
        "retentionCheckEnabled": "false",
        "defaultRetentionMillis": "604800000",
        "specifiedRetentionMillis": "0",
    }
    assert start["operationMetrics"]["numFilesToDelete"] == 3
    assert end["operation"] == "VACUUM END"
    assert end["operationParameters"] == {"status": "COMPLETED"}
    assert end["operationMetrics"]["numDeletedFiles"] == 3


def test_vacuum_enforces_the_retention(dl, overwritten):
    with raises_exactly(
        dl.exceptions.DeltaError, "minimum retention for vacuum.*168 hours, got 0"
    ):
        overwritten.vacuum(retention_hours=0)


def test_vacuum_retention_of_the_table(dl, path):
    configuration = {"delta.deletedFileRetentionDuration": "interval 2 hours"}
    dl.write_deltalake(path, ids(1), configuration=configuration)
    table = dl.DeltaTable(path)
    assert table.vacuum(retention_hours=2) == []
    with raises_exactly(dl.exceptions.DeltaError, "2 hours, got 1"):
        table.vacuum(retention_hours=1)


def test_vacuum_retention_zero_of_the_table(dl, path):
    configuration = {"delta.deletedFileRetentionDuration": "interval 0 days"}
    dl.write_deltalake(path, ids(1), configuration=configuration)
    dl.write_deltalake(path, ids(2), mode="overwrite")
    assert len(dl.DeltaTable(path).vacuum()) == 1


def test_vacuum_negative_retention(overwritten):
    with raises_exactly(ValueError, "should be positive"):
        overwritten.vacuum(retention_hours=-1)


def test_vacuum_full_finds_unknown_files(path, overwritten):
    (Path(path) / "stray.parquet").write_bytes(b"x")
    options = {"retention_hours": 0, "enforce_retention_duration": False}
    assert "stray.parquet" not in overwritten.vacuum(**options)
    assert "stray.parquet" in overwritten.vacuum(**options, full=True)


def test_vacuum_full_spares_hidden_files_and_the_log(path, overwritten):
    (Path(path) / "_hidden").write_bytes(b"x")
    (Path(path) / ".hidden").write_bytes(b"x")
    found = overwritten.vacuum(0, enforce_retention_duration=False, full=True)
    assert [name for name in found if "hidden" in name or "_delta_log" in name] == []


def test_vacuum_full_deletes(path, overwritten):
    (Path(path) / "stray.parquet").write_bytes(b"x")
    overwritten.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert len(data_files(path)) == 1


def test_vacuum_keep_versions(dl, path, overwritten):
    found = overwritten.vacuum(
        0, dry_run=False, enforce_retention_duration=False, keep_versions=[1]
    )
    assert len(found) == 2
    assert rows(dl.DeltaTable(path, version=1)) == [{"id": 1}]


def test_vacuum_keep_unknown_version(dl, overwritten):
    with raises_exactly(dl.exceptions.DeltaError, "version 99"):
        overwritten.vacuum(0, enforce_retention_duration=False, keep_versions=[99])


def test_vacuum_custom_metadata(dl, path, overwritten):
    overwritten.vacuum(
        0,
        dry_run=False,
        enforce_retention_duration=False,
        commit_properties=dl.CommitProperties(custom_metadata={"job": "x"}),
    )
    assert dl.DeltaTable(path).history(1)[0]["job"] == "x"


def test_vacuum_partitioned_table(dl, path):
    data = sample()
    dl.write_deltalake(path, data, partition_by="name")
    dl.write_deltalake(path, data, mode="overwrite")
    table = dl.DeltaTable(path)
    found = table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert len(found) == 3
    assert all(name.startswith("name=") for name in found)
    assert rows(table) == data.to_pylist()


def test_vacuum_nothing_to_do(table):
    assert table.vacuum(0, enforce_retention_duration=False) == []


def test_defect_vacuum_lists_deleted_files_again(dl, path, overwritten):
    overwritten.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert overwritten.vacuum(0, enforce_retention_duration=False) == []
