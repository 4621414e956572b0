"""Delta tables whose transaction log lives in SQL.

The names are those of `deltalake`: ``import deltalakedb as deltalake``.
In addition, `connect` opens a catalog, and `begin` a transaction across its tables.
`install` puts this package in the place of `deltalake`.

Example:
    >>> import deltalakedb
    >>> deltalakedb.write_deltalake(path, data)
    >>> with deltalakedb.begin() as tx:
    ...     deleted = tx.delete(path, "id = 1")
    ...     written = tx.write(path, data)
    >>> deltalakedb.DeltaTable(path).count()
    5
"""

from __future__ import annotations

import atexit
import logging  # noqa: F401  its end is registered before that of the package

# isort: off
from deltalakedb import _compiled as _compiled  # before the compiled half is used

# isort: on
from deltalakedb import _internal, exceptions, schema
from deltalakedb._internal import __version__, rust_core_version
from deltalakedb._stand_in import install, uninstall
from deltalakedb._table_features import TableFeatures
from deltalakedb.catalog import Catalog, begin, connect
from deltalakedb.query import QueryBuilder
from deltalakedb.schema import DataType, Field, Schema, VariantType
from deltalakedb.table import DeltaTable, Metadata
from deltalakedb.transaction import (
    CommitProperties,
    PostCommitHookProperties,
    Transaction,
)
from deltalakedb.writer import (
    BloomFilterProperties,
    ColumnProperties,
    WriterProperties,
    convert_to_deltalake,
    write_deltalake,
)

__all__ = [
    "BloomFilterProperties",
    "Catalog",
    "ColumnProperties",
    "CommitProperties",
    "DataType",
    "DeltaTable",
    "Field",
    "Metadata",
    "PostCommitHookProperties",
    "QueryBuilder",
    "Schema",
    "TableFeatures",
    "Transaction",
    "VariantType",
    "WriterProperties",
    "__version__",
    "begin",
    "connect",
    "convert_to_deltalake",
    "enable_nanosecond_timestamps",
    "init_tracing",
    "install",
    "rust_core_version",
    "uninstall",
    "write_deltalake",
]


def init_tracing(endpoint: str | None = None) -> None:
    """Writes log messages of the library, at the level of ``RUST_LOG``.

    `logging` gets them without this call, at the level of the logger ``deltalakedb``.

    Args:
        endpoint: accepted for compatibility, and ignored: messages go to standard
            error.
    """
    _internal.init_tracing(endpoint)


def enable_nanosecond_timestamps() -> None:
    """Not supported: timestamps are in microseconds.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "timestamps have microseconds here: the library is built without the feature "
        "nanosecond-timestamps"
    )


# Programs check with these whether nanoseconds are supported.
_NANOSECOND_TIMESTAMPS = False


def _nanosecond_timestamps_enabled() -> bool:
    return _NANOSECOND_TIMESTAMPS


def _disable_nanosecond_timestamps() -> None:
    """Does nothing: they are never enabled."""


_internal._NANOSECOND_TIMESTAMPS = _NANOSECOND_TIMESTAMPS

# Published commits are synced in the background, and then recorded in the catalog.
atexit.register(_internal.settle)

# Code for `deltalake` imports these from submodules as well.
for _one in (
    exceptions.CommitFailedError,
    exceptions.DeltaError,
    exceptions.DeltaProtocolError,
    exceptions.SchemaMismatchError,
    exceptions.TableNotFoundError,
    schema.ArrayType,
    schema.Field,
    schema.MapType,
    schema.PrimitiveType,
    schema.Schema,
    schema.StructType,
    schema.VariantType,
    TableFeatures,
    Transaction,
):
    setattr(_internal, _one.__name__, _one)
