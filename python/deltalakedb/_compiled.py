"""Chooses the compiled half of the package.

The wheel of this package has one without DuckDB, whose library is larger than the rest.
The package `deltalakedb-duckdb`, which ``deltalakedb[duckdb-catalog]`` installs, has
one that opens catalogs in DuckDB files as well. If it is there, it is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys

WITH_DUCKDB = "deltalakedb_duckdb"
NAME = "deltalakedb._internal"


def choose() -> None:
    """Makes the compiled half that has DuckDB, if there is one, that of this package.

    Raises:
        ImportError: It is of another version than this package.
    """
    if NAME in sys.modules or importlib.util.find_spec(WITH_DUCKDB) is None:
        return
    version = importlib.metadata.version("deltalakedb")
    other = importlib.metadata.version("deltalakedb-duckdb")
    if other != version:
        raise ImportError(
            f"deltalakedb-duckdb {other} does not belong to deltalakedb {version}: "
            f"run pip install 'deltalakedb[duckdb-catalog]=={version}'"
        )
    sys.modules[NAME] = importlib.import_module(f"{WITH_DUCKDB}._internal")


choose()
