"""NumPy's functions for Tensors, and those of scipy.special, each in one place under its own name.

    np.diff(x) --> NumPy's protocol --> sorting.py, reductions.py, ... --> ops and methods of x --> Tensor

Importing this package enters them into the table of `tinygrad_lab.autodiff.methods.protocol`. That happens when NumPy first
passes a function that is not in the table. Most functions are compositions. A function is an op if its value or derivative
could not be exact to rounding otherwise.

Three kinds of results:

- A function of the elements returns a Tensor. It is a constant if the function has no gradient, as argmax or isnan.
- A function of the shape or dtype, such as `numpy.ndim`, returns what NumPy returns.
- A function that answers a question to Python, such as `numpy.allclose`, returns what NumPy returns. Inside a capture it is
  refused, because a program would repeat the answer of today.
"""

from . import contractions, elementwise, left_out, linalg, movement, reductions, sorting, special, values

__all__ = ["contractions", "elementwise", "left_out", "linalg", "movement", "reductions", "sorting", "special", "values"]
