"""Sums of products: dot, tensordot, einsum with NumPy's arguments, convolutions, cross products."""

from __future__ import annotations

import string
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import einsum, matmul
from tinygrad_lab.autodiff.methods.protocol import implements
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.functions.movement import moveaxis, pad


@implements("dot")
def dot(a: Any, b: Any) -> Tensor:
    if not np.ndim(a) or not np.ndim(b):
        return ops.multiply(a, b)
    return tensordot(a, b, (-1, max(np.ndim(b) - 2, 0)))


@implements("inner")
def inner(a: Any, b: Any) -> Tensor:
    return tensordot(a, b, (-1, -1)) if np.ndim(a) and np.ndim(b) else ops.multiply(a, b)


@implements("vdot")
def vdot(a: Any, b: Any) -> Tensor:
    a, b = as_tensor(a), as_tensor(b)
    return (a * b).sum() if a.shape == b.shape else matmul(a.reshape(-1), b.reshape(-1))


@implements("outer linalg.outer")
def outer(a: Any = None, b: Any = None, x1: Any = None, x2: Any = None) -> Tensor:
    first, second = (a, b) if x1 is None else (x1, x2)
    return as_tensor(first).reshape(-1, 1) * as_tensor(second).reshape(1, -1)


@implements("tensordot linalg.tensordot")
def tensordot(a: Any = None, b: Any = None, axes: Any = 2, x1: Any = None, x2: Any = None) -> Tensor:
    a, b = (as_tensor(a), as_tensor(b)) if x1 is None else (as_tensor(x1), as_tensor(x2))
    if np.ndim(axes) == 0:
        axes = (range(a.ndim - axes, a.ndim), range(axes))
    summed_a = normalize_axis_tuple([*np.atleast_1d(axes[0])], a.ndim)
    summed_b = normalize_axis_tuple([*np.atleast_1d(axes[1])], b.ndim)
    lengths = [a.shape[i] for i in summed_a]
    if lengths != [b.shape[i] for i in summed_b]:
        raise ValueError(f"axes {axes} of shapes {a.shape} and {b.shape} have different lengths")
    rest_a = [i for i in range(a.ndim) if i not in summed_a]
    rest_b = [i for i in range(b.ndim) if i not in summed_b]
    kept = tuple(a.shape[i] for i in rest_a) + tuple(b.shape[i] for i in rest_b)
    rows = _permuted(a, [*rest_a, *summed_a]).reshape(prod(a.shape[i] for i in rest_a), prod(lengths))
    columns = _permuted(b, [*summed_b, *rest_b]).reshape(prod(lengths), prod(b.shape[i] for i in rest_b))
    return matmul(rows, columns).reshape(kept)


def _permuted(x: Tensor, axes: list[int]) -> Tensor:
    return x.transpose(axes) if x.ndim else x


@implements("vecdot linalg.vecdot")
def vecdot(x1: Any, x2: Any, axis: int = -1) -> Tensor:
    return ops.multiply(x1, x2).sum(axis)


@implements("matvec")
def matvec(x1: Any, x2: Any) -> Tensor:
    return matmul(x1, as_tensor(x2)[..., None])[..., 0]


@implements("vecmat")
def vecmat(x1: Any, x2: Any) -> Tensor:
    return matmul(as_tensor(x1)[..., None, :], x2)[..., 0, :]


@implements("linalg.matmul")
def linalg_matmul(x1: Any, x2: Any) -> Tensor:
    return matmul(x1, x2)


@implements("kron")
def kron(a: Any, b: Any) -> Tensor:
    a, b = as_tensor(a), as_tensor(b)
    ndim = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (ndim - x.ndim) + x.shape) for x in (a, b))
    pairs = a.reshape([n for length in a.shape for n in (length, 1)]) * b.reshape(
        [n for length in b.shape for n in (1, length)]
    )
    return pairs.reshape([n * m for n, m in zip(a.shape, b.shape, strict=True)])


@implements("cross linalg.cross")
def cross(a: Any = None, b: Any = None, axis: int | None = None, x1: Any = None, x2: Any = None) -> Tensor:
    a, b = (as_tensor(a), as_tensor(b)) if x1 is None else (as_tensor(x1), as_tensor(x2))
    axis = -1 if axis is None else axis
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"vectors have lengths {a.shape[-1]} and {b.shape[-1]}, expected 3")
    after, before = [1, 2, 0], [2, 0, 1]
    return moveaxis(a[..., after] * b[..., before] - a[..., before] * b[..., after], -1, axis)


@implements("convolve")
def convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    """Multiply the matrix of all windows of the longer operand by the shorter one in reverse order."""
    a, v = as_tensor(a), as_tensor(v)
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size or mode not in ("full", "same", "valid"):
        raise ValueError(f"shapes are {a.shape} and {v.shape} and mode {mode!r}; expected vectors, and full, same or valid")
    a, v = (v, a) if v.size > a.size else (a, v)
    edge = v.size - 1
    windows = pad(a, edge)[np.arange(a.size + edge)[:, None] + np.arange(v.size)]
    full = matmul(windows, v[::-1])
    start = {"full": 0, "same": edge // 2, "valid": edge}[mode]
    return full[start : start + {"full": a.size + edge, "same": a.size, "valid": a.size - edge}[mode]]


@implements("correlate")
def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    a, v = as_tensor(a), as_tensor(v)
    result = convolve(a, v[::-1], mode)
    if mode == "same" and v.size > a.size:  # NumPy centres on the longer operand of the exchanged pair
        edge = a.size - 1
        full = convolve(a, v[::-1])
        return full[edge - edge // 2 : edge - edge // 2 + v.size]
    return result


@implements("einsum")
def numpy_einsum(*operands: Any, optimize: Any = False) -> Tensor:
    """Contract by a string of subscripts, or by a list of axis numbers after each operand. The order is always optimized."""
    if isinstance(operands[0], str):
        return einsum(operands[0], *map(_reduced, operands[1:]))
    if len(operands) < 2:
        raise ValueError("given one operand, expected subscripts and operands, or operands with lists of axis numbers")
    pairs, result = (operands[:-1], operands[-1:]) if len(operands) % 2 else (operands, ())
    terms = ["".join("..." if i is Ellipsis else string.ascii_letters[i] for i in term) for term in (*pairs[1::2], *result)]
    subscripts = ",".join(terms[: len(pairs) // 2]) + ("->" + terms[-1] if result else "")
    return einsum(subscripts, *map(_reduced, pairs[::2]))


def _reduced(x: Any) -> Any:
    return x if isinstance(x, Tensor) else as_tensor(x)
