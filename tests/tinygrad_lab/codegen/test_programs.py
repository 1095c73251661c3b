"""Small and random programs: their loops compute what a replay computes."""

import contextlib

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.loops import check_against_replay, names, run_once, source_of
from tinygrad_lab import Tensor
from tinygrad_lab.codegen import NoLoopFormError
from tinygrad_lab.program import capture


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a.reshape(2, 1, 3, 1).exp().sum(),
        lambda a, b: a.T.exp().sum(axis=0).max(),
        lambda a, b: (a.max(axis=1, keepdims=True) + b).log().sum(),
        lambda a, b: (a.sum(axis=0) @ b.sum(axis=0)).exp(),
        lambda a, b: (a @ b.T).exp().sum(),
        lambda a, b: (a @ b.T).transpose(0, 1).exp().sum() + (a @ b.T).T.square().sum(),
        lambda a, b: (a @ np.ones((3, 2))).exp().sum(),
        lambda a, b: (a * np.arange(6.0).reshape(2, 3)).sum() + (b * np.arange(6.0).reshape(2, 3)).max(),
        lambda a, b: (a > b).astype(np.float64).sum() + np.inf,
        lambda a, b: (a * -np.inf).sum() + (b * np.nan).max(),
        lambda a, b: (Tensor(np.arange(6.0).reshape(2, 3)).T.max(axis=0) * a.sum(axis=1)).sum() + b.sum(),
        lambda a, b: a.sum() ** -0.5 + (-2.0) ** (a.sum(axis=1).max() + 1.0),
        lambda a, b: (a.sum(axis=1, keepdims=True) @ b.sum(axis=0, keepdims=True)).square().sum(),
        lambda a, b: tl.minimum(a, b).sum() - tl.maximum(a, b).square().sum(),
        lambda a, b: tl.maximum(a, b * np.nan).sum(),
        lambda a, b: tl.maximum(a * np.nan, b).sum(),
        lambda a, b: tl.minimum(a, b * np.nan).sum(),
        lambda a, b: tl.minimum(a * np.nan, b).sum(),
        lambda a, b: (a * np.nan).sign().sum() + b.sum(),
        lambda a, b: (a - 3.0).sign().sum() + b.sign().sum(),
    ],
)
def test_small_programs_equal_replay(function):
    a, b = Tensor(np.arange(6.0).reshape(2, 3) + 1.0), Tensor(np.arange(6.0)[::-1].reshape(2, 3) - 2.5)
    check_against_replay(capture(lambda: ({"loss": function(a, b)}, {}), {"a": a, "b": b}, {}))


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize(
    "x",
    [
        [[1.0, -2.0, 3.0], [4.0, -2.0, 3.0]],
        [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]],  # ties
        [[1.0, np.nan, 3.0], [4.0, 5.0, np.nan]],
        [[np.nan, 1.0, -np.inf], [np.inf, np.nan, np.inf]],
        [[np.inf, np.inf, -np.inf], [np.inf, -np.inf, -np.inf]],
    ],
    ids=["distinct", "ties", "nan", "nan and inf", "inf"],
)
def test_maxima_and_minima_with_their_gradients_equal_replay(name, axis, x):
    x, w = Tensor(x, requires_grad=True), Tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.25]])

    def step():
        extremum = getattr(x, name)(axis=axis, keepdims=True)
        (slope,) = tl.grad((extremum.broadcast_to(x.shape) * w).sum(), [x])
        return {"loss": extremum.sum()}, {"x": slope}

    with np.errstate(all="ignore"):
        program = capture(step, {"w": w}, {"x": x})
        assert f"reduce_{name}" in names(program)
        assert f"= {name}(" in source_of(program)
        bound = program.bind()
        expected = bound.run()["loss"]
        bound.commit()
        loss, state = run_once(program)
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(state["x"], bound.state["x"])


# Random programs


def random_program(seed):
    """A program of a few random ops, with random new states. Its arrays have few lengths, so that many are equal."""
    rng = np.random.default_rng(seed)
    n, m, k = rng.integers(1, 4, 3) if seed % 2 else (2, 3, 4)
    state = {f"s{i}": Tensor(rng.normal(size=shape)) for i, shape in enumerate([(n, m), (m, k), (1, k), (k,), ()])}
    inputs = {"rate": Tensor(0.1), "a": Tensor(rng.normal(size=(n, k)))}
    ops = [
        lambda x, y, axis, keep: x * y,
        lambda x, y, axis, keep: x - y,
        lambda x, y, axis, keep: x @ y,
        lambda x, y, axis, keep: x.T,
        lambda x, y, axis, keep: x.sum(axis=axis, keepdims=keep),
        lambda x, y, axis, keep: x.max(axis=axis, keepdims=keep),
        lambda x, y, axis, keep: x.square().sum(),
        lambda x, y, axis, keep: x.tanh(),
        lambda x, y, axis, keep: tl.where(x > 0.0, x, x * 0.1),
        lambda x, y, axis, keep: x.detach(),
    ]

    def step():
        rng = np.random.default_rng([seed, 1])
        values = [*state.values(), *inputs.values()]
        for _ in range(rng.integers(3, 14)):
            x, y = (values[i] for i in rng.integers(len(values), size=2))
            with contextlib.suppress(ValueError):  # if the shapes do not fit
                values.append(ops[rng.integers(len(ops))](x, y, int(rng.integers(max(x.ndim, 1))), bool(rng.integers(2))))
        new_state = {}
        for name, old in state.items():
            fitting = [x for x in values if x.shape == old.shape]
            new = fitting[rng.integers(len(fitting))]
            new_state[name] = new - 0.1 * old if rng.random() < 0.3 else new
        return {"loss": values[-1].sum()}, new_state

    return capture(step, inputs, state)


@pytest.mark.parametrize("start", [0, 100, 200])
def test_random_programs_equal_replay(start):
    refused = 0
    for seed in range(start, start + 100):
        program = random_program(seed)
        try:
            check_against_replay(program, f"seed {seed}")
        except NoLoopFormError:  # one dimension on two axes
            refused += 1
    assert refused < 10
