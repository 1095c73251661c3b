"""The largest error of the derivatives of each op, of orders 1 and 2, in double and single precision, over its whole domain.

    python benchmarks/gradient_errors.py                # prints the table as Markdown
    python benchmarks/gradient_errors.py --write        # and puts it into docs/numerics.md
    python benchmarks/gradient_errors.py --only tanh

It needs mpmath (the `bench` extra). An op of the table without a reference here is an error that names it.

*What is the truth?* For an elementwise op, a function of mpmath, differentiated numerically in steps of 1e-60 min(|x|, 1). It
has 600 digits, and three more for each power of ten in |x|, so more than 50 digits of the result are right. Any other op has
random operands, and complex steps in double precision.

*What is the error?* |computed - true| / |true|, or what TERMS says. Where the true derivative is beyond the largest number, the
computed one must not be finite. Where it is below the smallest normal number, so must be the computed one. Points where the
derivative is 0 or does not exist are counted but not compared: the first tables of the page say what happens there.

The operands are 200 sizes of both signs from the smallest subnormal number to the largest one, random ones of moderate size,
and neighbours of 0, ±1 and the multiples of π/2. An op of two operands has random pairs of them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from tinygrad_lab.testing.comparison import Comparer

PAGE = Path(__file__).parents[1] / "docs" / "numerics.md"
BEGIN, END = "<!-- gradient errors: begin -->", "<!-- gradient errors: end -->"
STEP = mpmath.mpf(10) ** -60
BAR = {np.float64: 1e-12, np.float32: 1e-5}
PAIRS = 250


def _softplus(x: Any) -> Any:
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x)) if x > 0 else mp.exp(x) / (1 + mp.exp(x))


def _tanh(x: Any) -> Any:
    return mp.sign(x) * (1 - mp.exp(-2 * abs(x))) / (1 + mp.exp(-2 * abs(x)))


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
    "sech_squared": lambda x: (2 / (mp.exp(x) + mp.exp(-x))) ** 2,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
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
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "hypot": mp.hypot,
    "logaddexp": lambda a, b: max(a, b) + mp.log1p(mp.exp(-abs(a - b))),
    "xlogy": lambda a, b: a * mp.log(b) if a else mpmath.mpf(0),
    "xlog1py": lambda a, b: a * mp.log(1 + b) if a else mpmath.mpf(0),
    "logit": lambda x: mp.log(x / (1 - x)),
    "cathetus": lambda x: mp.sqrt((1 - x) * (1 + x)),
    "remainder": lambda a, b: a - b * mp.floor(a / b),
    "rel_entr": lambda a, b: a * mp.log(a / b) if a > 0 and b > 0 else mp.nan,
    "kl_div": lambda a, b: a * mp.log(a / b) - a + b if a > 0 and b > 0 else mp.nan,
    "betaln": lambda a, b: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b) if a > 0 and b > 0 else mp.nan,
}

# Ops whose values take mpmath long at large arguments: their derivative instead.
DERIVATIVES: dict[str, Callable[[Any], Any]] = {
    "erf": lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x),
    "erfc": lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x),
    "ndtr": lambda x: mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi),
    "gammaln": lambda x: mp.psi(0, x) if x > 0 or x != mp.floor(x) else None,
}

# First derivatives of hypot and arctan2. Their second derivatives would be third ones, which lose digits.
HELPERS = ("direction", "inversion")

# Sizes of the operands of an op, if not all: mpmath takes long, or a quotient is beyond the largest whole number.
SIZES: dict[str, tuple[float, float]] = {
    "remainder": (1e-3, 1e3),
    "gammaln": (1e-6, 1e6),
    "betaln": (1e-3, 1e3),
}

# Where an op is compared, if not everywhere that its derivative exists. The bounds are the normal numbers of the dtype.
DOMAINS: dict[str, Callable[..., bool]] = {
    "power": lambda bounds, a, b: all(bounds[0] <= abs(a) ** (b - k) <= bounds[1] for k in (0, 1, 2)),
    "maximum": lambda _, a, b: a != b,
    "minimum": lambda _, a, b: a != b,
    "gammaln": lambda _, x: x > 0 or x != mp.floor(x),
    "remainder": lambda _, a, b: a / b != mp.floor(a / b),
}


def _everywhere(*_: Any) -> bool:
    return True


# Terms that cancel where a derivative has a zero: there the error is relative to one of them.
TERMS: dict[tuple[str, str], Callable[..., Any]] = {
    ("power", "a b"): lambda a, b: abs(a) ** (b - 1),  # of a^(b-1) + a^(b-1) b log a
}

# Operands of the other ops: shapes, or an array for an index, and parameters. Numbers are positive, so that no sum cancels.
OPERANDS: dict[str, tuple[Sequence[Any], dict[str, Any]]] = {
    "astype": ([(3,)], {"dtype": np.dtype(np.float64)}),
    "reduce_sum": ([(3, 4)], {"axes": (-1,)}),
    "reduce_max": ([(3, 4)], {"axes": (-1,)}),
    "reduce_min": ([(3, 4)], {"axes": (-1,)}),
    "norm": ([(3, 4), (2,)], {"ndims": (2, 1)}),
    "broadcast_to": ([(3, 1)], {"shape": (2, 3, 4)}),
    "reshape": ([(3, 4)], {"shape": (2, 6)}),
    "transpose": ([(3, 4)], {"axes": (-1, -2)}),
    "concatenate": ([(3, 2), (3, 4)], {"axis": -1}),
    "getitem": ([(3, 4)], {"index": (..., slice(1, None))}),
    "gather": ([(5,), np.array([0, 3, 3, 1])], {"index": (..., ops.ARRAY)}),
    "scatter_add": ([(4,), np.array([0, 3, 3, 1])], {"index": (..., ops.ARRAY), "shape": (5,)}),
    "matmul": ([(3, 5), (5, 2)], {}),
    "einsum": ([(3, 5), (5, 2), (2,)], {"subscripts": "ij,jk,k->ik"}),
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


# Elementwise ops ----------------------------------------------------------------------------------------------------------


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
    """Return the operands of an elementwise op: one array, or random pairs from it and pairs of moderate size."""
    rng = np.random.default_rng(0)
    one = points(dtype, rng)
    low, high = SIZES.get(op.name, (0.0, np.inf))
    one = one[(low <= np.abs(one)) & (np.abs(one) <= high)]
    conditions, values = _split(op)
    if values == 1 and not conditions:
        return [one]
    moderate = [rng.uniform(-3.0, 3.0, PAIRS).astype(dtype) for _ in range(values)]
    arrays = [np.concatenate([rng.choice(one, PAIRS), some]) for some in moderate]
    return [rng.random(2 * PAIRS) < 0.5 for _ in range(conditions)] + arrays


def _split(op: Op) -> tuple[int, int]:
    """Return the numbers of conditions and of values that an elementwise op takes."""
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
    """Compare the derivatives of an elementwise op."""
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
        y = apply(op, *tensors)
        for position in wrt:
            if y is None or not y.requires_grad:
                return None
            ones = np.ones_like(arrays[position])
            (y,) = grad(y, [tensors[position]], create_graph=True, cotangent=ones, unused="none")
    return None if y is None else y.numpy()


def _compare(op: Op, dtype: Any, arrays: Sequence[np.ndarray], wrt: Sequence[int], computed: np.ndarray) -> Row:
    names = "x" if len(arrays) == 1 else "abcd"
    row = Row(op.name, " ".join(names[i] for i in wrt), len(wrt), dtype)
    info = np.finfo(dtype)
    tiny, largest = mpmath.mpf(float(info.tiny)), mpmath.mpf(float(info.max))
    for i, number in enumerate(computed.tolist()):
        point = [x[i].item() if x.dtype.kind == "b" else mpmath.mpf(float(x[i])) for x in arrays]
        with mp.workdps(digits(point)):
            true = _true(op, point, wrt)
        if true and not number:  # a rounding error of the reference, which more digits make smaller, or an error of the op
            with mp.workdps(2 * digits(point)):
                true = true if abs(_true(op, point, wrt)) > abs(true) / 2 else 0
        is_compared = true is not None and DOMAINS.get(op.name, _everywhere)((tiny, largest), *point)
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


def _true(op: Op, point: Sequence[Any], wrt: Sequence[int]) -> Any:
    if op.name in DERIVATIVES:
        return derivative(DERIVATIVES[op.name], point, wrt[1:])
    return derivative(VALUES[op.name], point, wrt)


# Other ops ----------------------------------------------------------------------------------------------------------------


def array_rows(op: Op, dtype: Any) -> list[Row]:
    """Compare the derivatives of an op on arrays with complex steps, for all operands together."""
    if op.name not in OPERANDS:
        raise SystemExit(f"gradient_errors: {op.name} has no operands; add shapes and parameters to OPERANDS")
    shapes, params = OPERANDS[op.name]
    rng = np.random.default_rng(0)
    rows = []
    for order in (1, 2):
        arrays = [x if isinstance(x, np.ndarray) else np.exp(rng.normal(size=x)).astype(dtype) for x in shapes]
        tensors = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]

        def function(*tensors: Tensor) -> Tensor:
            y = apply(op, *tensors, **params)
            return y * y  # so that a linear op has a second derivative

        found = Comparer(function, tensors, None, 1000, rng).compare(order)
        if found.mismatches:
            raise SystemExit(f"gradient_errors: {op.name} is wrong at order {order}: {found.mismatches[0]}")
        rows.append(Row(op.name, "all", order, dtype, found.worst, "", found.compared))
    return rows


# The table ----------------------------------------------------------------------------------------------------------------


def differentiable_ops() -> list[Op]:
    """Return the ops that the table has rows for: those of the engine, and functions of each element."""
    found = [op for op in ops.OP_TABLE.values() if op.elementwise or op in vars(ops).values()]
    return [op for op in found if op.differentiable and op.name not in HELPERS]


def rows_of(op: Op) -> list[Row]:
    """Return the rows of an op, of both dtypes."""
    with mp.workdps(50):
        return [row for dtype in BAR for row in (elementwise_rows if op.elementwise else array_rows)(op, dtype)]


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
