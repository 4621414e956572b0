"""Tables and catalogs as HTML, for notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from deltalakedb.exceptions import CatalogError
from deltalakedb.schema import Field, PrimitiveType

if TYPE_CHECKING:
    from deltalakedb._internal import RawCatalog
    from deltalakedb.table import DeltaTable

# A notebook shows this many rows, and the number of the others.
_SHOWN = 50


def of_table(table: DeltaTable) -> str:
    """Its place, version and columns; no data file is read."""
    partitions = set(table.metadata().partition_columns)
    rows = [
        (field.name, _type(field), _remarks(field, field.name in partitions))
        for field in table.schema().fields
    ]
    name = table._table.name()
    title = f"<b>{escape(name)}</b> " if name else ""
    return (
        f"<div>{title}<code>{escape(table.table_uri)}</code>, "
        f"version {table.version()}</div>"
        + _table(("column", "type", ""), rows, "columns")
    )


def of_catalog(catalog: RawCatalog) -> str:
    """Its URI and its tables."""
    title = f"<div><code>{escape(catalog.uri())}</code></div>"
    try:
        tables = sorted(map(json.loads, catalog.tables()), key=lambda t: t["name"])
    except CatalogError as e:
        return f"{title}<div>{escape(str(e))}</div>"
    rows = [(t["name"], str(t["version"]), t["location"], t["mirror"]) for t in tables]
    return title + _table(("table", "version", "location", "mirror"), rows, "tables")


def _type(field: Field) -> str:
    if isinstance(field.type, PrimitiveType):
        return field.type.type
    return field.type.to_json()


def _remarks(field: Field, is_partition: bool) -> str:
    remarks = ["partition"] if is_partition else []
    return ", ".join(remarks if field.nullable else [*remarks, "not null"])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], what: str) -> str:
    shown = "".join(_row("td", row) for row in rows[:_SHOWN])
    rest = len(rows) - _SHOWN
    more = f"<div>and {rest} more {what}</div>" if rest > 0 else ""
    return (
        f"<table><thead>{_row('th', head)}</thead><tbody>{shown}</tbody></table>{more}"
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    return (
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
    )
