"""The package under test, fresh table paths and the check of the mirrored log.

``COMPAT_PACKAGE`` names the package: ``deltalake`` (the default) or ``deltalakedb``.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .differences import DEFECTS, DIFFERENCES
from .helpers import sample, submodules

PACKAGE = os.environ.get("COMPAT_PACKAGE", "deltalake")
SQL_BACKED = PACKAGE == "deltalakedb"

body_passed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "no_mirror_check: the test leaves a table no other reader can open",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = getattr(item, "originalname", item.name)
        different = DIFFERENCES.get(item.name) or DIFFERENCES.get(name)
        if SQL_BACKED and different:
            reason, errors = different.kind.reason, different.errors
        elif not SQL_BACKED and name in DEFECTS:
            reason, errors = DEFECTS[name].reason, DEFECTS[name].errors
        else:
            continue
        expected = pytest.mark.xfail(strict=True, reason=reason, raises=errors)
        item.add_marker(expected)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[body_passed] = report.passed
    return report


@pytest.fixture(scope="session")
def dl() -> ModuleType:
    """The package under test, its submodules loaded."""
    package = importlib.import_module(PACKAGE)
    for name in submodules():
        importlib.import_module(f"{PACKAGE}.{name}")
    return package


def check_mirror(path: str) -> None:
    """Assert that the mirrored log of ``path`` agrees with the catalog."""
    import deltalake

    import deltalakedb

    # The catalog decides whether the table exists: an unpublished table fails.
    if not deltalakedb.DeltaTable.is_deltatable(path):
        assert not deltalake.DeltaTable.is_deltatable(path)
        return

    ours = deltalakedb.DeltaTable(path)
    theirs = deltalake.DeltaTable(path)
    assert ours.version() == theirs.version()
    assert json.loads(ours.schema().to_json()) == json.loads(theirs.schema().to_json())
    assert sorted(ours.file_uris()) == sorted(theirs.file_uris())
    assert ours.metadata().id == theirs.metadata().id


@pytest.fixture(autouse=True)
def catalog(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """The paths used by a test; a SQL-backed package gets a catalog of its own."""
    paths: list[str] = []
    if SQL_BACKED:
        uri = f"deltasql://sqlite/{tmp_path}/catalog.db"
        monkeypatch.setenv("DELTALAKEDB_CATALOG", uri)
    yield paths
    if not SQL_BACKED or request.node.get_closest_marker("no_mirror_check"):
        return
    if request.node.stash.get(body_passed, False):
        for path in paths:
            check_mirror(path)


@pytest.fixture
def new_path(tmp_path: Path, catalog: list[str]) -> Callable[..., str]:
    """Makes paths of directories that do not exist yet."""

    def make(suffix: str = "") -> str:
        path = str(tmp_path / f"table_{len(catalog)}{suffix}")
        catalog.append(path)
        return path

    return make


@pytest.fixture
def path(new_path: Callable[..., str]) -> str:
    """The path of a directory that does not exist yet."""
    return new_path()


@pytest.fixture
def table(dl: ModuleType, path: str) -> Any:
    """A DeltaTable at ``path`` holding ``sample()``: ids 0, 1, 2 and names a, b, c."""
    dl.write_deltalake(path, sample())
    return dl.DeltaTable(path)
