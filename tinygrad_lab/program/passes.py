"""Passes: each takes lines and returns lines, together with the values that the program returns (`wanted`).

recording --> number --> merge_common --> drop_dead --> rename --> the lines of a program
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_lab.autodiff.recording import Recording
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.program.lines import Line, Value


def number(recording: Recording, values: dict[int, Value]) -> list[Line]:
    """Replace the recorded Tensors by values. `values` has those of declared Tensors; the other values are added to it."""
    lines: list[Line] = []
    for recorded in recording.lines:
        operands = tuple(values.setdefault(id(x), constant(x)) for x in recorded.inputs)
        result = Value(f"v{len(lines)}", "result", recorded.result._array)
        values[id(recorded.result)] = result
        lines.append(Line(recorded.op, operands, recorded.params, result))
    return lines


def constant(tensor: Tensor) -> Value:
    """Return a value for a Tensor that is the same in every run."""
    return Value("constant", "constant", tensor._array)


def merge_common(lines: Sequence[Line], wanted: Sequence[Value]) -> tuple[list[Line], list[Value]]:
    """Merge lines with the same op, operands and parameters.

    Views are not merged. They cost nothing, and two equal ones may be equal by coincidence, for example a number that is
    broadcast to the shapes of two layers of the same width.
    """
    replacement: dict[Value, Value] = {}
    known: dict[Any, Value] = {}
    kept = []
    for line in lines:
        operands = tuple(_merged(x, replacement, known) for x in line.operands)
        key = (line.op, operands, repr(line.params))
        if key in known and not line.op.view:
            replacement[line.result] = known[key]
        else:
            known[key] = line.result
            kept.append(Line(line.op, operands, line.params, line.result))
    return kept, [_merged(x, replacement, known) for x in wanted]


def _merged(x: Value, replacement: Mapping[Value, Value], known: dict[Any, Value]) -> Value:
    if x.kind != "constant":
        return replacement.get(x, x)
    array = x.array
    return known.setdefault((array.dtype, array.shape, array.strides, array.tobytes()), x)


def drop_dead(lines: Sequence[Line], wanted: Sequence[Value]) -> list[Line]:
    """Drop the lines that no wanted value depends on."""
    needed = set(wanted)
    kept = []
    for line in reversed(lines):
        if line.result in needed:
            needed.update(line.operands)
            kept.append(line)
    return kept[::-1]


def rename(lines: Sequence[Line], wanted: Sequence[Value]) -> tuple[list[Line], list[Value]]:
    """Name the results v0, v1, ... and the constants c0, c1, ...; a constant that is one number needs no name."""
    new: dict[Value, Value] = {}
    counts = {"result": 0, "constant": 0}

    def renamed(x: Value) -> Value:
        if x.kind not in counts:
            return x
        if x not in new:
            new[x] = Value(f"{x.kind[0].replace('r', 'v')}{counts[x.kind]}", x.kind, x.array)
            counts[x.kind] += str(new[x]) == new[x].name
        return new[x]

    return [Line(line.op, tuple(map(renamed, line.operands)), line.params, renamed(line.result)) for line in lines], [
        renamed(x) for x in wanted
    ]
