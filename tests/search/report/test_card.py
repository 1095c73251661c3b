"""The model card: its numbers against direct computations, and its section on the page."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import partial_dependence
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, cross_val_predict

from models import read_table
from search import GridSearch, ParameterGrid
from search.report.card import _columns, _verdict
from search.report.figures.models import calibration, plot_confusion
from search.report.inspection import Feature, inspect_model


def samples(n=90):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x, 3.0 * x[:, 0] + x[:, 1] + 0.1 * rng.normal(size=n)


def fitted(estimator, x, y, folds):
    return [type(estimator)().fit(x[train], y[train]) for train, _ in folds]


FEATURES = [Feature("a"), Feature("b"), Feature("c")]


def test_predictions_are_out_of_fold_and_partial_dependence_is_that_of_scikit_learn():
    x, y = samples()
    folds = list(KFold(3).split(x))
    model = LinearRegression().fit(x, y)
    found = inspect_model(model, fitted(model, x, y, folds), folds, x, y, "regression", FEATURES, ["y"])
    assert np.allclose(found.predicted[:, 0], cross_val_predict(LinearRegression(), x, y, cv=KFold(3)), rtol=1e-12)
    assert [row.feature.name for row in found.importances] == ["a", "b", "c"]
    # Of a linear model with independent features, permuting one adds twice the variance of its term to the squared error.
    assert found.importances[0].importance == pytest.approx(2 * 9 * x[:, 0].var() / y.var(), rel=0.25)
    effect = found.effects[0]
    expected = partial_dependence(model, x, [0], kind="average")
    assert np.allclose(
        effect.outputs[:, 0], np.interp(effect.values, expected["grid_values"][0], expected["average"][0]), atol=0.2
    )
    assert np.ptp(np.diff(effect.outputs[:, 0]) / np.diff(effect.values)) < 1e-9
    again = inspect_model(model, fitted(model, x, y, folds), folds, x, y, "regression", FEATURES, ["y"])
    assert again.importances == found.importances


def test_samples_that_no_fold_holds_out_are_left_out_and_those_of_two_are_averaged():
    x, y = samples(30)
    rows = np.arange(30)
    folds = [(rows[:10], rows[10:20]), (rows[:10], rows[10:15])]
    models = [SimpleNamespace(predict=lambda x, value=value: np.full(len(x), value)) for value in (1.0, 3.0)]
    found = inspect_model(models[0], models, folds, x, y, "regression", FEATURES, ["y"])
    assert found.predicted[:, 0].tolist() == [2.0] * 5 + [1.0] * 5
    assert np.array_equal(found.observed[:, 0], y[10:20])


def test_classes_have_probabilities_gaps_and_levels():
    x, y = samples()
    codes = (y > 0).astype(int)
    x[:, 2] = np.arange(len(x)) % 3
    x[::7, 1] = np.nan

    class Filled(LogisticRegression):
        def fit(self, x, y):
            return super().fit(np.nan_to_num(x), y)

        def predict_proba(self, x):
            return super().predict_proba(np.nan_to_num(x))

    folds = list(KFold(3).split(x))
    features = [*FEATURES[:2], Feature("c", "category", ("low", "mid", "high"))]
    models = fitted(Filled(), x, codes, folds)
    found = inspect_model(Filled().fit(x, codes), models, folds, x, codes, "classification", features, ["no", "yes"])
    assert found.measure == "log loss"
    assert found.importances[0].feature.name == "a"
    assert found.importances[0].low > 0.0
    probabilities = cross_val_predict(Filled(), x, codes, cv=KFold(3), method="predict_proba")
    assert log_loss(codes, found.predicted) == pytest.approx(log_loss(codes, probabilities))
    gaps = next(effect for effect in found.effects if effect.feature.name == "b")
    assert np.isfinite(gaps.values).all()
    rows = _columns(features, x).rows
    assert rows[1][3] == "13"
    assert rows[2][1:] == ["category", "low, mid, high", "0"]


def test_a_classifier_without_probabilities_is_judged_by_its_labels():
    x, y = samples()
    labels = np.where(y > 0, "yes", "no")
    rule = SimpleNamespace(predict=lambda x: np.where(x[:, 0] > 0, "yes", "no"), classes_=np.array(["no", "yes"]))
    folds = list(KFold(3).split(x))
    codes = (labels == "yes").astype(int)
    found = inspect_model(rule, [rule] * 3, folds, x, codes, "classification", FEATURES, ["no", "yes"])
    assert not found.has_probabilities
    assert found.measure == "share of right labels"
    assert np.array_equal(found.predicted.argmax(axis=1), (x[:, 0] > 0).astype(int))


def test_calibration_and_confusion_are_counts():
    rng = np.random.default_rng(0)
    given = rng.uniform(size=4000)
    means, shares, lows, highs = calibration(rng.uniform(size=4000) < given, given)
    assert len(means) == 10
    assert np.abs(means - shares).max() < 0.06
    assert ((lows < means) & (means < highs)).sum() >= 8
    figure = plot_confusion([0, 0, 1, 2], [0, 1, 1, 0], ["a", "b", "c"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "1", "0", "0", "1", "0", "1", "0", "0"]


@pytest.mark.parametrize(
    ("is_score", "gain", "low", "high", "verdict"),
    [
        (
            True,
            0.2,
            0.1,
            0.3,
            "The model is better than the best baseline (linear): its r2 is higher by 0.2 (95 % interval 0.1",
        ),
        (True, -0.2, -0.3, -0.1, "The model is worse than the best baseline (linear), which should be used instead: its"),
        (False, -0.2, -0.3, -0.1, "The model is better than the best baseline (linear): its r2 is lower by 0.2"),
        (False, 0.2, -0.1, 0.5, "The folds cannot tell the model from the best baseline (linear): its r2 is higher by 0.2 (95"),
        (True, 0.2, np.nan, np.nan, "The folds cannot tell the model from the best baseline"),
    ],
)
def test_the_verdict(is_score, gain, low, high, verdict):
    assert _verdict("baseline: linear", "r2", is_score, gain, low, high).startswith(verdict)


@pytest.fixture(scope="module")
def result():
    x, y = samples(60)
    frame = pd.DataFrame(x, columns=["a", "b", "<c>"]).assign(kind=np.where(x[:, 0] > 0, "x&y", "z"), price=y)
    table = read_table(frame, target="price", verbose=False)
    grid = ParameterGrid(hidden=[(2,), (4,)], epochs=[3])
    return GridSearch(table.builder(), grid, store=None, workers=1, scoring="r2").run(table, progress=False)


def test_the_page_has_the_card(result, tmp_path, monkeypatch):
    monkeypatch.setattr("search.report.illustrations._data_uri", lambda _: "data:,")  # drawing them takes seconds
    text = result.report(tmp_path, progress=False).read_text(encoding="utf-8")
    assert '<section id="model"' in text
    for part in ("baseline: linear", "&lt;c&gt;", "x&amp;y, z", "load_model(", "tinygrad-lab predict STORE new.csv"):
        assert part in text
    assert "Predicted against observed price" in text


def test_without_scikit_learn_the_page_says_what_is_left_out(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.inspection", None)
    card, [(name, text)] = result._model_card(progress=False)
    assert card is None
    assert (name, text[:46]) == ("model card", "left out: the model card needs scikit-learn: p")
