"""What PyPI gets: metadata, licences, and a source that is complete."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deltalakedb import _compiled

PYTHON = Path(__file__).parents[1]
TREE = PYTHON.parent
# Those of `tool.maturin` in the files of the projects.
FEATURES = {
    "python": ["--no-default-features", "--features", "bundled,pyo3/extension-module"],
    "with-duckdb": ["--features", "pyo3/extension-module"],
}


def source_of(project: Path, folder: Path) -> Path:
    """The folder of a source distribution, unpacked."""
    maturin = [sys.executable, "-m", "maturin", "sdist", "--out", str(folder)]
    run = subprocess.run(maturin, cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.mark.parametrize("project", [PYTHON, PYTHON / "with-duckdb"], ids=str)
def test_the_source_distribution_has_all_that_is_compiled(
    tmp_path: Path, project: Path
) -> None:
    source = source_of(project, tmp_path)
    # Outside of the repository: every path in a manifest is found, and every crate in
    # the version of the lock file.
    cargo = [
        "cargo",
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]
    found = [
        subprocess.run(
            [*cargo, *FEATURES[project.name]],
            cwd=folder / "python",
            capture_output=True,
            text=True,
            check=False,
        )
        for folder in (source, TREE)
    ]
    assert found[0].returncode == 0, found[0].stderr
    there, here = (
        {" ".join(line.split()[:2]) for line in run.stdout.splitlines()}
        for run in found
    )
    assert there == here
    for crate in ["catalog", "engine", "rows", "table"]:
        script = source / "crates" / crate / "build.rs"
        assert script.read_text() == (TREE / "crates" / "rpath.rs").read_text()
    for name in ["LICENSE", "README.md", "Cargo.lock", "python/build.rs"]:
        assert (source / name).is_file(), name
    assert not (source / "LICENSE").is_symlink()


def test_the_metadata_is_that_of_a_page_on_pypi(tmp_path: Path) -> None:
    page = Parser().parsestr((source_of(PYTHON, tmp_path) / "PKG-INFO").read_text())
    version = page["Version"]
    assert page["License-Expression"] == "Apache-2.0"
    assert page["Requires-Python"] == ">=3.10"
    assert "LICENSE" in page.get_all("License-File", [])
    assert page["Description-Content-Type"].startswith("text/markdown")
    assert page.get_payload().lstrip().startswith("# deltalakedb\n")
    extra = f"deltalakedb-duckdb=={version} ; extra == 'duckdb-catalog'"
    assert extra in page.get_all("Requires-Dist", [])


class TestTheCompiledHalfWithDuckDB:
    """Whether it is used."""

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.versions = {"deltalakedb": "1.0", "deltalakedb-duckdb": "1.0"}
        self.modules: dict[str, Any] = {}
        monkeypatch.setattr(
            _compiled,
            "importlib",
            SimpleNamespace(
                metadata=SimpleNamespace(version=self.versions.__getitem__),
                util=SimpleNamespace(find_spec=lambda name: name),
                import_module=lambda name: f"the module {name}",
            ),
        )
        monkeypatch.setattr(_compiled, "sys", SimpleNamespace(modules=self.modules))

    def test_it_is_used_where_it_is_installed(self) -> None:
        _compiled.choose()
        name = "deltalakedb._internal"
        assert self.modules == {name: "the module deltalakedb_duckdb._internal"}

    def test_another_version_is_refused(self) -> None:
        self.versions["deltalakedb-duckdb"] = "0.9"
        with pytest.raises(ImportError, match=r"0\.9 does not belong .* 1\.0: run pip"):
            _compiled.choose()
        assert self.modules == {}

    def test_a_module_that_is_loaded_stays(self) -> None:
        self.modules["deltalakedb._internal"] = "first"
        _compiled.choose()
        assert self.modules == {"deltalakedb._internal": "first"}
