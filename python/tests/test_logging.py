"""Events of the compiled part arrive in `logging`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from deltalakedb import DeltaTable, write_deltalake
from deltalakedb.warnings import MirrorWarning

from .conftest import ids
from .test_process import start
from .test_warnings import block

pytestmark = pytest.mark.usefixtures("embedded")


@pytest.fixture(autouse=True)
def without_configuration() -> None:
    """The logger as in a program that does not configure it."""
    logging.getLogger("deltalakedb").setLevel(logging.NOTSET)


def test_a_warning_arrives_with_the_call(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_deltalake(path, ids(0))
    assert caplog.records == []
    block(path)
    with pytest.warns(MirrorWarning):
        write_deltalake(path, ids(1), mode="append")
    (record,) = [one for one in caplog.records if one.name == "deltalakedb.warnings"]
    assert record.levelno == logging.WARNING
    assert "the commit succeeded" in record.getMessage()
    assert record.pathname.endswith(".rs")
    assert record.lineno > 0


def test_the_level_of_the_logger_decides(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "deltalakedb"):
        write_deltalake(path, ids(0))
    (record,) = [one for one in caplog.records if one.name == "deltalakedb.commit"]
    assert record.levelno == logging.INFO
    fields = record.__dict__["fields"]
    assert (fields["version"], fields["adds"]) == ("0", "1")
    assert record.getMessage().startswith("committed table=default.table ")
    assert {one.levelno for one in caplog.records} == {logging.INFO}
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "deltalakedb"):
        write_deltalake(path, ids(1), mode="append")
    assert "deltalakedb.catalog.catalog" in {one.name for one in caplog.records}
    caplog.clear()
    write_deltalake(path, ids(2), mode="append")
    assert caplog.records == []


def test_the_level_of_a_logger_below_filters(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    below = logging.getLogger("deltalakedb.catalog")
    below.setLevel(logging.ERROR)
    try:
        with caplog.at_level(logging.DEBUG, "deltalakedb"):
            write_deltalake(path, ids(0))
    finally:
        below.setLevel(logging.NOTSET)
    names = {one.name.split(".")[1] for one in caplog.records}
    assert "commit" in names
    assert "catalog" not in names


def test_a_handler_that_fails_does_not_fail_the_call(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("no place")

    logger, handler = logging.getLogger("deltalakedb"), Failing()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        write_deltalake(path, ids(0))
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
    assert DeltaTable(path).version() == 0
    assert "RuntimeError: no place" in capsys.readouterr().err


def run(code: str, folder: Path) -> str:
    """The output of a program in a process of its own."""
    process = start(code, folder)
    try:
        stdout, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    return stdout + stderr


def test_nothing_is_printed_without_a_configuration(tmp_path: Path) -> None:
    code = """
    import warnings
    warnings.simplefilter("ignore")
    os.rename("t/_delta_log", "away")
    open("t/_delta_log", "w").close()
    write_deltalake("t", pa.table({"id": [1]}), mode="append")
    """
    assert run(code, tmp_path) == ""


TO_STDOUT = """
import logging, time
class ToStdout(logging.Handler):
    def emit(self, record):
        print(record.threadName, record.name, record.getMessage(), flush=True)
logging.getLogger("deltalakedb").addHandler(ToStdout())
"""
# The only event outside of a call that a test can cause.
EVENT = "deltalakedb.init_tracing('http://localhost:9')"


def test_an_event_outside_of_a_call_is_passed_by_a_thread(tmp_path: Path) -> None:
    code = f"""
seen = threading.Event()
class Seen(logging.Handler):
    def emit(self, record):
        seen.set()
logging.getLogger("deltalakedb").addHandler(Seen())
{EVENT}
assert seen.wait(60)
os._exit(0)
"""
    assert "deltalakedb-logging deltalakedb " in run(TO_STDOUT + code, tmp_path)


def test_events_are_passed_at_the_end_of_the_program(tmp_path: Path) -> None:
    assert "deltalakedb reports go to" in run(TO_STDOUT + EVENT, tmp_path)


def test_handlers_may_use_the_package(tmp_path: Path) -> None:
    code = """
import logging, time
class Using(logging.Handler):
    used = 0
    def emit(self, record):
        # It holds the lock of the handler, for which other threads wait.
        deltalakedb.connect().tables()
        DeltaTable("t").count()
        Using.used += 1
logging.getLogger("deltalakedb").addHandler(Using())
logging.getLogger("deltalakedb.commit").setLevel(logging.INFO)
logging.getLogger("deltalakedb").setLevel(logging.INFO)
def work(n):
    for i in range(5):
        write_deltalake(f"t{n}", pa.table({"id": [i]}), mode="append")
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# The last events may be passed by the thread of the package.
while Using.used < 20:
    time.sleep(0.01)
print("done")
"""
    assert run(code, tmp_path) == "done\n"
