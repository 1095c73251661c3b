"""The Program: lines that compute outputs and a new state from inputs and state.

inputs --+              +--> outputs
         +--> lines --->+
state  --+              +--> new state, the state of the next replay
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.program.lanes import LaneBuilder
from tinygrad_lab.program.lines import Computation
from tinygrad_lab.program.passes import rename
from tinygrad_lab.program.replay import BoundProgram


class Program(Computation):
    """A captured computation, which can be printed, checked, given lanes, and bound to memory.

    Examples
    --------
    >>> from tinygrad_lab.program import capture
    >>> from tinygrad_lab.autodiff.tensor import Tensor
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

    def __str__(self) -> str:
        head = [f"{x.kind:<6} {x}: {x.array.dtype} {x.array.shape}" for x in (*self.inputs.values(), *self.state.values())]
        tail = [f"output {name} = {x}" for name, x in self.outputs.items()]
        tail += [f"state  {name} = {x}" for name, x in self.new_state.items()]
        return "\n".join([*head, *map(str, self.lines), *tail])

    def check(self) -> None:
        """Check the shape rule of every line, and that every operand is declared or assigned before it is used.

        Raises
        ------
        ValueError
            If a line contradicts the lines above it.
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

    def lanes(self, n: int) -> Program:
        """Return a program of n independent copies of this one, its lanes, side by side.

        Every input, state, constant and result gets one more axis, of length n, on the left. A lane computes the same bits
        as this program does from the lane's inputs and state. They depend neither on n nor on the numbers in other lanes, even
        if these are nan or infinite.

        Parameters
        ----------
        n : int
            The number of lanes, at least 1.

        Raises
        ------
        ValueError
            If n is not a positive integer.
        NotImplementedError
            If an op has a whole shape in its parameters and no rule for lanes. The error names the line.

        Examples
        --------
        >>> from tinygrad_lab.program import capture
        >>> from tinygrad_lab.autodiff.tensor import Tensor
        >>> x, w, lr = Tensor([1.0, 2.0]), Tensor([0.5, 0.5]), Tensor(0.1)
        >>> program = capture(lambda: ({"y": (w * x).sum()}, {"w": w - lr * x}), {"x": x, "lr": lr}, {"w": w})
        >>> print(program.lanes(3))
        input  x: float64 (3, 2)
        input  lr: float64 (3,)
        state  w: float64 (3, 2)
        v0 = multiply(w, x)
        v1 = reduce_sum(v0, axes=(-1,))
        v2 = reshape(v1, shape=(3,))
        v3 = reshape(lr, shape=(3, 1))
        v4 = broadcast_to(v3, shape=(3, 2))
        v5 = multiply(v4, x)
        v6 = subtract(w, v5)
        output y = v2
        state  w = v6

        Each lane starts with the captured numbers. Write to all lanes at once, or to one of them:

        >>> bound = program.lanes(3).bind()
        >>> bound.inputs["x"][:] = [3.0, 4.0]
        >>> bound.inputs["lr"][2] = 0.01
        >>> bound.state["w"][1] = [1.0, 0.0]
        >>> bound.run()["y"]
        array([3.5, 3. , 3.5])
        >>> bound.commit(active=np.array([True, False, True]))  # lane 1 has stopped
        >>> bound.state["w"]
        array([[0.2 , 0.1 ],
               [1.  , 0.  ],
               [0.47, 0.46]])
        """
        if not is_positive_integer(n):
            raise ValueError(f"lanes: n is {n!r}, expected a positive integer")
        builder = LaneBuilder(int(n))
        for line in self.lines:
            builder.add_lanes_of(line)
        results = [builder.lanes_of(x) for x in (*self.outputs.values(), *self.new_state.values())]
        lines, results = rename(builder.lines, results)
        return Program(
            {name: builder.lanes_of(x) for name, x in self.inputs.items()},
            {name: builder.lanes_of(x) for name, x in self.state.items()},
            lines,
            dict(zip(self.outputs, results[: len(self.outputs)], strict=True)),
            dict(zip(self.new_state, results[len(self.outputs) :], strict=True)),
            builder.n,
        )

    def bind(self, state: Mapping[str, np.ndarray] | None = None) -> BoundProgram:
        """Give every value memory, and return a program that runs there.

        Parameters
        ----------
        state : mapping of str to ndarray, optional
            Arrays that hold the state, so that several programs can share it; new ones by default.
        """
        return BoundProgram(self, state)
