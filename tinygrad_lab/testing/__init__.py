"""Gradient checks, for the ops of this package and for functions and layers that users write.

    f, inputs --check_grad--> largest relative error, or an AssertionError that names input, index and both numbers

`strategies` draws inputs with hypothesis. `mutants` makes a VJP wrong, to show that a check can fail.
"""

from tinygrad_lab.testing.gradients import check_grad
from tinygrad_lab.testing.mutants import mutant

__all__ = ["check_grad", "mutant"]
