"""Generated loops in tests: their source, one run of them as plain Python, and their comparison with replay."""

import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tests.helpers.generated import interpret
from tinygrad_lab import Tensor
from tinygrad_lab.codegen import write_source
from tinygrad_lab.program import capture
from tinygrad_lab.training.captured import CapturedStep

RNG = np.random.default_rng(1)
X = RNG.uniform(-2.0, 2.0, (25, 3))
Y = np.stack([X[:, 0] ** 2 - X[:, 1], X[:, 2] * X[:, 0]], axis=1) + RNG.normal(0.0, 0.1, (25, 2))


def source_of(program):
    return write_source(program).text


def step_of(source):
    return source[source.index("def step") : source.index("def updates")]


def names(program):
    return [line.op.name for line in program.lines]


def run_once(program):
    """Run the loops of a program once with the captured inputs and state. Return the loss and the new state."""
    source = write_source(program)
    state = {x: np.array(x.array) for x in program.state.values()}
    arrays = [state.get(x, np.empty(x.array.shape, x.array.dtype) if x.kind == "result" else x.array) for x in source.arrays]
    assert not source.samples
    losses = np.full(1, np.nan)
    with np.errstate(all="ignore"):
        interpret(source.text).updates(np.arange(1), losses, *[x.array.reshape(1) for x in source.per_update], *arrays)
    (loss,) = losses
    return loss, {name: state[x] for name, x in program.state.items()}


def check_against_replay(program, case=""):
    bound = program.bind()
    expected = bound.run()
    bound.commit()
    loss, state = run_once(program)
    state["the loss"] = loss
    for name, array in (bound.state | {"the loss": expected["loss"]}).items():
        scale = max(1.0, np.abs(array).max())
        np.testing.assert_allclose(state[name], array, rtol=1e-12, atol=1e-13 * scale, err_msg=f"{case} {name}")


def difference(make, x=X, y=Y, sample_weight=None, callbacks=()):
    """Train by replay and by loops. Return the largest difference, relative to the largest number in its array."""
    states = []
    for engine in ("replay", "compiled"):
        trainer = make(engine)
        history = trainer.fit(x, y, sample_weight=sample_weight, callbacks=callbacks)
        states.append(trainer.model.state_dict() | {f"o.{k}": v for k, v in trainer.optimizer.state_dict().items()})
        states[-1] |= history.state_dict()
    replay, loops = states
    assert replay.keys() == loops.keys()
    assert all(np.isfinite(array).all() for array in replay.values() if array.dtype.kind == "f")
    return max(
        np.abs(replay[k] - loops[k]).max() / max(np.abs(replay[k]).max(), np.finfo(float).tiny)
        for k in replay
        if replay[k].dtype.kind == "f"
    )


def network(sizes, activation="tanh", dtype=np.float64, bias=True):
    rng = np.random.default_rng(0)
    layers = []
    for i in range(len(sizes) - 1):
        layers.append(tl.Linear(sizes[i], sizes[i + 1], bias, rng=rng, dtype=dtype))
        if i < len(sizes) - 2:
            layers.append(tl.get_activation(activation))
    return tl.Sequential(*layers)


A, B = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[0.5, 1.0], [2.0, -1.0]])


def stepped(new_state, loss=lambda w, m: (w * m).sum(), shape=(2, 3)):
    w, m = Tensor(np.arange(1.0, 7.0).reshape(shape)), Tensor(np.arange(6.0)[::-1].reshape(shape) - 2.5)
    return capture(lambda: ({"loss": loss(w, m)}, dict(zip("wm", new_state(w, m), strict=True))), {}, {"w": w, "m": m})


def report_program(hidden=(75, 50), batch_size=1, dtype=np.float64):
    net = TwoHiddenLayerNet(1, *hidden, 1, activation="leaky_relu", rng=np.random.default_rng(0), dtype=dtype)
    trainer = tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        penalty=tl.L1Penalty(1e-3, decoupled=True),
    )
    return CapturedStep(trainer).program([np.ones((batch_size, 1), dtype)] * 2)
