"""Dimensions: which axes have the same loop, and how a view changes an index."""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_lab.autodiff import ops
from tinygrad_lab.codegen.kinds import NoLoopFormError
from tinygrad_lab.program import Line, Program, Value

Index = tuple[str, ...]
Domain = tuple[int, ...]

WHOLE: Index = (":",)
"""The index of an array that is read or written as a whole."""


def loops(index: Index) -> Domain:
    """Return the dimensions over which an index loops."""
    return tuple(int(i[1:]) for i in index if i.startswith("i"))


class Dimensions:
    """The dimension of each axis: axes have the same one if the program makes their lengths equal, not by coincidence.

    A line makes axes equal. For example, an elementwise op does so for all its operands, and a matrix product for its two
    inner axes. A state has the axes of its new value. Dimensions have numbers; an axis of length 1 has none.
    """

    def __init__(self, program: Program) -> None:
        self._parent: dict[tuple[Value, int], tuple[Value, int]] = {}
        equal = [pair for line in program.lines for pair in _equal_axes(line)]
        equal += [((x, i), (program.state[name], i)) for name, x in program.new_state.items() for i in range(x.array.ndim)]
        for one, other in equal:
            one, other = self._representative(one), self._representative(other)
            if one != other:
                self._parent[one] = other
        self._numbers: dict[tuple[Value, int], int] = {}

    def _representative(self, axis: tuple[Value, int]) -> tuple[Value, int]:
        while axis in self._parent:
            axis = self._parent[axis]
        return axis

    def of(self, x: Value) -> tuple[int, ...]:
        """Return the dimension of each axis of `x`; -1 for an axis of length 1."""
        return tuple(
            -1 if n == 1 else self._numbers.setdefault(self._representative((x, i)), len(self._numbers))
            for i, n in enumerate(x.array.shape)
        )


def _equal_axes(line: Line) -> Iterator[tuple[tuple[Value, int], tuple[Value, int]]]:
    y, op = line.result, line.op
    if op.view:
        (x,) = line.operands
        symbols = tuple(f"i{i}" for i in range(y.array.ndim))
        for i, symbol in enumerate(view_index(line, symbols)):
            if symbol != "0":
                yield (x, i), (y, symbols.index(symbol))
    elif op.elementwise or op.reduction is not None or op is ops.astype:
        reduced = {axis % y.array.ndim for axis in line.params.get("axes", ())}
        yield from (((x, i), (y, i)) for x in line.operands for i in range(y.array.ndim) if i not in reduced)
    elif op is ops.matmul and y.array.ndim == 2:
        a, b = line.operands
        yield from [((a, 0), (y, 0)), ((b, 1), (y, 1)), ((a, 1), (b, 0))]
    else:
        raise NoLoopFormError(f"{op.name} has no loop form: {line}")


def view_index(line: Line, index: Index) -> Index:
    """Return the index in the operand of a view for the element at `index` of its result.

    Raises
    ------
    NoLoopFormError
        If the view is more than a change of indices.
    """
    (x,) = line.operands
    shape, result_shape = x.array.shape, line.result.array.shape
    if line.op is ops.detach:
        return index
    if line.op is ops.transpose:
        axes = line.params["axes"]
        lead = len(shape) - len(axes)
        order = [*range(lead), *[axis + len(shape) for axis in axes]]
        return tuple(index[order.index(i)] for i in range(len(shape)))
    if line.op is ops.broadcast_to:
        return tuple(i if n != 1 else "0" for i, n in zip(index[len(index) - len(shape) :], shape, strict=True))
    if line.op is ops.reshape and [n for n in shape if n != 1] == [n for n in result_shape if n != 1]:
        remaining = iter([i for i, n in zip(index, result_shape, strict=True) if n != 1])
        return tuple(next(remaining) if n != 1 else "0" for n in shape)
    raise NoLoopFormError(f"{line.op.name} has no loop form here: {line}")
