"""NumPy's protocol: its functions keep the graph of a Tensor, or raise an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import concatenate, einsum, matmul, stack
from tinygrad_lab.autodiff.methods.reductions import Reductions


class NumPyProtocol(Reductions):
    """The methods that NumPy calls if an operand of one of its functions is a Tensor."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        own = _UFUNCS.get(ufunc.__name__)
        if own is None or method != "__call__" or options:
            given = f" with {', '.join(options)}=" if options else ""
            raise _no_graph(f"{ufunc.__name__}{'' if method == '__call__' else '.' + method}{given}")
        return own(*operands)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = _FUNCTIONS.get(function.__name__)
        if own is None:
            raise _no_graph(function.__name__)
        return own(*args, **kwargs)


_UFUNCS: dict[str, Callable[..., Any]] = {
    op.run.__name__: op for op in ops.OP_TABLE.values() if op.elementwise and isinstance(op.run, np.ufunc)
} | {
    "matmul": matmul,
    "square": Reductions.square,
    "positive": Reductions.__pos__,
    "expit": ops.sigmoid,  # SciPy's
    "erf": ops.erf,
}

_METHODS = """sum mean max min prod var std clip astype
              reshape transpose swapaxes squeeze expand_dims broadcast_to split"""
_FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(Reductions, name) for name in _METHODS.split()} | {
    "where": ops.where,
    "concatenate": concatenate,
    "stack": stack,
    "einsum": einsum,
}


def _no_graph(function: str) -> TypeError:
    return TypeError(
        f"numpy.{function} does not keep the graph of a Tensor; use the Tensor's methods, or .numpy() to leave the graph"
    )
