"""Checking gradients: of the framework's own ops, and of what others build from them.

f, inputs --check_grad--> largest relative error, or an AssertionError that names the place
strategies: hypothesis makes the inputs          mutants: wrong VJPs, to show that a check can fail
"""

from tinygrad_lab.testing.gradients import check_grad
from tinygrad_lab.testing.mutants import mutant

__all__ = ["check_grad", "mutant"]
