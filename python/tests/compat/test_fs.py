"""``DeltaStorageHandler``: a table's storage as a pyarrow filesystem."""

import os
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest

from .helpers import data_files, raises_exactly

COMMIT = "_delta_log/00000000000000000000.json"


@pytest.fixture
def handler(dl: ModuleType, path: str, table: Any) -> Any:
    return dl.fs.DeltaStorageHandler(path)


@pytest.fixture
def filesystem(handler: Any) -> pa_fs.PyFileSystem:
    return pa_fs.PyFileSystem(handler)


def test_handler_is_a_pyarrow_handler(handler):
    assert isinstance(handler, pa_fs.FileSystemHandler)
    assert handler.get_type_name() == "object-store"


def test_file_info(filesystem, path):
    file, missing, directory = filesystem.get_file_info([COMMIT, "nope", "_delta_log"])
    assert file.type == pa_fs.FileType.File
    assert file.size == os.path.getsize(Path(path) / COMMIT)
    assert missing.type == pa_fs.FileType.NotFound
    assert directory.type == pa_fs.FileType.Directory


def test_file_info_modification_time(handler, path):
    (info,) = handler.get_file_info([COMMIT])
    local = pa_fs.LocalFileSystem().get_file_info(f"{path}/{COMMIT}")
    assert info.mtime_ns == local.mtime_ns


def test_file_info_selector(filesystem, path):
    selector = pa_fs.FileSelector("_delta_log")
    found = [info.path for info in filesystem.get_file_info(selector)]
    assert [path for path in found if not path.endswith(".crc")] == [COMMIT]


def test_file_info_selector_recursive(filesystem, path):
    selector = pa_fs.FileSelector("", recursive=True)
    found = {info.path for info in filesystem.get_file_info(selector)}
    found = {path for path in found if not path.endswith(".crc")}
    assert found == {"_delta_log", COMMIT, *data_files(path)}


def test_file_info_selector_of_missing_directory(filesystem):
    selector = pa_fs.FileSelector("nope", allow_not_found=True)
    assert filesystem.get_file_info(selector) == []


def test_open_input_file(filesystem, path):
    expected = (Path(path) / COMMIT).read_bytes()
    with filesystem.open_input_file(COMMIT) as file:
        assert file.read(5) == expected[:5]
        file.seek(10)
        assert file.read() == expected[10:]


def test_open_input_stream(filesystem, path):
    with filesystem.open_input_stream(COMMIT) as file:
        assert file.read() == (Path(path) / COMMIT).read_bytes()


def test_read_a_data_file(filesystem, path):
    (name,) = data_files(path)
    assert pq.read_table(name, filesystem=filesystem).num_rows == 3


def test_open_missing_file(filesystem):
    with pytest.raises(FileNotFoundError):
        filesystem.open_input_file("nope")


def test_delete_file(filesystem, path):
    (Path(path) / "junk").write_bytes(b"x")
    filesystem.delete_file("junk")
    assert not (Path(path) / "junk").exists()


def test_delete_dir(filesystem, path):
    directory = Path(path) / "junk"
    directory.mkdir()
    (directory / "file").write_bytes(b"x")
    filesystem.delete_dir("junk")
    assert not (directory / "file").exists()


def make_files(path: str, *names: str) -> list[Path]:
    files = [Path(path) / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return files


def test_defect_delete_dir_contents(handler, path):
    *inside, outside = make_files(path, "junk/a", "junk/b/c", "junk2")
    handler.delete_dir_contents("junk")
    assert [file for file in inside if file.exists()] == []
    assert outside.exists()


@pytest.mark.parametrize("root", ["", "/"])
def test_defect_delete_dir_contents_of_the_root(handler, path, root):
    (junk,) = make_files(path, "junk/a")
    with pytest.raises(ValueError, match="delete_dir_contents"):
        handler.delete_dir_contents(root)
    assert junk.exists()


@pytest.mark.no_mirror_check
def test_defect_delete_root_dir_contents(handler, path):
    (junk,) = make_files(path, "junk/a")
    handler.delete_root_dir_contents()
    assert not junk.exists()
    assert not (Path(path) / COMMIT).exists()


def test_selectors_and_paths_of_the_handler(handler):
    selector = pa_fs.FileSelector("nope", allow_not_found=True)
    assert handler.get_file_info_selector(selector) == []
    assert handler.normalize_path("_delta_log/a b") == "_delta_log/a b"


def test_pyarrow_is_there(dl):
    assert dl.fs.fs_handler.PYARROW_AVAILABLE is True


def test_move(filesystem, path):
    (Path(path) / "from").write_bytes(b"x")
    filesystem.move("from", "to")
    assert (Path(path) / "to").read_bytes() == b"x"
    assert not (Path(path) / "from").exists()


def test_create_dir_succeeds(filesystem):
    assert filesystem.create_dir("new") is None


def test_append_is_not_supported(handler):
    with raises_exactly(NotImplementedError, "^$"):
        handler.open_append_stream("x", {})


def test_output_stream_of_the_raw_handler(handler, path):
    stream = handler._handler.open_output_stream("out.bin")
    assert stream.writable()
    assert not stream.closed
    assert stream.write(b"hello") == 5
    stream.close()
    assert stream.closed
    assert (Path(path) / "out.bin").read_bytes() == b"hello"


def test_output_stream_with_a_small_buffer_warns(dl, path, table):
    handler = dl.fs.DeltaStorageHandler(path, options={"max_buffer_size": "1"})
    with pytest.warns(UserWarning, match="max_buffer_size"):
        handler.open_output_stream("out.bin").close()


def test_input_file_of_the_raw_handler(handler, path):
    file = handler._handler.open_input_file(COMMIT)
    assert file.mode == "rb"
    assert (file.closed, file.readable(), file.seekable()) == (False, True, True)
    assert (file.isatty(), file.tell()) == (False, 0)
    assert file.size() == os.path.getsize(Path(path) / COMMIT)
    assert file.seek(0, 2) == file.size()
    file.close()
    assert file.closed


def test_seek_before_the_start(handler):
    file = handler._handler.open_input_file(COMMIT)
    with raises_exactly(OSError, "negative"):
        file.seek(-1)


def test_handler_from_a_table(dl, path, table):
    (name,) = data_files(path)
    handler = dl.fs.DeltaStorageHandler.from_table(table._table)
    filesystem = pa_fs.PyFileSystem(handler)
    assert pq.read_table(name, filesystem=filesystem).num_rows == 3


def test_handler_with_options_and_known_sizes(dl, path, table):
    (name,) = data_files(path)
    size = os.path.getsize(Path(path) / name)
    handler = dl.fs.DeltaStorageHandler(path, {"timeout": "3s"}, {name: size})
    (info,) = handler.get_file_info([name])
    assert info.size == size


def test_handler_survives_pickling(handler, path):
    copy = pickle.loads(pickle.dumps(handler))
    filesystem = pa_fs.PyFileSystem(copy)
    assert filesystem.get_file_info(COMMIT).type == pa_fs.FileType.File


def test_dataset_survives_pickling(table):
    dataset = pickle.loads(pickle.dumps(table.to_pyarrow_dataset()))
    assert dataset.count_rows() == 3


def test_handler_of_unknown_scheme(dl):
    with raises_exactly(dl.exceptions.TableNotFoundError, "Unknown scheme"):
        dl.fs.DeltaStorageHandler("nope://bucket")


def test_defect_copy_file(filesystem, path):
    (Path(path) / "from").write_bytes(b"x")
    filesystem.copy_file("from", "to")
    assert (Path(path) / "to").read_bytes() == b"x"
    assert (Path(path) / "from").exists()


def test_defect_write_through_pyarrow(filesystem, path):
    with filesystem.open_output_stream("out.bin") as stream:
        stream.write(b"hello")
    assert (Path(path) / "out.bin").read_bytes() == b"hello"
