"""The files of a table for pyarrow."""

from __future__ import annotations

import atexit
import errno
import io
import os
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deltalakedb._internal import RawStore, RawTable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler

    PYARROW_AVAILABLE = True
else:
    try:
        import pyarrow as pa
        from pyarrow.fs import FileSystemHandler

        PYARROW_AVAILABLE = True
    except ImportError:
        FileSystemHandler = object
        PYARROW_AVAILABLE = False


# Bytes.
_LEAST_PART = 5 * 1024 * 1024


class DeltaStorageHandler(FileSystemHandler):  # type: ignore[misc, unused-ignore]
    """The files of a table, by paths relative to it, as a file system of pyarrow.

    Folders exist as long as they have files.

    Args:
        table_uri: where the table is.
        options: options for the object store.
        known_sizes: known sizes of files in bytes, by path.

    Raises:
        ImportError: pyarrow is not installed.

    Example:
        >>> import pyarrow.fs
        >>> files = pyarrow.fs.PyFileSystem(DeltaStorageHandler(dt.table_uri))
        >>> with files.open_output_stream("notes.txt") as file:
        ...     file.write(b"sold out")
        8
        >>> files.open_input_file("notes.txt").read()
        b'sold out'
    """

    def __init__(
        self,
        table_uri: str,
        options: dict[str, str] | None = None,
        known_sizes: dict[str, int] | None = None,
    ) -> None:
        if not PYARROW_AVAILABLE:
            raise ImportError("Pyarrow is required: install deltalakedb[pyarrow].")
        self._handler = _Files(RawStore(table_uri, options), known_sizes or {})
        self._options = options

    @classmethod
    def from_table(
        cls,
        table: RawTable,
        options: dict[str, str] | None = None,
        known_sizes: dict[str, int] | None = None,
    ) -> DeltaStorageHandler:
        """The files of a table that is open.

        Args:
            table: the table.
            options: options for the object store, once this is pickled.
            known_sizes: known sizes of files in bytes, by path.
        """
        if not PYARROW_AVAILABLE:
            raise ImportError("Pyarrow is required: install deltalakedb[pyarrow].")
        handler = cls.__new__(cls)
        handler._handler = _Files(table.store(), known_sizes or {})
        handler._options = options
        return handler

    @property
    def _store(self) -> RawStore:
        return self._handler.store

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self._store.uri(), self._options, self._handler.known_sizes)
        return DeltaStorageHandler, parts

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeltaStorageHandler):
            return NotImplemented
        return self._store.uri() == other._store.uri()

    def __hash__(self) -> int:
        return hash(self._store.uri())

    def equals(self, other: Any) -> bool:
        """Whether the other has the same files."""
        return bool(self == other)

    def get_type_name(self) -> str:
        """The kind of the file system."""
        return "object-store"

    def normalize_path(self, path: str) -> str:
        """The path without a slash before and after it."""
        return path.strip("/")

    def copy_file(self, src: str, dst: str) -> None:
        """Copies a file and replaces an existing one."""
        self._store.copy(self.normalize_path(src), self.normalize_path(dst))

    def move(self, src: str, dest: str) -> None:
        """Renames a file and replaces an existing one."""
        self._store.rename(self.normalize_path(src), self.normalize_path(dest))

    def create_dir(self, path: str, recursive: bool = True) -> None:
        """Does nothing: a folder exists as soon as it has a file."""

    def delete_file(self, path: str) -> None:
        """Deletes a file.

        Raises:
            FileNotFoundError: it does not exist.
        """
        name = self.normalize_path(path)
        self._handler.size(name)
        self._store.delete(name)

    def delete_dir(self, path: str) -> None:
        """Deletes all files below a folder."""
        self.delete_dir_contents(path, missing_dir_ok=True)

    def delete_dir_contents(
        self,
        path: str,
        *args: bool,
        accept_root_dir: bool = False,
        missing_dir_ok: bool = False,
    ) -> None:
        """Deletes all files below a folder.

        Args:
            path: the folder.
            *args: `missing_dir_ok`, as pyarrow passes it.
            accept_root_dir: whether it may be the whole table.
            missing_dir_ok: whether a missing folder is accepted.
        """
        prefix = self.normalize_path(path)
        if not prefix and not accept_root_dir:
            raise ValueError("delete_dir_contents does not delete everything")
        files, _ = self._store.list(prefix, True)
        if not files and not any((*args, missing_dir_ok, not prefix)):
            raise _missing(path)
        for file, _, _ in files:
            self._store.delete(file)

    def delete_root_dir_contents(self) -> None:
        """Deletes all files."""
        self.delete_dir_contents("", accept_root_dir=True)

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """The kind of some paths: a file, a folder, or nothing."""
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """What is in a folder, or below it."""
        base = self.normalize_path(selector.base_dir)
        files, folders = self._store.list(base, selector.recursive)
        if selector.recursive:
            folders = sorted({up for path, _, _ in files for up in _above(path, base)})
        return [
            *(_folder_info(path) for path in folders),
            *(_file_info(path, size, time) for path, size, time in files),
        ]

    def open_input_file(self, path: str) -> pa.PythonFile:
        """Opens a file for reading at any place.

        Raises:
            FileNotFoundError: it does not exist.
        """
        file = self._handler.open_input_file(self.normalize_path(path))
        return pa.PythonFile(file, mode="r")

    def open_input_stream(self, path: str) -> pa.PythonFile:
        """Opens a file for reading from its beginning.

        Raises:
            FileNotFoundError: it does not exist.
        """
        return self.open_input_file(path)

    def open_output_stream(
        self, path: str, metadata: Mapping[str, str] | None = None
    ) -> pa.PythonFile:
        """Opens a file for writing. It becomes visible as a whole when it is closed."""
        size = (self._options or {}).get("max_buffer_size", "")
        if size.isdecimal() and int(size) < _LEAST_PART:
            warnings.warn(
                f"You specified a `max_buffer_size` of {size} bits less than "
                f"{_LEAST_PART} bits, the least an object store takes as a part: "
                "the file is written as a whole",
                UserWarning,
                stacklevel=2,
            )
        file = self._handler.open_output_stream(self.normalize_path(path))
        return pa.PythonFile(file, mode="w")

    def open_append_stream(self, path: str, metadata: Mapping[str, str]) -> None:
        """Object stores cannot append."""
        raise NotImplementedError

    def _info(self, path: str) -> FileInfo:
        from pyarrow.fs import FileInfo, FileType

        name = self.normalize_path(path)
        found = self._store.head(name) if name else None
        if found is not None:
            return _file_info(path, *found)
        if not name or any(self._store.list(name, False)):
            return _folder_info(path)
        return FileInfo(path, FileType.NotFound)


class _Calls:
    """The calls of pyarrow's threads, which must not need the interpreter as it ends.

    A thread that requests the interpreter then never gets it: the process hangs, or is
    aborted. So the end of the interpreter waits for the threads, and their further
    calls fail. Threads need it for the last time when they release a file.
    """

    #: Seconds without a call after which no thread is about to make one.
    QUIET = 0.05
    #: The same while files are open: the program may use them, or a thread that is
    #: slow.
    QUIET_WITH_FILES = 1.0
    #: Seconds after which the process ends in any case.
    PATIENCE = 10.0

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self._end)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._files: weakref.WeakSet[_Reading] = weakref.WeakSet()
        self._running = 0
        self._last = float("-inf")
        self._is_ending = False

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._lock:
            self._last = time.monotonic()
            if self._is_ending:
                raise OSError("the file cannot be read: the interpreter is ending")
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._last = time.monotonic()

    def opened(self, file: _Reading) -> _Reading:
        with self._lock:
            self._files.add(file)
            self._last = time.monotonic()
        return file

    def _is_quiet(self) -> bool:
        with self._lock:
            self._is_ending = True
            idle = time.monotonic() - self._last
            quiet = self.QUIET_WITH_FILES if self._files else self.QUIET
            return self._running == 0 and idle > quiet

    def _end(self) -> None:
        until = time.monotonic() + self.PATIENCE
        while not self._is_quiet() and time.monotonic() < until:
            time.sleep(0.005)


_calls = _Calls()


@dataclass
class _Files:
    """The files of a store, as files of Python."""

    store: RawStore
    known_sizes: dict[str, int]

    def size(self, path: str) -> int:
        found = self.store.head(path)
        if found is None:
            raise _missing(path)
        return found[0]

    def open_input_file(self, path: str) -> _Reading:
        with _calls.running():
            size = self.known_sizes.get(path)
            size = self.size(path) if size is None else size
            return _calls.opened(_Reading(self.store, path, size))

    def open_output_stream(self, path: str) -> _Writing:
        return _Writing(self.store, path)


class _Reading(io.RawIOBase):
    """A file that is read."""

    mode = "rb"

    def __init__(self, store: RawStore, path: str, size: int) -> None:
        self._store = store
        self._path = path
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}
        at = start[whence] + offset
        if at < 0:
            raise OSError(f"cannot seek to the negative position {at}")
        if at > self._size:
            raise OSError(f"cannot seek to {at}, past the end at {self._size}")
        self._at = at
        return at

    def read(self, size: int | None = -1) -> bytes:
        rest = self._size - self._at
        length = rest if size is None or size < 0 else min(size, rest)
        if length == 0:
            return b""
        with _calls.running():
            data = self._store.read(self._path, self._at, length)
        self._at += len(data)
        return data


class _Writing(io.BytesIO):
    """A file that is written. It is put to the object store as a whole."""

    mode = "wb"

    def __init__(self, store: RawStore, path: str) -> None:
        super().__init__()
        self._store = store
        self._path = path

    def close(self) -> None:
        if not self.closed:
            self._store.write(self._path, self.getvalue())
        super().close()


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _above(path: str, base: str) -> list[str]:
    """The folders between a file and the base."""
    parts = path.split("/")
    depth = len(base.split("/")) if base else 0
    return ["/".join(parts[:n]) for n in range(depth + 1, len(parts))]


def _file_info(path: str, size: int, time_ns: int) -> FileInfo:
    from pyarrow.fs import FileInfo, FileType

    return FileInfo(path, FileType.File, size=size, mtime_ns=time_ns)


def _folder_info(path: str) -> FileInfo:
    from pyarrow.fs import FileInfo, FileType

    return FileInfo(path, FileType.Directory)
