"""Written values are read back, here and by another reader of the mirrored log."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import deltalake
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deltalakedb import DeltaTable, write_deltalake

pytestmark = pytest.mark.usefixtures("embedded")

_YEARS = {"min_value": datetime(1, 1, 1), "max_value": datetime(9999, 12, 31)}


def decimals(
    precision: int, scale: int, lowest: int | None = None
) -> st.SearchStrategy[Decimal]:
    highest = 10**precision - 1
    whole = st.integers(-highest if lowest is None else lowest, highest)
    return whole.map(lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale)))


TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)

# Arrow types, their values, and the types they come back as.
PRIMITIVES: list[tuple[pa.DataType, st.SearchStrategy[Any], pa.DataType]] = [
    *(
        (signed, st.integers(-(2 ** (n - 1)), 2 ** (n - 1) - 1), signed)
        for n, signed in (
            (8, pa.int8()),
            (16, pa.int16()),
            (32, pa.int32()),
            (64, pa.int64()),
        )
    ),
    *(
        (unsigned, st.integers(0, 2 ** (n - 1) - 1), signed)
        for n, unsigned, signed in (
            (8, pa.uint8(), pa.int8()),
            (16, pa.uint16(), pa.int16()),
            (32, pa.uint32(), pa.int32()),
            (64, pa.uint64(), pa.int64()),
        )
    ),
    (pa.float32(), st.floats(width=32), pa.float32()),
    (pa.float64(), st.floats(), pa.float64()),
    (pa.bool_(), st.booleans(), pa.bool_()),
    *((t, TEXT, pa.string()) for t in (pa.string(), pa.large_string())),
    (pa.string_view(), TEXT, pa.string()),
    (pa.dictionary(pa.int32(), pa.string()), TEXT, pa.string()),
    *(
        (t, st.binary(max_size=8), pa.binary())
        for t in (pa.binary(), pa.large_binary())
    ),
    (pa.binary_view(), st.binary(max_size=8), pa.binary()),
    (pa.binary(3), st.binary(min_size=3, max_size=3), pa.binary()),
    (pa.date32(), st.dates(), pa.date32()),
    (pa.timestamp("us"), st.datetimes(**_YEARS), pa.timestamp("us")),
    (
        pa.timestamp("us", "UTC"),
        st.datetimes(**_YEARS, timezones=st.just(timezone.utc)),
        pa.timestamp("us", "UTC"),
    ),
    *(
        (pa.decimal128(p, s), decimals(p, s), pa.decimal128(p, s))
        for p, s in ((1, 0), (10, 2), (38, 0), (38, 38))
    ),
]


# The content of a map is not converted; and for times without a zone in it, the table
# library does not enable the required feature.
IN_MAPS = [p for p in PRIMITIVES if p[0] == p[2] and p[0] != pa.timestamp("us")]


@st.composite
def columns(draw: st.DrawFn, depth: int = 2) -> tuple[pa.DataType, Any, pa.DataType]:
    """A type, values of it, and the type that is read back."""
    kinds = ["primitive"] * 4 + (["list", "map", "struct"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "primitive":
        return draw(st.sampled_from(PRIMITIVES))
    if kind == "struct":
        parts = draw(st.lists(columns(depth - 1), min_size=1, max_size=3))
        names = [f"f{i}" for i in range(len(parts))]
        values = {
            name: nullable(part[1]) for name, part in zip(names, parts, strict=True)
        }
        return (
            pa.struct([(n, p[0]) for n, p in zip(names, parts, strict=True)]),
            st.fixed_dictionaries(values),
            pa.struct([(n, p[2]) for n, p in zip(names, parts, strict=True)]),
        )
    item, values, back = draw(columns(depth - 1))
    if kind == "list":
        build = draw(st.sampled_from([pa.list_, pa.large_list]))
        listed = st.lists(nullable(values), max_size=3)
        return build(item), listed, pa.list_(pa.field("element", back))
    item, values, back = draw(st.sampled_from(IN_MAPS))
    pairs = st.dictionaries(TEXT, nullable(values), max_size=3)
    return (
        pa.map_(pa.string(), item),
        pairs.map(lambda pairs: list(pairs.items())),
        pa.map_(pa.string(), back),
    )


def nullable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


NAMES = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"],
        # Without column mapping, Delta rejects these.
        exclude_characters=" ,;{}()\n\t=.`",
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, pa.Schema]:
    """A table, and the schema that is read back."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.lower))
    rows = draw(st.integers(0, 4))
    arrays, back = [], []
    for name in names:
        type_, values, read_as = draw(columns())
        all_null = draw(st.integers(0, 5)) == 0
        one = st.none() if all_null else nullable(values)
        drawn = draw(st.lists(one, min_size=rows, max_size=rows))
        arrays.append(pa.array(drawn, type_))
        back.append(pa.field(name, read_as))
    return pa.table(arrays, names=names), pa.schema(back)


def plain(value: Any) -> Any:
    """The value, so that equal values compare equal: NaN is NaN, -0.0 is 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return [plain(row) for row in table.to_pylist()]


def check(data: pa.Table, path: str, expected: pa.Schema) -> None:
    write_deltalake(path, data)
    ours = DeltaTable(path)
    scanned = pa.table(ours.scan()).select(expected.names)
    assert rows(scanned) == rows(data)
    read = ours.to_pyarrow_table()
    assert read.schema.equals(expected)
    assert rows(read) == rows(data)
    theirs = deltalake.DeltaTable(path)
    assert theirs.version() == 0
    assert rows(theirs.to_pyarrow_table()) == rows(data)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tables())
def test_random_tables(
    new_path: Callable[[str], str], drawn: tuple[pa.Table, pa.Schema]
) -> None:
    data, expected = drawn
    check(data, new_path(uuid4().hex), expected)


EDGES: dict[str, pa.Array] = {
    "empty": pa.array([], pa.int64()),
    "all null": pa.nulls(3, pa.string()),
    "unicode": pa.array(["é☃😀", "", "\t\n", "'\"\\"]),
    "bytes": pa.array([b"", b"\x00\xff"]),
    "extremes": pa.array([-(2**63), 2**63 - 1]),
    "floats": pa.array([math.nan, math.inf, -math.inf, -0.0, 5e-324]),
    "years": pa.array([date(1, 1, 1), date(9999, 12, 31)]),
    "instants": pa.array([datetime(1, 1, 1), datetime(9999, 12, 31)]),
    "decimal": pa.array([Decimal("9" * 38)], pa.decimal128(38, 0)),
    "nested nulls": pa.array([None, {"l": None}, {"l": []}, {"l": [None, {"x": 1}]}]),
}


@pytest.mark.parametrize("values", EDGES.values(), ids=EDGES)
def test_edges(path: str, values: pa.Array) -> None:
    write_deltalake(path, pa.table({"c": values}))
    data = [plain(value) for value in values.to_pylist()]
    for table in (
        pa.table(DeltaTable(path).scan()),
        DeltaTable(path).to_pyarrow_table(),
        deltalake.DeltaTable(path).to_pyarrow_table(),
    ):
        assert [plain(value) for value in table["c"].to_pylist()] == data


@pytest.mark.parametrize(
    "name", ["é☃", "select", "A-b", "a/b", "a%20b", "'", '"', "$x", "1", "_delta_log"]
)
def test_odd_names_of_columns(path: str, name: str) -> None:
    data = pa.table({name: [1, 2], "other": ["x", "y"]})
    write_deltalake(path, data)
    assert rows(DeltaTable(path).to_pyarrow_table()) == rows(data)
    assert rows(deltalake.DeltaTable(path).to_pyarrow_table()) == rows(data)


PARTITIONS = st.sampled_from(
    [
        (pa.string(), TEXT.filter(bool)),
        (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates()),
        # The table library writes -0.01 in a path as 0.-1, and rejects it then.
        (pa.decimal128(10, 2), decimals(10, 2, lowest=0)),
        (pa.timestamp("us"), st.datetimes(**_YEARS)),
    ]
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_random_partitions(new_path: Callable[[str], str], data: st.DataObject) -> None:
    type_, values = data.draw(PARTITIONS)
    drawn = data.draw(st.lists(nullable(values), min_size=1, max_size=4))
    ids = list(range(len(drawn)))
    table = pa.table({"id": ids, "p": pa.array(drawn, type_)})
    path = new_path(uuid4().hex)
    write_deltalake(path, table, partition_by="p")
    read = DeltaTable(path).to_pyarrow_table().sort_by("id")
    assert rows(read) == rows(table)
    theirs = deltalake.DeltaTable(path).to_pyarrow_table().sort_by("id")
    assert rows(theirs) == rows(table)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.lists(nullable(st.integers(0, 5)), max_size=3), max_size=3),
    st.integers(0, 5),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
)
@example([[1, None], [5]], 3, "<")
def test_guarantees_of_files_lose_no_rows(
    new_path: Callable[[str], str],
    files: list[list[int | None]],
    at: int,
    operator: str,
) -> None:
    import pyarrow.compute as pc

    path = new_path(uuid4().hex)
    write_deltalake(path, pa.table({"x": pa.array([], pa.int64())}))
    for values in files:
        part = pa.table({"x": pa.array(values, pa.int64())})
        write_deltalake(path, part, mode="append")
    whole = pa.table({"x": pa.array([v for file in files for v in file], pa.int64())})
    dataset = DeltaTable(path).to_pyarrow_dataset()
    column = pc.field("x")
    compared = {
        "=": column == at,
        "!=": column != at,
        "<": column < at,
        "<=": column <= at,
        ">": column > at,
        ">=": column >= at,
    }[operator]
    for condition in (compared, ~compared, column.is_null(), column.is_valid()):
        expected = whole.filter(condition).num_rows
        assert dataset.to_table(filter=condition).num_rows == expected
