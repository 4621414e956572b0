from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import date, datetime
from types import FrameType
from typing import Any, TypeVar, cast

_Metrics = TypeVar("_Metrics")

#: Arguments that older programs pass by position.
HOOKS_FIRST = ("post_commithook_properties", "commit_properties")


def encode_partition_value(val: Any) -> str:
    """The value of a partition column as the log spells it."""
    match val:
        case bool():
            return str(val).lower()
        case str():
            return val
        case int() | float():
            return str(val)
        case datetime():
            return val.isoformat(sep=" ")
        case date():
            return val.isoformat()
        case bytes():
            return val.decode("unicode_escape", "backslashreplace")
    raise ValueError(f"Could not encode partition value for type: {val}")


_COMMIT_ARGUMENTS = ("commit_properties", "post_commithook_properties")


def deprecate_positional_commit_args(
    method_name: str,
    args: tuple[Any, ...],
    commit_properties: Any = None,
    post_commithook_properties: Any = None,
    legacy_order: tuple[str, ...] = _COMMIT_ARGUMENTS,
) -> tuple[Any, Any]:
    """The commit arguments; warns if some were passed by position."""
    commit, hooks = positional_args(
        method_name,
        args,
        legacy_order,
        {
            "commit_properties": commit_properties,
            "post_commithook_properties": post_commithook_properties,
        },
        stacklevel=4,
    ).values()
    return commit, hooks


def positional_args(
    method: str,
    args: tuple[Any, ...],
    order: tuple[str, ...],
    named: dict[str, Any],
    stacklevel: int = 3,
) -> dict[str, Any]:
    """`named`, completed by arguments passed by position in a former order.

    Arguments that are `None` in `named`, or have their default, may be given.
    """
    if not args:
        return named
    if len(args) > len(order):
        raise TypeError(
            f"{method}() takes at most {len(order)} positional commit arguments: got "
            f"unexpected positional arguments {args[len(order):]!r}"
        )
    warnings.warn(
        f"Passing commit arguments positionally to {method}() is deprecated: "
        "name them instead.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
    given = dict(zip(order, args, strict=False))
    for name in given:
        if named[name] is not None and not isinstance(named[name], Default):
            raise TypeError(f"{method}() got multiple values for '{name}'")
    return named | given


class Default:
    """A default that can be told from the same value given by the caller."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def given(value: Any) -> Any:
    """The given value, or the default."""
    return value.value if isinstance(value, Default) else value


def place_text(place: str | os.PathLike[str]) -> str:
    """The location as Rust expects it. A path always is one; a text may be a name."""
    text = os.fspath(place)
    is_bare = not isinstance(place, str) and not {"/", os.sep} & set(text)
    return os.path.join(".", text) if is_bare else text


def path_text(location: str | os.PathLike[str] | None) -> str | None:
    """The location of a new table as Rust expects it."""
    check_type("location", location, str, os.PathLike, type(None))
    return None if location is None else os.fspath(location)


def column_names(names: Sequence[str] | str | None) -> list[str] | None:
    """The partition columns of a new table."""
    check_type("partition_by", names, str, Sequence, type(None))
    return [names] if isinstance(names, str) else list(names) if names else None


#: The line of the program that waits for the current call, which runs in a thread.
waiting_line: ContextVar[tuple[str, int] | None] = ContextVar(
    "deltalakedb_waiting_line", default=None
)


def warn_caller(category: type[Warning], message: str) -> None:
    """Warns at the line outside of this package that called it."""
    line = waiting_line.get()
    if line is not None:
        warnings.warn_explicit(message, category, *line)
        return
    _, level = _outside(sys._getframe())
    warnings.warn(message, category, stacklevel=level)


def calling_line() -> tuple[str, int] | None:
    """The file and the line outside of this package that called it."""
    frame, _ = _outside(sys._getframe())
    return (frame.f_code.co_filename, frame.f_lineno) if frame else None


def _outside(frame: FrameType | None) -> tuple[FrameType | None, int]:
    """The next frame outside of this package, and its level, counted from 1."""
    package = __name__.partition(".")[0]
    level = 1
    while frame and str(frame.f_globals.get("__name__")).split(".")[0] == package:
        frame = frame.f_back
        level += 1
    return frame, level


def check_type(what: str, value: object, *types: type) -> None:
    """Raises `TypeError`, in one sentence, unless the value is of one of the types."""
    if not isinstance(value, types):
        names = " or ".join("None" if t is type(None) else t.__name__ for t in types)
        raise TypeError(f"{what} must be {names}, not {type(value).__name__}")


def parse_metrics(text: str, kind: type[_Metrics]) -> _Metrics:
    """The metrics of an operation, of one of the types of `deltalakedb.results`."""
    return cast(_Metrics, json.loads(text))
