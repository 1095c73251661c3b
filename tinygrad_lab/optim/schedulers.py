"""Learning rates as pure functions of the epoch, which counts from 0.

    scheduler(epoch) --> learning rate of all updates of that epoch

A decay over N epochs has moved 1/N of its way in the first of them and arrives in the last, as the report's does; later
epochs stay at its final value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar

from tinygrad_lab.checks import is_finite_number, is_positive_integer


class Scheduler(ABC):
    """A learning rate for each epoch."""

    @abstractmethod
    def __call__(self, epoch: int) -> float:
        """Return the learning rate of `epoch`, 0 for the first one."""

    def _check_rates(self, *, zero: bool = False, **rates: Any) -> None:
        """Set fields to learning rates, as Python floats: a NumPy scalar of single precision would make results like it."""
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
        self._check_rates(lr=self.lr)

    def __call__(self, epoch: int) -> float:  # noqa: ARG002
        return self.lr


@dataclass(frozen=True)
class _Decay(Scheduler):
    """From `initial` to `final` in so many `epochs`."""

    initial: float
    final: float
    epochs: int

    _final_may_be_zero: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_rates(initial=self.initial)
        self._check_rates(final=self.final, zero=self._final_may_be_zero)
        self._check_count(epochs=self.epochs)

    def _progress(self, epoch: int) -> float:
        """Return the share of the way to `final` that is behind `epoch`."""
        return min((epoch + 1) / self.epochs, 1.0)


@dataclass(frozen=True)
class LinearDecay(_Decay):
    """By equal differences from `initial` to `final` in so many `epochs`: the decay of the report's text.

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
    """By equal ratios from `initial` to `final` in so many `epochs`: the decay behind the report's figures.

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
    """Along half a cosine from `initial` to `final` in so many `epochs` (Loshchilov & Hutter, ICLR 2017, eq. 5).

    Examples
    --------
    >>> round(CosineDecay(1.0, 0.2, epochs=2)(0), 12)
    0.6
    """

    def __call__(self, epoch: int) -> float:
        return self.final + (self.initial - self.final) * (1.0 + cos(pi * self._progress(epoch))) / 2.0


@dataclass(frozen=True)
class StepDecay(Scheduler):
    """Times `factor` after every `every` epochs.

    Examples
    --------
    >>> [StepDecay(1.0, 0.5, every=2)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    initial: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        self._check_rates(initial=self.initial, factor=self.factor)
        self._check_count(every=self.every)

    def __call__(self, epoch: int) -> float:
        return float(self.initial * self.factor ** (epoch // self.every))


@dataclass(frozen=True)
class WarmUp(Scheduler):
    """In equal steps up to the first learning rate of `scheduler` in so many `epochs`, then `scheduler` from its start.

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
            return self.scheduler(0) * (epoch + 1) / (self.epochs + 1)
        return self.scheduler(epoch - self.epochs)
