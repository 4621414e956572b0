"""``alter``: columns, properties, names, column metadata and table features."""

import json
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import actions, ids, raises_exactly, rows, sample


def names(table: Any) -> list[str]:
    return [field.name for field in table.schema().fields]


def test_alter_namespace(dl, table):
    assert isinstance(table.alter, dl.table.TableAlterer)
    assert table.alter.table is table


def test_add_columns(dl, path, table):
    struct = dl.schema.StructType([dl.Field("a", "long")])
    fields = [dl.Field("x", "integer"), dl.Field("s", struct)]
    assert table.alter.add_columns(fields) is None
    assert names(table) == ["id", "name", "x", "s"]
    assert table.version() == dl.DeltaTable(path).version() == 1
    assert rows(table)[0] == {"id": 0, "name": "a", "x": None, "s": None}


def test_add_one_column(dl, table):
    table.alter.add_columns(dl.Field("x", "integer", metadata={"comment": "hi"}))
    assert table.schema().fields[-1].metadata == {"comment": "hi"}


def test_add_columns_writes_only_metadata(dl, path, table):
    identifier = table.metadata().id
    table.alter.add_columns(dl.Field("x", "integer"))
    (metadata,) = actions(path, 1, "metaData")
    assert metadata["id"] == identifier
    assert actions(path, 1, "add") == []


def test_add_columns_history(dl, table):
    table.alter.add_columns(dl.Field("x", "integer"))
    entry = table.history(1)[0]
    assert entry["operation"] == "ADD COLUMN"
    (field,) = json.loads(entry["operationParameters"]["fields"])
    assert field["name"] == "x"


def test_add_existing_column_again(dl, table):
    table.alter.add_columns(dl.Field("name", "string"))
    assert names(table) == ["id", "name"]


def test_add_existing_column_of_another_type(dl, path, table):
    with raises_exactly(
        dl.exceptions.SchemaMismatchError, "Cannot merge types string and long"
    ):
        table.alter.add_columns(dl.Field("name", "long"))
    assert dl.DeltaTable(path).version() == 0


def test_add_field_to_a_struct(dl, path):
    dl.write_deltalake(path, pa.table({"s": [{"a": 1}]}))
    table = dl.DeltaTable(path)
    struct = dl.schema.StructType([dl.Field("b", "long")])
    table.alter.add_columns(dl.Field("s", struct))
    assert [field.name for field in table.schema().fields[0].type.fields] == ["a", "b"]
    assert table.to_pyarrow_table().to_pylist() == [{"s": {"a": 1, "b": None}}]


def test_add_timestamp_ntz_column_raises_the_protocol(dl, table):
    table.alter.add_columns(dl.Field("t", "timestamp_ntz"))
    protocol = table.protocol()
    assert protocol.min_reader_version == 3
    assert "timestampNtz" in protocol.reader_features


def test_add_columns_needs_fields(table):
    with pytest.raises(TypeError):
        table.alter.add_columns("x")


def test_add_columns_then_append(dl, path, table):
    table.alter.add_columns(dl.Field("x", "long"))
    data = pa.table({"id": [9], "name": ["z"], "x": [1]})
    dl.write_deltalake(table, data, mode="append")
    assert rows(table)[-1] == {"id": 9, "name": "z", "x": 1}


def test_set_table_properties(dl, path, table):
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 5 days"})
    expected = {"delta.logRetentionDuration": "interval 5 days"}
    assert table.metadata().configuration == expected
    assert dl.DeltaTable(path).metadata().configuration == expected


def test_set_table_properties_adds_and_replaces(table):
    table.alter.set_table_properties({"delta.appendOnly": "true"})
    table.alter.set_table_properties(
        {"delta.appendOnly": "false", "delta.checkpointInterval": "5"}
    )
    assert table.metadata().configuration == {
        "delta.appendOnly": "false",
        "delta.checkpointInterval": "5",
    }


def test_set_table_properties_history(table):
    table.alter.set_table_properties({"delta.appendOnly": "true"})
    entry = table.history(1)[0]
    assert entry["operation"] == "SET TBLPROPERTIES"
    assert json.loads(entry["operationParameters"]["properties"]) == {
        "delta.appendOnly": "true"
    }


@pytest.mark.parametrize("key", ["delta.nope", "mine"])
def test_set_unknown_property(dl, table, key):
    with raises_exactly(dl.exceptions.DeltaError, f"Error parsing property '{key}'"):
        table.alter.set_table_properties({key: "x"})
    assert table.version() == 0


def test_set_unknown_property_on_request(table):
    table.alter.set_table_properties({"mine": "x"}, raise_if_not_exists=False)
    assert table.metadata().configuration == {"mine": "x"}


def test_set_property_must_be_text(table):
    with raises_exactly(TypeError, "str"):
        table.alter.set_table_properties({"delta.appendOnly": True})


def test_set_property_raises_the_protocol(table):
    table.alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    assert table.protocol() == (1, 4, None, None)


def test_set_protocol_versions_by_property(table):
    table.alter.set_table_properties(
        {"delta.minReaderVersion": "3", "delta.minWriterVersion": "7"}
    )
    assert table.protocol().min_reader_version == 3
    assert table.protocol().min_writer_version == 7


def test_set_invalid_protocol_version(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "delta.minWriterVersion.*invalid"):
        table.alter.set_table_properties({"delta.minWriterVersion": "1"})


def test_set_append_only_takes_effect(dl, table):
    table.alter.set_table_properties({"delta.appendOnly": "true"})
    with raises_exactly(dl.exceptions.CommitFailedError, "append-only"):
        table.delete()


def test_set_table_name(dl, path, table):
    table.alter.set_table_name("orders")
    assert table.metadata().name == "orders"
    assert dl.DeltaTable(path).metadata().name == "orders"
    table.alter.set_table_name("sales")
    assert table.metadata().name == "sales"


def test_set_table_name_keeps_the_rest(dl, path):
    dl.write_deltalake(
        path,
        ids(1),
        description="text",
        configuration={"delta.appendOnly": "true"},
    )
    table = dl.DeltaTable(path)
    before = table.metadata()
    table.alter.set_table_name("orders")
    after = table.metadata()
    assert after.id == before.id
    assert after.description == "text"
    assert after.configuration == before.configuration
    assert after.created_time == before.created_time


def test_set_table_name_history(table):
    table.alter.set_table_name("orders")
    entry = table.history(1)[0]
    assert entry["operation"] == "UPDATE TABLE METADATA"
    assert json.loads(entry["operationParameters"]["metadataUpdate"]) == {
        "name": "orders",
        "description": None,
    }


@pytest.mark.parametrize("name", ["", "x" * 256], ids=["empty", "long"])
def test_set_invalid_table_name(dl, table, name):
    with raises_exactly(dl.exceptions.DeltaError, "name: .*255 characters"):
        table.alter.set_table_name(name)
    assert table.version() == 0


def test_set_longest_table_name(table):
    table.alter.set_table_name("x" * 255)
    assert table.metadata().name == "x" * 255


def test_set_table_name_must_be_text(table):
    with raises_exactly(TypeError, "str"):
        table.alter.set_table_name(None)


def test_set_table_description(dl, path, table):
    table.alter.set_table_description("what was sold")
    assert table.metadata().description == "what was sold"
    assert dl.DeltaTable(path).metadata().description == "what was sold"


def test_set_longest_table_description(dl, table):
    table.alter.set_table_description("x" * 4000)
    with raises_exactly(dl.exceptions.DeltaError, "description: .*4000 characters"):
        table.alter.set_table_description("x" * 4001)
    assert table.version() == 1


def test_set_column_metadata(dl, path, table):
    table.alter.set_column_metadata("id", {"comment": "key"})
    table.alter.set_column_metadata("id", {"unit": "none"})
    expected = {"comment": "key", "unit": "none"}
    assert table.schema().fields[0].metadata == expected
    assert dl.DeltaTable(path).schema().fields[0].metadata == expected
    assert table.schema().fields[1].metadata == {}


def test_set_column_metadata_history(table):
    table.alter.set_column_metadata("id", {"comment": "key"})
    assert table.history(1)[0]["operation"] == "UPDATE FIELD METADATA"


def test_set_column_metadata_of_unknown_column(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field with the provided name"):
        table.alter.set_column_metadata("nope", {"comment": "key"})


def test_set_column_metadata_must_be_text(table):
    with raises_exactly(TypeError, "str"):
        table.alter.set_column_metadata("id", {"n": 1})


@pytest.fixture
def required(dl: ModuleType, path: str) -> Any:
    inner = dl.schema.StructType([dl.Field("a", "long", nullable=False)])
    return dl.DeltaTable.create(
        path,
        dl.Schema([dl.Field("id", "long", nullable=False), dl.Field("s", inner)]),
    )


def test_drop_column_not_null(dl, path, required):
    required.alter.drop_column_not_null("id")
    assert required.schema().fields[0].nullable is True
    data = pa.table({"id": pa.array([None], pa.int64()), "s": [{"a": 1}]})
    dl.write_deltalake(required, data, mode="append")
    assert required.count() == 1


def test_drop_column_not_null_history(required):
    required.alter.drop_column_not_null("id")
    assert required.history(1)[0]["operation"] == "CHANGE COLUMN"


def test_drop_column_not_null_of_nullable_column(dl, required):
    with raises_exactly(dl.exceptions.DeltaError, "'s' is already nullable"):
        required.alter.drop_column_not_null("s")


@pytest.mark.parametrize("column", ["nope", "s.a"])
def test_drop_column_not_null_of_unknown_column(dl, required, column):
    with raises_exactly(
        dl.exceptions.DeltaError, f"No column with the name '{column}'"
    ):
        required.alter.drop_column_not_null(column)


WRITER_FEATURES = {
    "AppendOnly": "appendOnly",
    "ChangeDataFeed": "changeDataFeed",
    "CheckConstraints": "checkConstraints",
    "DomainMetadata": "domainMetadata",
    "GeneratedColumns": "generatedColumns",
    "IcebergCompatV1": "icebergCompatV1",
    "IdentityColumns": "identityColumns",
    "Invariants": "invariants",
    "RowTracking": "rowTracking",
}
READER_FEATURES = {
    "ColumnMapping": "columnMapping",
    "DeletionVectors": "deletionVectors",
    "TimestampWithoutTimezone": "timestampNtz",
    "V2Checkpoint": "v2Checkpoint",
    "VariantType": "variantType",
    "VariantTypePreview": "variantType-preview",
}


@pytest.mark.parametrize("feature", WRITER_FEATURES)
def test_add_writer_feature(dl, table, feature):
    table.alter.add_feature(
        getattr(dl.TableFeatures, feature), allow_protocol_versions_increase=True
    )
    assert table.protocol() == (1, 7, [WRITER_FEATURES[feature]], None)


@pytest.mark.parametrize("feature", READER_FEATURES)
def test_add_reader_feature(dl, table, feature):
    table.alter.add_feature(
        getattr(dl.TableFeatures, feature), allow_protocol_versions_increase=True
    )
    name = READER_FEATURES[feature]
    assert table.protocol() == (3, 7, [name], [name])


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            "AppendOnly",
            "Table feature enables writer feature, but min_writer is not v7",
        ),
        (
            "DeletionVectors",
            "Table feature enables reader and writer feature, but reader is not v3, "
            "and writer not v7",
        ),
    ],
)
def test_add_feature_needs_permission(dl, table, feature, message):
    message += ". Set allow_protocol_versions_increase"
    with raises_exactly(dl.exceptions.DeltaError, message):
        table.alter.add_feature(getattr(dl.TableFeatures, feature))
    assert table.protocol() == (1, 2, None, None)


def test_add_feature_to_a_table_with_features(dl, table):
    table.alter.add_feature(dl.TableFeatures.AppendOnly, True)
    table.alter.add_feature(dl.TableFeatures.ChangeDataFeed)
    assert set(table.protocol().writer_features) == {"appendOnly", "changeDataFeed"}


def test_add_several_features(dl, table):
    features = [dl.TableFeatures.AppendOnly, dl.TableFeatures.ChangeDataFeed]
    table.alter.add_feature(features, allow_protocol_versions_increase=True)
    assert set(table.protocol().writer_features) == {"appendOnly", "changeDataFeed"}


def test_add_feature_history(dl, table):
    table.alter.add_feature(dl.TableFeatures.AppendOnly, True)
    entry = table.history(1)[0]
    assert entry["operation"] == "ADD FEATURE"
    assert entry["operationParameters"] == {"name": '["appendOnly"]'}


def test_add_no_feature(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No features provided"):
        table.alter.add_feature([])


def test_add_feature_by_name(table):
    with pytest.raises(TypeError):
        table.alter.add_feature("AppendOnly")


@pytest.mark.parametrize(
    "change",
    [
        lambda dl, a, **p: a.add_columns(dl.Field("x", "long"), **p),
        lambda dl, a, **p: a.add_constraint({"c": "id >= 0"}, **p),
        lambda dl, a, **p: a.add_feature(dl.TableFeatures.AppendOnly, True, **p),
        lambda dl, a, **p: a.set_table_properties({"delta.appendOnly": "true"}, **p),
        lambda dl, a, **p: a.set_table_name("n", **p),
        lambda dl, a, **p: a.set_table_description("d", **p),
        lambda dl, a, **p: a.set_column_metadata("id", {"k": "v"}, **p),
    ],
    ids=[
        "add_columns",
        "add_constraint",
        "add_feature",
        "set_table_properties",
        "set_table_name",
        "set_table_description",
        "set_column_metadata",
    ],
)
def test_alter_custom_metadata(dl, table, change):
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    change(dl, table.alter, commit_properties=properties)
    assert table.history(1)[0]["job"] == "x"
    assert table.version() == 1


def test_alter_keeps_the_data(dl, table):
    table.alter.set_table_name("n")
    table.alter.set_table_properties({"delta.appendOnly": "true"})
    assert rows(table) == sample().to_pylist()


@pytest.mark.parametrize(
    "feature", ["DomainMetadata", "IcebergCompatV1", "IdentityColumns", "RowTracking"]
)
def test_writes_with_an_unsupported_feature(dl, path, table, feature):
    table.alter.add_feature(getattr(dl.TableFeatures, feature), True)
    message = f"Unsupported table features required: .*{feature}"
    with raises_exactly(dl.exceptions.CommitFailedError, message):
        dl.write_deltalake(table, sample(), mode="append")
    with raises_exactly(dl.exceptions.CommitFailedError, message):
        table.delete("id = 0")
    assert rows(dl.DeltaTable(path)) == sample().to_pylist()


@pytest.mark.parametrize(
    "feature",
    [
        "AppendOnly",
        "ChangeDataFeed",
        "CheckConstraints",
        "ColumnMapping",
        "DeletionVectors",
        "GeneratedColumns",
        "Invariants",
        "TimestampWithoutTimezone",
        "V2Checkpoint",
        "VariantType",
    ],
)
def test_writes_with_a_supported_feature(dl, path, table, feature):
    table.alter.add_feature(getattr(dl.TableFeatures, feature), True)
    dl.write_deltalake(table, sample(1), mode="append")
    table.delete("id = 2")
    assert dl.DeltaTable(path).version() == 3
    assert pa.table(table.scan()).num_rows == 3


@pytest.mark.parametrize("feature", ["DeletionVectors", "V2Checkpoint"])
def test_pyarrow_refuses_a_reader_feature(dl, table, feature):
    table.alter.add_feature(getattr(dl.TableFeatures, feature), True)
    name = READER_FEATURES[feature]
    with raises_exactly(dl.exceptions.DeltaProtocolError, f"{name}.*not yet supported"):
        table.to_pyarrow_table()


def test_enable_deletion_vectors_by_property(table):
    table.alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    assert table.protocol().min_reader_version == 3
    assert "deletionVectors" in table.protocol().reader_features


def test_column_mapping_cannot_be_enabled_later(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "Column mapping is not supported"):
        table.alter.set_table_properties({"delta.columnMapping.mode": "name"})
    assert table.version() == 0
