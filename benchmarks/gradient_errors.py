"""The largest error of the derivatives of each op, of orders 1 and 2, in double and single precision, over its whole domain.

    python benchmarks/gradient_errors.py                # prints the table as Markdown
    python benchmarks/gradient_errors.py --write        # and puts it into docs/numerics.md
    python benchmarks/gradient_errors.py --only tanh

It needs mpmath (the `bench` extra). An op of the table without a reference here is an error that names it.

*What is the truth?* For a function of each element, its derivative as a formula of mpmath, or its value, differentiated
numerically in steps of 1e-60 min(|x|, 1). The value has 600 digits, and three more for each power of ten in |x|, so more than
50 digits of the result are right. For any other op, the sum of w y² with random weights w, differentiated with 80 digits in
steps of 1e-20, along each element and, for order 2, also along a random direction. Here y is `run` on numbers of mpmath, or a
function of mpmath for matrices.

*What is the error?* |computed - true| / |true|, or what TERMS says; relative to the largest derivative for an op on arrays.
Where the true derivative is beyond the largest number, the computed one must not be finite. Where it is below the smallest
normal number, so must be the computed one. Points where the derivative is 0 or does not exist are counted but not compared:
the first tables of the page say what happens there.

The operands are 200 sizes of both signs from the smallest subnormal number to the largest one, random ones of moderate size,
and neighbours of 0, ±1 and the multiples of π/2. An op of two operands has random pairs of them.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from mpmath import mp

import tinygrad_lab.functions  # noqa: F401 (it adds ops to the table)
from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.derivatives import grad
from tinygrad_lab.autodiff.ops import Op
from tinygrad_lab.autodiff.tensor import Tensor, apply

PAGE = Path(__file__).parents[1] / "docs" / "numerics.md"
BEGIN, END = "<!-- gradient errors: begin -->", "<!-- gradient errors: end -->"
STEP = mpmath.mpf(10) ** -60
BAR = {np.float64: 1e-12, np.float32: 1e-5}
PAIRS = 250


def _decay(t: Any) -> Any:
    """Return e^-t, or 0 for t > 1e6, where mpmath takes long and every dtype has 0."""
    return mp.exp(-t) if t < 1e6 else mpmath.mpf(0)


def _softplus(x: Any) -> Any:
    return max(x, 0) + mp.log1p(_decay(abs(x)))


def _sigmoid(x: Any) -> Any:
    return (1 if x > 0 else _decay(-x)) / (1 + _decay(abs(x)))


def _tanh(x: Any) -> Any:
    return mp.sign(x) * (1 - _decay(2 * abs(x))) / (1 + _decay(2 * abs(x)))


def _sech_squared(x: Any) -> Any:
    return 4 * _decay(2 * abs(x)) / (1 + _decay(2 * abs(x))) ** 2


# The value of each elementwise op that is differentiable, on numbers of mpmath. Conditions come first, as 0 or 1.
VALUES: dict[str, Callable[..., Any]] = {
    "where": lambda c, a, b: a if c else b,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "maximum": max,
    "minimum": min,
    "negative": lambda x: -x,
    "abs": abs,
    "sqrt": mp.sqrt,
    "exp": mp.exp,
    "expm1": lambda x: mp.exp(x) - 1,
    "log": mp.log,
    "log1p": lambda x: mp.log(1 + x),
    "sin": mp.sin,
    "cos": mp.cos,
    "tanh": _tanh,
    "sech_squared": _sech_squared,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "tan": mp.tan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arctan2": mp.atan2,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": mp.log10,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "hypot": mp.hypot,
    "logaddexp": lambda a, b: max(a, b) + mp.log1p(_decay(abs(a - b))),
    "xlogy": lambda a, b: a * mp.log(b) if a else mpmath.mpf(0),
    "xlog1py": lambda a, b: a * mp.log(1 + b) if a else mpmath.mpf(0),
    "logit": lambda x: mp.log(x / (1 - x)),
    "cathetus": lambda x: mp.sqrt((1 - x) * (1 + x)),
    "direction": lambda a, b: a / mp.hypot(a, b),
    "inversion": lambda a, b: a / (a * a + b * b),
    "sinc": lambda x: mp.sinpi(x) / (mp.pi * x),
    "rel_entr": lambda a, b: a * mp.log(a / b) if a > 0 and b > 0 else mp.nan,
    "kl_div": lambda a, b: a * mp.log(a / b) - a + b if a > 0 and b > 0 else mp.nan,
}


def _bell(x: Any, order: int, scale: Any) -> Any:
    """Return the derivative of order 1 or 2 of a function with slope c e^(-s x²), for the scale (s, c)."""
    s, c = scale
    return c * _decay(s * x * x) * (1 if order == 1 else -2 * s * x)


def _normal_ratio(x: Any) -> Any:
    """Return φ(x) / Φ(x). Below -30, the terms of the series -x / (1 - 1/x² + 3/x⁴ - ...) fall below 1e-190."""
    if x > -30:
        return _decay(x * x / 2) / mp.sqrt(2 * mp.pi) / (mp.ncdf(x) if x < 30 else 1)
    k, term, total = 1, mpmath.mpf(1), mpmath.mpf(1)
    while abs(term) > mp.eps:
        term *= -(2 * k - 1) / (x * x)
        total += term
        k += 1
    return -x / total


def _excess(x: Any) -> Any:
    return x + _normal_ratio(x)


def _psi(n: int, x: Any) -> Any:
    """Return the n-th derivative of ψ, up to 2 below 0, by reflection, recurrence and asymptotic series (DLMF 5.15)."""
    if x <= 0:
        sine, cotangent = mp.sinpi(x), mp.cospi(x) / mp.sinpi(x)
        of_cotangent = [cotangent, -mp.pi / sine**2, 2 * mp.pi**2 * cotangent / sine**2][n]
        return (-1) ** n * _psi(n, 1 - x) - mp.pi * of_cotangent
    total = mpmath.mpf(0)
    while x < mp.dps:
        total += mp.factorial(n) / x ** (n + 1)
        x += 1
    total += mp.factorial(n) / (2 * x ** (n + 1)) + (mp.factorial(n - 1) / x**n if n else -mp.log(x))
    k, term = 1, mpmath.mpf(1)
    while abs(term) > mp.eps * abs(total):
        term = mp.bernoulli(2 * k) * mp.factorial(2 * k + n - 1) / (mp.factorial(2 * k) * x ** (2 * k + n))
        total += term
        k += 1
    return (-1) ** (n + 1) * total


def _polygamma_difference(orders: tuple[int, ...], a: Any, b: Any) -> Any:
    n, m = orders
    return _psi(n + m, a + b) - (0 if m else _psi(n, a))


def _betaln(orders: tuple[int, ...], a: Any, b: Any) -> Any:
    n, m = orders
    return (0 if m else _psi(n - 1, a)) + (0 if n else _psi(m - 1, b)) - _psi(n + m - 1, a + b)


# Derivatives of ops whose values take mpmath long, or whose kinks are too close together for a numerical derivative. The first
# argument has the order in each operand.
DERIVATIVES: dict[str, Callable[..., Any]] = {
    "erf": lambda n, x: _bell(x, *n, (1, 2 / mp.sqrt(mp.pi))),
    "erfc": lambda n, x: _bell(x, *n, (1, -2 / mp.sqrt(mp.pi))),
    "ndtr": lambda n, x: _bell(x, *n, (mpmath.mpf(1) / 2, 1 / mp.sqrt(2 * mp.pi))),
    "log_ndtr": lambda n, x: _normal_ratio(x) * (1 if n == (1,) else -_excess(x)),
    "normal_ratio": lambda n, x: (
        _normal_ratio(x) * (-_excess(x) if n == (1,) else _excess(x) ** 2 - 1 + _normal_ratio(x) * _excess(x))
    ),
    "normal_ratio_excess": lambda n, x: (
        1 - _normal_ratio(x) * _excess(x) if n == (1,) else DERIVATIVES["normal_ratio"]((2,), x)
    ),
    "gammaln": lambda n, x: _psi(n[0] - 1, x),
    "digamma": lambda n, x: _psi(n[0], x),
    "polygamma": lambda n, x: _psi(1 + n[0], x),
    "polygamma_difference": _polygamma_difference,
    "betaln": _betaln,
    "remainder": lambda n, a, b: 1 if n == (1, 0) else -mp.floor(a / b),
}

# Functions of each element without a loop form, and their parameters.
POINTWISE: dict[str, dict[str, Any]] = {
    "sinc": {"n": 0},
    "log_ndtr": {},
    "normal_ratio": {},
    "normal_ratio_excess": {},
    "digamma": {},
    "polygamma": {"n": 1},
    "polygamma_difference": {"n": 0},
}

# Where an op is compared, if not everywhere that its derivative exists. The bounds are the normal numbers of the dtype.
DOMAINS: dict[str, Callable[..., bool]] = {
    "power": lambda bounds, a, b: all(bounds[0] <= abs(a) ** (b - k) <= bounds[1] for k in (0, 1, 2)),
    "maximum": lambda _, a, b: a != b,
    "minimum": lambda _, a, b: a != b,
    "polygamma": lambda _, x: x > 0,
    "polygamma_difference": lambda bounds, a, b: all(bounds[0] <= x**3 <= bounds[1] for x in (a, b)),
    "betaln": lambda bounds, a, b: all(bounds[0] <= x**3 <= bounds[1] for x in (a, b)),
    "direction": lambda bounds, a, b: all(bounds[0] <= mp.hypot(a, b) ** k <= bounds[1] for k in (-4, 4)),
    "inversion": lambda bounds, a, b: all(bounds[0] <= mp.hypot(a, b) ** k <= bounds[1] for k in (-4, 4)),
}


def _everywhere(*_: Any) -> bool:
    return True


# Terms that cancel where a derivative has a zero: there the error is relative to one of them.
TERMS: dict[tuple[str, str], Callable[..., Any]] = {
    ("power", "a b"): lambda a, b: abs(a) ** (b - 1),  # of a^(b-1) + a^(b-1) b log a
    ("rel_entr", "a"): lambda *_: 1,  # of 1 + log(a / b)
    ("inversion", "a a"): lambda a, b: mp.hypot(a, b) ** -3,  # a third derivative of arctan2
    ("inversion", "a b"): lambda a, b: mp.hypot(a, b) ** -3,
    ("normal_ratio", "x x"): _normal_ratio,  # of r (1 - r (x + r) - (x + r)²), a third derivative of log_ndtr
    ("normal_ratio_excess", "x"): lambda _: 1,  # of 1 - r (x + r)
    ("normal_ratio_excess", "x x"): _normal_ratio,
    ("sinc", "x"): lambda x: min(1 / abs(x), 1),  # of (cos πx - sinc x) / x
    ("sinc", "x x"): lambda x: min(mp.pi / abs(x), 1),
}

# Matrices whose eigenvalues and singular values are well apart.
SQUARE = np.array([[2.0, 0.1, 0.3], [0.2, 4.0, 0.5], [0.4, 0.6, 6.0]])
TALL = np.array([[2.0, 0.5], [0.2, 4.0], [0.1, 0.7]])

# Operands of the other ops: shapes or arrays, and parameters. Random numbers are positive, so that no sum cancels.
OPERANDS: dict[str, tuple[Sequence[Any], dict[str, Any]]] = {
    "astype": ([(3,)], {"dtype": np.dtype(np.float64)}),
    "reduce_sum": ([(3, 4)], {"axes": (-1,)}),
    "reduce_max": ([(3, 4)], {"axes": (-1,)}),
    "reduce_min": ([(3, 4)], {"axes": (-1,)}),
    "broadcast_to": ([(3, 1)], {"shape": (2, 3, 4)}),
    "reshape": ([(3, 4)], {"shape": (2, 6)}),
    "transpose": ([(3, 4)], {"axes": (-1, -2)}),
    "concatenate": ([(3, 2), (3, 4)], {"axis": -1}),
    "getitem": ([(3, 4)], {"index": (..., slice(1, None))}),
    "gather": ([(5,), np.array([0, 3, 3, 1])], {"index": (..., ops.ARRAY)}),
    "scatter_add": ([(4,), np.array([0, 3, 3, 1])], {"index": (..., ops.ARRAY), "shape": (5,)}),
    "matmul": ([(3, 5), (5, 2)], {}),
    "einsum": ([(3, 5), (5, 2), (2,)], {"subscripts": "ij,jk,k->ik"}),
    "norm": ([(3, 4), (5,), ()], {"ndims": (2, 1, 0)}),
    "accumulate": ([(3, 4)], {"axis": -1}),
    "solve": ([SQUARE, (3, 2)], {}),
    "inv": ([SQUARE], {}),
    "det": ([SQUARE], {}),
    "cofactors": ([SQUARE], {}),
    "logdet": ([SQUARE], {}),
    "cholesky": ([SQUARE], {}),
    "pinv": ([TALL], {}),
    "qr": ([TALL], {}),
    "reciprocal_gaps": ([np.array([1.0, 2.5, 4.25])], {"of": "values"}),
    "eigvalsh": ([SQUARE], {}),
    "eigenvectors": ([SQUARE], {}),
    "svdvals": ([TALL], {}),
    "singular_vectors": ([TALL], {}),
}


def _of_matrices(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """Return a function of arrays that calls a function of matrices of mpmath."""
    return lambda *arrays, **_: np.array(function(*map(mp.matrix, arrays)).tolist())


def _symmetric(a: Any) -> Any:
    """Return the symmetric matrix with the lower triangle of `a`, which is all that LAPACK reads."""
    return mp.matrix([[a[max(i, j), min(i, j)] for j in range(a.cols)] for i in range(a.rows)])


def _stacked(upper: Any, lower: Any) -> Any:
    return mp.matrix(upper.tolist() + lower.tolist())


def _singular_vectors(a: Any) -> Any:
    u, _, vh = mp.svd_r(a)
    return _stacked(u, vh.T)


# The values of ops that `run` cannot compute with numbers of mpmath. Squares of vectors do not depend on their signs.
ARRAY_VALUES: dict[str, Callable[..., Any]] = {
    "astype": lambda x, **_: x,
    "norm": lambda *arrays, **_: mp.sqrt(sum(np.sum(x * x) for x in arrays)),
    "solve": _of_matrices(lambda a, b: mp.inverse(a) * b),
    "inv": _of_matrices(mp.inverse),
    "det": lambda a: mp.det(mp.matrix(a)),
    "cofactors": _of_matrices(lambda a: mp.det(a) * mp.inverse(a).T),
    "logdet": lambda a: mp.log(abs(mp.det(mp.matrix(a)))),
    "cholesky": _of_matrices(lambda a: mp.cholesky(_symmetric(a))),
    "pinv": _of_matrices(lambda a: mp.inverse(a.T * a) * a.T),
    "qr": _of_matrices(lambda a: _stacked(*mp.qr(a, mode="skinny"))),
    "reciprocal_gaps": lambda x, **_: np.array([[0 if a is b else 1 / (b - a) for b in x] for a in x]),
    "eigvalsh": lambda a: np.array(list(mp.eigsy(_symmetric(mp.matrix(a)), eigvals_only=True))),
    "eigenvectors": _of_matrices(lambda a: mp.eigsy(_symmetric(a))[1]),
    "svdvals": lambda a: np.array(list(mp.svd_r(mp.matrix(a), compute_uv=False))),
    "singular_vectors": _of_matrices(_singular_vectors),
}


@dataclass
class Row:
    """The largest error of an op's derivative with respect to the operands in `wrt`, and where it is."""

    op: str
    wrt: str
    order: int
    dtype: type
    error: float = 0.0
    where: str = ""
    compared: int = 0
    zero_or_none: int = 0


# Functions of each element ------------------------------------------------------------------------------------------------


def points(dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """Return numbers of every size and both signs, and numbers close to those where functions have zeros, kinks and poles."""
    info = np.finfo(dtype)
    sizes = np.logspace(np.log10(float(info.smallest_subnormal)), np.log10(float(info.max)) - 1e-6, 200)
    special = np.array([1.0, np.pi / 2, np.pi, 3 * np.pi / 2, 100 * np.pi], dtype)
    near = [special * (1.0 + k * info.eps) for k in (-64, -3, -1, 0, 1, 3, 64)]
    moderate = rng.uniform(0.0, 20.0, 60)
    positive = np.concatenate([sizes, moderate, *near, [float(info.smallest_subnormal), float(info.tiny)]]).astype(dtype)
    return np.unique(np.concatenate([positive, -positive]))


def operands(op: Op, dtype: Any) -> list[np.ndarray]:
    """Return the operands of a function of each element: one array, or random pairs from it and pairs of moderate size."""
    rng = np.random.default_rng(0)
    one = points(dtype, rng)
    conditions, values = _split(op)
    if values == 1 and not conditions:
        return [one]
    moderate = [rng.uniform(-3.0, 3.0, PAIRS).astype(dtype) for _ in range(values)]
    arrays = [np.concatenate([rng.choice(one, PAIRS), some]) for some in moderate]
    return [rng.random(2 * PAIRS) < 0.5 for _ in range(conditions)] + arrays


def _split(op: Op) -> tuple[int, int]:
    """Return the numbers of conditions and of values that a function of each element takes."""
    if op.name in POINTWISE:
        shapes = inspect.signature(op.shape).parameters.values()
        return 0, sum(x.kind is x.POSITIONAL_OR_KEYWORD for x in shapes)
    count = max(i for i in range(4) if f"{{{i}}}" in str(op.loop)) + 1
    values = len(range(count)[op.values])
    return count - values, values


def derivative(function: Callable[..., Any], point: Sequence[Any], wrt: Sequence[int]) -> Any:
    """Return the derivative of a function of numbers of mpmath with respect to one operand after the other, or None."""
    if not wrt:
        return function(*point)
    *inner, position = wrt
    step = STEP * min(abs(point[position]), mpmath.mpf(1)) if point[position] else STEP
    sides = [[*point[:position], point[position] + sign * step, *point[position + 1 :]] for sign in (1, -1)]
    try:
        ahead, behind = (derivative(function, side, inner) for side in sides)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    if ahead is None or behind is None or not (mp.isfinite(ahead) and mp.isfinite(behind)):
        return None
    if isinstance(ahead, mpmath.mpc) or isinstance(behind, mpmath.mpc):
        return None
    return (ahead - behind) / (2 * step)


def digits(point: Sequence[Any]) -> int:
    """Return how many digits a second difference at this point needs."""
    return 600 + 3 * max((abs(int(mp.log10(abs(x)))) for x in point if x), default=0)


def elementwise_rows(op: Op, dtype: Any) -> list[Row]:
    """Compare the derivatives of a function of each element."""
    if op.name not in VALUES and op.name not in DERIVATIVES:
        raise SystemExit(f"gradient_errors: {op.name} has no reference; add its value on numbers of mpmath to VALUES")
    arrays = operands(op, dtype)
    positions = [i for i in range(len(arrays)) if op.vjp(i) is not None]
    rows = []
    for order in (1, 2):
        for wrt in itertools.combinations_with_replacement(positions, order):
            computed = _derivative_of_op(op, arrays, wrt)
            if computed is None:  # constant in this operand, such as the second derivative of a sum
                continue
            rows.append(_compare(op, dtype, arrays, wrt, computed))
    return rows


def _derivative_of_op(op: Op, arrays: Sequence[np.ndarray], wrt: Sequence[int]) -> np.ndarray | None:
    tensors = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    with np.errstate(all="ignore"):
        y = apply(op, *tensors, **POINTWISE.get(op.name, {}))
        for position in wrt:
            if not y.requires_grad:
                return None
            (y,) = grad(y, [tensors[position]], create_graph=True, cotangent=np.ones_like(arrays[position]), unused="zeros")
    return y.numpy()


def _compare(op: Op, dtype: Any, arrays: Sequence[np.ndarray], wrt: Sequence[int], computed: np.ndarray) -> Row:
    names = "x" if len(arrays) == 1 else "abcd"
    row = Row(op.name, " ".join(names[i] for i in wrt), len(wrt), dtype)
    info = np.finfo(dtype)
    tiny, largest = mpmath.mpf(float(info.tiny)), mpmath.mpf(float(info.max))
    for i, number in enumerate(computed.tolist()):
        point = [x[i].item() if x.dtype.kind == "b" else mpmath.mpf(float(x[i])) for x in arrays]
        is_inside = DOMAINS.get(op.name, _everywhere)((tiny, largest), *point)
        true = _true(op, point, wrt) if is_inside else None
        if true and not number:  # a rounding error of the reference, which more digits make smaller, or an error of the op
            true = true if abs(_true(op, point, wrt, 2)) > abs(true) / 2 else 0
        is_compared = true is not None
        if not is_compared or not true:
            row.zero_or_none += 1
            if is_compared and not abs(number) < tiny:  # nan, too
                row.error, row.where = np.inf, _text(point)
            continue
        row.compared += 1
        if abs(true) > largest:
            error = np.inf if np.isfinite(number) else 0.0
        elif not np.isfinite(number):
            error = np.inf
        elif abs(true) < tiny and abs(number) < tiny:
            error = 0.0
        else:
            term = TERMS[op.name, row.wrt](*point) if (op.name, row.wrt) in TERMS else 0
            error = float(abs(mpmath.mpf(number) - true) / max(abs(true), tiny, term))
        if error > row.error:
            row.error = error
            row.where = _text(point)
    return row


def _text(point: Sequence[Any]) -> str:
    return ", ".join(f"{x}" if isinstance(x, bool) else f"{float(x):.6g}" for x in point)


def _true(op: Op, point: Sequence[Any], wrt: Sequence[int], precision: int = 1) -> Any:
    if op.name in VALUES:
        with mp.workdps(precision * digits(point)):
            return derivative(VALUES[op.name], point, wrt)
    exponents = [0, *(int(mp.log10(abs(x))) for x in point if x)]
    smallest = min(exponents) if len(point) > 1 else 0
    needed = 60 + 2 * (max(exponents) - smallest)  # formulas may subtract numbers of these sizes
    with mp.workdps(precision * (needed + -needed % 200)):  # mpmath keeps Bernoulli numbers for a precision
        try:
            true = DERIVATIVES[op.name](tuple(wrt.count(i) for i in range(len(point))), *point)
        except (ValueError, ZeroDivisionError):  # at a pole
            return None
        return true if mp.isfinite(true) else None


# Other ops ----------------------------------------------------------------------------------------------------------------


def array_rows(op: Op, dtype: Any) -> list[Row]:
    """Compare the derivatives of the sum of w y² for an op on arrays."""
    if op.name not in OPERANDS:
        raise SystemExit(f"gradient_errors: {op.name} has no operands; add shapes and parameters to OPERANDS")
    given, params = OPERANDS[op.name]
    rng = np.random.default_rng(0)
    arrays = [x if isinstance(x, np.ndarray) else np.exp(rng.normal(size=x)) for x in given]
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays]
    tensors = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    variables = [x for x in tensors if x.requires_grad]
    y = apply(op, *tensors, **params)
    weights = rng.uniform(0.5, 1.5, y.shape).astype(y.dtype)
    slopes = grad((weights * y * y).sum(), variables, create_graph=True)
    directions = [rng.uniform(0.5, 1.5, x.shape).astype(dtype) for x in variables]
    along = sum((slope * v).sum() for slope, v in zip(slopes, directions, strict=True))
    derivatives = {1: slopes, 2: grad(along, variables)}
    numbers = [_numbers(x) if x.dtype.kind == "f" else x for x in arrays]
    value = partial(ARRAY_VALUES.get(op.name, op.run), **params)
    rows = []
    for order in (1, 2):
        row = Row(op.name, "all", order, dtype)
        with mp.workdps(80):
            true = _true_of_arrays(value, numbers, _numbers(weights), [_numbers(v) for v in directions] if order == 2 else None)
            for computed, expected in zip(derivatives[order], true, strict=True):
                largest = max(map(abs, expected.flat))
                differences = [abs(mpmath.mpf(float(c)) - e) for c, e in zip(computed.numpy().flat, expected.flat, strict=True)]
                row.error = max([row.error, *[float(difference / largest) for difference in differences]])
                row.compared += len(differences)
        rows.append(row)
    return rows


def _numbers(array: Any) -> np.ndarray:
    """Return an array of numbers of mpmath."""
    array = np.asarray(array, np.float64)
    return np.array([mpmath.mpf(x) for x in array.ravel().tolist()], object).reshape(array.shape)


def _true_of_arrays(
    value: Callable[..., Any], arrays: list[np.ndarray], weights: np.ndarray, directions: list[np.ndarray] | None
) -> list[np.ndarray]:
    """Return the derivative of the sum of w y² by each element or, with directions, the derivative of that along them."""
    step = mpmath.mpf(10) ** -20
    positions = [i for i, x in enumerate(arrays) if x.dtype == object]

    def objective(moves: Sequence[np.ndarray]) -> Any:
        moved = list(arrays)
        for i, move in zip(positions, moves, strict=True):
            moved[i] = moved[i] + step * move
        return np.sum(weights * np.asarray(value(*moved), object) ** 2)

    def difference(moves: Sequence[np.ndarray]) -> Any:
        if directions is None:
            return (objective(moves) - objective([-m for m in moves])) / (2 * step)
        ahead, behind = ([sign * v + m for v, m in zip(directions, moves, strict=True)] for sign in (1, -1))
        total = objective(ahead) - objective([-m for m in behind]) - objective(behind) + objective([-m for m in ahead])
        return total / (4 * step**2)

    slopes = []
    for i in range(len(positions)):
        slopes.append(np.empty(arrays[positions[i]].shape, object))
        for index in np.ndindex(slopes[i].shape):
            moves = [np.zeros(arrays[j].shape, int) for j in positions]
            moves[i][index] = 1
            slopes[i][index] = difference(moves)
    return slopes


# The table ----------------------------------------------------------------------------------------------------------------


def differentiable_ops() -> list[Op]:
    """Return the ops that the table has rows for."""
    return [op for op in ops.OP_TABLE.values() if op.differentiable]


def rows_by(op: Op) -> Callable[[Op, Any], list[Row]]:
    """Return the function that compares the derivatives of an op."""
    return elementwise_rows if op.elementwise or op.name in POINTWISE else array_rows


def rows_of(op: Op) -> list[Row]:
    """Return the rows of an op, of both dtypes."""
    with mp.workdps(50):
        return [row for dtype in BAR for row in rows_by(op)(op, dtype)]


def markdown(rows: Sequence[Row]) -> str:
    """Return the table: a line for each op, with the largest error of each order and dtype."""
    columns = [f"{np.dtype(dtype)}, order {order}" for dtype, order in itertools.product(BAR, (1, 2))]
    lines = [f"| op | {' | '.join(columns)} | compared | 0 or none |", f"| --- |{' --- |' * (len(columns) + 2)}"]
    for name in dict.fromkeys(row.op for row in rows):
        cells = []
        for dtype, order in itertools.product(BAR, (1, 2)):
            errors = [row.error for row in rows if (row.op, row.dtype, row.order) == (name, dtype, order)]
            cells.append(f"{max(errors):.1e}" if errors else "0")
        compared, others = (sum(n) for n in zip(*[(r.compared, r.zero_or_none) for r in rows if r.op == name], strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} | {compared:,} | {others:,} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table and the places of the largest errors; fail if an error is above the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="the name of one op")
    parser.add_argument("--write", action="store_true", help="put the table into docs/numerics.md")
    options = parser.parse_args()
    rows = [row for op in differentiable_ops() if options.only in (None, op.name) for row in rows_of(op)]
    table = markdown(rows)
    print(table)
    above = [row for row in rows if not row.error <= BAR[row.dtype]]
    for row in above:
        print(f"above the bar: {row.op}, d/d{row.wrt}, {np.dtype(row.dtype)}: {row.error:.1e} at {row.where}")
    if options.write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    if above:
        raise SystemExit(f"gradient_errors: {len(above)} rows are above the bar")


if __name__ == "__main__":
    main()
