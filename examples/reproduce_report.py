"""Reproduce the report: search a grid by cross-validation, re-train the best networks, draw its three figures.

    points --> grid search, 4 folds --> ranking --> best 20, re-trained on all points --> winners --> figures, weights

Run with --help for the options. Stopped and run again with the same options, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tinygrad_lab as tl
from models import TwoHiddenLayerNet, read_points, stand_in_data
from search import (
    GridSearch,
    KFold,
    ParameterGrid,
    Retrained,
    RetrainedConfiguration,
    SearchError,
    SearchResult,
    plot_data,
    plot_function,
    plot_losses,
    plot_seed_distribution,
)
from tinygrad_lab.files import replacing

TOP = 20
SEEDS = 20
CLIP_NORM = 10.0
REPORTED_TEST_LOSS = 0.5678  # of the report's winner, on the report's points

GRIDS = {
    "report": {
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
        "epochs": [50],
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


def main() -> None:
    """Run the reproduction by the options of the command line."""
    options = parse_options()
    try:
        reproduce(options)
    except KeyboardInterrupt:
        print("\ninterrupted; finished fits are kept, the same command goes on with the others", file=sys.stderr)
        sys.exit(130)
    except (OSError, ValueError, SearchError) as error:
        print(f"reproduce_report.py: error: {error}", file=sys.stderr)
        sys.exit(1)


def reproduce(options: argparse.Namespace) -> None:
    """Search, re-train, print the tables and write the files."""
    start = time.perf_counter()
    train, test = load_points(options)
    options.out.mkdir(parents=True, exist_ok=True)
    save_figure(options.out / "data.png", plot_data(train, test))

    axes = GRIDS[options.grid] | {"decay": [options.decay]}
    grid = ParameterGrid(axes)
    folds = KFold(4, shuffle=True, seed=options.seed)
    updates = sum(config["epochs"] for config in grid) * sum(len(part) for part, _ in folds.split(train[0]))
    print(f"{len(grid)} configurations x 4 folds, {updates:,} updates, each of a single sample")
    search = GridSearch(build, grid, folds, options.out / "search.sqlite", options.seed, options.workers)
    result = search.run(*train)
    print(f"\nRanking by the mean loss over the folds\n{result.ranking}")
    result.ranking.to_csv(options.out / "ranking.csv")

    retrained = result.retrain(TOP, train=train, test=test)
    print(f"\nThe best {len(retrained)}, re-trained on all {len(train[0])} points and tested on {len(test[0])}\n{retrained}")
    report_winners(options, result, retrained, train, test)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes; files are in {options.out}")


def load_points(options: argparse.Namespace) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Read the points of the given files, or generate the stand-in."""
    if options.train is None:
        print("points: the stand-in that this project generates; the report's own can be given with --train and --test")
        return stand_in_data()
    return read_points(options.train), read_points(options.test)


def report_winners(
    options: argparse.Namespace,
    result: SearchResult,
    retrained: Retrained,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> None:
    """Name both winners; for the report's, write the figures and the weights, and show how much of it is luck."""
    by_cv, winner = retrained.best_by_cv, retrained.best_by_test
    print(f"\nWinner by cross-validation alone:            {describe(by_cv)}")
    print(f"Winner the report's way, lowest test loss:   {describe(winner)}")
    losses = result.seed_distribution(winner.configuration, SEEDS, train=train, test=test)
    finite = losses[np.isfinite(losses)]
    print(
        "The first was chosen without the test points, so its test loss is a fair estimate of the loss on new ones.\n"
        f"The second is the smallest of {len(retrained)} test losses: the test points chose it, so its loss flatters it.\n"
        f"The second configuration from {SEEDS} other seeds: test loss {finite.mean():.4f} on average, "
        f"standard deviation {finite.std(ddof=1):.4f}, from {finite.min():.4f} to {finite.max():.4f}."
    )

    original = options.train is not None
    save_figure(options.out / "losses.png", plot_losses(winner.history))
    grid_x = np.linspace(-4.0, 2.0, 601)
    net = TwoHiddenLayerNet(
        1, *winner.configuration["hidden"], 1, activation=winner.configuration["activation"], rng=np.random.default_rng()
    )
    net.load_state_dict(winner.state_dict)
    tl.save_weights(options.out / "winner.safetensors", net)
    with tl.no_grad():
        prediction = net(grid_x[:, None]).numpy()[:, 0]
    save_figure(options.out / "function.png", plot_function(grid_x, prediction, train, test))
    reported = REPORTED_TEST_LOSS if original else None
    save_figure(options.out / "seeds.png", plot_seed_distribution(finite, reported=reported, best=winner.test_loss))


def describe(row: RetrainedConfiguration) -> str:
    """Say in a line what won, and how well it did."""
    config = row.configuration
    hidden = " x ".join(map(str, config["hidden"]))
    return (
        f"{hidden}, {config['activation']}, L1 {config['l1']:g}, lr {config['lr']:g}: "
        f"cross-validation {row.mean:.4f} (rank {row.rank}), test loss {row.test_loss:.4f}, MSE {2 * row.test_loss:.4f}"
    )


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


def parse_options() -> argparse.Namespace:
    """Read the command line; what is wrong with it is said in a line."""
    parser = argparse.ArgumentParser(description="Reproduce the report of 2019 on its own points or on a stand-in.")
    parser.add_argument("--train", type=Path, metavar="CSV", help="training points, a line of x,y each (with --test)")
    parser.add_argument("--test", type=Path, metavar="CSV", help="test points (with --train)")
    parser.add_argument("--grid", choices=list(GRIDS), default="quick", help="the report's 432 configurations, or 18 (default)")
    parser.add_argument("--decay", choices=list(DECAYS), default="geometric", help="of the learning rate (default: geometric)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each processor)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of folds and weights (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder for what is written (default: out)"
    )
    options = parser.parse_args()
    if (options.train is None) != (options.test is None):
        parser.error("--train and --test are given together, or neither")
    if options.workers is not None and options.workers < 1:
        parser.error(f"--workers is {options.workers}, expected at least 1")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}, expected at least 0")
    return options


if __name__ == "__main__":
    main()
