"""Code generation: from a Program to loops over scalars, in Python source that a person can read and Numba compiles.

    Program --> sums of squares of outer products, factored         (`factor_squares`)
            --> sums over rows and columns as sums of columns       (`split_sums`)
            --> transposed products as products                     (`transpose_factors`)
            --> a value of its own for each use of a view           (`separate_uses`)
            --> copies of what has to lie in memory of its own      (`copy_views`)
            --> which axes are one and the same dimension           (`Dimensions`)
            --> which values are stored, which are inlined          (`choose_stored`)
            --> which states are updated in place                   (`in_place_states`)
            --> one loop nest for each stored value                 (`make_nests`)
            --> nests over the same dimensions merged               (`merge_nests`)
            --> arrays that only one turn of a loop uses, scalars   (`make_scalars`)
            --> source text: `step`, and `updates` around it        (`write_source`)

A value that is not stored is written out where it is used: an elementwise line as its op's scalar expression, a view as a
change of indices, a product with an inner length of 1 as a multiplication. So the gradient of a weight for one sample, an
outer product, never exists as a matrix. A product of two matrices calls BLAS. Loop bounds come from the arrays: one
compilation serves every width.

The text is made of the op table's expressions and of names given here; no string of a user's enters it.
"""

from tinygrad_lab.codegen.kinds import CompilerError, NoLoopFormError
from tinygrad_lab.codegen.source import Source, write_source

__all__ = ["CompilerError", "NoLoopFormError", "Source", "write_source"]
