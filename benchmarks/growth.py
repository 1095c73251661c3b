"""Growth: the time of a search against its configurations and workers, and that of an update against the network's width.

A search takes configurations that are spread evenly over the report's grid, with all epochs. The update is that of
`updates.py`, for a network with two hidden layers of equal width.
"""

from __future__ import annotations

from functools import partial

import numpy as np

import harness
from problems import report_problem
from report import Result
from report_search import Search, configurations, points

WIDTHS = (10, 25, 50, 100, 200, 400)
EVERY = (108, 54, 27)  # 4, 8 and 16 of 432 configurations
PEERS = {
    "tinygrad-lab replay": (harness.peer("ours", "Fit", engine="replay"), 1, ""),
    "tinygrad-lab compiled": (harness.peer("ours", "Fit", engine="compiled"), 1, ""),
    "JAX jit + scan, one model": (harness.peer("jax_", "Scan", in_out=True), 1, "pip install jax"),
    "JAX jit + scan + vmap, 64 models": (harness.peer("jax_", "Scan"), 64, "pip install jax"),
}


def rows() -> list[harness.Row]:
    """Return a row for each peer and width."""
    return [
        harness.Row(
            f"{name}, width {width}", make, partial(report_problem, models=models, widths=(1, width, width, 1)), install=install
        )
        for name, (make, models, install) in PEERS.items()
        for width in WIDTHS
    ]


def main() -> None:
    """Measure, print, write."""
    options = harness.parse_options(__doc__, rounds=3)
    result = Result("growth")
    timings, result.notes = harness.measure(rows(), options)
    medians = {timing.name: np.median(timing.microseconds) for timing in timings}
    result.add_table(
        "Network 1-width-width-1, batch 1, float64: microseconds for an update of one model",
        ["width", *map(str, WIDTHS)],
        [[name, *(f"{medians.get(f'{name}, width {width}', np.nan):.2f}" for width in WIDTHS)] for name in PEERS],
    )
    result.raw += [vars(timing) for timing in timings]

    data = points()
    epochs = 600 if options.quick else None  # long enough to be compiled
    Search(configurations(EVERY[0], epochs), data, workers=1).run()  # fills the cache
    lines = []
    for every in EVERY[:1] if options.quick else EVERY:
        searches = [Search(configurations(every, epochs), data, workers).run() for workers in (1, 2)]
        count, seconds = searches[0].updates, [search.seconds for search in searches]
        lines.append(
            [str(len(searches[0].configurations)), f"{count:,}"]
            + [f"{s:.1f}" for s in seconds]
            + [f"{1e6 * s / count:.2f}" for s in seconds]
        )
        result.raw += [search.raw for search in searches]
    result.add_table(
        "Searches with one worker and with two, programs in the cache",
        ["configurations x 4 folds", "updates", "1 worker, s", "2 workers, s", "1: µs an update", "2: µs an update"],
        lines,
    )
    result.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
