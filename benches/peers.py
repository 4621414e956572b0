#!/usr/bin/env python3
"""Measures alternatives as their users have them. Prints one JSON line for each figure.

usage: peers.py versions
       peers.py open TABLE N                      delta-rs, DuckDB delta; writes a checkpoint first
       peers.py plan TABLE LAKE COMMITS FILES N ROWS
                                                  delta-rs, DuckDB delta, DuckLake; the table has its checkpoint
       peers.py memory SYSTEM TABLE LAKE CONDITION
                                                  one of them, after `plan`
       peers.py append FOLDER N                   delta-rs, DuckLake
       peers.py append-to-two FOLDER N            DuckLake
       peers.py append-at-once FOLDER CLIENTS SECONDS REPEATED
                                                  delta-rs, DuckLake; rows `rate` and `slow` (99 of 100 in so many seconds)
       peers.py select TABLE CONDITIONS           delta-rs; the table has its checkpoint
       peers.py scan TABLE QUERY N                delta-rs, DuckDB delta; the query calls the table `scanned`
       peers.py delete TABLE FOLDER               delta-rs, DuckLake; each with a copy of the table
       peers.py checkpoint TABLE                  delta-rs
       peers.py tpch FOLDER SCALE                 no figure: makes the tables of TPC-H, each a Parquet file
       peers.py tpch-queries TABLES QUERIES ANSWERS N
                                                  DuckDB delta; fails where an answer of ours is not the same
       peers.py python-open URI TABLE N           our Python package beside `deltalake`; the table has its checkpoint
       peers.py python-append FOLDER N            our Python package beside `deltalake`

TABLE is a Delta log of COMMITS commits with FILES files each, as benches/src/tables.rs writes it; LAKE is a folder for
the same table as DuckLake keeps it. ROWS is a JSON object, row of the report to conditions: sample n takes condition
n modulo their number. TABLES is a folder of the tables of TPC-H, as TABLE each; QUERIES is benches/tpch.sql; ANSWERS
is a folder of our answers to them, 1.parquet and so on.

A line is {"row", "system", "samples", "files"}: samples in seconds, or bytes for memory; files, where the system says
it, is how many it would read. Or it is {"row", "system", "why"}: it could not be measured.
"""

import importlib
import importlib.util
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake import __version__ as deltalake_version

Call = Callable[[str], int | None]
DELTA_RS, DUCKDB_DELTA, DUCKLAKE = "delta-rs", "DuckDB delta", "DuckLake"
OURS = "SQLite"


def say(row: str, system: str, **rest) -> None:
    print(json.dumps({"row": row, "system": system, **rest}), flush=True)


def timed(row: str, system: str, asked: list[str], prepare: Callable[[], Call]) -> None:
    """Times a call for each condition; the first is made once more before, not timed, so that all samples are warm."""
    try:
        call = prepare()
        files = call(asked[0])
        samples = []
        for condition in asked:
            began = time.perf_counter()
            call(condition)
            samples.append(time.perf_counter() - began)
        say(row, system, samples=samples, files=files)
    except Exception as e:  # a peer that fails is a row that says why, not the end of the run
        say(row, system, why=reason(e))


def reason(e: Exception) -> str:
    return " ".join(str(e).split())[:200]


def duck(extension: str) -> duckdb.DuckDBPyConnection:
    """A connection with an extension from PyPI: nothing is downloaded during a measurement."""
    spec = importlib.util.find_spec(f"duckdb_extension_{extension}")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the package duckdb-extension-{extension} is not installed: run scripts/setup python")
    [path] = Path(spec.origin).parent.glob(f"extensions/*/{extension}.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{path}'")
    return connection


def attached(folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckLake with its catalog in a DuckDB file. Every insert becomes a Parquet file, as in the other systems."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    connection = duck("ducklake")
    options = f"DATA_PATH '{folder}/data/', DATA_INLINING_ROW_LIMIT 0"
    connection.execute(f"ATTACH 'ducklake:{folder}/meta.ducklake' AS lake ({options})")
    return connection


def lake_of_files(folder: Path, commits: int, files: int) -> None:
    """The benchmark's table in DuckLake, without data files.

    DuckLake registers only Parquet files that it can open, so the catalog rows for
    these files are written here, into the tables of its specification
    (https://ducklake.select/docs/stable/specification/introduction), in the form that an insert of this version has.
    """
    if (folder / "meta.ducklake").exists():
        return
    connection = attached(folder)
    connection.execute("CREATE TABLE lake.t (id bigint, ts timestamptz, name varchar, amount double, day varchar)")
    connection.execute("ALTER TABLE lake.t SET PARTITIONED BY (day)")
    connection.close()
    meta = duckdb.connect(str(folder / "meta.ducklake"))
    [(table,)] = meta.execute("SELECT table_id FROM ducklake_table").fetchall()
    [(partition,)] = meta.execute("SELECT partition_id FROM ducklake_partition_info").fetchall()
    [(newest, schema, catalog)] = meta.execute(
        "SELECT snapshot_id, schema_version, next_catalog_id FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1"
    ).fetchall()
    total = commits * files
    meta.execute("BEGIN")
    meta.execute(
        f"INSERT INTO ducklake_snapshot SELECT {newest} + 1 + c, now(), {schema}, {catalog}, (c + 1) * {files} "
        f"FROM range({commits}) r(c)"
    )
    meta.execute(
        "INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) "
        f"SELECT {newest} + 1 + c, 'inserted_into_table:{table}' FROM range({commits}) r(c)"
    )
    day = "printf('2024-%02d-%02d', n // 3000 % 12 + 1, n // 100 % 28 + 1)"
    meta.execute(
        "INSERT INTO ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format, "
        "record_count, file_size_bytes, footer_size, row_id_start, partition_id) "
        f"SELECT n, {table}, {newest} + 1 + n // {files}, 'day=' || {day} || printf('/part-%08d.parquet', n), true, "
        f"'parquet', 1000, 1048576, 1000, n * 1000, {partition} FROM range({total}) r(n)"
    )
    meta.execute(f"INSERT INTO ducklake_file_partition_value SELECT n, {table}, 0, {day} FROM range({total}) r(n)")
    columns = [  # smallest, largest, nulls, whether NaN is possible
        ("n * 1000", "n * 1000 + 999", 0, "NULL"),
        ("'2024-01-01 00:00:00+00'", "'2024-01-02 00:00:00+00'", 0, "NULL"),
        ("printf('a%07d', n)", "printf('z%07d', n)", 3, "NULL"),
        ("0.5", "99.5", 0, "false"),
        (day, day, 0, "NULL"),
    ]
    for column, (smallest, largest, nulls, nan) in enumerate(columns, 1):
        meta.execute(
            f"INSERT INTO ducklake_file_column_stats SELECT n, {table}, {column}, 8000, {1000 - nulls}, {nulls}, "
            f"({smallest})::varchar, ({largest})::varchar, {nan}, NULL FROM range({total}) r(n)"
        )
        meta.execute(
            "INSERT INTO ducklake_table_column_stats (table_id, column_id, contains_null, contains_nan, min_value, "
            f"max_value) SELECT {table}, {column}, {nulls > 0}, {nan}, min({smallest})::varchar, "
            f"max({largest})::varchar FROM range({total}) r(n)"
        )
    rows, size = total * 1000, total * 1048576
    meta.execute(f"INSERT INTO ducklake_table_stats VALUES ({table}, {rows}, {rows}, {size})")
    meta.execute("COMMIT")
    meta.close()


def versions() -> None:
    of_duckdb = f"DuckDB {duckdb.__version__}"
    print(json.dumps({DELTA_RS: f"deltalake {deltalake_version}", DUCKDB_DELTA: of_duckdb, DUCKLAKE: of_duckdb}))


def planner(system: str, table: str, lake: Path) -> Call:
    """A function that opens the table and plans a condition; connections and extensions exist already."""

    def delta_rs(condition: str) -> int:
        return len(DeltaTable(table).file_uris(file_pruning_predicate=condition))

    def duckdb_delta(condition: str) -> None:
        # The estimate of rows in the plan is made of the files that are left: they are listed.
        connection.execute(f"EXPLAIN SELECT * FROM delta_scan('{table}') WHERE {condition}").fetchall()

    def ducklake(condition: str) -> None:
        # Its files are listed only when a query runs: it is run until it opens the first, which is not there.
        try:
            connection.execute(f"SELECT * FROM lake.t WHERE {condition}").fetchall()
        except duckdb.IOException as e:
            if "No such file" in str(e):
                return
            raise
        raise RuntimeError("DuckLake found no file to read")

    if system == DELTA_RS:
        return delta_rs
    if system == DUCKDB_DELTA:
        connection = duck("delta")
        return duckdb_delta
    connection = attached(lake)
    return ducklake


def open_(table: str, n: int) -> None:
    def delta_rs() -> Call:
        def open_table(_: str) -> None:
            DeltaTable(table)

        return open_table

    def duckdb_delta() -> Call:
        connection = duck("delta")

        def describe(_: str) -> None:
            connection.execute(f"DESCRIBE SELECT * FROM delta_scan('{table}')").fetchall()

        return describe

    DeltaTable(table).create_checkpoint()
    timed("open", DELTA_RS, [""] * n, delta_rs)
    timed("open", DUCKDB_DELTA, [""] * n, duckdb_delta)


def python_open(uri: str, table: str, n: int) -> None:
    def of(package, place: str) -> Call:
        def open_table(_: str) -> None:
            package.DeltaTable(place)

        return open_table

    row = "`DeltaTable(…)` in Python"
    timed(row, OURS, [""] * n, lambda: of(our_package(), uri))
    timed(row, DELTA_RS, [""] * n, lambda: of(deltalake, table))


def python_append(folder: Path, n: int) -> None:
    def of(package, place: Path) -> Call:
        def append(_: str) -> None:
            package.write_deltalake(str(place), rows, mode="append")

        return append

    folder.mkdir(parents=True)
    rows = pa.table({"id": range(100), "v": [float(i) for i in range(100)], "s": ["xxxxxxxxxx"] * 100})
    (folder / "config.toml").write_text('durability = "catalog"\n')
    os.environ["DELTALAKEDB_CONFIG"] = str(folder / "config.toml")
    os.environ["DELTALAKEDB_CATALOG"] = f"deltasql://sqlite/{folder.resolve()}/meta.db"
    row = '`write_deltalake(…, mode="append")` of 100 rows in Python, the catalog alone durable'
    timed(row, OURS, [""] * n, lambda: of(our_package(), folder / "ours"))
    timed(row, DELTA_RS, [""] * n, lambda: of(deltalake, folder / "theirs"))


def our_package():
    """The package of this checkout, which `scripts/python build --release` has built."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
    return importlib.import_module("deltalakedb")


def plan(table: str, lake: Path, commits: int, files: int, n: int, rows: dict[str, list[str]]) -> None:
    def prepare(system: str) -> Call:
        if system == DUCKLAKE:
            lake_of_files(lake, commits, files)
        return planner(system, table, lake)

    for row, conditions in rows.items():
        asked = [conditions[i % len(conditions)] for i in range(n)]
        for system in (DELTA_RS, DUCKDB_DELTA, DUCKLAKE):
            timed(row, system, asked, lambda system=system: prepare(system))


def resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def memory(system: str, table: str, lake: Path, condition: str) -> None:
    """The growth of the peak memory while it opens and plans once; libraries and connections exist already."""
    try:
        call = planner(system, table, lake)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
        before = resident("VmRSS")
        call(condition)
        say("memory", system, samples=[max(resident("VmHWM") - before, 0)])
    except Exception as e:
        say("memory", system, why=reason(e))


def append(folder: Path, n: int) -> None:
    rows = pa.table({"id": list(range(100)), "v": [float(i) for i in range(100)], "s": ["x" * 10] * 100})

    def delta_rs() -> Call:
        path = str(folder / "delta")
        write_deltalake(path, rows.slice(0, 0))
        return lambda _: write_deltalake(path, rows, mode="append")

    def ducklake() -> Call:
        connection = attached(folder / "lake")
        connection.register("batch", rows)
        connection.execute("CREATE TABLE lake.t AS SELECT * FROM batch LIMIT 0")

        def insert(_: str) -> None:
            connection.execute("INSERT INTO lake.t SELECT * FROM batch")

        return insert

    folder.mkdir(parents=True, exist_ok=True)
    timed("append", DELTA_RS, [""] * n, delta_rs)
    timed("append", DUCKLAKE, [""] * n, ducklake)


def append_to_two(folder: Path, n: int) -> None:
    rows = pa.table({"id": list(range(100)), "v": [float(i) for i in range(100)], "s": ["x" * 10] * 100})

    def ducklake() -> Call:
        connection = attached(folder / "lake")
        connection.register("batch", rows)
        for table in ("one", "other"):
            connection.execute(f"CREATE TABLE lake.{table} AS SELECT * FROM batch LIMIT 0")

        def insert(_: str) -> None:
            connection.execute("BEGIN")
            for table in ("one", "other"):
                connection.execute(f"INSERT INTO lake.{table} SELECT * FROM batch")
            connection.execute("COMMIT")

        return insert

    folder.mkdir(parents=True, exist_ok=True)
    timed("append-to-two", DUCKLAKE, [""] * n, ducklake)


def append_at_once(folder: Path, clients: int, seconds: float, repeated: int) -> None:
    """Threads that append 100 rows each to one table, in a loop. Rejected commits are retried, as users do."""
    rows = pa.table({"id": list(range(100)), "v": [float(i) for i in range(100)], "s": ["x" * 10] * 100})

    def delta_rs() -> list[Callable[[], object]]:
        path = str(folder / "delta")
        write_deltalake(path, rows.slice(0, 0))
        return [lambda: write_deltalake(path, rows, mode="append")] * clients

    def ducklake() -> list[Callable[[], object]]:
        connection = attached(folder / "lake")
        connection.register("batch", rows)
        connection.execute("CREATE TABLE lake.t AS SELECT * FROM batch LIMIT 0")

        def client() -> Callable[[], object]:
            cursor = connection.cursor()
            cursor.register("batch", rows)
            return lambda: cursor.execute("INSERT INTO lake.t SELECT * FROM batch")

        return [client() for _ in range(clients)]

    def run(call: Callable[[], object], until: float) -> list[float]:
        took = []
        while time.perf_counter() < until:
            began = time.perf_counter()
            while True:
                try:
                    call()
                    break
                except Exception:
                    if time.perf_counter() - began > 30:
                        raise
            took.append(time.perf_counter() - began)
        return took

    folder.mkdir(parents=True, exist_ok=True)
    for system, prepare in ((DELTA_RS, delta_rs), (DUCKLAKE, ducklake)):
        try:
            calls, rates, took = prepare(), [], []
            for _ in range(repeated):
                began = time.perf_counter()
                with ThreadPoolExecutor(clients) as threads:
                    done = list(threads.map(lambda call, until=began + seconds: run(call, until), calls))
                rates.append(sum(map(len, done)) / (time.perf_counter() - began))
                took += [one for each in done for one in each]
            say("rate", system, samples=rates)
            say("slow", system, samples=[sorted(took)[(len(took) - 1) * 99 // 100]])
        except Exception as e:  # as in `timed`
            say("rate", system, why=reason(e))


def select(table: str, conditions: list[str]) -> None:
    def delta_rs() -> Call:
        def plan_query(condition: str) -> None:
            builder = QueryBuilder().register("t", DeltaTable(table))
            builder.execute(f"EXPLAIN SELECT * FROM t WHERE {condition}").read_all()

        return plan_query

    timed("select", DELTA_RS, conditions, delta_rs)


def scan(table: str, query: str, n: int) -> None:
    """A query of the table `scanned`, to its last row."""

    def delta_rs() -> Call:
        def run_query(sql: str) -> None:
            QueryBuilder().register("scanned", DeltaTable(table)).execute(sql).read_all()

        return run_query

    def duckdb_delta() -> Call:
        connection = duck("delta")

        def run_query(sql: str) -> None:
            connection.execute(sql.replace(" scanned", f" delta_scan('{table}') AS scanned")).fetchall()

        return run_query

    timed("scan", DELTA_RS, [query] * n, delta_rs)
    timed("scan", DUCKDB_DELTA, [query] * n, duckdb_delta)


def delete(table: str, folder: Path) -> None:
    """Deletes of one row from a copy of a table of one file. The table does not have the first of these ids any more."""

    def delta_rs() -> Call:
        copy, ids = str(folder / "delta-rs"), itertools.count(100)
        write_deltalake(copy, rows_of(table))

        def delete_row(_: str) -> None:
            done = DeltaTable(copy).delete(f"id = {next(ids) * 7919 + 13}")
            if done["num_deleted_rows"] != 1:
                raise RuntimeError(f"no row was deleted: {done}")

        return delete_row

    def ducklake() -> Call:
        connection, ids = attached(folder / "ducklake"), itertools.count(100)
        rows = rows_of(table)  # noqa: F841 - DuckDB finds it by its name
        connection.execute("CREATE TABLE lake.t AS SELECT * FROM rows")

        def delete_row(_: str) -> None:
            done = connection.execute(f"DELETE FROM lake.t WHERE id = {next(ids) * 7919 + 13}").fetchone()
            if done != (1,):
                raise RuntimeError(f"no row was deleted: {done}")

        return delete_row

    timed("delete", DELTA_RS, [""] * 9, delta_rs)
    timed("delete", DUCKLAKE, [""] * 9, ducklake)


def checkpoint(table: str) -> None:
    try:
        opened = DeltaTable(table)
        # Once only: a second call finds the checkpoint and writes none.
        began = time.perf_counter()
        opened.create_checkpoint()
        say("checkpoint", DELTA_RS, samples=[time.perf_counter() - began])
    except Exception as e:
        say("checkpoint", DELTA_RS, why=reason(e))


def rows_of(table: str) -> pa.Table:
    return pa.table(QueryBuilder().register("t", DeltaTable(table)).execute("SELECT * FROM t").read_all())


def tpch(folder: Path, scale: str) -> None:
    program = Path(sys.executable).parent / "tpchgen-cli"
    asked = ["parquet", "-s", scale, f"--output-dir={folder}"]
    subprocess.run([program, *asked], check=True, stdout=subprocess.DEVNULL)


def tpch_queries(tables: Path, queries: Path, answers: Path, n: int) -> None:
    """All queries of TPC-H in turn, n times, after DuckDB's answers were compared with ours."""
    asked = dict(re.findall(r"^-- (\d+)$(.*?);", queries.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    if not asked:
        raise RuntimeError(f"{queries} has no query")
    connection = duck("delta")
    for table in tables.resolve().iterdir():
        connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM delta_scan('{table}')")
    theirs = {query: connection.execute(sql).fetchall() for query, sql in asked.items()}
    for query, rows in theirs.items():
        ours = duckdb.execute("SELECT * FROM read_parquet(?)", [str(answers / f"{query}.parquet")]).fetchall()
        # Their order is a part of the answers: the queries leave it open between equal rows only.
        for number, (their, our) in enumerate(itertools.zip_longest(rows, ours, fillvalue=()), 1):
            if len(their) != len(our) or not all(map(same_value, their, our)):
                raise RuntimeError(f"query {query} of TPC-H, row {number}: DuckDB has {their}, we have {our}")

    def run_queries(_: str) -> None:
        for sql in asked.values():
            connection.execute(sql).fetchall()

    timed("tpch", DUCKDB_DELTA, [""] * n, lambda: run_queries)


def same_value(one, other) -> bool:
    """Whether two values of answers are the same, but for the rounding of numbers.

    Whole numbers and decimals are exact. An average of decimals is a float in one system; in another it is a decimal, of
    which the last digit may be rounded.
    """
    if not is_number(one) or not is_number(other):
        return (one is None) == (other is None) and str(one) == str(other)
    if not isinstance(one, float) and not isinstance(other, float):
        return Decimal(one) == Decimal(other)
    digit = 0.0
    for decimal, number in ((one, other), (other, one)):
        if isinstance(decimal, Decimal) and isinstance(number, float):
            digit = 10.0 ** int(decimal.as_tuple().exponent)
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=digit)


def is_number(value) -> bool:
    return isinstance(value, (int, float, Decimal))


def main() -> int:
    match sys.argv[1:]:
        case ["versions"]:
            versions()
        case ["open", table, n]:
            open_(table, int(n))
        case ["plan", table, lake, commits, files, n, rows]:
            plan(table, Path(lake), int(commits), int(files), int(n), json.loads(rows))
        case ["memory", system, table, lake, condition]:
            memory(system, table, Path(lake), condition)
        case ["append", folder, n]:
            append(Path(folder), int(n))
        case ["append-to-two", folder, n]:
            append_to_two(Path(folder), int(n))
        case ["append-at-once", folder, clients, seconds, repeated]:
            append_at_once(Path(folder), int(clients), float(seconds), int(repeated))
        case ["select", table, conditions]:
            select(table, json.loads(conditions))
        case ["scan", table, query, n]:
            scan(table, query, int(n))
        case ["delete", table, folder]:
            delete(table, Path(folder))
        case ["python-open", uri, table, n]:
            python_open(uri, table, int(n))
        case ["python-append", folder, n]:
            python_append(Path(folder), int(n))
        case ["checkpoint", table]:
            checkpoint(table)
        case ["tpch", folder, scale]:
            tpch(Path(folder), scale)
        case ["tpch-queries", tables, queries, answers, n]:
            tpch_queries(Path(tables), Path(queries), Path(answers), int(n))
        case _:
            print((__doc__ or "").split("\n\n")[1], file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
