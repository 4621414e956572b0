"""This package under the name of `deltalake`, for libraries that import that name."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deltalakedb._internal import RawTable
from deltalakedb.exceptions import DeltaError
from deltalakedb.table import DeltaTable

if TYPE_CHECKING:
    from arro3.core.types import ArrowSchemaExportable

    from deltalakedb._filters import FilterType
    from deltalakedb.schema import Schema
    from deltalakedb.transaction import (
        AddAction,
        CommitProperties,
        PostCommitHookProperties,
        RemoveAction,
    )

#: The release of `deltalake` whose names and arguments this package has. Libraries
#: compare it with the oldest release that they support.
DELTALAKE_VERSION = "1.6.6"

_PACKAGE = "deltalakedb"
_NAME = "deltalake"
# Submodules of `deltalake`, and those private ones that a library could import: found
# here, they are not loaded a second time under the other name.
SUBMODULES = (
    "_internal",
    "_util",
    "exceptions",
    "fs",
    "fs.fs_handler",
    "query",
    "schema",
    "table",
    "transaction",
    "warnings",
    "writer",
    "writer._conversion",
    "writer._utils",
    "writer.convert_to",
    "writer.properties",
    "writer.writer",
)


def _create_write_transaction(
    raw: RawTable,
    actions: list[AddAction | RemoveAction],
    mode: str,
    partition_by: list[str] | str | None,
    schema: Schema | ArrowSchemaExportable,
    partitions_filters: FilterType | None = None,
    commit_properties: CommitProperties | None = None,
    post_commithook_properties: PostCommitHookProperties | None = None,
) -> None:
    DeltaTable._of(raw).create_write_transaction(
        actions,
        mode,
        schema,
        partition_by,
        partitions_filters,
        commit_properties=commit_properties,
        post_commithook_properties=post_commithook_properties,
    )


# Private methods of the tables of `deltalake`, with the libraries that call them.
_PRIVATE_METHODS = {
    # Daft
    "create_write_transaction": _create_write_transaction,
}

_lock = Lock()


class StandIn(ModuleType):
    """The module `deltalake`: all names of this package, and the version it follows."""

    __version__ = DELTALAKE_VERSION

    def __init__(self) -> None:
        super().__init__(_NAME, f"{_PACKAGE} in the place of {_NAME}.")
        package = sys.modules[_PACKAGE]
        # Libraries look for the package with find_spec, which returns this.
        spec = package.__spec__
        loader = spec.loader if spec else None
        self.__spec__ = importlib.machinery.ModuleSpec(
            _NAME, loader, origin=package.__file__, is_package=True
        )
        self.__loader__ = loader
        self.__package__ = _NAME
        # Empty: what is not in `sys.modules` is not there.
        self.__path__: list[str] = []
        self.__file__ = package.__file__
        self.__all__ = package.__all__

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules[_PACKAGE], name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(sys.modules[_PACKAGE])})


def install() -> None:
    """Makes ``import deltalake`` give this package, in this process.

    For libraries that import `deltalake` themselves, such as Polars, Dagster, dlt and
    Daft. ``deltalake`` need not be installed. Called again, it does nothing.

    Raises:
        DeltaError: ``deltalake`` has been imported. Its compiled part looks up its own
            classes by name, and would find those of this package.
    """
    with _lock:
        there = sys.modules.get(_NAME)
        if isinstance(there, StandIn):
            return
        if there is not None or _modules():
            raise DeltaError(
                f"{_NAME} has been imported in this process: call {_PACKAGE}.install() "
                "before any library imports it"
            )
        modules = {f"{_NAME}.{name}": _imported(name) for name in SUBMODULES}
        modules[_NAME] = StandIn()
        for name, method in _PRIVATE_METHODS.items():
            setattr(RawTable, name, method)
        sys.modules.update(modules)


def uninstall() -> None:
    """Undoes `install`: ``import deltalake`` gives that package again.

    Libraries that have imported this package under that name keep it. Without a call
    of `install` it does nothing.
    """
    with _lock:
        if not isinstance(sys.modules.get(_NAME), StandIn):
            return
        for name in _modules():
            del sys.modules[name]
        for name in _PRIVATE_METHODS:
            delattr(RawTable, name)


def _imported(submodule: str) -> ModuleType:
    return importlib.import_module(f"{_PACKAGE}.{submodule}")


def _modules() -> list[str]:
    """The loaded modules that have the name, or are below it."""
    return [name for name in sys.modules if name.split(".")[0] == _NAME]
