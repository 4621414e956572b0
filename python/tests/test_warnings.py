"""A failure after a commit is a warning that the program can see."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import deltalake
import pytest

import deltalakedb
from deltalakedb import CommitProperties, DeltaTable, begin, write_deltalake
from deltalakedb.warnings import CommitWarning, MirrorWarning

from .conftest import ids, read

pytestmark = pytest.mark.usefixtures("embedded")


def block(path: str) -> None:
    """Replaces the table's `_delta_log` by a file, so that no file can be put there."""
    log = Path(path) / "_delta_log"
    log.rename(Path(path) / "_away")
    log.write_text("a file")


def test_the_classes() -> None:
    assert issubclass(MirrorWarning, CommitWarning)
    assert issubclass(CommitWarning, UserWarning)


def transaction(path: str) -> None:
    with begin() as tx:
        tx.write(path, ids(1))


USES: dict[str, Callable[[str], object]] = {
    "write": lambda path: write_deltalake(path, ids(1), mode="append"),
    "delete": lambda path: DeltaTable(path).delete(),
    "alter": lambda path: DeltaTable(path).alter.set_table_name("x"),
    "merge": lambda path: DeltaTable(path)
    .merge(ids(1), "s.id = t.id", "s", "t")
    .when_not_matched_insert_all()
    .execute(),
    "SQL": lambda path: deltalakedb.connect().query("INSERT INTO table_ VALUES (1)"),
    "transaction": transaction,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_commit_that_is_not_published(
    new_path: Callable[[str], str], use: Callable[[str], object]
) -> None:
    path = new_path("table_")
    write_deltalake(path, ids(0))
    block(path)
    with pytest.warns(
        MirrorWarning, match="the commit succeeded.*version 1 of"
    ) as told:
        use(path)
    # At the line of the program, not of the package.
    assert [Path(one.filename).name for one in told] == [Path(__file__).name]
    assert DeltaTable(path).version() == 1
    (status,) = deltalakedb.connect().mirror_status()
    assert status["behind"] == 1
    with pytest.raises(OSError, match="version 1 of"):
        deltalakedb.connect().publish()


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_commit_to_a_table_whose_time_is_ahead(
    new_path: Callable[[str], str], use: Callable[[str], object]
) -> None:
    path = new_path("table_")
    deltalake.write_deltalake(path, ids(0))
    # The time of a version is that of its file, here of the year 2100.
    os.utime(Path(path) / "_delta_log" / f"{0:020}.json", (4102444800, 4102444800))
    catalog = deltalakedb.connect(settings={"import.future_times": "accept"})
    catalog.import_table(path)
    ahead = "version 0 of default.table_ has the time 2100-01-01"
    with pytest.warns(CommitWarning, match=ahead) as told:
        use(path)
    assert [one.category for one in told] == [CommitWarning]
    assert [Path(one.filename).name for one in told] == [Path(__file__).name]
    assert DeltaTable(path).version() == 1


def test_where_warnings_are_errors_the_commit_stands(path: str) -> None:
    write_deltalake(path, ids(0))
    block(path)
    table = DeltaTable(path)
    with warnings.catch_warnings(action="error"), pytest.raises(MirrorWarning):
        write_deltalake(table, ids(1), mode="append")
    assert table.version() == 1
    assert read(path) == [0, 1]


def test_a_table_that_is_made_and_not_published(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (Path(path)).mkdir(parents=True)
    (Path(path) / "_delta_log").write_text("a file")
    with pytest.warns(MirrorWarning, match="the commit succeeded"):
        deltalakedb.connect().create("a.b", DeltaTableSchema, location=path)
    assert deltalakedb.connect().tables() == ["a.b"]


DeltaTableSchema = deltalakedb.Schema([deltalakedb.Field("id", "long")])


def test_a_checkpoint_that_fails(path: str) -> None:
    write_deltalake(path, ids(0))
    properties = {"delta.checkpointInterval": "2"}
    DeltaTable(path).alter.set_table_properties(properties)
    log = Path(path) / "_delta_log"
    (log / f"{2:020}.checkpoint.parquet").mkdir()
    (log / f"{3:020}.checkpoint.parquet").mkdir()

    def append_twice() -> None:
        for value in (1, 2):
            write_deltalake(path, ids(value), mode="append")

    with pytest.warns(MirrorWarning, match="checkpoint"):
        append_twice()
    assert read(path) == [0, 1, 2]


def test_nothing_is_said_where_another_process_publishes(path: str) -> None:
    catalog = deltalakedb.connect(settings={"mirror.mode": "background"})
    write_deltalake(path, ids(0))
    block(path)
    name = catalog.tables()[0]
    properties = CommitProperties(custom_metadata={"a": "b"})
    table = catalog.table(name)
    table.delete(commit_properties=properties)
    assert table.version() == 1
