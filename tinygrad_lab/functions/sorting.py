"""Order: sorting, positions of extrema, quantiles, interpolation between sorted points."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import stack
from tinygrad_lab.autodiff.methods.protocol import implements
from tinygrad_lab.autodiff.ops import Op
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.functions.elementwise import allocating, isnan
from tinygrad_lab.functions.reductions import count_nonzero

# Positions are integers, which are constant between jumps: no VJP.


def _without(shape: ops.Shape, *, axis: int) -> ops.Shape:
    return shape[:axis] + shape[len(shape) + axis + 1 :]


argmax: Op = Op("argmax", allocating(np.argmax), _without)
argmin: Op = Op("argmin", allocating(np.argmin), _without)
argsort: Op = Op("argsort", allocating(np.argsort), lambda shape, *, axis, kind=None: shape)


def _prepared(a: Any, axis: int | None) -> tuple[Tensor, int]:
    """Return the data and an axis that counts from the right; None means all elements in one row, as does a number."""
    x = as_tensor(a) if axis is not None and np.ndim(a) else as_tensor(a).reshape(-1)
    return x, normalize_axis_index(axis or 0, x.ndim) - x.ndim


def _first_position(op: Op, a: Any, axis: int | None, keepdims: bool) -> Tensor:
    x, along = _prepared(a, axis)
    found = op(x, axis=along)
    if not keepdims:
        return found
    return found.reshape([1] * np.ndim(a)) if axis is None or not np.ndim(a) else found.expand_dims(x.ndim + along)


@implements("argmax")
def numpy_argmax(a: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    return _first_position(argmax, a, axis, keepdims)


@implements("argmin")
def numpy_argmin(a: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    return _first_position(argmin, a, axis, keepdims)


@implements("argsort")
def numpy_argsort(a: Any, axis: int | None = -1, kind: Any = None, stable: bool | None = None) -> Tensor:
    x, along = _prepared(a, axis)
    return argsort(x, axis=along, kind="stable" if stable else kind)


@implements("take_along_axis")
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Tensor:
    x, along = _prepared(arr, axis)
    taken = indices if isinstance(indices, Tensor) else np.asarray(indices)
    if taken.ndim != x.ndim:
        raise ValueError(f"indices have {taken.ndim} axes and the data {x.ndim}; expected as many")
    grid: list[Any] = [np.arange(n).reshape(-1, *[1] * (x.ndim - 1 - i)) for i, n in enumerate(x.shape)]
    grid[along] = taken
    return x[tuple(grid)]


@implements("sort")
def sort(a: Any, axis: int | None = -1, kind: Any = None, stable: bool | None = None) -> Tensor:
    """Take the elements in order. The gradient of an element goes back to its place; ties keep their order."""
    x, along = _prepared(a, axis)
    return take_along_axis(x, argsort(x, axis=along, kind="stable"), along)


# Quantiles -----------------------------------------------------------------------------------------------------------


def _order_statistic(x: Tensor, ordered: Tensor, k: Tensor) -> Tensor:
    """Return the k-th smallest element along the last axis, where `k` has one position for each row.

    It is the maximum of the elements that are not greater. So elements that tie share its gradient evenly, and nan is kept.
    """
    kth = take_along_axis(ordered, k, -1)
    return ops.where(ops.greater(x, kth), -inf, x).max(-1, keepdims=True)


def _quantile(a: Any, q: Any, axis: Any, keepdims: bool, ignore_nan: bool) -> Tensor:
    x = as_tensor(a)
    x = x / 1.0 if x.dtype.kind in "iub" else x
    fractions = np.asarray(q, np.float64)
    if fractions.size and not (fractions.min() >= 0 and fractions.max() <= 1):
        raise ValueError(f"q is {q!r}, expected fractions from 0 to 1")
    reduced = [i + x.ndim for i in x._axes(axis)]
    rest = [i for i in range(x.ndim) if i not in reduced]
    kept = tuple(x.shape[i] for i in rest)
    rows = x.transpose(*rest, *reduced).reshape(*kept, x._count(axis)) if x.ndim else x.reshape(1)
    rows = rows if rows.shape[-1] else as_tensor(np.full((*kept, 1), nan)).astype_like(x)  # nothing has the quantile nan
    ordered = sort(rows.detach())  # nan comes last
    missing = ops.astype(isnan(ordered), dtype=np.dtype(np.int64)).sum(-1, keepdims=True)
    if ignore_nan:
        rows = ops.where(isnan(rows), inf, rows)
    count = rows.shape[-1] - missing if ignore_nan else ops.multiply(missing, 0) + rows.shape[-1]
    shape = tuple(1 if i in reduced else n for i, n in enumerate(x.shape)) if keepdims else kept
    results = []
    for fraction in fractions.ravel():
        place = ops.maximum((count - 1) * fraction, 0.0)
        low = ops.astype(place, dtype=np.dtype(np.int64))
        high = ops.minimum(low + 1, ops.maximum(count - 1, 0))
        lower, upper = _order_statistic(rows, ordered, low), _order_statistic(rows, ordered, high)
        step = (place - low).astype_like(lower)
        between = lower + ops.where(ops.equal(step, 0.0), 0.0, upper - lower) * step
        results.append(ops.where(ops.equal(count, 0), nan, between).reshape(shape))
    return stack(results).reshape(*fractions.shape, *shape)


@implements("quantile")
def quantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _quantile(a, q, axis, keepdims, ignore_nan=False)


@implements("nanquantile")
def nanquantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _quantile(a, q, axis, keepdims, ignore_nan=True)


@implements("percentile")
def percentile(a: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return quantile(a, np.true_divide(q, 100), axis, keepdims)


@implements("nanpercentile")
def nanpercentile(a: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return nanquantile(a, np.true_divide(q, 100), axis, keepdims)


@implements("median")
def median(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return quantile(a, 0.5, axis, keepdims)


@implements("nanmedian")
def nanmedian(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return nanquantile(a, 0.5, axis, keepdims)


# Interpolation -------------------------------------------------------------------------------------------------------


@implements("interp")
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Tensor:
    """Interpolate linearly. At a point of `xp`, the derivative is the slope on the right; outside of them it is 0."""
    like = next(t for t in (x, xp, fp) if isinstance(t, Tensor)) / 1.0
    x, xp, fp = (t / 1.0 if isinstance(t, Tensor) else as_tensor(t).astype_like(like) for t in (x, xp, fp))
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(f"xp and fp have shapes {xp.shape} and {fp.shape}, expected one length")
    last = xp.size - 1
    i = ops.minimum(ops.maximum(count_nonzero(x[..., None] >= xp, axis=-1) - 1, 0), max(last - 1, 0))
    j = ops.minimum(i + 1, last)
    width = xp[j] - xp[i]
    inside = fp[i] + (x - xp[i]) * ((fp[j] - fp[i]) / ops.where(ops.equal(width, 0.0), 1.0, width))
    inside = ops.where(ops.equal(x, xp[last]), fp[last], inside)
    inside = ops.where(ops.less(x, xp[0]), fp[0] if left is None else left, inside)
    return ops.where(ops.greater(x, xp[last]), fp[last] if right is None else right, inside)
