"""The methods of a Tensor that are composed of ops.

    Elementwise <-- Movement <-- Reductions <-- NumPyProtocol <-- TensorMethods      each class inherits from the one before

A method with the name of a NumPy function computes the same, for the arguments that it takes.
"""

from tinygrad_lab.autodiff.methods.protocol import NumPyProtocol

__all__ = ["TensorMethods"]


class TensorMethods(NumPyProtocol):
    """The mixin that has all of these methods, for a class whose instances are operands of the ops.

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
