"""Older versions: ``load_as_version``, ``history`` and version numbers."""

import time
from datetime import date, timedelta, timezone
from types import ModuleType
from typing import Any

import pytest

from .helpers import PAUSE, ids, moment_before_next, raises_exactly, rows


@pytest.fixture
def versions(dl: ModuleType, path: str) -> Any:
    """Versions 0, 1 and 2 hold one, two and three rows."""
    for i in range(3):
        dl.write_deltalake(path, ids(i), mode="append")
        time.sleep(PAUSE)
    return dl.DeltaTable(path)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_load_version(versions, version):
    assert versions.load_as_version(version) is None
    assert versions.version() == version
    assert len(rows(versions)) == version + 1


def test_load_version_back_and_forth(versions):
    for version in (0, 2, 1):
        versions.load_as_version(version)
        assert versions.version() == version


def test_load_unknown_version_changes_nothing(dl, versions):
    versions.load_as_version(1)
    with raises_exactly(dl.exceptions.DeltaError, "version 2 .*version 9"):
        versions.load_as_version(9)
    assert versions.version() == 1


def test_load_negative_version(versions):
    with raises_exactly(OverflowError, "negative"):
        versions.load_as_version(-1)


@pytest.mark.parametrize("version", [1.5, None, date(2024, 1, 1), b"1"], ids=repr)
def test_load_version_of_wrong_type(versions, version):
    with raises_exactly(TypeError, "only int, str or datetime"):
        versions.load_as_version(version)


def test_load_datetime(versions):
    versions.load_as_version(moment_before_next(versions, 1))
    assert versions.version() == 1


def test_load_naive_datetime_is_utc(versions):
    moment = moment_before_next(versions, 1)
    versions.load_as_version(moment.replace(tzinfo=None))
    assert versions.version() == 1


def test_load_datetime_of_another_zone(versions):
    moment = moment_before_next(versions, 1)
    versions.load_as_version(moment.astimezone(timezone(timedelta(hours=-8))))
    assert versions.version() == 1


def test_load_text(versions):
    moment = moment_before_next(versions, 0)
    versions.load_as_version(moment.isoformat())
    assert versions.version() == 0


@pytest.mark.parametrize(
    "text",
    ["2999-01-01T00:00:00Z", "2999-01-01T00:00:00.123+02:00"],
)
def test_load_future_time_is_the_latest_version(versions, text):
    versions.load_as_version(0)
    versions.load_as_version(text)
    assert versions.version() == 2


def test_load_past_time_is_the_first_version(versions):
    versions.load_as_version("2000-01-01T00:00:00Z")
    assert versions.version() == 0


@pytest.mark.parametrize(
    "text",
    ["nonsense", "2999-01-01", "2999-01-01T00:00:00", "2020-05-01T00:47:31"],
)
def test_load_text_that_is_no_timestamp(versions, text):
    with raises_exactly(ValueError, "Failed to parse datetime string:"):
        versions.load_as_version(text)


def test_loading_restores_the_schema_of_the_version(dl, path, versions):
    versions.alter.add_columns(dl.Field("extra", "string"))
    assert len(versions.schema().fields) == 2
    versions.load_as_version(2)
    assert len(versions.schema().fields) == 1


def test_update_incremental_returns_to_the_latest_version(versions):
    versions.load_as_version(0)
    versions.update_incremental()
    assert versions.version() == 2


def test_history_is_newest_first(versions):
    assert [entry["version"] for entry in versions.history()] == [2, 1, 0]


def test_history_limit(versions):
    assert [entry["version"] for entry in versions.history(2)] == [2, 1]
    assert [entry["version"] for entry in versions.history(limit=1)] == [2]
    assert versions.history(0) == []
    assert len(versions.history(99)) == 3


def test_history_negative_limit(versions):
    with raises_exactly(OverflowError, "negative"):
        versions.history(-1)


def test_history_entries(dl, versions):
    entry = versions.history(1)[0]
    assert entry["operation"] == "WRITE"
    assert entry["operationParameters"] == {"mode": "Append"}
    assert entry["operationMetrics"]["num_added_rows"] == 1
    assert "engineInfo" in entry
    assert "clientVersion" in entry
    assert abs(entry["timestamp"] / 1000 - time.time()) < 60


def test_history_timestamps_ascend(versions):
    stamps = [entry["timestamp"] for entry in versions.history()]
    assert stamps == sorted(stamps, reverse=True)


def test_history_of_every_operation(dl, path, table):
    table.update({"name": "'z'"}, predicate="id = 0")
    table.delete("id = 1")
    table.optimize.compact()
    table.alter.set_table_name("t")
    table.restore(0)
    operations = [entry["operation"] for entry in table.history()]
    assert operations[0] == "RESTORE"
    assert operations[1] == "UPDATE TABLE METADATA"
    assert operations[-3:] == ["DELETE", "UPDATE", "WRITE"]


def test_write_through_an_old_version_goes_to_the_end(dl, versions):
    versions.load_as_version(0)
    dl.write_deltalake(versions, ids(9), mode="append")
    assert versions.version() == 3
    assert len(rows(versions)) == 4


def test_defect_history_of_an_older_version(versions):
    versions.load_as_version(1)
    for entry in versions.history():
        assert entry["version"] >= 0
        assert entry["timestamp"] == committed_at(versions, entry["version"])


def committed_at(table: Any, version: Any) -> int:
    table.update_incremental()
    (entry,) = [e for e in table.history() if e["version"] == version]
    return entry["timestamp"]
