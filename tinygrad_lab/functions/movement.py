"""Movement: NumPy's functions that change a shape, join arrays, or move elements.

    np.roll(x, 1):   positions 0 1 2 3 --np.roll--> 3 0 1 2 --x[...]--> the elements of x in this order

Such a function does not depend on the elements. So NumPy's function is called with a stand-in for the data, and the result
shows the new shape, the new order of the axes, or the new order of the elements. All arguments and errors are NumPy's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import concatenate, stack
from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS, implements
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor

# From a stand-in to the result ---------------------------------------------------------------------------------------


def _new_shape(function: Any) -> Callable[..., Any]:
    """For a function that keeps the elements in row-major order: take the shape of the result."""

    def own(x: Any, *args: Any, **kwargs: Any) -> Tensor:
        return ops.reshape(x, shape=function(np.broadcast_to(0.0, x.shape), *args, **kwargs).shape)

    return _with_first_by_name(function, own)


def _new_axes(function: Any) -> Callable[..., Any]:
    """For a function that permutes axes: call it with axes of the lengths 1, 2, 3, ..., so that the lengths show the order."""

    def own(x: Any, *args: Any, **kwargs: Any) -> Tensor:
        lengths = function(np.broadcast_to(0.0, tuple(range(1, x.ndim + 1))), *args, **kwargs).shape
        return x.transpose([n - 1 for n in lengths])

    return _with_first_by_name(function, own)


def _with_first_by_name(function: Any, own: Callable[..., Any]) -> Callable[..., Any]:
    """Let the caller give the first argument by its name."""
    first = next(iter(inspect.signature(function).parameters))

    def named(*args: Any, **kwargs: Any) -> Any:
        args = args or (kwargs.pop(first),)
        return own(as_tensor(args[0]), *args[1:], **kwargs)

    return named


def _new_order(function: Any, data: tuple[int, ...] = (0,), fills: bool = False) -> Callable[..., Any]:
    """For any function that moves elements: call it with their positions in the place of the parameters number `data`.

    If the function also fills elements with constants, as `numpy.pad` does, these are found by calling it with zeros and ones.
    """
    signature = inspect.signature(function)
    names = [[*signature.parameters][i] for i in data]

    def own(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        if bound.arguments.pop("out", None) is not None:
            raise TypeError("given out=, which is not available for Tensors")
        parts: list[Tensor] = []

        def positions(x: Any) -> Any:
            if isinstance(x, (list, tuple)) and _has_tensor(x):
                return [positions(item) for item in x]
            x = as_tensor(x)
            start = sum(part.size for part in parts)
            parts.append(x.reshape(-1))
            return np.arange(start, start + x.size).reshape(x.shape)

        for name in names:
            bound.arguments[name] = positions(bound.arguments[name])
        elements = concatenate(parts) if len(parts) > 1 else parts[0]

        def call(stand_in: Callable[[Any], Any]) -> Any:
            changed = {name: _map(stand_in, bound.arguments[name]) for name in names}
            copy = inspect.BoundArguments(signature, bound.arguments | changed)
            return function(*copy.args, **copy.kwargs)

        if not fills:
            return _map(lambda order: elements[order], call(lambda x: x))
        dtype = elements.dtype if elements.dtype.kind != "c" else np.float64  # check_grad takes complex steps
        zeros = call(lambda x: np.zeros(x.shape, dtype))
        if not elements.size:
            return as_tensor(zeros)
        moved = zeros != call(lambda x: np.ones(x.shape, dtype))
        return ops.where(moved, elements[np.where(moved, call(lambda x: x), 0)], zeros)

    return own


def _has_tensor(x: Any) -> bool:
    return isinstance(x, Tensor) or (isinstance(x, (list, tuple)) and any(map(_has_tensor, x)))


def _map(function: Callable[[Any], Any], x: Any) -> Any:
    return [_map(function, item) for item in x] if isinstance(x, (list, tuple)) else function(x)


def _enter(make: Callable[..., Any], names: str, **options: Any) -> None:
    for name in names.split():
        function = attrgetter(name)(np)
        FUNCTIONS[function] = make(function, **options)


_enter(_new_shape, "squeeze expand_dims")
_enter(_new_axes, "moveaxis rollaxis swapaxes transpose permute_dims matrix_transpose linalg.matrix_transpose")
_enter(_new_order, "roll rot90 repeat tile resize delete diagonal linalg.diagonal array_split hsplit vsplit dsplit block")
_enter(_new_order, "compress extract", data=(1,))
_enter(_new_order, "insert", data=(0, 2))
_enter(_new_order, "diag diagflat", fills=True)

moveaxis = FUNCTIONS[np.moveaxis]
_pad = _new_order(np.pad, fills=True)


@implements("pad")
def pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0, reflect_type: str = "even") -> Tensor:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"mode is {mode!r}, expected constant, edge, reflect, symmetric or wrap")
    if reflect_type != "even":
        raise ValueError(f"reflect_type is {reflect_type!r}, expected 'even'")
    options = {"constant": {"constant_values": constant_values}, "edge": {}, "wrap": {}}
    return _pad(array, pad_width, mode, **options.get(mode, {"reflect_type": reflect_type}))


# Shapes --------------------------------------------------------------------------------------------------------------


@implements("reshape")
def reshape(a: Any, shape: Any = None, order: str = "C", newshape: Any = None) -> Tensor:
    x = as_tensor(a)
    shape = newshape if shape is None else shape  # the parameter's name in NumPy 2.0
    if order not in ("C", "F"):
        raise ValueError(f"order is {order!r}, expected 'C' or 'F'")
    lengths = shape if np.ndim(shape) else (shape,)
    return x.reshape(lengths) if order == "C" else x.T.reshape(lengths[::-1]).T


@implements("ravel")
def ravel(a: Any, order: str = "C") -> Tensor:
    return reshape(a, -1, order)


@implements("broadcast_arrays")
def broadcast_arrays(*args: Any) -> tuple[Tensor, ...]:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(as_tensor(x).broadcast_to(shape) for x in args)


@implements("broadcast_to")
def broadcast_to(array: Any, shape: Any) -> Tensor:
    return as_tensor(array).broadcast_to(shape if np.ndim(shape) else (shape,))


def _at_least(function: Any) -> Callable[..., Any]:
    def own(*arys: Any) -> Any:
        shapes = [function(np.broadcast_to(0.0, np.shape(x))).shape for x in arys]
        results = tuple(ops.reshape(as_tensor(x), shape=shape) for x, shape in zip(arys, shapes, strict=True))
        return results if len(results) > 1 else results[0]

    FUNCTIONS[function] = own
    return own


atleast_1d, atleast_2d, atleast_3d = map(_at_least, (np.atleast_1d, np.atleast_2d, np.atleast_3d))


@implements("flip")
def flip(m: Any, axis: Any = None) -> Tensor:
    x = as_tensor(m)
    axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    return x[tuple(slice(None, None, -1 if i in axes else 1) for i in range(x.ndim))]


@implements("fliplr")
def fliplr(m: Any) -> Tensor:
    return flip(m, 1)


@implements("flipud")
def flipud(m: Any) -> Tensor:
    return flip(m, 0)


@implements("linspace")
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Tensor:
    steps = np.linspace(0.0, 1.0, num, endpoint)
    points = stack([ops.add(ops.multiply(start, 1.0 - t), ops.multiply(stop, t)) for t in steps], axis)
    return points if dtype is None else points.astype(dtype)


@implements("logspace")
def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, axis: int = 0) -> Tensor:
    return ops.power(base, linspace(start, stop, num, endpoint, axis=axis))


@implements("meshgrid")
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tensor, ...]:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing is {indexing!r}, expected 'xy' or 'ij'")
    vectors = [as_tensor(x).reshape(-1) for x in xi]
    grids = [x.expand_dims((*range(i), *range(i + 1, len(xi)))) for i, x in enumerate(vectors)]
    if indexing == "xy" and len(grids) > 1:
        grids = [x.swapaxes(0, 1) for x in grids]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


# Joining and cutting -------------------------------------------------------------------------------------------------


@implements("concatenate")
def numpy_concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Tensor:
    parts = [as_tensor(x) if axis is not None else as_tensor(x).reshape(-1) for x in arrays]
    return concatenate([x if dtype is None else x.astype(dtype) for x in parts], axis or 0)


@implements("stack")
def numpy_stack(arrays: Any, axis: int = 0, dtype: Any = None) -> Tensor:
    return stack([as_tensor(x) if dtype is None else as_tensor(x).astype(dtype) for x in arrays], axis)


@implements("vstack")
def vstack(tup: Any, dtype: Any = None) -> Tensor:
    return numpy_concatenate([atleast_2d(x) for x in tup], 0, dtype)


@implements("hstack")
def hstack(tup: Any, dtype: Any = None) -> Tensor:
    parts = [atleast_1d(x) for x in tup]
    return numpy_concatenate(parts, min(parts[0].ndim - 1, 1), dtype)


@implements("dstack")
def dstack(tup: Any, dtype: Any = None) -> Tensor:
    return numpy_concatenate([atleast_3d(x) for x in tup], 2, dtype)


@implements("column_stack")
def column_stack(tup: Any) -> Tensor:
    return numpy_concatenate([as_tensor(x) if np.ndim(x) > 1 else as_tensor(x).reshape(-1, 1) for x in tup], 1)


@implements("append")
def append(arr: Any, values: Any, axis: int | None = None) -> Tensor:
    return numpy_concatenate([arr, values], axis)


@implements("split")
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    return as_tensor(ary).split(indices_or_sections, axis)


@implements("unstack")
def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    return tuple(moveaxis(x, axis, 0))


@implements("take")
def take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Tensor:
    x = as_tensor(a) if axis is not None else as_tensor(a).reshape(-1)
    axis = normalize_axis_index(axis or 0, x.ndim) - x.ndim
    n = x.shape[axis]
    taken = indices if isinstance(indices, Tensor) else np.asarray(indices)
    if mode != "raise":
        taken = taken % n if mode == "wrap" else ops.minimum(ops.maximum(taken, 0), n - 1)
    return x[(..., taken, *[slice(None)] * (-axis - 1))]


@implements("select")
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    if len(condlist) != len(choicelist):
        raise ValueError(f"given {len(condlist)} conditions and {len(choicelist)} choices, expected as many")
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = ops.where(condition, choice, result)
    return result


# A constant mask selects a part of a matrix, because it has a loop form, unlike a gather.


@implements("tril")
def tril(m: Any, k: int = 0) -> Tensor:
    return ops.where(_lower(m, k), m, 0)


@implements("triu")
def triu(m: Any, k: int = 0) -> Tensor:
    return ops.where(_lower(m, k - 1), 0, m)


def _lower(m: Any, k: int) -> np.ndarray:
    """Mark the lower triangle and k diagonals above it; a vector is repeated as the rows of a matrix."""
    return np.tri(m.shape[-2:][0], m.shape[-1], k, dtype=bool)


@implements("trace")
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tensor:
    x = moveaxis(a, (axis1, axis2), (-2, -1))
    diagonal = ops.where(np.eye(x.shape[-2], x.shape[-1], offset, dtype=bool), x, 0)
    return (diagonal if dtype is None else diagonal.astype(dtype)).sum((-2, -1))


@implements("linalg.trace")
def linalg_trace(x: Any, offset: int = 0, dtype: Any = None) -> Tensor:
    return trace(x, offset, -2, -1, dtype)
