"""Programs with libraries that import `deltalake` themselves, or take its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import deltalakedb

from .conftest import read

HEAD = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "deltalake":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if sys.argv[2] == "without deltalake":
    sys.meta_path.insert(0, Missing())

import deltalakedb
deltalakedb.install()
folder = sys.argv[1]
path = f"{folder}/lake/orders"
"""

PROGRAMS = {
    "polars": """
import polars as pl

frame = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", "c"]})
frame.write_delta(path)
frame.lazy().sink_delta(path, mode="append")
table = deltalakedb.DeltaTable(path)
assert pl.scan_delta(table).filter(pl.col("id") > 1).collect().height == 4
assert pl.read_delta(path, columns=["name"]).shape == (6, 1)
assert pl.read_delta(path, version=0, use_pyarrow=True).height == 3
name = f"{deltalakedb.connect().uri}?table=orders"
assert pl.scan_delta(name).select(pl.len()).collect().item() == 6
merger = frame.with_columns(name=pl.lit("z")).write_delta(
    table,
    mode="merge",
    delta_merge_options={
        "predicate": "s.id = t.id", "source_alias": "s", "target_alias": "t"
    },
)
merger.when_matched_update_all().execute()
table.delete("id = 2")
assert pl.scan_delta(table).collect()["name"].to_list() == ["z"] * 4

pl.DataFrame({"id": range(20)}).write_delta(f"{folder}/hidden")
hidden = deltalakedb.DeltaTable(f"{folder}/hidden")
hidden.alter.set_table_properties({"delta.enableDeletionVectors": "true"})
hidden.delete("id = 2")
assert hidden.deletion_vectors().read_all().num_rows == 1
assert pl.scan_delta(hidden).collect().height == 19
""",
    "daft": """
import daft

frame = daft.from_pydict({"id": [1, 2, 3], "name": ["a", "b", "c"]})
frame.write_deltalake(path)
frame.write_deltalake(path, mode="append")
found = daft.read_deltalake(path).where(daft.col("id") > 2)
assert found.to_pydict() == {"id": [3, 3], "name": ["c", "c"]}
assert daft.read_deltalake(path, version=0).count_rows() == 3
frame.write_deltalake(path, mode="overwrite")
assert deltalakedb.DeltaTable(path).count() == 3
frame.write_deltalake(f"{folder}/parts", partition_cols=["name"])
assert len(deltalakedb.DeltaTable(f"{folder}/parts").partitions()) == 3
frame.where(daft.col("id") != 2).write_deltalake(path, mode="append")
""",
    "dlt": """
import dlt
from dlt.common.libs.deltalake import get_delta_tables

pipeline = dlt.pipeline(
    "shop",
    pipelines_dir=f"{folder}/pipelines",
    destination=dlt.destinations.filesystem(bucket_url=f"file://{folder}"),
    dataset_name="lake",
)

def run(rows, disposition):
    @dlt.resource(
        name="orders",
        table_format="delta",
        primary_key="id",
        write_disposition=disposition,
    )
    def orders():
        yield rows
    assert not pipeline.run(orders(), loader_file_format="parquet").has_failed_jobs

run([{"id": 8, "name": "x"}], "append")
run([{"id": 1, "name": "a"}, {"id": 3, "name": "b"}], "replace")
run(
    [{"id": 3, "name": "z"}, {"id": 1, "name": "z"}],
    {"disposition": "merge", "strategy": "upsert"},
)
run([{"id": 1, "name": "c"}, {"id": 3, "name": "d"}], "append")
table = get_delta_tables(pipeline, "orders")["orders"]
assert isinstance(table, deltalakedb.DeltaTable)
assert [commit["operation"] for commit in table.history(2)] == ["WRITE", "MERGE"]
""",
    "dagster_deltalake": """
import pandas as pd
import polars as pl
import pyarrow as pa
from dagster import asset, materialize
from dagster_deltalake import (
    DeltaLakePyarrowIOManager, DeltaTableResource, LocalConfig
)
from dagster_deltalake_pandas import DeltaLakePandasIOManager
from dagster_deltalake_polars import DeltaLakePolarsIOManager

MANAGERS = [
    (DeltaLakePyarrowIOManager, pa.Table, pa.table),
    (DeltaLakePandasIOManager, pd.DataFrame, pd.DataFrame),
    (DeltaLakePolarsIOManager, pl.DataFrame, pl.DataFrame),
]
for manager, kind, make in MANAGERS:
    @asset
    def orders() -> kind:
        return make({"id": [1, 3]})

    @asset
    def counts(orders: kind) -> kind:
        assert isinstance(orders, kind)
        return make({"count": [len(orders)]})

    storage = LocalConfig()
    io = manager(root_uri=folder, storage_options=storage, schema="lake")
    assert materialize([orders, counts], resources={"io_manager": io}).success
found = DeltaTableResource(url=path, storage_options=storage).load()
assert isinstance(found, deltalakedb.DeltaTable)
assert found.version() == 2
deltalakedb.write_deltalake(path, found, mode="append")
""",
    # It does not import `deltalake`: it asks a table for a provider, and is refused.
    "datafusion": """
import pyarrow as pa
from datafusion import SessionContext

deltalakedb.write_deltalake(path, pa.table({"id": [1, 1, 3, 3]}))
table = deltalakedb.DeltaTable(path)
context = SessionContext()
try:
    context.register_table("orders", table)
except NotImplementedError as e:
    assert "from_arrow(), register to_pyarrow_dataset(), or use QueryBuilder" in str(e)
else:
    raise AssertionError("the table is a provider: say so in docs/integrations.md")
assert context.from_arrow(table).count() == 4
context.register_table("orders", table.to_pyarrow_dataset())
found = context.sql("SELECT max(id) AS highest FROM orders WHERE id < 3")
assert found.to_pydict() == {"highest": [1]}
builder = deltalakedb.QueryBuilder().register("orders", table)
found = builder.execute("SELECT max(id) AS highest FROM orders").read_all()
assert pa.table(found).to_pydict() == {"highest": [3]}
""",
}
# `make integrations` runs all, with versions of pandas and pyarrow that they accept.
HERE = list(PROGRAMS) if os.environ.get("DELTALAKEDB_INTEGRATIONS") else ["polars"]


@pytest.mark.parametrize("deltalake_is", ["with deltalake", "without deltalake"])
@pytest.mark.parametrize("library", HERE)
def test_a_library(
    embedded: str, tmp_path: Path, library: str, deltalake_is: str
) -> None:
    """A program of a library works, and its table is in the catalog."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            HEAD + PROGRAMS[library],
            str(tmp_path),
            deltalake_is,
        ],
        cwd=tmp_path,
        env={
            "PYTHONPATH": ":".join(sys.path),
            "PATH": "",
            "HOME": str(tmp_path),
            "DELTALAKEDB_CATALOG": embedded,
            "DAGSTER_HOME": str(tmp_path),
            # Nothing is sent anywhere.
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "DO_NOT_TRACK": "true",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    path = str(tmp_path / "lake" / "orders")
    assert read(path) == [1, 1, 3, 3] or library == "daft"
    catalog = deltalakedb.connect()
    assert catalog.table("orders").table_uri == deltalakedb.DeltaTable(path).table_uri
    assert catalog.verify() == []
