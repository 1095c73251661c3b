"""Interrupts within an epoch: all engines go back to the end of the last finished epoch, so that a checkpoint is consistent."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.storage.arrays import arrays_from_bytes
from tinygrad_lab.training import Run, checkpoint_bytes
from tinygrad_lab.training.engines.eager import EagerEngine
from tinygrad_lab.training.engines.engine import Engine
from tinygrad_lab.training.engines.replay import ReplayEngine
from tinygrad_lab.training.lanes import ReplayLanes

X = np.random.default_rng(1).normal(size=(20, 3))
Y = X[:, :1] ** 2
ENGINES = ["eager", "replay", "compiled"]


class Counting(tl.Layer):
    """Counts its calls, and acts on the count."""

    def __init__(self):
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1.0 if self.calls < 12 else 0.5)


def make_trainer(engine, *, layer=tl.Tanh, validation=False, **options):
    rng = np.random.default_rng(0)
    net = tl.Sequential(tl.Linear(3, 4, rng=rng), layer(), tl.Linear(4, 1, rng=rng))
    settings = {"epochs": 6, "batch_size": 4, "scheduler": tl.GeometricDecay(0.1, 0.01, epochs=6)} | options
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.Adam(net.parameters()), engine=engine, **settings)


class Alarm:
    """Presses Ctrl-C at the n-th call of a function."""

    def __init__(self, monkeypatch, owner, name, call):
        function = getattr(owner, name)
        self.left = call

        def patched(*args, **options):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return function(*args, **options)

        monkeypatch.setattr(owner, name, patched)


def state_of(trainer):
    numbers = trainer.model.state_dict() | trainer.optimizer.state_dict() | dict(trainer.history)
    return {name: x.tolist() for name, x in numbers.items()} | {"rate": trainer.optimizer.lr.item()}


def check_interrupted(
    monkeypatch, engine, owner, name, call, finished, *, validation=None, layer=tl.Tanh, error=KeyboardInterrupt
):
    """Interrupt a training, compare it with one that ends there, and resume it."""
    whole, first, short, second = (make_trainer(engine, layer=layer) for _ in range(4))
    whole.fit(X, Y, validation=validation)
    run = first.prepare(X, Y, validation)
    first.begin(run)
    with monkeypatch.context() as patch:
        Alarm(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            run.train()
    checkpoint = checkpoint_bytes(run)
    assert first.history.epochs == finished
    if finished:
        short.fit(X, Y, validation=validation, epochs=finished)
        assert state_of(first) == state_of(short)
    if validation is None:
        tl.fit_lanes([second], [(X, Y)], resume=[checkpoint])
        assert state_of(second) == state_of(whole)


@pytest.mark.parametrize("layer", [tl.Tanh, Counting])
@pytest.mark.parametrize(("call", "finished"), [(1, 0), (3, 0), (6, 1), (10, 1), (14, 2)])
def test_an_update_of_the_eager_engine(call, finished, layer, monkeypatch):
    check_interrupted(monkeypatch, "eager", EagerEngine, "commit", call, finished, layer=layer)


@pytest.mark.parametrize(("call", "finished"), [(1, 0), (3, 0), (6, 1), (10, 1), (14, 2)])
def test_an_update_of_the_replay_engine(call, finished, monkeypatch):
    check_interrupted(monkeypatch, "replay", ReplayEngine, "commit", call, finished)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["evaluate", "record"])
def test_what_comes_after_the_updates(name, engine, monkeypatch, interpreted):
    owner = Run if name == "record" else {"eager": EagerEngine}.get(engine, ReplayEngine.__mro__[1])
    check_interrupted(monkeypatch, engine, owner, name, 3, 2, validation=(X[:5], Y[:5]))


@pytest.mark.parametrize("engine", ENGINES)
def test_records_of_epochs_that_were_trained_together(engine, monkeypatch, interpreted):
    finished = {"compiled": 0}.get(engine, 3)  # all epochs are one native call
    check_interrupted(monkeypatch, engine, Run, "record", 4, finished)


class Fails(tl.Callback):
    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, run):
        if run.history.epochs == 3:
            for parameter in run.trainer.optimizer.parameters:
                parameter.assign(2.0 * parameter)
            raise self.error
        return ""


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_exception_in_a_callback_leaves_a_finished_epoch(engine, error, interpreted):
    trainers = [make_trainer("eager"), make_trainer(engine)]
    for trainer in trainers:
        with pytest.raises(error):
            trainer.fit(X, Y, callbacks=[Fails(error)])
    eager, trainer = trainers
    assert trainer.history.epochs == 3
    for name, value in eager.model.state_dict().items():  # with what the callback has changed
        np.testing.assert_allclose(trainer.model.state_dict()[name], value, rtol=1e-12)


def test_lanes(monkeypatch):
    def make(i):
        return make_trainer("replay", epochs=4 + i)

    lanes, short = [make(i) for i in range(3)], [make(i) for i in range(3)]
    with monkeypatch.context() as patch:
        Alarm(patch, ReplayLanes, "_update", 13)
        with pytest.raises(KeyboardInterrupt):
            tl.fit_lanes(lanes, [(X, Y)] * 3)
    tl.fit_lanes(short, [(X, Y)] * 3, until=2)
    for lane, other in zip(lanes, short, strict=True):
        one, two = state_of(lane), state_of(other)
        del one["rate"], two["rate"]  # the next epoch sets it
        assert one == two


def test_each_engine_can_go_back():
    """A new engine must define it."""
    assert {"mark", "go_back"} <= Engine.__abstractmethods__


class Diverge(tl.Scheduler):
    def __call__(self, epoch):
        return 0.01 if epoch < 2 else 1e200


@pytest.mark.parametrize("engine", ENGINES)
def test_no_checkpoint_of_a_training_that_ended_within_an_epoch(engine, interpreted):
    trainer = make_trainer(engine, layer=tl.ReLU, scheduler=Diverge())
    trainer.optimizer = tl.SGD(trainer.model.parameters())
    run = trainer.prepare(X, Y)
    with pytest.raises(tl.NonFiniteLossError):
        run.train()
    with pytest.raises(
        ValueError,
        match="no checkpoint can be made, since the training ended within epoch 3; use an earlier",
    ):
        checkpoint_bytes(run)
    lane = make_trainer(engine, layer=tl.ReLU, scheduler=Diverge())
    lane.optimizer = tl.SGD(lane.model.parameters())
    [ended] = tl.lanes_as_completed([lane], [(X, Y)])
    with pytest.raises(ValueError, match="no checkpoint can be made, since .* epoch 3"):
        checkpoint_bytes(ended[0])


class KeepRun(tl.Callback):
    def on_fit_end(self, run):
        self.run = run


@pytest.mark.parametrize("engine", ENGINES)
def test_a_checkpoint_after_early_stopping_is_consistent_or_refused(engine, interpreted):
    keep = KeepRun()
    trainer = make_trainer(engine, scheduler=None, epochs=100)
    stopping = tl.EarlyStopping(3)
    trainer.fit(X, Y, validation=(X[:5], -Y[:5]), callbacks=[stopping, keep])
    assert stopping.best_epoch < trainer.history.epochs - 1
    with pytest.raises(ValueError, match=f"since EarlyStopping has put back the weights of epoch {stopping.best_epoch + 1};"):
        checkpoint_bytes(keep.run)
    trainer = make_trainer(engine)
    trainer.fit(X, Y, callbacks=[tl.EarlyStopping(3, "train_loss"), keep])  # the last epoch was the best
    arrays, _ = arrays_from_bytes(checkpoint_bytes(keep.run))
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(arrays[f"model.{name}"], value)
