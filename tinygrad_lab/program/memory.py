"""Memory: an array for every value of a program.

inputs, state      --> the arrays that are given
result of a view   --> a view, made once
any other result   --> a buffer, which is used again once no later line reads it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_lab.program.lines import Line, Value

GAP = 1024
"""Unused bytes on both sides of an array.

LLVM checks at run time whether arrays are close together in memory, and falls back to scalar code, which sums in another
order. The gap rules that out.
"""


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Allocate an array that starts on a cache line of 64 bytes; NumPy's own may start in the middle of one.

    Examples
    --------
    >>> array = aligned_empty((3, 5), np.float32)
    >>> array.shape, array.dtype, array.ctypes.data % 64
    ((3, 5), dtype('float32'), 0)
    """
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    memory = np.empty(size + 2 * GAP + 64, np.uint8)
    start = GAP - (memory.ctypes.data + GAP) % 64 + 64
    return memory[start : start + size].view(dtype).reshape(shape)


class Memory:
    """The array of each value of a program.

    Parameters
    ----------
    declared : mapping of Value to ndarray
        The arrays of the inputs and the state.
    lines : sequence of Line
    wanted : sequence of Value
        The values that are read after the last line.

    Attributes
    ----------
    buffers : int
        The number of buffers that the results share.
    """

    def __init__(self, declared: Mapping[Value, np.ndarray], lines: Sequence[Line], wanted: Sequence[Value]) -> None:
        self.buffers = 0
        self._arrays = dict(declared)
        self._viewed: dict[Value, Value] = {}  # for each view: the value whose memory it shows
        self._allocate(lines, _last_reads(lines, wanted))

    def array(self, x: Value) -> np.ndarray:
        """Return the array of a value."""
        return x.array if x.kind == "constant" else self._arrays[x]

    def is_view(self, x: Value) -> bool:
        """Whether a value shows the memory of another value, so that no call computes it."""
        return x in self._viewed

    def _allocate(self, lines: Sequence[Line], last_reads: Mapping[Value, int]) -> None:
        free: dict[Any, list[np.ndarray]] = {}
        for i, line in enumerate(lines):
            arrays = [self.array(x) for x in line.operands]
            view = line.op.run(*arrays, **line.params) if line.op.view else None
            if view is not None and (not view.size or np.may_share_memory(view, arrays[0])):
                self._arrays[line.result] = view
                self._viewed[line.result] = self._viewed.get(line.operands[0], line.operands[0])
            else:
                buffers = free.get(_layout(line.result.array))
                self._arrays[line.result] = buffers.pop() if buffers else self._new_buffer(line.result.array)
            for x in {self._viewed.get(x, x) for x in (*line.operands, line.result)}:
                if x.kind == "result" and last_reads[x] == i:
                    free.setdefault(_layout(x.array), []).append(self._arrays[x])

    def _new_buffer(self, like: np.ndarray) -> np.ndarray:
        self.buffers += 1
        # The layout is that of the capture: NumPy adds in the order of the memory, and the order decides the last bits.
        return np.empty_like(like)


def _layout(array: np.ndarray) -> Any:
    return array.dtype, array.shape, array.strides


def _last_reads(lines: Sequence[Line], wanted: Sequence[Value]) -> dict[Value, int]:
    """Return the number of the last line that reads the memory of each value, also through views."""
    last: dict[Value, int] = {}
    viewed: dict[Value, Value] = {}
    for i, line in enumerate(lines):
        last[line.result] = i
        if line.op.view:  # if NumPy has to copy instead, the operand's memory is only kept longer than needed
            viewed[line.result] = viewed.get(line.operands[0], line.operands[0])
        for x in line.operands:
            last[viewed.get(x, x)] = last[x] = i
    for x in wanted:
        last[viewed.get(x, x)] = last[x] = len(lines)
    return last
