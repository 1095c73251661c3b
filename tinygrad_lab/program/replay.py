"""Replay: a program with memory, whose calls are prepared once and run many times.

set_inputs --> run: for f, args in calls: f(*args) --> copies of the outputs
                    commit: the new state is copied over the old one, last, and only in active lanes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tinygrad_lab.program.lines import Computation, Line
from tinygrad_lab.program.memory import Memory


class BoundProgram:
    """A program with memory: all views are made, all buffers allocated, all calls prepared.

    `Program.bind` makes it.

    Parameters
    ----------
    program : Computation
        What is computed: a `Program`.
    state : mapping of str to ndarray, optional
        Arrays that hold the state; by default copies of the state at the capture.

    Attributes
    ----------
    program : Computation
    inputs, state : dict of str to ndarray
        The arrays that a replay reads. Write to `inputs` before `run`, and to ``inputs[name][lane]`` for one lane.
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

    def __init__(self, program: Computation, state: Mapping[str, np.ndarray] | None = None) -> None:
        self.program = program
        self.inputs = {name: np.array(x.array, order="C") for name, x in program.inputs.items()}
        self.state = {name: np.array(x.array, order="C") for name, x in program.state.items()} if state is None else dict(state)
        declared = {program.inputs[name]: array for name, array in self.inputs.items()}
        declared |= {program.state[name]: array for name, array in self.state.items()}
        memory = Memory(declared, program.lines, [*program.outputs.values(), *program.new_state.values()])
        self.buffers = memory.buffers
        self._calls = [_call(line, memory) for line in program.lines if not memory.is_view(line.result)]
        self._outputs = {name: memory.array(x) for name, x in program.outputs.items()}
        self._commits = [(self.state[name], *self._new_value(memory.array(x))) for name, x in program.new_state.items()]

    def set_inputs(self, **arrays: np.ndarray) -> None:
        """Copy new values into the inputs of these names.

        Raises
        ------
        ValueError
            If a name is unknown, or a shape or dtype differs from the capture.
        """
        for name, array in arrays.items():
            if name not in self.inputs:
                raise ValueError(f"replay: there is no input {name!r}; the inputs are {', '.join(self.inputs)}")
            memory = self.inputs[name]
            if memory.shape != array.shape or memory.dtype != array.dtype:
                raise ValueError(
                    f"replay: input {name!r} is {array.dtype} {array.shape}, "
                    f"but was captured as {memory.dtype} {memory.shape}; capture again for another shape or dtype"
                )
            np.copyto(memory, array)

    def run(self) -> dict[str, np.ndarray]:
        """Run all lines on the present inputs and state, and return copies of the outputs."""
        for f, args in self._calls:
            f(*args)
        return {name: array.copy() for name, array in self._outputs.items()}

    def commit(self, active: np.ndarray | None = None) -> None:
        """Replace the state by the new state that the last `run` computed.

        Parameters
        ----------
        active : ndarray of bool, shape (lanes,), optional
            The lanes whose state is replaced; all of them by default. The other lanes keep their state, to the bit.

        Raises
        ------
        ValueError
            If `active` is another kind of array, or the program has no lanes.
        """
        if active is not None:
            self._check_active(active)
        for old, new in [(old, new.copy() if shared else new) for old, new, shared in self._commits]:
            np.copyto(old, new, where=True if active is None else active.reshape(-1, *[1] * (old.ndim - 1)))

    def _check_active(self, active: np.ndarray) -> None:
        n = self.program.lane_count
        if n is None:
            raise ValueError("commit: active is given, but the program has no lanes; make them with Program.lanes(n)")
        if not isinstance(active, np.ndarray) or active.dtype != bool or active.shape != (n,):
            given = f"{active.dtype} {active.shape}" if isinstance(active, np.ndarray) else repr(active)
            raise ValueError(f"commit: active is {given}, expected an array of bool, shape ({n},): one for each lane")

    def _new_value(self, array: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the array of a new state, and whether it may share memory with an old state, so that it is copied first."""
        return array, any(np.may_share_memory(array, old) for old in self.state.values())


def _call(line: Line, memory: Memory) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    """Return a function and arguments that compute the result of a line."""
    arrays = tuple(memory.array(x) for x in line.operands)
    out = memory.array(line.result)
    if line.op.view:  # a reshape that has to copy
        return np.copyto, (out.reshape(arrays[0].shape), arrays[0])
    # Most ufuncs take `out` as a positional argument, which is faster; NumPy requires a keyword for maximum and minimum.
    if isinstance(line.op.run, np.ufunc) and line.op.run not in (np.maximum, np.minimum):
        return line.op.run, (*arrays, out)
    return partial(line.op.run, out=out, **line.params), arrays
