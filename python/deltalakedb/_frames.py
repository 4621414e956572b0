"""Rows of tables for other libraries, which are imported only when they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deltalakedb.exceptions import DeltaError

if TYPE_CHECKING:
    import duckdb
    import polars

    from deltalakedb.table import DeltaTable


def to_polars(
    table: DeltaTable, columns: list[str] | None, predicate: str | None
) -> polars.DataFrame:
    module = _imported("polars", "polars")
    frame: polars.DataFrame = module.DataFrame(table.scan(columns, predicate))
    return frame


def to_duckdb(
    table: DeltaTable,
    columns: list[str] | None,
    predicate: str | None,
    connection: duckdb.DuckDBPyConnection | None,
) -> duckdb.DuckDBPyRelation:
    module = _imported("duckdb", "duckdb")
    rows: Any = None
    if columns is None and predicate is None:
        rows = _dataset(table)
    if rows is None:
        rows = Rows(table, columns, predicate)
    relation: duckdb.DuckDBPyRelation = (connection or module).from_arrow(rows)
    return relation


class Rows:
    """Rows of a table as an Arrow stream, which may be read several times.

    DuckDB reads a relation again for every query, and a reader only once.
    """

    def __init__(
        self, table: DeltaTable, columns: list[str] | None, predicate: str | None
    ) -> None:
        self._table = table
        self._version = table.version()
        self._arguments = (columns, predicate)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        version = self._table.version()
        if version != self._version:
            raise DeltaError(
                f"the relation is of version {self._version}, and its DeltaTable is at "
                f"version {version} now: call to_duckdb() again"
            )
        rows = self._table.scan(*self._arguments)
        return rows.__arrow_c_stream__(requested_schema)


def _dataset(table: DeltaTable) -> Any:
    """The table as a dataset; `None` if pyarrow cannot read it, or is not installed.

    DuckDB reads only those of its columns and files that it needs.
    """
    try:
        return table.to_pyarrow_dataset()
    except (ImportError, DeltaError):
        return None


def _imported(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name != name:
            raise
        raise ImportError(
            f"{name} is not installed: install deltalakedb[{extra}]"
        ) from None
