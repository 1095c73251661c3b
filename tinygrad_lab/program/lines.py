"""The parts of a program: values, and lines that each assign one value.

v7 = multiply(v3, v6)      a Line: its op, its operands and its result, which are Values
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
