"""Derivatives at points where they are a matter of choice: one test for each row of the table in docs/numerics.md."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers import ROOT
from tinygrad_lab import Tensor


def slope(function, *point):
    """Return the derivatives of a scalar function at a point."""
    variables = [Tensor(x, requires_grad=True) for x in point]
    return [float(g.data) if not g.ndim else g.data.tolist() for g in tl.grad(function(*variables), variables)]


CHOICES = {
    "relu at 0": (lambda x: x.relu(), [0.0], [0.0]),
    "abs at 0": (lambda x: x.abs(), [0.0], [0.0]),
    "leaky relu at 0": (lambda x: tl.LeakyReLU(0.05)(x), [0.0], [0.05]),
    "elu at 0": (lambda x: tl.ELU(0.5)(x), [0.0], [0.5]),
    "sign": (lambda x: x.sign() * x, [3.0], [1.0]),
    "ties of max": (lambda x: x.max(), [[2.0, 1.0, 2.0]], [[0.5, 0.0, 0.5]]),
    "ties of min": (lambda x: x.min(), [[1.0, 1.0, 2.0, 1.0]], [[1 / 3, 1 / 3, 0.0, 1 / 3]]),
    "maximum at equality": (lambda x, y: tl.maximum(x, y), [1.0, 1.0], [0.5, 0.5]),
    "minimum at equality": (lambda x, y: tl.minimum(x, y), [1.0, 1.0], [0.5, 0.5]),
    "clip at its lower bound": (lambda x: x.clip(-1.0, 1.0), [-1.0], [0.0]),
    "clip at its upper bound": (lambda x: x.clip(-1.0, 1.0), [1.0], [0.0]),
    "clip between": (lambda x: x.clip(-1.0, 1.0), [0.5], [1.0]),
    "norm at 0": (lambda x: x.norm(), [[0.0, 0.0]], [[0.0, 0.0]]),
    "std of equal elements": (lambda x: x.std(), [[2.0, 2.0]], [[0.0, 0.0]]),
    "x ** 0 at 0": (lambda x: x**0.0, [0.0], [0.0]),
    "x ** 0 elsewhere": (lambda x: x**0.0, [2.0], [0.0]),
    "0 ** y": (lambda y: Tensor(0.0) ** y, [2.0], [0.0]),
    "x ** 1 at 0": (lambda x: x**1.0, [0.0], [1.0]),
    "x ** 3 of a negative": (lambda x: x**3.0, [-2.0], [12.0]),
    "prod with a zero": (lambda x: x.prod(), [[2.0, 0.0, 3.0]], [[0.0, 6.0, 0.0]]),
    "softplus at 0": (lambda x: x.softplus(), [0.0], [0.5]),
    "mean absolute error at 0": (lambda x: tl.MeanAbsoluteError()(x, [[1.0]]), [[[1.0]]], [[[0.0]]]),
    "huber at delta": (lambda x: tl.Huber(1.0)(x, [[0.0]]), [[[1.0]]], [[[1.0]]]),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_choice(choice):
    function, point, expected = CHOICES[choice]
    assert slope(function, *point) == expected


def test_where_selects_and_never_multiplies_by_the_mask():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = tl.where(np.array([True, False]), x, 0.0)
    assert tl.grad(y, [x], cotangent=[3.0, np.inf])[0].data.tolist() == [3.0, 0.0]  # 0 * inf would be nan


def test_clipping_gradients_of_zero_has_a_finite_derivative():
    g = Tensor([0.0, 0.0], requires_grad=True)
    (clipped,) = tl.ClipGradNorm(1.0)([g])
    assert clipped.data.tolist() == [0.0, 0.0]
    assert tl.grad(clipped.sum(), [g])[0].data.tolist() == [1.0, 1.0]


def test_nan_is_never_hidden():
    x = Tensor([np.nan])
    for y in (x.relu(), x.clip(-1.0, 1.0), x.max(), tl.maximum(x, 0.0), tl.LeakyReLU()(x), tl.ELU()(x), x.sign()):
        assert np.isnan(y.data).all()


def test_large_arguments_have_finite_derivatives():
    for name in tl.ACTIVATIONS:
        for point in (-1000.0, 1000.0):
            assert np.isfinite(slope(tl.get_activation(name), point)).all(), name


def test_the_table_in_the_docs_has_a_row_for_each_choice():

    table = (ROOT / "docs" / "numerics.md").read_text()
    rows = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")}
    assert set(CHOICES) <= rows
