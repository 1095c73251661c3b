"""Reductions over one axis, several axes or all (``axis=None``).

The reduction ops keep their axes with length 1. The methods remove them, unless `keepdims` is set.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any, Self

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.methods.movement import Axis, Movement


class Reductions(Movement):
    """Reductions over one axis, several axes or all (``axis=None``)."""

    __slots__ = ()

    def _count(self, axis: Axis) -> int:
        return prod(self.shape[i] for i in self._axes(axis))

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
        """Return the variance over `axis`, with divisor n - `ddof`, but not less than 0."""
        deviation = ops.subtract(self, self.mean(axis, keepdims=True))
        return ops.divide(deviation.square().sum(axis, keepdims), max(self._count(axis) - ddof, 0))

    def _root(self) -> Self:
        """Return the square root, with derivative 0 at 0: the choice for norms, see docs/numerics.md."""
        zero = ops.equal(self, 0.0)
        return ops.where(zero, 0.0, ops.sqrt(ops.where(zero, 1.0, self)))

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Self:
        """Return the standard deviation over `axis`; its derivative is 0 if all elements are equal."""
        return self.var(axis, ddof, keepdims)._root()

    def norm(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the Euclidean norm over `axis`, without overflow and underflow; its derivative at 0 is 0."""
        values = self if self.dtype.kind in "fc" else self.astype(np.float64)
        # Dividing by a scale and multiplying by it changes nothing, so derivatives may take the scale for a constant. It is
        # not subnormal, so that no digits are lost.
        scale = ops.maximum(values.abs()._top(axis), 2.0**30 * float(np.finfo(values.dtype).tiny))
        root = ops.divide(values, scale).square().sum(axis, keepdims=True)._root()
        return ops.multiply(root, scale)._without(axis, keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return the product over `axis`; it multiplies halves and never divides, so derivatives at 0 are right."""
        axes = self._axes(axis)
        product = self.astype(np.prod(np.empty(0, self.dtype)).dtype)  # NumPy multiplies small integers as int64
        for i in axes:
            while (n := product.shape[i]) > 1:
                first, second, odd = product._split_along(i, [n // 2, n // 2 * 2])
                product = ops.multiply(first, second)
                if odd.shape[i]:
                    product = ops.concatenate(product, odd, axis=i)
            if n == 0:  # an empty sum is 0, an empty product is 1
                product = ops.add(product.sum(i, keepdims=True), 1)
        return product._without(axis, keepdims)

    def _top(self, axis: Axis) -> Any:
        """Return the maximum over `axis` as a constant with these axes, or 0 if it is infinite or there is none."""
        if not self._count(axis):
            return 0.0
        top = self.max(axis, keepdims=True).detach()
        return ops.where(ops.equal(ops.absolute(top), inf), 0.0, top)

    def _without(self, axis: Axis, keepdims: bool) -> Self:
        axes = self._axes(axis)
        return self if keepdims or not axes else self._drop(axes)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Self:
        """Return log(sum(exp(x))) over `axis`, without overflow."""
        shift = self._top(axis)  # so that exp does not overflow
        return ops.add(ops.subtract(self, shift).exp().sum(axis, keepdims=True).log(), shift)._without(axis, keepdims)

    def softmax(self, axis: Axis = -1) -> Self:
        """Return exp(x) / sum(exp(x)), the sum over `axis`, without overflow."""
        exps = ops.subtract(self, self._top(axis)).exp()
        return ops.divide(exps, exps.sum(axis, keepdims=True))

    def log_softmax(self, axis: Axis = -1) -> Self:
        """Return the logarithm of the softmax over `axis`, without overflow."""
        shifted = ops.subtract(self, self._top(axis))  # the shift is not added back, which would lose digits
        return ops.subtract(shifted, shifted.exp().sum(axis, keepdims=True).log())
