"""Every elementwise function and reduction at 0, -0, infinities, nan, subnormal and huge numbers, and empty arrays.

Values are NumPy's, or SciPy's for the functions that NumPy does not have. Derivatives are the limits, where there is one.
"""

import itertools

import numpy as np
import pytest
from scipy import special

import tinygrad_lab as tl
from tinygrad_lab import Tensor

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")]

INF, NAN = np.inf, np.nan
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 0.5, INF, -INF, NAN, 5e-324, -1e-310, 1e-200, 1e200, 1e308, -1e308, 710.0, -746.0]

# Method: the function, and its derivative.
FUNCTIONS = {
    "exp": (np.exp, np.exp),
    "expm1": (np.expm1, np.exp),
    "log": (np.log, lambda x: 1.0 / x),
    "log1p": (np.log1p, lambda x: 1.0 / (x + 1.0)),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "tanh": (np.tanh, lambda x: 1.0 / np.cosh(x) ** 2),
    "sigmoid": (special.expit, lambda x: 0.25 / np.cosh(x / 2.0) ** 2),
    "softplus": (lambda x: np.logaddexp(0.0, x), special.expit),
    "erf": (special.erf, lambda x: 2.0 / np.sqrt(np.pi) * np.exp(-x * x)),
    "square": (np.square, lambda x: 2.0 * x),
    "abs": (np.abs, np.sign),
    "negative": (np.negative, lambda x: -np.ones_like(x)),
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: np.where(x <= 0.0, 0.0, 1.0)),
}


def slopes(function, *points):
    variables = [Tensor(x, requires_grad=True) for x in points]
    value = function(*variables)
    return [g.data for g in tl.grad(value, variables, cotangent=np.ones(value.shape), unused="zeros")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_derivatives(name):
    function, derivative = FUNCTIONS[name]
    x = np.array(NUMBERS)
    np.testing.assert_array_max_ulp(getattr(Tensor(x), name)().data, function(x), 1)
    np.testing.assert_allclose(slopes(getattr(Tensor, name), x)[0], derivative(x), rtol=2e-15)


@pytest.mark.parametrize("name", ["maximum", "minimum", "power", "divide", "multiply", "add", "subtract"])
def test_functions_of_two_numbers(name):
    a, b = (np.array(x) for x in zip(*itertools.product(NUMBERS, NUMBERS), strict=True))
    np.testing.assert_array_equal(getattr(Tensor(a), name)(b).data, getattr(np, name)(a, b))
    np.testing.assert_array_equal(getattr(Tensor(a), name)(3.0).data, getattr(np, name)(a, 3.0))


ROWS = [
    [0.0, 0.0], [-0.0], [INF, 1.0], [INF, INF], [-INF, -INF], [INF, -INF], [-INF, 1.0], [NAN, 1.0], [-INF, NAN], [INF], [NAN],
    [1e200, 1e200], [1e308, -1e308], [5e-324, 5e-324], [3e-170, 4e-170], [1e-160, 1.0], [710.0, -746.0], [],
]  # fmt: skip
REDUCTIONS = {name: getattr(np, name) for name in ("sum", "mean", "prod", "var", "std", "max", "min")} | {
    "norm": lambda x, **options: np.linalg.norm(x.astype(np.longdouble), **options).astype(x.dtype),
    "logsumexp": lambda x, **options: np.logaddexp.reduce(x, **options),
    "log_softmax": lambda x, **options: special.log_softmax(x, **options) if x.size else x,
}


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, row):
    x = np.array(row)
    for shape, axis in (((-1,), -1), ((1, -1), 1)):
        array = x.reshape(shape) if x.size else x.reshape((1,) * (len(shape) - 1) + (0,))
        if name in ("max", "min") and not x.size:
            with pytest.raises(ValueError, match="zero-size array"):
                getattr(Tensor(array), name)(axis=axis)
            continue
        result = getattr(Tensor(array), name)(axis=axis).data
        expected = REDUCTIONS[name](array, axis=axis)
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-15)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("name", [name for name in REDUCTIONS if name not in ("max", "min", "log_softmax")])
def test_reductions_of_empty_arrays(name, shape):
    x = np.ones(shape)
    for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}):
        np.testing.assert_array_equal(getattr(Tensor(x), name)(**options).data, REDUCTIONS[name](x, **options))
        assert slopes(lambda t, options=options: getattr(t, name)(**options), x)[0].shape == shape


@pytest.mark.parametrize("ddof", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("name", ["var", "std"])
def test_the_divisor_of_a_variance_is_not_negative(name, ddof):
    for x in (np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0]), np.ones(0), np.ones((3, 0)), np.array([7.0])):
        np.testing.assert_array_equal(getattr(Tensor(x), name)(ddof=ddof).data, getattr(np, name)(x, ddof=ddof))
        np.testing.assert_array_equal(
            getattr(Tensor(x), name)(axis=-1, ddof=ddof).data, getattr(np, name)(x, axis=-1, ddof=ddof)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_norm_of_finite_numbers_is_right_at_every_scale(dtype):
    limits = np.finfo(dtype)
    for scale in (limits.max / 8, limits.max**0.75, 1.0, limits.tiny**0.75, limits.tiny, limits.smallest_subnormal):
        x = np.array([3.0, -4.0, 0.0], dtype) * dtype(scale)
        np.testing.assert_allclose(Tensor(x).norm().data, dtype(5.0) * dtype(scale), rtol=4 * limits.eps)
        np.testing.assert_allclose(slopes(Tensor.norm, x)[0], [0.6, -0.8, 0.0], rtol=8 * limits.eps)
    assert tl.hessian(Tensor.norm)([3e200, 4e200]).data * 5e200 == pytest.approx(np.array([[0.64, -0.48], [-0.48, 0.36]]))


# a, b: the derivatives of a ** b with respect to both. Where a is negative, that with respect to b is not real: nan.
POWERS = {
    (0.0, 2.0): (0.0, 0.0), (0.0, 1.0): (1.0, 0.0), (0.0, 0.5): (INF, 0.0), (0.0, 0.0): (0.0, 0.0),
    (0.0, -0.5): (-INF, -INF), (0.0, -1.0): (-INF, -INF), (0.0, -3.0): (-INF, -INF), (0.0, -INF): (-INF, -INF),
    (2.0, 0.0): (0.0, np.log(2.0)), (2.0, INF): (INF, INF), (0.5, -INF): (-INF, -INF), (0.5, 0.0): (0.0, np.log(0.5)),
    (INF, 2.0): (INF, INF), (INF, 1.0): (1.0, INF), (INF, 0.5): (0.0, INF), (INF, 0.0): (0.0, INF),
    (INF, -0.5): (0.0, 0.0), (INF, -2.0): (0.0, 0.0), (1.0, -3.0): (-3.0, 0.0), (1.0, 0.0): (0.0, 0.0),
    (-2.0, 3.0): (12.0, NAN), (-2.0, 2.0): (-4.0, NAN), (-2.0, 0.0): (0.0, NAN), (-2.0, -1.0): (-0.25, NAN),
    (-2.0, 0.5): (NAN, NAN), (NAN, 2.0): (NAN, NAN), (2.0, NAN): (NAN, NAN), (NAN, NAN): (NAN, NAN),
    (1e-200, 2.0): (2e-200, 0.0), (1e-310, 1.0): (1.0, 1e-310 * np.log(1e-310)),
}  # fmt: skip


@pytest.mark.parametrize("point", POWERS, ids=str)
def test_derivatives_of_a_power(point):
    np.testing.assert_allclose(slopes(lambda a, b: a**b, *point), POWERS[point], rtol=1e-14)


BOUNDS = [-1.0, 2.0, NAN, INF, -INF]


@pytest.mark.parametrize("bounds", list(itertools.product(BOUNDS, BOUNDS)), ids=str)
def test_clip_follows_numpy_at_every_bound(bounds):
    x = np.array(NUMBERS)
    expected = np.clip(x, *bounds)
    for low, high in (bounds, map(Tensor, bounds), (np.full(x.shape, bounds[0]), np.full(x.shape, bounds[1]))):
        np.testing.assert_array_equal(np.clip(Tensor(x), low, high).data, expected)
    np.testing.assert_array_equal(Tensor(x).clip(min=bounds[0]).data, np.clip(x, bounds[0], None))
    np.testing.assert_array_equal(Tensor(x).clip(max=bounds[1]).data, np.clip(x, None, bounds[1]))
