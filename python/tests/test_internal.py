"""The stub of the compiled part has exactly its contents."""

from __future__ import annotations

import ast
from pathlib import Path

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import DeltaTable, _internal, write_deltalake

STUB = ast.parse((Path(deltalakedb.__file__).parent / "_internal.pyi").read_text())


def test_functions_and_classes_of_the_stub_are_there() -> None:
    missing, unknown = [], []
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef) and not hasattr(_internal, node.name):
            missing.append(node.name)
        if isinstance(node, ast.ClassDef):
            real = vars(getattr(_internal, node.name))
            declared = {
                one.name for one in node.body if isinstance(one, ast.FunctionDef)
            }
            missing += [
                f"{node.name}.{name}" for name in declared - {"__init__"} - real.keys()
            ]
            unknown += [
                f"{node.name}.{name}"
                for name in real.keys() - declared
                if not name.startswith("__")
            ]
    assert (missing, unknown) == ([], [])


def test_datafusion_is_refused_in_words(embedded: str, path: str) -> None:
    write_deltalake(path, pa.table({"id": [1]}))
    with pytest.raises(NotImplementedError, match="QueryBuilder"):
        DeltaTable(path).__datafusion_table_provider__()
