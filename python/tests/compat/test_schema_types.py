"""The classes of the schema module: construction, JSON, Arrow, equality, repr."""

import json

import pyarrow as pa
import pytest

from .helpers import plain_error, raises_exactly

PRIMITIVES = {
    "string": pa.string(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "decimal(10,2)": pa.decimal128(10, 2),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_type_attributes(dl, name):
    primitive = dl.schema.PrimitiveType(name)
    assert primitive.type == name
    assert primitive.to_json() == f'"{name}"'
    assert repr(primitive) == str(primitive) == f'PrimitiveType("{name}")'


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_type_to_arrow(dl, name):
    primitive = dl.schema.PrimitiveType(name)
    assert pa.field(primitive.to_arrow()).type == PRIMITIVES[name]
    assert pa.field(dl.Field("x", primitive).to_arrow()).type == PRIMITIVES[name]


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_type_from_arrow(dl, name):
    primitive = dl.schema.PrimitiveType.from_arrow(PRIMITIVES[name])
    assert primitive == dl.schema.PrimitiveType(name)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_type_json_round_trip(dl, name):
    primitive = dl.schema.PrimitiveType(name)
    assert dl.schema.PrimitiveType.from_json(primitive.to_json()) == primitive


@pytest.mark.parametrize(
    ("arrow", "name"),
    [
        (pa.uint8(), "byte"),
        (pa.uint16(), "short"),
        (pa.uint32(), "integer"),
        (pa.uint64(), "long"),
        (pa.large_string(), "string"),
        (pa.string_view(), "string"),
        (pa.large_binary(), "binary"),
        (pa.binary_view(), "binary"),
        (pa.binary(16), "binary"),
        (pa.date64(), "date"),
        (pa.dictionary(pa.int32(), pa.string()), "string"),
        (pa.null(), "void"),
    ],
    ids=str,
)
def test_primitive_type_from_other_arrow_types(dl, arrow, name):
    assert dl.schema.PrimitiveType.from_arrow(arrow).type == name


@pytest.mark.parametrize(
    "arrow",
    [
        pa.float16(),
        pa.time32("s"),
        pa.duration("us"),
        pa.decimal256(40, 2),
        pa.timestamp("s"),
        pa.timestamp("us", "America/New_York"),
    ],
    ids=str,
)
def test_primitive_type_from_unsupported_arrow_type(dl, arrow):
    with pytest.raises(
        plain_error(dl, TypeError), match="Invalid data type for Delta Lake"
    ):
        dl.schema.PrimitiveType.from_arrow(arrow)


def test_primitive_type_from_nested_arrow_type(dl):
    with raises_exactly(TypeError, "not primitive"):
        dl.schema.PrimitiveType.from_arrow(pa.list_(pa.int32()))


@pytest.mark.parametrize("name", ["nope", "int", "", "decimal(39,2)", "decimal(5,6)"])
def test_primitive_type_unknown_name(dl, name):
    with raises_exactly(ValueError, "invalid type string"):
        dl.schema.PrimitiveType(name)


def test_primitive_type_variant_is_no_primitive(dl):
    with raises_exactly(ValueError, "invalid type string: variant"):
        dl.schema.PrimitiveType("variant")


def test_primitive_type_needs_a_string(dl):
    with raises_exactly(TypeError, "str"):
        dl.schema.PrimitiveType(3)


def test_primitive_type_decimal_is_normalised(dl):
    assert dl.schema.PrimitiveType("decimal(10, 2)").type == "decimal(10,2)"


def test_primitive_type_equality(dl):
    primitive = dl.schema.PrimitiveType
    assert primitive("long") == primitive("long")
    assert primitive("long") != primitive("integer")
    assert primitive("long") != "long"


def test_primitive_type_invalid_json(dl):
    with raises_exactly(ValueError, "expected value"):
        dl.schema.PrimitiveType.from_json("integer")


def test_primitive_type_json_of_another_kind(dl):
    text = '{"type":"array","elementType":"integer","containsNull":false}'
    with raises_exactly(TypeError, "not primitive"):
        dl.schema.PrimitiveType.from_json(text)


def test_array_type_attributes(dl):
    array = dl.schema.ArrayType(dl.schema.PrimitiveType("integer"))
    assert array.type == "array"
    assert array.element_type == dl.schema.PrimitiveType("integer")
    assert array.contains_null is True


def test_array_type_accepts_a_type_name(dl):
    array = dl.schema.ArrayType("integer", contains_null=False)
    assert array.element_type == dl.schema.PrimitiveType("integer")
    assert array.contains_null is False


def test_array_type_repr(dl):
    array = dl.schema.ArrayType("integer", contains_null=False)
    assert repr(array) == 'ArrayType(PrimitiveType("integer"), contains_null=False)'


def test_array_type_json(dl):
    array = dl.schema.ArrayType("integer", contains_null=False)
    assert json.loads(array.to_json()) == {
        "type": "array",
        "elementType": "integer",
        "containsNull": False,
    }
    assert dl.schema.ArrayType.from_json(array.to_json()) == array


def test_array_type_arrow_round_trip(dl):
    array = dl.schema.ArrayType("string", contains_null=False)
    arrow = pa.field(dl.Field("x", array)).type
    assert arrow == pa.list_(pa.field("element", pa.string(), nullable=False))
    assert dl.schema.ArrayType.from_arrow(arrow) == array


@pytest.mark.parametrize(
    "arrow",
    [
        pa.list_(pa.int32()),
        pa.large_list(pa.int32()),
        pa.list_view(pa.int32()),
        pa.list_(pa.int32(), 3),
    ],
    ids=str,
)
def test_array_type_from_every_arrow_list(dl, arrow):
    assert dl.schema.ArrayType.from_arrow(arrow) == dl.schema.ArrayType("integer")


def test_array_type_equality(dl):
    array = dl.schema.ArrayType
    assert array("string") == array("string", contains_null=True)
    assert array("string") != array("string", contains_null=False)
    assert array("string") != array("long")
    assert array(array("string")) == array(array("string"))


def test_array_type_of_unknown_element(dl):
    with raises_exactly(ValueError, "invalid type string"):
        dl.schema.ArrayType("nope")


def test_array_type_from_something_else(dl):
    with raises_exactly(TypeError, "not an array"):
        dl.schema.ArrayType.from_arrow(pa.int32())
    with raises_exactly(TypeError, "not an array"):
        dl.schema.ArrayType.from_json('"integer"')


def test_map_type_attributes(dl):
    mapping = dl.schema.MapType("integer", "string")
    assert mapping.type == "map"
    assert mapping.key_type == dl.schema.PrimitiveType("integer")
    assert mapping.value_type == dl.schema.PrimitiveType("string")
    assert mapping.value_contains_null is True


def test_map_type_repr(dl):
    value = dl.schema.ArrayType("string")
    mapping = dl.schema.MapType("integer", value, value_contains_null=False)
    assert repr(mapping) == (
        'MapType(PrimitiveType("integer"), '
        'ArrayType(PrimitiveType("string"), contains_null=True), '
        "value_contains_null=False)"
    )


def test_map_type_json(dl):
    mapping = dl.schema.MapType("integer", "string", value_contains_null=False)
    assert json.loads(mapping.to_json()) == {
        "type": "map",
        "keyType": "integer",
        "valueType": "string",
        "valueContainsNull": False,
    }
    assert dl.schema.MapType.from_json(mapping.to_json()) == mapping


def test_map_type_arrow_round_trip(dl):
    mapping = dl.schema.MapType("string", "long")
    arrow = pa.field(dl.Field("x", mapping)).type
    assert pa.types.is_map(arrow)
    assert (arrow.key_type, arrow.item_type) == (pa.string(), pa.int64())
    assert dl.schema.MapType.from_arrow(arrow) == mapping


def test_map_type_equality(dl):
    mapping = dl.schema.MapType
    assert mapping("string", "long") == mapping("string", "long")
    assert mapping("string", "long") != mapping("long", "string")
    assert mapping("string", "long") != mapping(
        "string", "long", value_contains_null=False
    )


def test_map_type_from_something_else(dl):
    with raises_exactly(TypeError, "not a map"):
        dl.schema.MapType.from_arrow(pa.int32())


def test_struct_type_attributes(dl):
    fields = [dl.Field("x", "integer"), dl.Field("y", "string")]
    struct = dl.schema.StructType(fields)
    assert struct.type == "struct"
    assert struct.fields == fields


def test_struct_type_repr(dl):
    struct = dl.schema.StructType([dl.Field("x", "integer")])
    assert repr(struct) == (
        'StructType([Field(x, PrimitiveType("integer"), nullable=True)])'
    )


def test_struct_type_json(dl):
    struct = dl.schema.StructType([dl.Field("x", "integer", nullable=False)])
    assert json.loads(struct.to_json()) == {
        "type": "struct",
        "fields": [{"name": "x", "type": "integer", "nullable": False, "metadata": {}}],
    }
    assert dl.schema.StructType.from_json(struct.to_json()) == struct


def test_struct_type_arrow_round_trip(dl):
    struct = dl.schema.StructType([dl.Field("x", "integer", nullable=False)])
    arrow = pa.field(dl.Field("s", struct)).type
    assert arrow == pa.struct([pa.field("x", pa.int32(), nullable=False)])
    assert dl.schema.StructType.from_arrow(arrow) == struct


def test_struct_type_without_fields(dl):
    assert dl.schema.StructType([]).fields == []


@pytest.mark.parametrize("fields", [["x"], "x", 3], ids=repr)
def test_struct_type_needs_fields(dl, fields):
    with pytest.raises(TypeError):
        dl.schema.StructType(fields)


def test_struct_type_needs_a_list(dl):
    with pytest.raises(TypeError):
        dl.schema.StructType(dl.Field("x", "integer"))


def test_struct_type_from_something_else(dl):
    with raises_exactly(TypeError, "not a struct"):
        dl.schema.StructType.from_arrow(pa.int32())


def test_variant_type(dl):
    variant = dl.VariantType()
    assert variant.type == "variant"
    assert repr(variant) == "VariantType()"
    assert variant.to_json() == '"variant"'
    assert variant == dl.VariantType.from_json('"variant"') == dl.VariantType()


def test_variant_type_arrow_layout(dl):
    arrow = pa.field(dl.Field("v", dl.VariantType())).type
    assert [field.name for field in arrow] == ["metadata", "value"]


def test_variant_type_from_something_else(dl):
    with raises_exactly(TypeError, "not variant"):
        dl.VariantType.from_json('"integer"')
    with raises_exactly(TypeError, "not variant"):
        dl.VariantType.from_arrow(pa.int32())


def test_field_attributes(dl):
    field = dl.Field("a", "integer", nullable=False, metadata={"k": "v"})
    assert field.name == "a"
    assert field.type == dl.schema.PrimitiveType("integer")
    assert field.nullable is False
    assert field.metadata == {"k": "v"}


def test_field_defaults(dl):
    field = dl.Field("a", "integer")
    assert field.nullable is True
    assert field.metadata == {}


def test_field_repr(dl):
    assert repr(dl.Field("a", "integer")) == (
        'Field(a, PrimitiveType("integer"), nullable=True)'
    )
    assert repr(dl.Field("a", "integer", metadata={"k": "v"})) == (
        "Field(a, PrimitiveType(\"integer\"), nullable=True, metadata={'k': 'v'})"
    )


def test_field_metadata_values(dl):
    field = dl.Field("a", "integer", metadata={"s": "v", "i": 1, "d": {"x": 2}})
    assert field.metadata["s"] == "v"
    assert field.metadata["i"] == 1
    assert json.loads(field.metadata["d"]) == {"x": 2}


def test_field_metadata_must_be_json(dl):
    with raises_exactly(TypeError, "not JSON serializable"):
        dl.Field("a", "integer", metadata={"o": object()})


def test_field_json(dl):
    field = dl.Field("col", "integer", metadata={"k": "v"})
    assert json.loads(field.to_json()) == {
        "name": "col",
        "type": "integer",
        "nullable": True,
        "metadata": {"k": "v"},
    }
    assert dl.Field.from_json(field.to_json()) == field


def test_field_incomplete_json(dl):
    with raises_exactly(ValueError, "missing field"):
        dl.Field.from_json('{"name":"col"}')


def test_field_arrow_round_trip_with_metadata(dl):
    field = dl.Field("a", "integer", nullable=False, metadata={"k": "v"})
    arrow = pa.field(field)
    assert arrow.equals(
        pa.field("a", pa.int32(), nullable=False, metadata={"k": "v"}),
        check_metadata=True,
    )
    assert dl.Field.from_arrow(arrow) == field


def test_field_of_nested_type(dl):
    inner = dl.schema.StructType([dl.Field("x", dl.schema.ArrayType("long"))])
    field = dl.Field("s", inner)
    assert field.type.fields[0].type.element_type.type == "long"


def test_field_equality(dl):
    assert dl.Field("a", "integer") == dl.Field("a", "integer")
    assert dl.Field("a", "integer") != dl.Field("b", "integer")
    assert dl.Field("a", "integer") != dl.Field("a", "integer", nullable=False)
    assert dl.Field("a", "integer") != dl.Field("a", "integer", metadata={"k": "v"})


def test_schema_classes_are_not_ordered(dl):
    with raises_exactly(NotImplementedError, "=="):
        assert dl.Field("a", "integer") < dl.Field("b", "integer")


@pytest.mark.parametrize(
    ("name", "type_name", "error"),
    [("a", "nope", ValueError), (1, "integer", TypeError), ("a", 3, Exception)],
)
def test_field_wrong_arguments(dl, name, type_name, error):
    with pytest.raises(error):
        dl.Field(name, type_name)


def test_field_needs_a_type(dl):
    with raises_exactly(TypeError, "missing 1 required positional argument"):
        dl.Field("a")


def test_schema_attributes(dl):
    fields = [dl.Field("x", "integer"), dl.Field("y", "string", nullable=False)]
    schema = dl.Schema(fields)
    assert schema.type == "struct"
    assert schema.fields == fields
    assert schema.invariants == []


def test_schema_is_a_struct_type(dl):
    assert isinstance(dl.Schema([dl.Field("x", "integer")]), dl.schema.StructType)


def test_schema_repr(dl):
    assert repr(dl.Schema([dl.Field("x", "integer")])) == (
        'Schema([Field(x, PrimitiveType("integer"), nullable=True)])'
    )


def test_schema_json(dl):
    schema = dl.Schema([dl.Field("x", "integer")])
    text = (
        '{"type":"struct","fields":'
        '[{"name":"x","type":"integer","nullable":true,"metadata":{}}]}'
    )
    assert schema.to_json() == text
    assert dl.Schema.from_json(text) == schema


def test_schema_json_method_is_deprecated(dl):
    schema = dl.Schema([dl.Field("x", "integer")])
    with pytest.warns(DeprecationWarning, match="to_json"):
        assert schema.json() == json.loads(schema.to_json())


def test_schema_invalid_json(dl):
    with raises_exactly(ValueError, "expected value"):
        dl.Schema.from_json("x")


def test_schema_equality(dl):
    schema = dl.Schema([dl.Field("x", "integer"), dl.Field("y", "long")])
    assert schema == dl.Schema(list(schema.fields))
    assert schema != dl.Schema(schema.fields[:1])
    assert schema != dl.Schema([dl.Field("x", "long"), dl.Field("y", "long")])


def test_schema_equality_ignores_the_order_of_fields(dl):
    fields = [dl.Field("x", "integer"), dl.Field("y", "long")]
    assert dl.Schema(fields) == dl.Schema(fields[::-1])


def test_schema_to_arrow(dl):
    schema = dl.Schema([dl.Field("x", "integer"), dl.Field("y", "binary")])
    assert pa.schema(schema.to_arrow()) == pa.schema(
        [("x", pa.int32()), ("y", pa.binary())]
    )


def test_schema_to_arrow_with_large_types(dl):
    schema = dl.Schema(
        [
            dl.Field("s", "string"),
            dl.Field("b", "binary"),
            dl.Field("l", dl.schema.ArrayType("string")),
        ]
    )
    arrow = pa.schema(schema.to_arrow(as_large_types=True))
    assert arrow.field("s").type == pa.large_string()
    assert arrow.field("b").type == pa.large_binary()
    assert pa.types.is_large_list(arrow.field("l").type)
    assert arrow.field("l").type.value_type == pa.large_string()


def test_schema_from_arrow(dl):
    arrow = pa.schema([pa.field("a", pa.int8()), pa.field("b", pa.utf8(), False)])
    assert dl.Schema.from_arrow(arrow) == dl.Schema(
        [dl.Field("a", "byte"), dl.Field("b", "string", nullable=False)]
    )


def test_schema_from_its_own_arrow_export(dl):
    schema = dl.Schema(
        [
            dl.Field("m", dl.schema.MapType("string", dl.schema.ArrayType("long"))),
            dl.Field("t", "timestamp"),
            dl.Field("d", "decimal(20,4)"),
        ]
    )
    assert dl.Schema.from_arrow(schema) == schema
    assert dl.Schema.from_arrow(schema.to_arrow()) == schema


@pytest.mark.parametrize("arrow", [pa.float16(), pa.time32("s"), pa.duration("s")])
def test_schema_from_unsupported_arrow_type(dl, arrow):
    with pytest.raises(
        plain_error(dl, TypeError), match="Invalid data type for Delta Lake"
    ):
        dl.Schema.from_arrow(pa.schema([("a", arrow)]))


def test_schema_from_something_else(dl):
    with raises_exactly(ValueError, "__arrow_c_schema__"):
        dl.Schema.from_arrow(3)


def test_schema_is_an_arrow_schema_for_pyarrow(dl):
    schema = dl.Schema([dl.Field("x", "integer", nullable=False)])
    assert pa.schema(schema) == pa.schema([pa.field("x", pa.int32(), False)])


def test_schema_rejects_duplicate_names(dl):
    fields = [dl.Field("a", "integer"), dl.Field("a", "long")]
    with raises_exactly(dl.exceptions.SchemaMismatchError, "Duplicate field name"):
        dl.Schema(fields)


def test_schema_rejects_names_differing_in_case(dl):
    fields = [dl.Field("a", "integer"), dl.Field("A", "long")]
    with raises_exactly(dl.exceptions.SchemaMismatchError, "Duplicate field name"):
        dl.Schema(fields)


def test_schema_invariants(dl):
    expression = json.dumps({"expression": {"expression": "x > 3"}})
    field = dl.Field("x", "integer", metadata={"delta.invariants": expression})
    assert dl.Schema([field]).invariants == [("x", "x > 3")]


@pytest.mark.parametrize(
    "build",
    [
        lambda dl: dl.schema.PrimitiveType("integer"),
        lambda dl: dl.schema.ArrayType("integer"),
        lambda dl: dl.schema.MapType("integer", "long"),
        lambda dl: dl.schema.StructType([]),
        lambda dl: dl.Schema([]),
        lambda dl: dl.Field("a", "integer"),
    ],
    ids=["primitive", "array", "map", "struct", "schema", "field"],
)
def test_schema_classes_are_unhashable(dl, build):
    with raises_exactly(TypeError, "unhashable"):
        hash(build(dl))


def test_table_schema_of_nested_columns(dl, path):
    data = pa.table({"s": [{"a": 1, "l": [{"k": "x"}]}], "m": [None]})
    dl.write_deltalake(path, data.drop_columns("m"))
    (field,) = dl.DeltaTable(path).schema().fields
    assert [inner.name for inner in field.type.fields] == ["a", "l"]
    element = field.type.fields[1].type.element_type
    assert element.fields[0].type == dl.schema.PrimitiveType("string")
