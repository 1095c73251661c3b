"""Callbacks of a search, which only watch a training: they keep its state, or its losses on data that must not decide.

Run --after each epoch--> StateKeeper, LossWatcher
"""

import tinygrad_lab
from search.trials.data import Array
from tinygrad_lab.training import Run, checkpoint_bytes


class StateKeeper(tinygrad_lab.Callback):
    """Keeps the state after the last epoch of a run, before `EarlyStopping` puts back the weights of another."""

    only_watches = True

    def __init__(self) -> None:
        self.state: bytes | None = None

    def on_epoch_seen(self, run: Run) -> None:
        if not run.is_active:
            self.state = checkpoint_bytes(run)


class LossWatcher(tinygrad_lab.Callback):
    """Records the loss on some samples after each epoch. Unlike `validation`, no other callback can read it.

    Parameters
    ----------
    x, y, weight : ndarray
        As for `Trainer.evaluate`.
    """

    only_watches = True

    def __init__(self, *samples: Array) -> None:
        self.samples = samples
        self.losses: list[float] = []

    def on_epoch_end(self, run: Run) -> str:
        self.losses.append(run.trainer.evaluate(*self.samples))
        return ""
