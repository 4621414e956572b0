"""Assignments of updates and merges as SQL."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import (
    TYPE_CHECKING,
    Any,
)

from deltalakedb._table_features import TableFeatures as TableFeatures

if TYPE_CHECKING:

    pass

Clause = tuple[str, dict[str, str] | None, str | None]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def assignments(
    updates: dict[str, str] | None, new_values: dict[str, Any] | None
) -> dict[str, str]:
    """The new values by column, in SQL."""
    if updates is None and new_values is None:
        raise ValueError(
            "Either updates or new_values need to be passed to update the table."
        )
    if updates is not None and new_values is not None:
        raise ValueError(
            "Passing updates and new_values at same time is not allowed, pick one."
        )
    if updates is None:
        return {name: _sql(value) for name, value in (new_values or {}).items()}
    for name, value in updates.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                "The values of the updates parameter must all be SQL strings, not "
                f"{updates}. Did you mean to use the new_values parameter?"
            )
    return updates


def _sql(value: Any) -> str:
    match value:
        case bool() | int() | float():
            return str(value)
        case str():
            return "'" + value.replace("'", "''") + "'"
        case list():
            return f"[{', '.join(map(_sql, value))}]"
        case datetime():
            return str((utc(value) - _EPOCH) // timedelta(microseconds=1))
    raise TypeError(
        "Invalid datatype provided in new_values, only int, float, bool, list, str or "
        f"datetime are accepted, not {type(value).__name__}."
    )


def utc(time: datetime) -> datetime:
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time
