"""Estimators save what they have learnt, and a process that knows only `models` predicts with it."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import tinygrad_lab as tl
from models import MLPClassifier, MLPRegressor, MultilayerPerceptron, TwoHiddenLayerNet, TwoHiddenLayerRegressor, load_model
from tests.helpers import ROOT

X = np.random.default_rng(0).normal(5.0, 3.0, (30, 2))
Y = X[:, 0] ** 2 - X[:, 1]
LABELS = np.where(Y > 10, "high", np.where(Y > 0, "middle", "low"))

FITTED = {
    "plain": MLPRegressor((4,), epochs=2, random_state=0).fit(X, Y),
    "scaled": MLPRegressor((4, 3), ["tanh", tl.ELU(0.5)], epochs=2, standardize=True, standardize_y=True).fit(X, Y),
    "column": MLPRegressor((4,), epochs=2, standardize_y=True, random_state=0).fit(X, Y[:, None]),
    "two outputs": MLPRegressor((), epochs=2, standardize_y=True, random_state=0).fit(X, X[:, ::-1]),
    "report": TwoHiddenLayerRegressor((4, 3), tl.LeakyReLU(0.2), epochs=1, standardize=True, random_state=0).fit(X, Y),
    "labels": MLPClassifier((4,), epochs=2, standardize=True, random_state=0).fit(X, LABELS),
    "numbers": MLPClassifier((4,), epochs=2, random_state=0).fit(X, np.where(Y > 3, 7, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", FITTED)
def test_a_loaded_model_predicts_what_the_estimator_does_to_the_bit(tmp_path, kind):
    estimator = FITTED[kind]
    estimator.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.predict(X).dtype == estimator.predict(X).dtype
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X), strict=True)
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X), strict=True)
    assert loaded.details["estimator"] == type(estimator).__name__


def test_another_process_loads_it(tmp_path):
    FITTED["scaled"].save(tmp_path / "model")
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy as np; from models import load_model; "
        "print(load_model(sys.argv[1]).predict(np.load(sys.argv[2])).tobytes().hex())"
    )
    command = [sys.executable, "-W", "error", "-c", code, tmp_path / "model", tmp_path / "x.npy"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert bytes.fromhex(printed) == FITTED["scaled"].predict(X).tobytes()


def test_what_was_not_trained_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        MLPRegressor().save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "network",
    [
        MultilayerPerceptron(2, (3, 4), 2, activation=("tanh", tl.LeakyReLU(0.3)), rng=np.random.default_rng(0), dtype="f4"),
        MultilayerPerceptron(2, (), 1, rng=np.random.default_rng(0)),
        TwoHiddenLayerNet(2, 3, 4, 1, activation=tl.ELU(0.7), rng=np.random.default_rng(0)),
    ],
)  # fmt: skip
def test_networks_come_back(tmp_path, network):
    tl.Predictor(network).save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded.networks[0]) is type(network)
    assert repr(loaded.networks[0]) == repr(network)
    np.testing.assert_array_equal(loaded.predict(X), tl.Predictor(network).predict(X), strict=True)
