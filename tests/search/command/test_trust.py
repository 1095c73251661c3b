"""Stores and texts of other people: what is imported, what reaches the terminal, and the exit code of a failure."""

import sys
from pathlib import Path

import pytest

from search.command.main import main
from search.store import Store

OWN = """\
import pathlib
pathlib.Path(__file__).with_suffix(".was_imported").touch()
from search.testing import build_polynomial

def make(configuration, rng):
    return build_polynomial({"degree": configuration["degree"], "epochs": 2}, rng)

class Failing:
    def __init__(self, configuration, rng):
        pass

    def fit(self, *_, **__):
        raise RuntimeError("no licence \\x1b[2J for this")

    evaluate = fit
"""
TOML = """\
build = "builder_of_trust_tests:make"
workers = 1
[data]
train = "train.csv"
[grid]
degree = [1, 2]
[folds]
n_splits = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("1,2\n2,3\n3,5\n4,4\n")
    (tmp_path / "builder_of_trust_tests.py").write_text(OWN)
    (tmp_path / "search.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "builder_of_trust_tests", raising=False)
    yield tmp_path
    sys.modules.pop("builder_of_trust_tests", None)


def forget(folder):
    """Undo the import of the builder in this process."""
    sys.modules.pop("builder_of_trust_tests", None)
    (folder / "builder_of_trust_tests.was_imported").unlink()


def was_imported(folder):
    return (folder / "builder_of_trust_tests.was_imported").exists()


def test_code_is_imported_only_for_a_users_own_run_or_with_trust(folder, capsys, monkeypatch):
    assert main(["run", "s.sqlite", "search.toml", "--quiet"]) == 0
    forget(folder)
    assert main(["run", "s.sqlite", "--quiet"]) == 0  # settings of this user's own run
    assert was_imported(folder)
    forget(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "of someone else"))
    for command in (
        ["run"],
        ["report", "page"],
        ["retrain"],
        ["save", "m.safetensors"],
        ["predict", "n.csv", "--out", "p.csv"],
    ):
        capsys.readouterr()
        assert main([command[0], "s.sqlite", *command[1:]]) == 1
        errors = capsys.readouterr().err
        assert f'would import build = "builder_of_trust_tests:make", also from the folder {folder}' in errors
        assert errors.endswith("then give --trust, or the TOML file\n")
        assert errors.count("\n") == 1
    assert not was_imported(folder)
    assert main(["status", "s.sqlite"]) == main(["rank", "s.sqlite"]) == 0  # these import nothing
    assert not was_imported(folder)
    assert main(["report", "s.sqlite", "page", "--quiet", "--settings", "search.toml"]) == 0
    assert main(["run", "s.sqlite", "--quiet", "--trust"]) == 0
    assert was_imported(folder)


def test_settings_that_were_changed_in_the_store_are_not_of_an_own_run(folder, capsys):
    assert main(["run", "s.sqlite", "search.toml", "--quiet"]) == 0
    with Store("s.sqlite") as store:
        seal, text = store.meta["settings seal"], store.meta["settings"]
    assert len(seal) == 64
    forget(folder)
    other = Path("other")
    other.mkdir()
    (other / "search.toml").write_text(TOML.replace("train.csv", f"{folder}/train.csv"))
    from search.command.settings import parse_settings
    from search.command.trust import is_own

    assert is_own(parse_settings(text, folder, "s"), seal)
    assert not is_own(parse_settings(text, other, "s"), seal)  # another folder
    assert not is_own(parse_settings(text + "\n", folder, "s"), seal)
    assert not is_own(parse_settings(text, folder, "s"), "")


def test_without_a_key_a_run_works_and_a_report_needs_trust(folder, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "train.csv"))  # no folder can be made there
    assert main(["run", "s.sqlite", "search.toml", "--quiet"]) == 0
    assert main(["report", "s.sqlite", "page", "--quiet"]) == 1
    assert "give --trust" in capsys.readouterr().err


def test_if_every_fit_failed_the_exit_code_is_1_and_a_line_gives_the_reason(folder, capsys):
    Path("search.toml").write_text(TOML.replace(":make", ":Failing"))
    for command in (["run", "s.sqlite", "search.toml", "--quiet"], ["report", "s.sqlite", "page"], ["retrain", "s.sqlite"]):
        capsys.readouterr()
        assert main(command) == 1
        output, errors = capsys.readouterr()
        assert errors.count("\n") == 1
        assert (
            "every configuration failed or diverged, all for the same reason: failed, RuntimeError: no licence \\x1b[2J "
            in errors
        )
        assert "\x1b" not in output + errors
    assert not Path("page").exists()


def test_escape_sequences_of_names_stay_away_from_the_terminal(folder, capsys):
    Path("search.toml").write_text(
        '[data]\ntrain = "train.csv"\n[folds]\nn_splits = 2\n'
        '[grid]\nepochs = [1]\nactivation = ["relu", "\\u001b[31mred\\u202e"]\n'
    )
    assert main(["run", "s.sqlite", "search.toml", "--quiet", "--workers", "1"]) == 0
    assert main(["rank", "s.sqlite"]) == 0
    output, errors = capsys.readouterr()
    assert "\\x1b[31mred\\u202e" in output
    assert not {"\x1b", "\u202e"} & {*(output + errors)}


def test_a_test_table_is_checked_before_the_search(folder, capsys):
    for text, message in (
        ("1,2\n3,x\n", "line 2, column 2: 'x' is no finite number"),
        ("1,2,3\n", "has 3 columns, expected 2"),
    ):
        Path("test.csv").write_text(text)
        Path("search.toml").write_text(TOML.replace("[grid]", 'test = "test.csv"\n[grid]'))
        assert main(["run", "s.sqlite", "search.toml", "--quiet"]) == 1
        assert message in capsys.readouterr().err
        assert not Path("s.sqlite").exists()


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), KeyError("x"), AssertionError()])
def test_an_error_of_any_kind_is_one_line(error, folder, capsys, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("numpy.loadtxt", fail)
    assert main(["run", "s.sqlite", "search.toml"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"python -m search run: error: {type(error).__name__}")
    assert errors.count("\n") == 1
