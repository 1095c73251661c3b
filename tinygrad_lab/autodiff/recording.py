"""The recording: a list of the ops that ran while it was open, in order, and the values that must not leave it.

    apply(op, *tensors) --add--> Recording.lines --> tinygrad_lab.program makes a program of them

A program repeats the recorded ops with other numbers. It cannot repeat Python code. So a recording refuses to turn a Tensor
into a number, and to assign to a Tensor. The error names the line of code that did it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import get_ident
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_lab.autodiff.ops import Op

STANDARD_LIBRARY = os.path.dirname(os.__file__)
INTERNAL_CODE = (os.path.dirname(os.path.dirname(__file__)), os.path.dirname(np.__file__))
"""Folders whose code an error message does not name: this package and NumPy. The standard library is another one."""


NOT_SEEN = "in another thread, which a recording does not see; compute in one thread, or train with engine='eager'"


class CaptureError(RuntimeError):
    """A computation cannot be captured as a program, because its replay would compute something else.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> x = tl.Tensor([1.0, 2.0])
    >>> tl.capture(lambda: ({"y": x * x.sum().item()}, {}), {"x": x}, {})
    Traceback (most recent call last):
    tinygrad_lab.autodiff.recording.CaptureError: ...the number of a Tensor that changes between replays would be frozen ...
    """


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
        self._thread = get_ident()
        self._elsewhere: dict[int, tuple[Any, str]] = {}  # traced results of other threads, and who made them
        self.read_elsewhere = ""

    def add(self, op: Op, inputs: Sequence[Any], params: dict[str, Any], result: Any) -> None:
        """Append an op that ran. Its result is traced if one of its inputs is."""
        self.lines.append(RecordedOp(op, inputs, params, result, users_line() if self._strict else ""))
        if not self._traced.isdisjoint(map(id, inputs)):
            self._traced.add(id(result))
        for other in self._of_other_threads():
            other._add_elsewhere(op, inputs, result)

    def check_stays(self, tensor: Any, way_out: str) -> None:
        """Raise an error if `tensor` is traced: its value is about to leave by `way_out`."""
        for other in self._of_other_threads():
            other._read_elsewhere(tensor, way_out)
        if id(tensor) in self._traced:
            raise CaptureError(
                f"{users_line()}: {way_out} of a Tensor that changes between replays would be frozen at its value of today; "
                "compute with Tensors (where, minimum, maximum), or train with engine='eager'"
            )

    def check_is_seen(self, tensor: Any) -> None:
        """Raise an error if another thread has computed `tensor` from a traced one: that op is not among the lines."""
        if id(tensor) in self._elsewhere:
            raise CaptureError(f"{self._elsewhere[id(tensor)][1]} {NOT_SEEN}")

    def _of_other_threads(self) -> list[Recording]:
        return [other for other in _onlooker.open if other._thread != get_ident()]

    def _add_elsewhere(self, op: Op, inputs: Sequence[Any], result: Any) -> None:
        if not self._traced.isdisjoint(map(id, inputs)):
            self._elsewhere[id(result)] = result, f"{users_line()}: {op.name} was computed"
            self._traced.add(id(result))

    def _read_elsewhere(self, tensor: Any, way_out: str) -> None:
        if id(tensor) in self._traced:
            self.read_elsewhere = f"{users_line()}: {way_out} of a Tensor that changes between replays was read {NOT_SEEN}"

    def check_pure(self, effect: str) -> None:
        """Raise an error if the recording is strict: something is about to happen that a replay would not repeat."""
        if self._strict:
            raise CaptureError(
                f"{users_line()}: {effect} during the step, which a replay would not repeat; "
                "return new values instead, or train with engine='eager'"
            )


def users_line() -> str:
    """Name the innermost line of code that is neither in INTERNAL_CODE nor in the standard library."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_the_users(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}" if frame is not None else "?"


@cache  # called about ten times for each op of a capture
def _is_the_users(file: str) -> bool:
    is_standard = file.startswith(STANDARD_LIBRARY) and "site-packages" not in file
    return not (is_standard or file.startswith(INTERNAL_CODE))


class _Onlooker(Recording):
    """What a thread has in the place of a recording while other threads have strict ones open: it tells those.

    A recording belongs to one thread, because several threads may train at the same time. A step that hands a part of its
    work to another thread would otherwise have the results as constants.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open: tuple[Recording, ...] = ()

    def add(self, op: Op, inputs: Sequence[Any], params: dict[str, Any], result: Any) -> None:  # noqa: ARG002 (as Recording)
        for other in self._of_other_threads():
            other._add_elsewhere(op, inputs, result)


class _Current(threading.local):
    # The class has what a thread finds that has opened no recording. So an op makes one look-up, whatever other threads do.
    recording: Recording | None = None


current = _Current()
"""The open recording of this thread, or None."""
_onlooker = _Onlooker()
_lock = threading.Lock()


def _set_open(recordings: Callable[[tuple[Recording, ...]], tuple[Recording, ...]]) -> None:
    with _lock:
        _onlooker.open = recordings(_onlooker.open)
        _Current.recording = _onlooker if _onlooker.open else None


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
    before = vars(current).get("recording")
    current.recording = recording = Recording(traced)
    if traced is not None:
        _set_open(lambda others: (*others, recording))
    try:
        yield recording
    finally:
        if traced is not None:
            _set_open(lambda all_open: tuple(other for other in all_open if other is not recording))
        if before is None:
            del current.recording
        else:
            current.recording = before
