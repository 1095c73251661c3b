"""What decides, decides everywhere: the ranking, strategies, nested estimates, comparison, re-training, optimism.

The trainers here have a loss and a score that disagree: the lower the loss, the lower the score.
"""

import numpy as np
import pytest

from search import KFold, Search, SearchError, Store, StoreError
from search.space.rounds import Round

X = np.linspace(-1.0, 1.0, 12)
GRID = [{"value": value} for value in (1.0, 3.0, 2.0)]


class Contrary:
    """Learns nothing. Its loss is a given value, and so is its prediction, up to what the samples add."""

    def __init__(self, value):
        self.value = value
        self.model = self

    def fit(self, x, y):
        return {"train_loss": [self.value], "lr": [0.1]}

    def evaluate(self, x, y):
        return self.value

    def predict(self, x):
        return np.full(len(x), self.value)

    def state_dict(self):
        return {}


def build_contrary(configuration, _):
    return Contrary(configuration["value"])


def value(model, x, y):
    return float(model.predict(x)[0] + 1e-3 * y[0])


def undefined(model, x, y):
    return float("nan") if model.predict(x)[0] == 2.0 else 1.0


def no_number(model, x, y):
    return model.predict(x)


class Recording:
    """Proposes the grid once, and keeps what it is told."""

    def __init__(self):
        self.told = []

    def candidates(self, seed):
        return GRID

    def describe(self):
        return "recording"

    def rounds(self, seed):
        self.told = yield Round(GRID)


def run(scoring=value, grid=GRID, store=None, outer=None, baselines=False, **options):
    search = Search(build_contrary, grid, store=store, workers=1, scoring=scoring, baselines=baselines, **options)
    return search.run(X, X, outer=outer, progress=False)


def values(rows):
    return [row.configuration["value"] for row in rows]


def test_without_a_score_the_loss_decides():
    assert values(run(scoring=None).ranking) == [1.0, 2.0, 3.0]


def test_the_ranking_the_nested_estimate_and_the_comparison():
    result = run(outer=KFold(3), folds=KFold(4))
    assert values(result.ranking) == [3.0, 2.0, 1.0]
    first = result.ranking[0]
    validation = [X[fold] for _, fold in result.folds]
    assert first.scores == {"value": tuple(3.0 + 1e-3 * y[0] for y in validation)}
    assert (first.mean, first.losses, first.objectives[1]) == (3.0, (3.0,) * 4, -first.scores["value"][1])
    assert [choice["value"] for choice in result.nested.configurations] == [3.0] * 3
    assert result.nested.mean == pytest.approx(3.0, abs=2e-3)
    assert result.nested.search_mean == np.mean(first.scores["value"])
    assert "has a test value of 3" in str(result.nested)
    comparison = result.comparison()
    assert values(comparison) == [3.0, 2.0, 1.0]
    assert comparison[0].mean == result.nested.search_mean
    assert comparison[1].difference == pytest.approx(-1.0)
    assert comparison[1].low <= comparison[1].difference <= comparison[1].high < 0.0
    assert [row.is_distinguishable for row in comparison] == [False, True, True]
    assert values(comparison.within_one_standard_error) == [3.0]
    assert values([result.simplest_configuration(lambda configuration: configuration["value"])]) == [3.0]
    assert result.ranking.table().endswith("ranked by value: the higher, the better")


def test_a_strategy_is_told_minus_the_score():
    strategy = Recording()
    result = run(grid=strategy)
    rows = {row.configuration["value"]: row for row in result.ranking}
    assert strategy.told == [-np.mean(rows[x["value"]].scores["value"]) for x in GRID]


def test_retraining_seeds_and_optimism():
    result = run()
    data = {"train": (X, X), "test": (X[:2] / 2, X[:2]), "progress": False}
    retrained = result.retrain(**data)
    assert values(retrained) == [3.0, 2.0, 1.0]
    assert retrained.best_by_test is retrained[0]
    assert retrained[0].scores == {"value": 3.0 - 1e-3}
    assert retrained[0].mean == np.mean(result.ranking[0].scores["value"])
    assert np.isnan(retrained[0].history["validation_loss"]).all(), "the test set was given to a trainer that might use it"
    assert "test value" in str(retrained).splitlines()[0]
    assert result.seed_distribution(GRID[0], 2, **data).tolist() == [1.0 - 1e-3] * 2
    optimism = result.optimism(seeds=2, **data)
    assert optimism.chosen.tolist() == [0, 0]
    assert optimism.optimism == 0.0
    assert "The highest of 3 test values of value is 2.9990" in str(optimism)


def test_scores_are_stored_to_the_bit_and_not_computed_again(tmp_path, monkeypatch):
    first = run(store=tmp_path / "s", scoring=[value, undefined], grid=[GRID[0], GRID[1]])
    with monkeypatch.context() as patch:
        patch.setattr(Contrary, "fit", lambda *_: pytest.fail("a stored fit was run again"))
        again = run(store=tmp_path / "s", scoring=[value, undefined], grid=[GRID[0], GRID[1]])
    assert [row.scores for row in again.ranking] == [row.scores for row in first.ranking]
    with Store(tmp_path / "s") as store:
        assert next(iter(store.outcomes().values())).scores.keys() == {"value", "undefined"}
    with pytest.raises(StoreError, match=r"with other scoring \(value, undefined there, value here\)"):
        run(store=tmp_path / "s", grid=[GRID[0], GRID[1]])


def test_a_score_that_is_no_finite_number_is_a_failure():
    result = run(scoring=undefined)
    assert (result.ranking[-1].status, result.ranking[-1].configuration["value"]) == ("failed", 2.0)
    assert result.ranking[-1].reason == "fold 0: undefined is nan, expected a finite number"
    assert run(scoring=[value, undefined]).ranking[1].status == "done", "only the score that decides must be finite"
    result = run(scoring=no_number)
    assert result.ranking[0].reason.startswith("fold 0: TypeError: scoring: no_number returned array([")


@pytest.mark.parametrize(
    ("scoring", "error", "message"),
    [
        ([], ValueError, "scoring: no score given, expected a name of scikit-learn's, a function, or a list of these"),
        ([value, value], ValueError, "scoring: 'value' is there twice, expected each score once"),
        ({"value": "r2"}, TypeError, "scoring: a mapping given, expected a name, a function, or a list of these"),
        ([3], TypeError, "scoring: 3 given, expected a name of scikit-learn's, a function"),
    ],
)
def test_bad_scores(scoring, error, message):
    with pytest.raises(error, match=f"^{message}"):
        run(scoring=scoring)


def test_a_store_of_a_score_that_read_another_value_is_neither_resumed_nor_forked(tmp_path):
    scale = 1.0

    def scaled(model, x, y):
        return scale

    run(scoring=scaled, store=tmp_path / "s")
    scale = 2.0
    with pytest.raises(
        StoreError, match=r"scoring \(the same name, other code\), values \(.*scaled.scale is 1.0 there and 2.0 here"
    ):
        run(scoring=scaled, store=tmp_path / "s")
    with pytest.raises(StoreError, match="cannot be forked by a search with other scoring"):
        run(scoring=scaled, store=tmp_path / "fork", fork=tmp_path / "s")


def test_a_score_that_cannot_be_sent_is_good_in_this_process_only():
    def score(model, x, y):
        return 0.0

    assert run(scoring=score, baselines=False).ranking[0].scores["score"]
    with pytest.raises(TypeError, match="scoring=.*score cannot be sent to a worker process, expected a function at the top"):
        Search(build_contrary, GRID, store=None, workers=2, scoring=score)


def test_a_score_without_weights_is_refused_beside_weights():
    search = Search(build_contrary, GRID, store=None, workers=1, scoring=value)
    with pytest.raises(ValueError, match="scoring: 'value' takes no sample_weight, expected a score that does beside weights"):
        search.run(X, X, sample_weight=np.ones(12), progress=False)


def test_baselines_are_there_or_not():
    with pytest.raises(TypeError, match="baselines='mean', expected True, False, or None"):
        run(baselines="mean")


def test_integers_beside_a_function_need_a_task():
    search = Search(build_contrary, GRID, store=None, workers=1, scoring=value)
    with pytest.raises(ValueError, match="y is integers, which may be numbers or labels, expected task='regression' or"):
        search.run(X, np.arange(12), progress=False)


class Bare(Contrary):
    predict = None


def build_bare(configuration, _):
    return Bare(configuration["value"])


def test_a_trainer_that_does_not_predict_cannot_be_scored():
    result = Search(build_bare, GRID, store=None, workers=1, scoring=value, baselines=False).run(X, X, progress=False)
    assert result.ranking[0].reason == "fold 0: TypeError: a Bare has no predict, expected one beside scoring=value"


class Estimator:
    def __init__(self, value):
        self.value = value

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.full(len(x), self.value)

    def score(self, x, y):
        return -abs(float(y.mean()) - self.value)


def build_either(configuration, _):
    return (Contrary if configuration["value"] == 3.0 else Estimator)(configuration["value"])


def test_trainers_and_estimators_are_not_ranked_together_without_a_score():
    with pytest.raises(SearchError, match="one fit has score, another the data loss: .*; give scoring="):
        Search(build_either, GRID, store=None, workers=1).run(X, X, progress=False)
    result = Search(build_either, GRID, store=None, workers=1, scoring=value, baselines=False).run(X, X, progress=False)
    assert values(result.ranking) == [3.0, 2.0, 1.0]


def test_baselines_can_be_added_to_a_store(tmp_path):
    rankings = [
        Search(build_either, GRID[:1], store=tmp_path / "s", workers=1, baselines=baselines).run(X, X, progress=False).ranking
        for baselines in (False, True)
    ]
    assert rankings[0][0].scores == rankings[1][0].scores
    assert len(rankings[1].baselines) == 3


def test_the_report_says_what_decided(tmp_path):
    grid = [{"value": value, "other": other} for value in (1.0, 3.0) for other in (0, 1)]
    result = run(grid=grid)
    page = result.report(tmp_path, train=(X, X), test=(X[:2] / 2, X[:2]), top=2, seeds=2, progress=False)
    text = page.read_text(encoding="utf-8")
    for words in (
        "highest mean value",
        "The highest of many test scores",
        "Highest test value",
        "a fair estimate of the value",
    ):
        assert words in text, words
    assert "lowest mean" not in text
