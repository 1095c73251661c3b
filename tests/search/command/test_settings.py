"""The TOML file of a search: its keys and values, and an error of one line for everything else."""

import gzip
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from models.builders import build_perceptron
from search import KFold, ParameterGrid
from search.command.settings import SettingsError, check_builder, parse_settings, read_settings
from search.command.settings.keys import TABLES
from tests.helpers import ROOT

MINIMAL = '[data]\ntrain = "train.csv"\n[grid]\nlr = [0.1, 0.05]\n'


def parse(text):
    return parse_settings(text, Path("/folder"), "search.toml")


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_what_is_left_out_is_as_in_a_search():
    settings = parse(MINIMAL)
    assert settings.strategy.axes == ParameterGrid(lr=[0.1, 0.05]).axes
    assert settings.folds is None
    assert (settings.data.train, settings.data.test, settings.outer) == (Path("/folder/train.csv"), None, None)
    assert settings.data.is_plain
    assert (settings.seed, settings.repeats, settings.workers, settings.time_limit) == (0, 1, None, None)


def test_everything_can_be_said():
    settings = parse(
        """
        seed = 3
        repeats = 2
        workers = 1
        time_limit = 2.5
        build = "package.module:function"

        [data]
        train = "/elsewhere/train.csv"
        test = "test.csv"
        outputs = 2
        header = true
        delimiter = ";"

        [grid]
        hidden = [[10, 10], [75, 50]]
        activation = ["relu"]
        clip = [10.0]

        [folds]
        n_splits = 5
        shuffle = false

        [outer]
        n_splits = 3
        seed = 1
        """
    )
    assert (settings.seed, settings.repeats, settings.workers, settings.time_limit) == (3, 2, 1, 2.5)
    assert (settings.data.train, settings.data.test) == (Path("/elsewhere/train.csv"), Path("/folder/test.csv"))
    assert settings.data.options == {"outputs": 2, "header": True, "delimiter": ";"}
    assert list(settings.strategy)[1] == {"hidden": (75, 50), "activation": "relu", "clip": 10.0}
    plain = {"has_groups": False, "has_classes": False}
    assert repr(settings.folds.splitter(**plain)) == repr(KFold(5))
    assert repr(settings.outer.splitter(**plain)) == repr(KFold(3, shuffle=True, seed=1))
    assert settings.build == "package.module:function"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data", "search.toml is no TOML: "),
        ("", "search.toml: no data.train, expected the name of a table, such as"),
        ("sed = 1\n" + MINIMAL, "search.toml: unknown key 'sed', did you mean 'seed'?"),
        (MINIMAL + "[fold]\n", "search.toml: unknown key 'fold', did you mean 'folds'?"),
        (MINIMAL.replace("[grid]", 'tset = "a"\n[grid]'), "search.toml: unknown key 'data.tset', did you mean 'data.test'?"),
        (MINIMAL + "[folds]\nsplits = 3", "search.toml: unknown key 'folds.splits', did you mean 'folds.n_splits'?"),
        ('seed = "one"\n' + MINIMAL, "search.toml: seed = 'one', expected an integer"),
        ("seed = true\n" + MINIMAL, "search.toml: seed = true, expected an integer"),
        ("grid = 3\n[data]\ntrain = 'a'", "search.toml: grid = 3, expected a table or a list"),
        ("time_limit = '3'\n" + MINIMAL, "search.toml: time_limit = '3', expected an integer or a number"),
        ("[data]\ntrain = 'a'\n[grid]", "search.toml: ParameterGrid: no axis given"),
        ("[data]\ntrain = 'a'\n[grid]\nlr = []", "search.toml: ParameterGrid: lr=[] is empty"),
        ("[data]\ntrain = 'a'\n[grid]\nlr = [0.1, 0.1]", "search.toml: ParameterGrid: lr has 0.1 twice"),
        ("[data]\ntrain = 'a'\n[grid]\nlr = 0.1", "search.toml: ParameterGrid: lr=0.1 is not a sequence of values"),
        ("[data]\ntrain = 'a'\n[grid]\nday = [2019-01-01]", "search.toml: configuration: day="),
        (MINIMAL + "[folds]\nn_splits = 1", "search.toml: folds.n_splits = 1, expected at least 2"),
        (MINIMAL.replace("[grid]", "outputs = 0\n[grid]"), "search.toml: data.outputs = 0, expected at least 1"),
        (MINIMAL.replace("[grid]", "delimiter = ''\n[grid]"), "search.toml: data.delimiter = '', expected one character"),
        (MINIMAL.replace("[grid]", "delimiter = '; '\n[grid]"), "search.toml: data.delimiter = '; ', expected one character"),
        (MINIMAL.replace("[grid]", "delimiter = '#'\n[grid]"), "search.toml: data.delimiter = '#', expected one character"),
    ],
)
def test_what_is_no_search_is_told_in_a_line(text, message):
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_the_examples_of_the_documentation_are_settings(text):
    assert parse(text).data.train == Path("/folder", "wine.csv" if "wine" in text else "train.csv")


def test_the_documentation_lists_every_key():
    keys = {key for table in TABLES.values() for key in table}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", PAGE)] == []


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read .No such file or directory.; give the TOML file of a search"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is no text in UTF-8"):
        read_settings(tmp_path / "binary.toml")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "search.toml").write_text(MINIMAL, encoding="utf-8-sig")
    assert read_settings(tmp_path / "search.toml").text == MINIMAL


def settings_of(folder, table, extra=""):
    write(folder, "train.csv", table)
    return read_settings(write(folder, "search.toml", MINIMAL.replace("[grid]", f"{extra}\n[grid]")))


def test_the_last_columns_of_the_data_are_y(tmp_path):
    (x, y), test = settings_of(tmp_path, "1,2,3\n4,5,6\n").tables
    assert x.tolist() == [[1, 2], [4, 5]]
    assert y.tolist() == [[3], [6]]
    assert test is None
    (x, y), _ = settings_of(tmp_path, "a;b;c\n1;2;3\n", "outputs = 2\nheader = true\ndelimiter = ';'").tables
    assert (x.tolist(), y.tolist()) == ([[1]], [[2, 3]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\n1,2\n", ", line 1, column 1: 'a' is no finite number; if it is the name of a column, give data.header = true"),
        ("1,2\n3\n", ", line 2 has 1 columns, expected 2, as in line 1; correct it"),
        ("", "has no rows, expected a table of numbers"),
        ("1\n2\n", "has 1 columns, of which data.outputs = 1 are y; expected more"),
        ("1,2\n\n# note\n3,nan\n", ", line 4, column 2: 'nan' is no finite number; correct it, or give data.target"),
        ("1,2\n#N/A,3\n", ", line 2, column 1: '#N/A' is no finite number"),
        ("1,2\n#DIV/0!,3\n", ", line 2, column 1: '#DIV/0!' is no finite number"),
        ("1,5;3\n", ", line 1, column 2: '5;3' is no finite number; is data.delimiter = ';' missing?"),
        ("1;2\n", ", line 1, column 1: '1;2' is no finite number; is data.delimiter = ';' missing?"),
        ("1,2\n3,\n", ", line 2, column 2: '' is no finite number"),
    ],
)
def test_data_that_are_no_table_of_numbers_are_told_with_their_file(tmp_path, table, message):
    with pytest.raises(SettingsError) as caught:
        _ = settings_of(tmp_path, table).tables
    assert f"data.train: {tmp_path / 'train.csv'}" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_packed_table_may_be_cut_off(tmp_path):
    packed = gzip.compress(b"1,2\n3,4\n")
    settings = read_settings(write(tmp_path, "search.toml", MINIMAL.replace("train.csv", "train.csv.gz")))
    (tmp_path / "train.csv.gz").write_bytes(packed)
    assert settings.data.read()[0].x.tolist() == [[1], [3]]
    (tmp_path / "train.csv.gz").write_bytes(packed[:-9])
    with pytest.raises(SettingsError, match=r"train.csv.gz cannot be unpacked .*; it is damaged or cut off"):
        settings.data.read()


def test_no_data(tmp_path):
    settings = settings_of(tmp_path, "1,2")
    (tmp_path / "train.csv").unlink()
    with pytest.raises(SettingsError, match=r"data.train: .*train.csv cannot be read \(there is none\); give"):
        _ = settings.tables


def test_the_default_builder_knows_the_width_of_the_data(tmp_path):
    build = settings_of(tmp_path, "1,2,3,4,5", "outputs = 2").builder()
    assert build.func is build_perceptron
    model = build({"hidden": (4,)}, np.random.default_rng(0)).model
    assert model(np.zeros((5, 3))).shape == (5, 2)


def test_a_builder_of_ones_own_may_lie_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    write(tmp_path, "own_builder_beside.py", "from search.testing import build_polynomial as make\n")
    toml = 'build = "own_builder_beside:make"\n' + MINIMAL.replace("lr = [0.1, 0.05]", "degree = [1, 2]")
    settings = read_settings(write(tmp_path, "search.toml", toml))
    write(tmp_path, "train.csv", "1,2")
    assert settings.builder().__name__ == "build_polynomial"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('boom')", "cannot be imported (RuntimeError: boom); the module is looked for in "),
        ("import sys\nsys.exit(3)", "cannot be imported (SystemExit: 3)"),
        ("def make(:", "cannot be imported (SyntaxError: invalid syntax"),
        ("make = 3", ": module faulty_builder, read from "),
        ("def make():\n    return 1", "fails with {'hidden': (4,)}: TypeError: make() takes 0 positional arguments"),
        ("def make(c, rng):\n    return c['lr']", "fails with {'hidden': (4,)}: KeyError: 'lr'"),
        (
            "def make(c, rng):\n    return None",
            "fails with {'hidden': (4,)}: TypeError: build returned None, expected a Trainer; is a return missing?",
        ),
        ("raise RuntimeError('boom\\n  bang')", "cannot be imported (RuntimeError: boom bang)"),
    ],
)
def test_a_builder_that_does_not_build(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "faulty_builder", raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # the next module is written in the same second
    write(tmp_path, "faulty_builder.py", text)
    toml = 'build = "faulty_builder:make"\n[data]\ntrain = "t.csv"\n[grid]\nhidden = [[4]]'
    settings = read_settings(write(tmp_path, "search.toml", toml))
    write(tmp_path, "t.csv", "1,2")
    with pytest.raises(SettingsError) as refused:
        check_builder(settings.builder(), settings.build, settings.strategy, seed=0)
    assert f'build = "faulty_builder:make" {message}'.replace('" :', '":') in str(refused.value)


@pytest.mark.parametrize("search", ["", "[search]\nstrategy = 'random'\nn = 6", "[search]\nstrategy = 'halving'\nepochs = 3"])
def test_the_parameters_of_all_grids_are_checked_before_the_search(search, tmp_path):
    write(tmp_path, "t.csv", "1,2")
    text = '[data]\ntrain = "t.csv"\n[[grid]]\nlr = [0.1, 0.2]\nepochs = [3, 9]\n[[grid]]\nlrr = [0.1, 0.2]\n' + search
    settings = parse_settings(text, tmp_path, "search.toml")
    with pytest.raises(SettingsError, match="the default builder fails with {'lrr': 0.[12]}: .* did you mean 'lr'"):
        check_builder(settings.builder(), settings.build, settings.strategy, seed=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("models", 'build = "models", expected "module:function"'),
        ("no_such_module_anywhere:f", 'build = "no_such_module_anywhere:f" cannot be imported'),
        ("models:no_such_function", 'build = "models:no_such_function": module models, read from '),
    ],
)
def test_a_builder_that_is_not_there(build, message, tmp_path):
    write(tmp_path, "train.csv", "1,2")
    with pytest.raises(SettingsError) as caught:
        read_settings(write(tmp_path, "search.toml", f'build = "{build}"\n{MINIMAL}')).builder()
    assert str(caught.value).startswith(message)
