"""Writes docs/python-compatibility.md: every public name of `deltalake`, and ours.

Run it as ``python -m tests.compatibility`` in ``python/``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.compat.differences import DEFECTS, DIFFERENCES
from tests.test_surface import (
    CLASSES,
    MODULES,
    NOT_CALLED,
    defined,
    members,
    protocols,
    shape,
)

# Modules that only this package has.
OURS = ["catalog", "results", "aio"]
OURS_INTERNAL = {"action_json"}

PAGE = Path(__file__).parents[2] / "docs" / "python-compatibility.md"
SUITE = Path(__file__).parent / "compat"

INTRODUCTION = """\
# Python: compatibility with `deltalake`

Written by `python -m tests.compatibility` in `python/`, from the two packages and from the compatibility tests; a test
compares this page with what that program writes. `deltalakedb` follows `deltalake` 1.6.6.

| here | means |
|---|---|
| yes | the name is there and takes the same arguments with the same defaults, as far as Python can tell |
| yes, with other arguments | arguments that `deltalake` takes are taken, and some more |
| yes, ignores `a` | the argument `a` is taken and does nothing; the docstring says so |
| raises `E` | it is there, and calling it is always the error `E` |

`used` says whether the tests in [`python/tests/compat`](../python/tests/compat) name it: they run against both packages,
and each that passes with `deltalake` passes with `deltalakedb`, but for those [listed below](#what-differs). A name
that they do not use is compared by its arguments only.
"""


def reach(module: str, path: str) -> tuple[Any, Any]:
    suffix = f".{module}" if module else ""
    theirs: Any = importlib.import_module(f"deltalake{suffix}")
    ours: Any = importlib.import_module(f"deltalakedb{suffix}")
    for part in path.split("."):
        theirs, ours = getattr(theirs, part, None), getattr(ours, part, None)
    return theirs, ours


def here(module: str, path: str) -> str:
    theirs, ours = reach(module, path)
    if ours is None:
        owner, _, member = path.rpartition(".")
        has_it = owner and member in members(reach(module, owner)[1])
        return "yes" if has_it else "no"
    if callable(theirs) and path not in NOT_CALLED and shape(theirs) != shape(ours):
        return "yes, with other arguments"
    if error := always_raised(ours):
        return f"raises `{error}`"
    if names := ignored(ours):
        return "yes, ignores " + ", ".join(f"`{name}`" for name in names)
    return "yes"


def documented(value: object) -> str:
    """The docstring of a callable; empty for other values."""
    return inspect.getdoc(value) or "" if callable(value) else ""


def ignored(value: object) -> list[str]:
    """The arguments that the docstring calls ignored."""
    _, _, arguments = documented(value).partition("Args:\n")
    # The lines of an argument are its own and those with more indentation.
    parts = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.M)
    return [name for name, text in parts if "ignored" in text]


def always_raised(value: object) -> str | None:
    found = re.search(r"^Raises:\n    (\w+): always\.", documented(value), re.M)
    return found and found[1]


def used() -> set[str]:
    """The names that the compatibility tests use, as attributes or in texts."""
    found: set[str] = set()
    for file in SUITE.glob("*.py"):
        # Lists of all names do not count as use.
        has_lists = file.name in ("signatures.py", "test_api.py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # Programs for other processes, too.
                found.update(re.findall(r"\bdl\.(\w+)", node.value))
                if node.value.isidentifier() and not has_lists:
                    found.add(node.value)
    return found


def added() -> list[tuple[str, str]]:
    """The names that only this package has, with the first line of each docstring."""
    listed = {f"deltalakedb.{module}" for module in [*MODULES, *OURS]}
    found = []
    for module in [*MODULES, *OURS]:
        suffix = f".{module}" if module else ""
        ours = importlib.import_module(f"deltalakedb{suffix}")
        theirs = (
            None if module in OURS else importlib.import_module(f"deltalake{suffix}")
        )
        for name in defined(ours):
            value = getattr(ours, name)
            home = getattr(value, "__module__", ours.__name__)
            if not callable(value) or name in OURS_INTERNAL:
                continue
            # Each is listed once, in the module that defines it.
            if home != ours.__name__ if module else home in listed:
                continue
            path = f"{module}.{name}" if module else name
            if not hasattr(theirs, name):
                found.append((path, value))
            if inspect.isclass(value) and module in ("catalog", "table"):
                known = members(getattr(theirs, name, object))
                own = [member for member in members(value) if member not in known]
                found += [
                    (f"{path}.{member}", getattr(value, member)) for member in own
                ]
    return [(path, sentence(value)) for path, value in found]


def sentence(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0].replace("``", "`")


def page() -> str:
    lines = [INTRODUCTION]
    classes = {(module, name) for module, name in CLASSES}
    names = used()

    def line(module: str, path: str) -> str:
        is_used = "yes" if path.rpartition(".")[2] in names else "no"
        return f"| `{path}` | {here(module, path)} | {is_used} |"

    for module in MODULES:
        title = f"deltalake.{module}" if module else "deltalake"
        lines += [f"## `{title}`", "", "| name | here | used |", "|---|---|---|"]
        for name in defined(importlib.import_module(title)):
            lines.append(line(module, name))
            if (module, name) in classes:
                theirs, _ = reach(module, name)
                lines += [
                    line(module, f"{name}.{member}")
                    for member in members(theirs) + protocols(theirs)
                ]
        lines.append("")
    lines += [
        "## What is added",
        "",
        "Public names that `deltalake` does not have. A table is also an Arrow stream (`__arrow_c_stream__`), and tables "
        "and catalogs are shown as HTML in notebooks (`_repr_html_`). [python.md](python.md) describes them. The "
        "classes of `aio` have most methods of those that they wrap.",
        "",
        "| name | |",
        "|---|---|",
        *(f"| `{path}` | {text} |" for path, text in added()),
        "",
        "## What differs",
        "",
        "What is the case here, and the tests that show it: those of both packages which must fail here, with the "
        "exception that is named, and after the arrow those of our own that show what is done instead.",
        "",
    ]
    reasons: dict[str, list[str]] = defaultdict(list)
    instead: dict[str, set[str]] = defaultdict(set)
    for test, difference in DIFFERENCES.items():
        name = test.split("\n")[0].split("[\\n")[0]
        errors = " or ".join(error.__name__ for error in difference.errors)
        reasons[difference.kind.reason].append(f"`{name}` ({errors})")
        instead[difference.kind.reason].update(difference.kind.instead)
    for reason, tests in sorted(reasons.items()):
        shown = ", ".join(sorted(set(tests)))
        ours = ", ".join(f"`{test}`" for test in sorted(instead[reason]))
        lines.append(f"- {reason}: {shown} → {ours}.")
    lines += [
        "",
        "## What `deltalake` 1.6.6 gets wrong",
        "",
        "These tests say what is right, and fail with `deltalake`.",
        "",
    ]
    lines += [
        f"- {defect.reason}: `{test}`." for test, defect in sorted(DEFECTS.items())
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
