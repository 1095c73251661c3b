"""Trainings that never end, to be interrupted: a builder at the top level of a module, and a script.

    python interrupted.py fit epochs|samples FOLDER         one Trainer's fit
    python interrupted.py search STORE FOLDER               a GridSearch on two workers
    python interrupted.py deaf-search STORE FOLDER          the same, but while a fit runs, no other Python code can run

Each training writes the id of its process to a file in FOLDER once it runs, between two native calls. `fit` writes the weights
and the history to FOLDER when it is interrupted.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from search import GridSearch, KFold, ParameterGrid
from tests.helpers.searches import data

FOREVER = 10**6  # epochs
GRID = ParameterGrid(lr=[0.02, 0.03], long=[False, True])


class Telling(tl.Scheduler):
    """A constant learning rate, which writes a file when a late epoch is reached."""

    def __init__(self, lr, epoch, folder):
        self.lr = lr
        self.epoch = epoch
        self.folder = folder

    def __call__(self, epoch):
        if epoch == self.epoch:
            (Path(self.folder) / f"{os.getpid()}").touch()
        return self.lr


def trainer(hidden, epochs, scheduler, rng, engine="compiled"):
    net = TwoHiddenLayerNet(1, *hidden, 1, activation="leaky_relu", rng=rng)
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        scheduler=scheduler,
        penalty=tl.L1Penalty(1e-3, decoupled=True),
        epochs=epochs,
        batch_size=1,
        engine=engine,
    )


def build(configuration, rng):
    """A fit of some epochs; or, if $INTERRUPTED_FOLDER is set, a `long` fit that never ends."""
    folder = os.environ.get("INTERRUPTED_FOLDER")
    if folder and configuration["long"] and "INTERRUPTED_DEAF" in os.environ:
        (Path(folder) / f"{os.getpid()}").touch()
        ctypes.PyDLL(None).sleep(600)
    epochs = FOREVER if folder and configuration["long"] else 5
    return trainer((5, 4), epochs, Telling(configuration["lr"], 3000, folder), rng)


def make_search(store, workers):
    return GridSearch(build, GRID, folds=KFold(2), store=store, workers=workers)


def fit(what, folder):
    if what == "epochs":
        made = trainer((75, 50), FOREVER, Telling(0.02, 3000, folder), np.random.default_rng(0))
        x, y = data(90)
    else:
        made = trainer((100, 100), FOREVER, Telling(0.001, 3, folder), np.random.default_rng(0))
        x, y = data(50_000)
    try:
        made.fit(x, y)
    except KeyboardInterrupt:
        np.savez(folder / "weights.npz", **made.model.state_dict())
        np.savez(folder / "history.npz", **made.history)
        raise


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored if the tests run in a shell's background
    command, argument, folder = sys.argv[1:]
    if command == "fit":
        fit(argument, Path(folder))
    else:
        os.environ["INTERRUPTED_FOLDER"] = folder
        if command == "deaf-search":
            os.environ["INTERRUPTED_DEAF"] = "1"
        make_search(argument, workers=2).run(*data(), progress=False)
