"""What is not right is told in one sentence."""

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
from deltalakedb.exceptions import DeltaError, TableNotFoundError
from deltalakedb.schema import ArrayType, MapType, PrimitiveType, StructType
from deltalakedb.transaction import RemoveAction

from .conftest import ids, read

pytestmark = pytest.mark.usefixtures("embedded")


def check(
    error: type[Exception], act: Callable[[], object], match: str | None = None
) -> None:
    with pytest.raises(error, match=match) as info:
        act()
    assert str(info.value).strip()


def check_sentence(error: type[Exception], act: Callable[[], object]) -> None:
    """The error is of that class, and its text one line."""
    check(error, act)
    try:
        act()
    except error as e:
        assert "\n" not in str(e)


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///x.db",
        "deltasql://",
        "deltasql://oracle/x",
        "deltasql://sqlite",
        "deltasql://postgres",
        "nope",
        "",
    ],
)
def test_catalog_uris(uri: str) -> None:
    check_sentence(DeltaError, lambda: deltalakedb.connect(uri))


CONNECT: dict[str, dict[str, Any]] = {
    "uri": {"uri": 3},
    "create": {"create": "yes"},
    "settings": {"settings": "mirror.mode"},
}


@pytest.mark.parametrize("arguments", CONNECT.values(), ids=CONNECT)
def test_arguments_of_connect(arguments: dict[str, Any]) -> None:
    check_sentence(TypeError, lambda: deltalakedb.connect(**arguments))


BEGIN: dict[str, dict[str, Any]] = {
    "catalog": {"catalog": 3},
    "max_tables": {"max_tables": "3"},
    "timeout_secs": {"timeout_secs": "3"},
    "serializable": {"serializable": 1},
}


@pytest.mark.parametrize("arguments", BEGIN.values(), ids=BEGIN)
def test_arguments_of_begin(arguments: dict[str, Any]) -> None:
    check_sentence(TypeError, lambda: begin(**arguments))


CATALOG: dict[str, Callable[[Catalog], object]] = {
    "table": lambda c: c.table(3),  # type: ignore[arg-type]
    "create": lambda c: c.create(3, Schema([])),  # type: ignore[arg-type]
    "location": lambda c: c.create("a", Schema([]), location=3),  # type: ignore[arg-type]
    "import": lambda c: c.import_table(3),  # type: ignore[arg-type]
    "history": lambda c: c.history(None),  # type: ignore[arg-type]
    "publish": lambda c: c.publish(3),  # type: ignore[arg-type]
    "verify": lambda c: c.verify(3),  # type: ignore[arg-type]
    "query": lambda c: c.query(b"SELECT 1"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("act", CATALOG.values(), ids=CATALOG)
def test_arguments_of_a_catalog(act: Callable[[Catalog], object]) -> None:
    catalog = deltalakedb.connect()
    check_sentence(TypeError, lambda: act(catalog))


TRANSACTION: dict[str, Callable[[Any], object]] = {
    "table": lambda tx: tx.write(3, ids(1)),
    "mode": lambda tx: tx.write("a", ids(1), mode=3),
    "partition_by": lambda tx: tx.write("a", ids(1), partition_by=3),
    "location": lambda tx: tx.write("a", ids(1), location=3),
    "delete": lambda tx: tx.delete("a", 3),
    "updates": lambda tx: tx.update("a", "x = 1"),
    "values": lambda tx: tx.update("a", {"x": 1}),
    "merge": lambda tx: tx.merge("a", ids(1), None),
    "actions": lambda tx: tx.stage_table("a", actions=[3]),
    "scan": lambda tx: tx.scan(None),
}


@pytest.mark.parametrize("act", TRANSACTION.values(), ids=TRANSACTION)
def test_arguments_of_a_transaction(act: Callable[[Any], object]) -> None:
    with begin() as tx:
        check_sentence(TypeError, lambda: act(tx))


@pytest.mark.parametrize("data", [None, 3, {"id": [1]}, ...], ids=repr)
def test_data_that_is_not_arrow(path: str, data: Any) -> None:
    check_sentence(ValueError, lambda: write_deltalake(path, data))
    with begin() as tx:
        check_sentence(ValueError, lambda: tx.write(path, data))
    assert not DeltaTable.is_deltatable(path)


def test_batches_that_are_none(path: str) -> None:
    check_sentence(IndexError, lambda: write_deltalake(path, []))
    check_sentence(ValueError, lambda: write_deltalake(path, iter([])))
    check_sentence(TypeError, lambda: write_deltalake(path, iter([3])))  # type: ignore[list-item]
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
    check(DeltaError, write, f"Cast error.*{value}")
    assert not DeltaTable.is_deltatable(path)


def test_places_that_are_none(path: str) -> None:
    check_sentence(ValueError, lambda: write_deltalake(3, ids(1)))  # type: ignore[call-overload]
    check(TableNotFoundError, lambda: DeltaTable(path))
    check(TableNotFoundError, lambda: DeltaTable("nope://bucket/table"))
    check(DeltaError, lambda: DeltaTable("deltasql://nope"))


TABLE: dict[str, tuple[type[Exception], Callable[[DeltaTable], object]]] = {
    "scan of unknown": (DeltaError, lambda t: t.scan(["nope"])),
    "scan of text": (TypeError, lambda t: t.scan("id")),  # type: ignore[arg-type]
    "scan SQL": (DeltaError, lambda t: t.scan(predicate="id =")),
    "delete": (TypeError, lambda t: t.delete(3)),  # type: ignore[arg-type]
    "delete SQL": (DeltaError, lambda t: t.delete("id >")),
    "update": (ValueError, lambda t: t.update()),
    "update both": (ValueError, lambda t: t.update({"id": "1"}, {"id": 1})),
    "update values": (TypeError, lambda t: t.update({"id": 1})),  # type: ignore[dict-item]
    "update object": (TypeError, lambda t: t.update(new_values={"id": object()})),  # type: ignore[dict-item]
    "merge": (TypeError, lambda t: t.merge(ids(1), 3)),  # type: ignore[arg-type]
    "merge data": (ValueError, lambda t: t.merge(3, "true")),  # type: ignore[arg-type]
    "version": (OverflowError, lambda t: t.load_as_version(-1)),
    "no version": (DeltaError, lambda t: t.load_as_version(99)),
    "time": (ValueError, lambda t: t.load_as_version("noon")),
    "other": (TypeError, lambda t: t.load_as_version(1.5)),  # type: ignore[arg-type]
    "retention": (ValueError, lambda t: t.vacuum(-1)),
    "short retention": (DeltaError, lambda t: t.vacuum(0)),
    "feature": (TypeError, lambda t: t.alter.add_feature("appendOnly")),  # type: ignore[arg-type]
    "column": (TypeError, lambda t: t.alter.add_columns("x")),  # type: ignore[arg-type]
    "constraint": (DeltaError, lambda t: t.alter.drop_constraint("nope")),
    "property": (DeltaError, lambda t: t.alter.set_table_properties({"x.y": "1"})),
    "table name": (TypeError, lambda t: t.alter.set_table_name(None)),  # type: ignore[arg-type]
    "z-order": (DeltaError, lambda t: t.optimize.z_order([])),
    "filters": (ValueError, lambda t: t.file_uris(file_pruning_predicate=[[]])),
    "operator": (
        DeltaError,
        lambda t: t.file_uris(file_pruning_predicate=[("id", "~", 1)]),
    ),
    "actions": (
        TypeError,
        lambda t: t.create_write_transaction([3], "append", t.schema()),  # type: ignore[list-item]
    ),
}


@pytest.mark.parametrize(("error", "act"), TABLE.values(), ids=TABLE)
def test_arguments_of_a_table(
    path: str, error: type[Exception], act: Callable[[DeltaTable], object]
) -> None:
    write_deltalake(path, ids(0, 1))
    table = DeltaTable(path)
    check(error, lambda: act(table))
    assert DeltaTable(path).version() == 0
    assert read(path) == [0, 1]


VALUES: dict[str, tuple[type[Exception], Callable[[], object]]] = {
    "type": (ValueError, lambda: PrimitiveType("int")),
    "type's name": (TypeError, lambda: PrimitiveType(3)),  # type: ignore[arg-type]
    "decimal": (ValueError, lambda: PrimitiveType("decimal(39,0)")),
    "element": (ValueError, lambda: ArrayType(3)),  # type: ignore[arg-type]
    "nulls": (TypeError, lambda: MapType("long", "long", 1)),  # type: ignore[arg-type]
    "fields": (TypeError, lambda: StructType(["x"])),  # type: ignore[list-item]
    "name": (TypeError, lambda: Field(3, "long")),  # type: ignore[arg-type]
    "metadata": (TypeError, lambda: Field("x", "long", metadata={"x": object()})),
    "JSON": (ValueError, lambda: Schema.from_json("{")),
    "no struct": (TypeError, lambda: Schema.from_json('"long"')),
    "arrow": (ValueError, lambda: Schema.from_arrow(3)),  # type: ignore[arg-type]
    "compression": (ValueError, lambda: WriterProperties(compression="x")),  # type: ignore[arg-type]
    "level": (ValueError, lambda: WriterProperties(compression_level=1)),
    "transaction": (TypeError, lambda: Transaction("a", "b")),  # type: ignore[arg-type]
    "transactions": (TypeError, lambda: CommitProperties(app_transactions=["a"])),  # type: ignore[list-item]
    "remove": (TypeError, lambda: RemoveAction("a", True, "x")),  # type: ignore[arg-type]
    "no feature": (ValueError, lambda: TableFeatures("x")),
    "session": (DeltaError, lambda: QueryBuilder({"x": "y"})),
}


@pytest.mark.parametrize(("error", "act"), VALUES.values(), ids=VALUES)
def test_values(error: type[Exception], act: Callable[[], object]) -> None:
    check(error, act)
