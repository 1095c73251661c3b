"""The trainings of the estimators: equal to those by hand, with weights, held-out samples and scaling, continued, refused."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import tinygrad_lab as tl
from models import (
    MLPClassifier,
    MLPRegressor,
    MultilayerPerceptron,
    TwoHiddenLayerNet,
    TwoHiddenLayerRegressor,
    stand_in_data,
)

RNG = np.random.default_rng(1)
X = RNG.uniform(-2.0, 2.0, (40, 2))
Y = X[:, 0] ** 2 - X[:, 1] + RNG.normal(0.0, 0.1, 40)
LABELS = np.where(Y > 1.0, "high", np.where(Y > 0.0, "middle", "low"))

REGRESSORS = [
    MLPRegressor((6, 5), optimizer="adam", lr=0.02, batch_size=8, random_state=3),
    MLPRegressor((6,), optimizer=partial(tl.SGD, momentum=0.9), scheduler=tl.LinearDecay(0.05, 0.01, epochs=6), random_state=3),
    TwoHiddenLayerRegressor((6, 5), shuffle=True, standardize=True, standardize_y=True, random_state=3),
]


def weights(network):
    return np.concatenate([value.ravel() for value in network.state_dict().values()])


def assert_same(one, other):
    assert (weights(one.network_) == weights(other.network_)).all()
    assert list(one.history_) == list(other.history_)
    for name in one.history_:
        np.testing.assert_array_equal(one.history_[name], other.history_[name])


# Equal to a training by hand


def test_two_hidden_layer_regressor_trains_as_the_report_does():
    (x, y), test = stand_in_data()
    net = TwoHiddenLayerNet(1, 75, 50, 1, activation="leaky_relu", rng=np.random.default_rng(7))
    trainer = tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        scheduler=tl.GeometricDecay(0.075, 0.001, epochs=3),
        penalty=tl.L1Penalty(1e-3, decoupled=True),
        epochs=3,
        batch_size=1,
        shuffle=False,
    )
    history = trainer.fit(x, y, validation=test)
    regressor = TwoHiddenLayerRegressor(epochs=3, random_state=7)
    regressor.fit(x[:, None], y, validation=(test[0][:, None], test[1]))
    assert (weights(regressor.network_) == weights(net)).all()
    assert all((regressor.history_[name] == history[name]).all() for name in ("train_loss", "validation_loss", "lr"))
    assert (regressor.predict(test[0][:, None]) == trainer.predict(test[0])[:, 0]).all()


def test_two_hidden_layer_regressor_is_a_preset_of_mlp_regressor():
    preset = TwoHiddenLayerRegressor((6, 5), "tanh", l1=0.01, lr=0.05, lr_final=0.01, epochs=4, clip_norm=0.5, random_state=3)
    general = MLPRegressor(
        (6, 5),
        "tanh",
        optimizer="sgd",
        scheduler=tl.GeometricDecay(0.05, 0.01, epochs=4),
        penalty=tl.L1Penalty(0.01, decoupled=True),
        clip_norm=0.5,
        epochs=4,
        batch_size=1,
        shuffle=False,
        random_state=3,
    )
    assert_same(preset.fit(X, Y), general.fit(X, Y))


def test_the_defaults_are_those_of_the_report():
    parameters = TwoHiddenLayerRegressor().get_params()
    report = {"hidden": (75, 50), "activation": "leaky_relu", "l1": 1e-3, "lr": 0.075, "lr_final": 0.001, "epochs": 1000}
    report |= {"batch_size": 1, "clip_norm": 10.0, "shuffle": False, "standardize": False, "standardize_y": False}
    assert parameters == parameters | report


def test_every_part_of_mlp_regressor_takes_part():
    net = MultilayerPerceptron(
        2, (6, 5), 1, activation=("tanh", tl.LeakyReLU(0.2)), weight_init=tl.HeNormal(), rng=np.random.default_rng(7)
    )
    trainer = tl.Trainer(
        net,
        tl.Huber(0.5),
        optimizer=tl.AdamW(net.parameters(), weight_decay=0.1, hooks=[tl.ClipGradValue(0.5), tl.ClipGradNorm(0.4)]),
        scheduler=tl.CosineDecay(0.05, 0.01, epochs=4),
        penalty=tl.ElasticNetPenalty(1e-3, 0.3, proximal=True),
        epochs=4,
        batch_size=7,
        shuffle=True,
        seed=7,
        engine="eager",
    )
    trainer.fit(X, Y)
    regressor = MLPRegressor(
        (6, 5),
        ("tanh", tl.LeakyReLU(0.2)),
        weight_init=tl.HeNormal(),
        loss=tl.Huber(0.5),
        optimizer=lambda parameters: tl.AdamW(parameters, weight_decay=0.1, hooks=[tl.ClipGradValue(0.5)]),
        scheduler=tl.CosineDecay(0.05, 0.01, epochs=4),
        penalty=tl.ElasticNetPenalty(1e-3, 0.3, proximal=True),
        clip_norm=0.4,
        epochs=4,
        batch_size=7,
        random_state=7,
        engine="eager",
    ).fit(X, Y)
    assert (weights(regressor.network_) == weights(net)).all()


@dataclass(frozen=True)
class SmoothedCrossEntropy(tl.Loss):
    """Cross-entropy with a tenth of the probability spread over all classes."""

    class_labels: ClassVar[bool] = True

    def per_sample(self, prediction, target):
        spread = -prediction.log_softmax(axis=-1).mean(axis=-1)
        return 0.9 * tl.CrossEntropy().per_sample(prediction, target) + 0.1 * spread


def test_the_classifier_takes_another_loss_of_labels():
    sharp, smooth = (
        MLPClassifier((16,), loss=loss, lr=0.05, epochs=80, random_state=0).fit(X, LABELS)
        for loss in ("cross_entropy", SmoothedCrossEntropy())
    )
    assert smooth.score(X, LABELS) > 0.9
    assert smooth.predict_proba(X).max(axis=1).mean() < sharp.predict_proba(X).max(axis=1).mean()


@pytest.mark.parametrize("loss", ["half_squared_error", "mean_squared_error", "mean_absolute_error", "huber"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_losses_and_optimizers_have_names(loss, optimizer):
    history = MLPRegressor((6,), loss=loss, optimizer=optimizer, lr=0.01, epochs=10, random_state=0).fit(X, Y).history_
    assert history["train_loss"][-1] < history["train_loss"][0]


@pytest.mark.parametrize(("estimator", "y"), [(MLPRegressor(), Y), (TwoHiddenLayerRegressor(), Y), (MLPClassifier(), LABELS)])
def test_the_engine_does_not_matter(estimator, y):
    eager, replay = (
        clone(estimator).set_params(hidden=(6, 5), epochs=3, engine=engine, random_state=0).fit(X, y)
        for engine in ("eager", "replay")
    )
    assert_same(eager, replay)


# Randomness


def test_random_state_decides_all():
    def fit(random_state):
        return weights(MLPRegressor((6,), epochs=2, validation_fraction=0.2, random_state=random_state).fit(X, Y).network_)

    assert (fit(0) == fit(0)).all()
    assert (fit(np.random.RandomState(0)) == fit(np.random.RandomState(0))).all()
    assert (fit(0) != fit(1)).any()
    assert (fit(None) != fit(None)).any()


# Sample weights


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_a_sample_of_weight_0_is_not_there(estimator):
    weight = np.where(np.arange(40) % 4 == 0, 0.0, 2.0)
    weighted = clone(estimator).set_params(epochs=4).fit(X, Y, sample_weight=weight)
    plain = clone(estimator).set_params(epochs=4).fit(X[weight > 0], Y[weight > 0])
    # scikit-learn's scaler sums weighted samples in another order, so its means may differ in the last bit.
    np.testing.assert_allclose(weights(weighted.network_), weights(plain.network_), rtol=1e-12)


def test_a_class_of_weight_0_is_not_there():
    classifier = MLPClassifier((6,), epochs=2).fit(X, LABELS, sample_weight=(LABELS != "low").astype(float))
    assert classifier.classes_.tolist() == ["high", "middle"]


def test_weights_count_by_their_ratios_also_one_sample_at_a_time():
    weight = RNG.uniform(0.5, 2.0, 40)
    regressor = TwoHiddenLayerRegressor((6, 5), epochs=3, random_state=0)
    once, scaled, unweighted = (
        clone(regressor).fit(X, Y, sample_weight=sample_weight) for sample_weight in (weight, 8.0 * weight, None)
    )
    assert_same(once, scaled)
    assert (weights(once.network_) != weights(unweighted.network_)).any()


# Held-out samples


@pytest.mark.parametrize("standardize", [False, True])
def test_the_validation_loss_is_that_of_the_predictions(standardize):
    regressor = MLPRegressor((6,), lr=0.05, epochs=5, standardize=standardize, standardize_y=standardize, random_state=0)
    regressor.fit(X[:30], 20.0 * Y[:30], validation=(X[30:], 20.0 * Y[30:]))
    unit = np.std(20.0 * Y[:30]) if standardize else 1.0
    errors = (regressor.predict(X[30:]) - 20.0 * Y[30:]) / unit
    assert regressor.history_.last("validation_loss") == pytest.approx(np.mean(errors**2) / 2, rel=1e-10)


def test_a_fraction_is_held_out_of_everything():
    regressor = MLPRegressor((6,), epochs=2, standardize=True, standardize_y=True, validation_fraction=0.25, random_state=0)
    rows = np.arange(40.0)
    regressor.fit(rows[:, None], rows)
    assert regressor.x_scaler_.n_samples_seen_ == regressor.y_scaler_.n_samples_seen_ == 30
    assert regressor.x_scaler_.mean_ == regressor.y_scaler_.mean_ != rows.mean()
    assert len(regressor.history_["validation_loss"]) == 2


def test_the_classifier_holds_out_the_same_share_of_each_class():
    y = np.repeat([0, 1], [36, 4])
    classifier = MLPClassifier((6,), epochs=1, standardize=True, validation_fraction=0.25, random_state=0)
    classifier.fit(y[:, None].astype(float), y)
    assert classifier.x_scaler_.mean_ == pytest.approx(3 / 30)


def test_early_stopping_goes_back_to_the_best_network():
    stopping = tl.EarlyStopping(patience=3)
    regressor = MLPRegressor((6,), lr=0.1, epochs=200, callbacks=[stopping], random_state=0)
    regressor.fit(X, Y, validation=(X[:5], -Y[:5]))  # validation targets that get farther away during training
    losses = regressor.history_["validation_loss"]
    assert regressor.n_iter_ == len(losses) == losses.argmin() + 4 < 200
    assert regressor.callbacks_[0].best_epoch == losses.argmin()
    assert np.mean((regressor.predict(X[:5]) + Y[:5]) ** 2) / 2 == pytest.approx(losses.min(), rel=1e-12)


# Continued trainings


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_warm_starts_are_one_longer_fit(estimator):
    warm = clone(estimator).set_params(warm_start=True, epochs=2)
    if isinstance(warm, TwoHiddenLayerRegressor):  # its learning rate depends on `epochs`
        warm.set_params(lr=0.05, lr_final=0.05)
    longer = clone(warm).set_params(epochs=6).fit(X, Y)
    for epochs in (2, 4, 6):
        assert warm.fit(X, Y).n_iter_ == epochs
    assert_same(warm, longer)


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_partial_fits_are_one_fit(estimator):
    whole = clone(estimator).set_params(epochs=5).fit(X, Y)
    parts = clone(estimator).set_params(epochs=5)
    for _ in range(5):
        parts.partial_fit(X, Y)
    assert_same(parts, whole)


def test_partial_fits_of_the_classifier_are_one_fit():
    whole = MLPClassifier((6,), epochs=3, random_state=0).fit(X, LABELS)
    parts = MLPClassifier((6,), random_state=0).partial_fit(X, LABELS, classes=["low", "middle", "high"])
    parts.partial_fit(X, LABELS).partial_fit(X, LABELS, classes=["high", "low", "middle"])
    assert_same(parts, whole)


def test_partial_fit_knows_the_classes_that_are_still_to_come():
    classifier = MLPClassifier((16,), lr=0.05, random_state=0).partial_fit(X[:1], [0], classes=[0, 1])
    assert classifier.predict_proba(X).shape == (40, 2)
    for _ in range(60):
        classifier.partial_fit(X, (Y > 0).astype(int))
    assert classifier.score(X, (Y > 0).astype(int)) > 0.9


def test_scalers_stay_those_of_the_first_call():
    regressor = MLPRegressor((6,), epochs=1, standardize=True, standardize_y=True, warm_start=True).fit(X, Y)
    mean = regressor.x_scaler_.mean_.copy()
    regressor.partial_fit(X + 9.0, Y).fit(X + 9.0, Y)
    assert (regressor.x_scaler_.mean_ == mean).all()
    assert (regressor.set_params(warm_start=False).fit(X + 9.0, Y).x_scaler_.mean_ != mean).all()


def test_a_history_has_nan_where_nothing_was_held_out():
    regressor = MLPRegressor((6,), epochs=2, warm_start=True).fit(X, Y).fit(X, Y, validation=(X, Y)).partial_fit(X, Y)
    assert np.isnan(regressor.history_["validation_loss"]).tolist() == [True, True, False, False, True]
    assert np.isfinite(regressor.history_["train_loss"]).all()


def test_what_fails_leaves_the_trained_network_or_none():
    regressor = MLPRegressor((6,), "identity", optimizer="sgd", lr=0.01, epochs=2, warm_start=True).fit(X, Y)
    before = weights(regressor.network_)
    with pytest.raises(tl.NonFiniteLossError):
        regressor.set_params(lr=1e200).fit(X, Y)
    assert (weights(regressor.network_) == before).all()
    with pytest.raises(tl.NonFiniteLossError):
        regressor.set_params(warm_start=False).fit(X, Y)
    with pytest.raises(NotFittedError):
        regressor.predict(X)


@pytest.mark.parametrize(
    ("change", "message"), [({"hidden": (7,)}, "hidden1.weight has shape"), ({"optimizer": "sgd"}, "SGD: state differs")]
)
def test_a_warm_start_refuses_another_network_or_optimizer(change, message):
    regressor = MLPRegressor((6,), epochs=1, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        regressor.set_params(**change).fit(X, Y)


# Bad inputs


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier, TwoHiddenLayerRegressor])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"activation": "softsign"}, "activation 'softsign' is unknown; the known ones are identity, sigmoid"),
        ({"epochs": -1}, "epochs is -1, expected a positive integer"),
        ({"batch_size": 0}, "batch_size is 0, expected a positive integer"),
        ({"lr": -0.1}, "(lr|initial) is -0.1, expected a number"),
        ({"clip_norm": 0}, "max_norm is 0, expected a number from"),
        ({"engine": "gpu"}, "engine is 'gpu', expected auto, eager, replay, compiled"),
        ({"validation_fraction": 1.5}, "validation_fraction is 1.5, expected a number above 0 and below 1, or None"),
        ({"validation_fraction": "a"}, "validation_fraction is 'a', expected a number"),
        ({"callbacks": tl.EarlyStopping(3)}, "expected a list of Callback objects"),
        ({"callbacks": [3]}, r"callbacks is \[3\], expected a list of Callback objects"),
        ({"hidden": 5}, "hidden is 5, expected"),
    ],
)
def test_bad_parameters_are_refused(kind, parameters, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        kind(**parameters).fit(X, LABELS if kind is MLPClassifier else Y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (MLPRegressor((6, 5), ["relu"]), "activation has 1 entries for 2 hidden layers"),
        (MLPRegressor(loss="cross"), "loss 'cross' is unknown; expected a Loss such as Huber"),
        (MLPRegressor(loss="cross_entropy"), r"MLPRegressor: loss is CrossEntropy\(\), expected one of real numbers"),
        (MLPRegressor(loss=None), "loss None is unknown"),
        (MLPRegressor(optimizer="adagrad"), "optimizer 'adagrad' is unknown"),
        (MLPRegressor(optimizer=3), "optimizer 3 is unknown"),
        (MLPRegressor(optimizer=list), "expected an Optimizer of the parameters"),
        (MLPRegressor(penalty="l1"), "penalty is 'l1', expected a Penalty or None"),
        (MLPRegressor(scheduler=0.1), "scheduler is 0.1, expected a Scheduler or None"),
        (MLPRegressor(lr=0.1, scheduler=tl.ConstantLR(0.1)), "lr is 0.1 beside the scheduler ConstantLR"),
        (MLPClassifier(loss="half_squared_error"), r"loss is HalfSquaredError\(\), expected one of class labels"),
        (TwoHiddenLayerRegressor((10,)), r"hidden is \(10,\), expected two sizes"),
        (TwoHiddenLayerRegressor(l1=-1), "strength is -1, expected a number of at least 0"),
        (MLPRegressor(callbacks=[tl.EarlyStopping(3)]), "monitors 'validation_loss', but the epoch has train_loss, lr"),
    ],
)
def test_bad_parts_are_refused(estimator, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        estimator.fit(X, (Y > 0).astype(int))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sample_weight": np.zeros(40)}, "sample_weight is zero everywhere"),
        ({"sample_weight": []}, r"sample_weight has shape \(0,\), expected \(40,\)"),
        ({"sample_weight": np.full(40, -1.0)}, "sample_weight runs from -1.0 to -1.0, expected finite weights of at least 0"),
        ({"sample_weight": np.ones(39)}, r"sample_weight has shape \(39,\), expected \(40,\)"),
        ({"validation": X}, r"validation is no pair, expected \(X, y\)"),
        ({"validation": (X[:, :1], Y)}, "X has 1 features, but .* is expecting 2 features"),
        ({"X": np.where(X == X[3, 1], np.nan, X)}, "X contains NaN"),
        ({"y": np.where(Y == Y[3], np.inf, Y)}, "y contains infinity"),
        ({"y": Y[:5]}, "inconsistent numbers of samples"),
    ],
)
@pytest.mark.parametrize("kind", [MLPRegressor, TwoHiddenLayerRegressor])
def test_bad_data_are_refused(kind, data, message):
    with pytest.raises(ValueError, match=message):
        kind(epochs=1).fit(**{"X": X, "y": Y} | data)


def test_validation_data_are_given_or_held_out_and_not_both():
    with pytest.raises(ValueError, match=r"validation is given beside validation_fraction=0.1, expected one of them"):
        MLPRegressor(validation_fraction=0.1).fit(X, Y, validation=(X, Y))


def test_the_classifier_refuses_labels_it_does_not_know():
    classifier = MLPClassifier(epochs=1)
    with pytest.raises(ValueError, match="classes is None in the first call"):
        classifier.partial_fit(X, LABELS)
    with pytest.raises(ValueError, match="y holds 'huge', expected the classes of the first training: "):
        classifier.fit(X, LABELS, validation=(X[:1], ["huge"]))
    with pytest.raises(ValueError, match="y holds 'huge'"):
        classifier.fit(X, LABELS).partial_fit(X[:1], ["huge"])
    with pytest.raises(ValueError, match="y holds 'middle of all'"):  # it is not cut to the length of the longest known label
        classifier.partial_fit(X[:1], ["middle of all"])
    with pytest.raises(ValueError, match="expected those of the first call"):
        classifier.partial_fit(X, LABELS, classes=["low", "high"])


class SlopeOfSoftplus(tl.Activation):
    """A sigmoid, as the derivative of another function."""

    def forward(self, x):
        (slope,) = tl.grad(x.softplus().sum(), [x])
        return slope


def test_a_network_that_differentiates_predicts():
    slope, sigmoid = (
        MLPRegressor((4,), activation=activation, epochs=2, random_state=3).fit(X, Y).predict(X)
        for activation in (SlopeOfSoftplus(), "sigmoid")
    )
    np.testing.assert_allclose(slope, sigmoid, rtol=1e-12)
