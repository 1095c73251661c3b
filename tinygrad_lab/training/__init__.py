"""Training a model: the Trainer, what it records, and what may watch it.

data, history --> step --> captured --> engines --> run --> checkpoints, callbacks --> trainer --> lanes

Each imports only from those before it. A Trainer owns the parts and the step, a Run its data, history, callbacks and engine.
"""

from tinygrad_lab.training.callbacks import Checkpoint, EarlyStopping, ProgressBar
from tinygrad_lab.training.checkpoints import checkpoint_bytes
from tinygrad_lab.training.history import History
from tinygrad_lab.training.lanes import fit_lanes, lanes_as_completed
from tinygrad_lab.training.run import Callback, NonFiniteLossError, Run
from tinygrad_lab.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "NonFiniteLossError",
    "ProgressBar",
    "Run",
    "Trainer",
    "checkpoint_bytes",
    "fit_lanes",
    "lanes_as_completed",
]
