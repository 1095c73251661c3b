"""Data that are prepared inside a training: `inputs` and `targets`, the rows that are held out, the Trainer's own callbacks."""

import threading

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.training import checkpoint_bytes

ROWS = np.random.default_rng(0)
X = 1e3 + 50.0 * ROWS.normal(size=(40, 2))
Y = 7.0 + 1e-3 * X @ np.array([[1.0], [-2.0]])


def trainer(engine="replay", epochs=12, seed=0, **options):
    net = tl.Sequential(
        tl.Linear(2, 3, rng=np.random.default_rng(seed)), tl.Tanh(), tl.Linear(3, 1, rng=np.random.default_rng(1))
    )
    options = {"inputs": tl.Standardize(2), "targets": tl.Standardize(1)} | options
    return tl.Trainer(
        net, tl.HalfSquaredError(), optimizer=tl.Adam(net.parameters(), lr=0.05), epochs=epochs, batch_size=8, engine=engine,
        **options,
    )  # fmt: skip


def test_a_training_with_preprocessors_is_that_on_data_scaled_by_hand():
    ours, by_hand = trainer(), trainer(inputs=None, targets=None)
    ours.fit(X, Y)
    (mean, scale), (y_mean, y_scale) = ((data.mean(0), data.std(0)) for data in (X, Y))
    by_hand.fit((X - mean) / scale, (Y - y_mean) / y_scale)
    np.testing.assert_allclose(ours.history["train_loss"], by_hand.history["train_loss"], rtol=1e-9)
    np.testing.assert_allclose(ours.predict(X), by_hand.predict((X - mean) / scale) * y_scale + y_mean, rtol=1e-9)
    np.testing.assert_array_equal(ours.network(X).detach().numpy(), ours.predict(X))
    assert ours.evaluate(X, Y) == pytest.approx(by_hand.evaluate((X - mean) / scale, (Y - y_mean) / y_scale))


@pytest.mark.parametrize("fraction", [None, 0.25])
def test_only_the_rows_that_train_are_learnt_from(fraction):
    ours = trainer(validation_fraction=fraction)
    run = ours.prepare(X, Y)
    trained = len(run.data[0])
    assert trained == (40 if fraction is None else 30)
    np.testing.assert_allclose(run.data[0].mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(run.data[1].std(0), 1.0)
    if fraction:
        assert abs(run.held_out[0].mean()) > 1e-3


def test_values_that_are_held_out_or_validate_do_not_change_what_is_learnt():
    shifted = np.vstack([X, X + 1e6]), np.vstack([Y, Y])
    ours, other = trainer(), trainer()
    ours.fit(X, Y, validation=(X, Y))
    other.fit(X, Y, validation=shifted)
    np.testing.assert_array_equal(ours.history["train_loss"], other.history["train_loss"])
    assert ours.inputs.state_dict()["mean"].tolist() == other.inputs.state_dict()["mean"].tolist()


@pytest.mark.parametrize("engine", ["replay", pytest.param("compiled", marks=pytest.mark.xdist_group("compile"))])
def test_engines_and_lanes_agree(engine):
    def make(seed, kind):
        net = tl.Linear(2, 1, rng=np.random.default_rng(seed))
        return tl.Trainer(
            net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.5), epochs=60, batch_size=10, engine=kind,
            inputs=tl.Standardize(2), targets=tl.Standardize(1), validation_fraction=0.25,
            callbacks=[tl.EarlyStopping(patience=1)],
        )  # fmt: skip

    y = np.sin(X[:, :1])  # not linear, so that the losses go up and down
    alone = [make(seed, "eager") for seed in range(3)]
    for one in alone:
        one.fit(X, y)
    lanes = [make(seed, engine) for seed in range(3)]
    assert tl.fit_lanes(lanes, [(X, y)] * 3) == [None] * 3
    for one, lane in zip(alone, lanes, strict=True):
        assert one.history.stop_reason == lane.history.stop_reason != ""
        np.testing.assert_allclose(one.history["validation_loss"], lane.history["validation_loss"], rtol=1e-9)
        np.testing.assert_allclose(one.predict(X), lane.predict(X), rtol=1e-9)


def test_the_trainers_own_callbacks_are_copied_for_each_fit():
    stopping = tl.EarlyStopping(patience=3)
    ours = trainer(validation_fraction=0.25, callbacks=[stopping])
    ours.fit(X, Y)
    assert stopping.best_epoch == -1
    assert "validation_loss" in ours.history


def test_a_training_with_preprocessors_is_resumed_to_the_bit():
    def make():
        return trainer(validation_fraction=0.25, callbacks=[tl.EarlyStopping(patience=50)])

    whole, first, second = make(), make(), make()
    tl.fit_lanes([whole], [(X, Y)])
    [[run]] = [list(ended.values()) for ended in tl.lanes_as_completed([first], [(X, Y)], until=5)]
    tl.fit_lanes([second], [(X, Y)], resume=[checkpoint_bytes(run)])
    np.testing.assert_array_equal(whole.history["validation_loss"], second.history["validation_loss"])
    np.testing.assert_array_equal(whole.predict(X), second.predict(X))


def test_each_label_is_held_out_by_its_share():
    labels = np.repeat([0, 1, 2], [4, 8, 28])
    net = tl.Linear(2, 3, rng=np.random.default_rng(0))
    ours = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters()), validation_fraction=0.25)
    run = ours.prepare(X, labels)
    np.testing.assert_array_equal(np.bincount(run.held_out[1]), [1, 2, 7])
    assert len(run.data[0]) == 30


def test_weights_count_as_so_many_equal_samples():
    weight = np.arange(40) % 3
    scaler, repeated = tl.Standardize(2), tl.Standardize(2)
    scaler.learn(X, weight)
    repeated.learn(np.repeat(X, weight, axis=0))
    for name, value in scaler.state_dict().items():
        np.testing.assert_allclose(value, repeated.state_dict()[name])


def test_a_feature_that_is_constant_up_to_rounding_has_scale_one():
    scaler = tl.Standardize(3)
    scaler.learn(np.array([[0.1 + 0.2, 1e8, 0.0], [0.3, 1e8, 1e-300], [0.3, 1e8, 0.0]]))
    np.testing.assert_array_equal(scaler.scale.tensor.numpy()[:2], 1.0)


class Fill(tl.Preprocessor):
    """Replace nan by the mean of the training rows."""

    takes_missing = True

    def __init__(self):
        self.mean = tl.Buffer(np.zeros(2))

    def learn(self, data, weight=None):
        self.mean.tensor.assign(np.nanmean(data, axis=0))

    def forward(self, x):
        return tl.where(np.isnan(x), self.mean.value, x)


def test_only_a_preprocessor_for_missing_values_gets_them():
    gaps = X.copy()
    gaps[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"x holds nan at \(3, 1\), expected finite numbers"):
        trainer().fit(gaps, Y)
    ours = trainer(inputs=Fill())
    ours.fit(gaps, Y)
    assert np.isfinite(ours.predict(gaps)).all()
    with pytest.raises(ValueError, match="x holds inf"):
        ours.predict(gaps * np.inf)


class Broken(Fill):
    """Return nan as it is."""

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": tl.Tanh()}, r"inputs is Tanh\(\), expected a Preprocessor or None"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0, expected a number between 0 and 1"),
        ({"validation_fraction": True}, "validation_fraction is True"),
        ({"callbacks": tl.EarlyStopping(3)}, "expected a list of Callback"),
    ],
)
def test_what_a_trainer_does_not_take(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trainer(**options)


def test_one_preprocessor_cannot_learn_both_sides():
    both = tl.Standardize(1)
    with pytest.raises(ValueError, match="inputs and targets are one"):
        trainer(inputs=both, targets=both)


def test_what_a_fit_does_not_take():
    with pytest.raises(ValueError, match="validation data are given beside the Trainer's validation_fraction"):
        trainer(validation_fraction=0.5).fit(X, Y, validation=(X, Y))
    with pytest.raises(ValueError, match="holds out 0 of 40 samples"):
        trainer(validation_fraction=0.01).fit(X, Y)
    with pytest.raises(ValueError, match=r"Standardize\(2\): input has shape \(40, 1\)"):
        trainer().fit(X[:, :1], Y)
    with pytest.raises(ValueError, match="variance of feature 0 overflows"):
        trainer().fit(X * 1e200, Y)
    with pytest.raises(TypeError, match="which has no inverse; define"):
        trainer(targets=Fill())
    gaps = np.where(X > 1e3, np.nan, X)
    with pytest.raises(ValueError, match="x, as Broken returns it, holds nan"):
        trainer(inputs=Broken()).fit(gaps, Y)
    net = tl.Linear(2, 2, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="takes class labels; leave it out"):
        tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters()), targets=tl.Standardize(1))


def test_integers_are_prepared_as_the_same_floats():
    """Constants that are cast to the dtype of integers would lose their decimals."""
    x = np.array([[1, 0], [4, 1], [6, 7]])
    scaler = tl.Standardize(2)
    scaler.learn(x)
    np.testing.assert_array_equal(scaler.mean.tensor.numpy(), x.mean(axis=0))
    network = tl.PreparedNetwork(scaler, tl.Linear(2, 2, rng=np.random.default_rng(0)), scaler)
    for layer in (scaler, scaler.inverse, network, tl.LayerNorm(2), tl.BatchNorm(2)):
        np.testing.assert_array_equal(layer(tl.Tensor(x)).numpy(), layer(tl.Tensor(x.astype(float))).numpy())
    with pytest.raises(ValueError, match="feature 1 holds nan or infinity, expected finite numbers; fill the gaps"):
        scaler.learn(np.array([[1.0, np.nan], [2.0, 3.0]]))


def test_data_of_a_network_in_single_precision_are_prepared_in_double_precision():
    seconds, y = 1.7e9 + np.arange(40.0), 1e8 + np.sin(np.arange(40.0) / 6)
    net = tl.Linear(1, 1, rng=np.random.default_rng(0), dtype=np.float32)
    ours = tl.Trainer(
        net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), inputs=tl.Standardize(1), targets=tl.Standardize(1)
    )
    inputs, targets = ours.prepare(seconds, y).data
    assert inputs.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(inputs[:, 0], (np.arange(40.0) - 19.5) / np.arange(40.0).std(), rtol=1e-6)
    np.testing.assert_allclose(targets[:, 0], (y - y.mean()) / y.std(), rtol=1e-5)
    model = net(inputs).detach().numpy()
    np.testing.assert_allclose(ours.predict(seconds), y.mean() + y.std() * model, rtol=1e-14)
    np.testing.assert_array_equal(tl.Predictor.from_trainer(ours).predict(seconds), ours.predict(seconds)[:, 0])


def test_verify_checks_the_step_on_prepared_data():
    net = tl.Linear(2, 1, rng=np.random.default_rng(0))
    options = {"inputs": tl.Standardize(2), "targets": tl.Standardize(1), "validation_fraction": 0.2}
    ours = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), **options)
    assert tl.testing.verify(ours, X, Y).failed == []


def classifier(class_weight, engine="replay"):
    net = tl.Linear(2, 3, rng=np.random.default_rng(0))
    return tl.Trainer(
        net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=4, inputs=tl.Standardize(2), engine=engine,
        class_weight=class_weight,
    )  # fmt: skip


LABELS = np.repeat([0, 1, 2], [25, 10, 5])


@pytest.mark.parametrize(("class_weight", "factors"), [("balanced", [40 / 75, 40 / 30, 40 / 15]), ([1, 0.5, 2], [1, 0.5, 2])])
def test_class_weights_are_weights_of_the_rows_that_train(class_weight, factors):
    weighted, by_hand = classifier(class_weight), classifier(None)
    weighted.fit(X, LABELS)
    by_hand.inputs.learn(X)  # the scaling has no part in the weights
    by_hand.inputs.learn = lambda data, weight: None
    by_hand.fit(X, LABELS, sample_weight=np.array(factors)[LABELS])
    np.testing.assert_allclose(weighted.history["train_loss"], by_hand.history["train_loss"], rtol=1e-12)


def test_balanced_weights_count_sample_weights_and_go_into_lanes():
    alone, lane, other = classifier("balanced"), classifier("balanced"), classifier("balanced")
    weight = np.where(LABELS == 0, 0.2, 1.0)  # each class then has a total of 5, 10 and 5
    run = alone.prepare(X, LABELS, sample_weight=weight)
    assert [run.data[2][LABELS == label].sum() for label in range(3)] == pytest.approx([20 / 3] * 3)
    alone.fit(X, LABELS)
    tl.fit_lanes([lane, other], [(X, LABELS), (X[::-1], LABELS[::-1])])
    np.testing.assert_array_equal(lane.history["train_loss"], alone.history["train_loss"])


@pytest.mark.parametrize("wrong", ["balance", [1.0, -1.0], {0: 1.0}, 2.0])
def test_a_class_weight_that_has_no_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match="Trainer: class_weight is .*, expected 'balanced', or a number"):
        classifier(wrong)


def test_a_class_weight_needs_labels_and_a_number_for_each():
    with pytest.raises(ValueError, match="for the loss HalfSquaredError"):
        trainer(class_weight="balanced")
    with pytest.raises(ValueError, match="has 2 weights, expected one for each label up to 2"):
        classifier([1.0, 2.0]).fit(X, LABELS)


def test_a_fit_that_is_refused_does_not_change_what_was_learnt():
    ours, new = trainer(), trainer()
    ours.fit(X, Y)
    before = ours.predict(X)
    with pytest.raises(ValueError, match="input has shape"):
        ours.fit(3.0 * X, Y, validation=(X[:, :1], Y))
    with pytest.raises(FileNotFoundError):
        ours.fit(3.0 * X, Y, resume="nothing")
    with pytest.raises(ValueError, match="input has shape"):
        tl.fit_lanes([ours, new], [(3.0 * X, Y), (X, Y[:, [0, 0]])])
    np.testing.assert_array_equal(ours.predict(X), before)
    assert not new.inputs.mean.tensor.numpy().any()


def test_lanes_cannot_share_what_is_learnt():
    scaler = tl.Standardize(2)
    with pytest.raises(ValueError, match="two Trainers share a Buffer"):
        tl.fit_lanes([trainer(inputs=scaler), trainer(inputs=scaler)], [(X, Y), (2.0 * X, Y)])


@pytest.mark.parametrize("engine", ["eager", "replay"])  # "compiled" evaluates by replay
def test_weights_count_for_the_rows_that_are_held_out(engine):
    weight = np.arange(40) % 2
    ours, cleared = trainer(engine, validation_fraction=0.5), trainer(engine, validation_fraction=0.5)
    ours.fit(X, Y + np.where(weight, 0.0, 1e9)[:, None], sample_weight=weight)
    cleared.fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(ours.history["validation_loss"], cleared.history["validation_loss"], rtol=1e-9)


def test_a_part_without_any_weight_is_refused():
    numbered = np.repeat(np.arange(40.0)[:, None], 2, axis=1)
    [first, *_] = trainer(validation_fraction=0.5, inputs=None).prepare(numbered, Y).data[0][:, 0]
    weight = np.arange(40) == first
    with pytest.raises(ValueError, match="all 20 rows that are held out have weight 0"):
        trainer(validation_fraction=0.5).fit(X, Y, sample_weight=weight)
    net = tl.Linear(2, 2, rng=np.random.default_rng(0))
    weighted = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters()), class_weight=[1.0, 0.0])
    with pytest.raises(ValueError, match="all 40 rows that train have weight 0"):
        weighted.fit(X, np.ones(40, int))


def test_class_weights_are_checked_where_they_are_used():
    net = tl.Linear(2, 3, rng=np.random.default_rng(0))
    ours = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters()), class_weight="balanced")
    assert "input  sample_weight" in str(ours.capture(X, np.arange(40) % 3))
    with pytest.raises(ValueError, match="labels run from 0 to 1000000000000, expected 0 to 2"):
        ours.fit(X, np.array([0, 10**12] * 20))
    ours.class_weight = "uniform"
    with pytest.raises(ValueError, match="class_weight is 'uniform', expected 'balanced'"):
        ours.fit(X, np.arange(40) % 3)


def test_a_loss_checks_the_targets_that_it_sees():
    net = tl.Linear(2, 1, rng=np.random.default_rng(0))
    ours = tl.Trainer(net, tl.BinaryCrossEntropy(), optimizer=tl.SGD(net.parameters()), targets=tl.Standardize(1))
    with pytest.raises(ValueError, match="y, as Standardize returns it: BinaryCrossEntropy: target holds"):
        ours.fit(X, np.arange(40) % 2)


def test_copies_of_callbacks_refer_to_the_parts_of_the_trainer():
    class Quieter(tl.Callback):
        def __init__(self, noise):
            self.noise = noise

        def on_epoch_end(self, run):
            self.noise.std = 1.0 / run.history.epochs
            return ""

    noise = tl.GaussianNoise(1.0)
    net = tl.Sequential(noise, tl.Linear(2, 1, rng=np.random.default_rng(0)))
    ours = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=1e-9), callbacks=[Quieter(noise)])
    ours.fit(X, Y, epochs=4)
    assert noise.std.item() == 0.25


class Open(tl.Callback):
    def __init__(self):
        self.lock = threading.Lock()


def test_a_callback_that_cannot_be_copied_is_named():
    with pytest.raises(TypeError, match=r"callbacks\[0\], a Open, cannot be copied for a fit .*; give it to fit"):
        trainer(callbacks=[Open()]).fit(X, Y)
