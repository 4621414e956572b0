"""Which files `create_write_transaction` replaces in the partitions it names."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from deltalakedb import DeltaTable, write_deltalake

from .conftest import read

pytestmark = pytest.mark.usefixtures("embedded")

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
def _partitioned(request: pytest.FixtureRequest, path: str) -> tuple[DeltaTable, Any]:
    values = PARTITIONS[request.param]
    write_deltalake(path, pa.table({"id": [1, 2, 3], "p": values}), partition_by="p")
    return DeltaTable(path), [
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
    path: str, partitioned: tuple[DeltaTable, Any], operator: str, left: list[int]
) -> None:
    table, values = partitioned
    value = [values[1]] if "in" in operator else values[1]
    table.create_write_transaction(
        [], "overwrite", table.schema(), "p", partition_filters=[("p", operator, value)]
    )
    assert read(path) == left
