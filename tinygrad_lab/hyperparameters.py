"""Hyper-parameters of a training step, which may differ between steps: Tensors of shape ().

*Why not Python numbers?* A recorded step would hold them as constants. Tensors are inputs of the step, so one recording
serves every learning rate, penalty and clip norm.
"""

from __future__ import annotations

from typing import Any

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.checks import is_finite_number


def hyperparameter(
    owner: str, name: str, value: Any, *, zero: bool = True, below: float | None = None, most: float | None = None
) -> Tensor:
    """Check a number and make a Tensor of it.

    Parameters
    ----------
    owner, name : str
        The class that has the hyper-parameter, and its name, for the error message.
    value : float
        At least 0 and finite.
    zero : bool
        Whether 0 is allowed.
    below : float, optional
        A bound that `value` must stay below.
    most : float, optional
        The largest `value`.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    ValueError
        If `value` is not a number in this range.

    Examples
    --------
    >>> hyperparameter("SGD", "momentum", 1.5, below=1.0)
    Traceback (most recent call last):
    ValueError: SGD: momentum is 1.5, expected a number of at least 0 and below 1.0
    """
    if isinstance(value, Tensor) and value.size == 1:
        value = value.item()
    is_high = is_finite_number(value) and ((below is not None and value >= below) or (most is not None and value > most))
    if not is_finite_number(value) or value < 0 or (value == 0 and not zero) or is_high:
        bound = "of at least 0" if zero else "above 0"
        limit = f" and below {below}" if below is not None else f" and at most {most}" if most is not None else ""
        raise ValueError(f"{owner}: {name} is {value!r}, expected a number {bound}{limit}")
    return Tensor(float(value))
