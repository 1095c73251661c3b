"""The Trainer: its loop, its accounting, its callbacks, resuming to the same bits, and what it refuses."""

import pickle
import warnings

import numpy as np
import pytest

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab.storage.arrays import load_arrays

RNG = np.random.default_rng(1)
X = RNG.uniform(-2.0, 2.0, 24)
Y = X**2 - X + RNG.normal(0.0, 0.1, 24)
VALIDATION = (X[:5] + 0.1, Y[:5])


def make_trainer(net_seed=0, optimizer=tl.SGD, dtype=np.float64, **options):
    net = TwoHiddenLayerNet(1, 6, 5, 1, activation="tanh", rng=np.random.default_rng(net_seed), dtype=dtype)
    settings = {"epochs": 6, "batch_size": 4, "scheduler": tl.GeometricDecay(0.1, 0.01, epochs=6)} | options
    hooks = [tl.ClipGradNorm(5.0)]
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer(net.parameters(), hooks=hooks), **settings)


def weights(trainer):
    return np.concatenate([value.ravel() for value in trainer.model.state_dict().values()])


def test_training_lowers_the_loss_and_records_every_epoch():
    trainer = make_trainer(epochs=60, batch_size=1, scheduler=None)
    history = trainer.fit(X, Y, validation=VALIDATION)
    assert history["train_loss"].shape == history["validation_loss"].shape == history["lr"].shape == (60,)
    assert history["train_loss"][-1] < 0.2 * history["train_loss"][0]
    assert history.last("validation_loss") == trainer.evaluate(*VALIDATION)
    assert history.epochs == 60
    with pytest.raises(KeyError, match="it has train_loss, validation_loss, lr"):
        history["accuracy"]


class Spy(tl.Layer):
    """A layer that notes what it is given."""

    def __init__(self):
        self.seen = []

    def forward(self, x):
        self.seen.append(x.data[:, 0].tolist())
        return x


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (1000, [6]), (None, [6])])
def test_batches_cover_the_data_once_an_epoch_in_its_order(batch_size, sizes):
    spy = Spy()
    net = tl.Sequential(spy, tl.Linear(1, 1, rng=np.random.default_rng(0)))
    x = np.arange(6.0) / 10
    trainer = tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters()),
        epochs=1,
        batch_size=batch_size,
        shuffle=False,
        engine="eager",
    )
    trainer.fit(x, x)
    assert [len(batch) for batch in spy.seen] == sizes  # the check of the shapes leaves no trace
    assert [value for batch in spy.seen for value in batch] == x.tolist()


def test_shuffling_is_a_function_of_the_seed_and_the_epoch():
    def order(seed, epoch):
        return make_trainer(shuffle=True, seed=seed).prepare(X, Y).order(epoch).tolist()

    assert order(0, 3) == order(0, 3)
    assert sorted(order(0, 3)) == list(range(len(X)))
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_training_loss_weighs_batches_by_their_size():
    trainer = make_trainer(batch_size=23, epochs=1, shuffle=False)
    before = make_trainer(batch_size=23, epochs=1, shuffle=False)
    first = before.evaluate(X[:23], Y[:23])
    history = trainer.fit(X, Y)
    before.fit(X[:23], Y[:23])
    second = before.evaluate(X[23:], Y[23:])
    assert history["train_loss"][0] == pytest.approx((23 * first + second) / 24, rel=1e-13)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    a, b, c = make_trainer(net_seed=0), make_trainer(net_seed=0), make_trainer(net_seed=1)
    for trainer in (a, b, c):
        trainer.fit(X, Y)
    assert (weights(a) == weights(b)).all()
    assert (weights(a) != weights(c)).any()


def test_epochs_of_fit_override_those_of_the_trainer():
    assert make_trainer().fit(X, Y, epochs=2).epochs == 2


def test_one_dimensional_data_mean_one_feature():
    flat, rows = make_trainer(), make_trainer()
    flat.fit(X, Y)
    rows.fit(X[:, None], Y[:, None])
    assert (weights(flat) == weights(rows)).all()
    assert flat.predict(X).shape == (24, 1)


def test_single_precision_stays_single():
    trainer = make_trainer(dtype=np.float32, optimizer=tl.Adam, penalty=tl.L1Penalty(1e-3, decoupled=True))
    trainer.fit(X, Y)
    assert {x.dtype for x in trainer.model.parameters()} == {np.dtype(np.float32)}
    assert trainer.predict(X).dtype == np.float32


def test_sample_weights_act_like_repetition():
    """With the whole set as the batch, weight 2 on a sample is that sample twice, up to the factor of the mean."""
    weighted, repeated = (make_trainer(batch_size=None, scheduler=None) for _ in range(2))
    sample_weight = np.where(np.arange(24) < 12, 2.0, 1.0)
    weighted.fit(X, Y, sample_weight=sample_weight * 24 / 36, epochs=3)
    repeated.fit(np.concatenate([X, X[:12]]), np.concatenate([Y, Y[:12]]), epochs=3)
    np.testing.assert_allclose(weights(weighted), weights(repeated), rtol=1e-12)


def test_classification_from_labels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    labels = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    net = tl.Sequential(tl.Linear(2, 8, rng=rng), tl.ReLU(), tl.Linear(8, 3, rng=rng))
    trainer = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.Adam(net.parameters(), lr=0.05), epochs=60, batch_size=20)
    trainer.fit(x, labels)
    assert (trainer.predict(x).argmax(axis=1) == labels).mean() > 0.9
    with pytest.raises(ValueError, match="labels run from 0 to 3, expected 0 to 2"):
        trainer.evaluate(x, np.where(labels == 2, 3, labels))


class MeanOfSamples(tl.Layer):
    def forward(self, x):
        return x.mean(axis=0, keepdims=True)


def test_a_model_that_mixes_the_samples_into_one_row_is_refused():
    net = tl.Sequential(tl.Linear(1, 1, rng=np.random.default_rng(0)), MeanOfSamples())
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()))
    with pytest.raises(ValueError, match=r"prediction has shape \(1, 1\), target \(5, 1\)"):
        trainer.fit(np.ones(5), np.ones(5))


def test_checks_before_a_training_do_not_predict_all_samples():
    sizes = []

    class Counting(tl.Layer):
        def forward(self, x):
            sizes.append(len(x))
            return x

    net = tl.Sequential(Counting(), tl.Linear(1, 1, rng=np.random.default_rng(0)))
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), batch_size=10, engine="eager")
    trainer.fit(np.ones(100), np.ones(100), epochs=1)
    assert max(sizes) == 10
    trainer.evaluate(np.ones(100), np.ones(100))
    assert sizes.count(100) == 1


class OverFixedSamples(tl.Layer):
    """A graph convolution: each sample takes the mean over its neighbours, so that there is one set of samples only."""

    def __init__(self, samples):
        self.neighbours = tl.Tensor(np.eye(samples) + 1.0 / samples)
        self.linear = tl.Linear(1, 1, rng=np.random.default_rng(0))

    def forward(self, x):
        return self.neighbours @ self.linear(x)


@pytest.mark.parametrize("batch_size", [None, 24])
@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_model_over_a_fixed_set_of_samples_is_trained_and_evaluated(engine, batch_size):
    net = OverFixedSamples(24)
    options = {"epochs": 3, "batch_size": batch_size, "shuffle": False, "engine": engine}
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), **options)
    trainer.fit(X, Y, validation=(X, Y))
    assert trainer.history.last("validation_loss") == trainer.evaluate(X, Y)


def test_a_model_whose_prediction_is_no_tensor_is_named():
    class Pair(tl.Layer):
        def __init__(self):
            self.linear = tl.Linear(1, 1, rng=np.random.default_rng(0))

        def forward(self, x):
            return self.linear(x), x

    net = Pair()
    with pytest.raises(TypeError, match="^Pair: forward returned a value of type tuple, expected a Tensor; compute with"):
        tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters())).fit(X, Y)


def test_a_capture_does_not_warn_of_losses_that_are_not_finite():
    trainer = make_trainer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = trainer.capture(X, np.full(24, 1e200))
    assert not np.isfinite(program.outputs["loss"].array)


def test_frozen_weights_go_into_a_checkpoint(tmp_path):
    def trainer():
        net = TwoHiddenLayerNet(1, 6, 5, 1, rng=np.random.default_rng(0))
        net.hidden1.weight.requires_grad = False
        return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), epochs=2)

    trainer().fit(X, Y, callbacks=[tl.Checkpoint(tmp_path / "checkpoint")], epochs=1)
    assert "model.hidden1.weight" in load_arrays(tmp_path / "checkpoint")[0]
    resumed, whole = trainer(), trainer()
    resumed.fit(X, Y, resume=tmp_path / "checkpoint")
    whole.fit(X, Y)
    assert (weights(resumed) == weights(whole)).all()


# Callbacks


def test_early_stopping_restores_the_best_weights():
    trainer = make_trainer(scheduler=None, epochs=200)
    stopping = tl.EarlyStopping(patience=3)
    history = trainer.fit(X, Y, validation=(X[:5], -Y[:5]), callbacks=[stopping])  # a target that training moves away from
    losses = history["validation_loss"]
    assert history.epochs < 200
    assert "has not improved for 3 epochs" in history.stop_reason
    assert stopping.best_epoch == losses.argmin() == history.epochs - 4
    assert trainer.evaluate(X[:5], -Y[:5]) == losses.min()


def test_early_stopping_needs_what_it_monitors():
    with pytest.raises(ValueError, match="monitors 'validation_loss', but the epoch has train_loss, lr"):
        make_trainer().fit(X, Y, callbacks=[tl.EarlyStopping(patience=3)])


def test_a_callback_of_ones_own_can_stop_the_training():
    class StopAfterTwo(tl.Callback):
        def on_epoch_end(self, run):
            return "enough" if run.history.epochs == 2 else ""

    history = make_trainer().fit(X, Y, callbacks=[StopAfterTwo()])
    assert (history.epochs, history.stop_reason) == (2, "enough")


def test_the_progress_bar_shows_the_losses(capsys):
    make_trainer().fit(X, Y, validation=VALIDATION, callbacks=[tl.ProgressBar()])
    text = capsys.readouterr().err
    assert "train_loss=" in text
    assert "validation_loss=" in text
    assert "6/6" in text


class _Interrupt(tl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_seen(self, run):
        if run.history.epochs == self.epochs:
            raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", [tl.SGD, lambda p, hooks: tl.SGD(p, momentum=0.9, hooks=hooks), tl.Adam, tl.RMSprop])
@pytest.mark.parametrize("interrupted_after", [1, 3, 5])
def test_an_interrupted_training_resumes_to_the_same_bits(optimizer, interrupted_after, tmp_path):
    path = tmp_path / "checkpoint.npz"
    options = {"optimizer": optimizer, "shuffle": True, "penalty": tl.L1Penalty(1e-3, decoupled=True)}
    whole, first, second = (make_trainer(**options) for _ in range(3))
    expected = whole.fit(X, Y, validation=VALIDATION)
    with pytest.raises(KeyboardInterrupt):
        first.fit(X, Y, validation=VALIDATION, callbacks=[tl.Checkpoint(path), _Interrupt(interrupted_after)])
    second.fit(X, Y, validation=VALIDATION, callbacks=[tl.Checkpoint(path), _Interrupt(-1)], resume=path)
    assert (weights(second) == weights(whole)).all()
    for name in expected:
        assert (second.history[name] == expected[name]).all()


def test_resuming_takes_up_early_stopping_too(tmp_path):
    path = tmp_path / "checkpoint.npz"
    held_out = (X[:5], -Y[:5])

    def callbacks(last):
        return [tl.Checkpoint(path), tl.EarlyStopping(patience=4), _Interrupt(last)]

    whole, first, second, third = (make_trainer(scheduler=None, epochs=100) for _ in range(4))
    expected = whole.fit(X, Y, validation=held_out, callbacks=[tl.EarlyStopping(patience=4)])
    with pytest.raises(KeyboardInterrupt):
        first.fit(X, Y, validation=held_out, callbacks=callbacks(expected.epochs - 1))
    second.fit(X, Y, validation=held_out, callbacks=callbacks(-1), resume=path)
    assert second.history.stop_reason == expected.stop_reason
    assert (weights(second) == weights(whole)).all()
    third.fit(X, Y, validation=held_out, callbacks=callbacks(-1), resume=path)  # it has ended already
    assert third.history.epochs == expected.epochs
    assert (weights(third) == weights(whole)).all()


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint.npz"
    make_trainer().fit(X, Y, callbacks=[tl.Checkpoint(path)])
    before = weights(make_trainer())
    for options, data, difference in (
        ({"seed": 1}, (X, Y), "batches"),
        ({"batch_size": 3}, (X, Y), "batches"),
        ({"penalty": tl.L1Penalty(0.1)}, (X, Y), "penalty"),
        ({"optimizer": tl.Adam}, (X, Y), "optimizer"),
        ({}, (X, Y + 1.0), "data"),
    ):
        trainer = make_trainer(**options)
        start = weights(trainer)
        with pytest.raises(tl.WeightsError, match=f"another training; it differs in .*({difference})"):
            trainer.fit(*data, callbacks=[tl.Checkpoint(path)], resume=path)
        assert (weights(trainer) == start).all()
    (tmp_path / "weights.npz").write_bytes(b"no checkpoint")
    with pytest.raises(tl.WeightsError, match="no readable file of arrays"):
        make_trainer().fit(X, Y, resume=tmp_path / "weights.npz")
    assert (weights(make_trainer()) == before).all()


HELD_OUT = (X[:5], -Y[:5])


class StopBelow(tl.Callback):
    def __init__(self, loss):
        self.loss = loss

    def settings(self):
        return {"loss": self.loss}


@pytest.mark.parametrize(
    ("validation", "callbacks", "difference"),
    [
        (None, [tl.EarlyStopping(4, "train_loss"), StopBelow(0.1)], "validation"),
        ((X[:5], Y[:5]), [tl.EarlyStopping(4, "train_loss"), StopBelow(0.1)], "validation"),
        (HELD_OUT, [tl.EarlyStopping(5, "train_loss"), StopBelow(0.1)], "callbacks"),
        (HELD_OUT, [tl.EarlyStopping(4, "validation_loss"), StopBelow(0.1)], "callbacks"),
        (HELD_OUT, [tl.EarlyStopping(4, "train_loss", 0.1), StopBelow(0.1)], "callbacks"),
        (HELD_OUT, [tl.EarlyStopping(4, "train_loss"), StopBelow(0.2)], "callbacks"),
        (HELD_OUT, [StopBelow(0.1), tl.EarlyStopping(4, "train_loss")], "callbacks"),
        (HELD_OUT, [tl.EarlyStopping(4, "train_loss")], "callbacks"),
        (HELD_OUT, [], "callbacks"),
    ],
)
def test_a_training_with_other_validation_data_or_callbacks_is_not_resumed(validation, callbacks, difference, tmp_path):
    path = tmp_path / "checkpoint"
    watching = [tl.EarlyStopping(4, "train_loss"), StopBelow(0.1)]
    make_trainer().fit(X, Y, validation=HELD_OUT, callbacks=[tl.Checkpoint(path), *watching], epochs=2)
    with pytest.raises(tl.WeightsError, match=f"another training; it differs in {difference}$"):
        make_trainer().fit(X, Y, validation=validation, callbacks=[tl.Checkpoint(path), *callbacks], resume=path)


def test_callbacks_that_only_watch_may_differ_in_a_resumed_training(tmp_path):
    stopping = tl.EarlyStopping(4, "train_loss")
    make_trainer().fit(X, Y, callbacks=[tl.Checkpoint(tmp_path / "first"), stopping], epochs=2)
    resumed, whole = make_trainer(), make_trainer()
    again = tl.EarlyStopping(4, "train_loss")
    callbacks = [tl.ProgressBar(), again, tl.Checkpoint(tmp_path / "second", every=2)]
    resumed.fit(X, Y, callbacks=callbacks, resume=tmp_path / "first")
    whole.fit(X, Y)
    assert (weights(resumed) == weights(whole)).all()
    assert again.best_epoch == 5


# Losses that are not finite


def test_the_first_loss_that_is_not_finite_stops_the_training_and_keeps_the_weights():
    trainer = make_trainer(scheduler=tl.ConstantLR(1e200), batch_size=4, shuffle=False)
    trainer.optimizer.hooks.clear()
    with pytest.raises(tl.NonFiniteLossError, match=r"in batch \d of epoch 1 \(counted from 1\)") as failure:
        trainer.fit(X, Y)
    assert failure.value.epoch == 1
    assert failure.value.batch in (2, 3)
    assert isinstance(failure.value, ArithmeticError)
    copy = pickle.loads(pickle.dumps(failure.value))
    assert (copy.epoch, copy.batch, str(copy)) == (failure.value.epoch, failure.value.batch, str(failure.value))


def test_weights_that_overflow_in_the_last_batch_do_not_pass():
    trainer = make_trainer(scheduler=tl.ConstantLR(1e308), batch_size=None, epochs=1, shuffle=False)
    trainer.optimizer.hooks.clear()
    with pytest.raises(tl.NonFiniteLossError, match=r"^hidden1.weight is not finite after the updates of epoch 1"):
        trainer.fit(X, 1e3 * Y)


class SmallestLoss(tl.Layer):
    """A layer whose buffer begins as infinite."""

    def __init__(self):
        self.smallest = tl.Buffer(np.inf)
        self.factor = tl.Tensor(1.0, requires_grad=True)

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize("optimizer", [tl.Adam, tl.AdamW, tl.RMSprop])
def test_a_running_mean_that_overflows_does_not_freeze_its_parameter_silently(optimizer, engine):
    def make():
        net = SmallestLoss()
        return tl.Trainer(net, tl.MeanAbsoluteError(), optimizer=optimizer(net.parameters()), engine=engine, epochs=2)

    x = np.full((4, 1), 1e160)  # the slope of the loss
    with pytest.raises(tl.NonFiniteLossError, match=r"^the optimizer's square.0 is not finite after the updates of epoch 2"):
        make().fit(x, 0.0 * x)
    errors = tl.fit_lanes([make(), make()], [(x, 0.0 * x), (1e-160 * x, 0.0 * x)])
    assert [error and error.name for error in errors] == ["the optimizer's square.0", None]


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_running_variance_that_overflows_does_not_pass(engine):
    net = tl.Sequential(tl.BatchNorm(1))
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), engine=engine, epochs=2)
    with pytest.raises(tl.NonFiniteLossError, match=r"^0.running_variance is not finite after the updates of epoch 2"):
        trainer.fit([[1e200], [0.0]], [0.0, 0.0])


# Bad input


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X, Y[:-1], ValueError, "x has 24 samples and y has 23 samples"),
        ([[1.0], [1.0, 2.0]], [1.0, 2.0], ValueError, "x is ragged"),
        (["a", "b"], [1.0, 2.0], TypeError, r"x holds 'a' at \(0,\), expected real numbers; encode text"),
        ([1.0, 2.0], [1j, 2.0], TypeError, "y has dtype complex128"),
        ([1.0, np.nan], [1.0, 2.0], ValueError, r"x holds nan at \(1,\), expected finite numbers"),
        ([1.0, 2.0], [1.0, -np.inf], ValueError, r"y holds -inf at \(1,\)"),
        ([], [], ValueError, r"x has shape \(0,\), expected at least one sample"),
        (1.0, 1.0, ValueError, r"x has shape \(\)"),
        (np.ones((3, 2)), np.ones(3), ValueError, r"Linear\(1, 6\): input has 2 features, expected 1"),
        (np.ones(3), np.ones((3, 2)), ValueError, r"HalfSquaredError: prediction has shape \(3, 1\), target \(3, 2\)"),
    ],
)
def test_data_that_do_not_fit_are_refused(x, y, error, message):
    trainer = make_trainer()
    before = weights(trainer)
    with pytest.raises(error, match=message) as failure:
        trainer.fit(x, y)
    assert "\n" not in str(failure.value)
    with pytest.raises(error):
        trainer.fit(X, Y, validation=(x, y))
    assert (weights(trainer) == before).all()


@pytest.mark.parametrize("sample_weight", [np.ones(3), -np.ones(24), np.zeros(24), np.full(24, np.nan), np.ones((24, 1))])
def test_sample_weights_that_do_not_fit_are_refused(sample_weight):
    with pytest.raises(ValueError, match="sample_weight"):
        make_trainer().fit(X, Y, sample_weight=sample_weight)


def test_shuffle_is_a_bool():
    with pytest.raises(TypeError, match="Trainer: shuffle is 'no', expected True or False"):
        make_trainer(shuffle="no")


@pytest.mark.parametrize("value", [0, -1, 1.5, "ten", True])
def test_counts_that_are_no_positive_integers_are_refused(value):
    for name in ("epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"Trainer: {name} is {value!r}, expected a positive integer"):
            make_trainer(**{name: value})
    with pytest.raises(ValueError, match="epochs"):
        make_trainer().fit(X, Y, epochs=value)
    with pytest.raises(ValueError, match="patience"):
        tl.EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="every"):
        tl.Checkpoint("x.npz", every=0)


def test_objects_of_the_wrong_kind_are_refused():
    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    other = tl.Linear(1, 1, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match="Trainer: loss is 'mse', expected a Loss"):
        tl.Trainer(net, "mse", optimizer=tl.SGD(net.parameters()))
    with pytest.raises(ValueError, match="parameters that the model does not have"):
        tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(other.parameters()))


def test_an_unwritable_checkpoint_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="missing"):
        make_trainer().fit(X, Y, callbacks=[tl.Checkpoint(tmp_path / "missing" / "checkpoint.npz")])


def test_history_plots_its_losses():
    axes = make_trainer().fit(X, Y, validation=VALIDATION).plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train loss", "validation loss"]
    assert axes.get_yscale() == "log"


class HalfUsed(tl.Layer):
    def __init__(self):
        self.used = tl.Linear(1, 1, rng=np.random.default_rng(0))
        self.idle = tl.Linear(1, 1, rng=np.random.default_rng(0))

    def forward(self, x):
        return self.used(x) + self.idle(x).detach()


@pytest.mark.parametrize("engine", ["eager", "replay", "auto"])
def test_parameters_on_which_the_loss_does_not_depend_are_named(engine):
    net = HalfUsed()
    one = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=2, engine=engine)
    with pytest.warns(UserWarning, match=r"does not depend on idle\.weight, idle\.bias, so this step does not train them"):
        one.fit([1.0, 2.0], [1.0, 3.0])
    frozen = HalfUsed()
    for parameter in frozen.idle.parameters():
        parameter.requires_grad = False
    one = tl.Trainer(frozen, tl.HalfSquaredError(), optimizer=tl.SGD(frozen.parameters(), lr=0.1), epochs=2, engine=engine)
    one.fit([1.0, 2.0], [1.0, 3.0])
