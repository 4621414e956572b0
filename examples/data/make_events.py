#!/usr/bin/env python3
"""Writes `events/` beside this file: a small Delta table with some history, written by delta-rs.

Its rows are the same at every run; file names and commit times are not. The table is kept in the repository as it
was written, so run this only to change it (with the Python environment of `scripts/setup python`).

Versions 0 to 13: created, appended to, deleted from, one day overwritten, updated, merged. Version 10 has a
checkpoint and all JSON before it is kept. There are nulls in every column but `id`, and days that need escaping.
"""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

TABLE = Path(__file__).parent / "events"
KINDS = ["click", "view", "buy", None]
ODD_DAY = "2024-01-04 late/ü"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("kind", pa.string()),
        ("amount", pa.float64()),
        ("price", pa.decimal128(10, 2)),
        ("at", pa.timestamp("us", tz="UTC")),
        ("day", pa.string()),
    ]
)


def rows(ids: range, *days: str | None) -> pa.Table:
    """One event for each id, its values a function of the id; the days take turns."""

    def event(i: int) -> dict:
        return {
            "id": i,
            "kind": KINDS[i % 4],
            "amount": None if i % 5 == 4 else i * 1.5 - 10,
            "price": None if i % 7 == 6 else Decimal(i * 1999) / 100,
            "at": None if i % 11 == 10 else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=i, microseconds=i),
            "day": days[i % len(days)],
        }

    return pa.Table.from_pylist([event(i) for i in ids], schema=SCHEMA)


def make(table: Path) -> None:
    def append(batch: int, ids: range, *days: str | None) -> None:
        loaded = CommitProperties(app_transactions=[Transaction("loader", batch)])
        write_deltalake(table, rows(ids, *days), mode="append", commit_properties=loaded)

    DeltaTable.create(
        table,
        SCHEMA,
        partition_by=["day"],
        name="events",
        description="What happened in the shop",
        # delta-rs writes a checkpoint when the number of commits, not the version, is a multiple of the interval.
        configuration={"delta.checkpointInterval": "11", "delta.enableExpiredLogCleanup": "false"},
    )
    append(1, range(0, 8), "2024-01-01")
    append(2, range(8, 16), "2024-01-01", "2024-01-02")
    append(3, range(16, 24), "2024-01-02")
    append(4, range(24, 32), "2024-01-03")
    DeltaTable(table).delete("id % 8 = 3")
    append(5, range(32, 36), None)
    write_deltalake(table, rows(range(100, 106), "2024-01-02"), mode="overwrite", predicate="day = '2024-01-02'")
    DeltaTable(table).update(updates={"amount": "amount + 100"}, predicate="kind = 'buy'")
    append(6, range(36, 40), ODD_DAY)
    append(7, range(40, 42), "2024-01-05")
    (
        DeltaTable(table)
        .merge(rows(range(40, 46), "2024-01-05", ODD_DAY), "t.id = s.id", source_alias="s", target_alias="t")
        .when_matched_update({"kind": "'merged'"})
        .when_not_matched_insert_all()
        .execute()
    )
    append(8, range(46, 48), "2024-01-05")
    DeltaTable(table).delete("day = '2024-01-03'")


def main() -> None:
    kept = Path(__file__).parent / "events"
    # Created elsewhere first, because the first commit contains the path of its folder.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "events"
        make(made)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(made, kept)


if __name__ == "__main__":
    main()
