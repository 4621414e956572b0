"""The Delta type of each Arrow type, and the type that is read back."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from arro3.core import DataType

from .helpers import plain_error, stats

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678901)
PRICE = Decimal("1.23")

ROUND_TRIPS = [
    (pa.array([1, None], pa.int8()), "byte", pa.int8()),
    (pa.array([1, None], pa.int16()), "short", pa.int16()),
    (pa.array([1, None], pa.int32()), "integer", pa.int32()),
    (pa.array([1, None], pa.int64()), "long", pa.int64()),
    (pa.array([1], pa.uint8()), "byte", pa.int8()),
    (pa.array([1], pa.uint16()), "short", pa.int16()),
    (pa.array([1], pa.uint32()), "integer", pa.int32()),
    (pa.array([1], pa.uint64()), "long", pa.int64()),
    (pa.array([1.5, None], pa.float32()), "float", pa.float32()),
    (pa.array([1.5, None], pa.float64()), "double", pa.float64()),
    (pa.array([True, False, None]), "boolean", pa.bool_()),
    (pa.array(["é☃", "", None]), "string", pa.string()),
    (pa.array(["a", None], pa.large_string()), "string", pa.string()),
    (pa.array(["a", None], pa.string_view()), "string", pa.string()),
    (pa.array([b"a\x00", b"", None]), "binary", pa.binary()),
    (pa.array([b"a"], pa.large_binary()), "binary", pa.binary()),
    (pa.array([b"a"], pa.binary_view()), "binary", pa.binary()),
    (pa.array([b"abcd"], pa.binary(4)), "binary", pa.binary()),
    (pa.array([date(2024, 1, 2), None]), "date", pa.date32()),
    (pa.array([date(2024, 1, 2)], pa.date64()), "date", pa.date32()),
    (pa.array([PRICE], pa.decimal128(10, 2)), "decimal(10,2)", pa.decimal128(10, 2)),
    (
        pa.array([PRICE, None], pa.decimal128(38, 18)),
        "decimal(38,18)",
        pa.decimal128(38, 18),
    ),
    (pa.array([MOMENT], pa.timestamp("us")), "timestamp_ntz", pa.timestamp("us")),
    (pa.array([MOMENT], pa.timestamp("ns")), "timestamp_ntz", pa.timestamp("us")),
    (pa.array([MOMENT], pa.timestamp("s")), "timestamp_ntz", pa.timestamp("us")),
    (
        pa.array([MOMENT, None], pa.timestamp("us", "UTC")),
        "timestamp",
        pa.timestamp("us", "UTC"),
    ),
    (
        pa.array([MOMENT], pa.timestamp("ms", "America/New_York")),
        "timestamp",
        pa.timestamp("us", "UTC"),
    ),
    (
        pa.array([MOMENT], pa.timestamp("ns", "+02:00")),
        "timestamp",
        pa.timestamp("us", "UTC"),
    ),
    (pa.array(["a", "b", "a"]).dictionary_encode(), "string", pa.string()),
    (pa.array([1, 2, 1]).dictionary_encode(), "long", pa.int64()),
]


@pytest.mark.parametrize(
    ("values", "delta", "arrow"), ROUND_TRIPS, ids=[str(r[0].type) for r in ROUND_TRIPS]
)
def test_primitive_round_trip(dl, path, values, delta, arrow):
    dl.write_deltalake(path, pa.table({"c": values}))
    table = dl.DeltaTable(path)
    assert table.schema().fields[0].type.type == delta
    read = table.to_pyarrow_table().column("c").combine_chunks()
    assert read.type == arrow
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    assert read.equals(values.cast(arrow))


NESTED = [
    pa.array([[1, 2], None, []]),
    pa.array([[[1], []], None]),
    pa.array([["a", None]]),
    pa.array([{"a": 1, "b": {"c": "x"}}, None, {"a": None, "b": None}]),
    pa.array([[{"a": [1]}], []]),
    pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    pa.array([[("k", [1, 2])]], pa.map_(pa.string(), pa.list_(pa.int64()))),
    pa.array([{"t": MOMENT}], pa.struct([("t", pa.timestamp("us"))])),
]


@pytest.mark.parametrize("values", NESTED, ids=[str(v.type) for v in NESTED])
def test_nested_round_trip(dl, path, values):
    dl.write_deltalake(path, pa.table({"c": values}))
    read = dl.DeltaTable(path).to_pyarrow_table().column("c")
    assert read.to_pylist() == values.to_pylist()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2]], pa.large_list(pa.int64())),
        pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
        pa.array([[1, 2]], pa.list_view(pa.int64())),
    ],
    ids=lambda values: str(values.type),
)
def test_every_list_becomes_a_list_of_element(dl, path, values):
    dl.write_deltalake(path, pa.table({"c": values}))
    read = dl.DeltaTable(path).to_pyarrow_table().column("c")
    assert read.type == pa.list_(pa.field("element", pa.int64()))
    assert read.to_pylist() == [[1, 2]]


def test_nested_timestamps_become_microseconds(dl, path):
    inner = pa.struct([("t", pa.timestamp("ns"))])
    dl.write_deltalake(path, pa.table({"c": pa.array([{"t": MOMENT}], inner)}))
    table = dl.DeltaTable(path).to_pyarrow_table()
    assert table.schema.field("c").type.field("t").type == pa.timestamp("us")
    assert table.column("c").to_pylist() == [{"t": MOMENT}]


def test_nanoseconds_are_truncated(dl, path):
    values = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    dl.write_deltalake(path, pa.table({"c": values}))
    read = dl.DeltaTable(path).to_pyarrow_table().column("c")
    assert read.cast(pa.int64()).to_pylist() == [1_700_000_000_123_456]


def test_local_time_keeps_the_instant(dl, path):
    local = datetime(2024, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    values = pa.array([local], pa.timestamp("us", "+02:00"))
    dl.write_deltalake(path, pa.table({"c": values}))
    (read,) = dl.DeltaTable(path).to_pyarrow_table().column("c").to_pylist()
    assert read == local
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5], pa.float16()),
        pa.array([0], pa.time64("us")),
        pa.array([0], pa.duration("us")),
        pa.array([PRICE], pa.decimal256(50, 2)),
    ],
    ids=lambda values: str(values.type),
)
def test_unsupported_types(dl, path, values):
    with pytest.raises(plain_error(dl), match="Invalid data type for Delta Lake"):
        dl.write_deltalake(path, pa.table({"c": values}))
    assert not dl.DeltaTable.is_deltatable(path)


def test_unsigned_value_out_of_range(dl, path):
    values = pa.array([200], pa.uint8())
    with pytest.raises(plain_error(dl), match="Cast error.*200"):
        dl.write_deltalake(path, pa.table({"c": values}))


def test_null_column_becomes_void(dl, path):
    dl.write_deltalake(path, pa.table({"c": pa.nulls(2), "x": [1, 2]}))
    table = dl.DeltaTable(path)
    assert table.schema().fields[0].type.type == "void"
    assert table.to_pyarrow_table().column("c").to_pylist() == [None, None]


def test_timestamp_ntz_raises_the_protocol(dl, path):
    dl.write_deltalake(path, pa.table({"c": pa.array([0], pa.timestamp("us"))}))
    assert dl.DeltaTable(path).protocol() == (
        3,
        7,
        ["timestampNtz"],
        ["timestampNtz"],
    )


def test_timestamp_keeps_the_protocol(dl, path):
    dl.write_deltalake(path, pa.table({"c": pa.array([0], pa.timestamp("us", "UTC"))}))
    assert dl.DeltaTable(path).protocol() == (1, 2, None, None)


def test_timestamps_of_the_year_one(dl, path):
    values = pa.array([datetime(1, 1, 1), datetime(9999, 12, 31)], pa.timestamp("us"))
    dl.write_deltalake(path, pa.table({"c": values}))
    read = dl.DeltaTable(path).to_pyarrow_table().column("c")
    assert read.to_pylist() == [datetime(1, 1, 1), datetime(9999, 12, 31)]


def test_decimal_limits(dl, path):
    largest = Decimal("9" * 38)
    dl.write_deltalake(path, pa.table({"c": pa.array([largest], pa.decimal128(38, 0))}))
    read = dl.DeltaTable(path).to_pyarrow_table().column("c")
    assert read.to_pylist() == [largest]


def test_not_a_number(dl, path):
    dl.write_deltalake(path, pa.table({"c": [1.5, float("nan"), float("inf")]}))
    read = dl.DeltaTable(path).to_pyarrow_table().column("c").to_pylist()
    assert read[0] == 1.5
    assert read[1] != read[1]
    assert read[2] == float("inf")


def test_statistics_of_timestamps(dl, path):
    dl.write_deltalake(
        path,
        pa.table(
            {
                "ntz": pa.array([MOMENT], pa.timestamp("us")),
                "utc": pa.array([MOMENT], pa.timestamp("us", "UTC")),
                "day": pa.array([MOMENT.date()]),
            }
        ),
    )
    assert stats(path)["minValues"] == {
        "ntz": "2024-01-02 03:04:05.678",
        "utc": "2024-01-02T03:04:05.678Z",
        "day": "2024-01-02",
    }


def test_scan_returns_views(dl, path):
    dl.write_deltalake(path, pa.table({"s": ["a"], "b": [b"x"]}))
    schema = pa.schema(dl.DeltaTable(path).scan().schema)
    assert schema.field("s").type == pa.string_view()
    assert schema.field("b").type == pa.binary_view()


def test_scan_of_columns_returns_views(dl, path):
    dl.write_deltalake(path, pa.table({"s": ["a"], "n": [1], "b": [b"x"]}))
    schema = dl.DeltaTable(path).scan(columns=["b", "s"]).schema
    assert schema.names == ["b", "s"]
    assert DataType.is_binary_view(schema.field("b").type)
    assert DataType.is_string_view(schema.field("s").type)


def test_variant_round_trip(dl, path):
    layout = pa.struct(
        [
            pa.field("metadata", pa.binary(), nullable=False),
            pa.field("value", pa.binary(), nullable=False),
        ]
    )
    number = {"metadata": b"\x01\x00\x00", "value": b"\x0c\x05"}
    table = dl.DeltaTable.create(
        path, dl.Schema([dl.Field("id", "long"), dl.Field("v", dl.VariantType())])
    )
    data = pa.table({"id": [1], "v": pa.array([number], layout)})
    dl.write_deltalake(table, data, mode="append")
    assert table.schema().fields[1].type == dl.VariantType()
    assert pa.table(table.scan()).to_pylist() == [{"id": 1, "v": number}]
