"""
Reproduce the report, completely
================================

Reproduce the report: search its grid by cross-validation, re-train the best networks, draw its three figures.

::

    points --> grid search, 4 folds --> ranking --> best 20, re-trained on all points --> winners --> figures, weights, page

Run with --help for the options. If you stop the search and run it again with the same options, it continues.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
from matplotlib.figure import Figure

import tinygrad_lab as tl
from models import TwoHiddenLayerNet, read_points, stand_in_data
from search import (
    GridSearch,
    KFold,
    Optimism,
    ParameterGrid,
    Retrained,
    RetrainedConfiguration,
    SearchError,
    plot_data,
    plot_function,
    plot_losses,
    plot_seed_distribution,
)
from tinygrad_lab.storage.files import replacing

PROGRAM = "reproduce_report.py"
TOP = 20
SEEDS = 20
CLIP_NORM = 10.0
REPORTED_TEST_LOSS = 0.5678  # test loss of the report's winner, on the report's points
REPORTED_TIME = "the report's own took just over 10 hours, on four cores"

GRIDS = {
    "report": {  # 432 configurations
        "hidden": [(10, 10), (25, 10), (25, 25), (50, 25), (50, 50), (75, 50), (75, 75), (100, 75), (100, 100)],
        "activation": ["sigmoid", "relu", "leaky_relu"],
        "l1": [0.0, 1e-5, 1e-4, 1e-3],
        "lr": [0.1, 0.075, 0.05, 0.025],
        "lr_final": [0.001],
        "epochs": [1000],
    },
    "quick": {
        "hidden": [(10, 10), (25, 25), (75, 50)],
        "activation": ["sigmoid", "relu", "leaky_relu"],
        "l1": [0.0, 1e-3],
        "lr": [0.075],
        "lr_final": [0.001],
        "epochs": [200],
    },
}

DECAYS = {"geometric": tl.GeometricDecay, "linear": tl.LinearDecay}


def build(config: dict, rng: np.random.Generator) -> tl.Trainer:
    """Make the report's network and training for one configuration."""
    net = TwoHiddenLayerNet(1, *config["hidden"], 1, activation=config["activation"], rng=rng)
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(CLIP_NORM)]),
        scheduler=DECAYS[config["decay"]](config["lr"], config["lr_final"], epochs=config["epochs"]),
        penalty=tl.L1Penalty(config["l1"], decoupled=True),
        epochs=config["epochs"],
        batch_size=1,
        shuffle=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the reproduction and print an error as one line. The default arguments are those of the command line."""
    options = parse_options(arguments)
    try:
        reproduce(options)
        print(end="", flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted; finished fits of the search are kept, the same command goes on from them", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Discard what is still buffered. Python would try to write it once more at exit, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail("nobody reads the output any more; finished fits of the search are kept")
    except (OSError, ValueError, SearchError) as error:
        fail(error)


def reproduce(options: argparse.Namespace) -> None:
    """Search, re-train, print the tables and write the files."""
    start = time.perf_counter()
    train, test = load_points(options)
    grid = ParameterGrid(GRIDS[options.grid] | {"decay": [options.decay]})
    folds = KFold(4, shuffle=True, seed=options.seed)
    updates = sum(config["epochs"] for config in grid) * sum(len(part) for part, _ in folds.split(train[0]))
    with explained(f"--out {options.out} cannot be made", "expected a folder, or the name of a new one"):
        options.out.mkdir(parents=True, exist_ok=True)

    print(f"{len(grid)} configurations x 4 folds, {updates:,} updates, each of a single sample")
    search = GridSearch(build, grid, folds, options.out / "search.sqlite", options.seed, options.workers)
    resumed = (options.out / "search.sqlite").exists()
    begin = time.perf_counter()
    result = search.run(*train)  # it refuses the store of another search, so write no other file before this line
    searched = time.perf_counter() - begin
    print(f"\nRanking by the mean loss over the folds\n{result.ranking}")
    print(f"\nEach beside the best, on the same folds\n{result.comparison()}")
    if bad := sum(row.status != "done" for row in result):
        print(f"{bad} configurations failed or diverged and rank last; ranking.csv gives the reasons")
    result.ranking.to_csv(options.out / "ranking.csv")
    save_figure(options.out / "data.png", plot_data(train, test))

    retrained = result.retrain(TOP, train=train, test=test)
    print(f"\nThe best {len(retrained)}, re-trained on all {len(train[0])} points and tested on {len(test[0])}\n{retrained}")
    optimism = result.optimism(TOP, SEEDS, train=train, test=test)
    report_winners(options, retrained, optimism, train, test)
    page = result.report(
        options.out,
        train=train,
        test=test,
        retrained=retrained,
        optimism=optimism,
        title="The report of 2019, reproduced",
        question="Which network of two hidden layers estimates the report's function best, from 120 points?",
        facts=[("time" if not resumed else "time for what was left", f"{searched / 60:.1f} minutes; {REPORTED_TIME}")],
        commands=[command(options)],
    )
    print(f"\nThe page about all of this is {page}")
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes; files are in {options.out}")
    if options.grid == "report":
        what = "What was left of the search" if resumed else "The search"
        print(f"{what} took {searched / 60:.1f} of them; {REPORTED_TIME}")


def command(options: argparse.Namespace) -> str:
    """Return the command line that gives the same results."""
    files = [] if options.train is None else ["--train", str(options.train), "--test", str(options.test)]
    choices = ["--grid", options.grid, "--decay", options.decay, "--seed", str(options.seed)]
    return shlex.join(["python", f"examples/{PROGRAM}", *files, *choices])


def load_points(options: argparse.Namespace) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Read the points of the given files, or generate points."""
    if options.train is None:
        print("points: the stand-in that this project generates; the report's own can be given with --train and --test")
        return stand_in_data()
    sets = []
    for option, path in (("--train", options.train), ("--test", options.test)):
        with explained(f"{option} {path} cannot be read", "expected a file with x,y in each line"):
            sets.append(read_points(path))
    return sets[0], sets[1]


def report_winners(
    options: argparse.Namespace,
    retrained: Retrained,
    optimism: Optimism,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> None:
    """Print both winners. Write the weights and figures of the report's winner, and its test losses from other seeds."""
    by_cv, winner = retrained.best_by_cv, retrained.best_by_test
    print(f"\nWinner by cross-validation alone:            {describe(by_cv)}")
    print(f"Winner the report's way, lowest test loss:   {describe(winner)}")
    tested = sum(row.status == "done" for row in retrained)
    print(
        "The first was chosen without the test points, so its test loss is a fair estimate of the loss on new ones.\n"
        f"The second has the smallest of {tested} test losses: the test points chose it, so its loss flatters it.\n"
        f"{'This time the two are one network.' if winner is by_cv else 'They differ because the two questions do.'}"
    )
    net = TwoHiddenLayerNet(
        1, *winner.configuration["hidden"], 1, activation=winner.configuration["activation"], rng=np.random.default_rng()
    )
    net.load_state_dict(winner.state_dict)
    weights = options.out / "winner.safetensors"
    with explained(f"{weights} cannot be written", "give another --out"):
        tl.save_weights(weights, net)
    save_figure(options.out / "losses.png", plot_losses(winner.history))
    grid_x = np.linspace(-4.0, 2.0, 601)
    with tl.no_grad():
        prediction = net(grid_x[:, None]).numpy()[:, 0]
    save_figure(options.out / "function.png", plot_function(grid_x, prediction, train, test))

    losses = optimism.losses[[row is winner for row in retrained].index(True)]
    print(f"The second configuration from {SEEDS} other seeds: {describe_losses(losses)}.")
    if np.isfinite(losses).any():
        reported = None if options.train is None else REPORTED_TEST_LOSS
        save_figure(options.out / "seeds.png", plot_seed_distribution(losses, reported, best=winner.test_loss))
    print(f"\n{optimism}")


def describe(row: RetrainedConfiguration) -> str:
    """Return the configuration and the losses of a winner as one line."""
    config = row.configuration
    hidden = " x ".join(map(str, config["hidden"]))
    return (
        f"{hidden}, {config['activation']}, L1 {config['l1']:g}, lr {config['lr']:g}: "
        f"cross-validation {row.mean:.4f} (rank {row.rank}), test loss {row.test_loss:.4f}, MSE {2 * row.test_loss:.4f}"
    )


def describe_losses(losses: np.ndarray) -> str:
    """Return the mean and the spread of test losses as text, and how many are missing."""
    finite = losses[np.isfinite(losses)]
    parts = []
    if len(finite):
        parts.append(f"test loss {finite.mean():.4f} on average, median {np.median(finite):.4f}")
        parts.append(f"from {finite.min():.4f} to {finite.max():.4f}")
    if len(finite) > 1:
        parts.append(f"standard deviation {finite.std(ddof=1):.4f}")
    if len(finite) < len(losses):
        parts.append(f"{len(losses) - len(finite)} failed or diverged")
    return ", ".join(parts)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, completely or not at all."""
    with explained(f"{path} cannot be written", "give another --out"), replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


@contextmanager
def explained(problem: str, advice: str) -> Iterator[None]:
    """If the block raises an OSError, print the problem as one line and end the program."""
    try:
        yield
    except OSError as error:
        fail(f"{problem} ({error.strerror}); {advice}")


def fail(message: object, status: int = 1) -> NoReturn:
    """Print an error as one line, and end the program."""
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)
    sys.exit(status)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that prints an error as one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the message and end the program."""
        fail(f"{message}; --help tells the options", status=2)


def integer_from(minimum: int) -> Callable[[str], int]:
    """Return a reader of integers for the command line."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} given, expected an integer of at least {minimum}")
        return number

    return read


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options from the arguments, and print an error as one line."""
    parser = OneLineParser(description="Reproduce the report of 2019 on its own points or on a stand-in.")
    parser.add_argument("--train", type=Path, metavar="CSV", help="the report's training points, x,y in each line")
    parser.add_argument("--test", type=Path, metavar="CSV", help="its test points")
    parser.add_argument(
        "--grid", choices=list(GRIDS), default="report", help="the report's 432 configurations (default), or 18"
    )
    parser.add_argument("--decay", choices=list(DECAYS), default="geometric", help="of the learning rate (default: geometric)")
    parser.add_argument("--workers", type=integer_from(1), metavar="N", help="processes (default: one for each processor)")
    parser.add_argument("--seed", type=integer_from(0), default=0, metavar="N", help="of folds and weights (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder for what is written (default: out)"
    )
    options = parser.parse_args(arguments)
    if (options.train is None) != (options.test is None):
        given, missing = ("--train", "--test") if options.test is None else ("--test", "--train")
        parser.error(f"{given} given without {missing}, expected both or neither")
    return options


if __name__ == "__main__":
    main()
