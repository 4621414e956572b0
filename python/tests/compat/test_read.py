"""Reading: pyarrow tables and datasets, pandas, scan, polars and DuckDB."""

from types import ModuleType
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pytest

from .helpers import ids, raises_exactly, rows, sample


@pytest.fixture
def years(dl: ModuleType, path: str) -> Any:
    """Two partitions of one file each."""
    for year in (2020, 2021):
        data = pa.table(
            {
                "id": [1, 2],
                "year": pa.array([year, year], pa.int32()),
                "name": ["a", "b"],
            }
        )
        dl.write_deltalake(path, data, mode="append", partition_by="year")
    return dl.DeltaTable(path)


def test_to_pyarrow_table(table):
    read = table.to_pyarrow_table()
    assert isinstance(read, pa.Table)
    assert read.schema == sample().schema
    assert rows(read) == sample().to_pylist()


def test_to_pyarrow_table_begins_with_the_newest_files(dl, path):
    for first in (0, 10, 20):
        dl.write_deltalake(path, ids(first, first + 1), mode="append")
    read = dl.DeltaTable(path).to_pyarrow_table()
    assert read.column("id").to_pylist() == [20, 21, 10, 11, 0, 1]


def test_to_pyarrow_table_keeps_the_order_of_files_written_at_once(dl, path):
    data = pa.table({"a": range(20_000), "b": [str(i) for i in range(20_000)]})
    dl.write_deltalake(path, data, target_file_size=20_000)
    table = dl.DeltaTable(path)
    assert len(table.file_uris()) > 1
    assert table.to_pyarrow_table().column("a").to_pylist() == list(range(20_000))


def test_to_pyarrow_table_columns(years):
    read = years.to_pyarrow_table(columns=["name", "id", "name"])
    assert read.column_names == ["name", "id", "name"]
    assert read.num_rows == 4


def test_to_pyarrow_table_unknown_column(years):
    with pytest.raises(pa.ArrowInvalid, match="nope"):
        years.to_pyarrow_table(columns=["nope"])


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ([("year", "=", 2020)], 2),
        ([("year", "=", 2020), ("id", ">", 1)], 1),
        ([[("year", "=", 2020)], [("id", "=", 1)]], 3),
        ([("name", "in", ["a", "z"])], 2),
        ([("name", "not in", ["a"])], 2),
        ([("id", "!=", 1)], 2),
        (pc.field("id") > 1, 2),
        ((pc.field("year") == 2021) & (pc.field("name") == "b"), 1),
    ],
    ids=str,
)
def test_to_pyarrow_table_filters_rows(years, filters, count):
    assert years.to_pyarrow_table(filters=filters).num_rows == count


def test_to_pyarrow_table_filters_and_columns(years):
    read = years.to_pyarrow_table(columns=["id"], filters=[("year", "=", 2021)])
    assert sorted(read.column("id").to_pylist()) == [1, 2]


def test_to_pyarrow_table_partitions_is_deprecated(years):
    with pytest.warns(DeprecationWarning, match="`partitions` is deprecated"):
        read = years.to_pyarrow_table(partitions=[("year", "=", "2020")])
    assert set(read.column("year").to_pylist()) == {2020}


def test_to_pyarrow_table_with_a_filesystem(years, path):
    filesystem = pa_fs.SubTreeFileSystem(path, pa_fs.LocalFileSystem())
    assert rows(years.to_pyarrow_table(filesystem=filesystem), "year", "id") == rows(
        years, "year", "id"
    )


def test_to_pyarrow_dataset(years):
    dataset = years.to_pyarrow_dataset()
    assert isinstance(dataset, ds.FileSystemDataset)
    assert dataset.count_rows() == 4
    assert dataset.schema.names == ["id", "year", "name"]


def test_to_pyarrow_dataset_knows_partition_values_and_statistics(years):
    for fragment in years.to_pyarrow_dataset().get_fragments():
        expression = str(fragment.partition_expression)
        assert "(year == 202" in expression
        assert "(id >= 1)" in expression
        assert "(id <= 2)" in expression


def test_to_pyarrow_dataset_prunes_by_statistics(years):
    dataset = years.to_pyarrow_dataset()
    assert list(dataset.get_fragments(filter=pc.field("id") > 5)) == []
    assert len(list(dataset.get_fragments(filter=pc.field("year") == 2020))) == 1


@pytest.mark.parametrize("predicate", ["year = 2020", [("year", "=", 2020)]], ids=str)
def test_to_pyarrow_dataset_pruning_predicate(years, predicate):
    dataset = years.to_pyarrow_dataset(file_pruning_predicate=predicate)
    assert set(dataset.to_table().column("year").to_pylist()) == {2020}


def test_to_pyarrow_dataset_partitions_is_deprecated(years):
    with pytest.warns(DeprecationWarning, match="file_pruning_predicate"):
        dataset = years.to_pyarrow_dataset([("year", "=", "2020")])
    assert len(dataset.files) == 1


def test_to_pyarrow_dataset_partitions_and_predicate(years):
    with raises_exactly(ValueError, "pass only `file_pruning_predicate`"):
        years.to_pyarrow_dataset(
            partitions=[("year", "=", "2020")], file_pruning_predicate="year = 2020"
        )


def test_to_pyarrow_dataset_large_types(years):
    dataset = years.to_pyarrow_dataset(as_large_types=True)
    assert dataset.schema.field("name").type == pa.large_string()
    assert dataset.to_table().column("name").type == pa.large_string()


def test_to_pyarrow_dataset_with_a_schema(years):
    schema = pa.schema([("name", pa.large_string()), ("year", pa.int32())])
    read = years.to_pyarrow_dataset(schema=schema).to_table()
    assert read.schema == schema


def test_to_pyarrow_dataset_with_read_options(years):
    options = ds.ParquetReadOptions(dictionary_columns={"name"})
    dataset = years.to_pyarrow_dataset(parquet_read_options=options)
    assert dataset.schema.field("name").type == pa.dictionary(pa.int32(), pa.string())
    assert dataset.to_table().num_rows == 4


def test_to_pyarrow_dataset_refuses_deletion_vectors(dl, path):
    dl.write_deltalake(
        path, sample(), configuration={"delta.enableDeletionVectors": "true"}
    )
    with raises_exactly(dl.exceptions.DeltaProtocolError, "deletionVectors"):
        dl.DeltaTable(path).to_pyarrow_dataset()


def test_to_pyarrow_dataset_of_an_empty_table(dl, path):
    table = dl.DeltaTable.create(path, dl.Schema([dl.Field("id", "long")]))
    dataset = table.to_pyarrow_dataset()
    assert dataset.count_rows() == 0
    assert dataset.schema == pa.schema([("id", pa.int64())])


def test_to_pandas(table):
    frame = table.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame.sort_values("id").to_dict("list") == sample().to_pydict()


def test_to_pandas_columns_and_filters(years):
    frame = years.to_pandas(columns=["id"], filters=[("year", "=", 2020)])
    assert frame.shape == (2, 1)


def test_to_pandas_types_mapper(table):
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    assert frame["id"].dtype == pd.Int64Dtype()


def test_scan_is_an_arrow_stream(table):
    read = pa.table(table.scan())
    assert read.column_names == ["id", "name"]
    assert rows(read) == sample().to_pylist()


def test_scan_yields_batches(table):
    assert sum(batch.num_rows for batch in table.scan()) == 3


def test_scan_columns(years):
    read = pa.table(years.scan(columns=["name", "id"]))
    assert read.column_names == ["name", "id"]


def test_scan_predicate_filters_rows(years):
    read = years.scan(columns=["id"], predicate="year = 2021 and id > 1")
    assert pa.table(read).to_pylist() == [{"id": 2}]


def test_scan_predicate_is_case_sensitive(dl, path):
    dl.write_deltalake(path, pa.table({"Id": [1, 2]}))
    table = dl.DeltaTable(path)
    assert pa.table(table.scan(predicate="Id > 1")).num_rows == 1
    with raises_exactly(dl.exceptions.DeltaError, "No field named id"):
        table.scan(predicate="id > 1")


def test_scan_unknown_column(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "No field named nope"):
        pa.table(table.scan(columns=["nope"]))


def test_scan_predicate_that_does_not_parse(dl, table):
    with raises_exactly(dl.exceptions.DeltaError, "sql parser error"):
        table.scan(predicate="id +")


def test_scan_of_an_older_version(dl, path, table):
    dl.write_deltalake(path, sample(1), mode="overwrite")
    assert pa.table(table.scan()).num_rows == 3


def test_duckdb_reads_the_dataset(years):
    database = duckdb.connect()
    database.register("t", years.to_pyarrow_dataset())
    found = database.sql("select sum(id), count(*) from t where year = 2020")
    assert found.fetchall() == [(3, 2)]


def test_duckdb_reads_the_scan(years):
    database = duckdb.connect()
    database.register("t", pa.RecordBatchReader.from_stream(years.scan()))
    assert database.sql("select count(*) from t").fetchall() == [(4,)]


def test_polars_reads_the_scan(years):
    frame = pl.from_arrow(pa.table(years.scan()))
    assert frame.filter(pl.col("year") == 2021).height == 2


def test_polars_reads_the_dataset(years):
    frame = pl.scan_pyarrow_dataset(years.to_pyarrow_dataset())
    assert frame.filter(pl.col("id") == 1).collect().height == 2


def test_reading_does_not_create_versions(dl, path, table):
    table.to_pyarrow_table()
    pa.table(table.scan())
    table.to_pandas()
    assert dl.DeltaTable(path).version() == 0
