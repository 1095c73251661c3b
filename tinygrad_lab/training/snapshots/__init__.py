"""Snapshots of what a training step reads, to see what a trial run has changed and to put it back."""

from tinygrad_lab.training.snapshots.nodes import Node, Opaque
from tinygrad_lab.training.snapshots.snapshot import Difference, Snapshot, roots_of, trial_run

__all__ = ["Difference", "Node", "Opaque", "Snapshot", "roots_of", "trial_run"]
