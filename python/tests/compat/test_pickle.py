"""What can be pickled and copied, and what cannot."""

import copy
import pickle

import pytest

from .helpers import raises_exactly


@pytest.mark.parametrize(
    "build",
    [
        lambda dl: dl.WriterProperties(
            compression="ZSTD",
            column_properties={
                "x": dl.ColumnProperties(
                    bloom_filter_properties=dl.BloomFilterProperties(True, 0.1)
                )
            },
        ),
        lambda dl: dl.CommitProperties(custom_metadata={"a": "b"}),
        lambda dl: dl.PostCommitHookProperties(create_checkpoint=False),
        lambda dl: dl.transaction.AddAction("p", 1, {}, 1, True, "{}"),
        lambda dl: dl.table.ProtocolVersions(1, 2, None, None),
    ],
    ids=["writer", "commit", "hooks", "add", "protocol"],
)
def test_plain_classes_can_be_pickled(dl, build):
    original = build(dl)
    restored = pickle.loads(pickle.dumps(original))
    assert type(restored) is type(original)
    assert str(restored) == str(original)
    assert restored == original


@pytest.mark.parametrize(
    "build",
    [
        lambda dl: dl.Schema([]),
        lambda dl: dl.Field("a", "long"),
        lambda dl: dl.schema.PrimitiveType("long"),
        lambda dl: dl.VariantType(),
        lambda dl: dl.Transaction("app", 1),
        lambda dl: dl.TableFeatures.AppendOnly,
    ],
    ids=["schema", "field", "primitive", "variant", "transaction", "feature"],
)
def test_native_classes_cannot_be_pickled(dl, build):
    with raises_exactly(TypeError, "cannot pickle"):
        pickle.dumps(build(dl))


def test_tables_cannot_be_pickled(table):
    with raises_exactly(TypeError, "cannot pickle"):
        pickle.dumps(table)


def test_tables_can_be_copied_shallowly(table):
    assert copy.copy(table).file_uris() == table.file_uris()


@pytest.mark.parametrize(
    "name",
    [
        "CommitFailedError",
        "DeltaError",
        "DeltaProtocolError",
        "SchemaMismatchError",
        "TableNotFoundError",
    ],
)
def test_errors_carry_their_message(dl, name):
    error = getattr(dl.exceptions, name)("what happened")
    assert str(error) == "what happened"
    assert error.args == ("what happened",)


def test_read_results_can_be_pickled(table):
    read = table.to_pyarrow_table()
    assert pickle.loads(pickle.dumps(read)) == read
