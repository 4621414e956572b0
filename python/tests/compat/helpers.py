"""Small readers and assertions shared by the compatibility tests."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def submodules(*, private: bool = False) -> list[str]:
    """The submodules of ``deltalake``, as ``writer.properties``: the public, or all."""
    found = pkgutil.walk_packages(deltalake.__path__, f"{deltalake.__name__}.")
    names = sorted(module.name.partition(".")[2] for module in found)
    return [name for name in names if private or "._" not in f".{name}"]


def sample(count: int = 3) -> pa.Table:
    """A table of ``count`` rows: ``id`` from 0 and a letter as ``name``."""
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "name": [chr(ord("a") + i) for i in range(count)],
        }
    )


def ids(*values: int | None) -> pa.Table:
    """A one-column table ``id``."""
    return pa.table({"id": pa.array(values, pa.int64())})


def rows(data: Any, *keys: str) -> list[dict[str, Any]]:
    """The rows of a DeltaTable or of Arrow data, sorted by ``keys``.

    Without keys the rows are sorted by the first column; nulls come last.
    """
    if hasattr(data, "to_pyarrow_table"):
        data = data.to_pyarrow_table()
    table = pa.table(data)
    by = keys or tuple(table.column_names[:1])
    return sorted(
        table.to_pylist(),
        key=lambda row: tuple((row[key] is None, row[key]) for key in by),
    )


def column(data: Any, name: str) -> list[Any]:
    """The sorted values of one column, nulls last."""
    return [row[name] for row in rows(data, name)]


def commit(path: str, version: int) -> list[dict[str, Any]]:
    """The actions of one commit file of the table's ``_delta_log``."""
    text = (Path(path) / "_delta_log" / f"{version:020}.json").read_text()
    return [json.loads(line) for line in text.splitlines() if line]


def actions(path: str, version: int, kind: str) -> list[dict[str, Any]]:
    """The actions of one kind (``add``, ``remove``, …) in one commit file."""
    return [action[kind] for action in commit(path, version) if kind in action]


def stats(path: str, version: int = 0) -> dict[str, Any]:
    """The statistics of the only file added by a commit."""
    (add,) = actions(path, version, "add")
    return json.loads(add["stats"])


#: Seconds between two commits that a test tells apart by time.
PAUSE = 0.01


def moment_before_next(table: Any, version: int) -> datetime:
    """A time between a version and the next, committed ``PAUSE`` or more later."""
    (stamp,) = (
        entry["timestamp"]
        for entry in table.history()
        if entry["version"] == version + 1
    )
    return datetime.fromtimestamp(stamp / 1000 - PAUSE / 2, UTC)


def log_files(path: str) -> list[str]:
    """The files of the log without checksums, which not every writer writes."""
    files = (Path(path) / "_delta_log").iterdir()
    return sorted(file.name for file in files if file.suffix != ".crc")


def data_files(path: str) -> list[str]:
    """The Parquet files on disk below ``path``, relative, without the log."""
    root = Path(path)
    found = (file.relative_to(root) for file in root.rglob("*.parquet"))
    return sorted(str(file) for file in found if file.parts[0] != "_delta_log")


def parquet_file(table: Any) -> pq.ParquetFile:
    """The only data file of a DeltaTable."""
    (uri,) = table.file_uris()
    return pq.ParquetFile(uri)


def plain_error(dl: ModuleType, ours: type[Exception] | None = None) -> type[Exception]:
    """The exception raised where `deltalake` raises a bare ``Exception``."""
    if dl.__name__ == "deltalake":
        return Exception
    return ours or dl.exceptions.DeltaError


@contextmanager
def raises_exactly(
    expected: type[BaseException], match: str
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Like ``pytest.raises``, but a subclass of ``expected`` is a failure."""
    with pytest.raises(expected, match=match) as info:
        yield info
    assert type(info.value) is expected
