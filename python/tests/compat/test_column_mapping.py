"""Tables with column mapping."""

from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import raises_exactly


@pytest.fixture(params=["name", "id"])
def mapped(request: pytest.FixtureRequest, dl: ModuleType, path: str) -> Any:
    table = dl.DeltaTable.create(
        path,
        dl.Schema([dl.Field("id", "long"), dl.Field("my col", "string")]),
        configuration={"delta.columnMapping.mode": request.param},
    )
    data = pa.table({"id": [1, 2], "my col": ["x", "y"]})
    dl.write_deltalake(table, data, mode="append")
    return table


def scanned(table: Any) -> list[dict[str, Any]]:
    return sorted(pa.table(table.scan()).to_pylist(), key=lambda row: row["id"])


def test_mapping_protocol(mapped):
    assert mapped.protocol() == (2, 5, None, None)


def test_mapping_configuration(mapped):
    assert mapped.metadata().configuration["delta.columnMapping.maxColumnId"] == "2"


def test_mapping_field_metadata(mapped):
    for number, field in enumerate(mapped.schema().fields, 1):
        assert field.metadata["delta.columnMapping.id"] == number
        physical = field.metadata["delta.columnMapping.physicalName"]
        assert physical.startswith("col-")


def test_mapping_files_use_physical_names(mapped):
    (uri,) = mapped.file_uris()
    physical = [
        field.metadata["delta.columnMapping.physicalName"]
        for field in mapped.schema().fields
    ]
    assert pq.read_schema(uri).names == physical


def test_mapping_scan_uses_logical_names(mapped):
    assert scanned(mapped) == [
        {"id": 1, "my col": "x"},
        {"id": 2, "my col": "y"},
    ]


def test_mapping_query(dl, mapped):
    builder = dl.QueryBuilder().register("t", mapped)
    reader = builder.execute('select "my col" as c from t where id = 2')
    assert pa.table(reader).to_pylist() == [{"c": "y"}]


def test_mapping_delete(mapped):
    mapped.delete("id = 1")
    assert scanned(mapped) == [{"id": 2, "my col": "y"}]


def test_mapping_update(mapped):
    mapped.update({"my col": "'z'"}, predicate="id = 1")
    assert scanned(mapped) == [{"id": 1, "my col": "z"}, {"id": 2, "my col": "y"}]


def test_mapping_merge(mapped):
    mapped.merge(
        pa.table({"id": [2, 3], "my col": ["two", "three"]}),
        "s.id = t.id",
        source_alias="s",
        target_alias="t",
    ).when_matched_update_all().when_not_matched_insert_all().execute()
    assert scanned(mapped) == [
        {"id": 1, "my col": "x"},
        {"id": 2, "my col": "two"},
        {"id": 3, "my col": "three"},
    ]


def test_mapping_overwrite(dl, mapped):
    data = pa.table({"id": [9], "my col": ["q"]})
    dl.write_deltalake(mapped, data, mode="overwrite")
    assert scanned(mapped) == [{"id": 9, "my col": "q"}]


def test_mapping_checkpoint(dl, path, mapped):
    mapped.create_checkpoint()
    assert len(scanned(dl.DeltaTable(path))) == 2


def test_mapping_add_columns_is_not_supported(dl, mapped):
    with raises_exactly(dl.exceptions.DeltaError, "Column mapping is not supported"):
        mapped.alter.add_columns(dl.Field("extra", "long"))


def test_mapping_schema_evolution_is_not_supported(dl, mapped):
    data = pa.table({"id": [9], "my col": ["q"], "extra": [1]})
    with raises_exactly(dl.exceptions.DeltaError, "Schema evolution on column-mapped"):
        dl.write_deltalake(mapped, data, mode="append", schema_mode="merge")


def test_mapping_partitions(dl, new_path):
    table = dl.DeltaTable.create(
        new_path(),
        dl.Schema([dl.Field("id", "long"), dl.Field("p", "string")]),
        partition_by="p",
        configuration={"delta.columnMapping.mode": "name"},
    )
    dl.write_deltalake(table, pa.table({"id": [1], "p": ["x"]}), mode="append")
    (uri,) = table.file_uris()
    assert "p=x" not in uri
    assert table.partitions() == [{"p": "x"}]
    assert scanned(table) == [{"id": 1, "p": "x"}]


def test_mapping_compact_is_not_supported(dl, mapped):
    with raises_exactly(dl.exceptions.DeltaError, "Column mapping is not supported"):
        mapped.optimize.compact()


def test_mapping_count(mapped):
    assert mapped.count() == 2


def test_mapping_feature_refuses_pyarrow(dl, table):
    table.alter.add_feature(dl.TableFeatures.ColumnMapping, True)
    with raises_exactly(dl.exceptions.DeltaProtocolError, "columnMapping"):
        table.to_pyarrow_dataset()


def test_defect_pyarrow_reads_mapped_columns(dl, mapped):
    try:
        read = mapped.to_pyarrow_table()
    except dl.exceptions.DeltaProtocolError:
        return
    assert sorted(read.column("id").to_pylist()) == [1, 2]
