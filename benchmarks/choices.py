"""Derivatives where they are a matter of choice, measured: this framework's, JAX's and PyTorch's.

    python benchmarks/choices.py                # prints the table as Markdown
    python benchmarks/choices.py --write        # and puts it into docs/numerics.md

It needs JAX and PyTorch (the `bench` extra). The tests compute our column from the same rows, and compare it with `ours` and
with the page.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "numerics.md"
BEGIN, END = "<!-- choices: begin -->", "<!-- choices: end -->"

INF, NAN = float("inf"), float("nan")
Names = Mapping[str, Any]
Evaluate = Callable[[str, Sequence[Any]], tuple[Any, list[Any]]]


class Row(NamedTuple):
    """A point, the expression to differentiate there, our choice, and the reason for it.

    `ours` is the derivative of the sum of the result with respect to x, y, ...; for an error, its class.
    """

    where: str
    expression: str
    point: Sequence[Any]
    ours: str
    why: str = ""


KINKS = [
    Row("relu at 0", "relu(x)", [0.0], "0", "a dead unit stays dead"),
    Row("leaky relu at 0", "leaky_relu(x)", [0.0], "0.05", "0 belongs to the lower branch, as in relu"),
    Row("elu at 0", "elu(x)", [0.0], "0.5", "0 belongs to the lower branch; alpha is 0.5 here"),
    Row("selu at 0", "selu(x)", [0.0], "1.758", "as elu"),
    Row("abs at 0", "abs(x)", [0.0], "0", "the subgradient of least size"),
    Row("abs at -0.0", "abs(x)", [-0.0], "0", "-0.0 equals 0.0"),
    Row("sign at 0", "sign(x)", [0.0], "0", "constant between its jumps"),
    Row("sign", "sign(x) * x", [3.0], "1", "sign itself has the derivative 0"),
    Row("ties of max", "max(x)", [[2.0, 1.0, 2.0]], "[0.5, 0, 0.5]", "shares add up to 1, and positions do not matter"),
    Row("ties of min", "min(x)", [[1.0, 1.0, 2.0, 1.0]], "[0.3333, 0.3333, 0, 0.3333]", "as max"),
    Row("max of 0.0 and -0.0", "max(x)", [[0.0, -0.0]], "[0.5, 0.5]", "they are equal"),
    Row("ties of max at infinity", "max(x)", [[INF, INF]], "[0.5, 0.5]", "as other ties"),
    Row("maximum at equality", "maximum(x, y)", [1.0, 1.0], "0.5; 0.5", "as max of two"),
    Row("minimum at equality", "minimum(x, y)", [1.0, 1.0], "0.5; 0.5", "as maximum"),
    Row("maximum of x and x", "maximum(x, x)", [1.0], "1", "both halves come back"),
    Row("clip at its lower bound", "clip(x, -1.0, 1.0)", [-1.0], "0", "at the bound, the value no longer changes with x"),
    Row("clip at its upper bound", "clip(x, -1.0, 1.0)", [1.0], "0", "as at the lower bound"),
    Row("clip between", "clip(x, -1.0, 1.0)", [0.5], "1"),
    Row("where at its threshold", "where(x > 0.0, x, 0.05 * x)", [0.0], "0.05", "the branch that was selected"),
    Row("norm at 0", "norm(x)", [[0.0, 0.0]], "[0, 0]", "the subgradient of least size, never nan"),
    Row("std of equal elements", "std(x)", [[2.0, 2.0]], "[0, 0]", "as norm"),
    Row("mean absolute error at 0", "mean_absolute_error(x, y)", [[1.0], [1.0]], "[0]; [0]", "as abs"),
    Row("huber at delta", "huber(x, y)", [[1.0], [0.0]], "[1]; [-1]", "both branches agree"),
    Row("softplus at 0", "softplus(x)", [0.0], "0.5", "smooth there, and computed without a kink"),
    Row("logaddexp at equality", "logaddexp(x, y)", [2.0, 2.0], "0.5; 0.5", "as softplus"),
    Row("norm of several arrays at 0", "norms(x, y)", [[0.0, 0.0], [0.0]], "[0, 0]; [0]", "as norm; ClipGradNorm uses it"),
    Row(
        "norm of several huge arrays",
        "norms(x, y)",
        [[3e200], [4e200]],
        "[0.6]; [0.8]",
        "squares are scaled, and never overflow",
    ),
    Row("ClipGradNorm of zeros", "clip_grad_norm(x)", [[0.0, 0.0]], "[1, 1]", "below the limit, the factor is 1"),
    Row("hypot at 0", "hypot(x, y)", [0.0, 0.0], "0; 0", "as norm"),
    Row("arctan2 at 0", "arctan2(x, y)", [0.0, 0.0], "0; 0", "the angle jumps there; 0 is the mean over all directions"),
    Row("arctan2 at its cut", "arctan2(x, y)", [0.0, -1.0], "-1; 0", "both sides have this slope; only the value jumps"),
    Row(
        "remainder at a multiple",
        "remainder(x, y)",
        [4.0, 2.0],
        "1; -2",
        "the value jumps; the slope is that of ⌊x / y⌋ at the point",
    ),
    Row("ties of sort", "sort(x) @ y", [[3.0, 1.0, 1.0], [1.0, 2.0, 4.0]], "[4, 1, 2]; [1, 1, 3]", "ties keep their order"),
    Row("ties of median", "median(x)", [[1.0, 1.0, 1.0, 5.0]], "[0.3333, 0.3333, 0.3333, 0]", "as max"),
    Row(
        "eigvalsh with equal eigenvalues",
        "eigvalsh(x) @ y",
        [[[1.0, 0.0], [0.0, 1.0]], [1.0, 3.0]],
        "[[1, 0], [0, 3]]; [1, 1]",
        "one subgradient: that of the eigenvectors that LAPACK returns",
    ),
    Row(
        "eigh with equal eigenvalues",
        "eigh(x)[1]",
        [[[1.0, 0.0], [0.0, 1.0]]],
        "LinAlgError",
        "the eigenvectors are not unique",
    ),
    Row("svdvals of a singular matrix", "svdvals(x)", [[[1.0, 0.0], [0.0, 0.0]]], "[[1, 0], [0, 1]]", "as eigvalsh"),
    Row("svd with equal singular values", "svd(x)[0]", [[[1.0, 0.0], [0.0, 1.0]]], "LinAlgError", "as eigh"),
]

POWERS = [
    Row("x ** 0 at 0", "x ** 0.0", [0.0], "0", "x ** 0 is 1 everywhere"),
    Row("x ** 0 elsewhere", "x ** 0.0", [2.0], "0"),
    Row("x ** 1 at 0", "x ** 1.0", [0.0], "1"),
    Row("x ** y at x = 0, y = 1", "x ** y", [0.0, 1.0], "1; 0"),
    Row("x ** 2 at 0", "x ** 2.0", [0.0], "0"),
    Row("x ** 0.5 at 0", "x ** 0.5", [0.0], "inf", "the pole of the derivative"),
    Row("x ** -1 at 0", "x ** -1.0", [0.0], "-inf", "the limit from both sides"),
    Row("x ** 3 of a negative", "x ** 3.0", [-2.0], "12", "whole exponents of negative bases are defined"),
    Row("x ** 0.5 of a negative", "x ** 0.5", [-2.0], "nan", "the value is nan too"),
    Row("0 ** y", "x ** y", [0.0, 2.0], "0; 0", "0 ** y is 0 around y"),
    Row("0 ** y at y = 0", "x ** y", [0.0, 0.0], "0; 0", "the value 1 is finite, so is the derivative"),
    Row("0 ** y at a negative y", "x ** y", [0.0, -1.0], "-inf; -inf", "inf log 0, the limit from x > 0"),
    Row("(-2) ** y at y = 2", "x ** y", [-2.0, 2.0], "-4; nan", "no real power close to y = 2 is defined"),
    Row("0.5 ** infinity", "x ** y", [0.5, INF], "nan; 0", "inf times 0; the value is 0"),
    Row("0.5 ** -infinity", "x ** y", [0.5, -INF], "-inf; -inf", "the limit"),
    Row("2 ** -infinity", "x ** y", [2.0, -INF], "nan; 0", "inf times 0; the value is 0"),
    Row("infinity ** -1", "x ** y", [INF, -1.0], "0; 0", "the limit"),
    Row("prod with a zero", "prod(x)", [[2.0, 0.0, 3.0]], "[0, 6, 0]", "multiplied in halves, never divided by an element"),
    Row("prod with two zeros", "prod(x)", [[2.0, 0.0, 0.0]], "[0, 0, 0]"),
]

POLES = [
    Row("log at 0", "log(x)", [0.0], "inf", "1 / x"),
    Row("log of a negative", "log(x)", [-1.0], "-1", "1 / x; the value is nan"),
    Row("log1p at -1", "log1p(x)", [-1.0], "inf", "1 / (1 + x)"),
    Row("sqrt at 0", "sqrt(x)", [0.0], "inf", "the limit; norm and std make their own choice"),
    Row("sqrt of a negative", "sqrt(x)", [-1.0], "nan"),
    Row("1 / x at 0", "1.0 / x", [0.0], "-inf", "the limit from both sides"),
    Row("x / y at 0 / 0", "x / y", [0.0, 0.0], "inf; nan", "1 / y, and -x / y²"),
    Row("x / y at y = infinity", "x / y", [1.0, INF], "0; 0", "the limit"),
    Row("exp at -infinity", "exp(x)", [-INF], "0"),
    Row("expm1 at -infinity", "expm1(x)", [-INF], "0"),
    Row("tanh at infinity", "tanh(x)", [INF], "0", "the limit"),
    Row("sigmoid at -infinity", "sigmoid(x)", [-INF], "0", "the limit"),
    Row("softplus at infinity", "softplus(x)", [INF], "1", "the limit"),
    Row("softplus at -infinity", "softplus(x)", [-INF], "0", "the limit"),
    Row("erf at infinity", "erf(x)", [INF], "0", "the limit"),
    Row("sin at infinity", "sin(x)", [INF], "nan"),
    Row("tan at infinity", "tan(x)", [INF], "nan"),
    Row("arcsin at 1", "arcsin(x)", [1.0], "inf", "the limit"),
    Row("arcsin of 2", "arcsin(x)", [2.0], "nan", "the value is nan too"),
    Row("arccos at 1", "arccos(x)", [1.0], "-inf", "the limit"),
    Row("arctan at infinity", "arctan(x)", [INF], "0", "the limit"),
    Row("arcsinh at infinity", "arcsinh(x)", [INF], "0", "the limit"),
    Row("arccosh at 1", "arccosh(x)", [1.0], "inf", "the limit"),
    Row("arctanh at 1", "arctanh(x)", [1.0], "inf", "the limit"),
    Row("arctan2 at infinities", "arctan2(x, y)", [INF, INF], "nan; nan", "not defined; the value is NumPy's"),
    Row("hypot at infinity", "hypot(x, y)", [INF, 1.0], "nan; 0", "not computed as a limit"),
    Row("cbrt at 0", "cbrt(x)", [0.0], "inf", "the limit from both sides"),
    Row("log2 at 0", "log2(x)", [0.0], "inf", "as log"),
    Row("log10 at 0", "log10(x)", [0.0], "inf", "as log"),
    Row("sinc at 0", "sinc(x)", [0.0], "0", "the limit"),
    Row("logaddexp of infinities", "logaddexp(x, y)", [INF, INF], "0.5; 0.5", "as at equality"),
    Row("x % 0", "remainder(x, y)", [1.0, 0.0], "1; -inf", "the value is nan"),
    Row("gammaln at 0", "gammaln(x)", [0.0], "-inf", "the limit from the right"),
    Row("gammaln at -1", "gammaln(x)", [-1.0], "nan", "the limits differ"),
    Row("digamma at 0", "digamma(x)", [0.0], "inf", "the limit from both sides"),
    Row("digamma at -1", "digamma(x)", [-1.0], "inf", "as at 0"),
    Row("betaln at 0", "betaln(x, y)", [0.0, 1.0], "-inf; 0", "the limit from the right"),
    Row("logit at 0", "logit(x)", [0.0], "inf", "the limit"),
    Row("logit at 1", "logit(x)", [1.0], "inf", "the limit"),
    Row("log_ndtr at -infinity", "log_ndtr(x)", [-INF], "inf", "the limit"),
    Row("log_ndtr at infinity", "log_ndtr(x)", [INF], "0", "the limit"),
    Row("xlogy at (0, 0)", "xlogy(x, y)", [0.0, 0.0], "-inf; 0", "log 0, and x log y is 0 around y"),
    Row("xlogy at (1, 0)", "xlogy(x, y)", [1.0, 0.0], "-inf; inf", "log 0, and 1 / 0"),
    Row("xlog1py at (0, -1)", "xlog1py(x, y)", [0.0, -1.0], "-inf; 0", "as xlogy"),
    Row("rel_entr at (0, 1)", "rel_entr(x, y)", [0.0, 1.0], "-inf; 0", "the limit from the right"),
    Row("rel_entr at (1, 0)", "rel_entr(x, y)", [1.0, 0.0], "inf; -inf", "the limit from the right"),
    Row("kl_div at (0, 1)", "kl_div(x, y)", [0.0, 1.0], "-inf; 1", "the limit from the right"),
    Row("kl_div at (1, 0)", "kl_div(x, y)", [1.0, 0.0], "inf; -inf", "the limit from the right"),
    Row(
        "det of a singular matrix",
        "det(x)",
        [[[1.0, 2.0], [2.0, 4.0]]],
        "[[4, -2], [-2, 1]]",
        "the cofactors, never det times the inverse",
    ),
    Row(
        "logdet of a singular matrix", "slogdet(x)[1]", [[[1.0, 0.0], [0.0, 0.0]]], "LinAlgError", "the inverse does not exist"
    ),
    Row("inv of a singular matrix", "inv(x)", [[[1.0, 0.0], [0.0, 0.0]]], "LinAlgError", "as NumPy"),
    Row("cholesky of a singular matrix", "cholesky(x)", [[[1.0, 0.0], [0.0, 0.0]]], "LinAlgError", "as NumPy"),
    Row(
        "pinv of a singular matrix",
        "pinv(x)",
        [[[2.0, 0.0], [0.0, 0.0]]],
        "[[-0.25, 0.25], [0.25, 0]]",
        "the derivative at constant rank",
    ),
    Row("qr of a singular matrix", "qr(x)[1]", [[[1.0, 0.0], [0.0, 0.0]]], "LinAlgError", "r has no inverse"),
    Row("ClipGradNorm with infinity", "clip_grad_norm(x)", [[INF, 1.0]], "[nan, nan]", "all elements of the result are nan"),
    Row("silu at 1000", "silu(x)", [1000.0], "1", "never an overflow"),
    Row("gelu at -1000", "gelu(x)", [-1000.0], "0", "never an overflow"),
    Row("elu at 1000", "elu(x)", [1000.0], "1", "the branch that is not selected may overflow"),
    Row("where beside a pole", "where(x > 0.0, log(x), x)", [0.0], "nan", "0 times the infinite slope of the branch not taken"),
    Row("where beside a pole, moved", "where(x > 0.0, log(where(x > 0.0, x, 1.0)), x)", [0.0], "1", "the way to write it"),
    Row("logsumexp of -infinity", "logsumexp(x)", [[-INF, 0.0]], "[0, 1]", "a mask"),
    Row("logsumexp of -infinity only", "logsumexp(x)", [[-INF, -INF]], "[nan, nan]", "0 / 0; the value is -inf"),
    Row("logsumexp of infinity", "logsumexp(x)", [[INF, 1.0]], "[nan, 0]", "inf / inf; the value is inf"),
    Row("softmax of -infinity", "softmax(x)[1]", [[-INF, 0.0]], "[0, 0]", "a mask"),
    Row("log_softmax of -infinity", "log_softmax(x)[1]", [[-INF, 0.0]], "[0, 0]", "a mask"),
    Row("softmax of 1000", "softmax(x)[0]", [[1000.0, 0.0]], "[0, 0]", "never an overflow"),
    Row("cross-entropy of 1000", "cross_entropy(x)", [[[1000.0, 0.0]]], "[[1, -1]]", "never an overflow; the label is 1"),
    Row("binary cross-entropy at 1000", "binary_cross_entropy(x)", [[[1000.0]]], "[[1]]", "never an overflow; the target is 0"),
]

EMPTY = [
    Row("sum of nothing", "sum(x)", [[]], "[]", "the value is 0"),
    Row("mean of nothing", "mean(x)", [[]], "[]", "the value is nan"),
    Row("prod of nothing", "prod(x)", [[]], "[]", "the value is 1"),
    Row("max of nothing", "max(x)", [[]], "ValueError", "there is no value"),
    Row("min of nothing", "min(x)", [[]], "ValueError", "as max"),
    Row("norm of nothing", "norm(x)", [[]], "[]", "the value is 0"),
    Row("var of nothing", "var(x)", [[]], "[]", "the value is nan"),
    Row("exp of nothing", "exp(x)", [[]], "[]"),
    Row("max over an empty last axis", "max(x, -1)", [np.zeros((0, 3))], "[]", "no maximum is asked for"),
    Row("x @ y over an empty axis", "x @ y", [np.zeros((2, 0)), np.zeros((0, 2))], "[[], []]; []", "the values are 0"),
    Row("concatenate with nothing", "concatenate(x, y)", [[], [1.0]], "[]; [1]"),
    Row("norm of several arrays of nothing", "norms(x, y)", [[], []], "[]; []", "the value is 0"),
    Row("cumsum of nothing", "cumsum(x)", [[]], "[]"),
    Row("sort of nothing", "sort(x)", [[]], "[]"),
    Row("median of nothing", "median(x)", [[]], "[]", "the value is nan"),
    Row("hypot of nothing", "hypot(x, y)", [[], []], "[]; []"),
    Row("det of an empty matrix", "det(x)", [np.zeros((0, 0))], "[]", "the value is 1"),
    Row("inv of an empty matrix", "inv(x)", [np.zeros((0, 0))], "[]"),
    Row("eigvalsh of an empty matrix", "eigvalsh(x)", [np.zeros((0, 0))], "[]"),
    Row("an empty slice", "x[2:]", [[1.0, 2.0]], "[0, 0]"),
]

SCALARS = [
    Row("sum of a 0-d operand", "sum(x)", [3.0], "1"),
    Row("mean of a 0-d operand", "mean(x)", [3.0], "1"),
    Row("prod of a 0-d operand", "prod(x)", [3.0], "1"),
    Row("max of a 0-d operand", "max(x)", [3.0], "1"),
    Row("norm of a 0-d operand", "norm(x)", [-3.0], "-1"),
    Row("var of a 0-d operand", "var(x)", [3.0], "0", "the value is 0"),
    Row("std of a 0-d operand", "std(x)", [3.0], "0", "as norm at 0"),
    Row("var of one element, ddof 1", "var1(x)", [[3.0]], "[nan]", "0 / 0; the value is nan"),
    Row("norm of several 0-d operands", "norms(x, y)", [3.0, 4.0], "0.6; 0.8"),
    Row("cumsum of a 0-d operand", "cumsum(x)", [3.0], "1", "the result has shape (1,), as NumPy's"),
    Row("median of a 0-d operand", "median(x)", [3.0], "1"),
    Row("hypot of 0-d operands", "hypot(x, y)", [3.0, 4.0], "0.6; 0.8"),
    Row("det of a 0-d operand", "det(x)", [3.0], "ValueError", "as NumPy"),
    Row("x @ y of 0-d operands", "x @ y", [3.0, 2.0], "ValueError", "as NumPy"),
]

NANS = [
    Row("relu of nan", "relu(x)", [NAN], "1", "the value is nan, and a selected branch passes its derivative on"),
    Row("leaky relu of nan", "leaky_relu(x)", [NAN], "0.05", "as relu"),
    Row("abs of nan", "abs(x)", [NAN], "nan"),
    Row("sign of nan", "sign(x)", [NAN], "0", "the value is nan"),
    Row("clip of nan", "clip(x, -1.0, 1.0)", [NAN], "nan"),
    Row("clip with a nan bound", "clip(x, nan, 1.0)", [0.5], "nan", "the value is the bound, nan"),
    Row("max with nan", "max(x)", [[NAN, 1.0]], "[nan, nan]", "each element may be the greatest"),
    Row("min with nan", "min(x)", [[NAN, 1.0]], "[nan, nan]", "as max"),
    Row("maximum with nan", "maximum(x, y)", [NAN, 1.0], "nan; nan", "as max"),
    Row("minimum with nan", "minimum(x, y)", [NAN, 1.0], "nan; nan", "as max"),
    Row("sigmoid of nan", "sigmoid(x)", [NAN], "nan"),
    Row("tanh of nan", "tanh(x)", [NAN], "nan"),
    Row("softplus of nan", "softplus(x)", [NAN], "nan"),
    Row("elu of nan", "elu(x)", [NAN], "nan"),
    Row("norm with nan", "norm(x)", [[NAN, 1.0]], "[nan, nan]"),
    Row("norm of several arrays with nan", "norms(x, y)", [[NAN], [1.0]], "[nan]; [nan]", "the value is nan"),
    Row("hypot with nan", "hypot(x, y)", [NAN, 1.0], "nan; nan"),
    Row("arctan2 with nan", "arctan2(x, y)", [NAN, 1.0], "nan; nan"),
    Row("logaddexp with nan", "logaddexp(x, y)", [NAN, 1.0], "nan; nan"),
    Row("remainder with nan", "remainder(x, y)", [NAN, 1.0], "1; nan", "the value is nan; x - y ⌊x / y⌋ is linear in x"),
    Row("cbrt of nan", "cbrt(x)", [NAN], "nan"),
    Row("gammaln of nan", "gammaln(x)", [NAN], "nan"),
    Row("log_ndtr of nan", "log_ndtr(x)", [NAN], "nan"),
    Row("xlogy at (0, nan)", "xlogy(x, y)", [0.0, NAN], "nan; nan", "the value is nan"),
    Row("kl_div with nan", "kl_div(x, y)", [NAN, 1.0], "nan; nan"),
    Row("cumsum with nan", "cumsum(x)", [[NAN, 1.0]], "[2, 1]", "a sum; only values from nan on are nan"),
    Row("sort with nan", "sort(x)", [[NAN, 1.0]], "[1, 1]", "nan comes last, and each element keeps its own derivative"),
    Row("median with nan", "median(x)", [[NAN, 1.0]], "[nan, nan]", "the value is nan"),
    Row(
        "det with nan",
        "det(x)",
        [[[NAN, 0.0], [0.0, 1.0]]],
        "[[nan, nan], [nan, nan]]",
        "the value is nan",
    ),
    Row("softmax of nan", "softmax(x)[1]", [[NAN, 0.0]], "[nan, nan]"),
    Row(
        "where not selecting nan", "where(x > 0.0, y, x)", [-1.0, NAN], "1; 0", "where selects, it never multiplies by the mask"
    ),
]

TABLES = {
    "Kinks": KINKS,
    "Powers and products": POWERS,
    "Poles and infinite operands": POLES,
    "Empty operands": EMPTY,
    "Operands without axes": SCALARS,
    "nan": NANS,
}
ROWS = [row for rows in TABLES.values() for row in rows]


# Frameworks ---------------------------------------------------------------------------------------------------------------


def evaluate_ours(expression: str, point: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return the value of an expression of x, y, z, and the derivatives of its sum."""
    import tinygrad_lab as tl
    from tinygrad_lab import Tensor

    names: dict[str, Any] = {name: getattr(Tensor, name) for name in (*_METHODS, "logsumexp", "std", "var", "norm", "clip")}
    names |= {name: tl.get_activation(name) for name in ("selu", "gelu", "silu")}
    names |= {
        "leaky_relu": tl.LeakyReLU(0.05),
        "elu": tl.ELU(0.5),
        "where": tl.where,
        "maximum": tl.maximum,
        "minimum": tl.minimum,
        "concatenate": lambda *parts: tl.concatenate(list(parts)),
        "var1": lambda x: x.var(ddof=1),
        "mean_absolute_error": tl.MeanAbsoluteError(),
        "huber": tl.Huber(1.0),
        "cross_entropy": lambda x: tl.CrossEntropy()(x, np.array([1])),
        "binary_cross_entropy": lambda x: tl.BinaryCrossEntropy()(x, np.zeros((1, 1))),
    }
    from scipy import special

    from tinygrad_lab.autodiff import ops

    names |= {name: getattr(np, name) for name in _NUMPY} | {name: getattr(special, name) for name in _SCIPY}
    names |= {name: getattr(np.linalg, name) for name in _LINALG}
    names |= {
        "norms": lambda *arrays: ops.norm(*arrays, ndims=tuple(x.ndim for x in arrays)),
        "clip_grad_norm": lambda x: tl.ClipGradNorm(1.0)([x])[0],
    }
    variables = [Tensor(x, requires_grad=True, dtype=float) for x in point]
    y = eval(expression, {"nan": NAN}, names | dict(zip("xyz", variables, strict=False)))
    gradients = tl.grad(y.sum(), variables) if y.requires_grad else [Tensor(np.zeros(x.shape)) for x in variables]
    return y.numpy(), [g.numpy() for g in gradients]


_NUMPY = (
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt", "cumsum", "hypot", "log10", "log2",
    "logaddexp", "median", "remainder", "sinc", "sort", "tan",
)  # fmt: skip
_SCIPY = ("betaln", "digamma", "gammaln", "kl_div", "log_ndtr", "logit", "rel_entr", "xlog1py", "xlogy")
_LINALG = ("cholesky", "det", "eigh", "eigvalsh", "inv", "pinv", "qr", "slogdet", "svd", "svdvals")

_METHODS = (
    "relu", "abs", "sign", "max", "min", "sqrt", "log", "log1p", "exp", "expm1", "sin", "tanh", "sigmoid", "softplus", "erf",
    "prod", "sum", "mean", "softmax", "log_softmax",
)  # fmt: skip


def evaluate_jax(expression: str, point: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return what `evaluate_ours` does, by JAX."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    names = {name: getattr(jnp, name) for name in dir(jnp)} | {name: getattr(jax.nn, name) for name in dir(jax.nn)}
    names |= {name: getattr(jax.scipy.special, name) for name in _SCIPY} | {n: getattr(jnp.linalg, n) for n in _LINALG}
    names |= {
        "norms": lambda *arrays: jnp.sqrt(sum((x * x).sum() for x in arrays)),
        "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=0.05),
        "elu": partial(jax.nn.elu, alpha=0.5),
        "gelu": partial(jax.nn.gelu, approximate=False),
        "erf": jax.scipy.special.erf,
        "norm": jnp.linalg.norm,
        "concatenate": lambda *parts: jnp.concatenate(parts),
        "var1": lambda x: jnp.var(x, ddof=1),
        "mean_absolute_error": lambda x, y: jnp.abs(x - y).mean(),
        "huber": lambda x, y: jnp.where(abs(x - y) <= 1.0, 0.5 * (x - y) ** 2, abs(x - y) - 0.5).mean(),
        "cross_entropy": lambda x: -jax.nn.log_softmax(x)[0, 1],
        "binary_cross_entropy": lambda x: jax.nn.softplus(x).mean(),
    }
    variables = [jnp.asarray(x, float) for x in point]

    def function(*variables: Any) -> Any:
        return eval(expression, {"nan": NAN}, names | dict(zip("xyz", variables, strict=False)))

    gradients = jax.grad(lambda *v: function(*v).sum(), argnums=tuple(range(len(point))))(*variables)
    return np.asarray(function(*variables)), [np.asarray(g) for g in gradients]


def evaluate_torch(expression: str, point: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return what `evaluate_ours` does, by PyTorch."""
    import torch
    from torch.nn import functional

    names = {name: getattr(torch, name) for name in dir(torch)}
    names |= {name: getattr(torch.special, name) for name in dir(torch.special)}
    names |= {name: getattr(torch.linalg, name) for name in _LINALG}
    names |= {
        "norms": lambda *arrays: torch.linalg.vector_norm(torch.cat([x.ravel() for x in arrays])),
        "cumsum": partial(torch.cumsum, dim=0),
        "sort": lambda x: torch.sort(x)[0],
        "median": lambda x: torch.quantile(x, 0.5),
        "leaky_relu": partial(functional.leaky_relu, negative_slope=0.05),
        "elu": partial(functional.elu, alpha=0.5),
        "selu": functional.selu,
        "gelu": functional.gelu,
        "silu": functional.silu,
        "softplus": functional.softplus,
        "max": lambda x, axis=(): torch.amax(x, axis),
        "min": lambda x, axis=(): torch.amin(x, axis),
        "norm": torch.linalg.vector_norm,
        "std": partial(torch.std, correction=0),
        "var": partial(torch.var, correction=0),
        "var1": partial(torch.var, correction=1),
        "logsumexp": partial(torch.logsumexp, dim=-1),
        "softmax": partial(torch.softmax, dim=-1),
        "log_softmax": partial(torch.log_softmax, dim=-1),
        "concatenate": lambda *parts: torch.cat(parts),
        "mean_absolute_error": functional.l1_loss,
        "huber": functional.huber_loss,
        "cross_entropy": lambda x: functional.cross_entropy(x, torch.tensor([1])),
        "binary_cross_entropy": lambda x: functional.binary_cross_entropy_with_logits(x, torch.zeros_like(x)),
    }
    names["clip"] = lambda x, low, high: torch.clip(x, torch.tensor(low).double(), torch.tensor(high).double())
    variables = [torch.tensor(np.asarray(x, float), requires_grad=True) for x in point]
    y = eval(expression, {"nan": NAN}, names | dict(zip("xyz", variables, strict=False)))
    gradients = torch.autograd.grad(y.sum(), variables, allow_unused=True)
    return y.detach().numpy(), [
        np.zeros(np.shape(x)) if g is None else g.numpy() for g, x in zip(gradients, point, strict=True)
    ]


def text_of(evaluate: Evaluate, row: Row) -> str:
    """Return the derivatives at the point of a row as a text, or the class of the error; "-" if there is no such function."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            _, gradients = evaluate(row.expression, row.point)
        except NameError:
            return "-"
        except Exception as error:
            refusals = (np.linalg.LinAlgError, ValueError)  # of which there are subclasses
            return next((kind.__name__ for kind in refusals if isinstance(error, kind)), type(error).__name__.lstrip("_"))
    return "; ".join(_number(g.tolist()) for g in gradients)


def _number(x: Any) -> str:
    return f"[{', '.join(map(_number, x))}]" if isinstance(x, list) else f"{x + 0.0:.4g}"  # -0.0 as 0


# The page -----------------------------------------------------------------------------------------------------------------


def markdown(evaluators: Mapping[str, Evaluate]) -> str:
    """Return the tables, with a column for each framework."""
    lines = []
    for title, rows in TABLES.items():
        lines += [
            f"### {title}",
            "",
            f"| where | {' | '.join(evaluators)} | why |",
            f"| --- |{' --- |' * len(evaluators)} --- |",
        ]
        for row in rows:
            lines.append(
                f"| {row.where} | {' | '.join(text_of(evaluate, row) for evaluate in evaluators.values())} | {row.why} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and say where the frameworks differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/numerics.md")
    options = parser.parse_args()
    evaluators: dict[str, Evaluate] = {"ours": evaluate_ours, "JAX": evaluate_jax, "PyTorch": evaluate_torch}
    tables = markdown(evaluators)
    print(tables)
    for row in ROWS:
        if text_of(evaluate_ours, row) != row.ours:
            print(f"{row.where}: {text_of(evaluate_ours, row)} is not the choice {row.ours}")
    differing = [row.where for row in ROWS if text_of(evaluate_jax, row) != text_of(evaluate_torch, row)]
    print(f"JAX and PyTorch differ in {len(differing)} of {len(ROWS)} rows: {', '.join(differing)}")
    if options.write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
