"""The graph of a computation: what each result was made from, and the walk back along it.

    w --multiply--> p --add--> z            forward: every result keeps a Link to its inputs
    w̄ <----vjp----- p̄ <--vjp-- z̄ = 1        backward: `pull_back` follows the links, last result first

The reverse mode in one paragraph: the derivative of the output with respect to a tensor, its *cotangent*, is known once
every use of that tensor has sent its share back. Visiting results before their inputs guarantees that; the shares add up.
"""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_lab.autodiff.ops import Op

NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(__file__)),
    copy.__file__,
)  # code whose lines tell a user nothing: ours, and copies


class Link:
    """How a result was made: the op, its input tensors, the arrays that these held, and the op's parameters."""

    __slots__ = ("arrays", "inputs", "op", "params")

    def __init__(self, op: Op, inputs: Sequence[Any], arrays: Sequence[np.ndarray], params: dict[str, Any]) -> None:
        self.op = op
        self.inputs = inputs
        self.arrays = arrays
        self.params = params

    def check_unchanged(self) -> None:
        """Refuse to differentiate through inputs that hold another array now than when the op ran."""
        for tensor, array in zip(self.inputs, self.arrays, strict=True):
            if tensor._data is not array:
                raise RuntimeError(
                    f"{self.op.name}: an input of shape {array.shape} was assigned a new value after it was used, "
                    "so its gradient would be wrong; compute the loss again, then differentiate it"
                )


class CaptureError(RuntimeError):
    """A computation cannot be captured as a program, because a replay would compute something else."""


class Line(NamedTuple):
    """One op that ran: a line of a recording."""

    op: Op
    inputs: Sequence[Any]
    params: dict[str, Any]
    result: Any
    place: str


class Recording:
    """The ops that ran while it was open, in order.

    Parameters
    ----------
    traced : iterable of Tensor, optional
        What the computation is given. Where these are named, no value that was computed from them may leave the
        recording as a number or an array: a replay would go on with the number of today.
    """

    def __init__(self, traced: Iterable[Any] | None = None) -> None:
        self.lines: list[Line] = []
        self._strict = traced is not None
        self._traced = {id(tensor) for tensor in traced or ()}

    def add(self, op: Op, inputs: Sequence[Any], params: dict[str, Any], result: Any) -> None:
        """Append a line."""
        self.lines.append(Line(op, inputs, params, result, _users_line() if self._strict else ""))
        if not self._traced.isdisjoint(map(id, inputs)):
            self._traced.add(id(result))

    def check_stays(self, tensor: Any, way_out: str) -> None:
        """Refuse to let the value of a traced tensor out."""
        if id(tensor) in self._traced:
            raise CaptureError(
                f"{_users_line()}: {way_out} of a Tensor that changes between replays would be frozen at its value of today; "
                "compute with Tensors (where, minimum, maximum), or train with engine='eager'"
            )

    def check_pure(self) -> None:
        """Refuse the assignment to a leaf: a replay would not repeat it."""
        if self._strict:
            raise CaptureError(
                f"{_users_line()}: a Tensor is assigned to during the step, which a replay would not repeat; "
                "return new values instead, or train with engine='eager'"
            )


def _users_line() -> str:
    """Name the innermost line of code outside this package, and outside the module `copy`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_the_users(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}" if frame is not None else "?"


@cache  # it is asked for every op of a capture, some ten times
def _is_the_users(file: str) -> bool:
    return not file.startswith(NOT_THE_USERS)


class _State(threading.local):
    linking = True
    recording: Recording | None = None


state = _State()
"""Per thread: whether results are linked to their inputs, and the recording that is open, if one is."""


@contextmanager
def set_linking(enabled: bool) -> Iterator[None]:
    """Switch the linking of results to their inputs on or off for a block."""
    before = state.linking
    state.linking = enabled
    try:
        yield
    finally:
        state.linking = before


@contextmanager
def record(traced: Iterable[Any] | None = None) -> Iterator[Recording]:
    """Record every op that runs in a block, in order; `traced` is as in `Recording`.

    Examples
    --------
    >>> from tinygrad_lab.autodiff.tensor import Tensor
    >>> with record() as recording:
    ...     y = Tensor(2.0).exp() + 1.0
    >>> [line.op.name for line in recording.lines]
    ['exp', 'add']
    """
    before = state.recording
    state.recording = recording = Recording(traced)
    try:
        yield recording
    finally:
        state.recording = before


def ancestors(output: Any) -> list[Any]:
    """List the tensors that require a gradient and that `output` was computed from, and itself, inputs first."""
    order: list[Any] = []
    visited: set[int] = set()
    stack = [(output, False)]  # a stack of our own: recursion would end at a depth of about a thousand
    while stack:
        tensor, inputs_listed = stack.pop()
        if inputs_listed:
            order.append(tensor)
        elif id(tensor) not in visited:
            visited.add(id(tensor))
            stack.append((tensor, True))
            if tensor._link is not None:
                stack.extend((x, False) for x in tensor._link.inputs if x._requires_grad)
    return order


def pull_back(output: Any, cotangent: Any, wrt: Sequence[Any], *, create_graph: bool = False) -> list[Any]:
    """Carry `cotangent` from `output` back along the links to each tensor of `wrt`.

    Parameters
    ----------
    output : Tensor
    cotangent : Tensor
        dL/d(output) for the scalar L in question, of the shape of `output`.
    wrt : sequence of Tensor
    create_graph : bool
        Whether the results are linked in their turn, so that they can be differentiated.

    Returns
    -------
    list of Tensor or None
        dL/dx for each x of `wrt`; None where `output` does not depend on it.

    Raises
    ------
    RuntimeError
        Where an input was assigned a new value after the graph used it.
    """
    order = ancestors(output)
    needed = {id(tensor) for tensor in wrt}  # the tensors through which the output depends on wrt
    wanted = set(needed)
    for tensor in order:
        if tensor._link is not None and any(id(x) in needed for x in tensor._link.inputs):
            needed.add(id(tensor))

    cotangents = {id(output): cotangent}
    with set_linking(create_graph):
        for tensor in reversed(order):
            key = id(tensor)
            if tensor._link is None or key not in needed or key not in cotangents:
                continue
            g = cotangents[key] if key in wanted else cotangents.pop(key)
            link = tensor._link
            link.check_unchanged()
            for position, x in enumerate(link.inputs):
                vjp = link.op.vjp(position) if id(x) in needed else None
                if vjp is not None:
                    share = vjp(g, tensor, *link.inputs, **link.params)
                    cotangents[id(x)] = cotangents[id(x)] + share if id(x) in cotangents else share
    return [cotangents.get(id(tensor)) for tensor in wrt]
