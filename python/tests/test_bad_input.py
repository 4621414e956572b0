"""Invalid input gets an error of one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import (
    Catalog,
    CommitProperties,
    DeltaTable,
    Field,
    QueryBuilder,
    Schema,
    TableFeatures,
    Transaction,
    WriterProperties,
    begin,
    write_deltalake,
)
from deltalakedb.exceptions import CatalogError, DeltaError, TableNotFoundError
from deltalakedb.schema import ArrayType, MapType, PrimitiveType, StructType
from deltalakedb.transaction import RemoveAction

from .conftest import ids, read

pytestmark = pytest.mark.usefixtures("embedded")


def check(said: str, error: type[Exception], act: Callable[[], object]) -> None:
    """Asserts an error of that class with this text in one line."""
    with pytest.raises(error) as info:
        act()
    text = str(info.value)
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///x.db", "expected `deltasql://`"),
        ("deltasql://", "expected `sqlite`, `duckdb` or `postgres`"),
        ("deltasql://oracle/x", "expected `sqlite`, `duckdb` or `postgres`"),
        ("deltasql://sqlite", "expected a file after `sqlite/`"),
        ("deltasql://postgres", "expected `postgres/DATABASE`"),
        ("nope", "expected `deltasql://`"),
        ("", "expected `deltasql://`"),
    ],
)
def test_catalog_uris(uri: str, said: str) -> None:
    check(said, CatalogError, lambda: deltalakedb.connect(uri))


CONNECT: list[tuple[str, dict[str, Any]]] = [
    ("uri must be str or None, not int", {"uri": 3}),
    ("create must be bool or None, not str", {"create": "yes"}),
    ("settings must be Mapping or None, not str", {"settings": "mirror.mode"}),
]


@pytest.mark.parametrize(("said", "arguments"), CONNECT)
def test_arguments_of_connect(said: str, arguments: dict[str, Any]) -> None:
    check(said, TypeError, lambda: deltalakedb.connect(**arguments))


BEGIN: list[tuple[str, dict[str, Any]]] = [
    ("catalog must be str or Catalog or None, not int", {"catalog": 3}),
    ("max_tables must be int or None, not str", {"max_tables": "3"}),
    ("timeout_secs must be int or float or None, not str", {"timeout_secs": "3"}),
    ("serializable must be bool, not int", {"serializable": 1}),
]


@pytest.mark.parametrize(("said", "arguments"), BEGIN)
def test_arguments_of_begin(said: str, arguments: dict[str, Any]) -> None:
    check(said, TypeError, lambda: begin(**arguments))


CATALOG: list[tuple[str, Callable[[Catalog], object]]] = [
    ("name must be str, not int", lambda c: c.table(3)),  # type: ignore[arg-type]
    ("name must be str, not int", lambda c: c.create(3, Schema([]))),  # type: ignore[arg-type]
    ("location must be str or PathLike or None, not int", lambda c: c.create("a", Schema([]), location=3)),  # type: ignore[arg-type]
    ("location must be str or PathLike, not int", lambda c: c.import_table(3)),  # type: ignore[arg-type]
    ("name must be str, not NoneType", lambda c: c.history(None)),  # type: ignore[arg-type]
    ("name must be str or None, not int", lambda c: c.publish(3)),  # type: ignore[arg-type]
    ("name must be str or None, not int", lambda c: c.verify(3)),  # type: ignore[arg-type]
    ("sql must be str, not bytes", lambda c: c.query(b"SELECT 1")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("said", "act"), CATALOG)
def test_arguments_of_a_catalog(said: str, act: Callable[[Catalog], object]) -> None:
    catalog = deltalakedb.connect()
    check(said, TypeError, lambda: act(catalog))


TRANSACTION: list[tuple[str, Callable[[Any], object]]] = [
    (
        "table must be str or PathLike or DeltaTable, not int",
        lambda tx: tx.write(3, ids(1)),
    ),
    ("mode must be str, not int", lambda tx: tx.write("a", ids(1), mode=3)),
    (
        "partition_by must be str or Sequence or None, not int",
        lambda tx: tx.write("a", ids(1), partition_by=3),
    ),
    (
        "location must be str or PathLike or None, not int",
        lambda tx: tx.write("a", ids(1), location=3),
    ),
    ("predicate must be str or None, not int", lambda tx: tx.delete("a", 3)),
    ("updates must be dict or None, not str", lambda tx: tx.update("a", "x = 1")),
    (
        "The values of the updates parameter must all be SQL strings,",
        lambda tx: tx.update("a", {"x": 1}),
    ),
    ("predicate must be str, not NoneType", lambda tx: tx.merge("a", ids(1), None)),
    (
        "failed to extract an AddAction or a RemoveAction from int",
        lambda tx: tx.stage_table("a", actions=[3]),
    ),
    (
        "table must be str or PathLike or DeltaTable, not NoneType",
        lambda tx: tx.scan(None),
    ),
]


@pytest.mark.parametrize(("said", "act"), TRANSACTION)
def test_arguments_of_a_transaction(said: str, act: Callable[[Any], object]) -> None:
    with begin() as tx:
        check(said, TypeError, lambda: act(tx))


@pytest.mark.parametrize("data", [None, 3, {"id": [1]}, ...], ids=repr)
def test_data_that_is_not_arrow(path: str, data: Any) -> None:
    said = f"__arrow_c_stream__ method, not {type(data).__name__}"
    check(said, ValueError, lambda: write_deltalake(path, data))
    with begin() as tx:
        check(said, ValueError, lambda: tx.write(path, data))
    assert not DeltaTable.is_deltatable(path)


def test_batches_that_are_none(path: str) -> None:
    check("has no schema", IndexError, lambda: write_deltalake(path, []))
    check("has no schema", ValueError, lambda: write_deltalake(path, iter([])))
    check("must give batches, not int", TypeError, lambda: write_deltalake(path, iter([3])))  # type: ignore[list-item]
    assert not DeltaTable.is_deltatable(path)


@pytest.mark.parametrize(
    ("values", "value"),
    [
        (pa.array([1, 200], pa.uint8()), "200"),
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
        (pa.array([[1], [300, None]], pa.list_(pa.uint16())), None),
        (pa.array([[1], [40_000]], pa.list_(pa.uint16())), "40000"),
        (pa.array([{"a": 2**31}], pa.struct([("a", pa.uint32())])), str(2**31)),
        (pa.array([2**60], pa.timestamp("s")), str(2**60)),
    ],
    ids=["uint8", "uint64", "fits", "list", "struct", "timestamp"],
)
def test_values_that_do_not_fit(path: str, values: pa.Array, value: str | None) -> None:
    def write() -> None:
        write_deltalake(path, pa.table({"x": values}))

    if value is None:
        write()
        return
    check(f"Can't cast value {value} to type", DeltaError, write)
    assert not DeltaTable.is_deltatable(path)


def test_places_that_are_none(path: str) -> None:
    check("must be a str, Path or", ValueError, lambda: write_deltalake(3, ids(1)))  # type: ignore[call-overload]
    check("the folder does not exist", TableNotFoundError, lambda: DeltaTable(path))
    check(
        "Unknown scheme: nope",
        TableNotFoundError,
        lambda: DeltaTable("nope://bucket/table"),
    )
    check("expected `sqlite`", DeltaError, lambda: DeltaTable("deltasql://nope"))


TABLE: list[tuple[str, type[Exception], Callable[[DeltaTable], object]]] = [
    (
        "No field named nope, nope not found: the table default.table has",
        DeltaError,
        lambda t: t.scan(["nope"]),
    ),
    ("Can't extract `str` to `Vec`", TypeError, lambda t: t.scan("id")),  # type: ignore[arg-type]
    (
        'sql parser error: ParserError: invalid filter "id =":',
        DeltaError,
        lambda t: t.scan(predicate="id ="),
    ),
    ("'int' object is not an instance of 'str'", TypeError, lambda t: t.delete(3)),  # type: ignore[arg-type]
    (
        'sql parser error: ParserError: invalid filter "id >":',
        DeltaError,
        lambda t: t.delete("id >"),
    ),
    (
        "Either updates or new_values need to be passed to update the",
        ValueError,
        lambda t: t.update(),
    ),
    (
        "Passing updates and new_values at same time is not allowed,",
        ValueError,
        lambda t: t.update({"id": "1"}, {"id": 1}),
    ),
    ("The values of the updates parameter must all be SQL strings,", TypeError, lambda t: t.update({"id": 1})),  # type: ignore[dict-item]
    ("Invalid datatype provided in new_values, only int, float, bool,", TypeError, lambda t: t.update(new_values={"id": object()})),  # type: ignore[dict-item]
    ("predicate must be str, not int", TypeError, lambda t: t.merge(ids(1), 3)),  # type: ignore[arg-type]
    ("Expected object with __arrow_c_array__ or __arrow_c_stream__", ValueError, lambda t: t.merge(3, "true")),  # type: ignore[arg-type]
    (
        "can't convert negative int to unsigned",
        OverflowError,
        lambda t: t.load_as_version(-1),
    ),
    (
        "Invalid table version: the table is at version 0 and has no",
        DeltaError,
        lambda t: t.load_as_version(99),
    ),
    (
        'Failed to parse datetime string: "noon": input contains',
        ValueError,
        lambda t: t.load_as_version("noon"),
    ),
    ("Invalid datatype provided for version, only int, str or", TypeError, lambda t: t.load_as_version(1.5)),  # type: ignore[arg-type]
    ("The retention periods should be positive.", ValueError, lambda t: t.vacuum(-1)),
    (
        "Generic error: Invalid retention period, minimum retention for",
        DeltaError,
        lambda t: t.vacuum(0),
    ),
    ("feature must be list or tuple, not str", TypeError, lambda t: t.alter.add_feature("appendOnly")),  # type: ignore[arg-type]
    ("fields must be list or tuple, not str", TypeError, lambda t: t.alter.add_columns("x")),  # type: ignore[arg-type]
    (
        "the constraint cannot be dropped: Generic DeltaTable error:",
        DeltaError,
        lambda t: t.alter.drop_constraint("nope"),
    ),
    (
        "the properties cannot be set: Kernel: Generic delta kernel",
        DeltaError,
        lambda t: t.alter.set_table_properties({"x.y": "1"}),
    ),
    ("name must be str, not NoneType", TypeError, lambda t: t.alter.set_table_name(None)),  # type: ignore[arg-type]
    (
        "Z-order requires at least one column",
        DeltaError,
        lambda t: t.optimize.z_order([]),
    ),
    (
        "empty conjunction in filters; pass no filter to match all files",
        ValueError,
        lambda t: t.file_uris(file_pruning_predicate=[[]]),
    ),
    (
        'Invalid partition filter found: ("id", "~", "1").',
        DeltaError,
        lambda t: t.file_uris(file_pruning_predicate=[("id", "~", 1)]),
    ),
    (
        "failed to extract an AddAction or a RemoveAction from int",
        TypeError,
        lambda t: t.create_write_transaction([3], "append", t.schema()),  # type: ignore[list-item]
    ),
]


@pytest.mark.parametrize(("said", "error", "act"), TABLE)
def test_arguments_of_a_table(
    path: str, said: str, error: type[Exception], act: Callable[[DeltaTable], object]
) -> None:
    write_deltalake(path, ids(0, 1))
    table = DeltaTable(path)
    check(said, error, lambda: act(table))
    assert DeltaTable(path).version() == 0
    assert read(path) == [0, 1]


VALUES: list[tuple[str, type[Exception], Callable[[], object]]] = [
    ("invalid type string: int", ValueError, lambda: PrimitiveType("int")),
    ("a type's name is a str, not int", TypeError, lambda: PrimitiveType(3)),  # type: ignore[arg-type]
    (
        "invalid type string: decimal(39,0), precision/scale can't be",
        ValueError,
        lambda: PrimitiveType("decimal(39,0)"),
    ),
    ("Invalid data type: int", ValueError, lambda: ArrayType(3)),  # type: ignore[arg-type]
    ("value_contains_null must be a bool, not int", TypeError, lambda: MapType("long", "long", 1)),  # type: ignore[arg-type]
    ("fields must hold Field, not str", TypeError, lambda: StructType(["x"])),  # type: ignore[list-item]
    ("a field's name is a str, not int", TypeError, lambda: Field(3, "long")),  # type: ignore[arg-type]
    (
        "Object of type object is not JSON serializable",
        TypeError,
        lambda: Field("x", "long", metadata={"x": object()}),
    ),
    (
        "expected value at line 1 column 2: Expecting property name",
        ValueError,
        lambda: Schema.from_json("{"),
    ),
    ("Type is not a struct", TypeError, lambda: Schema.from_json('"long"')),
    ("Expected an object with dunder __arrow_c_schema__", ValueError, lambda: Schema.from_arrow(3)),  # type: ignore[arg-type]
    ("x is not a valid Compression. Valid values are:", ValueError, lambda: WriterProperties(compression="x")),  # type: ignore[arg-type]
    (
        "Providing a compression level without the compression type is",
        ValueError,
        lambda: WriterProperties(compression_level=1),
    ),
    ("version must be int, not str", TypeError, lambda: Transaction("a", "b")),  # type: ignore[arg-type]
    ("app_transactions must be Transaction, not str", TypeError, lambda: CommitProperties(app_transactions=["a"])),  # type: ignore[list-item]
    ("deletion_timestamp must be int, not str", TypeError, lambda: RemoveAction("a", True, "x")),  # type: ignore[arg-type]
    ("'x' is not a valid TableFeatures", ValueError, lambda: TableFeatures("x")),
    (
        "invalid setting x: Invalid or Unsupported Configuration:",
        DeltaError,
        lambda: QueryBuilder({"x": "y"}),
    ),
]


@pytest.mark.parametrize(("said", "error", "act"), VALUES)
def test_values(said: str, error: type[Exception], act: Callable[[], object]) -> None:
    check(said, error, act)
