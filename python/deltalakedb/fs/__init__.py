"""The files of a table for pyarrow."""

from deltalakedb.fs.fs_handler import DeltaStorageHandler

__all__ = ["DeltaStorageHandler"]
