"""Reductions with NumPy's keywords, statistics, and sums and products along an axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import inf, nan
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import concatenate, matmul
from tinygrad_lab.autodiff.methods.protocol import implements
from tinygrad_lab.autodiff.ops import Op
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.functions.elementwise import isnan


def _selected(a: Any, dtype: Any, where: Any, otherwise: Any) -> Tensor:
    x = as_tensor(a) if dtype is None else as_tensor(a).astype(dtype)
    return x if where is True else ops.where(where, x, otherwise)


def _count(x: Tensor, axis: Any, where: Any, keepdims: bool) -> Any:
    if where is True:
        return x._count(axis)
    return _true_elements(as_tensor(where).broadcast_to(x.shape), axis, keepdims).astype_like(x / 1)


def _true_elements(mask: Tensor, axis: Any, keepdims: bool) -> Tensor:
    """Count in floats, which have a loop form, unlike integers."""
    return ops.astype(mask, dtype=np.dtype(np.float64)).sum(axis, keepdims)


@implements("sum add.reduce")
def sum_(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Tensor:
    total = _selected(a, dtype, where, 0).sum(axis, keepdims)
    return total if initial is None else total + initial


@implements("prod multiply.reduce")
def prod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Tensor:
    product = _selected(a, dtype, where, 1).prod(axis, keepdims)
    return product if initial is None else product * initial


@implements("max amax maximum.reduce")
def max_(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Tensor:
    largest = _selected(a, None, where, _needed(initial, where)).max(axis, keepdims)
    return largest if initial is None else ops.maximum(largest, initial)


@implements("min amin minimum.reduce")
def min_(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Tensor:
    smallest = _selected(a, None, where, _needed(initial, where)).min(axis, keepdims)
    return smallest if initial is None else ops.minimum(smallest, initial)


def _needed(initial: Any, where: Any) -> Any:
    if initial is None and where is not True:
        raise ValueError("where= is given without initial=, so the result for no element is unknown; give both")
    return initial


@implements("ptp")
def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return max_(a, axis, keepdims) - min_(a, axis, keepdims)


@implements("mean")
def mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, where: Any = True) -> Tensor:
    x = _selected(a, dtype, where, 0)
    return x.sum(axis, keepdims) / _count(x, axis, where, keepdims)


@implements("var")
def var(
    a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False,
    where: Any = True, mean: Any = None, correction: Any = None,
) -> Tensor:  # fmt: skip
    x = _selected(a, dtype, True, 0)
    ddof = ddof if correction is None else correction
    if where is True and mean is None:
        return x.var(axis, ddof, keepdims)
    center = _mean(x, axis, keepdims=True, where=where) if mean is None else mean
    squares = _selected(ops.subtract(x, center), None, where, 0.0).square()
    return squares.sum(axis, keepdims) / ops.maximum(as_tensor(_count(x, axis, where, keepdims)) - ddof, 0)


_mean = mean


@implements("std")
def std(
    a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False,
    where: Any = True, mean: Any = None, correction: Any = None,
) -> Tensor:  # fmt: skip
    return var(a, axis, dtype, ddof, keepdims, where, mean, correction)._root()


@implements("average")
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False) -> Any:
    x = as_tensor(a)
    weight = as_tensor(np.ones(x.shape)).astype_like(x / 1) if weights is None else as_tensor(weights)
    if weight.shape != x.shape:
        if axis is None:
            raise ValueError(f"weights have shape {weight.shape} and the data {x.shape}; expected the same, or give axis=")
        axes = x._axes(axis)
        weight = weight.reshape([n if i - x.ndim in axes else 1 for i, n in enumerate(x.shape)]).broadcast_to(x.shape)
    total = weight.sum(axis, keepdims)
    result = (x * weight).sum(axis, keepdims) / total
    return (result, total.broadcast_to(result.shape)) if returned else result


@implements("cov")
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Tensor:
    parts = [as_tensor(x) for x in (m, y) if x is not None]
    rows = [x.reshape(1, -1) if x.ndim < 2 else x if rowvar else x.T for x in parts]
    x = concatenate(rows)
    deviation = x - x.mean(1, keepdims=True)
    product = matmul(deviation, deviation.T) / max(x.shape[1] - (int(not bias) if ddof is None else ddof), 0)
    return product.squeeze()


@implements("corrcoef")
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Tensor:
    covariance = cov(x, y, rowvar)
    if not covariance.ndim:
        return covariance / covariance
    scale = covariance[(np.arange(len(covariance)),) * 2].sqrt()
    return covariance / scale[:, None] / scale


# Questions: counts, so that they can be captured ---------------------------------------------------------------------


@implements("count_nonzero")
def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return ops.astype(_true_elements(ops.not_equal(a, 0), axis, keepdims), dtype=np.dtype(np.int64))


@implements("any")
def any_(a: Any, axis: Any = None, keepdims: bool = False, where: Any = True) -> Tensor:
    return _true_elements(ops.not_equal(_selected(a, None, where, 0), 0), axis, keepdims) > 0.0


@implements("all")
def all_(a: Any, axis: Any = None, keepdims: bool = False, where: Any = True) -> Tensor:
    return _true_elements(ops.equal(_selected(a, None, where, 1), 0), axis, keepdims) == 0.0


# nan is left out -----------------------------------------------------------------------------------------------------


def _numbers(a: Any, where: Any) -> Tensor:
    return ops.logical_and(ops.logical_not(isnan(a)), where)


def _without_nan(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(function)
    def own(a: Any, *args: Any, where: Any = True, **kwargs: Any) -> Tensor:
        return function(a, *args, where=_numbers(a, where), **kwargs)

    return own


implements("nansum")(_without_nan(sum_))
implements("nanprod")(_without_nan(prod))
implements("nanmean")(_without_nan(mean))
implements("nanvar")(_without_nan(var))
implements("nanstd")(_without_nan(std))


@implements("nanmax")
def nanmax(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Tensor:
    if as_tensor(a).dtype.kind in "iub":
        return max_(a, axis, keepdims, initial, where)
    keep = _numbers(a, where)
    largest = max_(a, axis, keepdims, -inf if initial is None else initial, keep)
    return largest if initial is not None else ops.where(any_(keep, axis, keepdims), largest, nan)


@implements("nanmin")
def nanmin(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Tensor:
    if as_tensor(a).dtype.kind in "iub":
        return min_(a, axis, keepdims, initial, where)
    keep = _numbers(a, where)
    smallest = min_(a, axis, keepdims, inf if initial is None else initial, keep)
    return smallest if initial is not None else ops.where(any_(keep, axis, keepdims), smallest, nan)


# Sums and products of the first elements -----------------------------------------------------------------------------


def _cut(x: Any, axis: int, start: int | None = None, stop: int | None = None, step: int | None = None) -> Any:
    """Return ``x[start:stop:step]`` along an axis, which counts from the right."""
    return ops.getitem(x, index=(..., slice(start, stop, step), *[slice(None)] * (-axis - 1)))


# yₖ = x₀ + ... + xₖ       x̄ₖ = gₖ + gₖ₊₁ + ..., the same from the other end
accumulate: Op = Op(
    "accumulate", np.add.accumulate, lambda shape, *, axis: shape,
    (lambda g, y, x, axis: _cut(accumulate(_cut(g, axis, step=-1), axis=axis), axis, step=-1),),
)  # fmt: skip


def _along(a: Any, axis: int | None, dtype: Any) -> tuple[Tensor, int]:
    x = as_tensor(a) if axis is not None and np.ndim(a) else as_tensor(a).reshape(-1)
    x = x.astype(dtype or np.sum(np.empty(0, x.dtype)).dtype)  # NumPy adds small integers as int64
    return x, normalize_axis_index(axis or 0, x.ndim) - x.ndim


@implements("cumsum add.accumulate")
def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    x, axis = _along(a, axis, dtype)
    return accumulate(x, axis=axis)


@implements("cumprod multiply.accumulate")
def cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """Multiply each element by the product that ends `step` elements before it, for steps 1, 2, 4, ... It never divides."""
    x, axis = _along(a, axis, dtype)
    step = 1
    while step < x.shape[axis]:
        x = ops.concatenate(_cut(x, axis, stop=step), _cut(x, axis, step) * _cut(x, axis, stop=-step), axis=axis)
        step *= 2
    return x


@implements("cumulative_sum")
def cumulative_sum(x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    return _with_first(cumsum(x, *_only_axis(x, axis), dtype), axis, 0 if include_initial else None)


@implements("cumulative_prod")
def cumulative_prod(x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    return _with_first(cumprod(x, *_only_axis(x, axis), dtype), axis, 1 if include_initial else None)


def _only_axis(x: Any, axis: int | None) -> tuple[int]:
    if axis is None and np.ndim(x) > 1:
        raise ValueError(f"given shape {np.shape(x)} without axis=; give it")
    return (axis or 0,)


def _with_first(x: Tensor, axis: int | None, first: Any) -> Tensor:
    if first is None:
        return x
    axis = normalize_axis_index(axis or 0, x.ndim)
    start = np.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), first, bool)  # a boolean takes any dtype
    return concatenate([start, x], axis)


@implements("nancumsum")
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    return cumsum(_selected(a, None, _numbers(a, True), 0), axis, dtype)


@implements("nancumprod")
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    return cumprod(_selected(a, None, _numbers(a, True), 1), axis, dtype)


@implements("diff")
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    x = as_tensor(a)
    axis = normalize_axis_index(axis, x.ndim) - x.ndim
    if n < 0:
        raise ValueError(f"n is {n}, expected a count")
    edge = [1 if i - x.ndim == axis else length for i, length in enumerate(x.shape)]
    ends = [e if e is None or np.ndim(e) else as_tensor(e).astype_like(x).broadcast_to(edge) for e in (prepend, append)]
    parts = [e for e in (ends[0], x, ends[1]) if e is not None]
    x = concatenate(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        later, earlier = _cut(x, axis, 1), _cut(x, axis, stop=-1)
        x = ops.not_equal(later, earlier) if x.dtype == bool else later - earlier
    return x


@implements("ediff1d")
def ediff1d(ary: Any) -> Tensor:
    return diff(as_tensor(ary).reshape(-1))


@implements("trapezoid")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    y = as_tensor(y)
    axis = normalize_axis_index(axis, y.ndim) - y.ndim
    if x is not None:
        dx = diff(x, axis=axis) if np.ndim(x) != 1 else diff(x).reshape(-1, *[1] * (-axis - 1))
    return ((_cut(y, axis, 1) + _cut(y, axis, stop=-1)) * dx / 2.0).sum(axis)
