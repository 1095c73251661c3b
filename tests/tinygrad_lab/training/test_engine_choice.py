"""The choice of an engine: the first that is worth it and can run the step, or else the next one, with a reason."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.compilation import compiling
from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.codegen import native
from tinygrad_lab.training.engines import choice
from tinygrad_lab.training.engines.compiled import CompiledEngine

X = np.random.default_rng(1).normal(size=(12, 3))
Y = X[:, :1] ** 2


@pytest.fixture
def cube_root():
    """An op as a user may add it, whose expression Python's math knows and Numba does not."""
    op = replace(
        ops.exp,
        name="cube_root",
        run=np.cbrt,
        loop="cbrt({0})",
        vjps=(lambda g, y, x: g / (3.0 * y * y),),
        smooth=((0.25, 2.0),),
    )
    yield op
    del ops.OP_TABLE["cube_root"]


class OfAnOp(tl.Layer):
    def __init__(self, op):
        self.linear = tl.Linear(3, 1, rng=np.random.default_rng(0))
        self._apply = op

    def forward(self, x):
        return self._apply(self.linear(x).square() + 1.0)


def trainer_of(model, engine, **options):
    return tl.Trainer(
        model, tl.HalfSquaredError(), optimizer=tl.SGD(model.parameters()), epochs=3, batch_size=4, engine=engine, **options
    )


@compiling
@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_what_the_compiler_refuses_is_named_and_replayed(engine, cube_root, monkeypatch):
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 1)
    refused = trainer_of(OfAnOp(cube_root), engine)
    with pytest.warns(
        UserWarning, match=r"training by replay, since the step cannot be compiled: cube_root .*: v\d+ = cube_root\("
    ) as told:
        refused.fit(X, Y)
    assert len(told) == 1
    eager = trainer_of(OfAnOp(cube_root), "eager")
    eager.fit(X, Y)
    for name, weights in eager.model.state_dict().items():
        np.testing.assert_array_equal(refused.model.state_dict()[name], weights)


@compiling
def test_preparing_the_compiled_engine_compiles_all_that_the_training_runs():
    from numba.core import event

    trainer = trainer_of(tl.Linear(3, 1, rng=np.random.default_rng(0)), "compiled", penalty=tl.L1Penalty(1e-3))
    run = trainer.prepare(X[:10], Y[:10], validation=(X, Y))  # batches of 4, and one of 2
    listener = event.RecordingListener()
    with event.install_listener("numba:compile", listener):
        engine = run.make_engine()
        prepared = len(listener.buffer)
        run.train(engine)
    assert prepared > 0
    assert len(listener.buffer) == prepared


def test_a_step_without_a_loop_form_is_replayed_and_only_a_wish_is_answered(monkeypatch):
    class Sliced(tl.Layer):
        def __init__(self):
            self.linear = tl.Linear(3, 2, rng=np.random.default_rng(0))

        def forward(self, x):
            return self.linear(x)[:, :1]

    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 1)
    monkeypatch.setattr(native, "is_available", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer_of(Sliced(), "auto").fit(X, Y)
    with pytest.warns(UserWarning, match="training by replay, since the step cannot be compiled: getitem"):
        trainer_of(Sliced(), "compiled").fit(X, Y)


@pytest.mark.parametrize(
    ("updates", "batch_size", "available", "chosen"),
    [(4_999, 1, True, "replay"), (5_000, 32, True, "compiled"), (5_000, 33, True, "replay"), (5_000, 1, False, "replay")],
)
def test_auto_compiles_what_is_long_and_in_small_batches(updates, batch_size, available, chosen, monkeypatch):
    monkeypatch.setattr(native, "is_available", lambda: available)
    assert choice.first_engine("auto", updates, batch_size) == chosen
    assert choice.first_engine("eager", updates, batch_size) == "eager"


def test_a_step_that_replay_can_capture_is_not_said_to_train_eagerly(monkeypatch):
    """The compiled engine and the replay engine capture the same step. A refusal of the first alone is no reason to warn."""
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 1)
    monkeypatch.setattr(native, "is_available", lambda: True)
    monkeypatch.setattr(CompiledEngine, "prepare", refuse)
    run = trainer_of(tl.Linear(3, 1, rng=np.random.default_rng(0)), "auto").prepare(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.make_engine().name == "replay"


def refuse(self, batches, held_out=None):
    raise CaptureError("the first capture is refused")
