"""What a training records: for each epoch its losses and its learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MEASURED = ("train_loss", "validation_loss", "lr")
"""What a training records of each epoch."""


class History(Mapping[str, np.ndarray]):
    """The course of a training: ``history["train_loss"]``, ``["lr"]`` and, with validation data, ``["validation_loss"]``.

    Each is a float64 array with one entry for each epoch that was finished. A callback may add metrics with `record`.

    Attributes
    ----------
    stop_reason : str
        Why the training ended before its last epoch; empty where it did not.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=3)
    >>> history = trainer.fit([1.0, 2.0], [2.0, 4.0])
    >>> history["lr"]
    array([0.1, 0.1, 0.1])
    >>> history.epochs
    3
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self.stop_reason = ""

    @property
    def epochs(self) -> int:
        """The number of epochs finished."""
        return max(map(len, self._values.values()), default=0)

    def _add_epoch(self, **values: float) -> None:
        """Add one epoch, which only a run does. A value that is missing in this or an earlier epoch is nan."""
        epochs = self.epochs
        for name in {**self._values, **values}:
            self._values.setdefault(name, [nan] * epochs).append(float(values.get(name, nan)))

    def record(self, **metrics: Any) -> None:
        """Record metrics of the latest epoch, from a callback's `on_epoch_end`. In other epochs they are nan.

        Parameters
        ----------
        **metrics : float
            By name. Checkpoints keep them, `plot` draws them, and `EarlyStopping` can monitor them.

        Raises
        ------
        ValueError
            If no epoch has been finished, or if a name is one of those that the training itself records.
        TypeError
            If a value is not a number.

        Examples
        --------
        >>> import tinygrad_lab as tl
        >>> class SizeOfWeights(tl.Callback):
        ...     def on_epoch_end(self, run):
        ...         run.history.record(size=np.abs(run.trainer.model.weight.data).sum())
        ...         return ""
        >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
        >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=3)
        >>> trainer.fit([1.0, 2.0], [2.0, 4.0], callbacks=[SizeOfWeights()])["size"].shape
        (3,)
        """
        if not self.epochs:
            raise ValueError("History.record: no epoch has been finished, expected a call from on_epoch_end")
        numbers: dict[str, float] = {}
        for name, value in metrics.items():
            if name in MEASURED:
                raise ValueError(f"History.record: {name} is recorded by the training, expected another name")
            number = value.item() if getattr(value, "size", 0) == 1 else value  # of an array or a Tensor
            if not isinstance(number, (int, float)):
                raise TypeError(f"History.record: {name} is {value!r}, expected a number")
            numbers[name] = float(number)
        for name, number in numbers.items():
            self._values.setdefault(name, [nan] * self.epochs)[-1] = number

    def cut(self, epochs: int) -> None:
        """Keep the first epochs only."""
        self._values = {name: values[:epochs] for name, values in self._values.items()}

    def stop(self, reason: str) -> None:
        """Say why the training ends early; an empty text means that it goes on."""
        self.stop_reason = reason

    def last(self, name: str) -> float:
        """Return the value of the latest epoch.

        Raises
        ------
        KeyError
            If nothing of this name is recorded.
        """
        self._check(name)
        return self._values[name][-1]

    def __getitem__(self, name: str) -> np.ndarray:
        self._check(name)
        return np.array(self._values[name])

    def _check(self, name: str) -> None:
        if name not in self._values:
            raise KeyError(f"history has no {name!r}; it has {', '.join(self._values) or 'no epochs yet'}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        latest = ", ".join(f"{name}={values[-1]:.6g}" for name, values in self._values.items())
        return f"<History of {self.epochs} epochs{': ' if latest else ''}{latest}>"

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the recorded arrays by name."""
        return dict(self)

    def load_state_dict(self, state: Mapping[str, np.ndarray], stop_reason: str = "") -> None:
        """Replace what is recorded by what `state_dict` returned."""
        names = [*filter(state.__contains__, MEASURED), *sorted(state.keys() - set(MEASURED))]
        self._values = {name: state[name].tolist() for name in names}
        self.stop_reason = stop_reason

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses against the epoch, on a logarithmic scale.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            from matplotlib.figure import Figure  # imported here: drawing is rare, and the import is slow

            ax = Figure(figsize=(7, 4), layout="constrained").subplots()
        for name in self:
            if name != "lr":
                ax.plot(np.arange(1, self.epochs + 1), self[name], label=name.replace("_", " "))
        ax.set(xlabel="epoch", ylabel="loss", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend()
        return ax
