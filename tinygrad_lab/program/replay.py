"""Replay: a program with its memory, every call made ready once and run again and again.

set_inputs --> run: for f, args in calls: f(*args) --> copies of the outputs
                    commit: the new state is copied over the old one, last of all, and only in the lanes that are active
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_lab.program.lines import Line, Value

if TYPE_CHECKING:
    from tinygrad_lab.program.program import Program


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
        Where a replay reads. Write to `inputs` before `run`; in a program with lanes, to ``inputs[name][lane]`` for one lane.
    buffers : int
        The number of buffers that the results share.

    Examples
    --------
    >>> from tinygrad_lab.program import capture
    >>> from tinygrad_lab.autodiff.tensor import Tensor
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

    def commit(self, active: np.ndarray | None = None) -> None:
        """Let what the last `run` computed become the state.

        Parameters
        ----------
        active : ndarray of bool, shape (lanes,), optional
            The lanes to which this happens; the others keep their state, to the bit. All of them by default.

        Raises
        ------
        ValueError
            Where `active` is no such array, or the program has no lanes.
        """
        if active is not None:
            self._check_active(active)
        for own, new in [(own, new.copy() if shared else new) for own, (new, shared) in self._commits]:
            np.copyto(own, new, where=True if active is None else active.reshape(-1, *[1] * (own.ndim - 1)))

    def _check_active(self, active: np.ndarray) -> None:
        n = self.program.lane_count
        if n is None:
            raise ValueError("commit: active is given, but the program has no lanes; make them with Program.lanes(n)")
        if not isinstance(active, np.ndarray) or active.dtype != bool or active.shape != (n,):
            given = f"{active.dtype} {active.shape}" if isinstance(active, np.ndarray) else repr(active)
            raise ValueError(f"commit: active is {given}, expected an array of bool, shape ({n},): one for each lane")

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
    # A ufunc takes the memory of its result by position too, which is faster; NumPy wants these two to have it by name.
    if isinstance(line.op.run, np.ufunc) and line.op.run not in (np.maximum, np.minimum):
        return line.op.run, (*arrays, out)
    return partial(line.op.run, out=out, **line.params), arrays
