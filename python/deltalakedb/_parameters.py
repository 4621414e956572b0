"""Values for the placeholders of SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal

__all__ = ["Parameter", "Parameters", "parameters"]

Parameter = bool | int | float | str | bytes | date | datetime | Decimal | None
Parameters = Sequence[Parameter] | Mapping[str, Parameter]

_Value = tuple[str, str | None]


def parameters(params: Parameters | None) -> list[_Value] | dict[str, _Value] | None:
    """Each value as its kind and its text."""
    if params is None:
        return None
    if isinstance(params, Mapping):
        return {name: _value(name, value) for name, value in params.items()}
    if isinstance(params, str | bytes) or not isinstance(params, Sequence):
        raise TypeError(
            "params must be a sequence, for $1, or a mapping, for :name, "
            f"not {type(params).__name__}"
        )
    return [_value(f"${n}", value) for n, value in enumerate(params, 1)]


def _value(name: str, value: object) -> _Value:
    match value:
        case None:
            return "none", None
        case bool():
            return "bool", str(value).lower()
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"the parameter {name} is not a 64-bit integer")
            return "int", str(value)
        case float():
            return "float", float.__repr__(value)
        case str():
            return "str", value
        case bytes():
            return "bytes", value.hex()
        case datetime() if value.tzinfo is not None:
            text = value.astimezone(timezone.utc).isoformat()
            return "datetime with time zone", text
        case datetime():
            return "datetime", value.isoformat()
        case date():
            return "date", value.isoformat()
        case Decimal() if value.is_finite():
            return "decimal", f"{value:f}"
        case _:
            raise TypeError(
                f"the parameter {name} cannot be a {type(value).__name__}: {value!r}"
            )
