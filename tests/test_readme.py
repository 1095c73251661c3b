"""README and the other Markdown pages: their commands, links and examples work.

A comment marks each block of README that a program reads. The fenced block follows it directly:
`<!-- command: reproduce -->`, `<!-- command: test -->`, `<!-- quickstart -->`.
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from tests.helpers import ROOT

README = ROOT / "README.md"
CI = ROOT / ".ci" / "run"
PATTERNS = ("*.md", "docs/**/*.md", "benchmarks/*.md")
PAGES = sorted(path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern))
COMMANDS = ["command: reproduce", "command: test"]

FENCE = re.compile(r"^ *```.*$", re.MULTILINE)
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|\b(?:src|href|srcset)=["']([^"']+)""")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def block(marker: str) -> str:
    """The text of README's fenced block after `<!-- marker -->`."""
    found = re.findall(rf"^<!-- {marker} -->\n```\w*\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(found) == 1, f"README.md: expected one fenced block directly after <!-- {marker} -->, found {len(found)}"
    return found[0]


def links(page: str) -> list[str]:
    """The targets inside the repository to which a page links, anchors removed."""
    targets = ("".join(pair) for pair in LINK.findall((ROOT / page).read_text(encoding="utf-8")))
    return [target.split("#")[0] for target in targets if not re.match(r"#|[a-z]+:", target)]


@pytest.mark.parametrize("marker", COMMANDS)
def test_a_command_is_one_line_that_makes_its_own_environment(marker):
    (command,) = block(marker).splitlines()
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


@pytest.mark.parametrize("marker", COMMANDS)
def test_a_command_names_files_and_extras_that_exist(marker):
    words = shlex.split(block(marker))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for word in words:
        assert not word.endswith(".py") or (ROOT / word).is_file()
        assert not word.startswith(".[") or set(word[2:-1].split(",")) <= set(extras)


def test_ci_runs_the_blocks_of_readme():
    script = CI.read_text(encoding="utf-8")
    assert re.findall(r'\bblock "(.+?)"', script) == ["command: test", "quickstart"]
    assert block("command: test").strip() not in script  # it reads the command from README and has no copy of it


def test_the_quick_start_runs_in_another_folder(tmp_path):
    script = tmp_path / "quickstart.py"
    script.write_text(block("quickstart"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # this checkout; .ci/run does the same with the built wheel
    command = [sys.executable, script.name]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


WINE = [f"{9 + i % 5},{('red', 'white')[i % 2]},{i % 7}\n" for i in range(40)]


def test_the_python_blocks_of_readme_are_parts_of_one_file(tmp_path):
    script = tmp_path / "readme.py"
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    shorter = {"RandomSampler(8,": "RandomSampler(1,", 'store="wine.sqlite",': 'store="wine.sqlite", workers=1,'}
    text = "\n".join(blocks)
    for long, short in shorter.items():
        assert text.count(long) == 1
        text = text.replace(long, short)
    script.write_text(text, encoding="utf-8")
    (tmp_path / "wine.csv").write_text("alcohol,color,quality\n" + "".join(WINE), encoding="utf-8")
    (tmp_path / "new.csv").write_text("color,alcohol\nred,10\nwhite,12\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script.name]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"^rank +hidden ", result.stdout, re.MULTILINE)) == 2
    assert result.stdout.count("<History of 20 epochs") == 1  # the workers do not repeat the quick start
    assert {"search.sqlite", "wine.sqlite", "wine.safetensors"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_resolves(page):
    folder = (ROOT / page).parent
    assert [target for target in links(page) if not (folder / target).exists()] == []


@pytest.mark.usefixtures("own_ops")
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_give_what_it_prints(page):
    # A fence becomes an empty line. Then it is not expected output, and line numbers stay right.
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert failed == 0, "".join(report)
