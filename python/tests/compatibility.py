"""Writes docs/python-compatibility.md: every public name of `deltalake`, and ours.

Run it as ``python -m tests.compatibility`` in ``python/``.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from pathlib import Path

from tests.compat.differences import DEFECTS, DIFFERENCES
from tests.test_surface import CLASSES, MODULES, NAMES, defined, members, shape

PAGE = Path(__file__).parents[2] / "docs" / "python-compatibility.md"

INTRODUCTION = """\
# Python: compatibility with `deltalake`

Written by `python -m tests.compatibility` in `python/`, from the two packages and from the compatibility tests; a test
compares this page with what that program writes. `deltalakedb` follows `deltalake` 1.6.6.

`yes` means that the name is there, takes the same arguments with the same defaults, and is exercised by the tests in
[`python/tests/compat`](../python/tests/compat), which run against both packages: every one of them that passes with
`deltalake` passes with `deltalakedb`, but for those listed below.
"""


def reach(module: str, path: str) -> tuple[object, object]:
    suffix = f".{module}" if module else ""
    theirs: object = importlib.import_module(f"deltalake{suffix}")
    ours: object = importlib.import_module(f"deltalakedb{suffix}")
    for part in path.split("."):
        theirs, ours = getattr(theirs, part, None), getattr(ours, part, None)
    return theirs, ours


def here(module: str, path: str) -> str:
    theirs, ours = reach(module, path)
    if ours is None and theirs is not None:
        owner, _, member = path.rpartition(".")
        annotated = (
            getattr(reach(module, owner)[1], "__annotations__", {}) if owner else {}
        )
        return "yes" if member in annotated else "no"
    same = not callable(theirs) or shape(theirs) == shape(ours)
    return "yes" if same else "yes, with other arguments"


def page() -> str:
    lines = [INTRODUCTION]
    classes = {(module, name) for module, name in CLASSES}
    for module in MODULES:
        title = f"deltalake.{module}" if module else "deltalake"
        lines += [f"## `{title}`", "", "| name | here |", "|---|---|"]
        for name in defined(importlib.import_module(title)):
            lines.append(f"| `{name}` | {here(module, name)} |")
            if (module, name) in classes:
                theirs, _ = reach(module, name)
                lines += [
                    f"| `{name}.{member}` | {here(module, f'{name}.{member}')} |"
                    for member in members(theirs)  # type: ignore[arg-type]
                ]
        lines.append("")
    lines += [
        "## What differs",
        "",
        "Beside the reason, the tests that show the difference.",
        "",
    ]
    reasons: dict[str, list[str]] = defaultdict(list)
    for test, reason in DIFFERENCES.items():
        reasons[reason].append(test.split("\n")[0].split("[\\n")[0])
    for reason, tests in sorted(reasons.items()):
        shown = ", ".join(f"`{test}`" for test in sorted(set(tests)))
        lines.append(f"- {reason}: {shown}.")
    lines += [
        "",
        "## What `deltalake` 1.6.6 gets wrong",
        "",
        "These tests say what is right, and fail with `deltalake`.",
        "",
    ]
    lines += [f"- {reason}: `{test}`." for test, reason in sorted(DEFECTS.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    assert NAMES
    PAGE.write_text(page())
