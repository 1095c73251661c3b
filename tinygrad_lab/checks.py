"""Checks of numbers, which all constructors use to validate their arguments, and how to install an optional package."""

from __future__ import annotations

from math import inf
from numbers import Integral, Real
from typing import Any, TypeGuard


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite real number of Python or NumPy. True and False do not count as numbers.

    Examples
    --------
    >>> is_finite_number(0.5), is_finite_number(True), is_finite_number("1"), is_finite_number(float("nan"))
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return -inf < float(value) < inf
    except OverflowError:  # an int beyond the largest float
        return False


def is_positive_integer(value: Any) -> TypeGuard[int]:
    """Whether `value` is an integer of Python or NumPy above 0. True does not count as a number.

    Examples
    --------
    >>> is_positive_integer(3), is_positive_integer(0), is_positive_integer(3.0), is_positive_integer(True)
    (True, False, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) > 0


def install_hint(extra: str) -> str:
    """Return how to install an extra of this distribution. All messages about a missing package end with it.

    The distribution is not on a package index, where its name could belong to someone else. So the command is for a checkout.

    Examples
    --------
    >>> print(install_hint("tables"))
    pip install ".[tables]" in a checkout of tinygrad-lab
    """
    return f'pip install ".[{extra}]" in a checkout of tinygrad-lab'
