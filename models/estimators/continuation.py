"""Continue a training in a new Trainer. Epochs are counted from the first training, for learning rates and sample orders.

history so far --Continuation--> history of the new Trainer --new epochs--> one history
"""

from __future__ import annotations

from tinygrad_lab import Callback, History, Run


class Continuation(Callback):
    """Start the history of a new training with that of an earlier one, as in a resumed training."""

    def __init__(self, earlier: History) -> None:
        self.earlier = earlier

    def on_fit_start(self, run: Run) -> None:
        run.history.load_state_dict(self.earlier.state_dict())
