"""The names `models`, `search` and the console script, in a folder of a user who uses these names too."""

import os
import subprocess
import sys
import tomllib

import pytest

import tinygrad_lab
from search.command.main import main
from tests.helpers import ROOT

SEARCH = """\
workers = 2
[data]
train = "train.csv"
[grid]
hidden = [[2], [3]]
epochs = [1]
[folds]
n_splits = 2
"""
OWN = """\
from models import build_perceptron

def make(configuration, rng):
    return build_perceptron(configuration, rng)
"""


def python(folder, *arguments):
    """Run Python in a folder, whose modules come first, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def folder(tmp_path):
    """A folder with a search, whose networks are those of this distribution."""
    (tmp_path / "train.csv").write_text("1,2\n2,4\n3,6\n4,8\n")
    (tmp_path / "search.toml").write_text(SEARCH)
    return tmp_path


def test_folders_of_these_names_add_their_modules(folder):
    for package in ("models", "search"):
        (folder / package).mkdir()
        (folder / package / "mine.py").write_text("number = 3")
    script = (
        "import models.mine, search.mine, models, search; "
        "print(models.mine.number, search.mine.number, models.build_perceptron.__module__, search.KFold.__module__)"
    )
    assert python(folder, "-c", script) == "3 3 models.builders search.trials.folds\n"


def test_a_builder_in_a_folder_models_beside_the_settings(folder):
    (folder / "settings/models").mkdir(parents=True)
    (folder / "settings/models/mine.py").write_text(OWN)
    (folder / "settings/train.csv").write_text((folder / "train.csv").read_text())
    (folder / "settings/search.toml").write_text('build = "models.mine:make"\n' + SEARCH)
    assert "rank  hidden" in python(folder, "-m", "search", "run", "s.sqlite", "settings/search.toml", "--quiet")


def test_the_command_line_finds_its_own_networks(folder):
    (folder / "models.py").write_text("raise RuntimeError('the module of the user')")
    assert "rank  hidden" in python(folder, "-m", "search", "run", "s.sqlite", "search.toml", "--quiet")


def test_the_console_script_is_the_command_line(capsys, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"tinygrad-lab": "search.command.main:main"}
    monkeypatch.setattr("sys.argv", ["/usr/bin/tinygrad-lab"])
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tinygrad-lab {tinygrad_lab.__version__}\n"
    assert main(["run", "none.sqlite"]) == 1
    assert capsys.readouterr().err.startswith("tinygrad-lab run: error: store none.sqlite: there is none to go on with")
