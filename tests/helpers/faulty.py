"""Builders whose fits kill their process, hang, or return what cannot be sent. Each start of a fit writes a file.

A configuration is the number of a fit and its fault, one of FAULTS. The files are in the folder $FAULTY_FOLDER.
"""

import ctypes
import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np

from search import Outcome
from search.space.configuration import Configuration
from search.testing import PolynomialTrainer, build_polynomial
from search.trials.fits import Fit, Problem


class Unreadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


class LockedError(Exception):
    def __init__(self, message):
        super().__init__(message, threading.Lock())


class FaultyTrainer:
    """Calls its fault and learns nothing; its loss is the id of its process."""

    def __init__(self, fault, weight=0.0):
        self.fault = fault
        self.weight = weight
        self.model = self

    def fit(self, x, y, *, validation=None):
        self.fault()
        return {key: np.zeros(1) for key in ("train_loss", "validation_loss", "lr")}

    def evaluate(self, *_):
        return float(os.getpid())

    def state_dict(self):
        return {"weight": self.weight}


def fail(error):
    raise error


def hang_with_the_interpreter_locked():
    ctypes.PyDLL(None).sleep(600)


def die_while_a_child_holds_the_pipe():
    if os.fork():
        os._exit(7)
    for _ in range(3000):
        if (folder() / "finished").exists():
            os._exit(0)
        time.sleep(0.01)
    (folder() / "child gave up").touch()
    os._exit(1)


FAULTS = {
    "none": lambda: None,
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(7),
    "hang": lambda: time.sleep(600),
    "hang with the interpreter locked": hang_with_the_interpreter_locked,
    "die while a child holds the pipe": die_while_a_child_holds_the_pipe,
    "close all files": lambda: os.closerange(3, 10_000),
    "out of memory": lambda: fail(MemoryError("cannot allocate 64 GiB")),
    "exception with a lock": lambda: fail(LockedError("stumbled")),
    "leave": lambda: sys.exit("no licence"),
    "interrupt": lambda: fail(KeyboardInterrupt("stop")),
}
WEIGHTS = {"weights that cannot be sent": threading.Lock(), "weights that cannot be read": Unreadable()}


def folder():
    return Path(os.environ["FAULTY_FOLDER"])


def build(configuration, _):
    (folder() / f"{configuration['number']} {uuid.uuid4().hex}").touch()
    fault = configuration["fault"]
    return FaultyTrainer(FAULTS.get(fault, FAULTS["none"]), WEIGHTS.get(fault, 0.0))


def build_that_dies_once(configuration, rng):
    """The polynomial of a configuration; the first process that builds it dies."""
    marker = folder() / f"degree {configuration['degree']}, lr {configuration['lr']}"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return build_polynomial(configuration, rng)


def build_that_dies_half_way(configuration, rng):
    """The polynomial of a configuration; one of the processes dies after it has built some."""
    (folder() / f"built {uuid.uuid4().hex}").touch()
    if len(list(folder().glob("built *"))) == 9:
        (folder() / "died").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return build_polynomial(configuration, rng)


class SlowTrainer(PolynomialTrainer):
    def fit(self, x, y, *, validation=None):
        time.sleep(0.1)
        return super().fit(x, y, validation=validation)


def build_polynomial_slowly(configuration, rng):
    """The polynomial of `build_polynomial`, whose training can be hit by a signal."""
    trainer = build_polynomial(configuration, rng)
    return SlowTrainer(trainer.model, trainer.lr, trainer.epochs)


def starts(number):
    """How often a fit was started."""
    return len(list(folder().glob(f"{number} *")))


def problem():
    x = np.zeros((4, 1))
    return Problem(build, x, x, ((np.array([0, 1]), np.array([2, 3])),))


def make_chunks(*faults, keep=False):
    """Chunks of numbered fits, one for each sequence of faults."""
    numbers = iter(range(1000))
    seed = np.random.SeedSequence(0)

    def make_fit(fault):
        return Fit(Configuration({"number": next(numbers), "fault": fault}), 0, seed, keep)

    return [tuple(map(make_fit, chunk)) for chunk in faults]


def collect(pool, work, chunks, **options):
    """Run chunks, and return the results by the numbers of their fits."""
    results = {}

    def handle(fit, result):
        assert fit.configuration["number"] not in results, "handed over twice"
        results[fit.configuration["number"]] = result

    pool.run(work, chunks, handle, **options)
    return results


def die(problem, chunk):
    """Work that gives one result, and dies."""
    yield 0, Outcome("done", 1.0, 1.0)
    os._exit(7)
