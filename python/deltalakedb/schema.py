"""The schema of a table: fields and their types.

They are immutable values: two with equal content are equal. Their JSON is
that of the Delta protocol (section Schema Serialization Format). Each has
``__arrow_c_schema__``, so Arrow libraries accept it as a schema.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Union

from arro3.core import DataType as ArrowDataType
from arro3.core import Field as ArrowField
from arro3.core import Schema as ArrowSchema
from arro3.core.types import ArrowSchemaExportable

from deltalakedb import _internal
from deltalakedb.exceptions import DeltaError, SchemaMismatchError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "ArrayType",
    "Field",
    "MapType",
    "PrimitiveType",
    "Schema",
    "StructType",
    "VariantType",
]

_PRIMITIVES = {
    "string",
    "long",
    "integer",
    "short",
    "byte",
    "float",
    "double",
    "boolean",
    "binary",
    "date",
    "timestamp",
    "timestamp_ntz",
    "timestamp_nanos",
    "timestamp_nanos_ntz",
    "void",
}
_MAX_PRECISION = 38


class _Value:
    """What the classes of a schema share; `_plain` is their JSON before it is text."""

    __slots__ = ()

    def _plain(self) -> Any:
        raise NotImplementedError

    def _key(self) -> Any:
        """Equal for what is equal."""
        return self._plain()

    def to_json(self) -> str:
        """The JSON form in the Delta protocol, without spaces."""
        return _dumps(self._plain())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Value) and self._key() == other._key()

    __hash__ = None  # type: ignore[assignment]

    def _unordered(self, other: object) -> NoReturn:
        raise NotImplementedError("Only == and != are supported.")

    __lt__ = __le__ = __gt__ = __ge__ = _unordered


class _Type(_Value):
    """What the types of fields share."""

    __slots__ = ()
    _not_one = ""

    @classmethod
    def from_json(cls, type_json: str) -> Self:
        """The type that JSON in the form of the Delta protocol describes.

        Args:
            type_json: what `to_json` returned.

        Raises:
            ValueError: the text is not JSON, or describes no type.
            TypeError: it describes a type of another kind.
        """
        return cls._from_plain(_loads(type_json))

    @classmethod
    def _from_plain(cls, plain: Any) -> Self:
        found = _type_of_plain(plain)
        if not isinstance(found, cls):
            raise TypeError(f"Type is {cls._not_one}")
        return found

    @classmethod
    def from_arrow(cls, data_type: ArrowSchemaExportable) -> Self:
        """The type that holds the values of an Arrow type.

        Args:
            data_type: a type of any library that supports Arrow.

        Raises:
            ValueError: it has no ``__arrow_c_schema__``.
            TypeError: it is a type of another kind.
        """
        return cls._from_plain(json.loads(_internal.type_from_arrow(data_type)))

    def to_arrow(self) -> ArrowDataType:
        """The Arrow type of such values."""
        return _internal.type_to_arrow(self.to_json())

    def __arrow_c_schema__(self) -> object:
        return self.to_arrow().__arrow_c_schema__()


class PrimitiveType(_Type):
    """A type without parts, such as ``long`` or ``decimal(10,2)``.

    The names are those of the Delta protocol: ``string``, ``long``, ``integer``,
    ``short``, ``byte``, ``float``, ``double``, ``boolean``, ``binary``, ``date``,
    ``timestamp``, ``timestamp_ntz`` and ``decimal(precision,scale)`` with a precision
    of at most 38.

    Args:
        data_type: the name.

    Raises:
        ValueError: there is no such type.

    Example:
        >>> PrimitiveType("decimal(10, 2)")
        PrimitiveType("decimal(10,2)")
        >>> PrimitiveType("long").to_json()
        '"long"'
    """

    __slots__ = ("_name",)
    _not_one = "not primitive"

    def __init__(self, data_type: str) -> None:
        if not isinstance(data_type, str):
            raise TypeError(f"a type's name is a str, not {type(data_type).__name__}")
        self._name = _primitive_name(data_type)

    @property
    def type(self) -> str:
        """The name of the type."""
        return self._name

    def _plain(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f'PrimitiveType("{self._name}")'


class VariantType(_Type):
    """The type of semi-structured values: ``variant``."""

    __slots__ = ()
    _not_one = "not variant"

    @property
    def type(self) -> str:
        """Always ``variant``."""
        return "variant"

    def _plain(self) -> str:
        return "variant"

    def __repr__(self) -> str:
        return "VariantType()"


class ArrayType(_Type):
    """Lists of values of one type.

    Args:
        element_type: the type of the values, or the name of a primitive type.
        contains_null: whether values may be null.

    Example:
        >>> ArrayType("integer", contains_null=False)
        ArrayType(PrimitiveType("integer"), contains_null=False)
    """

    __slots__ = ("_contains_null", "_element_type")
    _not_one = "not an array"

    def __init__(
        self, element_type: DataType | str, contains_null: bool = True
    ) -> None:
        self._element_type = _type(element_type)
        self._contains_null = _bool("contains_null", contains_null)

    @property
    def type(self) -> str:
        """Always ``array``."""
        return "array"

    @property
    def element_type(self) -> DataType:
        """The type of the values."""
        return self._element_type

    @property
    def contains_null(self) -> bool:
        """Whether values may be null."""
        return self._contains_null

    def _plain(self) -> dict[str, Any]:
        return {
            "type": "array",
            "elementType": self._element_type._plain(),
            "containsNull": self._contains_null,
        }

    def _key(self) -> Any:
        return {**self._plain(), "elementType": self._element_type._key()}

    def __repr__(self) -> str:
        return f"ArrayType({self._element_type}, contains_null={self._contains_null})"


class MapType(_Type):
    """Maps from keys to values.

    Args:
        key_type: the type of the keys, or the name of a primitive type.
        value_type: the type of the values, or the name of a primitive type.
        value_contains_null: whether values may be null.

    Example:
        >>> MapType("string", "double").value_type
        PrimitiveType("double")
    """

    __slots__ = ("_key_type", "_value_contains_null", "_value_type")
    _not_one = "not a map"

    def __init__(
        self,
        key_type: DataType | str,
        value_type: DataType | str,
        value_contains_null: bool = True,
    ) -> None:
        self._key_type = _type(key_type)
        self._value_type = _type(value_type)
        self._value_contains_null = _bool("value_contains_null", value_contains_null)

    @property
    def type(self) -> str:
        """Always ``map``."""
        return "map"

    @property
    def key_type(self) -> DataType:
        """The type of the keys."""
        return self._key_type

    @property
    def value_type(self) -> DataType:
        """The type of the values."""
        return self._value_type

    @property
    def value_contains_null(self) -> bool:
        """Whether values may be null."""
        return self._value_contains_null

    def _plain(self) -> dict[str, Any]:
        return {
            "type": "map",
            "keyType": self._key_type._plain(),
            "valueType": self._value_type._plain(),
            "valueContainsNull": self._value_contains_null,
        }

    def _key(self) -> Any:
        keys = {"keyType": self._key_type._key(), "valueType": self._value_type._key()}
        return {**self._plain(), **keys}

    def __repr__(self) -> str:
        return (
            f"MapType({self._key_type}, {self._value_type}, "
            f"value_contains_null={self._value_contains_null})"
        )


class Field(_Value):
    """A column, or a part of a struct: a name, a type, and whether it may be null.

    Args:
        name: its name.
        type: its type, or the name of a primitive type.
        nullable: whether values may be null.
        metadata: additional metadata. Text and integers are kept; other values become
            JSON text.

    Example:
        >>> Field("id", "long", nullable=False)
        Field(id, PrimitiveType("long"), nullable=False)
        >>> Field("id", "long").to_json()
        '{"name":"id","type":"long","nullable":true,"metadata":{}}'
    """

    __slots__ = ("_metadata", "_name", "_nullable", "_type")

    def __init__(
        self,
        name: str,
        type: DataType | str,  # noqa: A002
        nullable: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a field's name is a str, not {name.__class__.__name__}")
        self._name = name
        self._type = _type(type)
        self._nullable = _bool("nullable", nullable)
        self._metadata = _metadata(metadata)

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @property
    def type(self) -> DataType:
        """Its type."""
        return self._type

    @property
    def nullable(self) -> bool:
        """Whether values may be null."""
        return self._nullable

    @property
    def metadata(self) -> dict[str, Any]:
        """Additional metadata."""
        return dict(self._metadata)

    @classmethod
    def from_json(cls, field_json: str) -> Field:
        """The field that JSON in the form of the Delta protocol describes.

        Args:
            field_json: what `to_json` returned.

        Raises:
            ValueError: the text is not JSON, or describes no field.
        """
        return cls._from_plain(_loads(field_json))

    @classmethod
    def _from_plain(cls, plain: Any) -> Field:
        if not isinstance(plain, dict):
            raise ValueError(f"invalid type: {_dumps(plain)}, expected a field")
        name, type_, nullable, metadata = _parts(
            plain, "name", "type", "nullable", "metadata"
        )
        field = cls(name, _type_of_plain(type_), nullable)
        if not isinstance(metadata, dict):
            raise ValueError(f"invalid type: {_dumps(metadata)}, expected a map")
        field._metadata = metadata
        return field

    @classmethod
    def from_arrow(cls, field: ArrowSchemaExportable) -> Field:
        """The field that holds the values of an Arrow field.

        Args:
            field: a field of any library that supports Arrow.

        Raises:
            ValueError: it has no ``__arrow_c_schema__``.
        """
        return cls._from_plain(json.loads(_internal.field_from_arrow(field)))

    def to_arrow(self) -> ArrowField:
        """The Arrow field of such values."""
        return _internal.field_to_arrow(self.to_json())

    def __arrow_c_schema__(self) -> object:
        return self.to_arrow().__arrow_c_schema__()

    def _plain(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "type": self._type._plain(),
            "nullable": self._nullable,
            "metadata": self._metadata,
        }

    def _key(self) -> Any:
        return {**self._plain(), "type": self._type._key()}

    def __repr__(self) -> str:
        metadata = f", metadata={self._metadata}" if self._metadata else ""
        return f"Field({self._name}, {self._type}, nullable={self._nullable}{metadata})"


class StructType(_Type):
    """Several fields together.

    Two structs of the same fields in another order are equal.

    Args:
        fields: the fields; their names differ by more than case.

    Raises:
        SchemaMismatchError: two fields have the same name.

    Example:
        >>> StructType([Field("x", "integer")])
        StructType([Field(x, PrimitiveType("integer"), nullable=True)])
    """

    __slots__ = ("_fields",)
    _not_one = "not a struct"

    def __init__(self, fields: Sequence[Field]) -> None:
        if not isinstance(fields, Sequence) or isinstance(fields, str):
            raise TypeError(f"fields must be a list, not {type(fields).__name__}")
        self._fields = tuple(fields)
        seen = set()
        for field in self._fields:
            if not isinstance(field, Field):
                raise TypeError(f"fields must hold Field, not {type(field).__name__}")
            if field.name.lower() in seen:
                raise SchemaMismatchError(
                    "Schema error: Duplicate field name (case-insensitive): "
                    f"'{field.name}'"
                )
            seen.add(field.name.lower())

    @property
    def type(self) -> str:
        """Always ``struct``."""
        return "struct"

    @property
    def fields(self) -> list[Field]:
        """The fields, in order."""
        return list(self._fields)

    def _plain(self) -> dict[str, Any]:
        return {"type": "struct", "fields": [field._plain() for field in self._fields]}

    def _key(self) -> Any:
        return "struct", {field.name: field._key() for field in self._fields}

    def __repr__(self) -> str:
        fields = ", ".join(map(repr, self._fields))
        return f"{type(self).__name__}([{fields}])"


class Schema(StructType):
    """The schema of a table: a struct whose fields are its columns.

    Args:
        fields: the columns; their names differ by more than case.

    Raises:
        SchemaMismatchError: two columns have the same name.

    Example:
        >>> schema = Schema([Field("id", "long"), Field("name", "string")])
        >>> [field.name for field in schema.fields]
        ['id', 'name']
        >>> pa.schema(schema)
        id: int64
        name: string
    """

    __slots__ = ()

    @property
    def invariants(self) -> list[tuple[str, str]]:
        """The conditions that rows must satisfy: path of the field, and SQL.

        Raises:
            DeltaError: the metadata of a field holds an invariant that is not JSON.
        """
        return list(_invariants(self, ""))

    def json(self) -> dict[str, Any]:
        """The JSON form as a dict.

        .. deprecated:: use ``json.loads(schema.to_json())``.
        """
        warnings.warn(
            "Schema.json() is deprecated: use json.loads(Schema.to_json()) instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self._plain()

    @classmethod
    def from_json(cls, schema_json: str) -> Self:
        """The schema that JSON in the form of the Delta protocol describes.

        Args:
            schema_json: what `to_json` returned.

        Raises:
            ValueError: the text is not JSON, or describes no type.
            TypeError: it describes another type than a struct.
        """
        return cls._from_plain(_loads(schema_json))

    @classmethod
    def _from_plain(cls, plain: Any) -> Self:
        return cls(StructType._from_plain(plain).fields)

    @classmethod
    def from_arrow(cls, data_type: ArrowSchemaExportable) -> Self:
        """The schema of a table for data with an Arrow schema.

        Args:
            data_type: a schema of any library that supports Arrow.

        Raises:
            ValueError: it has no ``__arrow_c_schema__``.
            TypeError: it is a type, but not a schema.
        """
        return cls._from_plain(json.loads(_internal.schema_from_arrow(data_type)))

    # A type becomes an Arrow type, a schema an Arrow schema, as in `deltalake`.
    def to_arrow(  # type: ignore[override]
        self, as_large_types: bool = False
    ) -> ArrowSchema:
        """The Arrow schema of the rows.

        Args:
            as_large_types: lists, text and binary as the Arrow types with offsets of 64
                bits, for libraries that know only those.
        """
        return _internal.schema_to_arrow(self.to_json(), as_large_types)


# A union like that of `deltalake`, for the code that looks at its arguments.
DataType = Union[  # noqa: UP007
    PrimitiveType, MapType, StructType, ArrayType, VariantType
]


def _type(given: DataType | str) -> DataType:
    if isinstance(given, str):
        return PrimitiveType(given)
    if isinstance(given, StructType):
        return StructType(given.fields) if isinstance(given, Schema) else given
    if isinstance(given, (PrimitiveType, MapType, ArrayType, VariantType)):
        return given
    raise ValueError(f"Invalid data type: {type(given).__name__}")


def _primitive_name(name: str) -> str:
    if name in _PRIMITIVES:
        return name
    if not name.startswith("decimal"):
        raise ValueError(f"invalid type string: {name}")
    parts = re.fullmatch(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)", name)
    precision, scale = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= precision <= _MAX_PRECISION or scale > precision:
        raise ValueError(
            f"invalid type string: {name}, precision/scale can't be larger than "
            f"{_MAX_PRECISION}"
        )
    return f"decimal({precision},{scale})"


def _bool(what: str, given: bool) -> bool:
    if not isinstance(given, bool):
        raise TypeError(f"{what} must be a bool, not {type(given).__name__}")
    return given


def _metadata(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        return {}
    plain = json.loads(_dumps(given))
    if not isinstance(plain, dict):
        raise ValueError(f"invalid type: {_dumps(plain)}, expected a map")
    return {key: _metadata_value(value) for key, value in plain.items()}


def _metadata_value(value: Any) -> str | int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) or (whole and -(2**63) <= value < 2**63):
        return value  # type: ignore[no-any-return]
    return _dumps(value)


def _type_of_plain(plain: Any) -> DataType:
    if plain == "variant":
        return VariantType()
    if isinstance(plain, str):
        try:
            return PrimitiveType(plain)
        except ValueError:
            raise ValueError(f"Unsupported Delta table type: '{plain}'") from None
    if not isinstance(plain, dict) or "type" not in plain:
        raise ValueError(f"Invalid data type: {_dumps(plain)}")
    match plain["type"]:
        case "struct":
            (fields,) = _parts(plain, "fields")
            if not isinstance(fields, list):
                raise ValueError(f"invalid type: {_dumps(fields)}, expected a sequence")
            return StructType([Field._from_plain(field) for field in fields])
        case "array":
            element, contains_null = _parts(plain, "elementType", "containsNull")
            return ArrayType(_type_of_plain(element), contains_null)
        case "map":
            key, value, contains_null = _parts(
                plain, "keyType", "valueType", "valueContainsNull"
            )
            return MapType(_type_of_plain(key), _type_of_plain(value), contains_null)
        case other:
            raise ValueError(f"Unsupported Delta table type: '{other}'")


def _parts(plain: dict[str, Any], *names: str) -> Iterator[Any]:
    for name in names:
        if name not in plain:
            raise ValueError(f"missing field `{name}`")
        yield plain[name]


def _invariants(type_: DataType, path: str) -> Iterator[tuple[str, str]]:
    match type_:
        case StructType():
            for field in type_.fields:
                where = f"{path}{field.name}"
                text = field.metadata.get("delta.invariants")
                if text is not None:
                    yield where, _invariant(text)
                yield from _invariants(field.type, f"{where}.")
        case ArrayType():
            yield from _invariants(type_.element_type, f"{path}element.")
        case MapType():
            yield from _invariants(type_.key_type, f"{path}key.")
            yield from _invariants(type_.value_type, f"{path}value.")


def _invariant(text: str) -> str:
    try:
        return str(json.loads(text)["expression"]["expression"])
    except (TypeError, ValueError, KeyError) as e:
        raise DeltaError(
            f"Invalid JSON in invariant expression, line=`{text}`, err=`{e}`"
        ) from e


def _dumps(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _loads(text: str) -> Any:
    if not isinstance(text, str):
        raise TypeError(f"JSON must be a str, not {type(text).__name__}")
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(
            f"expected value at line {e.lineno} column {e.colno}: {e.msg}"
        ) from None
