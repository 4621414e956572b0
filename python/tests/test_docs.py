"""The Python code of the guides and the examples runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import deltalakedb

TREE = Path(__file__).parents[2]
# What the blocks of a guide use without saying where it comes from.
BEFORE = """
import pyarrow as pa
import deltalakedb
customers = sales = pa.table({"day": ["a", "b"], "amount": [1.0, 2.0]})
"""
EXAMPLES = sorted((TREE / "examples").glob("*.py"))


@pytest.mark.parametrize(("page", "least"), [("docs/python.md", 4), ("README.md", 1)])
def test_a_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, least: int
) -> None:
    text = (TREE / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) >= least
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{tmp_path}/meta.db")
    rows = pa.table({"day": ["a", "b"], "amount": [1.0, 2.0]})
    deltalake.write_deltalake(f"{tmp_path}/events", rows)
    deltalakedb.write_deltalake(f"{tmp_path}/orders", rows)
    with deltalakedb.begin() as tx:
        tx.write("sales.orders", rows)
    program = BEFORE + "".join(
        f"exec(compile({block!r}, {page!r}, 'exec'))\n" for block in blocks
    )
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
    with deltalakedb.begin() as tx:
        assert pa.table(tx.scan("sales.fact_sales")).num_rows == 2


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
