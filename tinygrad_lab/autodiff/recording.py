"""The recording: the ops that ran while it was open, in order, and what may not leave it.

    apply(op, *tensors) --add--> Recording.lines --> tinygrad_lab.program, which makes a program of them

A program repeats the recorded ops on other numbers. A recording of a step therefore refuses what a repetition would miss:
a value that leaves it as a number, and the assignment to a Tensor. The error names the user's line of code.
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

from tinygrad_lab.autodiff.ops import Op

NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(__file__)),
    copy.__file__,
)  # code whose lines tell a user nothing: ours, and copies


class CaptureError(RuntimeError):
    """A computation cannot be captured as a program, because a replay would compute something else."""


class RecordedOp(NamedTuple):
    """One op that ran: a line of a recording."""

    op: Op
    inputs: Sequence[Any]
    params: dict[str, Any]
    result: Any
    source_line: str


class Recording:
    """The ops that ran while it was open, in order.

    Parameters
    ----------
    traced : iterable of Tensor, optional
        What the computation is given. Where these are named, no value that was computed from them may leave the
        recording as a number or an array: a replay would go on with the number of today.
    """

    def __init__(self, traced: Iterable[Any] | None = None) -> None:
        self.lines: list[RecordedOp] = []
        self._strict = traced is not None
        self._traced = {id(tensor) for tensor in traced or ()}

    def add(self, op: Op, inputs: Sequence[Any], params: dict[str, Any], result: Any) -> None:
        """Append a line."""
        self.lines.append(RecordedOp(op, inputs, params, result, _users_line() if self._strict else ""))
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


class _Current(threading.local):
    def __init__(self) -> None:
        self.recording: Recording | None = None


current = _Current()
"""Per thread: the open recording, if there is one."""


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
    before = current.recording
    current.recording = recording = Recording(traced)
    try:
        yield recording
    finally:
        current.recording = before
