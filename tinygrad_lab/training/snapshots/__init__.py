"""Snapshots of what a training step reads, to see what has changed and to put it back."""

from tinygrad_lab.training.snapshots.nodes import MISSING, Node, Opaque, label, leaf, native_owner, path
from tinygrad_lab.training.snapshots.snapshot import Difference, Snapshot, roots_of, snapshot_of, trial_run
from tinygrad_lab.training.snapshots.writing import write

__all__ = [
    "MISSING",
    "Difference",
    "Node",
    "Opaque",
    "Snapshot",
    "label",
    "leaf",
    "native_owner",
    "path",
    "roots_of",
    "snapshot_of",
    "trial_run",
    "write",
]
