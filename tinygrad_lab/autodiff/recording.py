"""The recording: a list of the ops that ran while it was open, in order, and the values that must not leave it.

    apply(op, *tensors) --add--> Recording.lines --> tinygrad_lab.program makes a program of them

A program repeats the recorded ops with other numbers. It cannot repeat Python code. So a recording refuses to turn a Tensor
into a number, and to assign to a Tensor. The error names the line of code that did it.
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

INTERNAL_CODE = (os.path.dirname(os.path.dirname(__file__)), copy.__file__)
"""Files that an error message does not name: this package, and the module `copy`, which calls it."""


class CaptureError(RuntimeError):
    """A computation cannot be captured as a program, because its replay would compute something else."""


class RecordedOp(NamedTuple):
    """One op that ran, and the line of the user's code that ran it (empty if the recording is not strict)."""

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
        The Tensors whose values change between replays. If they are given, the recording is strict: a value computed from
        them must not leave it as a number or an array, because a replay would use the old number. By default it only records.
    """

    def __init__(self, traced: Iterable[Any] | None = None) -> None:
        self.lines: list[RecordedOp] = []
        self._strict = traced is not None
        self._traced = {id(tensor) for tensor in traced or ()}

    def add(self, op: Op, inputs: Sequence[Any], params: dict[str, Any], result: Any) -> None:
        """Append an op that ran. Its result is traced if one of its inputs is."""
        self.lines.append(RecordedOp(op, inputs, params, result, _users_line() if self._strict else ""))
        if not self._traced.isdisjoint(map(id, inputs)):
            self._traced.add(id(result))

    def check_stays(self, tensor: Any, way_out: str) -> None:
        """Raise an error if `tensor` is traced: its value is about to leave by `way_out`."""
        if id(tensor) in self._traced:
            raise CaptureError(
                f"{_users_line()}: {way_out} of a Tensor that changes between replays would be frozen at its value of today; "
                "compute with Tensors (where, minimum, maximum), or train with engine='eager'"
            )

    def check_pure(self) -> None:
        """Raise an error if the recording is strict: a Tensor is about to be assigned to, which a replay would not repeat."""
        if self._strict:
            raise CaptureError(
                f"{_users_line()}: a Tensor is assigned to during the step, which a replay would not repeat; "
                "return new values instead, or train with engine='eager'"
            )


def _users_line() -> str:
    """Name the innermost line of code that is not in INTERNAL_CODE."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_the_users(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}" if frame is not None else "?"


@cache  # called about ten times for each op of a capture
def _is_the_users(file: str) -> bool:
    return not file.startswith(INTERNAL_CODE)


class _Current(threading.local):
    def __init__(self) -> None:
        self.recording: Recording | None = None


current = _Current()
"""The open recording of this thread, or None."""


@contextmanager
def record(traced: Iterable[Any] | None = None) -> Iterator[Recording]:
    """Record every op that runs in a block, in order. `traced` is explained in `Recording`.

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
