"""Movement: the same elements in another shape or order, or some of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, Self

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.methods.elementwise import Elementwise

Axis = int | tuple[int, ...] | None


class Movement(Elementwise):
    """The same elements in another shape or order, or some of them."""

    __slots__ = ()

    def _axes(self, axis: Axis) -> tuple[int, ...]:
        """Convert `axis` to distinct negative numbers, which count from the right, in ascending order."""
        if axis is None or (not self.ndim and axis in (0, -1)):  # as in NumPy, a number has an axis for reductions
            return tuple(range(-self.ndim, 0))
        return tuple(sorted(i - self.ndim for i in normalize_axis_tuple(axis, self.ndim)))

    def _drop(self, axes: tuple[int, ...]) -> Self:
        kept = [n for axis, n in enumerate(self.shape, start=-self.ndim) if axis not in axes]
        return ops.reshape(self, shape=tuple(kept))

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
        """Permute the axes; by default, reverse them."""
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
        """Exchange two axes."""
        first, second = (normalize_axis_index(axis, self.ndim) for axis in (axis1, axis2))
        order = list(range(self.ndim))
        order[first], order[second] = second, first
        return self.transpose(order)

    def squeeze(self, axis: Axis = None) -> Self:
        """Remove axes of length 1: those in `axis`, or all."""
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
        """Cut along `axis`, into a number of equal `sections` or at the given indices."""
        axis = normalize_axis_index(axis, self.ndim) - self.ndim
        if isinstance(sections, (int, np.integer)):
            n = self.shape[axis]
            if sections < 1 or n % sections:
                raise ValueError(f"split: an axis of length {n} does not divide into {sections} equal sections")
            sections = [n // sections * i for i in range(1, sections)]
        return self._split_along(axis, sections)

    def __getitem__(self, index: Any) -> Self:
        template, arrays = _normalise_index(index, self.shape)
        if not arrays and all(item is None or item is ... or item == slice(None) for item in template):
            return ops.reshape(self, shape=ops.getitem.shape(self.shape, index=template))  # reshape has a loop form
        return (ops.gather if arrays else ops.getitem)(self, *arrays, index=template)


def _one_tuple(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the same tuple for ``f(2, 3)`` and ``f((2, 3))``."""
    if len(arguments) == 1 and isinstance(arguments[0], (tuple, list)):
        return tuple(arguments[0])
    return arguments


def _normalise_index(index: Any, shape: ops.Shape) -> tuple[tuple[Any, ...], list[Any]]:
    """Split an index into a template, which counts axes from the right, and its index arrays."""
    items: list[Any] = []
    arrays: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        if item is None or item is Ellipsis or isinstance(item, slice):
            items.append(item)
            continue
        array = np.asarray(item) if not hasattr(item, "__op__") else item
        if array.size == 0 and isinstance(item, list):
            array = array.astype(int)  # NumPy takes an empty list as integers
        if array.dtype == bool:
            if array.ndim == 0:
                raise IndexError("a single True or False is no index; give a mask of the axes' shape")
            np.broadcast_to(False, shape)[index]  # NumPy raises an error if the mask has another shape
            positions = np.asarray(array).nonzero()  # a mask selects the positions where it is True
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
        return tuple(items), arrays  # keep it: NumPy orders axes differently if index arrays are separated
    used = sum(item is not None and item is not Ellipsis for item in items)
    if items.count(Ellipsis) > 1 or used > len(shape):
        raise IndexError(f"index {index!r} does not fit shape {shape}")
    at = items.index(Ellipsis) if Ellipsis in items else len(items)
    items[at : at + 1] = [slice(None)] * (len(shape) - used)
    return (..., *items), arrays
