"""The tables [grid], [search], [folds] and [outer] of the TOML file, and texts that no person would write."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search import OptunaSampler, RandomSampler, SuccessiveHalving
from search.command.settings import SettingsError, parse_settings

DATA = '[data]\ntrain = "train.csv"\n'


def parse(text):
    return parse_settings(text, Path("/folder"), "search.toml")


def strategy(text):
    return parse(DATA + text).strategy


def test_a_random_search_draws_from_lists_and_distributions():
    made = strategy(
        "[grid]\nhidden = [[4], [8, 4]]\nlr = {loguniform = [1e-3, 1e-1]}\nl1 = {uniform = [2, 3]}\n"
        "width = {randint = [1, 2]}\nkind = {choice = ['a']}\n[search]\nstrategy = 'random'\nn = 40"
    )
    assert isinstance(made, RandomSampler)
    drawn = list(made.candidates(seed=0))
    assert len(drawn) == 40
    assert all(1e-3 <= x["lr"] <= 1e-1 and 2.0 <= x["l1"] <= 3.0 for x in drawn)
    assert 0.3 < np.mean([x["lr"] < 1e-2 for x in drawn]) < 0.7  # as many below the geometric mean as above
    assert {x["width"] for x in drawn} == {1, 2}  # both ends are included
    assert {x["hidden"] for x in drawn} == {(4,), (8, 4)}
    assert {x["kind"] for x in drawn} == {"a"}


def test_several_grids_have_different_parameters():
    grids = "[[grid]]\noptimizer = ['sgd']\nmomentum = [0.0, 0.9]\n[[grid]]\noptimizer = ['adam']\nlr = [0.1, 0.01, 0.001]\n"
    assert [len(strategy(grids).candidates(0)), strategy(grids).candidates(0)[4]] == [5, {"optimizer": "adam", "lr": 0.001}]
    drawn = list(strategy(f"{grids}[search]\nstrategy = 'random'\nn = 4").candidates(0))
    assert {tuple(x) for x in drawn} == {("optimizer", "momentum"), ("optimizer", "lr")}
    halving = strategy(f"{grids}[search]\nstrategy = 'halving'\nepochs = 9")
    assert len(halving.candidates(0)) == 5


def test_a_halving_of_a_grid_or_of_random_draws():
    grid = strategy("[grid]\nlr = [0.1, 0.2, 0.3]\n[search]\nstrategy = 'halving'\nepochs = 9\nfactor = 2\nmin_epochs = 3")
    assert isinstance(grid, SuccessiveHalving)
    assert (len(grid.candidates(0)), grid.epochs, grid.factor, grid.min_epochs) == (3, 9, 2, 3)
    drawn = strategy("[grid]\nlr = {uniform = [0.0, 1.0]}\n[search]\nstrategy = 'halving'\nepochs = 9\nn = 5")
    assert len(drawn.candidates(0)) == 5


def test_a_search_by_optuna_has_the_same_distributions():
    made = strategy(
        "[grid]\nlr = {loguniform = [1e-3, 1e-1]}\nwidth = {randint = [1, 2]}\nhidden = [[4], [8, 4]]\n"
        "[search]\nstrategy = 'optuna'\nn = 6\nbatch = 3\nsampler = 'RandomSampler'"
    )
    assert isinstance(made, OptunaSampler)
    assert (made.n_trials, made.batch, made.sampler.__name__) == (6, 3, "RandomSampler")
    asked = next(made.rounds(seed=0)).configurations
    assert len(asked) == 3
    assert all(1e-3 <= x["lr"] <= 1e-1 and x["width"] in (1, 2) and x["hidden"] in ((4,), (8, 4)) for x in asked)


def folds(text, has_groups=False, has_classes=False):
    return repr(parse(text).folds.splitter(has_groups=has_groups, has_classes=has_classes))


def test_folds_suit_the_data_unless_the_file_says_otherwise():
    text = DATA + "groups = 'id'\n[grid]\nlr = [1]\n[folds]\nn_splits = 3\n"
    assert folds(text) == "KFold(3, shuffle=True, seed=0)"
    assert folds(text, has_classes=True) == "StratifiedKFold(n_splits=3, random_state=0, shuffle=True)"
    assert folds(text, has_groups=True) == "GroupKFold(n_splits=3, random_state=0, shuffle=True)"
    assert folds(text, has_groups=True, has_classes=True) == "StratifiedGroupKFold(n_splits=3, random_state=0, shuffle=True)"
    assert folds(text + "kind = 'kfold'", has_classes=True) == "KFold(3, shuffle=True, seed=0)"
    assert folds(text + "kind = 'group'\nshuffle = false") == "GroupKFold(n_splits=3, random_state=None, shuffle=False)"
    assert "gap=2" in folds(text + "kind = 'time'\ngap = 2")
    assert "TimeSeriesSplit" in folds(text + "kind = 'time'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[grid]\nlr = [1]\n[search]\nstrategy = 'rendom'", "search.strategy = 'rendom', expected one of grid, random, "),
        ("[grid]\nlr = [1]\n[search]\nstrategy = 'random'", 'no search.n, which strategy = "random" needs; give one'),
        ("[grid]\nlr = [1]\n[search]\nstrategy = 'random'\nn = 0", "search.n = 0, expected at least 1"),
        ("[grid]\nlr = [1]\n[search]\nstrategy = 'random'\nn = 2", "RandomSampler: n=2 configurations of only 1"),
        ("[grid]\nlr = [1]\n[search]\nstrategy = 'random'\nn = 1\nfactor = 2", "search.factor has no effect with strategy"),
        (
            "[grid]\nlr = [1]\n[search]\nscoring = 'r2'",
            "unknown key 'search.scoring', expected 'scoring' above the first [table]",
        ),
        ("[grid]\nlr = [1]\n[search]\nxyzzy = 1", "unknown key 'search.xyzzy', expected one of strategy, n, epochs, "),
        ("target = 1.5\n[grid]\nlr = [1]", "data.target = 1.5, expected a text in quotes or an integer or a list"),
        ("[grid]\nlr = {uniform = [0, 1]}", "grid has a distribution, uniform, "),
        ("[grid]\nlr = {normal = [0, 1]}", "grid.lr = {'normal': [0, 1]}, expected a list"),
        ("[grid]\nlr = {uniform = [1, 0]}", "grid.lr: uniform = [1, 0], expected two numbers: [lowest, highest]"),
        ("[grid]\nlr = {uniform = [0, nan]}", "grid.lr: uniform = [0, nan], expected two numbers"),
        ("[grid]\nlr = {loguniform = [0, 1]}", "grid.lr: loguniform = [0, 1], expected a lowest value above 0"),
        ("[grid]\nlr = {randint = [0.5, 1]}", "grid.lr: randint = [0.5, 1], expected two integers"),
        (
            "[grid]\nlr = [1]\n[folds]\nkind = 'groups'",
            "folds.kind = 'groups', expected one of kfold, stratified, group, time",
        ),
        ("[grid]\nlr = [1]\n[folds]\nkind = 'group'", 'folds.kind = "group" without data.groups'),
        ("[grid]\nlr = [1]\n[folds]\nkind = 'time'\nseed = 1", "folds.seed has no effect on a time series"),
        ("[grid]\nlr = [1]\n[outer]\ngap = 1", 'outer.gap has no effect on folds of another kind than "time"'),
        ("[grid]\nlr = [1]\n[early_stopping]\npatience = 3", "early_stopping has an effect only on a table with data.target"),
        ("train = ''", "search.toml is no TOML: "),
        ("[[grid]]\na = [1]\n[[grid]]\nb = [1]\n[search]\nstrategy = 'optuna'\nn = 1", "2 tables [[grid]] with strategy"),
        ("[grid]\na = [1]\n[search]\nstrategy = 'optuna'\nn = 1\nsampler = 'GridSampler'", "search.sampler = 'GridSampler', "),
        ("[[grid]]\nlr = {uniform = [0, 1]}\n[search]\nstrategy = 'halving'\nepochs = 3", "grid has a distribution"),
    ],
)
def test_what_cannot_be_searched_is_told_in_a_line(text, message):
    with pytest.raises(SettingsError) as caught:
        parse(DATA + text)
    assert str(caught.value).startswith(message if message.startswith("search.toml") else f"search.toml: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = " + "[" * 3000 + "]" * 3000, "search.toml has arrays or tables nested deeper than 20 levels"),
        (f"{'a.' * 3000}a = 1", "search.toml has arrays or tables nested deeper than 20 levels"),
        (f"[{'.'.join('a' * 3000)}]", "search.toml has arrays or tables nested deeper than 20 levels"),
        (f"seed = {'9' * 5000}", "search.toml has an integer of thousands of digits"),
        (f"seed = {'9' * 400}", "search.toml has an integer of 1329 bits, expected at most 64"),
        (f"seed = 0x{'f' * 5000}", "search.toml has an integer of 20000 bits"),
        (f"seed = '{'x' * 100_000}'", "search.toml: seed = 'xxxxx"),
        (f"{'x' * 100_000} = 1", "search.toml: unknown key 'xxxxx"),
        ('scoring = "\\u0000"', "search.toml: no data.train"),
        ('[data]\ntrain = "\\u0000"', "search.toml: data.train = '\\x00', expected the name of a file"),
    ],
)
def test_a_text_that_no_person_would_write_is_refused_in_a_short_line(text, message):
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1100


COMPLETE = """\
seed = 0
repeats = 2
workers = 1
time_limit = 2.5
scoring = ["r2", "max_error"]
baselines = true
[data]
train = "train.csv"
test = "test.csv"
target = ["a", 2]
drop = "b"
[[grid]]
hidden = [[4], [8, 4]]
lr = {loguniform = [1e-3, 1e-1]}
[search]
strategy = "random"
n = 3
[folds]
kind = "stratified"
n_splits = 3
[outer]
shuffle = false
"""
PIECES = [
    "",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    '"',
    "'",
    "0",
    "-1",
    "nan",
    "inf",
    "true",
    "9" * 25,
    "1e999",
    ".",
    ",",
    "[[grid]]\n",
    "é",
    "\x00",
]


@settings(max_examples=200)
@given(st.integers(0, len(COMPLETE)), st.integers(0, 30), st.sampled_from([*PIECES, *COMPLETE.splitlines(keepends=True)]))
def test_no_change_of_a_file_gives_anything_but_settings_or_a_line(start, length, piece):
    text = COMPLETE[:start] + piece + COMPLETE[start + length :]
    try:
        parse(text)
    except SettingsError as error:
        message = str(error)
    else:
        message = "search.toml"
    assert message.startswith("search.toml")
    assert "\n" not in message
