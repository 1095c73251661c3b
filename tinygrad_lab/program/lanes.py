"""Lanes: n independent copies of a program side by side, as one more axis on the left of every value.

    a line          v2 = matmul(v1, w)                       (5, 3), (3, 4)       --> (5, 4)
    its n lanes     v2 = matmul(v1, w)                       (n, 5, 3), (n, 3, 4) --> (n, 5, 4)

    a line          v3 = broadcast_to(lr, shape=(5, 4))      ()                   --> (5, 4)
    its n lanes     v3 = reshape(lr, shape=(n, 1, 1))        (n,)                 --> (n, 1, 1)
                    v4 = broadcast_to(v3, shape=(n, 5, 4))   (n, 1, 1)            --> (n, 5, 4)

Operands of a primitive have equal shapes and axes count from the right, so most lines stay as they are. `RULES` has the
others: those that name a whole shape or index, and those that must not see the other lanes.

*Does a lane compute the very bits that the program computes alone?* The bits of a sum depend on its order, and NumPy adds in
the order of the memory. A matrix that is the transpose of a product, say, lies there column after column, and its elements are
added so. Therefore each lane is laid out as the program's own value is, and the lanes lie one after the other: NumPy finds
the axes inside a lane as they were, and goes through one lane after the other. One thing is left to the BLAS: where in memory
an operand lies must not decide the bits of a product. In OpenBLAS it does not, but for kernels of processors before 2008.
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
    """Writes the lines of n lanes.

    Parameters
    ----------
    n : int
        The number of lanes.

    Attributes
    ----------
    lines : list of Line
        What has been written so far; the names of its results are all the same.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.lines: list[Line] = []
        self._lanes: dict[Value, Value] = {}

    def lanes_of(self, x: Value) -> Value:
        """Return the lanes of a value; those of a constant share its memory."""
        if x not in self._lanes:
            widened = (shared if x.kind == "constant" else repeated)(x.array, self.n)
            self._lanes[x] = Value(x.name, x.kind, widened)
        return self._lanes[x]

    def add_lanes_of(self, line: Line) -> None:
        """Write the lines that compute the lanes of what `line` computes."""
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
            An example of the result; not needed for a view, which is an example of itself.
        **params
            The op's metadata.
        """
        example = op.run(*[x.array for x in operands], **params) if array is None else array
        self.lines.append(Line(op, operands, params, Value("lanes", "result", example)))
        return self.lines[-1].result


def shared(array: np.ndarray, n: int) -> np.ndarray:
    """Return n times the same array in the same memory, read-only; unlike `np.broadcast_to` it keeps all strides."""
    return as_strided(array, (n, *array.shape), (0, *array.strides), writeable=False)


def repeated(array: np.ndarray, n: int) -> np.ndarray:
    """Return n copies of an array one after the other in memory, the axes of each in the order of the original's.

    Examples
    --------
    >>> columns = np.zeros((2, 3), order="F")
    >>> columns.strides, repeated(columns, 5).strides
    ((8, 16), (48, 8, 16))
    """
    dense = np.empty_like(array)  # in the order of the original's axes, without its gaps and repetitions
    memory = np.empty(n * array.size, array.dtype)
    copies = np.ndarray((n, *array.shape), array.dtype, memory, strides=(dense.nbytes, *dense.strides))
    copies[...] = array
    return copies


# Rules: each writes the lanes of a line, given the lanes of its operands, and returns those of its result ---------------------

Rule = Callable[..., Value]


def same_line(builder: LaneBuilder, line: Line, *operands: Value) -> Value:
    """Write a line whose parameters count axes from the right: it holds for lanes as it stands."""
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

    NumPy puts the axes of index arrays where these stand if they stand together, and to the front if not. If the first of them
    stands in front, both are the same place. If not, as in x[:, i], each lane is indexed for itself.
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
    """Write a power to one constant number as it stands, any other lane by lane.

    NumPy calls no pow but multiplies where the exponents of a loop are one and the same 2 in memory, and the last bits differ.
    Which loops an operation is divided into depends on the lanes too; an exponent that is a constant number is the same in all.
    """
    one_number = exponent.kind == "constant" and not any(exponent.array.strides)
    return (same_line if one_number else each_lane)(builder, line, base, exponent)


def each_lane(builder: LaneBuilder, line: Line, *operands: Value) -> Value:
    """Write a line n times, on one lane each, and join the results."""
    rows = []
    for lane in range(builder.n):
        operands_of_lane = [_one_lane(builder, lane, x, single) for x, single in zip(operands, line.operands, strict=True)]
        result = builder.append(line.op, *operands_of_lane, array=line.result.array, **line.params)
        rows.append(builder.append(ops.reshape, result, shape=(1, *line.result.array.shape)))
    example = repeated(line.result.array, builder.n)
    return builder.append(ops.concatenate, *rows, array=example, axis=-example.ndim)


def _one_lane(builder: LaneBuilder, lane: int, x: Value, single: Value) -> Value:
    """Take a lane of x, with the strides that x has alone, be they those of a number that is repeated."""
    shape = single.array.shape
    if any(single.array.strides) or 0 in shape:
        return builder.append(ops.getitem, x, index=(lane, ...))
    number = builder.append(ops.getitem, x, index=(lane, *[0] * len(shape), ...))
    return builder.append(ops.broadcast_to, number, shape=shape)


def _index_after_lanes(index: tuple[Any, ...], ndim: int) -> tuple[Any, ...] | None:
    """Return an index with a place for the lane numbers in front, or None where no index array stands in front."""
    indexed = sum(item is not None and item is not ... for item in index)
    items = index[1:] if index[0] is ... and indexed == ndim else index  # an ellipsis that stands for no axis
    return (ARRAY, *items) if items[0] is ARRAY else None


def _with_lane_numbers(builder: LaneBuilder, arrays: tuple[Value, ...]) -> list[Value]:
    """Give index arrays equally many axes after that of the lanes, and put the lane numbers in front of them."""
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
    ops.einsum: each_lane,  # NumPy plans a contraction by all lengths: the order of its sums would depend on that of the lanes
}
