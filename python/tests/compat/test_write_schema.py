"""Writing data whose schema differs from the table's: casts, merge, overwrite."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from .helpers import actions, ids, plain_error, raises_exactly, rows, sample


def names(table: Any) -> list[str]:
    return [field.name for field in table.schema().fields]


def types(table: Any) -> dict[str, str]:
    return {field.name: field.type.type for field in table.schema().fields}


def test_append_of_an_unknown_column(dl, path, table):
    data = pa.table({"id": [1], "extra": ["x"]})
    with raises_exactly(dl.exceptions.SchemaMismatchError, "extra not found"):
        dl.write_deltalake(table, data, mode="append")


def test_append_of_an_additional_column(dl, path, table):
    data = pa.table({"id": [1], "name": ["x"], "extra": ["x"]})
    with raises_exactly(dl.exceptions.SchemaMismatchError, "number of fields"):
        dl.write_deltalake(table, data, mode="append")


def test_append_of_fewer_columns(dl, path, table):
    with raises_exactly(dl.exceptions.SchemaMismatchError, "number of fields"):
        dl.write_deltalake(table, ids(1), mode="append")


def test_overwrite_of_an_additional_column(dl, path, table):
    data = pa.table({"id": [1], "name": ["x"], "extra": ["x"]})
    with raises_exactly(dl.exceptions.SchemaMismatchError, "number of fields"):
        dl.write_deltalake(table, data, mode="overwrite")


def test_append_column_names_are_case_sensitive(dl, path, table):
    data = pa.table({"ID": [1], "name": ["x"]})
    with raises_exactly(dl.exceptions.SchemaMismatchError, "ID not found"):
        dl.write_deltalake(table, data, mode="append")


def test_append_columns_in_another_order(dl, path, table):
    dl.write_deltalake(table, pa.table({"name": ["z"], "id": [9]}), mode="append")
    assert rows(table)[-1] == {"id": 9, "name": "z"}
    assert names(table) == ["id", "name"]


def test_failed_append_leaves_no_version(dl, path, table):
    with pytest.raises(dl.exceptions.SchemaMismatchError):
        dl.write_deltalake(table, ids(1), mode="append")
    assert dl.DeltaTable(path).version() == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([5], pa.int8()), 5),
        (pa.array([5], pa.uint64()), 5),
        (pa.array(["5"]), 5),
        (pa.array([5.0]), 5),
        (pa.array([5.9]), 5),
        (pa.array([None], pa.null()), None),
    ],
    ids=["int8", "uint64", "string", "double", "fraction", "null"],
)
def test_append_casts_to_the_type_of_the_table(dl, path, values, expected):
    dl.write_deltalake(path, pa.table({"x": pa.array([], pa.int64())}))
    dl.write_deltalake(path, pa.table({"x": values}), mode="append")
    table = dl.DeltaTable(path)
    assert types(table) == {"x": "long"}
    assert rows(table) == [{"x": expected}]


def test_append_of_text_that_is_no_number(dl, path):
    dl.write_deltalake(path, ids(1))
    with pytest.raises(plain_error(dl), match="Cast error.*'abc'"):
        dl.write_deltalake(path, pa.table({"id": ["abc"]}), mode="append")
    assert dl.DeltaTable(path).version() == 0


def test_append_of_a_too_large_unsigned_number(dl, path):
    dl.write_deltalake(path, ids(1))
    data = pa.table({"id": pa.array([2**64 - 1], pa.uint64())})
    with pytest.raises(plain_error(dl), match="Cast error.*18446744073709551615"):
        dl.write_deltalake(path, data, mode="append")


def test_append_of_a_too_large_integer(dl, path):
    dl.write_deltalake(path, pa.table({"x": pa.array([1], pa.int8())}))
    with pytest.raises(plain_error(dl), match="[Cc]ast"):
        dl.write_deltalake(path, pa.table({"x": [300]}), mode="append")


def test_append_of_numbers_to_text(dl, path):
    dl.write_deltalake(path, pa.table({"x": ["a"]}))
    dl.write_deltalake(path, pa.table({"x": [5]}), mode="append")
    assert rows(dl.DeltaTable(path)) == [{"x": "5"}, {"x": "a"}]


def decimals(text: str, digits: int) -> pa.Table:
    return pa.table({"x": pa.array([Decimal(text)], pa.decimal128(digits, 1))})


@pytest.mark.parametrize("value", ["1.5", "1234.5"])
@pytest.mark.parametrize(
    ("schema_mode", "message"),
    [
        (None, r"Cannot cast field x from Decimal128\(5, 1\) to Decimal128\(4, 1\)"),
        ("merge", "Decimal128"),
    ],
    ids=str,
)
def test_append_of_decimals_with_more_digits(dl, path, value, schema_mode, message):
    dl.write_deltalake(path, decimals("1.0", digits=4))
    with raises_exactly(dl.exceptions.SchemaMismatchError, message):
        dl.write_deltalake(
            path, decimals(value, digits=5), mode="append", schema_mode=schema_mode
        )
    assert dl.DeltaTable(path).version() == 0


def test_append_of_local_time_to_utc(dl, path):
    utc = pa.timestamp("us", "UTC")
    dl.write_deltalake(path, pa.table({"t": pa.array([0], utc)}))
    local = pa.array([1], pa.timestamp("us", "Europe/Paris"))
    dl.write_deltalake(path, pa.table({"t": local}), mode="append")
    table = dl.DeltaTable(path).to_pyarrow_table()
    assert table.schema.field("t").type == utc
    assert sorted(table.column("t").cast(pa.int64()).to_pylist()) == [0, 1]


def test_merge_adds_columns_at_the_end(dl, path, table):
    dl.write_deltalake(
        table,
        pa.table({"extra": [1.5], "id": [9]}),
        mode="append",
        schema_mode="merge",
    )
    assert names(table) == ["id", "name", "extra"]
    assert rows(table) == [
        {"id": 0, "name": "a", "extra": None},
        {"id": 1, "name": "b", "extra": None},
        {"id": 2, "name": "c", "extra": None},
        {"id": 9, "name": None, "extra": 1.5},
    ]


def test_merge_writes_new_metadata_only_when_needed(dl, path, table):
    dl.write_deltalake(table, ids(5), mode="append", schema_mode="merge")
    assert actions(path, 1, "metaData") == []
    extra = pa.table({"id": [5], "extra": [1]})
    dl.write_deltalake(table, extra, mode="append", schema_mode="merge")
    (metadata,) = actions(path, 2, "metaData")
    assert metadata["id"] == table.metadata().id


def test_merge_keeps_the_type_of_the_table(dl, path):
    dl.write_deltalake(path, ids(1))
    dl.write_deltalake(
        path, pa.table({"id": [2.5]}), mode="append", schema_mode="merge"
    )
    table = dl.DeltaTable(path)
    assert types(table) == {"id": "long"}
    assert rows(table) == [{"id": 1}, {"id": 2}]


def test_merge_nested_fields(dl, path):
    dl.write_deltalake(path, pa.table({"s": [{"a": 1}]}))
    dl.write_deltalake(
        path, pa.table({"s": [{"a": 2, "b": "x"}]}), mode="append", schema_mode="merge"
    )
    table = dl.DeltaTable(path)
    found = [row["s"] for row in table.to_pyarrow_table().to_pylist()]
    assert sorted(found, key=lambda s: s["a"]) == [
        {"a": 1, "b": None},
        {"a": 2, "b": "x"},
    ]


def test_merge_with_overwrite(dl, path, table):
    dl.write_deltalake(
        table,
        pa.table({"id": [9], "extra": [1.5]}),
        mode="overwrite",
        schema_mode="merge",
    )
    assert names(table) == ["id", "name", "extra"]
    assert rows(table) == [{"id": 9, "name": None, "extra": 1.5}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", "Cannot cast string 'hello' to value of Int8 type"),
        (1000, "Can't cast value 1000 to type Int8"),
    ],
)
def test_merge_of_an_incompatible_value(dl, path, value, message):
    dl.write_deltalake(path, pa.table({"x": pa.array([1], pa.int8())}))
    with pytest.raises(plain_error(dl), match=f"Cast error: (.*: )?{message}"):
        dl.write_deltalake(
            path, pa.table({"x": [value]}), mode="append", schema_mode="merge"
        )
    assert dl.DeltaTable(path).version() == 0


def test_merge_fills_added_columns_with_null_in_old_files(dl, path, table):
    extra = pa.table({"id": [9], "name": ["z"], "extra": [1]})
    dl.write_deltalake(table, extra, mode="append", schema_mode="merge")
    assert [row["extra"] for row in rows(table)] == [None, None, None, 1]
    assert dl.DeltaTable(path, version=0).schema() != table.schema()


def test_overwrite_replaces_the_schema(dl, path, table):
    dl.write_deltalake(
        table, pa.table({"q": [1.5]}), mode="overwrite", schema_mode="overwrite"
    )
    assert types(table) == {"q": "double"}
    assert rows(table) == [{"q": 1.5}]


def test_overwrite_changes_a_type(dl, path):
    dl.write_deltalake(path, ids(1))
    dl.write_deltalake(
        path, pa.table({"id": ["x"]}), mode="overwrite", schema_mode="overwrite"
    )
    assert types(dl.DeltaTable(path)) == {"id": "string"}


def test_overwrite_keeps_the_table_id(dl, path, table):
    identifier = table.metadata().id
    dl.write_deltalake(
        table, pa.table({"q": [1]}), mode="overwrite", schema_mode="overwrite"
    )
    assert table.metadata().id == identifier


def test_overwrite_keeps_older_schemas_readable(dl, path, table):
    dl.write_deltalake(
        table, pa.table({"q": [1]}), mode="overwrite", schema_mode="overwrite"
    )
    assert names(dl.DeltaTable(path, version=0)) == ["id", "name"]


def test_overwrite_schema_needs_overwrite_mode(dl, path, table):
    with raises_exactly(
        dl.exceptions.DeltaError, "Schema overwrite not supported for Append"
    ):
        dl.write_deltalake(table, sample(), mode="append", schema_mode="overwrite")


def test_overwrite_schema_raises_the_protocol(dl, path):
    dl.write_deltalake(path, ids(1))
    data = pa.table({"t": pa.array([0], pa.timestamp("us"))})
    dl.write_deltalake(path, data, mode="overwrite", schema_mode="overwrite")
    protocol = dl.DeltaTable(path).protocol()
    assert protocol.min_reader_version == 3
    assert "timestampNtz" in protocol.reader_features


def test_unknown_schema_mode(dl, path, table):
    with raises_exactly(dl.exceptions.DeltaError, "Invalid schema write mode.*nope"):
        dl.write_deltalake(table, sample(), mode="append", schema_mode="nope")


def test_null_into_a_required_column(dl, path):
    dl.DeltaTable.create(path, dl.Schema([dl.Field("id", "long", nullable=False)]))
    with raises_exactly(dl.exceptions.DeltaError, "Invalid data found: 1 rows"):
        dl.write_deltalake(path, ids(1, None), mode="append")
    assert dl.DeltaTable(path).version() == 0


def test_value_into_a_required_column(dl, path):
    dl.DeltaTable.create(path, dl.Schema([dl.Field("id", "long", nullable=False)]))
    dl.write_deltalake(path, ids(1), mode="append")
    assert rows(dl.DeltaTable(path)) == [{"id": 1}]


def test_required_column_of_the_data_is_kept(dl, path):
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    dl.write_deltalake(path, pa.table({"id": [1]}, schema=schema))
    assert dl.DeltaTable(path).schema().fields[0].nullable is False


def test_field_metadata_of_the_data_is_kept(dl, path):
    schema = pa.schema([pa.field("id", pa.int64(), metadata={"k": "v"})])
    dl.write_deltalake(path, pa.table({"id": [1]}, schema=schema))
    assert dl.DeltaTable(path).schema().fields[0].metadata == {"k": "v"}


def test_names_differing_in_case(dl, path):
    data = pa.table([[1], [2]], names=["x", "X"])
    with pytest.raises(plain_error(dl), match="Duplicate field name"):
        dl.write_deltalake(path, data)
    assert not dl.DeltaTable.is_deltatable(path)


def test_merged_name_differing_in_case(dl, path, table):
    data = pa.table({"id": [1], "ID": [2]})
    with pytest.raises(plain_error(dl), match="Duplicate field name"):
        dl.write_deltalake(table, data, mode="append", schema_mode="merge")
    assert dl.DeltaTable(path).version() == 0
