"""The documentation site, as far as it can be checked without Sphinx. `.ci/run` builds it, with warnings as errors."""

import re
import runpy

import pytest

from tests.helpers import ROOT

DOCS = ROOT / "docs"
SOURCES = runpy.run_path(str(DOCS / "_ext" / "source_pages.py"))
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_a_page_includes_is_there(page):
    text = page.read_text(encoding="utf-8")
    for match in SOURCES["INCLUDED"].finditer(text):
        assert len(SOURCES["included"](page, match)) > 100
    assert len(re.findall("<!-- (?:page|section):", text)) == len(SOURCES["INCLUDED"].findall(text))


def test_every_example_has_its_place_in_the_gallery():
    order = re.search(r"^ORDER = \((.*?)^\)", (DOCS / "_ext" / "gallery.py").read_text(encoding="utf-8"), re.M | re.S)
    assert sorted(re.findall(r'"(\w+)"', order[1])) == sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def test_the_kinds_of_parts_have_a_section():
    titles = re.findall(r"^### (.*)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    kinds = ["Activation", "Layer", "Loss", "Penalty", "Gradient hook", "Optimizer", "Scheduler", "Callback", "Search strategy"]
    assert [title for title in titles if title in kinds] == kinds
