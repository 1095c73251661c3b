"""Training a model: the Trainer, what it records, and what may watch it.

Trainer.fit --> epoch: learning rate, updates, validation --> History --> callbacks --> next epoch, or stop
"""

from tinygrad_lab.training.callbacks import Callback, Checkpoint, EarlyStopping, ProgressBar
from tinygrad_lab.training.checkpoints import checkpoint_bytes
from tinygrad_lab.training.history import History
from tinygrad_lab.training.lanes import fit_lanes, lanes_as_completed
from tinygrad_lab.training.loop import NonFiniteLossError
from tinygrad_lab.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "NonFiniteLossError",
    "ProgressBar",
    "Trainer",
    "checkpoint_bytes",
    "fit_lanes",
    "lanes_as_completed",
]
