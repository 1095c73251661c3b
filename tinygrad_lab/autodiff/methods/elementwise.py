"""Operators and functions of each element, and changes of dtype."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_lab.autodiff import functions, ops


class Elementwise:
    """Operators and functions of each element."""

    __slots__ = ()

    shape: Any
    ndim: Any
    dtype: Any
    detach: Any

    # Arithmetic: methods, their operators, and the operators with the Tensor on the right ------------------------------

    def add(self, other: Any) -> Self:
        """Return the sum with `other`, elementwise."""
        return ops.add(self, other)

    __add__ = add

    def __radd__(self, other: Any) -> Self:
        return ops.add(other, self)

    def subtract(self, other: Any) -> Self:
        """Return the difference from `other`, elementwise."""
        return ops.subtract(self, other)

    __sub__ = subtract

    def __rsub__(self, other: Any) -> Self:
        return ops.subtract(other, self)

    def multiply(self, other: Any) -> Self:
        """Return the product with `other`, elementwise."""
        return ops.multiply(self, other)

    __mul__ = multiply

    def __rmul__(self, other: Any) -> Self:
        return ops.multiply(other, self)

    def divide(self, other: Any) -> Self:
        """Return the quotient by `other`, elementwise."""
        return ops.divide(self, other)

    __truediv__ = divide

    def __rtruediv__(self, other: Any) -> Self:
        return ops.divide(other, self)

    def power(self, other: Any) -> Self:
        """Return each element to the power of `other`, whose derivative at x ** 0 is 0."""
        return ops.power(self, other)

    def __pow__(self, other: Any) -> Self:
        return self.square() if isinstance(other, int) and other == 2 else ops.power(self, other)

    def __rpow__(self, other: Any) -> Self:
        return ops.power(other, self)

    def matmul(self, other: Any) -> Self:
        """Return the matrix product with `other`."""
        return functions.matmul(self, other)

    __matmul__ = matmul

    def __rmatmul__(self, other: Any) -> Self:
        return functions.matmul(other, self)

    def negative(self) -> Self:
        """Return each element times -1."""
        return ops.negative(self)

    __neg__ = negative

    def __pos__(self) -> Self:
        return self

    def abs(self) -> Self:
        """Return the absolute value of each element; its derivative at 0 is 0."""
        return ops.absolute(self)

    __abs__ = abs

    # Comparisons and logic --------------------------------------------------------------------------------------------

    def __lt__(self, other: Any) -> Self:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Self:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Self:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Self:
        return ops.greater_equal(self, other)

    def __eq__(self, other: Any) -> Self:  # type: ignore[override]
        return ops.equal(self, other) if other is not None else ops.less(ops.absolute(self), 0)  # no element is None

    def __ne__(self, other: Any) -> Self:  # type: ignore[override]
        return ops.not_equal(self, other) if other is not None else ops.logical_not(self == other)

    def __and__(self, other: Any) -> Self:
        _check_booleans("&", self, other)
        return ops.logical_and(self, other)

    def __or__(self, other: Any) -> Self:
        _check_booleans("|", self, other)
        return ops.logical_or(self, other)

    def __invert__(self) -> Self:
        _check_booleans("~", self)
        return ops.logical_not(self)

    # Functions of each element ---------------------------------------------------------------------------------------

    def maximum(self, other: Any) -> Self:
        """Return the greater of each element and `other`; if they are equal, each gets half of the gradient."""
        return ops.maximum(self, other)

    def minimum(self, other: Any) -> Self:
        """Return the smaller of each element and `other`; if they are equal, each gets half of the gradient."""
        return ops.minimum(self, other)

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

    def sign(self) -> Self:
        """Return the sign of each element, -1, 0 or 1; its derivative is 0."""
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
        """Limit each element to [min, max]; at a bound and beyond, the gradient goes to the bound."""
        clipped = self
        for bound, reaches, extremum in ((min, ops.less_equal, ops.maximum), (max, ops.greater_equal, ops.minimum)):
            if bound is not None:  # the extremum is nan, and so is its gradient, if the element or the bound is nan
                clipped = ops.where(reaches(clipped, bound), bound, extremum(clipped, bound))
        return clipped

    def astype(self, dtype: DTypeLike) -> Self:
        """Return the elements in another dtype. Gradients have the original dtype; integers have none."""
        target = np.dtype(dtype)
        if target == self.dtype or (self.dtype.kind == "c" and target.kind == "f"):  # check_grad takes complex steps
            return self
        if target.kind not in "fiub" or (target.kind == "f" and target.itemsize not in (4, 8)):
            raise TypeError(f"astype: asked for dtype {target}, expected float64, float32, integers or booleans")
        return ops.astype(self if target.kind == "f" else self.detach(), dtype=target)

    def astype_like(self, other: Any) -> Self:
        """Return the elements in the dtype of another Tensor of floats. Beside integers they stay as they are."""
        complex_step = "c" in (self.dtype.kind, other.dtype.kind)  # check_grad's: complex numbers beside floats
        return self if complex_step or other.dtype.kind != "f" else self.astype(other.dtype)


def _check_booleans(symbol: str, *operands: Any) -> None:
    """Raise an error if an operand holds numbers: NumPy's `&`, `|` and `~` would act on their bits."""
    dtypes = [x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype for x in operands]
    if any(dtype.kind != "b" for dtype in dtypes):
        given = " and ".join(dict.fromkeys(map(str, dtypes)))
        noun = "operands are" if len(operands) > 1 else "operand is"
        raise TypeError(f"{symbol}: {noun} {given}, expected bool; compare first")
