"""What a Predictor returns for each task, for several networks, and for what it cannot take."""

import numpy as np
import pytest
from sklearn.metrics import get_scorer

import tinygrad_lab as tl

X = np.linspace(-1.0, 1.0, 12).reshape(6, 2)


def linear(outputs, seed=0, inputs=2):
    return tl.Linear(inputs, outputs, rng=np.random.default_rng(seed))


def trained(loss, y, outputs=1, **options):
    network = linear(outputs)
    trainer = tl.Trainer(network, loss, optimizer=tl.SGD(network.parameters()), epochs=3, **options)
    trainer.fit(X, y)
    return trainer


# Tasks -----------------------------------------------------------------------------------------------------------------


def test_a_regression_predicts_in_the_units_of_y():
    trainer = trained(tl.HalfSquaredError(), X[:, 0] * 1e6, inputs=tl.Standardize(2), targets=tl.Standardize(1))
    predictor = tl.Predictor.from_trainer(trainer)
    np.testing.assert_array_equal(predictor.predict(X), trainer.predict(X)[:, 0])
    assert abs(predictor.predict(X)).max() > 1e4


def test_a_network_of_single_precision_is_prepared_in_double_precision():
    network = tl.Linear(2, 1, rng=np.random.default_rng(0), dtype=np.float32)
    optimizer = tl.SGD(network.parameters())
    trainer = tl.Trainer(
        network, tl.HalfSquaredError(), optimizer=optimizer, epochs=1, inputs=tl.Standardize(2), targets=tl.Standardize(1)
    )
    trainer.fit(X, X[:, 0])
    predictor = tl.Predictor.from_trainer(trainer, flat=False)
    np.testing.assert_array_equal(predictor.predict(X), trainer.predict(X), strict=True)
    assert predictor.predict(X).dtype == np.float64


@pytest.mark.parametrize(("outputs", "flat", "shape"), [(1, True, (6,)), (1, False, (6, 1)), (3, True, (6, 3))])
def test_shapes_of_a_regression(outputs, flat, shape):
    assert tl.Predictor(linear(outputs), flat=flat).predict(X).shape == shape


def test_classes_have_the_softmax_of_their_logits():
    trainer = trained(tl.CrossEntropy(), np.arange(6) % 3, outputs=3)
    predictor = tl.Predictor.from_trainer(trainer, classes=["a", "b", "c"])
    logits = trainer.predict(X)
    np.testing.assert_allclose(predictor.predict_proba(X), np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-14)
    np.testing.assert_array_equal(predictor.predict(X), np.array(["a", "b", "c"])[logits.argmax(1)])


def test_a_single_logit_has_the_sigmoid_of_the_second_class():
    trainer = trained(tl.BinaryCrossEntropy(), (X[:, :1] > 0.3).astype(float))
    predictor = tl.Predictor.from_trainer(trainer, classes=[False, True])
    logits = trainer.predict(X)[:, 0]
    np.testing.assert_allclose(predictor.predict_proba(X)[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-14)
    np.testing.assert_array_equal(predictor.predict_proba(X).sum(1), np.ones(6))
    np.testing.assert_array_equal(predictor.predict(X), logits > 0)
    assert predictor.predict(X).dtype == bool


def test_labels_have_a_sigmoid_each():
    trainer = trained(tl.BinaryCrossEntropy(), (X > 0.3).astype(float), outputs=2)
    predictor = tl.Predictor.from_trainer(trainer)
    logits = trainer.predict(X)
    assert predictor.task == "multilabel"
    np.testing.assert_allclose(predictor.predict_proba(X), 1 / (1 + np.exp(-logits)), rtol=1e-14)
    np.testing.assert_array_equal(predictor.predict(X), logits > 0)


def test_logits_decide_where_probabilities_round_to_the_same_number():
    network = linear(2)
    network.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.array([1e-17, 2e-17])})
    predictor = tl.Predictor(network, "classification")
    assert predictor.predict_proba(X[:1]).tolist() == [[0.5, 0.5]]
    assert predictor.predict(X[:1]).tolist() == [1]


@pytest.mark.parametrize("members", [0, 1])
def test_a_label_of_probability_one_half_is_not_predicted(members):
    network = linear(1)
    network.load_state_dict({"weight": np.zeros((1, 2)), "bias": np.zeros(1)})
    assert tl.Predictor(network, "classification", members=[network] * members).predict(X).tolist() == [0] * 6
    network = tl.Sequential(network, tl.Linear(1, 2, rng=np.random.default_rng(0)))
    assert not tl.Predictor(network, "multilabel", members=[network] * members).predict(X).any()


@pytest.mark.parametrize("labels", [[3, 7], [-0.5, 0.5], [False, True], ["no", "yes"], [1, "one"]])
def test_labels_keep_their_type(labels):
    predicted = tl.Predictor(linear(2), "classification", labels).predict(X)
    assert {type(label) for label in predicted.tolist()} <= {type(label) for label in labels}
    assert set(predicted.tolist()) <= set(labels)


# Several networks ------------------------------------------------------------------------------------------------------


def test_members_are_averaged():
    networks = [linear(2, seed) for seed in range(3)]
    alone = [tl.Predictor(network) for network in networks]
    together = tl.Predictor(networks[0], members=networks[1:])
    np.testing.assert_allclose(together.predict(X), np.mean([one.predict(X) for one in alone], axis=0), rtol=1e-15)
    alone = [tl.Predictor(network, "classification") for network in networks]
    together = tl.Predictor(networks[0], "classification", members=networks[1:])
    probabilities = np.mean([one.predict_proba(X) for one in alone], axis=0)
    np.testing.assert_allclose(together.predict_proba(X), probabilities, rtol=1e-15)
    np.testing.assert_array_equal(together.predict(X), probabilities.argmax(1))


def test_a_member_may_have_one_logit_and_another_two():
    alone = [tl.Predictor(linear(outputs), "classification") for outputs in (1, 2)]
    expected = np.mean([one.predict_proba(X) for one in alone], axis=0)
    for outputs in ((1, 2), (2, 1)):
        first, second = map(linear, outputs)
        found = tl.Predictor(first, "classification", members=[second]).predict_proba(X)
        np.testing.assert_allclose(found, expected, rtol=1e-15)


# scikit-learn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "y", "scorer"),
    [("regression", X[:, 0], "r2"), ("classification", np.arange(6) % 2, "roc_auc"), ("classification", X[:, 0] > 0, "f1")],
)  # fmt: skip
def test_scikit_learns_scorers_take_it(task, y, scorer):
    predictor = tl.Predictor(linear(1 if task == "regression" else 2), task)
    assert np.isfinite(get_scorer(scorer)(predictor, X, y))


# Refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tl.Predictor(linear(1), "ranking"), "task is 'ranking', expected regression, classification, multilabel"),
        (lambda: tl.Predictor("net"), "models has 'net', expected a Layer, such as trainer.network"),
        (lambda: tl.Predictor(linear(1), members=[None]), "models has None, expected a Layer"),
        (lambda: tl.Predictor(linear(2), members=[linear(1)]).predict(X), "members have 1 and 2 outputs, expected networks"),
        (lambda: tl.Predictor(linear(2)).calibrate([], [], X, X), "calibrate: fold_models is empty, expected a model for each"),
        (lambda: tl.Predictor(linear(2), "classification", "ab"), "classes is 'ab', expected a list with the label of each"),
        (lambda: tl.Predictor(linear(1), classes=[0, 1]), "classes are given for a regression"),
        (lambda: tl.Predictor(linear(2), "classification", [1, 1]), "expected at least two different labels"),
        (lambda: tl.Predictor(linear(2), "classification", [float("nan"), 1]), "classes holds nan"),
        (lambda: tl.Predictor(linear(3), "classification", ["a", "b"]).predict(X), "3 outputs for 2 classes .* expected one"),
        (lambda: tl.Predictor(linear(1), "multilabel", ["a", "b"]).predict(X), "1 outputs for 2 classes in a multilabel task"),
        (lambda: tl.Predictor(linear(1)).predict(X[:, :1]), "input has 1 features, expected 2"),
        (lambda: tl.Predictor(linear(1)).predict([[1.0, np.nan]]), "x holds nan"),
        (lambda: tl.Predictor(linear(1)).predict_proba(X), "predict_proba is for classes, and this is a regression"),
        (lambda: tl.Predictor(linear(2), "classification").predict_interval(X), "a classification task; use predict_set"),
        (lambda: tl.Predictor(linear(1)).predict_set(X), "this is a regression task; use predict_interval"),
        (lambda: tl.Predictor(linear(1)).predict_interval(X), "predict_interval needs the models of a cross-validation"),
        (lambda: tl.Predictor(linear(1)).fit(X, X), "fit is called on a trained model"),
        (lambda: tl.Predictor.from_trainer(linear(1)), "expected a tinygrad_lab.Trainer"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
