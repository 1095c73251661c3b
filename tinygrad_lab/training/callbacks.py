"""Callbacks: objects that a training calls after every epoch, in order.

A callback reads the Trainer and the History, and may end the training by returning a reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_lab.checks import is_finite_number, is_positive_integer
from tinygrad_lab.training.checkpoints import save_checkpoint
from tinygrad_lab.training.history import History

if TYPE_CHECKING:
    from tinygrad_lab.training.trainer import Trainer


class Callback:
    """A watcher of a training that does nothing: subclasses override the moments that concern them, and no other methods.

    What it changes in the Trainer or its parts counts from the next epoch on; a captured step is captured anew.
    A training that is resumed must have the callbacks that it had, of equal `settings`, but for those that only watch.

    Attributes
    ----------
    only_watches : bool, of the class
        Whether the training would be the same without it; then it has no state to resume.

    Examples
    --------
    >>> class StopBelow(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch_end(self, trainer, history):
    ...         return "good enough" if history.last("train_loss") < self.loss else ""
    """

    only_watches: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"

    def on_fit_start(self, trainer: Trainer, history: History, epochs: int) -> None:
        """Prepare for a training that is to end at `epochs`; a resumed one has epochs in `history` already."""

    def on_epoch_end(self, trainer: Trainer, history: History) -> str:  # noqa: ARG002
        """Look at a finished epoch; return a reason to stop, or an empty string."""
        return ""

    def on_epoch_seen(self, trainer: Trainer, history: History) -> None:
        """Act once every callback has looked at the epoch."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Clean up, also after an error."""

    def settings(self) -> dict[str, Any]:
        """Return what decides how it acts, by name, as it was before the training: it must be equal in a resumed one."""
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what a resumed training needs, as arrays by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state_dict` returned."""


class EarlyStopping(Callback):
    """Stop where a loss has not improved for a number of epochs, and go back to the best weights.

    Parameters
    ----------
    patience : int
        The number of epochs without improvement after which to stop.
    monitor : str
        The entry of the history to watch.
    min_delta : float
        By how much an epoch must be better than the best to count.
    restore_best : bool
        Whether the model gets the weights of the best epoch at the end.

    Attributes
    ----------
    best_epoch : int
        The epoch with the best value, counted from 0.
    best_value : float
    """

    def __init__(
        self, patience: int, monitor: str = "validation_loss", min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        if not is_finite_number(min_delta):
            raise ValueError(f"EarlyStopping: min_delta is {min_delta!r}, expected a number")
        if not is_positive_integer(patience):
            raise ValueError(f"EarlyStopping: patience is {patience!r}, expected a positive integer")
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.best_value = inf
        self.best_epoch = -1
        self._best_weights: dict[str, np.ndarray] = {}

    def on_fit_start(self, trainer: Trainer, history: History, epochs: int) -> None:  # noqa: ARG002, D102
        if not history.epochs:
            self.best_value = inf
            self.best_epoch = -1
            self._best_weights = {}

    def on_epoch_end(self, trainer: Trainer, history: History) -> str:  # noqa: D102
        recorded = [name for name in history if not isnan(history.last(name))]  # nan: earlier epochs had it, this one has not
        if self.monitor not in recorded:
            raise ValueError(
                f"EarlyStopping: monitors {self.monitor!r}, but the epoch has {', '.join(recorded)}; give fit validation data"
            )
        epoch = history.epochs - 1
        if history.last(self.monitor) < self.best_value - self.min_delta:
            self.best_value = history.last(self.monitor)
            self.best_epoch = epoch
            self._best_weights = trainer.model.state_dict()
        waited = epoch - self.best_epoch
        return f"{self.monitor} has not improved for {waited} epochs" if waited >= self.patience else ""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:  # noqa: ARG002, D102
        if self.restore_best and self._best_weights:
            trainer.model.load_state_dict(self._best_weights)

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {name: getattr(self, name) for name in ("patience", "monitor", "min_delta", "restore_best")}

    def state_dict(self) -> dict[str, np.ndarray]:  # noqa: D102
        weights = {f"weights.{name}": value for name, value in self._best_weights.items()}
        return {"best_value": np.array(self.best_value), "best_epoch": np.array(self.best_epoch)} | weights

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:  # noqa: D102
        self.best_value = float(state["best_value"])
        self.best_epoch = int(state["best_epoch"])
        self._best_weights = {k.removeprefix("weights."): v for k, v in state.items() if k.startswith("weights.")}


class Checkpoint(Callback):
    """Write all that is needed to resume the training to a file, every few epochs and after the last.

    Parameters
    ----------
    path : path
        Replaced atomically each time. ``trainer.fit(..., resume=path)`` goes on from it, to the same bits.
    every : int
        The number of epochs between two writes.
    """

    only_watches: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        if not is_positive_integer(every):
            raise ValueError(f"Checkpoint: every is {every!r}, expected a positive integer")
        self.path = path
        self.every = every
        self._epochs = 0

    def on_fit_start(self, trainer: Trainer, history: History, epochs: int) -> None:  # noqa: ARG002, D102
        folder = Path(self.path).parent
        if not folder.is_dir():  # said before the first epoch, not after it
            raise FileNotFoundError(f"Checkpoint: folder {folder} does not exist; create it, or give another path")
        self._epochs = epochs

    def on_epoch_seen(self, trainer: Trainer, history: History) -> None:  # noqa: D102
        if history.epochs % self.every == 0 or history.epochs == self._epochs or history.stop_reason:
            save_checkpoint(trainer, self.path)


class ProgressBar(Callback):
    """Show the epochs on standard error, with the latest losses."""

    only_watches: ClassVar[bool] = True

    def __init__(self) -> None:
        self._bar: Any = None

    def on_fit_start(self, trainer: Trainer, history: History, epochs: int) -> None:  # noqa: ARG002, D102
        from tqdm import tqdm  # imported here: only those who want a bar pay for it

        self._bar = tqdm(total=epochs, initial=history.epochs, unit="epoch", file=sys.stderr)

    def on_epoch_end(self, trainer: Trainer, history: History) -> str:  # noqa: ARG002, D102
        self._bar.set_postfix({name: f"{history.last(name):.4g}" for name in history}, refresh=False)
        self._bar.update()
        return ""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:  # noqa: ARG002, D102
        if self._bar is not None:
            self._bar.close()
            self._bar = None
