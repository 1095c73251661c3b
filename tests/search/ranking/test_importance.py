"""Importance of parameters, compared with shares of the variance that are known exactly."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy.stats import rankdata

from search import Outcome, ParameterGrid, RandomSampler, SearchError, parameter_importance, plot_importance
from search.ranking.ranking import rank


def ranked(configurations, loss, status=lambda _: "done", last_rounds=None):
    outcomes = {(x.text, 0): Outcome(status(x), loss(x) if status(x) == "done" else math.nan) for x in configurations}
    return rank(configurations, outcomes, 1, last_rounds=last_rounds)


def total_share(values, axis):
    """Return E[Var(f | all other parameters)] / Var(f) of a function on a grid."""
    return values.var(axis=axis).mean() / values.var()


def test_the_importance_is_the_total_share_of_the_variance():
    """With an interaction, for which a share of main effects would be wrong: c matters only where b is 1."""
    grid = ParameterGrid(a=list(range(12)), b=[0, 1], c=list(range(8)), none=[0, 1])
    found = parameter_importance(ranked(grid, lambda x: x["a"] + x["b"] * 1.5 * x["c"]))
    losses = [a + b * 1.5 * c for a, b, c, _ in itertools.product(range(12), range(2), range(8), range(2))]
    places = rankdata(losses).reshape(12, 2, 8, 2)
    assert [row.name for row in found][-1] == "none"
    for row in found:
        assert row.low - 0.02 <= total_share(places, ["a", "b", "c", "none"].index(row.name)) <= row.high + 0.02
        assert row.high - row.low < 0.3
    assert found[-1].importance < 0.01
    assert found.r2 > 0.9


def test_noise_is_reported_as_noise_and_equal_losses_as_equal():
    rng = np.random.default_rng(0)
    grid = ParameterGrid(a=list(range(10)), b=[1, 2, 3])
    noise = parameter_importance(ranked(grid, lambda _: rng.normal()))
    assert noise.r2 < 0.2
    assert all(row.low < 0.0 for row in noise)
    # Equal losses are ordered by their text. That order must not be taken for an effect of b.
    found = {row.name: row.importance for row in parameter_importance(ranked(grid, lambda x: x["a"]))}
    assert found["a"] > 0.5
    assert abs(found["b"]) < 0.01


def test_what_diverged_or_stopped_counts_and_a_repetition_gives_the_same():
    sampler = RandomSampler(
        40, lr=[10.0**-i for i in range(20)], act=["relu", None], l1=lambda x: [0, (1,)] if x["act"] else None
    )
    configurations = list(sampler.candidates(0))
    ranking = ranked(
        configurations,
        lambda x: 1.0,
        lambda x: "diverged" if x["lr"] > 1e-10 else "done",
        {x.text: 9 for x in configurations if x["lr"] < 1e-15},
    )
    found = parameter_importance(ranking)
    assert found[0].name == "lr"
    assert found[0].low > max(row.high for row in found[1:])
    assert str(found) == str(parameter_importance(ranking))
    assert [text.get_text() for text in plot_importance(found).axes[0].get_yticklabels()] == [row.name for row in found]


@pytest.mark.parametrize(
    ("grid", "loss", "message"),
    [
        (
            ParameterGrid(a=list(range(29))),
            lambda x: x["a"],
            "29 configurations were ranked, expected at least 30; search more",
        ),
        (ParameterGrid(a=list(range(30))), lambda x: 1.0, "all configurations have the same results, expected different ones"),
    ],
)
def test_what_is_too_little(grid, loss, message):
    with pytest.raises(SearchError, match=message):
        parameter_importance(ranked(grid, loss))


def test_failed_configurations_do_not_count():
    ranking = ranked(ParameterGrid(a=list(range(50))), lambda x: x["a"], lambda x: "failed" if x["a"] % 2 else "done")
    with pytest.raises(SearchError, match="25 configurations were ranked"):
        parameter_importance(ranking)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ImportError, match="needs scikit-learn: pip install"):
        parameter_importance(ranked(ParameterGrid(a=list(range(30))), lambda x: x["a"]))
