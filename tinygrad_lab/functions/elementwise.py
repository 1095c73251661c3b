"""Functions of each element: ops where a composition would lose digits, else compositions of one or two lines."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, pi
from operator import index
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import matmul
from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS, implements
from tinygrad_lab.autodiff.ops import Op, equal_shapes
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor


def allocating(run: Callable[..., Any]) -> Callable[..., Any]:
    """Add the parameter `out` to a function that always makes a new array."""

    def with_out(*arrays: Any, out: Any = None, **params: Any) -> Any:
        result = run(*arrays, **params)
        if out is None:
            return result
        out[...] = result
        return out

    return with_out


# Ops: trigonometric and hyperbolic -----------------------------------------------------------------------------------

# y = tan x            x̄ = g (1 + y²)
tan: Op = Op("tan", np.tan, equal_shapes, (lambda g, y, x: g * (1.0 + y * y),), "tan({0})", smooth=((-1.25, 1.25),))


# y = √(1 - x²)        x̄ = -g x / y. As an op: neither 1 - x² nor (1 - x)(1 + x) is exact together with its derivatives.
def _cathetus(x: Any, out: Any = None) -> Any:
    return np.sqrt((1 - x) * (1 + x), out=out)


cathetus: Op = Op(
    "cathetus", _cathetus, equal_shapes, (lambda g, y, x: -g * x / y,), "sqrt((1 - {0}) * (1 + {0}))", smooth=((-0.875, 0.875),)
)

# y = arcsin x         x̄ = g / √(1 - x²)
arcsin: Op = Op("arcsin", np.arcsin, equal_shapes, (lambda g, y, x: g / cathetus(x),), "asin({0})", smooth=((-0.875, 0.875),))

# y = arccos x         x̄ = -g / √(1 - x²)
arccos: Op = Op("arccos", np.arccos, equal_shapes, (lambda g, y, x: -g / cathetus(x),), "acos({0})", smooth=((-0.875, 0.875),))

# y = arctan x         x̄ = g / (1 + x²)
arctan: Op = Op("arctan", np.arctan, equal_shapes, (lambda g, y, x: g * inversion(1.0, x),), "atan({0})", analytic=False)

# y = sinh x           x̄ = g cosh x
sinh: Op = Op("sinh", np.sinh, equal_shapes, (lambda g, y, x: g * cosh(x),), "sinh({0})")

# y = cosh x           x̄ = g sinh x
cosh: Op = Op("cosh", np.cosh, equal_shapes, (lambda g, y, x: g * sinh(x),), "cosh({0})")

# y = arcsinh x        x̄ = g / √(1 + x²)
arcsinh: Op = Op("arcsinh", np.arcsinh, equal_shapes, (lambda g, y, x: g / hypot(x, 1.0),), "asinh({0})", analytic=False)

# y = arccosh x        x̄ = g / √(x - 1) / √(x + 1)
arccosh: Op = Op(
    "arccosh", np.arccosh, equal_shapes, (lambda g, y, x: g / (ops.sqrt(x - 1.0) * ops.sqrt(x + 1.0)),), "acosh({0})",
    smooth=((1.25, 3.0),),
)  # fmt: skip

# y = arctanh x        x̄ = g / (1 - x²)
arctanh: Op = Op(
    "arctanh", np.arctanh, equal_shapes, (lambda g, y, x: g / cathetus(x) / cathetus(x),), "atanh({0})",
    smooth=((-0.875, 0.875),),
)  # fmt: skip


# Ops: lengths and angles ---------------------------------------------------------------------------------------------
#
# Below, r = √(a² + b²). Squares of a and b would overflow or vanish, so only quotients by r are multiplied.


def _scaled(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Return a and b times the power of 2 that makes r about 1, and the exponent. Subnormal numbers keep their digits."""
    exponent = -np.frexp(np.maximum(np.abs(a), np.abs(b)))[1]
    return np.ldexp(a, exponent), np.ldexp(b, exponent), exponent


def _direction(a: Any, b: Any) -> Any:
    a, b, _ = _scaled(a, b)
    length = np.hypot(a, b)
    return a / np.where(length == 0, 1, length)


def _inversion(a: Any, b: Any) -> Any:
    u, v, exponent = _scaled(a, b)
    length = np.hypot(u, v)
    length = np.where(length == 0, 1, length)
    return np.ldexp(u / length / length, exponent)


def _per_length(share: Any, a: Any, b: Any) -> Any:
    length = hypot(a, b)
    zero = ops.equal(length, 0.0)
    return ops.where(zero, 0.0, share / ops.where(zero, 1.0, length))


# y = a / r, and 0 at a = b = 0       ā = g z² / r,  b̄ = -g y z / r, with z = b / r
# As an op: the quotient would give 1 - y² instead of z², which has no right digit if b is small beside a.
direction: Op = Op(
    "direction", allocating(_direction), equal_shapes,
    (
        lambda g, y, a, b: _per_length(g * direction(b, a), a, b) * direction(b, a),
        lambda g, y, a, b: -_per_length(g * direction(b, a), a, b) * y,
    ),
    "({0} / hypot({0}, {1}) if {0} != 0 else {0})", analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip

# y = r                ā = g a / r,  b̄ = g b / r, and 0 at a = b = 0
hypot: Op = Op(
    "hypot", np.hypot, equal_shapes,
    (lambda g, y, a, b: g * direction(a, b), lambda g, y, a, b: g * direction(b, a)),
    "hypot({0}, {1})", analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip

# y = a / r², and 0 at a = b = 0      ā = g (b - a) (b + a) / r⁴,  b̄ = -2 g a b / r⁴
inversion: Op = Op(
    "inversion", allocating(_inversion), equal_shapes,
    (
        lambda g, y, a, b: _per_length(_per_length(g * _per_length(b - a, a, b) * _per_length(b + a, a, b), a, b), a, b),
        lambda g, y, a, b: -2.0 * g * y * inversion(b, a),
    ),
    "({0} / hypot({0}, {1}) / hypot({0}, {1}) if {0} != 0 else {0})", analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip


# y = the angle of the point (b, a)   ā = g b / r²,  b̄ = -g a / r², and 0 at a = b = 0
arctan2: Op = Op(
    "arctan2", np.arctan2, equal_shapes,
    (lambda g, y, a, b: g * inversion(b, a), lambda g, y, a, b: -g * inversion(a, b)),
    "atan2({0}, {1})", analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip

# Ops: roots, logarithms, rounding ------------------------------------------------------------------------------------

# y = ∛x               x̄ = g / 3y²
cbrt: Op = Op(
    "cbrt", np.cbrt, equal_shapes, (lambda g, y, x: g / (3.0 * y * y),), "np.cbrt({0})", analytic=False, smooth=((0.25, 2.0),)
)

# y = log₂ x           x̄ = g / (x log 2)
log2: Op = Op("log2", np.log2, equal_shapes, (lambda g, y, x: g / (x * log(2)),), "log2({0})", smooth=((0.25, 2.0),))

# y = log₁₀ x          x̄ = g / (x log 10)
log10: Op = Op("log10", np.log10, equal_shapes, (lambda g, y, x: g / (x * log(10)),), "log10({0})", smooth=((0.25, 2.0),))


# y = log(eᵃ + eᵇ)     ā = g sigmoid(a - b),  b̄ = g sigmoid(b - a); two equal infinities have the difference 0
def _difference(a: Any, b: Any) -> Any:
    same = ops.logical_and(ops.equal(a, b), ops.equal(ops.absolute(a), inf))
    return ops.where(same, 0.0, a) - ops.where(same, 0.0, b)


logaddexp: Op = Op(
    "logaddexp", np.logaddexp, equal_shapes,
    (
        lambda g, y, a, b: g * ops.sigmoid(_difference(a, b)),
        lambda g, y, a, b: g * ops.sigmoid(_difference(b, a)),
    ),
    "logaddexp({0}, {1})", analytic=False,
)  # fmt: skip

# Constant between their jumps
floor: Op = Op("floor", np.floor, equal_shapes, (), "np.floor({0})", analytic=False)
rint: Op = Op("rint", np.rint, equal_shapes, (), "np.rint({0})", analytic=False)
floor_divide: Op = Op(
    "floor_divide", np.floor_divide, equal_shapes, (), "({0} // {1})", analytic=False, smooth=((-2.0, 2.0), (0.5, 2.0))
)

# y = a - b ⌊a / b⌋    ā = g,  b̄ = -g ⌊a / b⌋
remainder: Op = Op(
    "remainder", np.remainder, equal_shapes,
    (lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b)),
    "({0} % {1})", analytic=False, smooth=((-2.0, 2.0), (0.5, 2.0)),
)  # fmt: skip


# y = the n-th derivative of sin(πx) / (πx), which is ∫₀¹ (πt)ⁿ cos(πxt + nπ/2) dt       x̄ = g times derivative n + 1
def _sine(x: Any, n: int) -> Any:
    """Return the n-th derivative of the sine."""
    return (1 - n % 4 // 2 * 2) * (np.cos(x) if n % 2 else np.sin(x))


def _sinc(x: Any, *, n: int) -> Any:
    # Near 0: Gauss's rule with 20 points, exact to rounding. Elsewhere: x yₙ = πⁿ⁻¹ sin(πx + nπ/2) - n yₙ₋₁.
    nodes, weights = np.polynomial.legendre.leggauss(20)
    t = pi * (nodes + 1) / 2
    wide = np.asarray(x, np.result_type(x, np.float64))
    near = np.abs(wide) <= 1
    inside = np.where(near, wide, 0)
    result = (_sine(inside[..., None] * t, n + 1) * (weights / 2 * t**n)).sum(-1)
    outside = np.where(near, 1, wide)
    angle = pi * (outside - 2 * np.rint(outside / 2))  # of the same sine; rounding πx would lose the digits of a large x
    far = np.sin(angle) / (pi * outside)
    for k in range(1, n + 1):
        far = (pi ** (k - 1) * _sine(angle, k) - k * far) / outside
    return np.asarray(np.where(near, result, far) if n else np.sinc(wide), np.asarray(x).dtype)


sinc: Op = Op("sinc", allocating(_sinc), lambda shape, *, n: shape, (lambda g, y, x, n: g * sinc(x, n=n + 1),))

# Enter the ops under the ufuncs that they run ------------------------------------------------------------------------

for _op in (tan, arcsin, arccos, arctan, sinh, cosh, arcsinh, arccosh, arctanh, hypot, arctan2, cbrt, log2, log10, logaddexp,
            floor, rint, floor_divide, remainder):  # fmt: skip
    FUNCTIONS[_op.run] = _op

# Compositions --------------------------------------------------------------------------------------------------------


@implements("sinc")
def _numpy_sinc(x: Any) -> Tensor:
    return sinc(_as_float(x), n=0)


def _as_float(x: Any) -> Tensor:
    x = as_tensor(x)
    return x.astype(np.float64) if x.dtype.kind in "iub" else x


@implements("fabs")
def fabs(x: Any) -> Tensor:
    return ops.absolute(_as_float(x))


@implements("reciprocal")
def reciprocal(x: Any) -> Tensor:
    if x.dtype.kind not in "fc":
        raise TypeError(f"given {x.dtype}, expected floats; divide 1 by it")
    return ops.divide(1.0, x)


@implements("exp2")
def exp2(x: Any) -> Tensor:
    return ops.power(2.0, _as_float(x))


@implements("float_power")
def float_power(a: Any, b: Any) -> Tensor:
    return ops.power(_as_float(a).astype(np.float64), _as_float(b).astype(np.float64))


@implements("deg2rad radians")
def deg2rad(x: Any) -> Tensor:
    return ops.multiply(x, pi / 180)


@implements("rad2deg degrees")
def rad2deg(x: Any) -> Tensor:
    return ops.multiply(x, 180 / pi)


@implements("logaddexp2")
def logaddexp2(a: Any, b: Any) -> Tensor:
    return logaddexp(ops.multiply(a, log(2)), ops.multiply(b, log(2))) / log(2)


@implements("fmax")
def fmax(a: Any, b: Any) -> Tensor:
    return ops.maximum(ops.where(isnan(a), b, a), ops.where(isnan(b), a, b))


@implements("fmin")
def fmin(a: Any, b: Any) -> Tensor:
    return ops.minimum(ops.where(isnan(a), b, a), ops.where(isnan(b), a, b))


@implements("fmod")
def fmod(a: Any, b: Any) -> Tensor:
    return ops.where(ops.less(a, 0.0), -1, 1) * remainder(ops.absolute(a), ops.absolute(b))


@implements("divmod")
def divmod_(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    return floor_divide(a, b), remainder(a, b)


@implements("modf")
def modf(x: Any) -> tuple[Tensor, Tensor]:
    whole = trunc(_as_float(x))
    return ops.subtract(x, whole), whole


@implements("heaviside")
def heaviside(x: Any, at_zero: Any) -> Tensor:
    return ops.where(ops.equal(x, 0.0), at_zero, 0.5 * ops.sign(x) + 0.5)


@implements("ceil")
def ceil(x: Any) -> Tensor:
    return -floor(-x) if x.dtype.kind in "fc" else x


@implements("trunc fix")
def trunc(x: Any) -> Tensor:
    return ops.where(ops.less(x, 0.0), ceil(x), floor(x)) if x.dtype.kind in "fc" else x


@implements("round around")
def round_(a: Any, decimals: int = 0) -> Tensor:
    scale = 10.0 ** abs(index(decimals))
    if as_tensor(a).dtype.kind not in "fc":
        return as_tensor(a) if decimals >= 0 else ops.astype(rint(as_tensor(a) / scale) * scale, dtype=as_tensor(a).dtype)
    return rint(a) if not decimals else rint(a * scale) / scale if decimals > 0 else rint(a / scale) * scale


@implements("clip")
def clip(a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Tensor:
    return as_tensor(a).clip(min if a_min is None else a_min, max if a_max is None else a_max)


@implements("astype")
def astype(x: Any, dtype: Any, copy: bool = True) -> Tensor:
    return as_tensor(x).astype(dtype)


@implements("real real_if_close conjugate copy")
def real(val: Any = None, a: Any = None) -> Tensor:
    return as_tensor(a if val is None else val)


@implements("imag")
def imag(val: Any) -> Tensor:
    return as_tensor(np.zeros_like(np.broadcast_to(np.zeros((), val.dtype), val.shape)))


@implements("nan_to_num")
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Tensor:
    if as_tensor(x).dtype.kind not in "fc":
        return as_tensor(x)
    limits = np.finfo(x.dtype)
    x = ops.where(isnan(x), nan, x)
    x = ops.where(ops.equal(x, inf), limits.max if posinf is None else posinf, x)
    return ops.where(ops.equal(x, -inf), limits.min if neginf is None else neginf, x)


# Questions about each element: comparisons, so they need no gradient and can be captured ------------------------------


@implements("isnan")
def isnan(x: Any) -> Tensor:
    return ops.not_equal(as_tensor(x), x)


@implements("isinf")
def isinf(x: Any) -> Tensor:
    return ops.equal(ops.absolute(x), inf)


@implements("isfinite")
def isfinite(x: Any) -> Tensor:
    return ops.less(ops.absolute(x), inf)


@implements("isposinf")
def isposinf(x: Any) -> Tensor:
    return ops.equal(x, inf)


@implements("isneginf")
def isneginf(x: Any) -> Tensor:
    return ops.equal(x, -inf)


@implements("signbit")
def signbit(x: Any) -> Tensor:
    return ops.less(arctan2(x, -1.0), 0.0)  # the angle of -0 is -pi, that of 0 is pi


@implements("isclose")
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Tensor:
    near = ops.less_equal(ops.absolute(ops.subtract(a, b)), ops.add(atol, ops.multiply(rtol, ops.absolute(b))))
    near = ops.logical_or(ops.equal(a, b), ops.logical_and(near, isfinite(b)))
    return ops.logical_or(near, ops.logical_and(isnan(a), isnan(b))) if equal_nan else near


@implements("logical_xor")
def logical_xor(a: Any, b: Any) -> Tensor:
    return ops.not_equal(ops.not_equal(a, 0.0), ops.not_equal(b, 0.0))


for _ufunc, _operator in {np.bitwise_and: Tensor.__and__, np.bitwise_or: Tensor.__or__, np.invert: Tensor.__invert__}.items():
    FUNCTIONS[_ufunc] = lambda a, *others, _operator=_operator: _operator(as_tensor(a), *others)

FUNCTIONS[np.matmul] = matmul
