"""The methods of a Tensor that follow from the ops: everything here is said in terms of `ops` and operators.

    Elementwise <-- Movement <-- Reductions <-- NumPyProtocol <-- TensorMethods      each may use those before it

A method that NumPy has under the same name computes what NumPy's does, for the arguments that it takes.
"""

from tinygrad_lab.autodiff.methods.protocol import NumPyProtocol

__all__ = ["TensorMethods"]


class TensorMethods(NumPyProtocol):
    """A mixin of composed methods, for a class whose instances the ops accept as operands.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> x = tl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x.mean(axis=0)
    Tensor([2., 3.])
    >>> x.T.reshape(4)[1:3]
    Tensor([3., 2.])
    >>> x.softmax(axis=-1).sum(axis=-1)
    Tensor([1., 1.])
    """

    __slots__ = ()
