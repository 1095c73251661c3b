"""The plan: which fits go to a worker together, and how long all of them will take.

    fits --groups that seem alike--> chunks of some seconds each --> pool --> how long they took --> the next chunks' sizes

Configurations that differ only in numbers with a decimal point (a learning rate, the strength of a penalty) have Trainers of
one structure, as a rule, and are sent together. It is no more than a guess, which saves building every Trainer twice:
whether Trainers share a program is decided where they are trained. No result depends on the plan.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

import tinygrad_lab
from search.configuration import canonical_text
from search.data import Array
from search.fits import Fit, Outcome, Problem
from search.pool import Run

CHUNK_SECONDS = 5.0  # of work: that much each worker may lose in a crash
FIRST_CHUNK = 4  # fits in a chunk while no duration is known
LARGEST_CHUNK = 32  # fits: the memory of so many small networks fits into a processor's cache
MEASURED_GROUPS = 8  # for a forecast, of all groups
MEASURED_FITS = 4  # of each of these groups
MEASURED_SECONDS = 0.02


class Plan:
    """Hands out fits in chunks; it learns from their durations how large the next ones should be.

    Parameters
    ----------
    fits : iterable of Fit
    workers : int
        How many work side by side: towards the end chunks become smaller, so that none has to wait for another.

    Examples
    --------
    >>> import numpy as np
    >>> fits = [Fit({"width": width, "lr": lr}, 0, np.random.SeedSequence(0)) for lr in (0.1, 0.2) for width in (5, 9)]
    >>> [[fit.configuration for fit in chunk] for chunk in Plan(fits, workers=1).chunks()]
    [[{'width': 5, 'lr': 0.1}, {'width': 5, 'lr': 0.2}], [{'width': 9, 'lr': 0.1}], [{'width': 9, 'lr': 0.2}]]
    """

    def __init__(self, fits: Iterable[Fit], workers: int) -> None:
        self.groups: dict[Hashable, deque[Fit]] = {}
        for fit in fits:
            self.groups.setdefault(group_of(fit), deque()).append(fit)
        self._workers = workers
        self._seconds: dict[Hashable, float] = {}  # of a fit, by group

    def chunks(self) -> Iterator[tuple[Fit, ...]]:
        """Hand out all fits, group after group."""
        left = sum(map(len, self.groups.values()))
        for group, fits in self.groups.items():
            while fits:
                size = min(self._size(group), len(fits), math.ceil(left / (2 * self._workers)))
                left -= size
                yield tuple(fits.popleft() for _ in range(size))

    def learn(self, fit: Fit, outcome: Outcome) -> None:
        """Take note of how long a fit took."""
        self._seconds[group_of(fit)] = outcome.seconds

    def _size(self, group: Hashable) -> int:
        known = self._seconds.get(group) or max(self._seconds.values(), default=0.0)
        return min(LARGEST_CHUNK, max(1, int(CHUNK_SECONDS / known)) if known else FIRST_CHUNK)


def group_of(fit: Fit) -> Hashable:
    """Return what the fits have in common that are sent together."""
    if fit.keep:
        return fit
    return canonical_text({name: value for name, value in fit.configuration.items() if not isinstance(value, float)})


# How long it will take ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """What lies before a search.

    Attributes
    ----------
    fits, updates : int
        How many are to be made.
    seconds : float
        How long that will take; NaN where nothing could be measured.
    workers : int
        On how many of them.
    """

    fits: int
    updates: int
    seconds: float
    workers: int

    def __str__(self) -> str:
        side_by_side = f"{self.workers} side by side" if self.workers > 1 else "one after the other"
        if not math.isfinite(self.seconds):
            return f"{self.fits} fits to do, {side_by_side}"
        units = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
        size, unit = next((size, unit) for size, unit in units if self.seconds >= 1.5 * size or unit == "seconds")
        duration = float(f"{self.seconds / size:.2g}")
        return f"{self.fits} fits to do, {side_by_side}: {self.updates:,} updates, in about {duration:,g} {unit}"


def forecast(problem: Problem, plan: Plan, run: Run, workers: int) -> Forecast:
    """Count the updates, measure some fits of some groups, and tell how long all will take.

    Parameters
    ----------
    problem : Problem
    plan : Plan
        Of which no chunk has been handed out.
    run : callable
        An open pool's.
    workers : int
        Of the pool.

    Returns
    -------
    Forecast
        With 0 updates where the Trainers are others than this project's.
    """
    groups = {group: tuple(fits) for group, fits in plan.groups.items()}
    updates: dict[Hashable, int] = {}
    seconds: dict[Hashable, float] = {}

    def handle_count(first: Fit, steps: tuple[int, int]) -> None:
        epochs, batch_size = steps
        samples = [len(problem.folds[fit.fold][0]) for fit in groups[group_of(first)]]
        updates[group_of(first)] = sum(epochs * math.ceil(n / min(n, batch_size)) for n in samples)

    def handle_seconds(first: Fit, measured: float) -> None:
        seconds[group_of(first)] = measured

    run(count_steps, groups.values(), handle_count)
    chosen = [fits[:MEASURED_FITS] for group, fits in groups.items() if group in updates]
    run(measure, chosen[:: math.ceil(len(chosen) / MEASURED_GROUPS) or 1], handle_seconds)
    total = sum(updates.values())
    measured = sum(updates[group] for group in seconds)
    spent = sum(updates[group] * seconds[group] for group in seconds)
    duration = spent * total / measured / workers if measured else math.nan
    return Forecast(sum(map(len, groups.values())), total, duration, workers)


def count_steps(problem: Problem, fits: Sequence[Fit]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the epochs and the batch size of a group, by building one of its Trainers; nothing where that is another's."""
    for fit in fits:
        with suppress(Exception, SystemExit):  # the fit itself will tell
            trainer = problem.trainer(fit)
            if type(trainer) is tinygrad_lab.Trainer:
                yield 0, (trainer.epochs, trainer.batch_size or sys.maxsize)
            return


def measure(problem: Problem, fits: Sequence[Fit]) -> Iterator[tuple[int, float]]:
    """Yield how many seconds an update of one fit takes, by training some for some epochs; nothing where that fails."""
    with suppress(Exception, SystemExit):  # the fit itself will tell
        yield 0, _seconds_of_update(problem, fits)


@np.errstate(all="ignore")
def _seconds_of_update(problem: Problem, fits: Sequence[Fit]) -> float:
    trainers = [trainer for fit in fits if type(trainer := problem.trainer(fit)) is tinygrad_lab.Trainer]
    data = [problem.training_set(fit) for fit in fits]
    trainings = [trainer.prepare(*arrays) for trainer, arrays in zip(trainers, data, strict=True)]
    for training in trainings:
        if training.choose_engine() == "compiled":  # as the whole training will be, though we stop early
            training.trainer.engine = "compiled"
    timed_fit(trainers, data, epochs=1)  # compile, or load
    start = timed_fit(trainers, data, epochs=1)  # takes the building of programs, mostly
    epochs, duration = 1, start if start > 1.0 or trainings[0].epochs == 1 else 0.0
    while duration < MEASURED_SECONDS and epochs < trainings[0].epochs:
        epochs = min(4 * epochs, trainings[0].epochs)
        duration = min(timed_fit(trainers, data, epochs) for _ in range(2)) - start  # one may have been disturbed
    made = sum(training.batches for training in trainings) * max(1, epochs - 1)
    return max(0.0, duration) / made


def timed_fit(trainers: Sequence[tinygrad_lab.Trainer], data: Sequence[tuple[Array, Array]], epochs: int) -> float:
    """Return how many seconds so many epochs take."""
    start = time.perf_counter()
    tinygrad_lab.fit_lanes(trainers, data, epochs=epochs)
    return time.perf_counter() - start
