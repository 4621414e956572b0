"""The Python code of the guides and the examples runs; their Rust is in examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import deltalakedb

TREE = Path(__file__).parents[2]
BEFORE = """
def _printed(expected, *values):
    assert " ".join(map(str, values)) == expected, (expected, values)
"""
# What the blocks of the Python guide use without saying where it comes from.
SALES = """
import pyarrow as pa
import deltalakedb
customers = sales = pa.table({"day": ["a", "b"], "amount": [1.0, 2.0]})
"""
EXAMPLES = sorted((TREE / "examples").glob("*.py"))


FILES = [TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks_of(page: Path, language: str = "python") -> list[str]:
    """Its code, each block after as many empty lines as precede it in the page."""
    text = page.read_text()
    return [
        "\n" * text.count("\n", 0, block.start(2)) + block[2]
        for block in BLOCK.finditer(text)
        if block[1] == language
    ]


PAGES = {
    str(page.relative_to(TREE)): blocks for page in FILES if (blocks := blocks_of(page))
}
RUST = [(page.name, block) for page in FILES for block in blocks_of(page, "rust")]
# `print(…)  # what it prints`
PRINTED = re.compile(r"^( *)print\((.*)\)  # (.*)$", re.M)


@pytest.fixture
def page(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A page, in a folder of its own, with what its code expects of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DELTALAKEDB_CATALOG", "deltasql://sqlite/meta.db")
    if request.param != "docs/cloud-storage.md":
        yield request.param
        return
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    bucket = urllib.request.Request(f"{endpoint}/lake", method="PUT")
    urllib.request.urlopen(bucket).close()
    for name, value in {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield request.param
    server.stop()


def test_there_are_guides() -> None:
    assert {"README.md", "docs/python.md"} <= set(PAGES)
    assert len(PAGES["docs/python.md"]) >= 4


@pytest.mark.parametrize("page", PAGES, indirect=True)
def test_a_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """Its blocks run one after the other."""

    before = BEFORE
    if page == "docs/python.md":
        before += SALES
        make_tables_of_the_python_guide(tmp_path, monkeypatch)
    program = before
    for block in PAGES[page]:
        here = PRINTED.sub(
            lambda line: f"{line[1]}_printed({line[3]!r}, {line[2]})", block
        )
        program += f"exec(compile({here!r}, {page!r}, 'exec'))\n"
    # In a process of its own, as a guide may begin with install().
    run = subprocess.run(
        [sys.executable, "-c", program.replace("/data/", f"{tmp_path}/")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr


def make_tables_of_the_python_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{tmp_path}/meta.db")
    rows = pa.table({"day": ["a", "b"], "amount": [1.0, 2.0]})
    deltalake.write_deltalake(f"{tmp_path}/events", rows)
    deltalakedb.write_deltalake(f"{tmp_path}/orders", rows)
    with deltalakedb.begin() as tx:
        tx.write("sales.orders", rows)


@pytest.mark.parametrize(("page", "block"), RUST, ids=[page for page, _ in RUST])
def test_rust_is_a_part_of_an_example(page: str, block: str) -> None:
    """Which is compiled and run."""
    programs = [file.read_text() for file in (TREE / "examples").glob("*.rs")]
    here = textwrap.indent(block.strip("\n"), "    ")
    assert any(f"\n{here}\n" in program for program in programs), page


def test_there_are_examples() -> None:
    assert [example.name for example in EXAMPLES] == ["two_tables.py"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example(tmp_path: Path, example: Path) -> None:
    run = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "'name': 'bob'" in run.stdout
