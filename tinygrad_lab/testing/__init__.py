"""Checks for the ops of this package, and for functions, layers and Trainers that users write.

    f, inputs     --check_grad--> largest error and kinks, or an AssertionError that shows the worst elements and the op
    trainer, x, y --verify--> a table of checks of all parts, or an AssertionError with the table

`strategies` draws inputs with hypothesis. `mutants` makes a VJP wrong, to show that a check can fail.
"""

from tinygrad_lab.testing.gradients import GradientReport, check_grad
from tinygrad_lab.testing.mutants import mutant
from tinygrad_lab.testing.verification import Check, Verification, verify

__all__ = ["Check", "GradientReport", "Verification", "check_grad", "mutant", "verify"]
