"""No table is below another: a vacuum of the outer one would remove the inner one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import deltalake
import pyarrow.parquet as pq
import pytest

import deltalakedb
from deltalakedb import Catalog, DeltaTable, begin, write_deltalake
from deltalakedb.exceptions import DeltaError

from .conftest import ids, read

SCHEMA = deltalakedb.Schema([deltalakedb.Field("id", "long")])


def write(place: str) -> None:
    write_deltalake(place, ids(1))


def create(place: str) -> None:
    DeltaTable.create(place, SCHEMA)


def create_in_the_catalog(place: str) -> None:
    deltalakedb.connect().create("inner", SCHEMA, location=place)


def create_in_a_transaction(place: str) -> None:
    with begin() as tx:
        tx.write("inner", ids(1), location=place)


def convert(place: str) -> None:
    Path(place).mkdir(parents=True)
    pq.write_table(ids(1), f"{place}/part-0.parquet")
    deltalakedb.convert_to_deltalake(place)


def import_(place: str) -> None:
    deltalake.write_deltalake(place, ids(1))
    deltalakedb.connect().import_table(place)


def import_by_a_write(place: str) -> None:
    deltalake.write_deltalake(place, ids(1))
    write_deltalake(place, ids(2), mode="append")


MADE: list[Callable[[str], None]] = [
    write,
    create,
    create_in_the_catalog,
    create_in_a_transaction,
    convert,
    import_,
    import_by_a_write,
]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_no_table_is_made_below_another(
    catalog: Catalog, orders: str, make: Callable[[str], None]
) -> None:
    with pytest.raises(DeltaError, match=r"is inside the table default\.orders"):
        make(f"{orders}/inner")
    assert catalog.tables() == ["default.orders"]
    assert read(orders) == [0, 1, 2]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_no_table_is_made_around_another(
    catalog: Catalog, orders: str, make: Callable[[str], None]
) -> None:
    around = str(Path(orders).parent)
    if make is convert:
        # The folder exists already.
        make = deltalakedb.convert_to_deltalake
    with pytest.raises(DeltaError, match=r"the table default\.orders is inside"):
        make(around)
    assert catalog.tables() == ["default.orders"]
    assert read(orders) == [0, 1, 2]
