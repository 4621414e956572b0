"""Tables another engine wrote: deletion vectors, unknown fields, old protocols.

The logs are written by hand here, so these tests write past the package under test.
"""

import base64
import json
import os
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import actions, ids, raises_exactly, rows

LETTERS = "abcdefghijklmnopqrstuvwxyz"
RFC_1924 = "0123456789" + LETTERS.upper() + LETTERS + "!#$%&()*+-;<=>?@^_`{|}~"
Z85 = "0123456789" + LETTERS + LETTERS.upper() + ".-:+=^!/*?&<>()[]{}@%$#"
SCHEMA = {
    "type": "struct",
    "fields": [{"name": "id", "type": "long", "nullable": True, "metadata": {}}],
}


def deletion_vector(*positions: int) -> dict[str, Any]:
    """An inline deletion vector: one roaring bitmap with one array container."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(positions) - 1, 16)
    bitmap += b"".join(struct.pack("<H", position) for position in positions)
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = data + bytes(-len(data) % 4)
    text = base64.b85encode(padded).decode()
    return {
        "storageType": "i",
        "pathOrInlineDv": text.translate(str.maketrans(RFC_1924, Z85)),
        "sizeInBytes": len(data),
        "cardinality": len(positions),
    }


def write_log(
    path: str, protocol: Any, add: Any, configuration: Any = None, extra: Any = ()
) -> None:
    """Version 0 of a table whose only file holds the ids 0, 1, 2 and 3."""
    os.makedirs(f"{path}/_delta_log")
    pq.write_table(ids(0, 1, 2, 3), f"{path}/a.parquet")
    metadata: dict[str, Any] = {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps(SCHEMA),
        "partitionColumns": [],
        "configuration": configuration or {},
        "createdTime": 1_700_000_000_000,
    }
    file = {
        "path": "a.parquet",
        "partitionValues": {},
        "size": os.path.getsize(f"{path}/a.parquet"),
        "modificationTime": 1_700_000_000_000,
        "dataChange": True,
    }
    lines = [
        {"commitInfo": {"timestamp": 1_700_000_000_000, "operation": "WRITE"}},
        {"protocol": protocol},
        {"metaData": metadata},
        {"add": file | add},
        *extra,
    ]
    log = Path(path) / "_delta_log" / f"{0:020}.json"
    log.write_text("\n".join(json.dumps(line) for line in lines))


def scanned(table: Any) -> list[Any]:
    return sorted(pa.table(table.scan()).column("id").to_pylist())


@pytest.fixture
def deleted(dl: ModuleType, path: str) -> Any:
    """A table whose deletion vector hides the ids 1 and 2."""
    features = ["deletionVectors"]
    write_log(
        path,
        {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": features,
            "writerFeatures": features,
        },
        {"stats": '{"numRecords":4}', "deletionVector": deletion_vector(1, 2)},
        {"delta.enableDeletionVectors": "true"},
    )
    return dl.DeltaTable(path)


def test_deletion_vectors(deleted, path):
    assert pa.table(deleted.deletion_vectors()).to_pylist() == [
        {
            "filepath": f"file://{path}/a.parquet",
            "selection_vector": [True, False, False, True],
        }
    ]


def test_scan_hides_deleted_rows(deleted):
    assert scanned(deleted) == [0, 3]


def test_scan_predicate_with_deleted_rows(deleted):
    assert pa.table(deleted.scan(predicate="id < 3")).to_pylist() == [{"id": 0}]


def test_query_hides_deleted_rows(dl, deleted):
    reader = dl.QueryBuilder().register("t", deleted).execute("select id from t")
    assert pa.table(reader).num_rows == 2


def test_count_ignores_deletion_vectors(deleted):
    assert deleted.count() == 4


def test_pyarrow_refuses_deletion_vectors(dl, deleted):
    with raises_exactly(dl.exceptions.DeltaProtocolError, "deletionVectors"):
        deleted.to_pyarrow_table()


def test_delete_with_deletion_vectors(deleted, path):
    metrics = deleted.delete("id = 0")
    assert metrics["num_deleted_rows"] == 1
    assert metrics["num_copied_rows"] == 1
    assert scanned(deleted) == [3]
    (removed,) = actions(path, 1, "remove")
    assert removed["deletionVector"]["cardinality"] == 2


def test_append_with_deletion_vectors(dl, deleted):
    dl.write_deltalake(deleted, ids(9), mode="append")
    assert scanned(deleted) == [0, 3, 9]


def test_update_with_deletion_vectors(deleted):
    assert deleted.update({"id": "id + 10"})["num_updated_rows"] == 2
    assert scanned(deleted) == [10, 13]


def test_merge_with_deletion_vectors(deleted):
    deleted.merge(
        ids(1, 3), "s.id = t.id", source_alias="s", target_alias="t"
    ).when_matched_delete().when_not_matched_insert_all().execute()
    assert scanned(deleted) == [0, 1]


def test_compact_with_deletion_vectors(dl, deleted):
    dl.write_deltalake(deleted, ids(9), mode="append")
    deleted.optimize.compact()
    assert scanned(deleted) == [0, 3, 9]
    assert pa.table(deleted.deletion_vectors()).num_rows == 0


def test_restore_with_deletion_vectors(deleted):
    deleted.delete()
    deleted.restore(0)
    assert scanned(deleted) == [0, 3]


def test_checkpoint_with_deletion_vectors(dl, path, deleted):
    deleted.create_checkpoint()
    assert scanned(dl.DeltaTable(path)) == [0, 3]


@pytest.fixture
def plain(dl: ModuleType, path: str) -> Any:
    """A table without statistics and with unknown fields."""
    write_log(
        path,
        {"minReaderVersion": 1, "minWriterVersion": 2},
        {"tags": {"who": "them"}, "futureField": {"x": 1}},
        extra=[{"futureAction": {"x": 1}}, {"txn": {"appId": "app", "version": 5}}],
    )
    return dl.DeltaTable(path)


def test_table_of_another_engine(plain):
    assert rows(plain) == [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 3}]
    assert plain.metadata().id == "5fba94ed-9794-4965-ba6e-6ee3c0d22af9"
    assert plain.metadata().created_time == 1_700_000_000_000
    assert plain.transaction_version("app") == 5


def test_table_of_another_engine_can_be_written(dl, path, plain):
    dl.write_deltalake(plain, ids(9), mode="append")
    plain.delete("id = 0")
    opened = dl.DeltaTable(path)
    assert [row["id"] for row in rows(opened)] == [1, 2, 3, 9]
    assert opened.metadata().id == "5fba94ed-9794-4965-ba6e-6ee3c0d22af9"


def test_count_without_statistics(plain):
    assert plain.count() == 0


@pytest.mark.no_mirror_check
def test_unknown_reader_feature(dl, path):
    write_log(
        path,
        {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["timeMachine"],
            "writerFeatures": ["timeMachine"],
        },
        {},
    )
    with pytest.raises(dl.exceptions.DeltaError, match="timeMachine"):
        rows(dl.DeltaTable(path))


@pytest.mark.no_mirror_check
def test_unknown_writer_feature(dl, path):
    write_log(
        path,
        {
            "minReaderVersion": 1,
            "minWriterVersion": 7,
            "writerFeatures": ["timeMachine"],
        },
        {},
    )
    table = dl.DeltaTable(path)
    assert len(rows(table)) == 4
    with pytest.raises(dl.exceptions.DeltaError, match="timeMachine|[Uu]nsupported"):
        dl.write_deltalake(table, ids(9), mode="append")
