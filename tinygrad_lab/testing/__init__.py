"""Checks for the ops of this package, and for functions, layers and Trainers that users write.

    f, inputs --check_grad--> largest relative error and kinks, or an AssertionError that shows the worst elements and the op

`strategies` draws inputs with hypothesis. `mutants` makes a VJP wrong, to show that a check can fail.
"""

from tinygrad_lab.testing.gradients import GradientReport, check_grad
from tinygrad_lab.testing.mutants import mutant

__all__ = ["GradientReport", "check_grad", "mutant"]
