"""The parts of a program: values, and lines that each assign one value.

v7 = multiply(v3, v6)      a Line: its op, its operands and its result, which are Values
inputs, state --> lines --> outputs, new state      a Computation
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.ops import Op


@dataclass(frozen=True, eq=False)
class Value:
    """A name in a program: an input, a state, a constant, or the result of a line.

    Attributes
    ----------
    name : str
    kind : {"input", "state", "constant", "result"}
    array : ndarray
        The array at the capture, which has the shape, dtype and memory layout. A constant keeps these numbers.
    """

    name: str
    kind: str
    array: np.ndarray

    def __str__(self) -> str:
        if self.kind == "constant" and not any(self.array.strides):  # one number, repeated
            return repr(self.array.flat[0].item()) if self.array.size else self.name
        return self.name


@dataclass(frozen=True, eq=False)
class Line:
    """One op of a program: ``result = op(operands, params)``."""

    op: Op
    operands: tuple[Value, ...]
    params: Mapping[str, Any]
    result: Value

    def __str__(self) -> str:
        arguments = [*map(str, self.operands), *[f"{name}={value}" for name, value in self.params.items()]]
        return f"{self.result} = {self.op.name}({', '.join(arguments)})"


@dataclass(eq=False, repr=False)
class Computation:
    """Single-assignment lines that compute outputs and a new state from inputs and state.

    Attributes
    ----------
    inputs, state : dict of str to Value
        The declared values.
    lines : list of Line
        In the order in which they run. Each value is assigned once.
    outputs, new_state : dict of str to Value
        The values that a replay returns, and those that replace the state.
    lane_count : int or None
        The length of the lane axis, the first axis of everything declared; None for a computation without lanes.
    """

    inputs: dict[str, Value]
    state: dict[str, Value]
    lines: list[Line]
    outputs: dict[str, Value]
    new_state: dict[str, Value]
    lane_count: int | None = None
