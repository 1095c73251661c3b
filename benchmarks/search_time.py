"""The whole search of the report: 432 configurations x 4 folds x 1000 epochs x 90 samples, in minutes, on all workers.

It also times the search with one worker and with two on a part of the grid, and the share of time outside the compiled loops.
For that share, long epochs of each of the 27 networks are timed alone, where the loop takes nearly all of the time. The time
in the loops is the number of updates times the microseconds of an update. The rest of the workers' time is called lost.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

import harness
from processes import MEGABYTE
from report import Result
from report_search import Configuration, Search, build, configurations, points, structure, structures
from tinygrad_lab import Trainer

LOOP_SAMPLES = 900  # ten times the report's, so the time of Python between epochs is small
LOOP_EPOCHS = 25
LOOP_PAIRS = 9


def main() -> None:
    """Measure, print, write."""
    parser = harness.option_parser(__doc__)
    parser.add_argument("--train", type=Path, metavar="CSV", help="the report's training points; by default the stand-in")
    parser.add_argument("--test", type=Path, metavar="CSV", help="accepted beside --train; a search does not use it")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth configuration (default: all)")
    parser.add_argument("--ratio-every", type=int, default=8, metavar="N", help="the same for 2 workers against 1 (default: 8)")
    parser.add_argument("--epochs", type=int, help="of each training (default: the report's 1000)")
    parser.add_argument("--rounds", type=int, default=1, help="of the comparison of 2 workers with 1 (default: 1)")
    options = parser.parse_args()
    if options.quick:
        options.every, options.ratio_every, options.epochs = 48, 48, options.epochs or 600
    data = points(options.train)
    result = Result("search_time")

    loops = {structure(config): loop_seconds(config) for config in structures()}  # this also fills the cache
    part = configurations(options.ratio_every, options.epochs)
    pairs = [[Search(part, data, workers).run() for workers in (1, 2)] for _ in range(options.rounds)]
    with tempfile.TemporaryDirectory() as empty:
        whole = Search(configurations(options.every, options.epochs), data, workers=2).run(cache=empty)
    in_loops = sum(
        loops[structure(config)] * Search([config], data, workers=1).updates for config in whole.configurations
    )  # fmt: skip
    lost = 1 - in_loops / (2 * whole.seconds)

    result.add_table(
        f"The report's search, float64, 2 workers: {len(whole.configurations)} configurations, {whole.updates:,} updates",
        ["", "measured"],
        [
            ["seconds, compilation included", f"{whole.seconds:.1f}"],
            ["updates a second", f"{whole.updates / whole.seconds:,.0f}"],
            ["microseconds of a worker for an update", f"{2e6 * whole.seconds / whole.updates:.2f}"],
            ["of that in the loops, timed alone", f"{1e6 * in_loops / whole.updates:.2f}"],
            ["share lost outside the loops", f"{100 * lost:.0f} %"],
            ["peak memory of a worker, MB", f"{whole.peak / MEGABYTE:.0f}"],
        ],
    )
    result.add_table(
        f"Workers: {len(part)} configurations x 4 folds, {pairs[0][0].updates:,} updates, programs in the cache",
        ["workers", "seconds"],
        [[str(one.workers), f"{np.median([pair[one.workers - 1].seconds for pair in pairs]):.1f}"] for one in pairs[0]],
    )
    result.add_table(
        "In the loops: microseconds for an update of one model, float64",
        ["network", *(activation := list(dict.fromkeys(key[2] for key in loops)))],
        [
            [f"1-{h1}-{h2}-1", *(f"{1e6 * loops[h1, h2, name]:.2f}" for name in activation)]
            for h1, h2 in dict.fromkeys(key[:2] for key in loops)
        ],
    )
    if len(whole.configurations) == 432 and options.epochs in (None, 1000):
        minutes = [whole.seconds / 60]
        result.add_bar("whole report search on two cores, float64, compilation included", 5, minutes, "minutes", at_least=False)
        result.add_bar("peak memory of a worker over the whole search", 400, [whole.peak / MEGABYTE], "MB", at_least=False)
    else:
        result.notes.append("a part of the search only, so nothing is said about the bars of the whole")
    result.add_bar("two workers against one", 1.9, [one.seconds / two.seconds for one, two in pairs])
    result.raw = [whole.raw, *(search.raw for pair in pairs for search in pair)]
    result.raw += [{"network": key, "loop_seconds_per_update": value} for key, value in loops.items()]
    result.finish(keep=not options.quick)


def loop_seconds(config: Configuration) -> float:
    """Return the seconds of an update in the compiled loop, from the difference between 2 n and n long epochs."""
    trainer = build(config, np.random.default_rng(0))
    trainer.engine = "compiled"
    x, y = (np.resize(array, LOOP_SAMPLES) for array in points())
    trainer.fit(x, y, epochs=1)
    # Both times of a difference are measured one after the other, so a slow phase of the machine rarely affects only one.
    differences = [_seconds(trainer, x, y, 2 * LOOP_EPOCHS) - _seconds(trainer, x, y, LOOP_EPOCHS) for _ in range(LOOP_PAIRS)]
    return float(np.median(differences)) / (LOOP_SAMPLES * LOOP_EPOCHS)


def _seconds(trainer: Trainer, x: np.ndarray, y: np.ndarray, epochs: int) -> float:
    return harness.clock(partial(trainer.fit, x, y, epochs=epochs))[0]


if __name__ == "__main__":
    main()
