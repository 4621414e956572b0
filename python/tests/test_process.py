"""Forks, threads and Ctrl-C, each in a separate interpreter."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pyarrow as pa
import pytest

import deltalakedb
from deltalakedb import DeltaTable, write_deltalake

IMPORTS = """
import os, sys, threading
import pyarrow as pa
import deltalakedb
from deltalakedb import DeltaTable, write_deltalake
from deltalakedb.exceptions import DeltaError
"""

START = IMPORTS + """
write_deltalake("t", pa.table({"id": range(1000)}))
table = DeltaTable("t")
catalog = deltalakedb.connect()
"""


def start(code: str, folder: Path, before: str = START) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", before + textwrap.dedent(code)],
        cwd=folder,
        env={
            "DELTALAKEDB_CATALOG": "deltasql://sqlite/meta.db",
            "PYTHONPATH": ":".join(sys.path),
            "PATH": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_forked_process_is_told_so(tmp_path: Path) -> None:
    process = start(
        """
        child = os.fork()
        if child == 0:
            told = 0
            for call in (table.count, catalog.tables, lambda: DeltaTable("t")):
                try:
                    call()
                except DeltaError as error:
                    told += "does not support forked processes" in str(error)
            del table, catalog
            os._exit(told)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3
        write_deltalake("t", pa.table({"id": [2]}), mode="append")
        assert DeltaTable("t").count() == 1001
        """,
        tmp_path,
    )
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr


def test_a_process_forked_before_the_first_use_works(tmp_path: Path) -> None:
    process = start(
        """
        write_deltalake(f"t{min(child, 1)}", pa.table({"id": [1]}))
        if child == 0:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert DeltaTable("t0").count() == DeltaTable("t1").count() == 1
        """,
        tmp_path,
        IMPORTS + "child = os.fork()",
    )
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr


LONG = "SELECT count(*) AS n FROM t a, t b, t c WHERE a.id * b.id > c.id"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"catalog.query('CREATE TABLE long AS {LONG}')", "KeyboardInterrupt"),
        # An exception through the C interface of Arrow is known only by its text.
        (f"catalog.query('{LONG}').read_all()", "error: KeyboardInterrupt"),
    ],
)
def test_ctrl_c_ends_a_long_call(tmp_path: Path, code: str, said: str) -> None:
    process = start(f"print('started', flush=True)\n{code}", tmp_path)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "started\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode != 0
        assert said.lower() in stderr.lower()
    finally:
        process.kill()
        process.communicate()


def test_many_threads_share_a_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{tmp_path}/meta.db")
    path = str(tmp_path / "t")
    write_deltalake(path, pa.table({"id": [0]}))
    failed: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(3):
                write_deltalake(path, pa.table({"id": [n * 10 + i]}), mode="append")
                with deltalakedb.begin() as tx:
                    tx.write(f"{path}-{n}", pa.table({"id": [i]}), mode="append")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert DeltaTable(path).count() == 19
    assert len(deltalakedb.connect().tables()) == 7


def test_what_a_process_published_is_recorded_when_it_ends(tmp_path: Path) -> None:
    process = start(
        'write_deltalake("t", pa.table({"id": [2]}), mode="append")', tmp_path
    )
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    catalog = deltalakedb.connect(f"deltasql://sqlite/{tmp_path}/meta.db")
    (status,) = catalog.mirror_status()
    assert (status["version"], status["published_version"]) == (1, 1), status


READS = {
    "table": "table.to_pyarrow_table()",
    "head": "table.to_pyarrow_dataset().head(1)",
    "first batch": "next(iter(table.to_pyarrow_dataset().to_batches()))",
}
FILES = """
import pyarrow.fs as fs
handler = deltalakedb.fs.DeltaStorageHandler(table.table_uri)
files = fs.PyFileSystem(handler)
"""


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("through", ["pyarrow's files", "our files"])
def test_a_program_that_read_through_pyarrow_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, through: str
) -> None:
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{tmp_path}/meta.db")
    for i in range(6):
        columns = {f"c{k}": [i, i + 1] for k in range(5)}
        write_deltalake(str(tmp_path / "t"), pa.table(columns), mode="append")
    before = IMPORTS + "import deltalakedb.fs\ntable = DeltaTable('t')\n"
    if through == "our files":
        before += FILES
        read = read.replace("dataset()", "dataset(filesystem=files)")
        read = read.replace("table()", "table(filesystem=files)")
    code = f"{read}\nprint('done', flush=True)"
    for process in [start(code, tmp_path, before) for _ in range(4)]:
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stdout) == (0, "done\n"), stderr
