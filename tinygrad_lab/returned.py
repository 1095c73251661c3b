"""The checks of what users write: what a method has returned, and what a constructor has set. They name the user's class.

    user's forward, per_sample, rule, ... --value--> check_tensor --> the same Tensor, or an error in one line

`check_tensor` runs in every update, so it compares attributes only and adds no op.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.ops import Shape
from tinygrad_lab.autodiff.tensor import Tensor


def check_tensor(
    owner: object, method: str, value: Any, shape: Shape | None = None, dtype: np.dtype | None = None, what: str = ""
) -> Tensor:
    """Return `value` if it is a Tensor as expected.

    Parameters
    ----------
    owner : object
        The object whose class the user wrote.
    method : str
        The name of the method that returned `value`.
    value : Any
    shape : tuple of int, optional
        The shape that the Tensor must have. By default any.
    dtype : dtype, optional
        The floating-point dtype that the Tensor must have. By default any. The complex numbers of a gradient check may
        replace it.
    what : str, optional
        Which part of the result this is, such as ``"slot 'mean'"``.

    Raises
    ------
    TypeError
        If it is no Tensor, or one of another dtype.
    ValueError
        If it has another shape.

    Examples
    --------
    >>> class Doubled: ...
    >>> check_tensor(Doubled(), "forward", None)
    Traceback (most recent call last):
    TypeError: Doubled: forward returned None, expected a Tensor; is a return missing?
    >>> check_tensor(Doubled(), "forward", Tensor([1.0, 2.0]), shape=(3,))
    Traceback (most recent call last):
    ValueError: Doubled: forward returned a Tensor of shape (2,), expected (3,)
    """
    if type(value) is not Tensor:
        raise TypeError(f"{_source(owner, method, what)} {describe(value)}, expected a Tensor; {_advice(value)}")
    array = value._array
    if shape is not None and array.shape != shape:
        raise ValueError(f"{_source(owner, method, what)} a Tensor of shape {array.shape}, expected {shape}")
    if dtype is not None and array.dtype != dtype and array.dtype.kind != "c" and dtype.kind == "f":
        raise TypeError(f"{_source(owner, method, what)} a Tensor of {array.dtype}, expected {dtype}; use .astype()")
    return value


def check_initialized(part: object, *names: str) -> None:
    """Raise a TypeError if a part has not the attributes that its base class sets in ``__init__``.

    Examples
    --------
    >>> class Doubled: ...
    >>> check_initialized(Doubled(), "strength")
    Traceback (most recent call last):
    TypeError: Doubled: has no strength, expected that __init__ calls super().__init__(...)
    """
    for name in names:
        if not hasattr(part, name):
            raise TypeError(f"{type(part).__name__}: has no {name}, expected that __init__ calls super().__init__(...)")


def describe(value: Any) -> str:
    """Name a value for an error message.

    Examples
    --------
    >>> describe(None), describe(0.5), describe([1.0])
    ('None', '0.5', 'a value of type list')
    """
    return str(value) if value is None or isinstance(value, Real) else f"a value of type {type(value).__name__}"


def _source(owner: object, method: str, what: str) -> str:
    return f"{type(owner).__name__}: {method} returned {f'as {what} ' if what else ''}".rstrip()


def _advice(value: Any) -> str:
    if value is None:
        return "is a return missing?"
    return "compute with operators and methods of Tensors, since other values have no gradient"
