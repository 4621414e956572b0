"""Several handles and threads on one table: what conflicts and what does not."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from .helpers import column, ids, plain_error, raises_exactly, rows, sample


def merge_one(table: Any, value: Any, *, insert: bool) -> Any:
    builder = table.merge(
        pa.table({"id": [value], "name": ["merged"]}),
        "s.id = t.id",
        source_alias="s",
        target_alias="t",
    )
    if insert:
        return builder.when_not_matched_insert_all().execute()
    return builder.when_matched_update_all().execute()


def replace_first(dl: ModuleType, table: Any) -> None:
    data = pa.table({"id": [0], "name": ["replaced"]})
    dl.write_deltalake(table, data, mode="overwrite", predicate="id = 0")


# On a table of two files, ids 0 and 1 in one and 2 and 3 in the other.
OPERATIONS = {
    "append": lambda dl, t: dl.write_deltalake(
        t, pa.table({"id": [9], "name": ["new"]}), mode="append"
    ),
    "overwrite": lambda dl, t: dl.write_deltalake(
        t, pa.table({"id": [8], "name": ["over"]}), mode="overwrite"
    ),
    "replace 0": replace_first,
    "delete 0": lambda dl, t: t.delete("id = 0"),
    "delete 2": lambda dl, t: t.delete("id = 2"),
    "delete 0 and 1": lambda dl, t: t.delete("id < 2"),
    "delete all": lambda dl, t: t.delete(),
    "update 0": lambda dl, t: t.update({"name": "'u'"}, predicate="id = 0"),
    "merge update 2": lambda dl, t: merge_one(t, 2, insert=False),
    "merge insert 7": lambda dl, t: merge_one(t, 7, insert=True),
    "compact": lambda dl, t: t.optimize.compact(),
    "restore": lambda dl, t: t.restore(0),
    "add column": lambda dl, t: t.alter.add_columns(dl.Field("x", "long")),
    "add feature": lambda dl, t: t.alter.add_feature(dl.TableFeatures.AppendOnly, True),
    "set name": lambda dl, t: t.alter.set_table_name("n"),
}
ADDED = "concurrent transactions added new data"
DELETED = "concurrent transaction deleted data this operation read"
METADATA = "Metadata changed since last commit"
PROTOCOL = "Protocol changed since last commit"
EVERY = "Failed to commit transaction"

# Which operation, after which concurrent one, fails with which words.
CONFLICTS = [
    ("append", "merge update 2", ADDED),
    ("append", "merge insert 7", ADDED),
    ("append", "restore", EVERY),
    ("overwrite", "append", DELETED),
    ("overwrite", "overwrite", DELETED),
    ("overwrite", "delete 0", DELETED),
    ("overwrite", "set name", DELETED),
    ("replace 0", "append", DELETED),
    ("replace 0", "delete 0", ADDED),
    ("delete 0", "append", DELETED),
    ("delete 0", "overwrite", DELETED),
    ("delete 0", "delete 0 and 1", ADDED),
    ("delete 0", "delete all", DELETED),
    ("delete 0", "merge update 2", ADDED),
    ("delete 0", "compact", DELETED),
    ("delete 0", "add column", DELETED),
    ("delete all", "append", DELETED),
    ("delete all", "delete 0", DELETED),
    ("delete all", "delete all", DELETED),
    ("update 0", "append", DELETED),
    ("update 0", "update 0", ADDED),
    ("update 0", "delete 0", ADDED),
    ("update 0", "compact", DELETED),
    ("merge update 2", "append", DELETED),
    ("merge update 2", "delete 2", ADDED),
    ("merge update 2", "merge update 2", ADDED),
    ("merge insert 7", "merge insert 7", ADDED),
    ("compact", "delete 0", ADDED),
    ("compact", "update 0", ADDED),
    ("compact", "merge insert 7", ADDED),
    ("add column", "append", METADATA),
    ("add column", "delete 0", METADATA),
    ("add column", "compact", METADATA),
    ("add column", "add column", METADATA),
    ("set name", "append", METADATA),
    ("set name", "set name", METADATA),
    ("add feature", "append", PROTOCOL),
    ("add feature", "delete 0", PROTOCOL),
    ("restore", "append", METADATA),
]

# Which operation succeeds after which concurrent one, and the ids it leaves.
SUCCESSES = [
    ("append", "append", [0, 1, 2, 3, 9, 9]),
    ("append", "overwrite", [8, 9]),
    ("append", "replace 0", [0, 1, 2, 3, 9]),
    ("append", "delete 0", [1, 2, 3, 9]),
    ("append", "delete all", [9]),
    ("append", "update 0", [0, 1, 2, 3, 9]),
    ("append", "compact", [0, 1, 2, 3, 9]),
    ("append", "add column", [0, 1, 2, 3, 9]),
    ("append", "add feature", [0, 1, 2, 3, 9]),
    ("append", "set name", [0, 1, 2, 3, 9]),
    ("delete 0", "delete 2", [1, 3]),
    ("delete 2", "delete 0", [1, 3]),
    ("delete 2", "update 0", [0, 1, 3]),
    ("delete 2", "replace 0", [0, 1, 3]),
    ("update 0", "delete 2", [0, 1, 3]),
    ("merge insert 7", "append", [0, 1, 2, 3, 7, 9]),
    ("merge insert 7", "delete 0", [1, 2, 3, 7]),
    ("merge update 2", "update 0", [0, 1, 2, 3]),
    ("compact", "append", [0, 1, 2, 3, 9]),
    ("compact", "set name", [0, 1, 2, 3]),
]


def label(pair: Any) -> str:
    return f"{pair[0]} then {pair[1]}"


@pytest.fixture
def two_files(dl: ModuleType, path: str) -> tuple[Any, Any]:
    """Two handles on a table of two files: ids 0 and 1, ids 2 and 3."""
    for first in (0, 2):
        data = pa.table({"id": [first, first + 1], "name": ["x", "y"]})
        dl.write_deltalake(path, data, mode="append")
    return dl.DeltaTable(path), dl.DeltaTable(path)


@pytest.mark.parametrize(
    ("first", "second", "words"), CONFLICTS, ids=[label(c) for c in CONFLICTS]
)
def test_conflicting_operations(dl, path, two_files, first, second, words):
    winner, loser = two_files
    OPERATIONS[first](dl, winner)
    with raises_exactly(dl.exceptions.CommitFailedError, words):
        OPERATIONS[second](dl, loser)
    assert dl.DeltaTable(path).version() == 2
    assert loser.version() == 1


@pytest.mark.parametrize(
    ("first", "second", "left"), SUCCESSES, ids=[label(s) for s in SUCCESSES]
)
def test_compatible_operations(dl, path, two_files, first, second, left):
    OPERATIONS[first](dl, two_files[0])
    OPERATIONS[second](dl, two_files[1])
    opened = dl.DeltaTable(path)
    assert opened.version() == two_files[1].version() == 3
    assert column(opened, "id") == left


def test_defect_two_compactions_duplicate_rows(dl, path, two_files):
    for handle in two_files:
        with suppress(dl.exceptions.CommitFailedError):
            handle.optimize.compact()
    assert column(dl.DeltaTable(path), "id") == [0, 1, 2, 3]


def test_defect_delete_everything_after_compaction(dl, path, two_files):
    first, second = two_files
    first.optimize.compact()
    try:
        second.delete()
    except dl.exceptions.CommitFailedError:
        return
    assert rows(dl.DeltaTable(path), "id") == []


def test_defect_overwrite_after_compaction(dl, path, two_files):
    first, second = two_files
    first.optimize.compact()
    try:
        OPERATIONS["overwrite"](dl, second)
    except dl.exceptions.CommitFailedError:
        return
    assert column(dl.DeltaTable(path), "id") == [8]


@pytest.fixture
def pair(dl: ModuleType, path: str, table: Any) -> tuple[Any, Any]:
    """Two handles opened at the same version."""
    return dl.DeltaTable(path), dl.DeltaTable(path)


def test_appends_do_not_conflict(dl, path, pair):
    for i, handle in enumerate(pair):
        data = pa.table({"id": [10 + i], "name": ["x"]})
        dl.write_deltalake(handle, data, mode="append")
    assert column(dl.DeltaTable(path), "id") == [0, 1, 2, 10, 11]
    assert [handle.version() for handle in pair] == [1, 2]


@pytest.mark.parametrize(
    "operation",
    [
        lambda table: table.delete("id = 1"),
        lambda table: table.update({"name": "'q'"}),
        lambda table: (
            table.merge(sample(), "s.id = t.id", source_alias="s", target_alias="t")
            .when_matched_delete()
            .execute()
        ),
    ],
    ids=["delete", "update", "merge"],
)
def test_rewrites_of_one_file_conflict(dl, path, pair, operation):
    first, second = pair
    first.delete("id = 0")
    with raises_exactly(dl.exceptions.CommitFailedError, "concurrent transaction"):
        operation(second)
    assert second.version() == 0
    assert dl.DeltaTable(path).version() == 1


def test_conflict_message(dl, pair):
    first, second = pair
    first.delete("id = 0")
    with raises_exactly(
        dl.exceptions.CommitFailedError, "Failed to commit transaction.*added new data"
    ):
        second.delete("id = 1")


def test_loser_can_try_again(dl, pair):
    first, second = pair
    first.delete("id = 0")
    with pytest.raises(plain_error(dl), match="concurrent"):
        second.delete("id = 1")
    second.update_incremental()
    second.delete("id = 1")
    assert column(second, "id") == [2]


def test_metadata_change_conflicts_with_append(dl, path, pair):
    first, second = pair
    first.alter.set_table_name("n")
    with raises_exactly(dl.exceptions.CommitFailedError, "Metadata changed"):
        dl.write_deltalake(second, sample(), mode="append")
    assert dl.DeltaTable(path).version() == 1


def test_metadata_change_conflicts_with_delete(dl, pair):
    first, second = pair
    first.alter.add_columns(dl.Field("x", "long"))
    with raises_exactly(dl.exceptions.CommitFailedError, "Metadata changed"):
        second.delete("id = 0")


def test_protocol_change_conflicts(dl, pair):
    first, second = pair
    first.alter.add_feature(dl.TableFeatures.AppendOnly, True)
    with pytest.raises(dl.exceptions.CommitFailedError):
        dl.write_deltalake(second, sample(), mode="append")


def test_delete_after_append_of_other_rows(dl, path, table):
    other = dl.DeltaTable(path)
    dl.write_deltalake(table, pa.table({"id": [50], "name": ["x"]}), mode="append")
    other.delete("id = 0")
    assert column(dl.DeltaTable(path), "id") == [1, 2, 50]


def test_deletes_of_different_partitions(dl, path):
    data = pa.table({"id": [1, 2], "p": ["a", "b"]})
    dl.write_deltalake(path, data, partition_by="p")
    first, second = dl.DeltaTable(path), dl.DeltaTable(path)
    first.delete("p = 'a'")
    second.delete("p = 'b'")
    assert rows(dl.DeltaTable(path), "id") == []
    assert second.version() == 2


def test_two_removals_of_one_file_conflict(dl, path, pair):
    first, second = pair
    first.delete()
    with raises_exactly(dl.exceptions.CommitFailedError, "concurrent transaction"):
        second.delete()


def test_compaction_does_not_conflict_with_append(dl, path):
    for i in range(2):
        dl.write_deltalake(path, ids(i), mode="append")
    first, second = dl.DeltaTable(path), dl.DeltaTable(path)
    dl.write_deltalake(first, ids(9), mode="append")
    second.optimize.compact()
    assert column(dl.DeltaTable(path), "id") == [0, 1, 9]
    assert len(second.file_uris()) == 2


def test_no_retries_left(dl, path, pair):
    first, second = pair
    dl.write_deltalake(first, sample(), mode="append")
    with raises_exactly(dl.exceptions.CommitFailedError, "Failed to commit"):
        dl.write_deltalake(
            second,
            sample(),
            mode="append",
            commit_properties=dl.CommitProperties(max_commit_retries=0),
        )
    assert dl.DeltaTable(path).version() == 1


def test_enough_retries(dl, path, pair):
    first, second = pair
    for _ in range(3):
        dl.write_deltalake(first, sample(), mode="append")
    dl.write_deltalake(
        second,
        sample(),
        mode="append",
        commit_properties=dl.CommitProperties(max_commit_retries=5),
    )
    assert second.version() == 4


def test_second_creation_fails(dl, path):
    schema = dl.Schema([dl.Field("id", "long")])
    dl.DeltaTable.create(path, schema)
    with raises_exactly(dl.exceptions.DeltaError, "already exists"):
        dl.DeltaTable.create(path, schema)


def run_all(functions: list[Callable[[], Any]]) -> list[BaseException]:
    """Run functions in threads that start together; the exceptions they raised."""
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> None:
        barrier.wait()
        function()

    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(run, function) for function in functions]
        errors = [future.exception() for future in futures]
    return [error for error in errors if error is not None]


def test_threads_append(dl, path, table):
    def append(i):
        data = pa.table({"id": [100 + i], "name": ["x"]})
        return lambda: dl.write_deltalake(path, data, mode="append")

    assert run_all([append(i) for i in range(8)]) == []
    opened = dl.DeltaTable(path)
    assert opened.version() == 8
    assert column(opened, "id") == [0, 1, 2, *range(100, 108)]
    assert len(opened.history()) == 9


def test_threads_create_one_table(dl, path):
    def create():
        dl.write_deltalake(path, sample(), mode="append")

    errors = run_all([create] * 4)
    opened = dl.DeltaTable(path)
    assert all(isinstance(e, dl.exceptions.DeltaError) for e in errors)
    assert opened.version() == 3 - len(errors)
    assert opened.count() == 3 * (4 - len(errors))


def test_threads_delete_the_same_rows(dl, path, table):
    def delete():
        dl.DeltaTable(path).delete("id = 1")

    errors = run_all([delete] * 4)
    assert all(isinstance(e, dl.exceptions.CommitFailedError) for e in errors)
    opened = dl.DeltaTable(path)
    assert opened.version() == 1
    assert column(opened, "id") == [0, 2]


def test_threads_read_one_handle(table):
    found = []
    errors = run_all([lambda: found.append(rows(table))] * 8)
    assert errors == []
    assert found == [sample().to_pylist()] * 8


def test_threads_read_while_others_write(dl, path, table):
    def write():
        for _ in range(3):
            dl.write_deltalake(path, sample(), mode="append")

    counts = []

    def read():
        for _ in range(5):
            counts.append(dl.DeltaTable(path).count())

    assert run_all([write, read, read]) == []
    assert {count % 3 for count in counts} == {0}
