"""Hyper-parameters of a training step, which may differ between steps: Tensors of shape ().

*Why not Python numbers?* A recorded step would hold them as constants. Tensors are inputs of the step, so one recording
serves every learning rate, penalty and clip norm.
"""

from __future__ import annotations

from typing import Any, Self, overload

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.checks import is_finite_number


class Hyperparameter:
    """An attribute of a part of the training, such as a learning rate. It is set as a number, and read as a Tensor.

    Every number that is set is checked, by the constructor of the part as well as later, for example by a callback. It takes
    effect from the next update on, or with a Trainer from the next epoch on, on every engine. A checkpoint stores it. The
    ``assign`` of the Tensor itself checks nothing.

    Parameters
    ----------
    zero : bool
        Whether 0 is allowed.
    below : float, optional
        A bound that the number must stay below.
    least, most : float, optional
        The smallest and the largest number. By default, every finite number of at least 0 is allowed.

    Raises
    ------
    ValueError
        When the attribute is set to anything else than a number in this range.

    Examples
    --------
    >>> class Momentum:
    ...     mu = Hyperparameter(below=1.0)
    ...     def __init__(self, mu):
    ...         self.mu = mu
    >>> part = Momentum(0.5)
    >>> part.mu = 0.25
    >>> part.mu
    Tensor(0.25)
    >>> part.mu = 1.5
    Traceback (most recent call last):
    ValueError: Momentum: mu is 1.5, expected a number of at least 0 and below 1.0
    """

    def __init__(
        self, *, zero: bool = True, below: float | None = None, least: float | None = None, most: float | None = None
    ) -> None:
        self._zero = zero
        self._below = below
        self._least = least
        self._most = most
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, part: None, owner: type) -> Self: ...

    @overload
    def __get__(self, part: object, owner: type) -> Tensor: ...

    def __get__(self, part: Any, owner: type) -> Tensor | Self:
        if part is None:
            return self
        try:
            tensor: Tensor = vars(part)[self._name]
        except KeyError:
            raise AttributeError(f"{owner.__name__}: {self._name} is not set; set it in the constructor") from None
        return tensor

    def __set__(self, part: Any, value: Any) -> None:
        number = self.check(type(part).__name__, self._name, value)
        if self.is_set(part):  # keep the Tensor, which is an input of recorded steps
            vars(part)[self._name].assign(number)
        else:
            vars(part)[self._name] = Tensor(number)

    def is_set(self, part: Any) -> bool:
        """Whether the attribute of a part has a value."""
        return self._name in vars(part)

    def check(self, owner: str, name: str, value: Any) -> float:
        """Return a number, or raise a ValueError, which names the class that has it and the attribute."""
        if isinstance(value, Tensor) and value.size == 1 and not value.requires_grad:
            value = value.item()
        if not is_finite_number(value) or not self._has(value):
            raise ValueError(f"{owner}: {name} is {value!r}, expected a number {self._range()}")
        return float(value)

    def _has(self, number: float) -> bool:
        is_above = number >= self._least if self._least is not None else number > 0 or (number == 0 and self._zero)
        return is_above and (self._below is None or number < self._below) and (self._most is None or number <= self._most)

    def _range(self) -> str:
        if self._least is not None and self._most is not None:
            return f"from {self._least} to {self._most}"
        bound = f"of at least {self._least or 0}" if self._zero or self._least is not None else "above 0"
        limit = f" and below {self._below}" if self._below is not None else ""
        return f"{bound}{limit}" + (f" and at most {self._most}" if self._most is not None else "")
