"""Tables as datasets of pyarrow. Imported only if pyarrow is installed."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
from pyarrow.parquet import filters_to_expression

from deltalakedb.exceptions import DeltaError
from deltalakedb.fs import DeltaStorageHandler

if TYPE_CHECKING:
    from deltalakedb.table import DeltaTable

# Writers that keep statistics as doubles round longer decimals.
_EXACT_DIGITS = 15
# Statistics of timestamps may be truncated to milliseconds.
_CUT_OFF = timedelta(milliseconds=1)


def of_table(
    table: DeltaTable,
    pruning: Any,
    filesystem: Any,
    parquet_read_options: ds.ParquetReadOptions | None,
    schema: pa.Schema | None,
    as_large_types: bool,
) -> ds.FileSystemDataset:
    """The data files, each with the conditions that the log guarantees for its rows."""
    files = [
        (_relative(path), size, values, stats)
        for path, size, values, stats in table._table.files(pruning)
    ]
    if not filesystem:
        filesystem = _filesystem(table, {path: size for path, size, _, _ in files})
    if schema is None:
        schema = pa.schema(table.schema().to_arrow(as_large_types=as_large_types))
    parquet = ds.ParquetFileFormat(
        read_options=parquet_read_options,
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True),
    )
    fragments = [
        parquet.make_fragment(
            path, filesystem, partition_expression=_guarantee(schema, values, stats)
        )
        for path, _, values, stats in files
    ]
    for name in parquet.read_options.dictionary_columns or ():
        index = schema.get_field_index(name)
        if index >= 0:
            plain = schema.field(index)
            encoded = pa.dictionary(pa.int32(), plain.type)
            schema = schema.set(index, plain.with_type(encoded))
    return ds.FileSystemDataset(fragments, schema, parquet, filesystem)


def _filesystem(table: DeltaTable, sizes: dict[str, int]) -> pa_fs.FileSystem:
    """The files of the table.

    Local files are read without Python, which pyarrow's threads could need while the
    interpreter is ending.
    """
    place = urlsplit(table.table_uri)
    if place.scheme == "file" and not place.netloc:
        return pa_fs.SubTreeFileSystem(unquote(place.path), pa_fs.LocalFileSystem())
    handler = DeltaStorageHandler.from_table(
        table._table, table._storage_options, sizes
    )
    return pa_fs.PyFileSystem(handler)


def _relative(path: str) -> str:
    """The path of a file below the table. The log has paths as parts of URIs."""
    if "://" in path:
        raise DeltaError(
            f"The table has a file elsewhere, {path}, where datasets of pyarrow do not "
            "reach: use scan() instead."
        )
    return unquote(path)


def expression(filters: Any) -> ds.Expression | None:
    """The filters as an expression."""
    return None if filters is None else filters_to_expression(filters)


def _guarantee(
    schema: pa.Schema, values: dict[str, str | None], stats: str | None
) -> ds.Expression | None:
    """A condition that holds for every row of a file."""
    parts = [
        *_of_partition(schema, values),
        *_of_statistics(
            schema, json.loads(stats, parse_float=Decimal) if stats else {}
        ),
    ]
    return functools.reduce(operator.and_, parts) if parts else None


def _of_partition(
    schema: pa.Schema, values: dict[str, str | None]
) -> Iterator[ds.Expression]:
    for name, value in values.items():
        if name not in schema.names:
            continue
        column = pc.field(name)
        # An empty text means null, for all types.
        if not value:
            yield column.is_null()
        else:
            yield column == _partition_value(value, schema.field(name).type)


def _partition_value(value: str, type_: pa.DataType) -> pa.Scalar:
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return pa.scalar(_unescaped(value), type_)
    if pa.types.is_timestamp(type_):
        instant = pa.scalar(value.removesuffix("Z")).cast(pa.timestamp(type_.unit))
        return instant.cast(type_)
    return pa.scalar(value).cast(type_)


def _unescaped(value: str) -> bytes:
    r"""Bytes are spelled like ``\u00FF``."""
    try:
        return value.encode("ascii").decode("unicode_escape").encode("latin-1")
    except UnicodeError:
        return value.encode()


def _of_statistics(schema: pa.Schema, stats: dict[str, Any]) -> Iterator[ds.Expression]:
    rows = stats.get("numRecords")
    nulls = stats.get("nullCount") or {}
    for name in schema.names:
        column = pc.field(name)
        count = nulls.get(name)
        if isinstance(count, int) and count == rows:
            yield column.is_null()
            continue
        for bound, is_beyond in (
            ("minValues", operator.ge),
            ("maxValues", operator.le),
        ):
            value = (stats.get(bound) or {}).get(name)
            limit = _limit(value, schema.field(name).type, bound == "maxValues")
            if limit is None:
                continue
            within = is_beyond(column, limit)
            yield within if count == 0 else within | column.is_null()
        if count == 0:
            yield column.is_valid()


def _limit(value: Any, type_: pa.DataType, highest: bool) -> pa.Scalar | None:
    """A minimum or maximum; `None` if it is not certain."""
    if value is None or isinstance(value, dict):
        return None
    try:
        if pa.types.is_timestamp(type_):
            # Python 3.10 does not know the Z.
            time = datetime.fromisoformat(value.replace("Z", "+00:00"))
            return pa.scalar(time + _CUT_OFF if highest else time, type_)
        if pa.types.is_date(type_):
            return pa.scalar(date.fromisoformat(value), type_)
        if pa.types.is_decimal(type_):
            exact = type_.precision <= _EXACT_DIGITS
            return pa.scalar(Decimal(value), type_) if exact else None
        if pa.types.is_floating(type_):
            return pa.scalar(float(value), type_)
        if pa.types.is_integer(type_):
            return pa.scalar(value, type_)
        if pa.types.is_string(type_) or pa.types.is_large_string(type_):
            return pa.scalar(value, type_)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        # A year beyond the range of datetime, for example: the file is not skipped.
        return None
    return None
