#!/usr/bin/env python3
"""Do DuckDB, delta-rs and Polars read the same rows from our tables as we do?

usage: check_outside_readers.py TABLES.json [READER...]

TABLES.json is `[{"table": "default.events", "location": "/path", "rows": [...]}, ...]`, the rows as
`dl read --format json` prints them (a null may be left out), or the path of an Arrow stream that has them. A "version"
is read instead of the newest. READER is duckdb, delta-rs or polars; the first two without one. It may be parquet, too:
then the location is a folder of Parquet files to which another reader has written the rows. Prints a line for each
reader and table. Where they differ it shows the two rows that differ least, and exits 1. The order of rows does not
matter; how many times each one stands there does.
"""

import base64
import glob
import json
import math
import os
import struct
import sys
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

SHOWN = 50  # rows of each side looked at for the smallest difference


@cache
def connection() -> duckdb.DuckDBPyConnection:
    site = os.path.dirname(os.path.dirname(duckdb.__file__))
    [extension] = glob.glob(f"{site}/duckdb_extension_delta/extensions/*/delta.duckdb_extension")
    c = duckdb.connect()
    c.execute(f"LOAD '{extension}'")
    c.execute("SET TimeZone = 'UTC'")
    return c


def read_duckdb(location: str, version: int | None) -> pa.Table:
    at, arguments = ("", [location]) if version is None else (", version => $2", [location, version])
    return connection().execute(f"SELECT * FROM delta_scan($1{at})", arguments).to_arrow_table()


def read_delta_rs(location: str, version: int | None) -> pa.Table:
    # Its query engine, because the pyarrow reader knows no deletion vectors.
    rows = QueryBuilder().register("t", DeltaTable(location, version)).execute("SELECT * FROM t")
    return pa.table(rows.read_all())


def read_polars(location: str, version: int | None) -> pa.Table:
    return polars.read_delta(location, version=version).to_arrow()


def read_parquet(location: str, _version: int | None) -> pa.Table:
    return pq.read_table(location)


READERS = {"duckdb": read_duckdb, "delta-rs": read_delta_rs, "polars": read_polars, "parquet": read_parquet}


def plain(value, type: pa.DataType):
    """A value of ours (from JSON) or theirs (from Arrow) as the JSON that `dl` prints."""
    if value is None:
        return None
    if pa.types.is_floating(type):
        value = float(value)
        if not math.isfinite(value):
            return str(value)
        return struct.unpack("f", struct.pack("f", value))[0] if type == pa.float32() else value
    if pa.types.is_struct(type):
        return {f.name: plain(value.get(f.name), f.type) for f in type}
    if pa.types.is_map(type):
        pairs = value.items() if isinstance(value, dict) else value
        return {str(plain(k, type.key_type)): plain(v, type.item_type) for k, v in pairs}
    if pa.types.is_nested(type):
        return [plain(v, type.value_type) for v in value]
    match value:
        case Decimal():
            return format(value, "f")
        case datetime():
            zone = "Z" if value.tzinfo else ""
            return (value.astimezone(UTC) if zone else value).strftime("%Y-%m-%dT%H:%M:%S.%f") + zone
        case date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
    return value


def counted(rows: list[dict], schema: pa.Schema) -> Counter[str]:
    def line(row: dict) -> str:
        known = {f.name: plain(row.get(f.name), f.type) for f in schema}
        return json.dumps({**row, **known}, sort_keys=True, ensure_ascii=False)

    return Counter(map(line, rows))


def smallest_difference(ours: Counter[str], theirs: Counter[str], reader: str) -> str:
    only_ours = [json.loads(r) for r in sorted((ours - theirs).elements())]
    only_theirs = [json.loads(r) for r in sorted((theirs - ours).elements())]
    head = f"  {len(only_ours)} rows only in ours, {len(only_theirs)} only in {reader}"
    if not only_ours or not only_theirs:
        return f"{head}, such as {(only_ours or only_theirs)[0]}"
    pairs = ((a, b) for a in only_ours[:SHOWN] for b in only_theirs[:SHOWN])
    a, b = min(pairs, key=lambda p: sum(p[0][k] != p[1].get(k) for k in p[0]))
    columns = [k for k in a if k not in b or a[k] != b[k]]
    values = (f"    {k}: ours {a[k]!r}, {reader} {b[k]!r}" if k in b else f"    {k}: only in ours" for k in columns)
    return "\n".join([head, f"  closest: ours {a}", *values])


def rows_of(table: dict) -> list[dict]:
    if isinstance(table["rows"], list):
        return table["rows"]
    with pa.ipc.open_stream(table["rows"]) as stream:
        return stream.read_all().to_pylist()


def same(table: dict, reader: str) -> bool:
    start = f"{reader:<9}{table['table']:<24}"
    try:
        read = READERS[reader](table["location"], table.get("version"))
    except Exception as e:
        print(f"{start}cannot read it: {e}")
        return False
    theirs = counted(read.to_pylist(), read.schema)
    ours = counted(rows_of(table), read.schema)
    print(f"{start}{read.num_rows:>6} rows   {'same' if ours == theirs else 'DIFFERENT'}")
    if ours != theirs:
        print(smallest_difference(ours, theirs, reader))
    return ours == theirs


def main() -> int:
    if len(sys.argv) < 2 or not READERS.keys() >= set(sys.argv[2:]):
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    readers = sys.argv[2:] or ["duckdb", "delta-rs"]
    with open(sys.argv[1], encoding="utf-8") as f:
        tables = json.load(f)
    if not tables:
        print("no tables to check", file=sys.stderr)
        return 1
    results = [same(table, reader) for table in tables for reader in readers]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
