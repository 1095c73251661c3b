"""Functions of `scipy.special`. SciPy is imported at the first use of one."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, nan, pi, sqrt
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.methods.protocol import SCIPY
from tinygrad_lab.autodiff.ops import Op, _special, equal_shapes
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.functions.elementwise import allocating, cbrt, exp2, rint


def _ufunc(name: str) -> Callable[..., Any]:
    """Return a function that calls a ufunc of SciPy, without importing SciPy before."""
    return lambda *arrays, out=None: _special(name)(*arrays, out=out)


# Normal distribution -------------------------------------------------------------------------------------------------

# y = 1 - erf x        x̄ = -g 2/√π e^(-x²)
erfc: Op = Op("erfc", _ufunc("erfc"), equal_shapes, (lambda g, y, x: -g * (2.0 / sqrt(pi)) * ops.exp(-x * x),), "erfc({0})")

# y = Φ(x), the distribution function of the normal distribution       x̄ = g φ(x), its density
ndtr: Op = Op(
    "ndtr", _ufunc("ndtr"), equal_shapes, (lambda g, y, x: g * (1.0 / sqrt(2 * pi)) * ops.exp(-0.5 * x * x),),
    f"(erfc(-{{0}} * {sqrt(0.5)}) / 2)",
)  # fmt: skip

# y = log Φ(x)         x̄ = g r(x), with the ratio r = φ / Φ, which is about -x for x far below 0
log_ndtr: Op = Op("log_ndtr", _ufunc("log_ndtr"), lambda shape: shape, (lambda g, y, x: g * normal_ratio(x),), analytic=False)


# y = r(x)             x̄ = -g y (x + y)
def _normal_ratio(x: Any) -> Any:
    wide = np.asarray(x, np.float64)
    low = np.minimum(wide, 0)
    ratio = sqrt(2 / pi) / _special("erfcx")(-low * sqrt(0.5))
    density = np.exp(-0.5 * np.clip(wide, 0, 40) ** 2) / sqrt(2 * pi)  # 0 from 39 on
    return np.asarray(np.where(wide < 0, ratio, density / _special("ndtr")(wide)), np.asarray(x).dtype)


normal_ratio: Op = Op(
    "normal_ratio",
    allocating(_normal_ratio),
    lambda shape: shape,
    (lambda g, y, x: -g * y * normal_ratio_excess(x),),
    analytic=False,
)


# y = x + r(x), which is about -1/x for x far below 0       x̄ = g (1 - r y)
def _normal_ratio_excess(x: Any) -> Any:
    # Far below 0: the asymptotic series x + r = r (1/x² - 3/x⁴ + 15/x⁶ - ...). With r / x / x, no square of x overflows.
    wide = np.asarray(x, np.float64)
    ratio = _normal_ratio(wide)
    far = wide < -14
    low = np.where(far, wide, -14)
    squared = np.maximum(low, -1e100) ** 2
    series = np.zeros_like(squared)
    for k in range(16, 1, -1):
        series = (2 * k - 1) / squared * (1 - series)
    return np.asarray(np.where(far, ratio / low / low * (1 - series), wide + ratio), np.asarray(x).dtype)


normal_ratio_excess: Op = Op(
    "normal_ratio_excess", allocating(_normal_ratio_excess), lambda shape: shape,
    (lambda g, y, x: g * (1.0 - normal_ratio(x) * y),), analytic=False,
)  # fmt: skip

# Gamma function ------------------------------------------------------------------------------------------------------

# y = log |Γ(x)|       x̄ = g ψ(x)
gammaln: Op = Op(
    "gammaln", _ufunc("gammaln"), equal_shapes, (lambda g, y, x: g * digamma(x),), "lgamma({0})", analytic=False,
    smooth=((0.25, 3.0),),
)  # fmt: skip


# y = ψ(x)             x̄ = g ψ′(x); below 0, ψ′(x) = (π / sin πx)² - ψ′(1 - x)
def _trigamma(x: Any) -> Any:
    negative = ops.less(x, 0.0)
    right = polygamma(ops.where(negative, 1.0 - x, x), n=1)
    sine = ops.sin(pi * ops.where(negative, x - rint(x), 0.5))
    return ops.where(negative, (pi / sine) * (pi / sine) - right, right)


def _digamma(x: Any) -> Any:
    # SciPy's function has no right digit near the poles below 0. There, ψ(x) = ψ(1 - x) - π / tan πx.
    wide = np.asarray(x, np.float64)
    beside = wide - np.rint(wide)
    near_pole = (wide < -0.5) & (np.abs(beside) < 0.01) & (beside != 0)
    psi, pole = _special("psi"), pi / np.tan(pi * np.where(near_pole, beside, 0.5))
    return np.asarray(np.where(near_pole, psi(np.where(near_pole, 1 - wide, 1)) - pole, psi(wide)), np.asarray(x).dtype)


digamma: Op = Op("digamma", allocating(_digamma), lambda shape: shape, (lambda g, y, x: g * _trigamma(x),), analytic=False)


def _psi(n: int, x: Any) -> Any:
    """Return the n-th derivative of ψ(x), or nan far below 0, where SciPy takes |x| steps."""
    return _special("polygamma")(n, np.where(np.less(x, -1e5), nan, x))


# y = the n-th derivative of ψ(x), n > 0, x > 0       x̄ = g times derivative n + 1
def _polygamma(x: Any, *, n: int) -> Any:
    return np.asarray(_psi(n, x), np.asarray(x).dtype)


polygamma: Op = Op(
    "polygamma",
    allocating(_polygamma),
    lambda shape, *, n: shape,
    (lambda g, y, x, n: g * polygamma(x, n=n + 1),),
    analytic=False,
)


# y = ψₙ(a + b) - ψₙ(a), where ψₙ is the n-th derivative of ψ       ā = g (ψₙ₊₁(a + b) - ψₙ₊₁(a)),  b̄ = g ψₙ₊₁(a + b)
def _polygamma_difference(a: Any, b: Any, *, n: int) -> Any:
    # If b is small beside a, the difference would lose digits. Instead, Gauss's rule integrates ψₙ₊₁ from a to a + b.
    small = (a > 0) & (b > 0) & (b < a)
    start, length = (np.asarray(np.where(small, x, 1), np.float64)[..., None] for x in (a, b))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    integral = (length * _psi(n + 1, start + length * (nodes + 1) / 2) * weights / 2).sum(-1)
    return np.asarray(np.where(small, integral, _psi(n, np.add(a, b)) - _psi(n, a)), np.asarray(a).dtype)


polygamma_difference: Op = Op(
    "polygamma_difference", allocating(_polygamma_difference), lambda a, b, *, n: equal_shapes(a, b),
    (
        lambda g, y, a, b, n: g * polygamma_difference(a, b, n=n + 1),
        lambda g, y, a, b, n: g * polygamma(a + b, n=n + 1),
    ),
    analytic=False,
)  # fmt: skip

# y = log |B(a, b)|    ā = g (ψ(a) - ψ(a + b)),  b̄ likewise
betaln: Op = Op(
    "betaln", _ufunc("betaln"), equal_shapes,
    (lambda g, y, a, b: -g * polygamma_difference(a, b, n=0), lambda g, y, a, b: -g * polygamma_difference(b, a, n=0)),
    "(lgamma({0}) + lgamma({1}) - lgamma({0} + {1}))", analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip

# Entropy -------------------------------------------------------------------------------------------------------------

# y = log(x / (1 - x))             x̄ = g / (x (1 - x))
logit: Op = Op(
    "logit", _ufunc("logit"), equal_shapes, (lambda g, y, x: g / (x * (1.0 - x)),), "log({0} / (1 - {0}))", analytic=False,
    smooth=((0.125, 0.875),),
)  # fmt: skip


def _quotient(a: Any, b: Any) -> Any:
    """Return a / b, and 0 for 0 / 0."""
    both = ops.logical_and(ops.equal(a, 0.0), ops.equal(b, 0.0))
    return a / ops.where(both, 1.0, b)


# y = a log b, and 0 at a = 0      ā = g log b,  b̄ = g a / b
xlogy: Op = Op(
    "xlogy", _ufunc("xlogy"), equal_shapes,
    (lambda g, y, a, b: g * ops.log(b), lambda g, y, a, b: g * _quotient(a, b)),
    "({0} * log({1}) if {0} != 0 or {1} != {1} else 0.0)", smooth=((-2.0, 2.0), (0.25, 2.0)),
)  # fmt: skip

# y = a log(1 + b), and 0 at a = 0      ā = g log(1 + b),  b̄ = g a / (1 + b)
xlog1py: Op = Op(
    "xlog1py", _ufunc("xlog1py"), equal_shapes,
    (lambda g, y, a, b: g * ops.log1p(b), lambda g, y, a, b: g * _quotient(a, b + 1.0)),
    "({0} * log1p({1}) if {0} != 0 or {1} != {1} else 0.0)", smooth=((-2.0, 2.0), (-0.5, 2.0)),
)  # fmt: skip


def _are_near(a: Any, b: Any) -> Any:
    return ops.logical_and(ops.less(a, 2.0 * b), ops.less(b, 2.0 * a))


def _log_ratio(a: Any, b: Any) -> Any:
    """Return log(a / b), to full precision also if a is near b."""
    near = _are_near(a, b)
    change = ops.where(near, a - b, 0.0) / ops.where(near, b, 1.0)
    return ops.where(near, ops.log1p(change), ops.log(ops.where(near, 1.0, a)) - ops.log(ops.where(near, 1.0, b)))


# y = a log(a / b); 0 at a = 0, inf outside of the domain      ā = g (log(a / b) + 1),  b̄ = -g a / b
_OUTSIDE = "inf + {0} + {1}"
rel_entr: Op = Op(
    "rel_entr", _ufunc("rel_entr"), equal_shapes,
    (lambda g, y, a, b: g * (_log_ratio(a, b) + 1.0), lambda g, y, a, b: -g * _quotient(a, b)),
    f"({{0}} * log({{0}} / {{1}}) if {{0}} > 0 and {{1}} > 0 else (0.0 if {{0}} == 0 and {{1}} >= 0 else {_OUTSIDE}))",
    analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip

# y = a log(a / b) - a + b, and b at a = 0                     ā = g log(a / b),  b̄ = g (b - a) / b
kl_div: Op = Op(
    "kl_div", _ufunc("kl_div"), equal_shapes,
    (
        lambda g, y, a, b: g * _log_ratio(a, b),
        lambda g, y, a, b: g * ops.where(_are_near(a, b), _quotient(b - a, b), 1.0 - _quotient(a, b)),
    ),
    f"({{0}} * log({{0}} / {{1}}) - {{0}} + {{1}} if {{0}} > 0 and {{1}} > 0 else "
    f"({{1}} if {{0}} == 0 and {{1}} >= 0 else {_OUTSIDE}))",
    analytic=False, smooth=((0.25, 2.0), (0.25, 2.0)),
)  # fmt: skip


def entr(x: Any) -> Tensor:
    """Return -x log x, 0 at 0, and -inf below."""
    below = ops.less(as_tensor(x), 0.0)
    inside = ops.where(below, 1.0, x)
    return ops.where(below, -inf, -xlogy(inside, inside))


def log_expit(x: Any) -> Tensor:
    """Return the logarithm of the logistic function."""
    return -ops.softplus(-as_tensor(x))


def exp10(x: Any) -> Tensor:
    """Return 10 to the power of each element."""
    return ops.power(10.0, as_tensor(x))


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Tensor:
    """Return ``log(sum(b exp(a)))`` over `axis`, without overflow, as `scipy.special.logsumexp`.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> logsumexp(Tensor([1000.0, 1000.0]), b=[0.25, 0.75])
    Tensor(1000.)
    """
    x = as_tensor(a)
    if b is None:
        return x.logsumexp(axis, keepdims)
    shift = ops.where(ops.equal(b, 0.0), -inf, x)._top(axis)
    exps = ops.exp(ops.minimum(x - shift, log(np.finfo(x.dtype).max)))  # only factors of 0 can be beyond
    total = ops.log((exps * b).sum(axis, keepdims=True)) + shift
    return total._without(axis, keepdims)


def softmax(x: Any, axis: Any = None) -> Tensor:
    """Return ``exp(x) / sum(exp(x))``, the sum over `axis` or all, without overflow, as `scipy.special.softmax`.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> softmax(Tensor([1000.0, 1000.0]))
    Tensor([0.5, 0.5])
    """
    return as_tensor(x).softmax(axis)


def log_softmax(x: Any, axis: Any = None) -> Tensor:
    """Return the logarithm of the softmax over `axis` or all, without overflow, as `scipy.special.log_softmax`.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> log_softmax(Tensor([0.0, -1000.0]))
    Tensor([    0., -1000.])
    """
    return as_tensor(x).log_softmax(axis)


SCIPY.update({
    "erfc": erfc, "ndtr": ndtr, "log_ndtr": log_ndtr, "gammaln": gammaln, "digamma": digamma, "psi": digamma,
    "betaln": betaln, "logit": logit, "xlogy": xlogy, "xlog1py": xlog1py, "rel_entr": rel_entr, "kl_div": kl_div,
    "entr": entr, "log_expit": log_expit, "exp2": exp2, "exp10": exp10, "cbrt": cbrt, "log1p": ops.log1p, "expm1": ops.expm1,
})  # fmt: skip
