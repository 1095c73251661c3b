"""The estimators in scikit-learn: its own checks, clones, pickles, pipelines, searches, names of features."""

import copy
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import models
import tinygrad_lab as tl
from models import MLPClassifier, MLPRegressor, TwoHiddenLayerRegressor
from tinygrad_lab.checks import install_hint

RNG = np.random.default_rng(1)
X = RNG.uniform(-2.0, 2.0, (40, 2))
Y = X[:, 0] ** 2 - X[:, 1] + RNG.normal(0.0, 0.1, 40)
LABELS = np.where(Y > 1.0, "high", np.where(Y > 0.0, "middle", "low"))


def weights(estimator):
    return np.concatenate([value.ravel() for value in estimator.network_.state_dict().values()])


# scikit-learn's own checks. A sample of weight 2 counts like two equal samples only if the whole set is one batch.

WHOLE_SET = {"activation": "tanh", "epochs": 60, "batch_size": None}
ESTIMATORS = [
    MLPRegressor((20,), lr=0.03, **WHOLE_SET),
    MLPRegressor((8, 8), lr=0.03, standardize=True, standardize_y=True, **WHOLE_SET),
    MLPClassifier((20,), lr=0.03, **WHOLE_SET),
    TwoHiddenLayerRegressor((20, 20), lr=0.3, lr_final=0.1, **WHOLE_SET),
    TwoHiddenLayerRegressor((10, 10), epochs=3),
]


def expected_failures(estimator):
    if estimator.batch_size == 1:
        reason = "two updates with one sample are not one update with twice its gradient"
        return {"check_sample_weight_equivalence_on_dense_data": reason}
    return {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


# Parameters

PARTS = {
    "activation": ["relu", tl.LeakyReLU(0.1)],
    "weight_init": tl.HeUniform(),
    "optimizer": partial(tl.SGD, momentum=0.9),
    "scheduler": tl.CosineDecay(0.05, 0.01, epochs=4),
    "penalty": tl.ElasticNetPenalty(1e-3, 0.3, proximal=True),
    "clip_norm": 5.0,
    "callbacks": [tl.EarlyStopping(patience=2, monitor="train_loss")],
    "epochs": 4,
    "random_state": 0,
}


def test_a_clone_has_parts_of_its_own_and_learns_the_same():
    regressor = MLPRegressor((6, 5), loss=tl.Huber(0.5), **PARTS)
    copied = clone(regressor)
    assert copied.penalty is not regressor.penalty
    assert repr(copied.penalty) == repr(regressor.penalty)
    assert copied.get_params().keys() == regressor.get_params().keys()
    assert (weights(copied.fit(X, Y)) == weights(regressor.fit(X, Y))).all()


def test_parameters_are_stored_as_they_are_and_can_be_set():
    regressor = MLPRegressor(**PARTS)
    assert all(regressor.get_params()[name] is value for name, value in PARTS.items())
    regressor.set_params(penalty=None, activation="tanh", callbacks=())
    assert (regressor.penalty, regressor.activation, regressor.callbacks) == (None, "tanh", ())


def test_a_fit_leaves_the_parameters_as_they_are():
    regressor = MLPRegressor((6, 5), **PARTS).fit(X, Y)
    stopping = PARTS["callbacks"][0]
    assert regressor.callbacks == [stopping]
    assert stopping.best_epoch == -1
    assert PARTS["optimizer"].keywords == {"momentum": 0.9}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))])
def test_a_copy_of_a_fitted_estimator_predicts_and_goes_on_as_it_does(duplicate):
    regressor = MLPRegressor((6, 5), loss=tl.Huber(0.5), standardize_y=True, **PARTS | {"optimizer": "adam"}).fit(X, Y)
    copied = duplicate(regressor)
    assert (copied.predict(X) == regressor.predict(X)).all()
    assert copied.history_["train_loss"].tolist() == regressor.history_["train_loss"].tolist()
    copied.partial_fit(X, Y)
    assert (weights(copied) != weights(regressor)).any()
    assert (weights(copied) == weights(regressor.partial_fit(X, Y))).all()


def test_a_pickle_holds_the_network_and_not_the_data():
    rows = np.resize(X, (20_000, 2))
    regressor = MLPRegressor((3,), epochs=1, batch_size=None, validation_fraction=0.5).fit(rows, rows[:, 0])
    assert len(pickle.dumps(regressor)) < 20_000


# Pipelines and searches


def test_a_grid_search_over_a_pipeline():
    network = MLPRegressor((16,), "tanh", epochs=40, batch_size=8, random_state=0)
    grid = {
        "mlpregressor__lr": [1e-6, 0.03],
        "mlpregressor__penalty": [None, tl.L1Penalty(0.1, decoupled=True)],
        "mlpregressor__hidden": [(), (16,)],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), network), grid, cv=3, error_score="raise").fit(X, Y)
    assert search.best_params_ == {"mlpregressor__lr": 0.03, "mlpregressor__penalty": None, "mlpregressor__hidden": (16,)}
    assert search.best_score_ > 0.5
    assert search.predict(X).shape == (40,)


def test_a_search_scores_the_classifier_by_labels_and_by_probabilities():
    classifier = MLPClassifier((16,), epochs=40, lr=0.03, random_state=0)
    search = GridSearchCV(classifier, {"lr": [1e-6, 0.03]}, cv=3, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss")
    search.fit(X, LABELS)
    assert search.best_params_ == {"lr": 0.03}
    assert search.cv_results_["mean_test_accuracy"].max() > 0.7


def test_every_fold_is_standardised_by_its_own_training_part():
    plain = MLPRegressor((6,), epochs=5, lr=0.05, random_state=0)
    built_in = clone(plain).set_params(standardize=True, standardize_y=True)
    composed = TransformedTargetRegressor(make_pipeline(StandardScaler(), plain), transformer=StandardScaler())
    scores = [cross_val_score(estimator, 50.0 * X + 7.0, 9.0 * Y - 3.0, cv=4) for estimator in (built_in, composed, plain)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-12)
    assert (abs(scores[0] - scores[2]) > 0.01).all()


# Data


@pytest.mark.parametrize("kind", [MLPRegressor, TwoHiddenLayerRegressor, MLPClassifier])
def test_a_data_frame_gives_its_names(kind):
    frame = pd.DataFrame(X, columns=["left", "right"])
    y = pd.Series(LABELS if kind is MLPClassifier else Y)
    named = kind(epochs=2, random_state=0).fit(frame, y, validation=(frame[:5], y[:5]))
    assert named.feature_names_in_.tolist() == ["left", "right"]
    assert (weights(named) == weights(kind(epochs=2, random_state=0).fit(X, y.to_numpy()))).all()
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(frame[["right", "left"]])


@pytest.mark.parametrize("kind", [MLPRegressor, TwoHiddenLayerRegressor])
def test_predictions_have_the_axes_of_y(kind):
    def shape(y):
        return kind(epochs=1).fit(X, y).predict(X[:7]).shape

    assert shape(Y) == (7,)
    assert shape(Y[:, None]) == (7, 1)
    assert shape(np.column_stack([Y, Y**2, -Y])) == (7, 3)


def test_the_classifier_returns_labels_and_probabilities():
    classifier = MLPClassifier((16,), lr=0.03, epochs=60, random_state=0).fit(X, LABELS)
    probability = classifier.predict_proba(X)
    assert classifier.classes_.tolist() == ["high", "low", "middle"]
    assert (classifier.classes_[probability.argmax(axis=1)] == classifier.predict(X)).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(classifier.predict_log_proba(X)), probability, rtol=1e-12)
    assert np.isfinite(classifier.predict_log_proba(1e6 * X)).all()
    assert classifier.score(X, LABELS) > 0.9
    with pytest.raises(NotFittedError):
        clone(classifier).predict(X)


# Without scikit-learn


def test_without_scikit_learn_all_but_the_estimators_works():
    script = """
import sys
sys.modules["sklearn"] = None
from models import *
import models, search
assert TwoHiddenLayerNet is models.TwoHiddenLayerNet and "MLPRegressor" in dir(models) and not hasattr(models, "Nonsense")
for statement in ("models.MLPRegressor", "from models import MLPClassifier", "import models.estimators"):
    try:
        exec(statement)
    except ImportError as error:
        print(error)
"""
    root = Path(models.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"the estimators need scikit-learn: {install_hint('sklearn')}"] * 3
