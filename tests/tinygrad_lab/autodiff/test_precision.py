"""Derivatives where a formula could lose digits: in the tails of sigmoids, and near zeros of a second derivative.

The values are from mpmath, with 50 digits. benchmarks/gradient_errors.py compares every op over its whole domain.
"""

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor

VALUES = [
    ("tanh", 20.0, 1.6993417021166355e-17, -3.398683404233271e-17),
    ("tanh", -300.0, 1.0601586212017243e-260, 2.1203172424034487e-260),
    ("tanh", 1e-20, 1.0, -2e-20),
    ("sigmoid", -300.0, 5.148200222412013e-131, 5.148200222412013e-131),
    ("sigmoid", 40.0, 4.248354255291589e-18, -4.248354255291589e-18),
    ("sigmoid", 1e-10, 0.25, -1.25e-11),
    ("softplus", 40.0, 1.0, 4.248354255291589e-18),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "point", "first", "second"), VALUES)
def test_no_digits_are_lost(name, point, first, second, dtype):
    if dtype is np.float32 and abs(point) > 100.0:
        pytest.skip("the derivative underflows in single precision")
    x = Tensor([point], requires_grad=True, dtype=dtype)
    (slope,) = tl.grad(getattr(x, name)(), [x], create_graph=True)
    (curvature,) = tl.grad(slope, [x])
    rtol = 1e-14 if dtype is np.float64 else 1e-6
    np.testing.assert_allclose(slope.data, [first], rtol=rtol)
    np.testing.assert_allclose(curvature.data, [second], rtol=rtol)


def test_extreme_arguments_give_no_warning():
    for name in ("tanh", "sigmoid", "softplus"):
        x = Tensor([-1.7e308, 1.7e308], requires_grad=True)
        (slope,) = tl.grad(getattr(x, name)().sum(), [x], create_graph=True)
        assert np.isfinite(tl.grad(slope.sum(), [x])[0].data).all()


def test_a_huge_exponent_gives_no_nan_at_order_2():
    a = Tensor([2.0], requires_grad=True)
    (slope,) = tl.grad(a**-1e200, [a], create_graph=True)
    assert tl.grad(slope, [a])[0].data.tolist() == [0.0]
