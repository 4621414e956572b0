from __future__ import annotations

from pathlib import Path

from deltalakedb._util import place_text
from deltalakedb.exceptions import TableNotFoundError
from deltalakedb.table import DeltaTable


def try_get_table_and_table_uri(
    table_or_uri: str | Path | DeltaTable, storage_options: dict[str, str] | None = None
) -> tuple[DeltaTable | None, str]:
    """The table, if it exists, and its location."""
    if isinstance(table_or_uri, DeltaTable):
        return table_or_uri, table_or_uri.table_uri
    if not isinstance(table_or_uri, (str, Path)):
        raise ValueError("table_or_uri must be a str, Path or DeltaTable")
    uri = place_text(table_or_uri)
    return try_get_deltatable(uri, storage_options), uri


def try_get_deltatable(
    table_uri: str | Path, storage_options: dict[str, str] | None
) -> DeltaTable | None:
    """The table, if it exists."""
    try:
        return DeltaTable(table_uri, storage_options=storage_options)
    except TableNotFoundError:
        return None
