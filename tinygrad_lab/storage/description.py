"""Descriptions of objects: texts that are equal for equal objects, in every process.

object --children--> parts --> text
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.contents import children
from tinygrad_lab.nn.mode import Buffer
from tinygrad_lab.storage.digests import digest_arrays


def describe(x: Any) -> str:
    """Describe an object by its parts: numbers in full, arrays by their digests, parameters and buffers by their shapes.

    Functions, classes and modules are described by their names. One that was described before is named by its class.

    Examples
    --------
    >>> from tinygrad_lab.optim.hooks import ClipGradNorm
    >>> describe([ClipGradNorm(10.0)])
    "[ClipGradNorm{'max_norm': 10.0}]"
    >>> describe(partial(max, 1, key=abs))
    'max with 1, key=abs'
    """
    return _describe(x, {})


def _describe(x: Any, seen: dict[int, Any]) -> str:
    def part(y: Any) -> str:
        return _describe(y, seen)

    if x is None or isinstance(x, (bool, int, float, str, bytes, np.generic)):
        return repr(x)
    if isinstance(x, Tensor):
        if x.requires_grad:
            return f"Tensor{x.shape} {x.dtype}"
        return repr(x.item()) if x.size == 1 else f"Tensor {digest_arrays([x._array])}"
    if isinstance(x, Buffer):
        return repr(x)  # its value changes in a training, as that of a parameter does
    if isinstance(x, np.ndarray) and not x.dtype.hasobject:
        return f"array {digest_arrays([x])}"
    if isinstance(x, (FunctionType, BuiltinFunctionType, type)):
        return x.__qualname__
    if isinstance(x, ModuleType):
        return x.__name__
    if not isinstance(x, tuple):
        if id(x) in seen:
            return f"{type(x).__name__}..."
        seen[id(x)] = x  # kept alive, so that no other object gets its id
    if isinstance(x, Mapping):
        return "{" + ", ".join(f"{key!r}: {part(value)}" for key, value in children(x)) + "}"
    if isinstance(x, (list, tuple)):
        return f"[{', '.join(part(item) for _, item in children(x))}]"
    if isinstance(x, (set, frozenset)):
        return "{" + ", ".join(sorted(map(part, x))) + "}"
    if isinstance(x, partial):
        arguments = [*map(part, x.args), *(f"{name}={part(value)}" for name, value in x.keywords.items())]
        return f"{part(x.func)} with {', '.join(arguments)}"
    if isinstance(x, MethodType):
        return f"{x.__func__.__qualname__} of {part(x.__self__)}"
    return f"{type(x).__name__}{part(_contents(x))}"


def _contents(x: Any) -> Any:
    """Return the attributes of an object or, if it has no `__dict__`, what it would be pickled as.

    `contents.attributes` differs for an object with a `__getstate__`. Stores and checkpoints have texts of this form.
    """
    if hasattr(x, "__dict__"):
        return vars(x)
    try:
        pickled = x.__reduce_ex__(2)
    except Exception:  # it cannot be pickled, so only its class is known
        return {}
    return pickled if isinstance(pickled, str) else pickled[1:]
