"""What the documentation site has besides docs/: pages of the repository's root, and the API reference.

MkDocs calls these functions (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File
from pymdownx.slugs import slugify

log = get_plugin_logger("docs_hooks")

ROOT = Path(__file__).resolve().parent.parent

# Files of the root, and their pages.
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}

# The pages of the Python API: a title, and the names in it.
API = {
    "catalog": (
        "Catalogs and transactions",
        [
            "deltalakedb.catalog.connect",
            "deltalakedb.catalog.begin",
            "deltalakedb.catalog.Catalog",
            "deltalakedb._table_transaction.TableTransaction",
        ],
    ),
    "table": (
        "Tables",
        [
            "deltalakedb.table.DeltaTable",
            "deltalakedb._alterer.TableAlterer",
            "deltalakedb._merger.TableMerger",
            "deltalakedb._optimizer.TableOptimizer",
            "deltalakedb._hold.Hold",
            "deltalakedb._metadata",
            "deltalakedb._table_features.TableFeatures",
        ],
    ),
    "writing": (
        "Writing",
        [
            "deltalakedb.writer.writer.write_deltalake",
            "deltalakedb.writer.convert_to.convert_to_deltalake",
            "deltalakedb.writer.properties",
        ],
    ),
    "query": ("Queries", ["deltalakedb.query"]),
    "aio": ("asyncio", ["deltalakedb.aio"]),
    "results": ("Results", ["deltalakedb.results"]),
    "install": ("In the place of deltalake", ["deltalakedb._stand_in.install", "deltalakedb._stand_in.uninstall"]),
    "schema": ("Schemas", ["deltalakedb.schema"]),
    "transaction": ("Commits", ["deltalakedb.transaction"]),
    "exceptions": ("Exceptions and warnings", ["deltalakedb.exceptions", "deltalakedb.warnings"]),
    "fs": ("File systems", ["deltalakedb.fs.fs_handler"]),
}

RUST = """# Rust

The crate `deltalakedb-table` is the one to start with: [from Rust](../index.md#from-rust).
"""

NO_RUST_DOC = """
This site was built without the API documentation of the crates: `make doc docs` builds both.
"""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def rust() -> str:
    """Links to the pages of `cargo doc`, if scripts/docs has some to copy into the site."""
    if not (folder := os.environ.get("DELTALAKEDB_RUST_DOC")):
        return RUST + NO_RUST_DOC
    crates = sorted(index.parent.name for index in Path(folder).glob("deltalakedb_*/index.html"))
    return RUST + "\n" + "".join(f'- <a href="../rust/{crate}/index.html">{crate}</a>\n' for crate in crates)


def on_config(config: Any) -> Any:
    """Gives headings the anchors that they have in the repository."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are not in docs/."""
    pages = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in PAGES.items()}
    for page, (title, names) in API.items():
        directives = "\n\n".join(f"::: {name}" for name in names)
        pages[f"api/{page}.md"] = f"# {title}\n\n{directives}\n"
    pages["api/rust.md"] = rust()
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replaces the links of a file in the repository by those of the site."""
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown
    origin = next((source for source, other in PAGES.items() if other == here), f"docs/{here}")

    def replaced(link: re.Match[str]) -> str:
        image, text, target = link.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        if path in PAGES or path.startswith("docs/"):
            page = PAGES.get(path, path.removeprefix("docs/"))
            return f"{image}[{text}]({posixpath.relpath(page, posixpath.dirname(here) or '.')}{hash_}{anchor})"
        if not (ROOT / path).exists():
            log.warning("%s has a link to %s, which does not exist", origin, path)
        # The rest of the repository is not in the site.
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path}{hash_}{anchor})"
        return text

    # Blocks of code are left as they are.
    pieces, last = [], 0
    for code in re.finditer(r"^```.*?^```$", markdown, re.M | re.S):
        pieces += [LINK.sub(replaced, markdown[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*pieces, LINK.sub(replaced, markdown[last:])])
