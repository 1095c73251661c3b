"""NumPy's protocol: NumPy's functions compute with Tensors and keep the graph, or raise an error.

    np.sum(x, axis=0) --> x.__array_function__(np.sum, ...) --> FUNCTIONS[np.sum](a=x, axis=0) --> Tensor

A key of the table is the function itself. Its name would not do: a user's own ufunc may have the name of one of NumPy's.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.functions import matmul
from tinygrad_lab.autodiff.methods.reductions import Reductions

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    op.run: op for op in ops.OP_TABLE.values() if op.elementwise and isinstance(op.run, np.ufunc)
} | {np.matmul: matmul, np.square: Reductions.square, np.positive: Reductions.__pos__}
"""NumPy's and SciPy's functions, and what computes them for Tensors. `LIBRARY` adds most of them."""

SCIPY: dict[str, Callable[..., Any]] = {"expit": ops.sigmoid, "erf": ops.erf}
"""The same for functions of `scipy.special`, by name until a program imports it."""

LIBRARY = "tinygrad_lab.functions"
"""The package that adds functions to the table. It builds on Tensor, so it is imported when a function is first looked up."""


def implements(names: str) -> Callable[[Any], Any]:
    """Enter the decorated function into the table under each of its `names` in NumPy.

    It has NumPy's name for each parameter that it takes. A name that this version of NumPy does not have is left out.
    """

    def enter(own: Any) -> Any:
        for name in names.split():
            with suppress(AttributeError):
                FUNCTIONS[attrgetter(name)(np)] = own
        return own

    return enter


def _as_method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(np, name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"Return ``numpy.{name}`` of the Tensor, with the same arguments."
    return method


def _as_reflected(name: str) -> Callable[..., Any]:
    return lambda self, other: getattr(np, name)(other, self)


class NumPyProtocol(Reductions):
    """The methods that NumPy calls if an operand of one of its functions is a Tensor."""

    __slots__ = ()

    item: Any

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        if method in ("__call__", "outer"):
            own = _find(ufunc)
            if options:
                raise _refused(ufunc, options, ["operands"])
            return _call(ufunc, own, _spread(*operands) if method == "outer" else operands, {})
        called = getattr(ufunc, method)
        return _call(called, _find(called), operands, {"axis": 0} | options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = _find(function)
        theirs = _parameters(function)
        if theirs is None or _takes_anything(own):
            return _call(function, own, args, kwargs)
        given = kwargs if "*" in theirs else dict(zip(theirs, args, strict=False)) | kwargs
        given = {name: x for name, x in given.items() if x is not theirs.get(name, theirs)}  # a default is as good as nothing
        return _call(function, own, args if "*" in theirs else (), given)

    # Operators and methods that call NumPy's function ------------------------------------------------------------------

    __mod__ = _as_method("remainder")
    __rmod__ = _as_reflected("remainder")
    __floordiv__ = _as_method("floor_divide")
    __rfloordiv__ = _as_reflected("floor_divide")
    __divmod__ = _as_method("divmod")
    __rdivmod__ = _as_reflected("divmod")

    def __round__(self, digits: int | None = None) -> Any:
        return self.round(digits or 0)

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"a Tensor of dtype {self.dtype} is no index, expected integers")
        return int(self.item())

    all = _as_method("all")
    any = _as_method("any")
    argmax = _as_method("argmax")
    argmin = _as_method("argmin")
    argsort = _as_method("argsort")
    cumprod = _as_method("cumprod")
    cumsum = _as_method("cumsum")
    diagonal = _as_method("diagonal")
    dot = _as_method("dot")
    flatten = _as_method("ravel")
    ravel = _as_method("ravel")
    repeat = _as_method("repeat")
    round = _as_method("round")
    take = _as_method("take")
    trace = _as_method("trace")


def _find(function: Any) -> Callable[..., Any]:
    if function not in FUNCTIONS:
        import_module(LIBRARY)
        special = sys.modules.get("scipy.special")
        FUNCTIONS.update({getattr(special, name): own for name, own in SCIPY.items() if hasattr(special, name)})
    if function in FUNCTIONS:
        return FUNCTIONS[function]
    name = _name(function)
    if name.startswith(("numpy.", "scipy.")):
        raise TypeError(f"{name}: not available for Tensors; compose it of other functions, or leave the graph by .numpy()")
    raise TypeError(f"{name}: this ufunc is not NumPy's or SciPy's, so its derivative is unknown; use tinygrad_lab.define_op")


def _name(function: Any) -> str:
    """Return the full name, such as numpy.linalg.norm or numpy.add.reduce; a user's own ufunc has no module."""
    if isinstance(function, np.ufunc):
        homes = [
            home for home in ("numpy", "scipy.special") if vars(sys.modules.get(home, np)).get(function.__name__) is function
        ]
        return ".".join([*homes[:1], function.__name__])
    owner = getattr(function, "__self__", None)
    return f"{_name(owner) if isinstance(owner, np.ufunc) else function.__module__}.{function.__name__}"


@cache
def _parameters(function: Any) -> dict[str, Any] | None:
    """Return NumPy's parameters and their defaults, with "*" if the first one takes all positional arguments.

    Older versions of NumPy do not tell the parameters of a function in C. They have the same order here.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    return {"*" if p.kind is p.VAR_POSITIONAL else p.name: p.default for p in parameters}


@cache
def _own_parameters(own: Any) -> list[str]:
    return ["**" if p.kind is p.VAR_KEYWORD else p.name for p in inspect.signature(own).parameters.values()]


def _takes_anything(own: Any) -> bool:
    return "**" in _own_parameters(own)


def _call(function: Any, own: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Call `own` for NumPy's function. It must take every argument. The message of an error starts with NumPy's name."""
    if kwargs and not _takes_anything(own) and not kwargs.keys() <= {*_own_parameters(own)}:
        raise _refused(function, [name for name in kwargs if name not in _own_parameters(own)], _own_parameters(own))
    try:
        return own(*args, **kwargs)
    except (TypeError, ValueError, IndexError) as error:
        if function.__name__ in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else type(error)  # some kinds take other arguments
        raise kind(f"{_name(function)}: {error}") from error


def _refused(function: Any, names: Iterable[str], expected: Iterable[str]) -> TypeError:
    given = ", ".join(f"{name}=" for name in names)
    return TypeError(f"{_name(function)}: given {given}, which is not available for Tensors; expected {', '.join(expected)}")


def _spread(first: Any, second: Any) -> tuple[Any, Any]:
    """Give the first operand one more axis for each axis of the second: ``ufunc.outer`` combines all pairs."""
    return (first if hasattr(first, "__op__") else np.asarray(first))[(..., *[None] * np.ndim(second))], second
