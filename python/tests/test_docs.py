"""The Python of the guide runs."""

from __future__ import annotations

import re
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import deltalakedb

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    assert len(blocks) > 3
    monkeypatch.setenv("DELTALAKEDB_CATALOG", f"deltasql://sqlite/{tmp_path}/meta.db")
    rows = pa.table({"day": ["a", "b"], "amount": [1.0, 2.0]})
    deltalake.write_deltalake(f"{tmp_path}/events", rows)
    deltalakedb.write_deltalake(f"{tmp_path}/orders", rows)
    with deltalakedb.begin() as tx:
        tx.write("sales.orders", rows)
    names = {"customers": rows, "sales": rows}
    for block in blocks:
        here = block.replace("//data/", f"/{tmp_path}/").replace(
            '"/data/', f'"{tmp_path}/'
        )
        exec(compile(here, str(GUIDE), "exec"), names)
    with deltalakedb.begin() as tx:
        assert pa.table(tx.scan("sales.fact_sales")).num_rows == 2
