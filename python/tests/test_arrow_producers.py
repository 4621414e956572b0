"""Rows of every library that supports Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arro3.core
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from deltalakedb import DeltaTable, begin, write_deltalake
from deltalakedb.exceptions import DeltaError

pytestmark = pytest.mark.usefixtures("embedded")

TABLE = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})


def dataset(folder: Path) -> ds.Dataset:
    pq.write_table(TABLE, folder / "source.parquet")
    return ds.dataset(folder / "source.parquet")


PRODUCERS: dict[str, Callable[[Path], Any]] = {
    "pyarrow table": lambda _: TABLE,
    "pyarrow batch": lambda _: TABLE.to_batches()[0],
    "pyarrow reader": lambda _: TABLE.to_reader(),
    "pyarrow struct array": lambda _: TABLE.to_struct_array().combine_chunks(),
    "pyarrow dataset": dataset,
    "pyarrow scanner": lambda folder: dataset(folder).scanner(),
    "arro3 table": lambda _: arro3.core.Table.from_arrow(TABLE),
    "arro3 batch": lambda _: arro3.core.RecordBatch.from_arrow(TABLE.to_batches()[0]),
    "arro3 reader": lambda _: arro3.core.RecordBatchReader.from_arrow(TABLE),
    "pandas": lambda _: TABLE.to_pandas(),
    "polars": lambda _: pl.from_arrow(TABLE),
    "duckdb": lambda _: duckdb.connect().from_arrow(TABLE),
    "list of batches": lambda _: TABLE.to_batches(max_chunksize=1),
    "tuple of batches": lambda _: tuple(TABLE.to_batches(max_chunksize=2)),
    "iterator of batches": lambda _: iter(TABLE.to_batches(max_chunksize=1)),
    "generator": lambda _: (batch for batch in TABLE.to_batches(max_chunksize=1)),
}


@pytest.mark.parametrize("produce", PRODUCERS.values(), ids=PRODUCERS)
def test_producers(path: str, tmp_path: Path, produce: Callable[[Path], Any]) -> None:
    write_deltalake(path, produce(tmp_path))
    write_deltalake(path, produce(tmp_path), mode="append")
    with begin() as tx:
        tx.write(path, produce(tmp_path))
    rows = DeltaTable(path).to_pyarrow_table().sort_by("id").to_pylist()
    assert rows == [row for row in TABLE.to_pylist() for _ in range(3)]


@pytest.mark.parametrize("produce", PRODUCERS.values(), ids=PRODUCERS)
def test_merge_sources(
    path: str, tmp_path: Path, produce: Callable[[Path], Any]
) -> None:
    write_deltalake(path, TABLE.slice(0, 1))
    merger = DeltaTable(path).merge(produce(tmp_path), "s.id = t.id", "s", "t")
    metrics = merger.when_not_matched_insert_all().execute()
    assert metrics["num_target_rows_inserted"] == 2


def test_rows_back_to_other_libraries(path: str) -> None:
    write_deltalake(path, TABLE)
    table = DeltaTable(path)
    assert pa.table(table.scan()).num_rows == 3
    assert pl.DataFrame(table.scan())["id"].to_list() == [1, 2, 3]
    assert isinstance(table.to_pandas(), pd.DataFrame)
    dataset = table.to_pyarrow_dataset()
    found = duckdb.sql("SELECT sum(id) FROM dataset").fetchall()
    assert dataset.count_rows() == 3
    assert found == [(6,)]


def test_polars_data_frames_round_trip(path: str) -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None],
            "list": [[1], []],
            "unsigned": pl.Series([1, 2], dtype=pl.UInt32),
            "category": pl.Series(["x", "y"], dtype=pl.Categorical),
        }
    )
    write_deltalake(path, frame)
    read = pl.DataFrame(DeltaTable(path).scan())
    assert read.to_dicts() == frame.to_dicts()


def test_an_iterator_is_read_as_it_is_written(path: str) -> None:
    taken: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for i in range(3):
            taken.append(i)
            yield pa.record_batch({"id": pa.array([i], pa.uint16())})

    data = batches()
    assert taken == []
    write_deltalake(path, data)
    assert taken == [0, 1, 2]
    assert DeltaTable(path).count() == 3


def test_only_the_first_batch_is_taken_for_the_schema(path: str) -> None:
    write_deltalake(path, pa.table({"other": ["x"]}))
    taken: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for i in range(1000):
            taken.append(i)
            yield pa.record_batch({"id": [i]})

    with pytest.raises(DeltaError, match="already exists"):
        write_deltalake(path, batches())
    assert taken in ([], [0])


class Mine(Exception):
    """What a source raises."""


@pytest.mark.parametrize("cast", [False, True], ids=["as it is", "cast"])
def test_an_error_of_the_source_stays_what_it_is(path: str, cast: bool) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": pa.array([1], pa.uint8() if cast else pa.int8())})
        raise Mine("the source broke")

    with pytest.raises(Mine, match="the source broke"):
        write_deltalake(path, batches())
    assert not DeltaTable.is_deltatable(path)


def test_null_columns_take_the_type_of_the_table(path: str) -> None:
    write_deltalake(path, pa.table({"id": [1], "s": [{"a": 1, "b": "x"}]}))
    nulls = pa.table({"id": pa.nulls(1), "s": [{"a": 2, "b": None}]})
    write_deltalake(path, nulls, mode="append")
    assert DeltaTable(path).to_pyarrow_table().sort_by("id").to_pylist() == [
        {"id": 1, "s": {"a": 1, "b": "x"}},
        {"id": None, "s": {"a": 2, "b": None}},
    ]


def test_columns_of_one_name(path: str) -> None:
    data = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DeltaError, match="duplicate qualified field name"):
        write_deltalake(path, data)
    assert not DeltaTable.is_deltatable(path)


def test_a_dictionary_behind_a_null_struct_is_not_looked_into(path: str) -> None:
    """Polars and others leave invalid indices there."""
    words = pa.DictionaryArray.from_arrays(
        pa.array([0], pa.int32()), pa.array([], pa.string()), safe=False
    )
    nulls = pa.StructArray.from_arrays([words], ["word"], mask=pa.array([True]))
    for _ in range(2):
        write_deltalake(path, pa.table({"s": nulls}), mode="append")
    assert DeltaTable(path).to_pyarrow_table()["s"].to_pylist() == [None, None]
