"""Callbacks that come with the framework: early stopping, checkpoints, a progress bar.

Run --on_fit_start, on_epoch_end, on_epoch_seen, on_fit_end--> callbacks, in order --a reason to stop--> Run
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from math import inf, isnan
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinygrad_lab.checks import is_finite_number, is_positive_integer
from tinygrad_lab.storage.digests import digest_arrays
from tinygrad_lab.training.checkpoints import save_checkpoint
from tinygrad_lab.training.run import Callback, Run


class EarlyStopping(Callback):
    """Stop where a loss has not improved for a number of epochs, and go back to the best weights.

    Parameters
    ----------
    patience : int
        The number of epochs without improvement after which to stop.
    monitor : str
        The entry of the history to watch.
    min_delta : float
        By how much an epoch must be better than the best to count, at least 0.
    restore_best : bool
        Whether the model gets the weights of the best epoch at the end.

    Attributes
    ----------
    best_epoch : int
        The epoch with the best value, counted from 0; -1 if it is one of an earlier `fit`.
    best_value : float

    Notes
    -----
    A `fit` that goes on where the last one with this callback has ended, with the same weights and the same data, must get
    better than the best epoch so far. Any other `fit` begins anew.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=1000)
    >>> x = np.linspace(-1.0, 1.0, 20)
    >>> stopping = EarlyStopping(patience=3, monitor="train_loss", min_delta=1e-3)
    >>> history = trainer.fit(x, 2.0 * x, callbacks=[stopping])
    >>> history.epochs, stopping.best_epoch
    (67, 63)
    """

    def __init__(
        self, patience: int, monitor: str = "validation_loss", min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        if not is_finite_number(min_delta) or min_delta < 0:
            raise ValueError(f"EarlyStopping: min_delta is {min_delta!r}, expected a number of at least 0")
        if not is_positive_integer(patience):
            raise ValueError(f"EarlyStopping: patience is {patience!r}, expected a positive integer")
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.best_value = inf
        self.best_epoch = -1
        self._best_weights: dict[str, np.ndarray] = {}
        self._end = ""  # the weights and data of the last fit when it ended

    def on_fit_start(self, run: Run) -> None:
        if run.history.epochs:  # it is resumed
            return
        self.best_epoch = -1
        if self._end != _digest(run):
            self.best_value = inf
            self._best_weights = {}

    def on_epoch_end(self, run: Run) -> str:
        # An entry that earlier epochs had and this one lacks is nan.
        recorded = [name for name in run.history if not isnan(run.history.last(name))]
        if self.monitor not in recorded:
            raise ValueError(
                f"EarlyStopping: monitors {self.monitor!r}, but the epoch has {', '.join(recorded)}; "
                "give fit validation data, or put the callback that records it before this one"
            )
        epoch = run.history.epochs - 1
        if run.history.last(self.monitor) < self.best_value - self.min_delta:
            self.best_value = run.history.last(self.monitor)
            self.best_epoch = epoch
            self._best_weights = run.trainer.model.state_dict()
        waited = epoch - self.best_epoch
        return f"{self.monitor} has not improved for {waited} epochs" if waited >= self.patience else ""

    def on_fit_end(self, run: Run) -> None:
        if self.restore_best and self._best_weights:
            run.trainer.model.load_state_dict(self._best_weights)
            if self.best_epoch != run.history.epochs - 1:
                where = f"epoch {self.best_epoch + 1}" if self.best_epoch >= 0 else "an earlier fit"
                run.forbid_checkpoints(f"EarlyStopping has put back the weights of {where}")
        self._end = _digest(run)

    def settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("patience", "monitor", "min_delta", "restore_best")}

    def state_dict(self) -> dict[str, np.ndarray]:
        weights = {f"weights.{name}": value for name, value in self._best_weights.items()}
        return {"best_value": np.array(self.best_value), "best_epoch": np.array(self.best_epoch)} | weights

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self.best_value = float(state["best_value"])
        self.best_epoch = int(state["best_epoch"])
        self._best_weights = {k.removeprefix("weights."): v for k, v in state.items() if k.startswith("weights.")}

    def on_state_loaded(self, run: Run) -> None:
        if self._best_weights:
            run.trainer.model.check_state_dict(self._best_weights)


def _digest(run: Run) -> str:
    """Return a digest of the data of a run and of the weights of its model."""
    return digest_arrays([*run.data, *(run.held_out or ()), *run.trainer.model.state_dict().values()])


class Checkpoint(Callback):
    """Write all that is needed to resume the training to a file, every few epochs and after the last.

    Parameters
    ----------
    path : path
        Replaced atomically each time. ``trainer.fit(..., resume=path)`` goes on from it, to the same bits.
    every : int
        The number of epochs between two writes.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/training.checkpoint"
    ...     half = trainer.fit([1.0, 2.0], [2.0, 4.0], epochs=10, callbacks=[Checkpoint(file, every=5)])
    ...     history = trainer.fit([1.0, 2.0], [2.0, 4.0], resume=file)
    >>> history.epochs
    20
    """

    only_watches: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        if not is_positive_integer(every):
            raise ValueError(f"Checkpoint: every is {every!r}, expected a positive integer")
        self.path = path
        self.every = every

    def on_fit_start(self, run: Run) -> None:  # noqa: ARG002
        folder = Path(self.path).parent
        if not folder.is_dir():  # say so before the first epoch, not after it
            raise FileNotFoundError(f"Checkpoint: folder {folder} does not exist; create it, or give another path")

    def on_epoch_seen(self, run: Run) -> None:
        if run.history.epochs % self.every == 0 or run.history.epochs == run.epochs or run.history.stop_reason:
            save_checkpoint(run, self.path)


class ProgressBar(Callback):
    """Show the epochs on standard error, with the latest losses.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=2)
    >>> history = trainer.fit([1.0, 2.0], [2.0, 4.0], callbacks=[ProgressBar()])
    >>> history.epochs
    2
    """

    only_watches: ClassVar[bool] = True

    def __init__(self) -> None:
        self._bar: Any = None

    def on_fit_start(self, run: Run) -> None:
        from tqdm import tqdm  # imported here: only those who want a bar pay for it

        self._bar = tqdm(total=run.epochs, initial=run.history.epochs, unit="epoch", file=sys.stderr)

    def on_epoch_end(self, run: Run) -> str:
        self._bar.set_postfix({name: f"{run.history.last(name):.4g}" for name in run.history}, refresh=False)
        self._bar.update()
        return ""

    def on_fit_end(self, run: Run) -> None:  # noqa: ARG002
        if self._bar is not None:
            self._bar.close()
            self._bar = None
