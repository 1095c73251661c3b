"""Blocks of updates on the compiled engine: where they are cut decides nothing."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.compilation import compiling
from tests.helpers.lanes import Jump, X, Y, data, fit_alone, maker, near, network, one_feature, report_trainer, state_of
from tinygrad_lab.training.engines import compiled


def blocks(monkeypatch, calls, samples):
    """Fix the number of updates in a native call, and that of samples in a run of the engine."""
    monkeypatch.setattr(
        compiled.Loops, "_updates_per_call", property(lambda self: calls, lambda self, value: None), raising=False
    )
    monkeypatch.setattr(compiled.CompiledEngine, "samples_per_run", samples)


SIZES = [(1, 1), (1, 100_000), (7, 1), (7, 50), (7, 100_000), (100_000, 7), (100_000, 100_000)]


def compiled_states(make, monkeypatch, given=None):
    given = data(0) if given is None else given
    states = []
    for calls, samples in SIZES:
        blocks(monkeypatch, calls, samples)
        states.append(fit_alone(make(0), given))
    assert all(state == states[0] for state in states)
    return states[0]


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_the_length_of_a_block_decides_nothing(batch_size, interpreted, monkeypatch):
    compiled_states(maker("adam", engine="compiled", batch_size=batch_size, epochs=5), monkeypatch)


@compiling
def test_the_length_of_a_compiled_block_decides_nothing(monkeypatch):
    compiled_states(lambda i: report_trainer(3, epochs=30), monkeypatch, one_feature(0))


@pytest.mark.parametrize(
    ("sample", "batch"),
    [(0, (1, 1)), (4, (1, 2)), (19, (1, 5)), (20, (1, 6)), (22, (1, 6))],  # the last two in the smaller last batch
)
def test_a_loss_of_the_first_epoch_that_is_not_finite(sample, batch, interpreted, monkeypatch):
    x, y = data(0)
    y = y.copy()
    y[sample] = 1e160
    options = {"batch_size": 4, "shuffle": False, "epochs": 3}
    state = compiled_states(maker("momentum", engine="compiled", **options), monkeypatch, (x, y))
    assert state["error"][:2] == batch
    assert "history lr" not in state
    near(state, fit_alone(maker("momentum", **options)(0), (x, y)))


@pytest.mark.parametrize(
    ("batch_size", "samples", "epoch", "where", "finished"),
    [
        (1, 23, 0, (1, 2), 0),
        (1, 23, 2, (3, 2), 2),
        (4, 23, 3, (4, 2), 3),
        (22, 23, 3, (4, 2), 3),  # the last batch of the last epoch, of a size of its own
        (12, 24, 3, (4, 2), 3),  # the last batch of the last epoch
        (None, 23, 1, (3, 1), 2),
        (None, 23, 3, (4, None), 4),  # no loss, but the last update
    ],
)
def test_a_loss_in_a_block_that_is_not_finite(batch_size, samples, epoch, where, finished, interpreted, monkeypatch):
    def make(engine):
        return maker(
            "momentum", "none", "none", lambda i: Jump(epoch, 1e200 if where[1] else 1e308), engine=engine, epochs=4,
            net=lambda i: network(i, activation="relu"), batch_size=batch_size,
        )  # fmt: skip

    given = (X[:samples], Y[:samples] * (1.0 if where[1] else 1e3))
    state = compiled_states(make("compiled"), monkeypatch, given)
    assert state["error"][:2] == where
    assert state.get("history lr", [(0,)])[0] == (finished,)
    if where[1]:
        near(state, fit_alone(make("replay")(0), given))
    else:
        assert state["error"] == fit_alone(make("replay")(0), given)["error"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_validation_and_callbacks_come_after_every_epoch_of_a_compiled_training(batch_size, interpreted):
    class Watch(tl.Callback):
        def __init__(self):
            self.seen = []

        def on_epoch_end(self, run):
            loss = run.trainer.evaluate(X, Y)
            assert run.history.last("validation_loss") == pytest.approx(loss, 1e-12)
            self.seen.append((run.history.epochs, run.history.last("lr")))
            return ""

    trainers = {engine: maker(engine=engine, batch_size=batch_size, epochs=4)(0) for engine in ("replay", "compiled")}
    for trainer in trainers.values():
        watch = Watch()
        trainer.fit(*data(0), validation=(X, Y), callbacks=[watch])
        assert watch.seen == [(i + 1, trainer.scheduler(i)) for i in range(4)]
    near(state_of(trainers["compiled"], None), state_of(trainers["replay"], None))


class _Interrupt(tl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_seen(self, run):
        if run.history.epochs == self.epochs:
            raise KeyboardInterrupt


def test_a_compiled_training_resumes_to_the_same_bits(interpreted, tmp_path):
    make = maker("adam", engine="compiled", batch_size=4, epochs=5)
    whole, first, second = (make(0) for _ in range(3))
    whole.fit(*data(0))
    with pytest.raises(KeyboardInterrupt):
        first.fit(*data(0), callbacks=[tl.Checkpoint(tmp_path / "c"), _Interrupt(2)])
    assert first.history.epochs == 2
    second.fit(*data(0), callbacks=[tl.Checkpoint(tmp_path / "c"), _Interrupt(-1)], resume=tmp_path / "c")
    assert state_of(second, None) == state_of(whole, None)


def test_an_interruption_within_a_block_leaves_the_weights_where_the_history_ends(interpreted, monkeypatch):
    blocks(monkeypatch, 100_000, 50)  # of two epochs, of two native calls each
    make = maker("adam", engine="compiled", batch_size=4, epochs=9)
    trainer, expected = make(0), make(0)
    expected.fit(*data(0), epochs=2)
    made = []

    def run(self, *arguments, run=compiled.Loops.run):
        made.append(run(self, *arguments))
        if len(made) == 6:
            raise KeyboardInterrupt
        return made[-1]

    monkeypatch.setattr(compiled.Loops, "run", run)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*data(0))
    assert trainer.history.epochs == 2
    assert trainer.model.state_dict()["0.weight"].tolist() == expected.model.state_dict()["0.weight"].tolist()
    assert trainer.optimizer.state_dict()["mean.0"].tolist() == expected.optimizer.state_dict()["mean.0"].tolist()


def test_an_attached_engine_gives_what_a_fresh_one_gives(interpreted):
    class Constant(tl.Layer):
        def __init__(self, i):
            self.inner = network(i)
            self.shift = tl.Tensor(np.full((1, 2), 0.1 * i))

        def forward(self, x):
            return self.inner(x - self.shift)

    make = maker("adam", net=Constant, engine="compiled", batch_size=4)
    trainers = [make(i) for i in range(3)]
    engine = trainers[0].prepare(*data(0)).make_engine()
    for i in (0, 2, 1):
        training = trainers[i].prepare(*data(i))
        trainers[i].begin(training)
        engine.attach(trainers[i])
        training.train(engine)
        assert state_of(trainers[i], None) == fit_alone(make(i), data(i))
        assert engine.evaluate([X, Y]) == pytest.approx(trainers[i].evaluate(X, Y), 1e-12)
