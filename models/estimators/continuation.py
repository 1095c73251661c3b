"""Going on with a training in a new Trainer: its epochs count on, so learning rates and orders are those of one training.

history so far --Continuation--> history of the new Trainer --epochs--> --fill_gaps--> one history
"""

from __future__ import annotations

import numpy as np

from tinygrad_lab import Callback, History, Trainer


class Continuation(Callback):
    """Put the history of an earlier training in front of that of a new one, as a resumed training has it."""

    def __init__(self, earlier: History) -> None:
        self.earlier = earlier

    def on_fit_start(self, trainer: Trainer, history: History, epochs: int) -> None:  # noqa: ARG002, D102
        history.load_state_dict(self.earlier.state_dict())


def fill_gaps(history: History, earlier: History) -> None:
    """Put nan for the epochs in which a loss was not recorded: validation data may come and go between two trainings.

    Parameters
    ----------
    history : History
        Of the whole training.
    earlier : History
        Of its first part.

    Examples
    --------
    >>> earlier, history = History(), History()
    >>> earlier.append(train_loss=2.0)
    >>> history.append(train_loss=2.0)
    >>> history.append(train_loss=1.0, validation_loss=3.0)
    >>> fill_gaps(history, earlier)
    >>> history["validation_loss"]
    array([nan,  3.])
    """
    columns = {}
    for name, values in history.items():
        gap = np.full(history.epochs - len(values), np.nan)
        columns[name] = np.concatenate([values, gap] if name in earlier else [gap, values])
    history.load_state_dict(columns, history.stop_reason)
