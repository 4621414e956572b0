"""Delta tables whose transaction log lives in SQL.

What `deltalake` has is here by the same names: ``import deltalakedb as deltalake``.
Beyond it, `connect` opens a catalog, and `begin` a transaction across its tables.

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

from deltalakedb import _internal, exceptions, schema
from deltalakedb._internal import __version__, rust_core_version
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
    "rust_core_version",
    "write_deltalake",
]


def init_tracing(endpoint: str | None = None) -> None:
    """Reports what happens inside, as far as ``RUST_LOG`` says.

    Args:
        endpoint: accepted for compatibility, and ignored: reports go to standard error.
    """
    _internal.init_tracing(endpoint)


def enable_nanosecond_timestamps() -> None:
    """Would let timestamps keep their nanoseconds: they are microseconds here.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "timestamps have microseconds here: the library is built without the feature "
        "nanosecond-timestamps"
    )


# Programs that would use nanoseconds ask by these whether they can.
_NANOSECOND_TIMESTAMPS = False


def _nanosecond_timestamps_enabled() -> bool:
    return _NANOSECOND_TIMESTAMPS


def _disable_nanosecond_timestamps() -> None:
    """Nothing: they are not enabled."""


_internal._NANOSECOND_TIMESTAMPS = _NANOSECOND_TIMESTAMPS

# Code for `deltalake` imports these from there, too.
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
