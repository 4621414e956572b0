from __future__ import annotations

import os
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
    """The names in docstring examples: a catalog, data, and a table with it."""
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
    # What an example creates by a relative path is not left in the sources.
    monkeypatch.chdir(tmp_path)
    deltalakedb.write_deltalake(tmp_path / "dt", data)
    doctest_namespace.update(
        path=str(tmp_path / "table"),
        data=data,
        dt=deltalakedb.DeltaTable(tmp_path / "dt"),
        pa=pa,
        dataset_field=pyarrow.dataset.field,
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Reports skipped tests to `scripts/skipped`, but not expected failures."""
    file = os.environ.get("DELTALAKEDB_SKIPPED")
    # Of processes that run tests side by side, the one that started them reports all.
    if not file or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        why = why.removeprefix("Skipped: ")
        with open(file, "a", encoding="utf-8") as skipped:
            skipped.write(f"{report.nodeid.replace(':', '.')}: {why}\n")
