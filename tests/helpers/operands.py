"""One strategy for each op of the table: operands where it is smooth, away from its kinks, and its parameters.

`operands_of(op)` draws ``(operands, params)`` such that ``apply(op, *operands, **params)`` is valid. The table says enough of
an elementwise op to draw its operands. Any other op needs an entry in OPERANDS. Without one it fails the tests that range
over the table, so no op stays untested.
"""

from __future__ import annotations

from string import Formatter

import numpy as np
from hypothesis import strategies as st

import tinygrad_lab.functions  # noqa: F401 (it adds ops to the table)
from tinygrad_lab.autodiff import ops
from tinygrad_lab.testing.strategies import broadcasting_shapes, distinct_values, shapes, values


def operand_count(op):
    """The number of operands of an elementwise op: one more than the highest placeholder of its expression."""
    return 1 + max(int(name) for _, name, *_ in Formatter().parse(op.loop) if name)


def interval(op, position):
    """Where the table says that an op is smooth in an operand."""
    return op.smooth[position] if position < len(op.smooth) else (-2.0, 2.0)


def takes_conditions(op):
    """For each operand of an elementwise op, whether it is a condition."""
    count = operand_count(op)
    values = range(0) if op.name.startswith("logical") else range(count)[op.values]
    return [i not in values for i in range(count)]


def _elementwise(op):
    @st.composite
    def draw_operands(draw, dtype):
        shape = draw(shapes())
        operands = []
        for i, is_condition in enumerate(takes_conditions(op)):
            low, high = interval(op, i)
            operands.append(draw(values(shape)) > 0 if is_condition else draw(values(shape, dtype, low=low, high=high, grid=i)))
        return operands, {}

    return draw_operands


@st.composite
def _astype(draw, dtype):
    # Always to double: the numerical derivative of a rounding to single precision would see only the rounding.
    return [draw(values(shapes(), dtype))], {"dtype": np.dtype(np.float64)}


@st.composite
def _reduce(draw, dtype):
    shape = draw(shapes(min_dims=1))
    axes = draw(st.sets(st.integers(-len(shape), -1), min_size=1))
    return [draw(distinct_values(shape, dtype) if np.prod(shape) <= 32 else values(shape, dtype))], {
        "axes": tuple(sorted(axes))
    }


@st.composite
def _reduce_max(draw, dtype):
    shape = draw(shapes(min_dims=1, max_side=3))
    axes = draw(st.sets(st.integers(-len(shape), -1), min_size=1))
    return [draw(distinct_values(shape, dtype))], {"axes": tuple(sorted(axes))}


@st.composite
def _broadcast_to(draw, dtype):
    shape, other = draw(broadcasting_shapes())
    return [draw(values(shape, dtype))], {"shape": np.broadcast_shapes(shape, other)}


@st.composite
def _reshape(draw, dtype):
    shape = draw(shapes())
    return [draw(values(shape, dtype))], {"shape": draw(st.permutations((*shape, 1)).map(tuple))}


@st.composite
def _transpose(draw, dtype):
    shape = draw(shapes())
    trailing = draw(st.integers(0, len(shape)))
    return [draw(values(shape, dtype))], {"axes": tuple(draw(st.permutations(range(-trailing, 0))))}


@st.composite
def _concatenate(draw, dtype):
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), -1))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = [(*shape[:axis], n, *shape[len(shape) + axis + 1 :]) for n in lengths]
    return [draw(values(part, dtype)) for part in parts], {"axis": axis}


@st.composite
def _basic_index(draw, shape):
    n = shape[0]
    start = draw(st.integers(0, n - 1))
    return draw(
        st.sampled_from(
            [
                (..., start, *[slice(None)] * (len(shape) - 1)),
                (..., slice(start, n), *[slice(None)] * (len(shape) - 1)),
                (..., slice(None, None, -1), *[slice(None)] * (len(shape) - 1)),
                (..., None, *[slice(None)] * len(shape)),
            ]
        )
    )


@st.composite
def _getitem(draw, dtype):
    shape = draw(shapes(min_dims=1))
    return [draw(values(shape, dtype))], {"index": draw(_basic_index(shape))}


@st.composite
def _gather(draw, dtype):
    shape = draw(shapes(min_dims=1))
    taken = draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=5))
    rest = [slice(None)] * (len(shape) - 1)
    return [draw(values(shape, dtype)), np.array(taken)], {"index": (..., ops.ARRAY, *rest)}


@st.composite
def _scatter_add(draw, dtype):
    (x, *arrays), params = draw(st.one_of(_getitem(dtype), _gather(dtype)))
    taken = (ops.gather if arrays else ops.getitem)(x, *arrays, **params)
    return [draw(values(taken.shape, dtype)), *arrays], params | {"shape": x.shape}


@st.composite
def _matmul(draw, dtype):
    batch = draw(shapes(max_dims=1, max_side=2))
    n, k, m = draw(st.tuples(*[st.integers(1, 3)] * 3))
    return [draw(values((*batch, n, k), dtype)), draw(values((*batch, k, m), dtype))], {}


@st.composite
def _einsum(draw, dtype):
    subscripts = draw(st.sampled_from(["ij,jk->ik", "ij->ji", "i,j->ij", "bij,bjk->bik", "ij,jk,kl->il", "ij,ij->", "ij,i->j"]))
    lengths = {letter: draw(st.integers(1, 3)) for letter in "bijkl"}
    terms = subscripts.split("->")[0].split(",")
    return [draw(values(tuple(lengths[x] for x in term), dtype)) for term in terms], {"subscripts": subscripts}


@st.composite
def _norm(draw, dtype):
    lead = draw(shapes(max_dims=1, max_side=2))
    rests = draw(st.lists(shapes(max_dims=2, max_side=3), min_size=3, max_size=3))
    arrays = [draw(values((*lead, *rest), dtype, low=0.25, high=2.0)) for rest in rests]
    return arrays, {"ndims": tuple(map(len, rests))}


def _unary(low=-2.0, high=2.0, **params):
    """A function of each element that has no expression."""
    return lambda dtype: st.tuples(values(shapes(), dtype, low=low, high=high).map(lambda x: [x]), st.just(params))


@st.composite
def _polygamma_difference(draw, dtype):
    shape = draw(shapes())
    return [draw(values(shape, dtype, low=0.5, high=2.0, grid=i)) for i in range(2)], {"n": 0}


@st.composite
def _along_an_axis(draw, dtype):
    shape = draw(shapes(min_dims=1))
    return [draw(values(shape, dtype))], {"axis": draw(st.integers(-len(shape), -1))}


@st.composite
def _matrix(draw, dtype, rows=0, columns=0):
    """A matrix with distinct singular values and, in its lower triangle, distinct positive eigenvalues."""
    n = draw(st.integers(1, 3))
    shape = (*draw(shapes(max_dims=1, max_side=2)), n + rows, n + columns)
    noise = draw(values(shape, dtype))
    return noise / 16 + 2 * np.eye(*shape[-2:], dtype=dtype) * np.arange(1, shape[-1] + 1, dtype=dtype)


def _of_matrix(**extra):
    return lambda dtype: _matrix(dtype, **extra).map(lambda x: ([x], {}))


@st.composite
def _solve(draw, dtype):
    a = draw(_matrix(dtype))
    return [a, draw(values((*a.shape[:-1], 2), dtype))], {}


@st.composite
def _reciprocal_gaps(draw, dtype):
    n = draw(st.integers(1, 4))
    return [np.arange(n, dtype=dtype) + draw(values((n,), dtype)) / 8], {"of": "values"}


OPERANDS = {op.name: _elementwise(op) for op in ops.OP_TABLE.values() if op.elementwise} | {
    "astype": _astype,
    "reduce_sum": _reduce,
    "reduce_max": _reduce_max,
    "reduce_min": _reduce_max,
    "broadcast_to": _broadcast_to,
    "reshape": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "getitem": _getitem,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "matmul": _matmul,
    "einsum": _einsum,
    "norm": _norm,
    "sinc": _unary(n=0),
    "log_ndtr": _unary(),
    "normal_ratio": _unary(),
    "normal_ratio_excess": _unary(),
    "digamma": _unary(0.25),
    "polygamma": _unary(0.5, n=1),
    "polygamma_difference": _polygamma_difference,
    "accumulate": _along_an_axis,
    "argmax": _along_an_axis,
    "argmin": _along_an_axis,
    "argsort": _along_an_axis,
    "solve": _solve,
    "inv": _of_matrix(),
    "det": _of_matrix(),
    "cofactors": _of_matrix(),
    "logdet": _of_matrix(),
    "detsign": _of_matrix(),
    "cholesky": _of_matrix(),
    "pinv": _of_matrix(rows=1),
    "qr": _of_matrix(rows=1),
    "eigvalsh": _of_matrix(),
    "eigenvectors": _of_matrix(),
    "svdvals": _of_matrix(columns=1),
    "singular_vectors": _of_matrix(columns=1),
    "reciprocal_gaps": _reciprocal_gaps,
}


def operands_of(op, dtype=np.float64):
    return OPERANDS[op.name](dtype)
