"""Functions without a gradient: of shapes and dtypes, new constants, and questions that Python asks."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import stack
from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS, implements
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor


def _replaced(x: Any, stand_in: Callable[[Tensor], Any]) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(_replaced(item, stand_in) for item in x)
    return stand_in(x) if isinstance(x, Tensor) else x


def _described(x: Tensor) -> np.ndarray:
    """Return zeros of the same shape and dtype, which occupy no memory. No value leaves a capture."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)


def _enter(names: str, stand_in: Callable[[Tensor], Any], finish: Callable[[Any], Any] = lambda result: result) -> None:
    def calling(function: Any) -> Callable[..., Any]:
        def own(*args: Any, **kwargs: Any) -> Any:
            return finish(function(*_replaced(args, stand_in), **{key: _replaced(x, stand_in) for key, x in kwargs.items()}))

        return own

    for name in names.split():
        function = attrgetter(name)(np)
        FUNCTIONS[function] = calling(function)


# Shapes and dtypes are the same in every replay of a program.
_enter("""shape ndim size result_type can_cast common_type min_scalar_type iscomplexobj isrealobj iscomplex isreal
          diag_indices_from tril_indices_from triu_indices_from""", _described)  # fmt: skip
_enter("zeros_like ones_like empty_like", _described, as_tensor)
_enter("zeros ones empty arange eye identity tri", _described, as_tensor)  # with like=

# Answers to Python need no gradient. `.data` refuses to leave a capture.
_enter("""allclose array_equal array_equiv array_repr array_str array2string nonzero argwhere flatnonzero searchsorted digitize
          nanargmax nanargmin argpartition lexsort isin linalg.matrix_rank may_share_memory
          shares_memory save savez savez_compressed savetxt ix_ unravel_index ravel_multi_index""",
       lambda x: x.detach().data)  # fmt: skip


@implements("full_like")
def full_like(a: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Tensor:
    like = np.empty_like(_replaced(a, _described), dtype=dtype, shape=shape)
    return as_tensor(fill_value).astype(like.dtype).broadcast_to(like.shape)


@implements("full")
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    filled = as_tensor(fill_value).broadcast_to(shape if np.ndim(shape) else (shape,))
    return filled if dtype is None else filled.astype(dtype)


@implements("array")
def array(object: Any, dtype: Any = None) -> Tensor:
    """Build a Tensor from nested lists of Tensors and numbers: ``np.array([t, u], like=t)``."""
    joined = stack([array(x) for x in object]) if isinstance(object, (list, tuple)) else as_tensor(object)
    return joined if dtype is None else joined.astype(dtype)


@implements("asarray")
def asarray(a: Any, dtype: Any = None) -> Tensor:
    return array(a, dtype)


@implements("bincount")
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Count each integer of `x`, or add the weights of each, which have a gradient."""
    numbers = np.asarray(x.detach().data if isinstance(x, Tensor) else x)
    counts = np.bincount(numbers, minlength=minlength)
    if weights is None:
        return counts
    return ops.scatter_add(as_tensor(weights), numbers, index=(ops.ARRAY,), shape=counts.shape)


@implements("where")
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """Select elements; with one argument, return the positions where the condition holds, which no capture can repeat."""
    if x is None:
        return np.nonzero(condition.detach().data if isinstance(condition, Tensor) else condition)
    return ops.where(condition, x, y)
