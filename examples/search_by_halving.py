"""
Search by successive halving
============================

Search by successive halving: train many configurations for a few epochs, and the better ones for more.

::

    24 configurations, 12 epochs --> the best 8 up to 36 --> the best 2 up to 108 --> comparison, page

A training continues where it stopped. If you run the search again, it reads its results from the store.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet, stand_in_data
from search import KFold, ParameterGrid, Search, SearchResult, SuccessiveHalving, plot_differences

GRID = ParameterGrid(hidden=[(10, 10), (25, 25), (75, 50)], activation=["relu", "sigmoid"], l1=[0.0, 1e-3], lr=[0.1, 0.025])


def build(config: Mapping[str, Any], rng: np.random.Generator) -> tl.Trainer:
    """Make the Trainer of a configuration. Worker processes import this function, so it is at the top level of a module."""
    net = TwoHiddenLayerNet(1, *config["hidden"], 1, activation=config["activation"], rng=rng)
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        scheduler=tl.GeometricDecay(config["lr"], 0.001, epochs=108),
        penalty=tl.L1Penalty(config["l1"], decoupled=True),
        epochs=108,
        batch_size=1,
    )


def main(arguments: list[str] | None = None) -> SearchResult:
    """Search, print the ranking and the comparison, and write the page."""
    parser = argparse.ArgumentParser(description="Search by successive halving.")
    parser.add_argument("--out", type=Path, default=Path("out-halving"), help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="processes (default: one for each processor)")
    options = parser.parse_args(arguments)
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    (x, y), _ = stand_in_data()
    search = Search(
        build,
        SuccessiveHalving(GRID, epochs=108, min_epochs=12),
        folds=KFold(4, shuffle=True, seed=0),
        store=out / "search.sqlite",
        seed=0,
        workers=options.workers,
    )
    result = search.run(x, y, progress=sys.stderr.isatty())
    print(result.ranking)
    print(result.comparison())
    print(f"page: {result.report(out)}")
    return result


if __name__ == "__main__":
    figure = plot_differences(main().comparison())
