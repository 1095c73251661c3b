"""Intervals and sets: exactly the formula of CV+, with the promised coverage."""

import math

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.prediction import conformal
from tinygrad_lab.prediction.conformal import Calibration


def folds_of(n, count):
    return np.array_split(np.random.default_rng(n).permutation(n), count)


# The formula -----------------------------------------------------------------------------------------------------------


def brute_force(fold_predictions, fold_of, residuals, alpha):
    """Barber et al. 2021, section 3, for one new sample and one output, as it is written there."""
    n = len(residuals)
    low = sorted(fold_predictions[fold_of[i]] - residuals[i] for i in range(n))
    high = sorted(fold_predictions[fold_of[i]] + residuals[i] for i in range(n))
    return low[math.floor(alpha * (n + 1)) - 1], high[math.ceil((1 - alpha) * (n + 1)) - 1]


@pytest.mark.parametrize(("n", "alpha"), [(9, 0.125), (10, 0.25), (23, 0.5), (7, 0.125)])
def test_intervals_are_those_of_the_formula(monkeypatch, n, alpha):
    monkeypatch.setattr(conformal, "LARGEST_BLOCK", 2 * n)  # so that there are several blocks
    rng = np.random.default_rng(0)
    held_out = folds_of(n, 3)
    y = rng.normal(size=(n, 2))
    out_of_fold = [rng.normal(size=(len(rows), 2)) for rows in held_out]
    calibration = Calibration.of_residuals(held_out, out_of_fold, y)
    fold_of = {int(i): fold for fold, rows in enumerate(held_out) for i in rows}
    residual = {int(i): abs(y[i] - p) for i, p in zip(np.concatenate(held_out), np.concatenate(out_of_fold), strict=True)}
    new = rng.normal(size=(3, 5, 2))
    lower, upper = calibration.interval(new, 1 - alpha)
    for j in range(5):
        for output in range(2):
            residuals = [residual[i][output] for i in range(n)]
            assert (lower[j, output], upper[j, output]) == brute_force(new[:, j, output], fold_of, residuals, alpha)


def test_sets_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    n, alpha, held_out = 11, 0.25, folds_of(11, 3)
    y = rng.integers(0, 3, n)
    out_of_fold = [rng.dirichlet(np.ones(3), len(rows)) for rows in held_out]
    calibration = Calibration.of_probabilities(held_out, out_of_fold, y)
    score = {int(i): 1 - p[y[i]] for i, p in zip(np.concatenate(held_out), np.concatenate(out_of_fold), strict=True)}
    fold_of = {int(i): fold for fold, rows in enumerate(held_out) for i in rows}
    new = rng.dirichlet(np.ones(3), (3, 100))
    expected = [
        [sum(score[i] < 1 - new[fold_of[i], j, label] for i in range(n)) < (1 - alpha) * (n + 1) for label in range(3)]
        for j in range(100)
    ]
    assert calibration.sets(new, 1 - alpha).tolist() == expected


@pytest.mark.parametrize(("coverage", "n", "rank"), [(0.55, 19, 11), (0.9, 9, 9), (0.7, 9, 7), (0.95, 19, 19), (0.9, 99, 90)])
def test_the_rank_is_not_that_of_a_rounded_product(coverage, n, rank):
    assert conformal._rank(coverage, n) == rank


# The coverage ----------------------------------------------------------------------------------------------------------


class LeastSquares(tl.Layer):
    def __init__(self, x, y):
        self.weight = tl.Tensor(np.linalg.lstsq(x, y, rcond=None)[0], requires_grad=True)

    def forward(self, x):
        return x @ self.weight


def fitted(seed, n=60, features=4, new=100):
    """A Predictor of a linear model with 5 folds, and new samples. The noise has heavy tails and depends on x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + new, features))
    y = x.sum(1, keepdims=True) + (0.3 + abs(x[:, :1])) * rng.standard_t(3, size=(n + new, 1))
    held_out = folds_of(n, 5)
    parts = [np.setdiff1d(np.arange(n), rows) for rows in held_out]
    predictor = tl.Predictor(LeastSquares(x[:n], y[:n]))
    predictor.calibrate([LeastSquares(x[part], y[part]) for part in parts], held_out, x[:n], y[:n])
    return predictor, x[n:], y[n:, 0]


@pytest.mark.parametrize("coverage", [0.9, 0.6])
def test_intervals_cover_as_often_as_promised(coverage):
    """The mean over 200 seeds has a standard error of about 0.003."""
    found = []
    for seed in range(200):
        predictor, x, y = fitted(seed)
        lower, upper = predictor.predict_interval(x, coverage)
        found.append(((lower <= y) & (y <= upper)).mean())
    mean = np.mean(found)
    assert mean >= 2 * coverage - 1 - math.sqrt(2 / 60)  # the theorem
    assert mean == pytest.approx(coverage, abs=0.03)  # in practice; a bit more, as the fold models have fewer samples


def test_residuals_of_the_training_set_would_not_cover():
    """This shows that the test above can fail: a model is closer to the samples that it has seen."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(120, 12)), rng.normal(size=(120, 1))
        model = tl.Predictor(LeastSquares(x[:20], y[:20]), flat=False)
        calibration = Calibration(np.zeros(20, int), abs(y[:20] - model.predict(x[:20])))
        lower, upper = calibration.interval(model.predict(x[20:])[None], 0.9)
        found.append(((lower <= y[20:]) & (y[20:] <= upper)).mean())
    assert np.mean(found) < 0.6


class Frequencies(tl.Layer):
    """Log-probabilities of three classes on either side of 0."""

    def __init__(self, x, y):
        counts = [np.bincount(y[side], minlength=3) + 0.5 for side in (x[:, 0] <= 0, x[:, 0] > 0)]
        self.logits = tl.Tensor(np.log([c / c.sum() for c in counts]), requires_grad=True)

    def forward(self, x):
        return tl.where(x[:, :1] > 0, self.logits[1:], self.logits[:1])


def test_sets_cover_as_often_as_promised():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(160, 1))
        y = np.where(rng.random(160) < 0.6, (x[:, 0] > 0).astype(int), rng.integers(0, 3, 160))
        held_out = folds_of(60, 5)
        parts = [np.setdiff1d(np.arange(60), rows) for rows in held_out]
        predictor = tl.Predictor(Frequencies(x[:60], y[:60]), "classification", [0, 1, 2])
        predictor.calibrate([Frequencies(x[part], y[part]) for part in parts], held_out, x[:60], y[:60])
        sets = predictor.predict_set(x[60:], 0.8)
        found.append(sets[np.arange(100), y[60:]].mean())
    assert np.mean(found) >= 0.8  # probabilities have ties here, so sets may be larger than needed


# Shapes and refusals ---------------------------------------------------------------------------------------------------


def test_shapes_are_those_of_the_predictions():
    x = np.random.default_rng(0).normal(size=(12, 2))
    for outputs, flat, shape in ((1, True, (4,)), (1, False, (4, 1)), (2, True, (4, 2))):
        network = tl.Linear(2, outputs, rng=np.random.default_rng(0))
        predictor = tl.Predictor(network, flat=flat)
        predictor.calibrate([network, [network, network]], [np.arange(6), np.arange(6, 12)], x, x[:, :outputs])
        lower, upper = predictor.predict_interval(x[:4], 0.5)
        assert lower.shape == upper.shape == predictor.predict(x[:4]).shape == shape
        assert (lower <= upper).all()


@pytest.mark.parametrize(
    ("coverage", "message"),
    [
        (0.99, "coverage is 0.99 with 12 samples, expected at least 99 samples, or a lower coverage"),
        (1.0, "coverage is 1.0, expected a number between 0 and 1"), (90, "coverage is 90, expected a number between 0 and 1"),
        ("0.9", "coverage is '0.9'"), (float("nan"), "coverage is nan"),
    ],
)  # fmt: skip
def test_impossible_coverages_are_refused(coverage, message):
    calibration = Calibration(np.arange(12) % 2, np.ones((12, 1)))
    with pytest.raises(ValueError, match=message):
        calibration.interval(np.zeros((2, 1, 1)), coverage)


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ([[0, 1], [2]], "sample 3 is held out in 0 folds"), ([[0, 1], [1, 2, 3]], "sample 1 is held out in 2 folds"),
        ([[0, 1], [2, 3, 4]], "sample 4 is held out, expected 0 to 3"), ([[0, 1], [2, 3.0]], "are no indices"),
        ([[0, 1, 2, 3]], "1 folds for 2 fold models"),
    ],
)  # fmt: skip
def test_folds_that_do_not_hold_out_each_sample_once_are_refused(held_out, message):
    network = tl.Linear(1, 1, rng=np.random.default_rng(0))
    predictor = tl.Predictor(network)
    with pytest.raises(ValueError, match=message):
        predictor.calibrate([network, network], held_out, np.arange(4.0), np.arange(4.0))
    assert predictor.calibration is None
