"""Programs: a computation recorded once, flattened to a list of NumPy calls, and replayed without building graphs.

    capture(step, inputs, state)
        run the step under a recording, twice, and compare     --> lines: v7 = multiply(v3, v6)
        merge common lines, drop dead ones                     --> fewer lines
        program.bind() : one buffer for each result, shared by lifetime; views made once
    replay: copy the inputs in; for f, args in calls: f(*args); copy the outputs out; commit the state last

*Why record twice?* A line of a recording has only operands that were declared (inputs, state), results of earlier lines, and
constants. A constant made of a Python number is made anew in each run and is equal in both. One that is the same object in
both runs came from outside, undeclared: a replay would never see it change. One that differs was drawn from a random
generator or counts calls. Both are refused, with the line of code where they were used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_lab.graph import CaptureError, Recording, record
from tinygrad_lab.ops import Op
from tinygrad_lab.tensor import Tensor

Step = Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]


@dataclass(frozen=True, eq=False)
class Value:
    """A name in a program: something declared, a constant, or the result of a line.

    Attributes
    ----------
    name : str
    kind : {"input", "state", "constant", "result"}
    array : ndarray
        What it held at the capture: its shape, dtype and memory layout; a constant holds that for ever.
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


class Program:
    """A captured computation: single-assignment lines from inputs and state to outputs and a new state.

    Attributes
    ----------
    inputs, state : dict of str to Value
        What was declared.
    lines : list of Line
        In the order of their running; each value is assigned once.
    outputs, new_state : dict of str to Value
        What a replay gives back, and what the state becomes.

    Examples
    --------
    >>> x, w = Tensor([1.0, 2.0]), Tensor([0.5, 0.5])
    >>> def step():
    ...     y = (w * x).sum()
    ...     return {"y": y}, {"w": w - 0.1 * x}
    >>> program = capture(step, {"x": x}, {"w": w})
    >>> print(program)
    input  x: float64 (2,)
    state  w: float64 (2,)
    v0 = multiply(w, x)
    v1 = reduce_sum(v0, axes=(-1,))
    v2 = reshape(v1, shape=())
    v3 = multiply(0.1, x)
    v4 = subtract(w, v3)
    output y = v2
    state  w = v4
    """

    def __init__(
        self,
        inputs: dict[str, Value],
        state: dict[str, Value],
        lines: list[Line],
        outputs: dict[str, Value],
        new_state: dict[str, Value],
    ) -> None:
        self.inputs = inputs
        self.state = state
        self.lines = lines
        self.outputs = outputs
        self.new_state = new_state

    def __str__(self) -> str:
        head = [f"{x.kind:<6} {x}: {x.array.dtype} {x.array.shape}" for x in (*self.inputs.values(), *self.state.values())]
        tail = [f"output {name} = {x}" for name, x in self.outputs.items()]
        tail += [f"state  {name} = {x}" for name, x in self.new_state.items()]
        return "\n".join([*head, *map(str, self.lines), *tail])

    def check(self) -> None:
        """Run the shape rule of every line again, and see that every operand is declared or assigned before it is used.

        Raises
        ------
        ValueError
            Where a line does not follow from those above it.
        """
        known = set(self.inputs.values()) | set(self.state.values())
        for line in self.lines:
            for x in line.operands:
                if x not in known and x.kind != "constant":
                    raise ValueError(f"{line}: {x} is used before it is assigned")
            shape = line.op.shape(*[x.array.shape for x in line.operands], **line.params)
            if shape != line.result.array.shape:
                raise ValueError(f"{line}: the shape rule gives {shape}, the line has {line.result.array.shape}")
            if line.result in known:
                raise ValueError(f"{line}: {line.result} is assigned twice")
            known.add(line.result)

    def bind(self, state: Mapping[str, np.ndarray] | None = None) -> BoundProgram:
        """Give every value its memory, once, and return what runs there.

        Parameters
        ----------
        state : mapping of str to ndarray, optional
            Arrays to keep the state in, so that several programs can share it; new ones by default.
        """
        return BoundProgram(self, state)


# Capture -------------------------------------------------------------------------------------------------------------


def capture(step: Step, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Program:
    """Run a step under a recording, and make a program of it.

    Parameters
    ----------
    step : callable
        Takes nothing and returns (outputs, new_state), two mappings of names to Tensors; `new_state` has the names of
        `state`. It uses the very Tensors of `inputs` and `state`, changes nothing, and never turns a Tensor into a number.
    inputs : mapping of str to Tensor
        What a replay is given each time.
    state : mapping of str to Tensor
        What a replay keeps for the next one.

    Returns
    -------
    Program

    Raises
    ------
    CaptureError
        Where a replay could not repeat the step, naming the line of code.

    Examples
    --------
    >>> x = Tensor([1.0])
    >>> capture(lambda: ({"y": x if x.item() > 0 else -x}, {}), {"x": x}, {})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_lab.graph.CaptureError: ..., line 1: the number of a Tensor that changes between replays would be frozen ...
    """
    declared = {id(tensor) for tensor in (*inputs.values(), *state.values())}
    with record((*inputs.values(), *state.values())) as recording:
        outputs, new_state = step()
    with record((*inputs.values(), *state.values())) as again:
        step()
    compare(recording, again, declared)

    values = {id(tensor): Value(name, "input", tensor._data) for name, tensor in inputs.items()}
    values |= {id(tensor): Value(name, "state", tensor._data) for name, tensor in state.items()}
    results = [*outputs.values(), *new_state.values()]
    lines = number(recording, values)
    wanted = [values.setdefault(id(tensor), _constant(tensor)) for tensor in results]
    lines, wanted = merge_common(lines, wanted)
    lines = drop_dead(lines, wanted)
    lines, wanted = rename(lines, wanted)
    return Program(
        {name: values[id(tensor)] for name, tensor in inputs.items()},
        {name: values[id(tensor)] for name, tensor in state.items()},
        lines,
        dict(zip(outputs, wanted[: len(outputs)], strict=True)),
        dict(zip(new_state, wanted[len(outputs) :], strict=True)),
    )


def compare(first: Recording, second: Recording, declared: set[int]) -> None:
    """Refuse what two recordings of one step do not have in common, or have in common without having declared it."""
    positions: tuple[dict[int, int], dict[int, int]] = ({}, {})
    if len(first.lines) != len(second.lines):
        raise CaptureError(
            f"the step ran {len(first.lines)} ops, then {len(second.lines)}: it depends on more than its Tensors"
        )
    for i, (one, two) in enumerate(zip(first.lines, second.lines, strict=True)):
        if one.op is not two.op or repr(one.params) != repr(two.params) or len(one.inputs) != len(two.inputs):
            raise CaptureError(f"{one.place}: runs {one.op.name} once and {two.op.name} then, or with other parameters")
        for x, again in zip(one.inputs, two.inputs, strict=True):
            if positions[0].get(id(x)) != positions[1].get(id(again)):
                raise CaptureError(f"{one.place}: {one.op.name} takes another operand each time the step runs")
            if id(x) in positions[0] or id(x) in declared:
                continue
            if x is again:
                raise CaptureError(
                    f"{one.place}: {one.op.name} takes a Tensor of shape {x.shape} that is neither declared nor computed in "
                    "the step, so a replay would never see it change; declare it as an input"
                )
            if not np.array_equal(x._data, again._data, equal_nan=x.dtype.kind == "f"):
                raise CaptureError(f"{one.place}: {one.op.name} takes a constant that differs each time the step runs")
        positions[0][id(one.result)] = positions[1][id(two.result)] = i


# Passes: each takes lines and returns lines ----------------------------------------------------------------------------


def number(recording: Recording, values: dict[int, Value]) -> list[Line]:
    """Turn the recorded Tensors into values; `values` has the declared ones and gets the others."""
    lines: list[Line] = []
    for recorded in recording.lines:
        operands = tuple(values.setdefault(id(x), _constant(x)) for x in recorded.inputs)
        result = Value(f"v{len(lines)}", "result", recorded.result._data)
        values[id(recorded.result)] = result
        lines.append(Line(recorded.op, operands, recorded.params, result))
    return lines


def _constant(tensor: Tensor) -> Value:
    return Value("constant", "constant", tensor._data)


def merge_common(lines: Sequence[Line], wanted: Sequence[Value]) -> tuple[list[Line], list[Value]]:
    """Compute once what several lines compute: the same op of the same operands and parameters.

    Views cost nothing and stay apart, so that a number broadcast to two shapes that happen to be equal makes no tie.
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
    """Drop the lines on which nothing that is wanted depends."""
    needed = set(wanted)
    kept = []
    for line in reversed(lines):
        if line.result in needed:
            needed.update(line.operands)
            kept.append(line)
    return kept[::-1]


def rename(lines: Sequence[Line], wanted: Sequence[Value]) -> tuple[list[Line], list[Value]]:
    """Name the results v0, v1, ... in order, and c0, c1, ... the constants that are more than one number."""
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


# Replay --------------------------------------------------------------------------------------------------------------


class BoundProgram:
    """A program with its memory: every view made, every buffer allocated, every call ready to run.

    Parameters
    ----------
    program : Program
    state : mapping of str to ndarray, optional
        Arrays to keep the state in; by default copies of what the state held at the capture.

    Attributes
    ----------
    inputs, state : dict of str to ndarray
        Where a replay reads. Write to `inputs` before `run`.
    buffers : int
        The number of buffers that the results share.

    Examples
    --------
    >>> x, w = Tensor([1.0, 2.0]), Tensor([0.5, 0.5])
    >>> bound = capture(lambda: ({"y": (w * x).sum()}, {"w": w - 0.1 * x}), {"x": x}, {"w": w}).bind()
    >>> bound.set_inputs(x=np.array([3.0, 4.0]))
    >>> bound.run()["y"].item()
    3.5
    >>> bound.commit()
    >>> bound.state["w"]
    array([0.2, 0.1])
    """

    def __init__(self, program: Program, state: Mapping[str, np.ndarray] | None = None) -> None:
        self.program = program
        self.inputs = {name: np.array(x.array, order="C") for name, x in program.inputs.items()}
        self.state = {name: np.array(x.array, order="C") for name, x in program.state.items()} if state is None else dict(state)
        self._memory: dict[Value, np.ndarray] = {program.inputs[name]: array for name, array in self.inputs.items()}
        self._memory |= {program.state[name]: array for name, array in self.state.items()}
        self._owner: dict[Value, Value] = {}  # of a view: the value whose memory it shows
        self._calls: list[tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = []
        self.buffers = 0
        self._bind_lines()
        self._outputs = {name: self._array(x) for name, x in program.outputs.items()}
        self._commits = [(self.state[name], self._new_value(x)) for name, x in program.new_state.items()]

    def set_inputs(self, **arrays: np.ndarray) -> None:
        """Copy new values into the inputs of these names.

        Raises
        ------
        ValueError
            Where a name is unknown, or a shape or dtype is not that of the capture.
        """
        for name, array in arrays.items():
            if name not in self.inputs:
                raise ValueError(f"replay: there is no input {name!r}; the inputs are {', '.join(self.inputs)}")
            own = self.inputs[name]
            if own.shape != array.shape or own.dtype != array.dtype:
                raise ValueError(
                    f"replay: input {name!r} is {array.dtype} {array.shape}, but was captured as {own.dtype} {own.shape}; "
                    "capture again for another shape or dtype"
                )
            np.copyto(own, array)

    def run(self) -> dict[str, np.ndarray]:
        """Run all lines on the inputs and the state as they are, and return copies of the outputs."""
        for f, args in self._calls:
            f(*args)
        return {name: array.copy() for name, array in self._outputs.items()}

    def commit(self) -> None:
        """Let what the last `run` computed become the state."""
        for own, new in [(own, new.copy() if shared else new) for own, (new, shared) in self._commits]:
            np.copyto(own, new)

    def _array(self, x: Value) -> np.ndarray:
        return x.array if x.kind == "constant" else self._memory[x]

    def _new_value(self, x: Value) -> tuple[np.ndarray, bool]:
        """Return the array of a new state, and whether it lies in the memory of the old one: then it is copied first."""
        array = self._array(x)
        return array, any(np.may_share_memory(array, own) for own in self.state.values())

    def _bind_lines(self) -> None:
        """Allocate a buffer for each result; one that nothing reads any more serves again."""
        last_use = self._last_uses()
        free: dict[Any, list[np.ndarray]] = {}
        for i, line in enumerate(self.program.lines):
            arrays = tuple(self._array(x) for x in line.operands)
            view = line.op.run(*arrays, **line.params) if line.op.view else None
            if view is not None and np.may_share_memory(view, arrays[0]):
                self._memory[line.result] = view
                self._owner[line.result] = self._owner.get(line.operands[0], line.operands[0])
            else:
                layout = _layout(line.result.array)
                buffer = free[layout].pop() if free.get(layout) else self._allocate(line.result.array)
                self._memory[line.result] = buffer
                self._calls.append(_call(line, arrays, buffer))
            for x in {self._owner.get(x, x) for x in (*line.operands, line.result)}:
                if x.kind == "result" and last_use[x] == i:
                    free.setdefault(_layout(x.array), []).append(self._memory[x])

    def _allocate(self, like: np.ndarray) -> np.ndarray:
        self.buffers += 1
        return np.empty_like(like)  # in the layout of the capture: a sum runs along memory, and its order decides its bits

    def _last_uses(self) -> dict[Value, int]:
        """Return the line after which nobody reads the memory of each result, counting reads through views."""
        last: dict[Value, int] = {}
        owner: dict[Value, Value] = {}
        end = len(self.program.lines)
        for i, line in enumerate(self.program.lines):
            last[line.result] = i
            if line.op.view:  # it may turn out to be a copy; to keep the memory a little longer does no harm
                owner[line.result] = owner.get(line.operands[0], line.operands[0])
            for x in line.operands:
                last[owner.get(x, x)] = last[x] = i
        for x in (*self.program.outputs.values(), *self.program.new_state.values()):
            last[owner.get(x, x)] = last[x] = end
        return last


def _layout(array: np.ndarray) -> Any:
    return array.dtype, array.shape, array.strides


def _call(line: Line, arrays: tuple[np.ndarray, ...], out: np.ndarray) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    if line.op.view:  # a reshape that has to copy
        return np.copyto, (out.reshape(arrays[0].shape), arrays[0])
    return partial(line.op.run, out=out, **line.params), arrays
