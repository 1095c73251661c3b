"""The methods of a Tensor that follow from the ops: everything here is said in terms of `ops` and operators.

A primitive reduction keeps its axes at length 1; the methods drop them. A method that NumPy has under the same
name computes what NumPy's does, for the arguments that it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf, prod
from typing import Any, Self

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.typing import DTypeLike

from tinygrad_lab import functions, ops

Axis = int | tuple[int, ...] | None


class TensorMethods:
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

    shape: Any
    ndim: Any
    dtype: Any
    detach: Any

    # Operators --------------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Self:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Self:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Self:
        return ops.subtract(self, other)

    def __rsub__(self, other: Any) -> Self:
        return ops.subtract(other, self)

    def __mul__(self, other: Any) -> Self:
        return ops.multiply(self, other)

    def __rmul__(self, other: Any) -> Self:
        return ops.multiply(other, self)

    def __truediv__(self, other: Any) -> Self:
        return ops.divide(self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return ops.divide(other, self)

    def __pow__(self, other: Any) -> Self:
        return self.square() if isinstance(other, int) and other == 2 else ops.power(self, other)

    def __rpow__(self, other: Any) -> Self:
        return ops.power(other, self)

    def __matmul__(self, other: Any) -> Self:
        return functions.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Self:
        return functions.matmul(other, self)

    def __neg__(self) -> Self:
        return ops.negative(self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return ops.absolute(self)

    def __and__(self, other: Any) -> Self:
        _check_booleans("&", self, other)
        return ops.logical_and(self, other)

    def __or__(self, other: Any) -> Self:
        _check_booleans("|", self, other)
        return ops.logical_or(self, other)

    def __invert__(self) -> Self:
        _check_booleans("~", self)
        return ops.logical_not(self)

    def __lt__(self, other: Any) -> Self:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Self:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Self:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Self:
        return ops.greater_equal(self, other)

    def __eq__(self, other: Any) -> Self:  # type: ignore[override]
        return ops.equal(self, other)

    def __ne__(self, other: Any) -> Self:  # type: ignore[override]
        return ops.not_equal(self, other)

    # Elementwise -----------------------------------------------------------------------------------------------------

    def add(self, other: Any) -> Self:
        """Return the sum with `other`, elementwise."""
        return ops.add(self, other)

    def subtract(self, other: Any) -> Self:
        """Return the difference from `other`, elementwise."""
        return ops.subtract(self, other)

    def multiply(self, other: Any) -> Self:
        """Return the product with `other`, elementwise."""
        return ops.multiply(self, other)

    def divide(self, other: Any) -> Self:
        """Return the quotient by `other`, elementwise."""
        return ops.divide(self, other)

    def power(self, other: Any) -> Self:
        """Return each element to the power of `other`, whose derivative at x ** 0 is 0."""
        return ops.power(self, other)

    def negative(self) -> Self:
        """Return each element with the other sign."""
        return ops.negative(self)

    def maximum(self, other: Any) -> Self:
        """Return the greater of each element and `other`; where equal, each gets half of the gradient."""
        return ops.maximum(self, other)

    def minimum(self, other: Any) -> Self:
        """Return the lesser of each element and `other`; where equal, each gets half of the gradient."""
        return ops.minimum(self, other)

    def matmul(self, other: Any) -> Self:
        """Return the matrix product with `other`."""
        return functions.matmul(self, other)

    def exp(self) -> Self:
        """Return e to the power of each element."""
        return ops.exp(self)

    def expm1(self) -> Self:
        """Return e to the power of each element, minus 1, to full precision near 0."""
        return ops.expm1(self)

    def log(self) -> Self:
        """Return the natural logarithm of each element."""
        return ops.log(self)

    def log1p(self) -> Self:
        """Return log(1 + x) of each element x, to full precision near 0."""
        return ops.log1p(self)

    def sqrt(self) -> Self:
        """Return the square root of each element."""
        return ops.sqrt(self)

    def abs(self) -> Self:
        """Return the absolute value of each element; its derivative at 0 is 0."""
        return ops.absolute(self)

    def sign(self) -> Self:
        """Return -1, 0 or 1 by the sign of each element; constant to differentiation."""
        return ops.sign(self)

    def sin(self) -> Self:
        """Return the sine of each element, in radians."""
        return ops.sin(self)

    def cos(self) -> Self:
        """Return the cosine of each element, in radians."""
        return ops.cos(self)

    def tanh(self) -> Self:
        """Return the hyperbolic tangent of each element."""
        return ops.tanh(self)

    def sigmoid(self) -> Self:
        """Return 1 / (1 + exp(-x)) of each element x, without overflow."""
        return ops.sigmoid(self)

    def softplus(self) -> Self:
        """Return log(1 + exp(x)) of each element x, without overflow."""
        return ops.softplus(self)

    def erf(self) -> Self:
        """Return the error function of each element."""
        return ops.erf(self)

    def square(self) -> Self:
        """Return each element times itself."""
        return ops.multiply(self, self)

    def relu(self) -> Self:
        """Return max(x, 0) of each element x; the derivative at 0 is 0, and nan stays nan."""
        return ops.where(ops.less_equal(self, 0.0), 0.0, self)

    def clip(self, min: Any = None, max: Any = None) -> Self:
        """Limit each element to [min, max]; at a bound and beyond, the derivative passes to the bound."""
        clipped = self
        if min is not None:
            clipped = ops.where(ops.less_equal(clipped, min), min, clipped)
        if max is not None:
            clipped = ops.where(ops.greater_equal(clipped, max), max, clipped)
        return clipped

    def astype(self, dtype: DTypeLike) -> Self:
        """Return the elements in another dtype; gradients come back in this one. Integers are constants."""
        target = np.dtype(dtype)
        if target == self.dtype:
            return self
        if target.kind not in "fiub" or (target.kind == "f" and target.itemsize not in (4, 8)):
            raise TypeError(f"astype: asked for dtype {target}, expected float64, float32, integers or booleans")
        return ops.astype(self if target.kind == "f" else self.detach(), dtype=target)

    def astype_like(self, other: Any) -> Self:
        """Return the elements in the dtype of another Tensor."""
        complex_step = "c" in (self.dtype.kind, other.dtype.kind)  # it passes through, as complex numbers beside floats
        return self if complex_step else self.astype(other.dtype)

    # Reductions over one axis, several axes or all (axis=None) -------------------------------------------------------

    def _axes(self, axis: Axis) -> tuple[int, ...]:
        """Write `axis` as distinct numbers that count from the right, in ascending order."""
        if axis is None:
            return tuple(range(-self.ndim, 0))
        return tuple(sorted(i - self.ndim for i in normalize_axis_tuple(axis, self.ndim)))

    def _count(self, axis: Axis) -> int:
        return prod(self.shape[i] for i in self._axes(axis))

    def _drop(self, axes: tuple[int, ...]) -> Self:
        kept = tuple(n for i, n in enumerate(self.shape) if i - self.ndim not in axes)
        return ops.reshape(self, shape=kept)

    def _reduce(self, op: ops.Op, axis: Axis, keepdims: bool) -> Self:
        axes = self._axes(axis)
        if not axes:
            return self
        reduced = op(self, axes=axes)
        return reduced if keepdims else reduced._drop(axes)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the sum over `axis`."""
        return self._reduce(ops.reduce_sum, axis, keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the maximum over `axis`; elements that tie share its gradient evenly."""
        return self._reduce(ops.reduce_max, axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the minimum over `axis`; elements that tie share its gradient evenly."""
        return self._reduce(ops.reduce_min, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the arithmetic mean over `axis`."""
        return ops.divide(self.sum(axis, keepdims), self._count(axis))

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Self:
        """Return the variance over `axis`, with divisor n - `ddof`."""
        deviation = ops.subtract(self, self.mean(axis, keepdims=True))
        return ops.divide(deviation.square().sum(axis, keepdims), self._count(axis) - ddof)

    def _root(self) -> Self:
        """Return the square root with derivative 0 at 0, where that of a norm is chosen to be 0."""
        zero = ops.equal(self, 0.0)
        return ops.where(zero, 0.0, ops.sqrt(ops.where(zero, 1.0, self)))

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Self:
        """Return the standard deviation over `axis`; its derivative where all elements are equal is 0."""
        return self.var(axis, ddof, keepdims)._root()

    def norm(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the Euclidean norm over `axis`; its derivative at 0 is 0."""
        values = self if self.dtype.kind in "fc" else self.astype(np.float64)
        return values.square().sum(axis, keepdims)._root()

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the product over `axis`, by multiplying halves: right where elements are 0, at any order."""
        axes = self._axes(axis)
        product = self.astype(np.prod(np.empty(0, self.dtype)).dtype)  # NumPy multiplies small integers as large ones
        for i in axes:
            while (n := product.shape[i]) > 1:
                first, second, odd = product._split_along(i, [n // 2, n // 2 * 2])
                product = ops.multiply(first, second)
                if odd.shape[i]:
                    product = ops.concatenate(product, odd, axis=i)
            if n == 0:  # an empty sum is 0, an empty product is 1
                product = ops.add(product.sum(i, keepdims=True), 1)
        return product if keepdims or not axes else product._drop(axes)

    def _shift(self, axis: Axis) -> Self:
        """Return the maximum over `axis` as a constant, 0 where infinite: subtracted first, it keeps exp in range."""
        top = self.max(axis, keepdims=True).detach()
        return ops.where(ops.equal(ops.absolute(top), inf), 0.0, top)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return log(sum(exp(x))) over `axis`, without overflow."""
        shift = self._shift(axis)
        total = ops.add(ops.subtract(self, shift).exp().sum(axis, keepdims=True).log(), shift)
        axes = self._axes(axis)
        return total if keepdims or not axes else total._drop(axes)

    def softmax(self, axis: Axis = -1) -> Self:
        """Return exp(x) / sum(exp(x)), the sum over `axis`, without overflow."""
        exps = ops.subtract(self, self._shift(axis)).exp()
        return ops.divide(exps, exps.sum(axis, keepdims=True))

    def log_softmax(self, axis: Axis = -1) -> Self:
        """Return the logarithm of the softmax over `axis`, without overflow."""
        shifted = ops.subtract(self, self._shift(axis))  # without adding the shift back, which would cost digits
        return ops.subtract(shifted, shifted.exp().sum(axis, keepdims=True).log())

    # Movement --------------------------------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Self:
        """Return the elements in another shape, in row-major order; one length may be -1."""
        lengths = _one_tuple(shape)
        known = prod(n for n in lengths if n != -1)
        size = prod(self.shape)
        if lengths.count(-1) > 1 or (-1 in lengths and (known == 0 or size % known)):
            raise ValueError(f"reshape: {lengths} cannot hold the {size} elements of shape {self.shape}")
        target = tuple(size // known if n == -1 else n for n in lengths)
        return ops.reshape(self, shape=ops.reshape.shape(self.shape, shape=target))

    def transpose(self, *axes: Any) -> Self:
        """Return the axes in another order, reversed by default."""
        order = _one_tuple(axes) or tuple(reversed(range(self.ndim)))
        chosen = tuple(i - self.ndim for i in normalize_axis_tuple(order, self.ndim))
        if len(chosen) != self.ndim:
            raise ValueError(f"transpose: axes {order} do not permute the {self.ndim} axes of shape {self.shape}")
        return ops.transpose(self, axes=chosen)

    @property
    def T(self) -> Self:  # noqa: N802 (NumPy's name)
        """The axes in reverse order."""
        return self.transpose()

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        """Return the axes with two of them exchanged."""
        first, second = (normalize_axis_index(axis, self.ndim) for axis in (axis1, axis2))
        order = list(range(self.ndim))
        order[first], order[second] = second, first
        return self.transpose(order)

    def squeeze(self, axis: Axis = None) -> Self:
        """Drop axes of length 1: those of `axis`, or all."""
        axes = self._axes(tuple(i for i, n in enumerate(self.shape) if n == 1) if axis is None else axis)
        if any(self.shape[i] != 1 for i in axes):
            raise ValueError(f"squeeze: axis {axis} of shape {self.shape} has another length than 1")
        return self._drop(axes)

    def expand_dims(self, axis: int | tuple[int, ...]) -> Self:
        """Insert axes of length 1, at the positions `axis` of the result."""
        ndim = self.ndim + (len(axis) if isinstance(axis, tuple) else 1)
        new = normalize_axis_tuple(axis, ndim)
        lengths = iter(self.shape)
        return ops.reshape(self, shape=tuple(1 if i in new else next(lengths) for i in range(ndim)))

    def broadcast_to(self, *shape: Any) -> Self:
        """Return the elements repeated along axes of length 1 and new axes on the left."""
        target = ops.broadcast_to.shape(self.shape, shape=_one_tuple(shape))
        return self if target == self.shape else ops.broadcast_to(self, shape=target)

    def _split_along(self, axis: int, boundaries: Sequence[int]) -> list[Self]:
        edges = [0, *boundaries, self.shape[axis]]
        rest = [slice(None)] * (-axis - 1)
        return [ops.getitem(self, index=(..., slice(a, b), *rest)) for a, b in pairwise(edges)]

    def split(self, sections: int | Sequence[int], axis: int = 0) -> list[Self]:
        """Cut along `axis` into so many equal `sections`, or at the given indices."""
        (axis,) = self._axes(axis)
        if isinstance(sections, (int, np.integer)):
            n = self.shape[axis]
            if sections < 1 or n % sections:
                raise ValueError(f"split: an axis of length {n} does not divide into {sections} equal sections")
            sections = [n // sections * i for i in range(1, sections)]
        return self._split_along(axis, sections)

    def __getitem__(self, index: Any) -> Self:
        template, arrays = _normalise_index(index, self.shape)
        return (ops.gather if arrays else ops.getitem)(self, *arrays, index=template)


def _check_booleans(symbol: str, *operands: Any) -> None:
    """Refuse numbers, on which NumPy's `&`, `|` and `~` work bit by bit."""
    dtypes = [x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype for x in operands]
    if any(dtype.kind != "b" for dtype in dtypes):
        given = " and ".join(dict.fromkeys(map(str, dtypes)))
        noun = "operands are" if len(operands) > 1 else "operand is"
        raise TypeError(f"{symbol}: {noun} {given}, expected bool; compare first")


def _one_tuple(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Accept ``f(2, 3)`` and ``f((2, 3))`` alike."""
    if len(arguments) == 1 and isinstance(arguments[0], (tuple, list)):
        return tuple(arguments[0])
    return arguments


def _normalise_index(index: Any, shape: ops.Shape) -> tuple[tuple[Any, ...], list[Any]]:
    """Split what stands in the brackets into a template that counts axes from the right, and the index arrays."""
    items: list[Any] = []
    arrays: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        if item is None or item is Ellipsis or isinstance(item, slice):
            items.append(item)
            continue
        array = np.asarray(item) if not hasattr(item, "__op__") else item
        if array.size == 0 and isinstance(item, list):
            array = array.astype(int)  # as NumPy takes an empty list
        if array.dtype == bool:
            if array.ndim == 0:
                raise IndexError("a single True or False is no index; give a mask of the axes' shape")
            np.broadcast_to(False, shape)[index]  # NumPy refuses a mask of another shape
            positions = np.asarray(array).nonzero()  # a mask stands for the positions where it holds
        elif array.dtype.kind not in "iu":
            raise IndexError(f"an index is made of integers, slices, None, ... and masks, got {item!r}")
        elif array.ndim == 0:
            items.append(int(array))
            continue
        else:
            positions = (array,)
        items.extend([ops.ARRAY] * len(positions))
        arrays.extend(positions)

    if Ellipsis in items and arrays and len(items) == 1 + len(shape) + items.count(None):
        return tuple(items), arrays  # an ellipsis that stands for no axis still separates index arrays for NumPy
    used = sum(item is not None and item is not Ellipsis for item in items)
    if items.count(Ellipsis) > 1 or used > len(shape):
        raise IndexError(f"index {index!r} does not fit shape {shape}")
    at = items.index(Ellipsis) if Ellipsis in items else len(items)
    items[at : at + 1] = [slice(None)] * (len(shape) - used)
    return (..., *items), arrays
