"""``convert_to_deltalake``."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import actions, ids, raises_exactly, rows, sample


@pytest.fixture
def files(path: str) -> str:
    """A directory with one Parquet file."""
    os.makedirs(path)
    pq.write_table(sample(), f"{path}/a.parquet")
    return path


@pytest.fixture
def hive(path: str) -> str:
    """A directory partitioned by year=2020 and year=2021."""
    for year in (2020, 2021):
        os.makedirs(f"{path}/year={year}")
        pq.write_table(ids(year), f"{path}/year={year}/a.parquet")
    return path


def test_convert(dl, files):
    assert dl.convert_to_deltalake(files) is None
    table = dl.DeltaTable(files)
    assert table.version() == 0
    assert rows(table) == sample().to_pylist()
    assert table.schema() == dl.Schema(
        [dl.Field("id", "long"), dl.Field("name", "string")]
    )


def test_convert_accepts_a_path_object(dl, files):
    dl.convert_to_deltalake(Path(files))
    assert dl.DeltaTable.is_deltatable(files)


def test_convert_keeps_the_files(dl, files):
    dl.convert_to_deltalake(files)
    assert dl.DeltaTable(files).file_uris() == [f"{files}/a.parquet"]


def test_convert_collects_statistics(dl, files):
    dl.convert_to_deltalake(files)
    table = dl.DeltaTable(files)
    assert table.count() == 3
    assert table.file_uris(file_pruning_predicate="id > 100") == []


def test_convert_without_statistics(dl, files):
    dl.convert_to_deltalake(files, collect_stats=False)
    table = dl.DeltaTable(files)
    assert table.count() == 0
    assert len(table.file_uris(file_pruning_predicate="id > 100")) == 1
    assert len(rows(table)) == 3


def test_convert_metadata(dl, files):
    dl.convert_to_deltalake(
        files,
        name="orders",
        description="text",
        configuration={"delta.appendOnly": "true"},
    )
    metadata = dl.DeltaTable(files).metadata()
    assert metadata.name == "orders"
    assert metadata.description == "text"
    assert metadata.configuration == {"delta.appendOnly": "true"}


def test_convert_history(dl, files):
    properties = dl.CommitProperties(custom_metadata={"job": "x"})
    dl.convert_to_deltalake(files, commit_properties=properties)
    (entry,) = dl.DeltaTable(files).history()
    assert entry["operation"] == "CONVERT"
    assert entry["job"] == "x"
    parameters = entry["operationParameters"]
    assert parameters["numFiles"] == "1"
    assert parameters["collectStats"] == "true"


def test_convert_hive_partitions(dl, hive):
    dl.convert_to_deltalake(
        hive,
        partition_by=dl.Schema([dl.Field("year", "integer")]),
        partition_strategy="hive",
    )
    table = dl.DeltaTable(hive)
    assert table.metadata().partition_columns == ["year"]
    assert rows(table) == [{"id": 2020, "year": 2020}, {"id": 2021, "year": 2021}]
    assert table.to_pyarrow_table().schema.field("year").type == pa.int32()


def test_convert_hive_partition_values(dl, hive):
    dl.convert_to_deltalake(
        hive,
        partition_by=dl.Schema([dl.Field("year", "string")]),
        partition_strategy="hive",
    )
    found = [add["partitionValues"] for add in actions(hive, 0, "add")]
    assert sorted(found, key=str) == [{"year": "2020"}, {"year": "2021"}]


def test_convert_directory_partitions(dl, path):
    os.makedirs(f"{path}/2020")
    pq.write_table(ids(1), f"{path}/2020/a.parquet")
    dl.convert_to_deltalake(
        path,
        partition_by=dl.Schema([dl.Field("year", "integer")]),
        partition_strategy="directory",
    )
    table = dl.DeltaTable(path)
    assert table.partitions() == [{"year": "2020"}]
    assert rows(table) == [{"id": 1, "year": 2020}]


def test_convert_partitions_without_their_schema(dl, hive):
    with raises_exactly(dl.exceptions.DeltaError, "schema of partition columns"):
        dl.convert_to_deltalake(hive)


def test_convert_partitions_without_strategy(dl, hive):
    with raises_exactly(ValueError, "Partition strategy has to be provided"):
        dl.convert_to_deltalake(
            hive, partition_by=dl.Schema([dl.Field("year", "integer")])
        )


def test_convert_unknown_strategy(dl, hive):
    with raises_exactly(ValueError, "must be `hive` or `directory`"):
        dl.convert_to_deltalake(hive, partition_strategy="nope")


def test_convert_existing_table(dl, path, table):
    with raises_exactly(dl.exceptions.DeltaError, "already a delta table"):
        dl.convert_to_deltalake(path)


def test_convert_existing_table_ignored(dl, path, table):
    dl.convert_to_deltalake(path, mode="ignore")
    assert dl.DeltaTable(path).version() == 0


def test_convert_ignore_converts_a_plain_directory(dl, files):
    dl.convert_to_deltalake(files, mode="ignore")
    assert dl.DeltaTable(files).count() == 3


def test_convert_empty_directory(dl, path):
    os.makedirs(path)
    with raises_exactly(dl.exceptions.DeltaError, "No parquet file"):
        dl.convert_to_deltalake(path)


def test_convert_merges_schemas(dl, files):
    pq.write_table(pa.table({"extra": [1]}), f"{files}/b.parquet")
    dl.convert_to_deltalake(files)
    table = dl.DeltaTable(files)
    assert {field.name for field in table.schema().fields} == {"id", "name", "extra"}
    assert len(rows(table, "id")) == 4


def test_convert_schemas_that_do_not_fit(dl, files):
    pq.write_table(pa.table({"id": ["x"]}), f"{files}/b.parquet")
    with raises_exactly(
        dl.exceptions.SchemaMismatchError, "Fail to merge schema field 'id'"
    ):
        dl.convert_to_deltalake(files)


def test_convert_then_append(dl, files):
    dl.convert_to_deltalake(files)
    dl.write_deltalake(files, sample(1), mode="append")
    assert dl.DeltaTable(files).count() == 4
