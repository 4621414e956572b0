"""Opening tables: locations, versions, deprecated options, what a table reports."""

import os
import re
import time
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from .helpers import raises_exactly, rows, sample


def test_open_missing_directory(dl, path):
    with raises_exactly(dl.exceptions.TableNotFoundError, "does not exist"):
        dl.DeltaTable(path)


def test_open_directory_without_a_table(dl, path):
    os.makedirs(path)
    with raises_exactly(dl.exceptions.TableNotFoundError, "No files in log segment"):
        dl.DeltaTable(path)


def test_open_unknown_scheme(dl):
    with raises_exactly(dl.exceptions.TableNotFoundError, "Unknown scheme: nope"):
        dl.DeltaTable("nope://bucket/table")


def test_open_accepts_a_path_object(dl, table, path):
    assert rows(dl.DeltaTable(Path(path))) == rows(table)


def test_open_accepts_a_file_uri(dl, table, path):
    opened = dl.DeltaTable(f"file://{path}")
    assert opened.table_uri == table.table_uri
    assert rows(opened) == rows(table)


def test_table_uri_of_the_raw_table(table):
    assert table._table.table_uri() == table.table_uri


def test_open_relative_path(dl, table, path, monkeypatch):
    monkeypatch.chdir(Path(path).parent)
    opened = dl.DeltaTable(Path(path).name)
    assert opened.table_uri == table.table_uri
    assert opened.file_uris() == table.file_uris()


def test_open_path_with_trailing_slash(dl, table, path):
    assert dl.DeltaTable(f"{path}/").table_uri == table.table_uri


def test_open_path_with_spaces(dl, new_path):
    path = new_path(" with spaces & signs")
    dl.write_deltalake(path, sample())
    opened = dl.DeltaTable(path)
    assert len(rows(opened)) == 3
    assert opened.table_uri == f"file://{quote(path, safe='/&')}/"
    assert all(os.path.exists(unquote(uri)) for uri in opened.file_uris())


def test_open_version(dl, table, path):
    dl.write_deltalake(path, sample(1), mode="append")
    assert dl.DeltaTable(path, version=0).version() == 0
    assert dl.DeltaTable(path, version=1).version() == 1
    assert dl.DeltaTable(path).version() == 1


def test_open_version_positionally(dl, table, path):
    dl.write_deltalake(path, sample(1), mode="append")
    assert dl.DeltaTable(path, 0).version() == 0


def test_open_future_version(dl, table, path):
    with raises_exactly(dl.exceptions.DeltaError, "version 0 .*version 5"):
        dl.DeltaTable(path, version=5)


def test_open_negative_version(dl, table, path):
    with raises_exactly(OverflowError, "negative"):
        dl.DeltaTable(path, version=-1)


def test_open_version_must_be_a_number(dl, table, path):
    with raises_exactly(TypeError, "integer"):
        dl.DeltaTable(path, version="0")


@pytest.mark.parametrize(
    ("option", "value"),
    [("without_files", True), ("log_buffer_size", 4), ("skip_stats", True)],
)
def test_open_deprecated_options_are_ignored(dl, table, path, option, value):
    with pytest.warns(DeprecationWarning, match=f"'{option}'.*deprecated"):
        opened = dl.DeltaTable(path, **{option: value})
    assert len(opened.file_uris()) == 1
    assert opened.count() == 3


def test_open_with_storage_options(dl, table, path):
    opened = dl.DeltaTable(path, storage_options={"timeout": "3s"})
    assert rows(opened) == rows(table)


def test_storage_options_must_be_strings(dl, table, path):
    with raises_exactly(TypeError, "str"):
        dl.DeltaTable(path, storage_options={"timeout": 3})


def test_is_deltatable(dl, table, path):
    assert dl.DeltaTable.is_deltatable(path) is True
    assert dl.DeltaTable.is_deltatable(Path(path)) is True
    assert dl.DeltaTable.is_deltatable(path, {"timeout": "3s"}) is True


def test_is_deltatable_missing_directory(dl, path):
    assert dl.DeltaTable.is_deltatable(path) is False


def test_is_deltatable_empty_directory(dl, path):
    os.makedirs(path)
    assert dl.DeltaTable.is_deltatable(path) is False


def test_is_deltatable_unknown_scheme(dl):
    assert dl.DeltaTable.is_deltatable("nope://bucket/table") is False


def test_table_uri_is_a_file_uri_with_trailing_slash(table, path):
    assert table.table_uri == f"file://{path}/"


def test_repr(table):
    assert repr(table) == "DeltaTable()"


def test_tables_compare_equal_and_are_unhashable(dl, table, path):
    assert table == dl.DeltaTable(path)
    with raises_exactly(TypeError, "unhashable"):
        hash(table)


def test_metadata_id_is_a_stable_uuid(dl, table, path):
    identifier = table.metadata().id
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identifier)
    dl.write_deltalake(table, sample(), mode="overwrite")
    assert table.metadata().id == identifier
    assert dl.DeltaTable(path).metadata().id == identifier


def test_metadata_created_time_is_now_in_milliseconds(table):
    assert abs(table.metadata().created_time / 1000 - time.time()) < 60


def test_metadata_text(dl, table):
    metadata = table.metadata()
    assert isinstance(metadata, dl.Metadata)
    assert str(metadata) == (
        f"Metadata(id: {metadata.id}, name: None, description: None, "
        f"partition_columns: [], created_time: {metadata.created_time}, "
        "configuration: {})"
    )


def test_protocol_is_a_protocol_versions(dl, table):
    protocol = table.protocol()
    assert isinstance(protocol, dl.table.ProtocolVersions)
    assert protocol.min_reader_version == 1
    assert protocol.min_writer_version == 2
    assert protocol.writer_features is None
    assert protocol.reader_features is None


def test_schema_of_a_written_table(dl, table):
    assert table.schema() == dl.Schema(
        [dl.Field("id", "long"), dl.Field("name", "string")]
    )


def test_update_incremental_follows_other_writers(dl, table, path):
    dl.write_deltalake(path, sample(2), mode="append")
    assert table.version() == 0
    assert table.update_incremental() is None
    assert table.version() == 1
    assert len(rows(table)) == 5


def test_update_incremental_without_news(table):
    table.update_incremental()
    assert table.version() == 0


def test_open_table_is_a_snapshot(dl, table, path):
    dl.write_deltalake(path, sample(2), mode="overwrite")
    assert len(rows(table)) == 3
    assert table.count() == 3
