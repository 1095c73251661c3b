"""The harness: checks that all rows compute the same, then times them in interleaved rounds.

    rows --> first 10 updates, compared with reference.py --> calibration --> rounds A B C, A B C, ... --> table, JSON

*Why interleaved?* If the machine slows down for a while, it slows all rows. A ratio is computed within each round, so ratios
are reliable even if times are not.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import reference
from problems import Problem, Weights
from report import Result

CHECKED_UPDATES = 10


class Unavailable(Exception):  # noqa: N818 (a row that is skipped is no error)
    """A row cannot run on this machine. The message says what would help."""


class Disagreement(SystemExit):
    """A row does not compute the same as the reference."""


class Runner(Protocol):
    """The training of a Problem by a peer."""

    def run(self, epochs: int) -> None:
        """Train all models for this number of epochs, with the learning rates from the first epoch on. Wait for the end."""

    def weights(self) -> list[Weights]:
        """Return the weights of each model, in the form of `Problem.weights`."""

    def loss(self) -> list[float]:
        """Return for each model the loss plus penalty, averaged over the updates of the last epoch."""


@dataclass(frozen=True)
class Row:
    """One way of doing the work.

    Attributes
    ----------
    name : str
        The framework and how it runs.
    make : callable
        Makes the Runner of a Problem. If it raises ImportError or `Unavailable`, the row is skipped.
    problem : callable
        Makes the Problem with a given number of updates in an epoch.
    updates : int
        The number of updates in an epoch while it is timed.
    install : str
        How to install what it needs.
    least_epochs : int
        The least number of epochs in a round. A call has a fixed cost, and a real training spreads it over many epochs.
    tolerance : float or None
        The largest difference of weights and loss from the reference after 10 updates, relative to the largest weight and to
        the loss. The default is 1e-5 in double precision and 1e-4 in single precision.
    """

    name: str
    make: Callable[[Problem], Runner]
    problem: Callable[[int], Problem]
    updates: int = 90
    least_epochs: int = 1
    install: str = ""
    tolerance: float | None = None

    @property
    def precision(self) -> str:
        """The dtype of its weights."""
        return self.problem(1).dtype.name


@dataclass
class Timing:
    """The measurements of a row.

    Attributes
    ----------
    error : float
        The largest difference from the reference after 10 updates.
    first : float
        Seconds to make the runner and its first 10 updates, with empty caches. This includes imports, tracing and compilation.
    epochs : int
        The epochs of a round.
    model_updates : int
        The updates of a round, summed over all models.
    seconds, cpu_seconds : list of float
        The wall time of each round, and the processor time of all its threads.
    """

    name: str
    precision: str
    models: int
    error: float
    first: float
    epochs: int
    model_updates: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    @property
    def microseconds(self) -> np.ndarray:
        """Microseconds for an update of one model, one number for each round."""
        return 1e6 * np.array(self.seconds) / self.model_updates


def peer(module: str, name: str, **options: object) -> Callable[[Problem], Runner]:
    """Return a function that makes a runner by a class of `peers`. It imports the class when it is called."""
    return lambda problem: getattr(import_module(f"peers.{module}"), name)(problem, **options)


# Agreement -------------------------------------------------------------------------------------------------------------


def disagreement(runner: Runner, problem: Problem) -> float:
    """Return the difference of a runner from the reference after an epoch, for the model with the largest difference.

    Returns
    -------
    float
        The largest difference of a weight, relative to the largest weight, or of the loss, relative to the loss.
    """
    worst = 0.0
    for model, (weights, loss) in enumerate(zip(runner.weights(), runner.loss(), strict=True)):
        expected, expected_loss = reference.train(problem, model)
        largest = max(np.abs(w).max() for w in expected)
        errors = [np.abs(w - e).max() / largest for w, e in zip(weights, expected, strict=True)]
        worst = max(worst, *errors, abs(loss - expected_loss) / abs(expected_loss))
        if not np.isfinite([*errors, loss]).all():
            return np.inf
    return float(worst)


def check(row: Row, runner: Runner, problem: Problem) -> float:
    """Return the disagreement of a row. End the script if it exceeds the tolerance."""
    tolerance = row.tolerance or (1e-5 if problem.dtype == np.float64 else 1e-4)
    error = disagreement(runner, problem)
    if not error <= tolerance:
        raise Disagreement(
            f"error: {row.name} ({row.precision}): after {problem.updates} updates it is {error:.1e} from the reference, "
            f"expected at most {tolerance:.0e}; nothing was timed"
        )
    return error


# Timing ----------------------------------------------------------------------------------------------------------------


def measure(rows: Sequence[Row], options: argparse.Namespace) -> tuple[list[Timing], list[str]]:
    """Check all rows, then time those that can run.

    Returns
    -------
    timings : list of Timing
    notes : list of str
        One line for each row that could not run, or that used more than one processor.
    """
    notes: list[str] = []
    checked: list[tuple[Row, float, float]] = []
    _empty_caches()
    for row in rows:
        if options.only and options.only not in f"{row.name} {row.precision}":
            continue
        say(f"checking {row.name} ({row.precision})")
        problem = row.problem(CHECKED_UPDATES)
        start = time.perf_counter()
        try:
            runner = row.make(problem)
            runner.run(1)
        except (ImportError, Unavailable) as reason:
            notes.append(f"skipped: {row.name} ({row.precision}): {reason}" + (f"; {row.install}" if row.install else ""))
            continue
        first = time.perf_counter() - start
        checked.append((row, check(row, runner, problem), first))
    _check_threads()

    runners: list[Runner] = []
    timings: list[Timing] = []
    for row, error, first in checked:
        say(f"calibrating {row.name} ({row.precision})")
        problem = row.problem(row.updates)
        runner = row.make(problem)
        epochs = _epochs_of(runner, row, options.seconds)
        updates = epochs * problem.updates * problem.models
        runners.append(runner)
        timings.append(Timing(row.name, row.precision, problem.models, error, first, epochs, updates))
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for runner, timing in zip(runners, timings, strict=True):
            seconds, cpu_seconds = clock(partial(runner.run, timing.epochs))
            timing.seconds.append(seconds)
            timing.cpu_seconds.append(cpu_seconds)
    say("")
    for runner, timing in zip(runners, timings, strict=True):
        if not np.isfinite(runner.loss()).all():
            raise Disagreement(f"error: {timing.name} ({timing.precision}): the loss is not finite after the timed rounds")
        if (processors := sum(timing.cpu_seconds) / sum(timing.seconds)) > 1.2:
            notes.append(f"{timing.name} ({timing.precision}) used {processors:.1f} processors")
    return timings, notes


def _epochs_of(runner: Runner, row: Row, seconds: float) -> int:
    """Warm a runner up, and return how many of its epochs last as long as a round should."""
    runner.run(1)
    epochs = 1
    while (elapsed := _shortest(partial(runner.run, epochs))) < seconds / 3:
        epochs *= 2 if elapsed > seconds / 24 else 8
    return max(row.least_epochs, round(epochs * seconds / elapsed))


def clock(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time of a call in seconds, and the processor time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _shortest(work: Callable[[], object]) -> float:
    """Return the shorter time of two tries, because something else may slow one of them down."""
    return min(clock(work)[0], clock(work)[0])


def _empty_caches() -> None:
    """Give empty compilation caches to this process and its child processes."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {name: os.path.join(folder, name) for name in ("TINYGRAD_LAB_CACHE", "TORCHINDUCTOR_CACHE_DIR")}


def _check_threads() -> None:
    several = [f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info() if pool["num_threads"] != 1]
    if several:
        raise SystemExit(f"error: more than one thread in {', '.join(several)}; every row is to use one")


# Tables and ratios -----------------------------------------------------------------------------------------------------


def add_timings(
    result: Result, timings: Sequence[Timing], title: str, key: Callable[[Timing], str] = lambda timing: timing.name
) -> None:
    """Add a table of timings and all measurements. A line has one name, and the precisions are side by side."""
    precisions = [dtype for dtype in ("float64", "float32") if any(timing.precision == dtype for timing in timings)]
    columns = [
        "",
        *(f"{dtype} µs" for dtype in precisions),
        *(f"{dtype} quartiles" for dtype in precisions),
        "first 10 updates, s",
    ]
    lines = []
    for name in dict.fromkeys(map(key, timings)):
        of = {timing.precision: timing for timing in timings if key(timing) == name}
        medians = [f"{np.median(of[p].microseconds):.2f}" if p in of else "" for p in precisions]
        spreads = [
            "{:.2f} to {:.2f}".format(*np.quantile(of[p].microseconds, (0.25, 0.75))) if p in of else "" for p in precisions
        ]
        firsts = " / ".join(f"{of[p].first:.1f}" for p in precisions if p in of)
        lines.append([name, *medians, *spreads, firsts])
    result.add_table(title, columns, lines)
    result.raw += [vars(timing) for timing in timings]


def faster(timings: Sequence[Timing], ours: str, theirs: str, precision: str, their_precision: str = "") -> list[float] | None:
    """Return how many times faster one row is than another, for each round. None if one of them is missing."""
    found = {(timing.name, timing.precision): timing.microseconds for timing in timings}
    pair = found.get((ours, precision)), found.get((theirs, their_precision or precision))
    return None if pair[0] is None or pair[1] is None else (pair[1] / pair[0]).tolist()


# Command line ----------------------------------------------------------------------------------------------------------


def parse_options(description: str, rounds: int = 7) -> argparse.Namespace:
    """Read the options of a script that times rows."""
    parser = option_parser(description)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each row in each round (default: 0.4)")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows in whose name this is")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = min(options.seconds, 0.25), 3
    return options


def option_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option that every script has. Also limit everything that runs later to one thread."""
    _use_one_thread()
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short try, whose numbers mean little and are not kept")
    return parser


def _use_one_thread() -> None:
    """Allow only one thread to all libraries, loaded or not, and to child processes."""
    one = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")  # the last is XLA's
    os.environ |= dict.fromkeys(one, "1")
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    threadpool_limits(limits=1)


def say(text: str) -> None:
    """Show the progress on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
