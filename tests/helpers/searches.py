"""Builders at the top level of a module, for spawned workers. Run as a script, this is a search to be killed.

    python searches.py STORE CSV TOKENS LIMIT

runs SEARCH_GRID with two workers. Each fit takes a token, a file in the folder TOKENS that holds its worker's process id.
After LIMIT tokens, fits hang, so that a test can wait for a known state and then kill or interrupt the search.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from search import GridSearch, ParameterGrid
from search.run import plan
from search.testing import build_polynomial

SEARCH_GRID = ParameterGrid(degree=[1, 2, 3], lr=[0.1, 0.5], epochs=[20])


def data(n=24):
    x = np.linspace(-1, 1, n)
    return x, x**2 - 0.3 * x + 0.1 * np.sin(40 * x)


class NonFiniteLossError(ArithmeticError):
    pass


class ScoredTrainer:
    """Learns nothing; its loss is given."""

    def __init__(self, loss):
        self.loss = loss

    def fit(self, x, y):
        assert len(x) == len(y)
        return {}

    def evaluate(self, *_):
        return self.loss


def build_scored(configuration, _):
    return ScoredTrainer(configuration["loss"])


def build_troubled(configuration, rng):
    """A builder that does what its configuration says."""
    behaviour = configuration["behaviour"]
    if behaviour == "raises":
        raise KeyError("no such\nactivation")
    if behaviour == "diverges":
        raise NonFiniteLossError("loss is nan in epoch 3, batch 5")
    if behaviour == "leaves":
        sys.exit("no licence")
    if behaviour == "exits":
        os._exit(7)
    if behaviour == "changes its configuration":
        configuration.clear()
    return build_polynomial({"degree": 2, "epochs": 20}, rng)


class Stumbling(tl.Scheduler):
    """A constant learning rate. After `epochs` it raises, or after -`epochs` becomes too large; 0.0 means never."""

    def __init__(self, lr, epochs):
        self.lr = lr
        self.epochs = epochs

    def __call__(self, epoch):
        if self.epochs and epoch >= abs(self.epochs):
            if self.epochs < 0.0:
                return 1e300
            raise RuntimeError(f"stumbled in epoch {epoch}")
        return self.lr


def build_network(configuration, rng):
    """A network of this project, whose structure does not depend on the floats."""
    options = {"hidden": (3, 2), "lr": 0.05, "l1": 1e-3, "max_norm": 10.0, "stumble": 0.0, "epochs": 3} | configuration
    net = TwoHiddenLayerNet(1, *options["hidden"], 1, activation="leaky_relu", rng=rng)
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(options["max_norm"])]),
        scheduler=Stumbling(options["lr"], options["stumble"]),
        penalty=tl.L1Penalty(options["l1"], decoupled=True),
        epochs=options["epochs"],
        batch_size=options.get("batch_size", 1),
        engine=options.get("engine", "auto"),
    )


def build_process_id(*_):
    """A trainer whose loss is the id of its process."""
    return ScoredTrainer(float(os.getpid()))


def build_with_token(configuration, rng):
    """Take a token and build a polynomial; hang if more tokens than the limit were taken."""
    folder, limit = Path(os.environ["SEARCH_TOKENS"]), int(os.environ["SEARCH_LIMIT"])
    number = 0
    while True:
        try:
            token = os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            number += 1
        else:
            break
    os.write(token, str(os.getpid()).encode())
    os.close(token)
    if number >= limit:
        time.sleep(600)
    return build_polynomial(configuration, rng)


def main(store, csv, tokens, limit):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored if the tests run in a shell's background
    os.environ["SEARCH_TOKENS"], os.environ["SEARCH_LIMIT"] = tokens, limit
    plan.LARGEST_CHUNK = 1
    search = GridSearch(build_with_token, SEARCH_GRID, store=store, workers=2)
    search.run(*data(), progress=False).ranking.to_csv(csv)


if __name__ == "__main__":
    main(*sys.argv[1:])
