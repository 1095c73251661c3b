"""Code generation: a Program as loops over scalars, in Python source that people can read and Numba can compile.

    Program --> norms as sums of squares                             (`expand_norms`)
            --> sums of squares of outer products, factored         (`factor_squares`)
            --> sums over several axes as sums over columns first   (`split_sums`)
            --> transposed products as products of transposes       (`transpose_factors`)
            --> a separate value for each use of a view             (`separate_uses`)
            --> copies of views that need memory                    (`copy_views`)
            --> which axes belong to the same dimension             (`Dimensions`)
            --> which values are stored and which are inlined       (`choose_stored`)
            --> which states are updated in place                   (`in_place_states`)
            --> one loop nest for each stored value                 (`make_nests`)
            --> nests over the same dimensions merged               (`merge_nests`)
            --> arrays that only one iteration uses as scalars      (`make_scalars`)
            --> source text: `step`, and `updates` around it        (`write_source`)

A value that is not stored is written out where it is used. An elementwise line becomes its op's scalar expression, a view a
change of indices, and a product with an inner length of 1 a multiplication. So the gradient of a weight for one sample, an
outer product, never exists as a matrix. A product of two matrices calls BLAS. Loop bounds come from the arrays, so one
compiled text serves every width.

The text consists of the op table's expressions and of generated names. It contains no string that a user has chosen.
"""

from tinygrad_lab.codegen.kinds import CompilerError, NoLoopFormError
from tinygrad_lab.codegen.source import Source, write_source

__all__ = ["CompilerError", "NoLoopFormError", "Source", "write_source"]
