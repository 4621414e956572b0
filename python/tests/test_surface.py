"""The same names and signatures as `deltalake`, and none of its code."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import subprocess
import sys
import textwrap
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import deltalake
import pytest

import deltalakedb

from .compat.helpers import submodules

MODULES = ["", *submodules()]

# Public names of `deltalake` that are internal.
INTERNAL = {
    "BaseDeltaStorageHandler",
    "DeltaField",
    "DeltaSchema",
    "PyMergeBuilder",
    "PyQueryBuilder",
    "RawDeltaTable",
    "deprecate_positional_commit_args",
    "encode_partition_value",
    "logger",
    "try_get_deltatable",
    "try_get_table_and_table_uri",
    "write_deltalake_rust",
}


def modules(name: str) -> tuple[ModuleType, ModuleType]:
    suffix = f".{name}" if name else ""
    theirs = importlib.import_module(f"deltalake{suffix}")
    return theirs, importlib.import_module(f"deltalakedb{suffix}")


def defined(module: ModuleType) -> list[str]:
    """The public names that a module defines, or exports on purpose."""
    listed = set(getattr(module, "__all__", ()))
    own = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "").startswith("deltalake")
        and not isinstance(value, ModuleType)
    }
    names = listed | {
        name for name in own | assigned(module) if not name.startswith("_")
    }
    return sorted(names - INTERNAL)


def assigned(module: ModuleType) -> set[str]:
    """The constants and types that a module defines, which do not know their module."""
    targets: list[ast.expr] = []
    statements = ast.parse(inspect.getsource(module)).body
    for node in statements:
        if isinstance(node, (ast.If, ast.Try)):
            statements += [*node.body, *node.orelse]
        elif isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return {target.id for target in targets if isinstance(target, ast.Name)}


NAMES = [(module, name) for module in MODULES for name in defined(modules(module)[0])]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_name_is_here(module: str, name: str) -> None:
    assert hasattr(modules(module)[1], name)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_listed_is_listed(module: str) -> None:
    theirs, ours = modules(module)
    if hasattr(theirs, "__all__"):
        assert set(ours.__all__) >= set(theirs.__all__)


def test_what_is_ours() -> None:
    ours = {"Catalog", "begin", "connect", "install", "uninstall"}
    assert ours <= set(deltalakedb.__all__)


def members(cls: type) -> list[str]:
    """The public members of a class, but for those that come from Python."""
    found = set(attributes(cls))
    for base in cls.__mro__:
        if base is not Enum and getattr(builtins, base.__name__, None) is not base:
            found |= vars(base).keys()
    return sorted(name for name in found if not name.startswith("_"))


def attributes(cls: type) -> list[str]:
    """The attributes that instances of a class have, as far as it says so in Python."""
    found = [name for base in cls.__mro__ for name in inspect.get_annotations(base)]
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return found
    return found + [
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ]


def protocols(cls: type) -> list[str]:
    """The special methods that others call, such as ``__arrow_c_schema__``."""
    # Those of object, and how values are copied.
    pythons = {*dir(object), "__getnewargs__"}
    return sorted(
        name
        for name, value in vars(cls).items()
        if name.startswith("__") and callable(value) and name not in pythons
    )


CLASSES = sorted(
    {
        (module, name)
        for module, name in NAMES
        if inspect.isclass(getattr(modules(module)[0], name))
    }
)


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_every_member_is_here(module: str, name: str) -> None:
    theirs, ours = (getattr(m, name) for m in modules(module))
    assert set(members(theirs)) - {*members(ours), *dir(ours)} == set()
    assert [name for name in protocols(theirs) if not hasattr(ours, name)] == []


def shape(function: Any) -> list[tuple[str, str, str]] | None:
    """Names, kinds and defaults of the parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [
        (parameter.name, parameter.kind.name, repr(parameter.default))
        for parameter in parameters
        if parameter.name not in ("self", "cls")
    ]


def callables() -> list[tuple[str, str]]:
    found = []
    for module, name in NAMES:
        value = getattr(modules(module)[0], name)
        if inspect.isfunction(value):
            found.append((module, name))
        elif inspect.isclass(value) and not issubclass(value, BaseException):
            found.append((module, name))
            found += [
                (module, f"{name}.{member}")
                for member in members(value)
                if callable(getattr(value, member, None))
            ]
    return found


# Signatures that accept more here, and why.
WIDER = {
    # pyarrow passes `missing_dir_ok` by position.
    "DeltaStorageHandler.delete_dir_contents",
}
# A Python enum here, and a Rust class there: neither is called.
NOT_CALLED = {"TableFeatures"}
# Names in `deltalake` without a signature for `inspect`.
WITHOUT_SIGNATURE: set[str] = set()


def shapes(module: str, path: str) -> tuple[Any, Any]:
    theirs: Any
    ours: Any
    theirs, ours = modules(module)
    for part in path.split("."):
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    return shape(theirs), shape(ours)


@pytest.mark.parametrize(
    ("module", "path"), [one for one in callables() if one[1] not in WIDER | NOT_CALLED]
)
def test_signatures_are_the_same(module: str, path: str) -> None:
    theirs, ours = shapes(module, path)
    assert ours == theirs
    assert theirs is not None or path in WITHOUT_SIGNATURE


def test_wider_signatures_are_wider() -> None:
    found = {path for module, path in callables() if path in WIDER}
    assert found == WIDER
    for module, path in callables():
        if path in WIDER:
            theirs, ours = shapes(module, path)
            assert ours != theirs, f"{path} is the same: it belongs to the others"


def test_deltalake_is_never_imported(tmp_path: Path) -> None:
    """A whole program runs without access to `deltalake`."""
    program = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "deltalake":
            raise AssertionError("deltalake is imported")

sys.meta_path.insert(0, Refuse())

import os
os.environ["DELTALAKEDB_CATALOG"] = "deltasql://sqlite/{tmp_path}/catalog.db"
import pyarrow as pa
import deltalakedb
from deltalakedb import fs, query, schema, table, transaction, warnings, writer

path = "{tmp_path}/table"
deltalakedb.write_deltalake(path, pa.table({{"id": [1, 2]}}))
with deltalakedb.begin() as tx:
    tx.delete(path, "id = 1")
found = deltalakedb.DeltaTable(path)
assert found.to_pyarrow_table().num_rows == 1
deltalakedb.QueryBuilder().register("t", found).execute("SELECT * FROM t").read_all()
assert not any(name.partition(".")[0] == "deltalake" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_optional_packages_are_not_imported() -> None:
    program = """
import sys
import deltalakedb
heavy = {"pyarrow.dataset", "pandas", "polars", "duckdb", "numpy"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_it_works_without_pyarrow(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["pyarrow"] = None

import os
os.environ["DELTALAKEDB_CATALOG"] = "deltasql://sqlite/{tmp_path}/catalog.db"
from arro3.core import Array, DataType, RecordBatch
import deltalakedb

batch = RecordBatch.from_pydict({{"id": Array([1, 2], DataType.uint8())}})
path = "{tmp_path}/table"
deltalakedb.write_deltalake(path, batch)
table = deltalakedb.DeltaTable(path)
assert table.schema().fields[0].type.type == "byte"
assert table.scan().read_all().num_rows == 2
for use in (table.to_pyarrow_table, table.to_pyarrow_dataset, table.to_pandas):
    try:
        use()
    except ImportError as e:
        assert "deltalakedb[pyarrow]" in str(e)
    else:
        raise AssertionError("pyarrow is not there")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_every_public_name_is_documented() -> None:
    bare = []
    for module in [*MODULES, "catalog", "results", "aio"]:
        suffix = f".{module}" if module else ""
        ours = importlib.import_module(f"deltalakedb{suffix}")
        assert ours.__doc__, module
        for name, value in vars(ours).items():
            if name.startswith("_") or not callable(value):
                continue
            if getattr(value, "__module__", "") != ours.__name__:
                continue
            bare += [name] if not inspect.getdoc(value) else []
            if inspect.isclass(value):
                bare += [
                    f"{name}.{member}"
                    for member, function in vars(value).items()
                    if not member.startswith("_")
                    and isinstance(function, (property, classmethod, staticmethod))
                    and not inspect.getdoc(function)
                ]
    assert bare == []


def test_deltalake_is_the_version_that_is_followed() -> None:
    assert deltalake.__version__ == "1.6.6"
