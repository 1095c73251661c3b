"""Show Markdown files and source files of the repository on the site, so that each link between them works without a network.

<!-- page: ../CONTRIBUTING.md -->              in a page: replaced by that file
<!-- section: ../CONTRIBUTING.md "Add an op" --> replaced by that section of it
[ops.py](../tinygrad_lab/autodiff/ops.py)      links to a page with the highlighted source, which is written here
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {  # files outside of docs/ that have a page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
INCLUDED = re.compile(r'^<!-- (?:page|section): (\S+)(?: "(.+)")? -->$', re.MULTILINE)


def setup(app: Any) -> dict[str, Any]:
    """Write the source pages before Sphinx looks for its sources, and expand the Markdown pages while it reads them."""
    app.connect("config-inited", lambda app, config: write_source_pages(), priority=2)
    app.connect("source-read", expand)
    return {"parallel_read_safe": True}


def expand(app: Any, name: str, source: list[str]) -> None:
    """Replace the comments by the files that they name, and let links point to pages of the site."""
    if Path(app.env.doc2path(name)).suffix == ".md":
        path = DOCS / f"{name}.md"
        source[0] = INCLUDED.sub(lambda match: included(path, match), linked(source[0], path))


def included(path: Path, match: re.Match[str]) -> str:
    """Return the file that a comment names, or the text of one section of it."""
    file = (path.parent / match[1]).resolve()
    text = linked(file.read_text(encoding="utf-8"), file)
    if match[2] is None:
        return text
    sections = re.split(r"^#+ (.*)\n", text, flags=re.MULTILINE)  # text, title, text, title, text, ...
    return sections[sections.index(match[2]) + 1].strip()


def linked(text: str, path: Path) -> str:
    """Return the text of a file, with links from it to files of the repository as links to pages of the site."""
    return LINK.sub(lambda match: f"]({destination((path.parent / match[1]).resolve())}{match[2] or ''})", text)


def destination(target: Path) -> str:
    """Return the page that shows a file or folder of the repository. A figure is its own page."""
    inside = target.relative_to(ROOT).as_posix()
    if inside in PAGES:
        return f"/{PAGES[inside]}"
    if target.parent.name == "examples":
        return f"/gallery/{target.stem}.rst"
    if target.is_relative_to(DOCS):
        return f"/{target.relative_to(DOCS).as_posix()}"
    return f"/source/{inside}.rst"


def write_source_pages() -> None:
    """Write a page for each file and folder outside of docs/ to which a Markdown page links."""
    wanted: set[Path] = set()
    for page in [*DOCS.rglob("*.md"), *(ROOT / file for file in PAGES)]:
        for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if destination(path).startswith("/source/"):
                wanted |= {path, *path.glob("*.py")} if path.is_dir() else {path}
    pages = {DOCS / f"source/{path.relative_to(ROOT).as_posix()}.rst": path for path in wanted}
    for page in set((DOCS / "source").rglob("*.rst")) - pages.keys():
        page.unlink()
    for page, path in pages.items():
        text = source_page(path, page)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")


def source_page(path: Path, page: Path) -> str:
    """Return the page of a file, which shows it, or of a folder, which lists its files."""
    title = path.relative_to(ROOT).as_posix()
    head = [":orphan:", "", f"``{title}``", "=" * (len(title) + 4), ""]
    if path.is_dir():
        files = [f"   {path.name}/{file.name}" for file in sorted(path.glob("*.py"))]
        return "\n".join([*head, ".. toctree::", "   :maxdepth: 1", "", *(f"{file}.rst" for file in files)])
    language = {".py": "python", ".toml": "toml"}.get(path.suffix, "text")
    return "\n".join([*head, f".. literalinclude:: {os.path.relpath(path, page.parent)}", f"   :language: {language}", ""])
