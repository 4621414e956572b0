"""The package in the place of `deltalake`."""

from __future__ import annotations

import subprocess
import sys

import deltalake
import pytest

import deltalakedb
from deltalakedb._stand_in import DELTALAKE_VERSION, SUBMODULES
from deltalakedb.exceptions import DeltaError

from .compat.helpers import submodules
from .test_surface import MODULES


def check(program: str) -> None:
    """Runs a program in a process that has not imported `deltalake`."""
    run = subprocess.run(
        [sys.executable, "-c", "import sys, importlib.util, deltalakedb\n" + program],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr


def test_the_modules_are_ours() -> None:
    check(f"""
deltalakedb.install()
for module in {MODULES}:
    suffix = f".{{module}}" if module else ""
    theirs = importlib.import_module(f"deltalake{{suffix}}")
    ours = importlib.import_module(f"deltalakedb{{suffix}}")
    for name in getattr(ours, "__all__", vars(ours)):
        if name != "__version__":
            assert getattr(theirs, name) is getattr(ours, name), name
    assert importlib.util.find_spec(f"deltalake{{suffix}}") is not None
""")


def test_every_submodule_of_deltalake_has_its_twin() -> None:
    # The private base class of `fs.fs_handler` is one with it here.
    without_twin = {"fs._base_handler"}
    assert set(SUBMODULES) == set(submodules(private=True)) - without_twin


def test_no_module_is_loaded_twice() -> None:
    check("""
import pkgutil
deltalakedb.install()
for package in (deltalakedb.fs, deltalakedb.writer):
    prefix = package.__name__.replace("deltalakedb", "deltalake") + "."
    for found in pkgutil.iter_modules(package.__path__):
        assert prefix + found.name in sys.modules, found.name
# What only this package has is not there under the other name.
assert importlib.util.find_spec("deltalake.catalog") is None
""")


def test_the_version_is_the_one_that_is_followed() -> None:
    assert DELTALAKE_VERSION == deltalake.__version__ != deltalakedb.__version__
    check(f"""
deltalakedb.install()
import deltalake
assert deltalake.__version__ == "{DELTALAKE_VERSION}"
assert {{"DeltaTable", "connect", "__version__"}} <= set(dir(deltalake))
assert not hasattr(deltalake, "nope")
""")


def test_it_is_undone() -> None:
    check("""
before = set(sys.modules)
for _ in range(2):
    deltalakedb.install()
    deltalakedb.install()
    assert "deltalake.writer.writer" in sys.modules
    deltalakedb.uninstall()
    deltalakedb.uninstall()
    assert not [name for name in sys.modules if name.split(".")[0] == "deltalake"]
assert before <= set(sys.modules)
assert not hasattr(deltalakedb._internal.RawTable, "create_write_transaction")
import deltalake
assert deltalake.DeltaTable is not deltalakedb.DeltaTable
assert deltalake.Schema.from_json('{"type": "struct", "fields": []}').fields == []
""")


def test_it_is_too_late_after_deltalake_was_imported() -> None:
    before = dict(sys.modules)
    with pytest.raises(DeltaError, match="before any library imports it"):
        deltalakedb.install()
    deltalakedb.uninstall()
    assert sys.modules["deltalake"] is deltalake
    assert before.items() <= sys.modules.items()
