"""Converts Arrow data of any library to a stream of batches with Delta's types.

Unsigned integers become signed ones of the same width, timestamps become microseconds
(in UTC, where they have a zone), binary of fixed size becomes binary. A value that
would change is rejected. The content of maps is not converted, because arro3 does not
expose its type.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from arro3.core import (
    Array,
    DataType,
    Field,
    RecordBatch,
    RecordBatchReader,
    Schema,
    list_flatten,
    struct_field,
)

from deltalakedb.exceptions import DeltaError

_LISTS = (
    (DataType.is_list, DataType.list),
    (DataType.is_large_list, DataType.large_list),
    (DataType.is_list_view, DataType.list_view),
    (DataType.is_large_list_view, DataType.large_list_view),
)
_FLATTENED = (
    DataType.is_list,
    DataType.is_large_list,
    DataType.is_fixed_size_list,
)
_SIGNED = (
    (DataType.is_uint8, DataType.int8),
    (DataType.is_uint16, DataType.int16),
    (DataType.is_uint32, DataType.int32),
    (DataType.is_uint64, DataType.int64),
)


def _reader(schema: Schema, batches: Iterator[Any]) -> RecordBatchReader:
    # The last arro3-core for Python 3.10 takes lists only: the rows are in memory.
    given = batches if sys.version_info >= (3, 11) else list(batches)
    return RecordBatchReader.from_batches(schema, given)


class Stream:
    """Rows for a table, read on demand.

    Args:
        data: what `write_deltalake` takes.
        existing: the schema of the table. Columns of nulls take their type from it.
    """

    def __init__(self, data: Any, existing: Schema | None = None) -> None:
        self._raised: list[Exception] = []
        self.reader = self._read(data)
        target = delta_schema(self.reader.schema, existing)
        if not target.equals(self.reader.schema):
            cast = self._recording_errors(_cast(batch, target) for batch in self.reader)
            self.reader = _reader(target, cast)
        self.schema = target

    @contextmanager
    def reading(self) -> Iterator[RecordBatchReader]:
        """A block that reads. An exception of the data is raised unchanged."""
        try:
            yield self.reader
        except Exception as e:
            if self._raised and e is not self._raised[0]:
                raise self._raised[0] from None
            raise

    def _read(self, data: Any) -> RecordBatchReader:
        if isinstance(data, Sequence):
            try:
                schema = data[0].schema
            except IndexError:
                what = "an empty list of batches has no schema: pass one"
                raise IndexError(what) from None
            return _reader(schema, iter(data))
        if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            return RecordBatchReader.from_arrow(data)
        if isinstance(data, Iterator):
            return self._read_iterator(data)
        # Datasets of pyarrow have a scanner, and scanners have a reader.
        if hasattr(data, "scanner"):
            data = data.scanner()
        if hasattr(data, "to_reader"):
            return RecordBatchReader.from_arrow(data.to_reader())
        raise ValueError(
            "Expected object with __arrow_c_array__ or __arrow_c_stream__ method, "
            f"not {type(data).__name__}"
        )

    def _read_iterator(self, data: Iterator[Any]) -> RecordBatchReader:
        first = next(data, None)
        if first is None:
            raise ValueError("an iterator without batches has no schema: pass one")
        if not hasattr(first, "__arrow_c_array__"):
            kind = type(first).__name__
            raise TypeError(f"an iterator must give batches, not {kind}")
        schema = RecordBatch.from_arrow(first).schema
        batches = self._recording_errors(chain((first,), data))
        return _reader(schema, batches)

    def _recording_errors(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches; an exception is recorded."""
        try:
            yield from batches
        except Exception as e:
            self._raised.append(e)
            raise


def delta_schema(schema: Schema, existing: Schema | None = None) -> Schema:
    """The schema with Delta's types, without the metadata of pandas."""
    return Schema(_delta_fields(_columns(schema), _columns(existing)))


def _columns(schema: Schema | None) -> list[Field]:
    # By index, because names may be duplicated.
    return [] if schema is None else [schema.field(i) for i in range(len(schema))]


def _delta_type(given: DataType, existing: DataType | None = None) -> DataType:
    if DataType.is_null(given):
        unknown = existing is None or DataType.is_null(existing)
        return given if unknown else _delta_type(existing)
    if DataType.is_unsigned_integer(given):
        return next(signed() for matches, signed in _SIGNED if matches(given))
    if DataType.is_timestamp(given):
        zone = None if given.tz is None else "UTC"
        return DataType.timestamp("us", tz=zone)
    if DataType.is_dictionary(given):
        values = _decoded(given)
        target = _delta_type(values)
        # Parquet writers do not support dictionaries of views.
        is_view = DataType.is_string_view(values) or DataType.is_binary_view(values)
        return target if is_view or not target.equals(values) else given
    if DataType.is_fixed_size_binary(given):
        return DataType.binary()
    if DataType.is_struct(given):
        known = existing.fields if existing and DataType.is_struct(existing) else []
        return DataType.struct(_delta_fields(given.fields, known))
    for matches, build in _LISTS:
        if matches(given):
            return build(_item(given, existing))
    if DataType.is_fixed_size_list(given):
        return DataType.list(_item(given, existing), given.list_size)
    return given


def _delta_fields(given: Iterable[Field], existing: Iterable[Field]) -> list[Field]:
    known = {field.name: field.type for field in existing}
    return [f.with_type(_delta_type(f.type, known.get(f.name))) for f in given]


def _decoded(given: DataType) -> DataType:
    """The type of the values of a dictionary."""
    assert given.value_type is not None
    return given.value_type


def _item(given: DataType, existing: DataType | None) -> Field:
    """The field of the values of a list."""
    item = given.value_field
    assert item is not None
    return item.with_type(_delta_type(item.type, existing and existing.value_type))


def _cast(batch: RecordBatch, target: Schema) -> RecordBatch:
    columns = []
    for column, field in zip(batch.columns, _columns(target), strict=True):
        if not column.type.equals(field.type):
            if DataType.is_dictionary(column.type):
                column = column.cast(_decoded(column.type))
            cast = column.cast(field.type)
            _check_cast(field.name, column, cast)
            column = cast
        columns.append(column)
    return RecordBatch.from_arrays(columns, schema=target)


def _check_cast(name: str, source: Array, cast: Array) -> None:
    """Raises if a cast has turned a value that does not fit into null."""
    if DataType.is_null(source.type) or DataType.is_dictionary(source.type):
        return
    if cast.null_count > source.null_count:
        pairs = zip(source, cast, strict=True)
        lost = next(
            value for value, new in pairs if value.is_valid and not new.is_valid
        )
        value = (
            lost.cast(DataType.int64()) if DataType.is_timestamp(lost.type) else lost
        )
        raise DeltaError(
            "Cast error: Failed to convert into Arrow schema: Cast error: Failed to "
            f"cast {name} from {_name(cast.type)} to {_name(source.type)}: "
            f"Can't cast value {value.as_py()} to type {_name(cast.type)}"
        )
    if _has_nanoseconds(source, cast):
        raise DeltaError(
            f"the column {name} has a time with nanoseconds, and tables keep "
            "microseconds: round it, nothing was written"
        )
    if DataType.is_struct(source.type):
        for i in range(source.type.num_fields):
            _check_cast(name, struct_field(source, [i]), struct_field(cast, [i]))
    elif any(is_list(source.type) for is_list in _FLATTENED):
        _check_cast(name, list_flatten(source), list_flatten(cast))


def _has_nanoseconds(source: Array, cast: Array) -> bool:
    """Whether a cast has truncated a time."""
    if not DataType.is_timestamp(source.type) or source.type.time_unit != "ns":
        return False
    # Both are cast, because arrays of one type differ if their field names do.
    return bool(cast.cast(source.type) != source.cast(source.type))


def _name(type_: DataType) -> str:
    """`Int8` of `arro3.core.DataType<Int8>`."""
    return str(type_).strip().partition("<")[2].removesuffix(">")
