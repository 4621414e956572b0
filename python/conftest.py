from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _example(
    request: pytest.FixtureRequest,
    doctest_namespace: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What examples in docstrings find: a catalog, data, and a table that holds it."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    import pyarrow as pa
    import pyarrow.dataset

    import deltalakedb

    catalog = f"deltasql://sqlite/{tmp_path}/catalog.db"
    data = pa.table(
        {"id": [1, 2, 3], "name": ["a", "b", "c"], "price": [1.5, 2.5, 3.5]}
    )
    monkeypatch.setenv("DELTALAKEDB_CATALOG", catalog)
    deltalakedb.write_deltalake(tmp_path / "dt", data)
    doctest_namespace.update(
        path=str(tmp_path / "table"),
        data=data,
        dt=deltalakedb.DeltaTable(tmp_path / "dt"),
        pa=pa,
        dataset_field=pyarrow.dataset.field,
    )
