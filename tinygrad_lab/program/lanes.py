"""Lanes: n independent copies of a program side by side, as one more axis on the left of every value.

    a line          v2 = matmul(v1, w)                       (5, 3), (3, 4)       --> (5, 4)
    its n lanes     v2 = matmul(v1, w)                       (n, 5, 3), (n, 3, 4) --> (n, 5, 4)

    a line          v3 = broadcast_to(lr, shape=(5, 4))      ()                   --> (5, 4)
    its n lanes     v3 = reshape(lr, shape=(n, 1, 1))        (n,)                 --> (n, 1, 1)
                    v4 = broadcast_to(v3, shape=(n, 5, 4))   (n, 1, 1)            --> (n, 5, 4)

Operands of a primitive have equal shapes and axes count from the right, so most lines stay as they are. `RULES` has a rule for
each op whose parameters contain a whole shape or index, and for each op whose result in a lane could depend on other lanes.

*Does a lane compute the same bits as the program alone?* The bits of a sum depend on its order, and NumPy adds in the order of
the memory. For example, the transpose of a product is stored column after column, and its elements are added in that order.
Therefore each lane has the memory layout of the program's own value, and the lanes follow one another in memory. NumPy then
finds the axes inside a lane as they were, and processes one lane after the other. We rely on one property of the BLAS: the bits
of a product do not depend on the address of an operand. This holds for OpenBLAS, except for its kernels for processors from
before 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.ops import ARRAY, Op
from tinygrad_lab.program.lines import Line, Value


class LaneBuilder:
    """Builds the lines of a program with n lanes from the lines of a program without lanes.

    Parameters
    ----------
    n : int
        The number of lanes.

    Attributes
    ----------
    lines : list of Line
        The lines built so far. Their results all have the same name.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.lines: list[Line] = []
        self._lanes: dict[Value, Value] = {}

    def lanes_of(self, x: Value) -> Value:
        """Return a value with lanes. The lanes of a constant share its memory."""
        if x not in self._lanes:
            widened = (shared if x.kind == "constant" else repeated)(x.array, self.n)
            self._lanes[x] = Value(x.name, x.kind, widened)
        return self._lanes[x]

    def add_lanes_of(self, line: Line) -> None:
        """Append lines that compute the result of `line` in each lane."""
        rule = RULES.get(line.op, same_line)
        result = rule(self, line, *map(self.lanes_of, line.operands))
        self._lanes[line.result] = result
        last = self.lines[-1]
        shape = last.op.shape(*[x.array.shape for x in last.operands], **last.params)
        if shape != (self.n, *line.result.array.shape):
            raise NotImplementedError(
                f"lanes: {line} in {self.n} lanes has shape {shape}, expected {(self.n, *line.result.array.shape)}; "
                f"{line.op.name} needs a rule in tinygrad_lab.program.lanes.RULES"
            )

    def append(self, op: Op, *operands: Value, array: np.ndarray | None = None, **params: Any) -> Value:
        """Append one line and return its result.

        Parameters
        ----------
        op : Op
        *operands : Value
        array : ndarray, optional
            An array with the shape, dtype and memory layout of the result. It is not needed for a view.
        **params
            The op's metadata.
        """
        example = op.run(*[x.array for x in operands], **params) if array is None else array
        self.lines.append(Line(op, operands, params, Value("lanes", "result", example)))
        return self.lines[-1].result


def shared(array: np.ndarray, n: int) -> np.ndarray:
    """Return n read-only copies of an array that share its memory. Unlike `np.broadcast_to`, keep all strides."""
    return as_strided(array, (n, *array.shape), (0, *array.strides), writeable=False)


def repeated(array: np.ndarray, n: int) -> np.ndarray:
    """Return n copies of an array, one after the other in memory, each with the order of axes of the original.

    Examples
    --------
    >>> columns = np.zeros((2, 3), order="F")
    >>> columns.strides, repeated(columns, 5).strides
    ((8, 16), (48, 8, 16))
    """
    dense = np.empty_like(array)  # it has the original's order of axes, without gaps and repetitions
    memory = np.empty(n * array.size, array.dtype)
    copies = np.ndarray((n, *array.shape), array.dtype, memory, strides=(dense.nbytes, *dense.strides))
    copies[...] = array
    return copies


# Rules: each takes a line and its operands with lanes, appends lines, and returns the result with lanes ----------------------

Rule = Callable[..., Value]


def same_line(builder: LaneBuilder, line: Line, *operands: Value) -> Value:
    """Append the same line: its parameters count axes from the right, so they are right for lanes too."""
    example = None if line.op.view else repeated(line.result.array, builder.n)
    return builder.append(line.op, *operands, array=example, **line.params)


def reshape(builder: LaneBuilder, line: Line, x: Value) -> Value:
    """(n, old) --> (n, new)."""
    return builder.append(ops.reshape, x, shape=(builder.n, *line.params["shape"]))


def broadcast_to(builder: LaneBuilder, line: Line, x: Value) -> Value:
    """(n, old) --> (n, 1, ..., 1, old) --> (n, new): new axes come between the lanes and the old axes."""
    shape = line.params["shape"]
    old = x.array.shape[1:]
    if len(old) < len(shape):
        x = builder.append(ops.reshape, x, shape=(builder.n, *[1] * (len(shape) - len(old)), *old))
    return builder.append(ops.broadcast_to, x, shape=(builder.n, *shape))


def getitem(builder: LaneBuilder, line: Line, x: Value) -> Value:
    """x[index] --> x[:, index]."""
    return builder.append(ops.getitem, x, index=(slice(None), *line.params["index"]))


def gather(builder: LaneBuilder, line: Line, x: Value, *arrays: Value) -> Value:
    """x[i, j, :] --> x[lane, i, j, :], where `lane` is 0, 1, ..., n - 1, along the first axis of i and j.

    NumPy puts the axes of adjacent index arrays where these arrays are, and those of other index arrays first. If the first
    item of the index is an array, both places are the same. If it is not, as in x[:, i], each lane is indexed separately.
    """
    index = _index_after_lanes(line.params["index"], line.operands[0].array.ndim)
    if index is None:
        return each_lane(builder, line, x, *arrays)
    example = repeated(line.result.array, builder.n)
    return builder.append(ops.gather, x, *_with_lane_numbers(builder, arrays), array=example, index=index)


def scatter_add(builder: LaneBuilder, line: Line, g: Value, *arrays: Value) -> Value:
    """Add g at [lane, i, j, :] of zeros of shape (n, shape): the adjoint of getitem and gather."""
    shape = line.params["shape"]
    index = _index_after_lanes(line.params["index"], len(shape)) if arrays else (slice(None), *line.params["index"])
    if index is None:
        return each_lane(builder, line, g, *arrays)
    example = repeated(line.result.array, builder.n)
    numbered = _with_lane_numbers(builder, arrays) if arrays else ()
    return builder.append(ops.scatter_add, g, *numbered, array=example, index=index, shape=(builder.n, *shape))


def power(builder: LaneBuilder, line: Line, base: Value, exponent: Value) -> Value:
    """Append the same line if the exponent is one constant number; otherwise compute each lane separately.

    NumPy computes x**2 as x*x only if all exponents of an inner loop are the same 2 in memory. The two differ in the last bit.
    How NumPy divides an operation into inner loops depends on the lanes too, but a constant number is the same in all of them.
    """
    one_number = exponent.kind == "constant" and not any(exponent.array.strides)
    return (same_line if one_number else each_lane)(builder, line, base, exponent)


def each_lane(builder: LaneBuilder, line: Line, *operands: Value) -> Value:
    """Append a line n times, for one lane each, and join the results."""
    rows = []
    for lane in range(builder.n):
        operands_of_lane = [_one_lane(builder, lane, x, single) for x, single in zip(operands, line.operands, strict=True)]
        result = builder.append(line.op, *operands_of_lane, array=line.result.array, **line.params)
        rows.append(builder.append(ops.reshape, result, shape=(1, *line.result.array.shape)))
    example = repeated(line.result.array, builder.n)
    return builder.append(ops.concatenate, *rows, array=example, axis=-example.ndim)


def _one_lane(builder: LaneBuilder, lane: int, x: Value, single: Value) -> Value:
    """Take one lane of x, with the strides of `single`, the value without lanes; they may be those of a repeated number."""
    shape = single.array.shape
    if any(single.array.strides) or 0 in shape:
        return builder.append(ops.getitem, x, index=(lane, ...))
    number = builder.append(ops.getitem, x, index=(lane, *[0] * len(shape), ...))
    return builder.append(ops.broadcast_to, number, shape=shape)


def _index_after_lanes(index: tuple[Any, ...], ndim: int) -> tuple[Any, ...] | None:
    """Return an index with the lane numbers before its first item, or None if that item is not an index array."""
    indexed = sum(item is not None and item is not ... for item in index)
    items = index[1:] if index[0] is ... and indexed == ndim else index  # drop an ellipsis that covers no axis
    return (ARRAY, *items) if items[0] is ARRAY else None


def _with_lane_numbers(builder: LaneBuilder, arrays: tuple[Value, ...]) -> list[Value]:
    """Give all index arrays the same number of axes after the lane axis, and put the lane numbers before them."""
    ndim = max(x.array.ndim for x in arrays)
    numbers = np.arange(builder.n).reshape(-1, *[1] * (ndim - 1))
    aligned = [x if x.array.ndim == ndim else _with_axes(builder, x, ndim) for x in arrays]
    return [Value("lane", "constant", numbers), *aligned]


def _with_axes(builder: LaneBuilder, x: Value, ndim: int) -> Value:
    n, *lengths = x.array.shape
    return builder.append(ops.reshape, x, shape=(n, *[1] * (ndim - x.array.ndim), *lengths))


RULES: dict[Op, Rule] = {
    ops.reshape: reshape,
    ops.broadcast_to: broadcast_to,
    ops.getitem: getitem,
    ops.gather: gather,
    ops.scatter_add: scatter_add,
    ops.power: power,
    ops.einsum: each_lane,  # NumPy orders the sums of a contraction by the lengths of its axes, of which n would be one
}
