"""Child processes: run Python code in a fresh process, and measure the peak memory of a process and its workers."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

MEGABYTE = 1_000_000
FOLDER = Path(__file__).parent


def run_fresh(code: str, *arguments: object, **environment: str) -> Any:
    """Run Python code in a fresh process that can import from this folder. Return the JSON of its last line of output."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n{code}", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | environment)
    if done.returncode:
        raise SystemExit("error: a process of the benchmark failed")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    if sys.platform == "linux":
        return _peaks_of(["self"])["self"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class ChildrenPeak:
    """Watches the peak memory of all descendants of this process while a block runs.

    On Linux it reads the high-water mark of each descendant several times a second, because `ru_maxrss` of a child starts at
    the value of its parent. On other systems it takes `ru_maxrss` of all children that have ended.

    Attributes
    ----------
    bytes : int
        The peak of the largest descendant. It is complete after the block.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ChildrenPeak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            if sys.platform == "linux":
                self.bytes = max([self.bytes, *_peaks_of(_descendants("self")).values()])
        if sys.platform != "linux":
            unit = 1 if sys.platform == "darwin" else 1024
            self.bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def _descendants(process: str) -> list[str]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # the process has just ended
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _peaks_of(processes: list[str]) -> dict[str, int]:
    peaks = {}
    for process in processes:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peaks[process] = 1024 * int(line.split()[1])
    return peaks
