"""``DeltaTable.create``: modes, metadata, protocol and errors."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import actions, commit, log_files, raises_exactly, rows, sample


@pytest.fixture
def schema(dl: ModuleType) -> Any:
    return dl.Schema(
        [
            dl.Field("id", "long", nullable=False),
            dl.Field("day", "string"),
            dl.Field("value", "double"),
        ]
    )


def test_create_returns_the_open_table(dl, path, schema):
    table = dl.DeltaTable.create(path, schema)
    assert isinstance(table, dl.DeltaTable)
    assert table.version() == 0
    assert table.schema() == schema
    assert table.file_uris() == []
    assert rows(table, "id") == []


def test_create_accepts_a_path_object(dl, path, schema):
    assert dl.DeltaTable.create(Path(path), schema).version() == 0
    assert dl.DeltaTable.is_deltatable(path)


def test_create_accepts_an_arrow_schema(dl, path):
    table = dl.DeltaTable.create(
        path, pa.schema([pa.field("id", pa.int32(), nullable=False)])
    )
    assert table.schema() == dl.Schema([dl.Field("id", "integer", nullable=False)])


def test_create_keeps_the_order_of_columns(dl, path, schema):
    table = dl.DeltaTable.create(path, schema)
    assert [field.name for field in table.schema().fields] == ["id", "day", "value"]


def test_create_sets_metadata(dl, path, schema):
    table = dl.DeltaTable.create(
        path,
        schema,
        partition_by=["day"],
        name="orders",
        description="what was sold",
        configuration={"delta.appendOnly": "true"},
    )
    metadata = table.metadata()
    assert metadata.name == "orders"
    assert metadata.description == "what was sold"
    assert metadata.partition_columns == ["day"]
    assert metadata.configuration == {"delta.appendOnly": "true"}


def test_create_without_metadata(dl, path, schema):
    metadata = dl.DeltaTable.create(path, schema).metadata()
    assert metadata.name is None
    assert metadata.description is None
    assert metadata.partition_columns == []
    assert metadata.configuration == {}


def test_create_accepts_one_partition_column_as_a_string(dl, path, schema):
    table = dl.DeltaTable.create(path, schema, partition_by="day")
    assert table.metadata().partition_columns == ["day"]


def test_create_writes_one_commit(dl, path, schema):
    dl.DeltaTable.create(path, schema)
    assert log_files(path) == ["00000000000000000000.json"]
    kinds = [kind for action in commit(path, 0) for kind in action]
    assert kinds == ["commitInfo", "protocol", "metaData"]


def test_create_history(dl, path, schema):
    table = dl.DeltaTable.create(path, schema)
    (entry,) = table.history()
    assert entry["version"] == 0
    assert entry["operation"] == "CREATE TABLE"
    parameters = entry["operationParameters"]
    assert parameters["mode"] == "ErrorIfExists"
    assert set(parameters) == {"mode", "location", "metadata", "protocol"}


def test_create_commit_properties(dl, path, schema):
    table = dl.DeltaTable.create(
        path,
        schema,
        commit_properties=dl.CommitProperties(custom_metadata={"who": "me"}),
    )
    assert table.history()[0]["who"] == "me"


def test_create_existing_table_is_an_error(dl, path, schema):
    dl.DeltaTable.create(path, schema)
    with raises_exactly(dl.exceptions.DeltaError, "already exists"):
        dl.DeltaTable.create(path, schema)


def test_create_ignore_keeps_the_existing_table(dl, path, schema):
    first = dl.DeltaTable.create(path, schema, name="first")
    again = dl.DeltaTable.create(
        path, dl.Schema([dl.Field("x", "long")]), mode="ignore", name="second"
    )
    assert again.version() == 0
    assert again.metadata().name == "first"
    assert again.metadata().id == first.metadata().id


def test_create_ignore_creates_a_missing_table(dl, path, schema):
    assert dl.DeltaTable.create(path, schema, mode="ignore").version() == 0


def test_create_append_is_an_error_on_an_existing_table(dl, path, schema):
    dl.DeltaTable.create(path, schema)
    with raises_exactly(dl.exceptions.DeltaError, "append.*not allowed"):
        dl.DeltaTable.create(path, schema, mode="append")


def test_create_overwrite_replaces_schema_and_files(dl, path, schema):
    dl.write_deltalake(path, sample())
    table = dl.DeltaTable.create(path, schema, mode="overwrite", name="new")
    assert table.version() == 1
    assert table.schema() == schema
    assert table.metadata().name == "new"
    assert table.file_uris() == []
    assert len(actions(path, 1, "remove")) == 1


def test_create_overwrite_keeps_old_versions(dl, path, schema):
    dl.write_deltalake(path, sample())
    dl.DeltaTable.create(path, schema, mode="overwrite")
    assert len(rows(dl.DeltaTable(path, version=0))) == 3


def test_create_overwrite_history(dl, path, schema):
    dl.write_deltalake(path, sample())
    table = dl.DeltaTable.create(path, schema, mode="overwrite")
    assert table.history(1)[0]["operation"] == "CREATE OR REPLACE TABLE"


def test_create_unknown_mode(dl, path, schema):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid save mode"):
        dl.DeltaTable.create(path, schema, mode="nope")


def test_create_without_columns(dl, path):
    with raises_exactly(dl.exceptions.DeltaError, "At least one column"):
        dl.DeltaTable.create(path, dl.Schema([]))
    assert not dl.DeltaTable.is_deltatable(path)


@pytest.mark.no_mirror_check
def test_create_unknown_partition_column(dl, path, schema):
    with raises_exactly(dl.exceptions.DeltaError, "nope.*not found"):
        dl.DeltaTable.create(path, schema, partition_by=["nope"])


def test_defect_failed_creation_leaves_no_table(dl, path, schema):
    with pytest.raises(dl.exceptions.DeltaError):
        dl.DeltaTable.create(path, schema, partition_by=["nope"])
    assert not dl.DeltaTable.is_deltatable(path)


@pytest.mark.parametrize("key", ["delta.nope", "mine", "delta.constraints.c"])
def test_create_unknown_property(dl, path, schema, key):
    with raises_exactly(dl.exceptions.DeltaError, f"Error parsing property '{key}'"):
        dl.DeltaTable.create(path, schema, configuration={key: "id > 0"})
    assert not dl.DeltaTable.is_deltatable(path)


def test_create_unknown_property_on_request(dl, path, schema):
    table = dl.DeltaTable.create(
        path, schema, configuration={"mine": "x"}, raise_if_key_not_exists=False
    )
    assert table.metadata().configuration == {"mine": "x"}


def test_create_leaves_out_properties_without_value(dl, path, schema):
    table = dl.DeltaTable.create(path, schema, configuration={"delta.appendOnly": None})
    assert table.metadata().configuration == {}


def test_create_needs_a_schema(dl, path):
    with raises_exactly(ValueError, "__arrow_c_schema__"):
        dl.DeltaTable.create(path, [1])


def test_create_default_protocol(dl, path, schema):
    protocol = dl.DeltaTable.create(path, schema).protocol()
    assert protocol == (1, 2, None, None)


@pytest.mark.parametrize(
    ("configuration", "reader", "writer"),
    [
        ({"delta.enableChangeDataFeed": "true"}, 1, 4),
        ({"delta.columnMapping.mode": "name"}, 2, 5),
        ({"delta.appendOnly": "true"}, 1, 2),
        ({"delta.enableDeletionVectors": "true"}, 3, 7),
        ({"delta.minReaderVersion": "3", "delta.minWriterVersion": "7"}, 3, 7),
        ({"delta.minWriterVersion": "4"}, 1, 4),
    ],
    ids=str,
)
def test_create_protocol_follows_properties(
    dl, path, schema, configuration, reader, writer
):
    table = dl.DeltaTable.create(path, schema, configuration=configuration)
    protocol = table.protocol()
    assert protocol.min_reader_version == reader
    assert protocol.min_writer_version == writer


def test_create_deletion_vectors_feature(dl, path, schema):
    table = dl.DeltaTable.create(
        path, schema, configuration={"delta.enableDeletionVectors": "true"}
    )
    assert "deletionVectors" in table.protocol().reader_features
    assert "deletionVectors" in table.protocol().writer_features


def test_create_timestamp_ntz_feature(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("t", "timestamp_ntz")]))
    assert table.protocol() == (3, 7, ["timestampNtz"], ["timestampNtz"])


def test_create_variant_feature(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("v", dl.VariantType())]))
    assert table.protocol() == (3, 7, ["variantType"], ["variantType"])


def test_create_invalid_protocol_version(dl, path, schema):
    with raises_exactly(dl.exceptions.DeltaError, "delta.minReaderVersion.*invalid"):
        dl.DeltaTable.create(
            path, schema, configuration={"delta.minReaderVersion": "9"}
        )


def test_create_field_metadata_is_kept(dl, path):
    field = dl.Field("a", "long", metadata={"comment": "hello"})
    table = dl.DeltaTable.create(path, dl.Schema([field]))
    assert table.schema().fields[0].metadata == {"comment": "hello"}


def test_create_column_names_with_spaces(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("a b", "long")]))
    assert table.schema().fields[0].name == "a b"


def test_create_nested_directories(dl, new_path, schema):
    nested = new_path("/deeper/still")
    assert dl.DeltaTable.create(nested, schema).version() == 0


def test_create_with_storage_options(dl, path, schema):
    table = dl.DeltaTable.create(path, schema, storage_options={"timeout": "3s"})
    assert table.version() == 0


def test_create_in_a_directory_with_foreign_files(dl, path, schema):
    Path(path).mkdir()
    (Path(path) / "readme.txt").write_text("not a table")
    table = dl.DeltaTable.create(path, schema)
    assert table.file_uris() == []


def test_create_then_append(dl, path, schema):
    table = dl.DeltaTable.create(path, schema)
    data = pa.table({"id": [1], "day": ["monday"], "value": [1.5]})
    dl.write_deltalake(table, data, mode="append")
    assert rows(table) == [{"id": 1, "day": "monday", "value": 1.5}]
