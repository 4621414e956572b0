"""Which files `create_write_transaction` replaces in the partitions it names."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from .helpers import column

PARTITIONS = {
    "timestamp": pa.array(
        [datetime(2024, 1, day, 3, tzinfo=UTC) for day in (1, 2, 3)],
        pa.timestamp("us", "UTC"),
    ),
    "timestamp_ntz": pa.array(
        [datetime(2024, 1, 2, 3, minute) for minute in (1, 2, 3)], pa.timestamp("us")
    ),
    "date": pa.array([date(2024, 1, day) for day in (1, 2, 3)]),
    "string": pa.array(["a", "b c", "c"]),
    "long": pa.array([9, 10, 11]),
    "decimal": pa.array([Decimal(n) for n in ("9.50", "10.00", "11.25")]),
}


@pytest.fixture(params=PARTITIONS, name="partitioned")
def _partitioned(request, dl, path):
    values = PARTITIONS[request.param]
    dl.write_deltalake(path, pa.table({"id": [1, 2, 3], "p": values}), partition_by="p")
    return dl.DeltaTable(path), [
        str(value) if isinstance(value, Decimal) else value
        for value in values.to_pylist()
    ]


@pytest.mark.parametrize(
    ("operator", "left"),
    [
        ("=", [1, 3]),
        ("!=", [2]),
        ("<", [2, 3]),
        ("<=", [3]),
        (">", [1, 2]),
        (">=", [1]),
        ("in", [1, 3]),
        ("not in", [2]),
    ],
)
def test_an_overwrite_takes_the_partitions_it_names(
    dl, path, partitioned, operator, left
):
    table, values = partitioned
    value = [values[1]] if "in" in operator else values[1]
    table.create_write_transaction(
        [], "overwrite", table.schema(), "p", partition_filters=[("p", operator, value)]
    )
    assert sorted(column(dl.DeltaTable(path), "id")) == left
