"""Chunks: which fits are sent to a worker together, and a forecast of how long all of them take.

    fits --groups of equal structure--> chunks of some seconds each --> pool --> how long they took --> the next chunks' sizes

Configurations that differ only in floats (a learning rate, the strength of a penalty) usually have Trainers of the same
structure, so they are sent together. This is a guess, which avoids building every Trainer twice. Whether Trainers share a
program is decided when they are trained. No result depends on the chunks.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

import tinygrad_lab
from search.pool import Pool
from search.trials.containment import contained
from search.trials.fits import Fit, Outcome, Problem

CHUNK_SECONDS = 5.0  # of work in a chunk: a worker that crashes loses at most this much
FIRST_CHUNK = 4  # fits in a chunk while no duration is known
LARGEST_CHUNK = 32  # fits: the memory of so many small networks fits into a processor's cache
WINDOW = 10_000  # fits that are grouped at a time, so that not all fits of a large grid are in memory
COUNTED_GROUPS = 500  # groups whose updates a forecast counts
MEASURED_GROUPS = 8  # groups, of the counted ones, in which an update is timed
MEASURED_FITS = 4  # fits that are timed in each of these groups
MEASURED_SECONDS = 0.02  # the least time of a measurement

Item = TypeVar("Item")


class Chunker:
    """Divides fits into chunks, whose sizes depend on how long earlier fits took.

    Parameters
    ----------
    fits : iterable of Fit
        Read as they are needed.
    workers : int
        The number of workers. Towards the end chunks become smaller, so that all workers end at about the same time.

    Examples
    --------
    >>> import numpy as np
    >>> fits = [Fit({"width": width, "lr": lr}, 0, np.random.SeedSequence(0)) for lr in (0.1, 0.2) for width in (5, 9)]
    >>> [[fit.configuration for fit in chunk] for chunk in Chunker(fits, workers=1).chunks()]
    [[{'width': 5, 'lr': 0.1}, {'width': 5, 'lr': 0.2}], [{'width': 9, 'lr': 0.1}], [{'width': 9, 'lr': 0.2}]]
    """

    def __init__(self, fits: Iterable[Fit], workers: int) -> None:
        self._fits = iter(fits)
        self._workers = workers
        self._seconds: dict[Hashable, float] = {}  # of a fit, by group
        self._longest = 0.0

    def chunks(self) -> Iterator[tuple[Fit, ...]]:
        """Yield all fits in chunks, one group after another."""
        while groups := groups_of(islice(self._fits, WINDOW)):
            n_waiting = sum(map(len, groups.values()))
            for group, fits in groups.items():
                while fits:
                    size = min(self._size(group), len(fits), math.ceil(n_waiting / (2 * self._workers)))
                    n_waiting -= size
                    yield tuple(fits.popleft() for _ in range(size))

    def learn(self, fit: Fit, outcome: Outcome) -> None:
        """Use the duration of a fit for the sizes of later chunks."""
        self._seconds[group_of(fit)] = outcome.seconds
        self._longest = max(self._longest, outcome.seconds)

    def _size(self, group: Hashable) -> int:
        known = self._seconds.get(group) or self._longest
        return min(LARGEST_CHUNK, max(1, int(CHUNK_SECONDS / known)) if known else FIRST_CHUNK)


def groups_of(fits: Iterable[Fit]) -> dict[Hashable, deque[Fit]]:
    """Return the fits by group; a chunk has fits of one group."""
    groups: dict[Hashable, deque[Fit]] = {}
    for fit in fits:
        groups.setdefault(group_of(fit), deque()).append(fit)
    return groups


def group_of(fit: Fit) -> Hashable:
    """Return what the fits of a group have in common: the epochs, and all values that are no floats."""
    if fit.keep:
        return fit
    return fit.epochs, frozenset((name, value) for name, value in fit.configuration.items() if not isinstance(value, float))


# The forecast ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """The work that remains in a search.

    Attributes
    ----------
    fits, updates : int
        Their numbers.
    seconds : float
        How long they will take; NaN if nothing could be measured.
    workers : int
        The number of workers.
    is_exact : bool
        Whether the updates of all fits were counted, and not only those of a sample.
    """

    fits: int
    updates: int
    seconds: float
    workers: int
    is_exact: bool = True

    def __str__(self) -> str:
        side_by_side = f"{self.workers} side by side" if self.workers > 1 else "one after the other"
        if not math.isfinite(self.seconds):
            return f"{self.fits:,} fits to do, {side_by_side}"
        units = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
        size, unit = next((size, unit) for size, unit in units if self.seconds >= 1.5 * size or unit == "seconds")
        duration = float(f"{self.seconds / size:.2g}")
        updates = f"{self.updates:,}" if self.is_exact else f"about {int(float(f'{self.updates:.3g}')):,}"
        return f"{self.fits:,} fits to do, {side_by_side}: {updates} updates, in about {duration:,g} {unit}"


def forecast(problem: Problem, fits: Sequence[Fit], total: int, pool: Pool, workers: int) -> Forecast:
    """Count the updates, measure some fits of some groups, and predict how long all fits will take.

    Parameters
    ----------
    problem : Problem
    fits : sequence of Fit
        All fits, or a representative sample.
    total : int
        The number of all fits.
    pool : Pool
    workers : int
        Of the pool.

    Returns
    -------
    Forecast
        With 0 updates if the Trainers are not `tinygrad_lab.Trainer`.
    """
    groups = {group: tuple(members) for group, members in groups_of(fits).items()}
    updates: dict[Hashable, int] = {}
    seconds: dict[Hashable, float] = {}

    def handle_count(first: Fit, steps: tuple[int, int]) -> None:
        epochs, batch_size = steps
        samples = [len(problem.folds[fit.fold][0]) for fit in groups[group_of(first)]]
        updates[group_of(first)] = sum(epochs * math.ceil(n / min(n, batch_size)) for n in samples)

    def handle_seconds(first: Fit, measured: float) -> None:
        seconds[group_of(first)] = measured

    counted = evenly(list(groups.values()), COUNTED_GROUPS)
    pool.run(count_steps, counted, handle_count, retry=False)
    measurable = [members[:MEASURED_FITS] for members in counted if group_of(members[0]) in updates]
    pool.run(measure, evenly(measurable, MEASURED_GROUPS), handle_seconds, retry=False)
    n_counted = sum(map(len, counted))
    all_updates = round(sum(updates.values()) * total / n_counted) if n_counted else 0
    measured = sum(updates[group] for group in seconds)
    spent = sum(updates[group] * seconds[group] for group in seconds)
    duration = spent * all_updates / measured / workers if measured else math.nan
    return Forecast(total, all_updates, duration, workers, is_exact=n_counted == total)


def evenly(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """Return all items or, if there are more than the limit, items at equal distances.

    Examples
    --------
    >>> evenly(range(10), 4)
    range(0, 10, 3)
    """
    return items[:: math.ceil(len(items) / limit) or 1]


def count_steps(problem: Problem, fits: Sequence[Fit]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Build one Trainer of a group, and yield its epochs and batch size; nothing if it is no `tinygrad_lab.Trainer`."""
    for fit in fits:
        with suppress(Exception):  # the fit itself will report it
            trainer = problem.trainer(fit)
            if type(trainer) is tinygrad_lab.Trainer:
                yield 0, (_epochs_to_train(trainer, fit), trainer.batch_size or sys.maxsize)
            return


def _epochs_to_train(trainer: tinygrad_lab.Trainer, fit: Fit) -> int:
    return trainer.epochs if fit.epochs is None else min(fit.epochs, trainer.epochs)


def measure(problem: Problem, fits: Sequence[Fit]) -> Iterator[tuple[int, float]]:
    """Train some fits for some epochs, and yield the seconds of one update; nothing if that fails."""
    with suppress(Exception), contained():  # the fit itself will report it
        yield 0, _seconds_of_update(problem, fits)


@np.errstate(all="ignore")
def _seconds_of_update(problem: Problem, fits: Sequence[Fit]) -> float:
    trainers = [trainer for fit in fits if type(trainer := problem.trainer(fit)) is tinygrad_lab.Trainer]
    data = [problem.training_set(fit) for fit in fits]
    trainings = [trainer.prepare(arrays[0], arrays[1]) for trainer, arrays in zip(trainers, data, strict=True)]
    last = min(training.epochs for training in trainings)
    timed_fit(trainers, data, until=1)  # compiles, or loads compiled code
    start = timed_fit(trainers, data, until=1)  # mostly the time to build programs
    epochs, duration = 1, start if start > 1.0 or last == 1 else 0.0
    while duration < MEASURED_SECONDS and epochs < last:
        epochs = min(4 * epochs, last)
        duration = min(timed_fit(trainers, data, epochs) for _ in range(2)) - start  # in case one is disturbed
    made = sum(training.batches for training in trainings) * max(1, epochs - 1)
    return max(0.0, duration) / made


def timed_fit(trainers: Sequence[tinygrad_lab.Trainer], data: Sequence[tuple[np.ndarray, ...]], until: int) -> float:
    """Return how many seconds the first epochs take.

    `until` stops the trainings early but does not change their length, which decides the engine.
    """
    start = time.perf_counter()
    tinygrad_lab.fit_lanes(trainers, data, until=until)
    return time.perf_counter() - start
