"""Callbacks: metrics of one's own in the history, and early stopping over more than one fit."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.training.history import History

X = np.random.default_rng(1).normal(size=(20, 3))
Y = X[:, :1] ** 2
HELD_OUT = (X[:5], -Y[:5])  # a target that training moves away from


def make_trainer(**options):
    rng = np.random.default_rng(0)
    net = tl.Sequential(tl.Linear(3, 4, rng=rng), tl.Tanh(), tl.Linear(4, 1, rng=rng))
    settings = {"epochs": 6, "batch_size": 4} | options
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.05), **settings)


class Record(tl.Callback):
    """Records the number of the epoch, every few epochs."""

    def __init__(self, every=1, name="metric", sign=1.0):
        self.every, self.name, self.sign = every, name, sign

    def on_epoch_end(self, run):
        if run.history.epochs % self.every == 0:
            run.history.record(**{self.name: self.sign * run.history.epochs})
        return ""


@pytest.mark.parametrize("engine", ["eager", "replay", "compiled"])
def test_metrics_of_the_current_epoch(engine, interpreted):
    plain = make_trainer(engine=engine).fit(X, Y)
    history = make_trainer(engine=engine).fit(X, Y, callbacks=[Record(), Record(2, "second")])
    assert history.epochs == 6
    assert history["metric"].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(history["second"], [np.nan, 2, np.nan, 4, np.nan, 6])
    np.testing.assert_array_equal(history["train_loss"], plain["train_loss"])
    assert "metric" in [text.get_text() for text in history.plot().get_legend().get_texts()]


def test_metrics_go_into_checkpoints(tmp_path):
    path = tmp_path / "checkpoint"
    whole, first, second = (make_trainer() for _ in range(3))
    expected = whole.fit(X, Y, callbacks=[Record(2)])
    first.fit(X, Y, callbacks=[Record(2), tl.Checkpoint(path)], epochs=3)
    history = second.fit(X, Y, callbacks=[Record(2), tl.Checkpoint(path)], resume=path)
    assert list(history) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(history[name], expected[name])


def test_early_stopping_monitors_a_metric():
    stopping = tl.EarlyStopping(2, "metric")
    make_trainer().fit(X, Y, callbacks=[Record(), stopping])
    assert stopping.best_epoch == 0
    with pytest.raises(ValueError, match="monitors 'metric', but the epoch has train_loss, lr; .* put the callback that rec"):
        make_trainer().fit(X, Y, callbacks=[tl.EarlyStopping(2, "metric"), Record()])


@pytest.mark.parametrize("name", ["train_loss", "validation_loss", "lr"])
def test_names_of_the_training_are_refused(name):
    with pytest.raises(ValueError, match=f"^History.record: {name} is recorded by the training, expected another name$"):
        make_trainer().fit(X, Y, callbacks=[Record(name=name)])


@pytest.mark.parametrize("value", ["1.0", None, [1.0], 1j, np.ones(2), object()])
def test_values_that_are_no_numbers_are_refused(value):
    history = History()
    history._add_epoch(train_loss=1.0)
    with pytest.raises(TypeError, match=r"^History.record: metric is .*, expected a number$"):
        history.record(good=1.0, metric=value)
    assert list(history) == ["train_loss"]
    history.record(metric=tl.Tensor(2.0), other=np.float32(1.5), third=float("nan"))
    assert history.last("metric") == 2.0


def test_a_metric_belongs_to_an_epoch():
    with pytest.raises(ValueError, match=r"^History.record: no epoch has been finished, expected a call from on_epoch_end$"):
        History().record(metric=1.0)
    assert not hasattr(History(), "append")  # a callback that added a row would use up an epoch


# Early stopping


@pytest.mark.parametrize("min_delta", [-1e-9, -1.0, float("nan"), "small"])
def test_min_delta_is_not_negative(min_delta):
    with pytest.raises(ValueError, match="EarlyStopping: min_delta is .*, expected a number of at least 0"):
        tl.EarlyStopping(3, min_delta=min_delta)


@pytest.mark.parametrize("restore", [True, False])
def test_a_fit_that_goes_on_must_get_better_than_the_best_epoch_so_far(restore):
    trainer = make_trainer(epochs=100)
    stopping = tl.EarlyStopping(3, restore_best=restore)
    first = trainer.fit(X, Y, validation=HELD_OUT, callbacks=[stopping])
    best, weights = stopping.best_value, stopping.state_dict()
    assert best == first["validation_loss"].min()
    trainer.optimizer.lr = 1.0  # the next epochs are worse
    second = trainer.fit(X, Y, validation=HELD_OUT, callbacks=[stopping])
    assert second["validation_loss"].min() > best
    assert (stopping.best_value, stopping.best_epoch, second.epochs) == (best, -1, 3)
    if restore:
        assert trainer.evaluate(*HELD_OUT) == best
        for name, value in trainer.model.state_dict().items():
            np.testing.assert_array_equal(value, weights[f"weights.{name}"])
    trainer.optimizer.lr = 0.01
    trainer.fit(X, Y, validation=(X[:5], Y[:5]), callbacks=[stopping], epochs=2)  # other data begin anew
    assert stopping.best_epoch >= 0


def test_another_training_with_the_same_callback_begins_anew():
    stopping = tl.EarlyStopping(3)
    for seed in range(2):
        trainer = make_trainer(epochs=100, seed=seed)
        history = trainer.fit(X, Y, validation=HELD_OUT, callbacks=[stopping])
        assert stopping.best_value == history["validation_loss"].min()
        assert stopping.best_epoch == history["validation_loss"].argmin()


def test_a_resumed_training_keeps_the_best_epoch(tmp_path):
    path = tmp_path / "checkpoint"
    whole, first, second = (make_trainer(epochs=100) for _ in range(3))
    expected = tl.EarlyStopping(6)
    history = whole.fit(X, Y, validation=HELD_OUT, callbacks=[expected])
    stopped = history.epochs - 2
    first.fit(X, Y, validation=HELD_OUT, callbacks=[tl.EarlyStopping(6), tl.Checkpoint(path)], epochs=stopped)
    again = tl.EarlyStopping(6)
    second.fit(X, Y, validation=HELD_OUT, callbacks=[again], resume=path)
    assert (again.best_value, again.best_epoch) == (expected.best_value, expected.best_epoch)
    assert second.history.stop_reason == history.stop_reason


class StopsAt(tl.Callback):
    def __init__(self, epoch, reason="enough"):
        self.epoch = epoch
        self.reason = reason

    def on_epoch_end(self, run):
        return self.reason if run.history.epochs >= self.epoch else ""


def test_all_callbacks_see_the_epoch_in_which_one_of_them_stops():
    class Recorder(tl.Callback):
        only_watches = True

        def on_epoch_end(self, run):
            run.history.record(seen=1.0)
            return "later"

    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    one = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=5)
    history = one.fit([1.0, 2.0], [1.0, 3.0], callbacks=[StopsAt(1), Recorder()])
    assert (history["seen"].tolist(), history.stop_reason) == ([1.0], "enough")


def test_a_reason_that_is_no_text_is_refused():
    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    one = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=5)
    with pytest.raises(TypeError, match="StopsAt: on_epoch_end returned True, expected a reason to stop, as text"):
        one.fit([1.0, 2.0], [1.0, 3.0], callbacks=[StopsAt(1, True)])


def test_a_state_that_is_no_dict_of_arrays_is_refused(tmp_path):
    class Half(tl.Callback):
        def state_dict(self):
            return {"half": 0.5}

    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    one = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=5)
    with pytest.raises(TypeError, match="Half: state_dict returned no dict of arrays"):
        one.fit([1.0, 2.0], [1.0, 3.0], callbacks=[Half(), tl.Checkpoint(tmp_path / "run")])
