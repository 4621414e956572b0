"""The page that lists every public name is correct."""

from __future__ import annotations

import re

import deltalakedb
from deltalakedb import DeltaTable
from tests.compatibility import PAGE, added, always_raised, ignored, page


def test_the_page_is_what_the_packages_are() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.compatibility` in python/"


def test_nothing_is_missing() -> None:
    assert re.findall(r"^\| `[^`]*` \| no \|", page(), re.M) == []


def test_the_names_of_every_kind_are_there() -> None:
    """Members that no instance and no class lists, too."""
    lines = page().splitlines()
    for name, here in {
        "Compression.from_str": "yes",
        "CommitProperties.custom_metadata": "yes",
        "DeltaTable.__datafusion_table_provider__": "raises `NotImplementedError`",
        "DeltaTable.version": "yes",
        "FilterType": "yes",
        "PYARROW_AVAILABLE": "yes",
        "Schema.__arrow_c_schema__": "yes",
    }.items():
        assert f"| `{name}` | {here} | yes |" in lines
    listed = {line.split("`")[1] for line in lines if line.startswith("| `")}
    pythons = {"DeltaError.add_note", "ProtocolVersions.index", "TYPE_CHECKING"}
    assert listed & pythons == set()


def test_every_name_is_used() -> None:
    """By the tests that both packages pass."""
    assert re.findall(r"^\| `([^`]*)` \| [^|]* \| no \|", page(), re.M) == []


def test_what_does_nothing_is_told() -> None:
    """The docstrings say so, in the words that the page's generator searches for."""
    assert ignored(deltalakedb.init_tracing) == ["endpoint"]
    assert ignored(DeltaTable.merge) == ["max_spill_size", "max_temp_directory_size"]
    assert ignored(deltalakedb.convert_to_deltalake) == ["collect_stats"]
    assert ignored(DeltaTable.delete) == []
    assert always_raised(deltalakedb.enable_nanosecond_timestamps) == "RuntimeError"
    assert always_raised(DeltaTable.delete) is None


def test_what_is_added_is_listed_once() -> None:
    names = [name for name, _ in added()]
    assert len(names) == len(set(names))
    for name in (
        "install",
        "aio.begin",
        "catalog.Catalog.close",
        "results.DeleteMetrics",
        "table.DeltaTable.to_polars",
        "warnings.MirrorWarning",
    ):
        assert name in names
    assert [name for name, text in added() if not text] == []
