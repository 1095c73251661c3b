"""Going on with a training in a new Trainer: its epochs count on, so learning rates and orders are those of one training.

history so far --Continuation--> history of the new Trainer --epochs--> --fill_gaps--> one history
"""

from __future__ import annotations

from tinygrad_lab import Callback, History, Run


class Continuation(Callback):
    """Put the history of an earlier training in front of that of a new one, as a resumed training has it."""

    def __init__(self, earlier: History) -> None:
        self.earlier = earlier

    def on_fit_start(self, run: Run) -> None:
        run.history.load_state_dict(self.earlier.state_dict())
