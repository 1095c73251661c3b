"""NumPy's protocol: NumPy's functions compute with Tensors and keep the graph, or raise an error.

    np.sum(x, axis=0) --> x.__array_function__(np.sum, ...) --> FUNCTIONS[np.sum](a=x, axis=0) --> Tensor

A key of the table is the function itself. Its name would not do: a user's own ufunc may have the name of one of NumPy's.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
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

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        name = f"{_home(ufunc)}{ufunc.__name__}{'' if method == '__call__' else '.' + method}"
        if method in ("__call__", "outer"):
            own = _find(ufunc, name)
            if options:
                raise _parameter_refused(name, options, ())
            return _named(name, own, _spread(operands) if method == "outer" else operands, {})
        own = _find(getattr(ufunc, method), name)
        return _named(name, own, operands, _taken(name, own, {"axis": 0} | options))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = f"{function.__module__}.{function.__name__}"
        own = _find(function, name)
        parameters = _signature(own).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return _named(name, own, args, kwargs)
        theirs = _signature(function).parameters.values()
        given = _signature(function).bind(*args, **kwargs).arguments
        given |= next((given.pop(p.name, {}) for p in theirs if p.kind is p.VAR_KEYWORD), {})
        defaults = {p.name: p.default for p in theirs}
        given = _taken(name, own, {key: x for key, x in given.items() if x is not defaults.get(key, defaults)})
        sequence = next((given.pop(p.name, ()) for p in parameters if p.kind is p.VAR_POSITIONAL), ())
        return _named(name, own, sequence, given)

    # Operators and methods that call NumPy's function ------------------------------------------------------------------

    __mod__ = _as_method("remainder")
    __rmod__ = _as_reflected("remainder")
    __floordiv__ = _as_method("floor_divide")
    __rfloordiv__ = _as_reflected("floor_divide")
    __divmod__ = _as_method("divmod")
    __rdivmod__ = _as_reflected("divmod")

    def __round__(self, digits: int | None = None) -> Any:
        return self.round(digits or 0)

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


def _find(function: Any, name: str) -> Callable[..., Any]:
    if function not in FUNCTIONS:
        import_module(LIBRARY)
        special = sys.modules.get("scipy.special")
        FUNCTIONS.update({getattr(special, known): own for known, own in SCIPY.items() if hasattr(special, known)})
    if function in FUNCTIONS:
        return FUNCTIONS[function]
    if name.startswith(("numpy", "scipy")):
        raise TypeError(f"{name}: not available for Tensors; compose it of other functions, or leave the graph by .numpy()")
    raise TypeError(f"{name}: this ufunc is not NumPy's or SciPy's, so its derivative is unknown; compose it, or define an op")


def _home(ufunc: np.ufunc) -> str:
    homes = ("numpy", "scipy.special")
    return next((f"{home}." for home in homes if getattr(sys.modules.get(home), ufunc.__name__, None) is ufunc), "")


@cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def _taken(name: str, own: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments, or raise an error if `own` does not take one of them: it must not be ignored."""
    expected = [*_signature(own).parameters]
    unknown = [key for key in given if key not in expected]
    if unknown:
        raise _parameter_refused(name, unknown, expected)
    return given


def _parameter_refused(name: str, unknown: Any, expected: Sequence[str]) -> TypeError:
    given = ", ".join(f"{key}=" for key in unknown)
    return TypeError(f"{name}: given {given}, which is not available for Tensors; expected {', '.join(expected) or 'operands'}")


def _named(name: str, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call `own`. The message of an error starts with the name of the function that the user called."""
    try:
        return own(*args, **kwargs)
    except (TypeError, ValueError, IndexError) as error:
        if name.rpartition(".")[2] in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else type(error)  # some kinds take other arguments
        raise kind(f"{name}: {error}") from error


def _spread(operands: Sequence[Any]) -> tuple[Any, Any]:
    """Give the first operand one more axis for each axis of the second: ``ufunc.outer`` combines all pairs."""
    first, second = operands
    return (first if hasattr(first, "__op__") else np.asarray(first))[(..., *[None] * np.ndim(second))], second
