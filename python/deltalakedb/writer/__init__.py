"""Writing tables, with the properties of their Parquet files."""

from deltalakedb.writer.convert_to import convert_to_deltalake
from deltalakedb.writer.properties import (
    BloomFilterProperties,
    ColumnProperties,
    WriterProperties,
)
from deltalakedb.writer.writer import write_deltalake

__all__ = [
    "BloomFilterProperties",
    "ColumnProperties",
    "WriterProperties",
    "convert_to_deltalake",
    "write_deltalake",
]
