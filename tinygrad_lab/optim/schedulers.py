"""Learning rates as pure functions of the epoch, which counts from 0.

    scheduler(epoch) --> learning rate of all updates of that epoch

A decay over N epochs moves 1/N of its way in each epoch, the first included. So it reaches its final value in the last one,
as in the report. Later epochs keep the final value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar

from tinygrad_lab.checks import is_finite_number, is_positive_integer
from tinygrad_lab.returned import describe


class Scheduler(ABC):
    """A learning rate for each epoch.

    Examples
    --------
    >>> class InverseDecay(Scheduler):
    ...     def __call__(self, epoch):
    ...         return 0.1 / (1 + epoch)
    >>> InverseDecay()(3)
    0.025
    """

    @abstractmethod
    def __call__(self, epoch: int) -> float:
        """Return the learning rate of `epoch`, 0 for the first one."""

    def checked_rate(self, epoch: int) -> float:
        """Return the learning rate of `epoch`, checked: the Trainer asks here.

        Raises
        ------
        ValueError
            If it is no finite number of at least 0.

        Examples
        --------
        >>> class Falling(Scheduler):
        ...     def __call__(self, epoch):
        ...         return 0.2 - 0.1 * epoch
        >>> Falling().checked_rate(3)
        Traceback (most recent call last):
        ValueError: Falling: returned -0.10000000000000003 for epoch 3, expected a finite number of at least 0
        """
        rate = self(epoch)
        if not is_finite_number(rate) or rate < 0:
            owner = type(self).__name__
            raise ValueError(f"{owner}: returned {describe(rate)} for epoch {epoch}, expected a finite number of at least 0")
        return float(rate)

    def _set_rates(self, *, zero: bool = False, **rates: Any) -> None:
        """Check learning rates, and store them as Python floats: with a NumPy float32 the result would be a float32."""
        for name, rate in rates.items():
            if not is_finite_number(rate) or rate < 0 or (rate == 0 and not zero):
                raise ValueError(
                    f"{type(self).__name__}: {name} is {rate!r}, expected a number {'of at least' if zero else 'above'} 0"
                )
            object.__setattr__(self, name, float(rate))

    def _check_count(self, **counts: Any) -> None:
        for name, count in counts.items():
            if not is_positive_integer(count):
                raise ValueError(f"{type(self).__name__}: {name} is {count!r}, expected a positive integer")


@dataclass(frozen=True)
class ConstantLR(Scheduler):
    """The same learning rate in every epoch.

    Examples
    --------
    >>> ConstantLR(0.1)(5)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        self._set_rates(lr=self.lr)

    def __call__(self, epoch: int) -> float:  # noqa: ARG002
        return self.lr


@dataclass(frozen=True)
class _Decay(Scheduler):
    """From `initial` to `final` over `epochs` epochs."""

    initial: float
    final: float
    epochs: int

    _final_may_be_zero: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set_rates(initial=self.initial)
        self._set_rates(final=self.final, zero=self._final_may_be_zero)
        self._check_count(epochs=self.epochs)

    def _progress(self, epoch: int) -> float:
        """Return which share of the way to `final` is done in `epoch`."""
        return min((epoch + 1) / self.epochs, 1.0)


@dataclass(frozen=True)
class LinearDecay(_Decay):
    """From `initial` to `final` by equal differences, over `epochs` epochs. This is the decay in the report's text.

    Examples
    --------
    >>> [LinearDecay(0.5, 0.1, epochs=2)(epoch) for epoch in range(3)]
    [0.3, 0.1, 0.1]
    """

    def __call__(self, epoch: int) -> float:
        progress = self._progress(epoch)
        return self.initial * (1.0 - progress) + self.final * progress


@dataclass(frozen=True)
class GeometricDecay(_Decay):
    """From `initial` to `final` by equal ratios, over `epochs` epochs. This is the decay behind the report's figures.

    Examples
    --------
    >>> [round(GeometricDecay(1.0, 0.01, epochs=2)(epoch), 12) for epoch in range(3)]
    [0.1, 0.01, 0.01]
    """

    _final_may_be_zero: ClassVar[bool] = False

    def __call__(self, epoch: int) -> float:
        return float(self.initial * (self.final / self.initial) ** self._progress(epoch))


@dataclass(frozen=True)
class CosineDecay(_Decay):
    """From `initial` to `final` along half a cosine, over `epochs` epochs (Loshchilov & Hutter, ICLR 2017, eq. 5).

    Examples
    --------
    >>> round(CosineDecay(1.0, 0.2, epochs=2)(0), 12)
    0.6
    """

    def __call__(self, epoch: int) -> float:
        return self.final + (self.initial - self.final) * (1.0 + cos(pi * self._progress(epoch))) / 2.0


@dataclass(frozen=True)
class StepDecay(Scheduler):
    """A learning rate that is multiplied by `factor` after every `every` epochs.

    Examples
    --------
    >>> [StepDecay(1.0, 0.5, every=2)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    initial: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        self._set_rates(initial=self.initial, factor=self.factor)
        self._check_count(every=self.every)

    def __call__(self, epoch: int) -> float:
        return float(self.initial * self.factor ** (epoch // self.every))


@dataclass(frozen=True)
class WarmUp(Scheduler):
    """For `epochs` epochs, rise in equal steps to the first learning rate of `scheduler`. Then follow `scheduler`.

    Examples
    --------
    >>> [WarmUp(ConstantLR(0.4), epochs=3)(epoch) for epoch in range(5)]
    [0.1, 0.2, 0.30000000000000004, 0.4, 0.4]
    """

    scheduler: Scheduler
    epochs: int

    def __post_init__(self) -> None:
        if not isinstance(self.scheduler, Scheduler):
            raise TypeError(f"WarmUp: scheduler is {self.scheduler!r}, expected a Scheduler")
        self._check_count(epochs=self.epochs)

    def __call__(self, epoch: int) -> float:
        if epoch < self.epochs:
            return self.scheduler.checked_rate(0) * (epoch + 1) / (self.epochs + 1)
        return self.scheduler.checked_rate(epoch - self.epochs)
