"""The public names: what can be imported, called and caught."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pyarrow as pa
import pytest

from .conftest import PACKAGE
from .helpers import raises_exactly, rows
from .signatures import SIGNATURES

NAMES = {
    "": [
        "BloomFilterProperties",
        "ColumnProperties",
        "CommitProperties",
        "DataType",
        "DeltaTable",
        "Field",
        "Metadata",
        "PostCommitHookProperties",
        "QueryBuilder",
        "Schema",
        "TableFeatures",
        "Transaction",
        "VariantType",
        "WriterProperties",
        "__version__",
        "convert_to_deltalake",
        "enable_nanosecond_timestamps",
        "init_tracing",
        "rust_core_version",
        "write_deltalake",
    ],
    "exceptions": [
        "CommitFailedError",
        "DeltaError",
        "DeltaProtocolError",
        "SchemaMismatchError",
        "TableNotFoundError",
    ],
    "fs": ["DeltaStorageHandler"],
    "query": ["QueryBuilder"],
    "schema": [
        "ArrayType",
        "DataType",
        "Field",
        "MapType",
        "PrimitiveType",
        "Schema",
        "StructType",
        "VariantType",
    ],
    "table": [
        "DeltaTable",
        "DeltaTableConfig",
        "FilterConjunctionType",
        "FilterDNFType",
        "FilterLiteralType",
        "FilterType",
        "MAX_SUPPORTED_READER_VERSION",
        "MAX_SUPPORTED_PYARROW_WRITER_VERSION",
        "Metadata",
        "ProtocolVersions",
        "SUPPORTED_READER_FEATURES",
        "SUPPORTED_WRITER_FEATURES",
        "TableAlterer",
        "TableFeatures",
        "TableMerger",
        "TableOptimizer",
    ],
    "transaction": [
        "AddAction",
        "CommitProperties",
        "PostCommitHookProperties",
        "RemoveAction",
        "Transaction",
        "create_table_with_add_actions",
    ],
    "warnings": ["ExperimentalWarning"],
    "writer": [
        "BloomFilterProperties",
        "ColumnProperties",
        "WriterProperties",
        "convert_to_deltalake",
        "write_deltalake",
    ],
    "writer.properties": ["Compression", "Encoding"],
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in NAMES for name in NAMES[module]]
)
def test_public_name(module, name):
    full = f"{PACKAGE}.{module}" if module else PACKAGE
    assert hasattr(importlib.import_module(full), name)


@pytest.mark.parametrize("module", ["", "exceptions", "fs", "schema", "writer"])
def test_all_lists_the_public_names(module):
    full = f"{PACKAGE}.{module}" if module else PACKAGE
    listed = set(importlib.import_module(full).__all__)
    assert listed >= set(NAMES[module]) - {"DataType" if module else ""}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(dl, name):
    """Expected parameters exist, in order and with equal defaults.

    Further parameters are allowed as long as they are optional.
    """
    target = dl
    for part in name.split("."):
        target = getattr(target, part)
    actual = inspect.signature(target).parameters
    expected = [
        parameter
        for parameter in SIGNATURES[name].split(", ")
        if parameter and not parameter.startswith("*")
    ]
    names = [parameter.partition("=")[0] for parameter in expected]
    assert [parameter for parameter in actual if parameter in names] == names
    for parameter in expected:
        key, has_default, default = parameter.partition("=")
        if has_default:
            assert repr(actual[key].default) == default
        else:
            assert actual[key].default is inspect.Parameter.empty
    for key in set(actual) - set(names):
        parameter = actual[key]
        variadic = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        optional = parameter.default is not parameter.empty
        assert optional or parameter.kind in variadic


@pytest.mark.parametrize("attribute", ["table_uri", "optimize", "alter"])
def test_delta_table_properties(dl, attribute):
    assert isinstance(getattr(dl.DeltaTable, attribute), property)


def test_version_is_a_release_number(dl):
    assert re.match(r"\d+\.\d+\.\d+", dl.__version__)


def test_rust_core_version_is_text(dl):
    assert isinstance(dl.rust_core_version(), str)
    assert dl.rust_core_version()


@pytest.mark.parametrize(
    "name",
    [
        "CommitFailedError",
        "DeltaProtocolError",
        "SchemaMismatchError",
        "TableNotFoundError",
    ],
)
def test_errors_are_delta_errors(dl, name):
    error = getattr(dl.exceptions, name)
    assert issubclass(error, dl.exceptions.DeltaError)
    assert error is not dl.exceptions.DeltaError


def test_delta_error_is_a_plain_exception(dl):
    assert dl.exceptions.DeltaError.__bases__ == (Exception,)


def test_errors_can_be_raised_by_user_code(dl):
    with raises_exactly(dl.exceptions.CommitFailedError, "mine"):
        raise dl.exceptions.CommitFailedError("mine")


def test_experimental_warning_is_a_warning(dl):
    assert issubclass(dl.warnings.ExperimentalWarning, Warning)


@pytest.mark.parametrize("name", ["DeltaTable", "Metadata"])
def test_classes_are_the_same_in_the_table_module(dl, name):
    assert getattr(dl, name) is getattr(dl.table, name)


@pytest.mark.parametrize("name", ["CommitProperties", "PostCommitHookProperties"])
def test_classes_are_the_same_in_the_transaction_module(dl, name):
    assert getattr(dl, name) is getattr(dl.transaction, name)


@pytest.mark.parametrize("name", ["Field", "Schema", "VariantType"])
def test_classes_are_the_same_in_the_schema_module(dl, name):
    assert getattr(dl, name) is getattr(dl.schema, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("exceptions", "DeltaError"),
        ("exceptions", "TableNotFoundError"),
        ("schema", "Field"),
        ("schema", "PrimitiveType"),
        ("schema", "Schema"),
        ("table", "TableFeatures"),
    ],
)
def test_classes_are_the_same_in_the_internal_module(dl, module, name):
    internal = importlib.import_module(f"{dl.__name__}._internal")
    assert getattr(internal, name) is getattr(getattr(dl, module), name)


def test_data_type_is_the_union_of_the_type_classes(dl):
    assert dl.DataType == dl.schema.DataType
    assert len(dl.DataType.__args__) == 5


@pytest.mark.parametrize(
    "name", ["from_data_catalog", "files", "get_latest_version", "load_version"]
)
def test_removed_methods_stay_removed(table, name):
    with raises_exactly(AttributeError, name):
        getattr(table, name)


def test_supported_features(dl):
    expected = {"timestampNtz", "variantType", "variantType-preview"}
    assert expected <= dl.table.SUPPORTED_READER_FEATURES
    assert {"appendOnly", "invariants"} <= dl.table.SUPPORTED_WRITER_FEATURES
    assert dl.table.MAX_SUPPORTED_READER_VERSION == 3


def test_constants_of_the_table_module(dl):
    assert dl.table.MAX_SUPPORTED_PYARROW_WRITER_VERSION == 7
    assert dl.table.NOT_SUPPORTED_PYARROW_WRITER_VERSIONS == [3, 4, 5, 6]
    assert dl.table.NOT_SUPPORTED_READER_VERSION < 1
    assert dl.table.FSCK_METRICS_FILES_REMOVED_LABEL == "files_removed"


def test_types_of_filters(dl):
    table = dl.table
    assert table.FilterConjunctionType == list[table.FilterLiteralType]
    assert table.FilterDNFType == list[table.FilterConjunctionType]
    assert table.FilterDNFType in table.FilterType.__args__
    assert str in table.FilePruningPredicateType.__args__
    assert table.PartitionFilterType.__origin__ is list


def test_protocol_versions_is_a_named_tuple(dl):
    protocol = dl.table.ProtocolVersions(1, 2, None, None)
    assert protocol == (1, 2, None, None)
    assert protocol._fields == (
        "min_reader_version",
        "min_writer_version",
        "writer_features",
        "reader_features",
    )


def test_delta_table_config_is_deprecated(dl):
    with pytest.warns(DeprecationWarning, match="DeltaTableConfig"):
        config = dl.table.DeltaTableConfig(False, 8)
    assert config == (False, 8, False)


@pytest.mark.filterwarnings("ignore:The DeltaTableConfig class")
def test_table_config_property_is_deprecated(table):
    with pytest.warns(DeprecationWarning, match="table_config"):
        config = table.table_config
    assert config.without_files is False
    assert config.skip_stats is False


def test_table_features_members(dl):
    names = {name for name in dir(dl.TableFeatures) if not name.startswith("_")}
    assert names >= {
        "AppendOnly",
        "ChangeDataFeed",
        "CheckConstraints",
        "ColumnMapping",
        "DeletionVectors",
        "DomainMetadata",
        "GeneratedColumns",
        "IcebergCompatV1",
        "IdentityColumns",
        "Invariants",
        "RowTracking",
        "TimestampNanos",
        "TimestampWithoutTimezone",
        "V2Checkpoint",
        "VariantType",
        "VariantTypePreview",
    }


def test_table_features_members_compare(dl):
    assert dl.TableFeatures.AppendOnly == dl.TableFeatures.AppendOnly
    assert dl.TableFeatures.AppendOnly != dl.TableFeatures.Invariants
    assert isinstance(dl.TableFeatures.AppendOnly, dl.TableFeatures)
    assert repr(dl.TableFeatures.AppendOnly) == "TableFeatures.AppendOnly"
    assert dl.TableFeatures.TimestampNanos != dl.TableFeatures.TimestampWithoutTimezone


def test_table_features_have_numbers(dl):
    assert dl.TableFeatures.ColumnMapping.__int__() == 0
    assert int(dl.TableFeatures.VariantTypePreview) == 15


def test_data_types_of_the_package_survive_json(dl):
    schema = dl.Schema([dl.Field("v", dl.VariantType())])
    assert json.loads(schema.to_json())["fields"][0]["type"] == "variant"


def test_init_tracing_needs_no_collector():
    """In a separate process: it registers a hook for the end of the process."""
    code = f"import {PACKAGE} as dl; dl.init_tracing('http://localhost:9/v1/traces')"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.skipif(
    importlib.util.find_spec("datafusion") is not None, reason="datafusion is there"
)
def test_datafusion_provider_needs_datafusion(table):
    with raises_exactly(RuntimeError, "requires datafusion.*not installed"):
        table.__datafusion_table_provider__()


@pytest.fixture
def nanoseconds(dl: ModuleType) -> Iterator[None]:
    dl.enable_nanosecond_timestamps()
    yield
    dl._disable_nanosecond_timestamps()


@pytest.mark.no_mirror_check
def test_nanosecond_timestamps_can_be_enabled(dl, path, nanoseconds):
    value = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    dl.write_deltalake(path, pa.table({"t": value}))
    table = dl.DeltaTable(path)
    assert table.schema().fields[0].type.type == "timestamp_nanos_ntz"
    assert "timestampNanos" in table.protocol().reader_features
    assert table.to_pyarrow_table().column("t").combine_chunks() == value


def test_nanosecond_timestamps_are_off_by_default(dl, path):
    value = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    dl.write_deltalake(path, pa.table({"t": value}))
    (row,) = rows(dl.DeltaTable(path))
    assert row["t"].microsecond == 123_456
    assert dl.DeltaTable(path).schema().fields[0].type.type == "timestamp_ntz"
