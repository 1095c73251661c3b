"""The report's search with the grid, the Trainers and the folds of `examples/reproduce_report.py`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import read_points, stand_in_data
from processes import ChildrenPeak, peak_memory, run_fresh
from search import GridSearch, KFold, ParameterGrid

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from reproduce_report import GRIDS, build

Configuration = dict[str, Any]
Configurations = list[Configuration]
Points = tuple[np.ndarray, np.ndarray]


def configurations(every: int = 1, epochs: int | None = None) -> Configurations:
    """Return every nth of the report's 432 configurations, where n is `every`. `epochs` replaces their number of epochs."""
    grid = ParameterGrid(GRIDS["report"] | {"decay": ["geometric"]})
    return [config | {"epochs": epochs or config["epochs"]} for config in list(grid)[::every]]


def structures() -> Configurations:
    """Return one configuration for each combination of widths and activation, which decide the speed of an update."""
    return list({structure(config): config for config in configurations()}.values())


def structure(config: Configuration) -> tuple[Any, ...]:
    """Return the part of a configuration that decides the speed of an update."""
    return (*config["hidden"], config["activation"])


def folds() -> KFold:
    """Return the report's four folds."""
    return KFold(4, shuffle=True, seed=0)


def points(train: Path | None = None) -> Points:
    """Return the training points of a file, or generated ones."""
    return stand_in_data()[0] if train is None else read_points(train)


@dataclass
class Search:
    """A search over some configurations in a fresh process, without a store.

    Attributes
    ----------
    seconds : float
        The time of `GridSearch.run`. It includes starting the workers, compiling, training and ranking.
    peak : int
        The peak memory of the largest worker in bytes. With one worker, that is the process itself.
    """

    configurations: Configurations
    data: Points
    workers: int
    seconds: float = 0.0
    peak: int = 0

    @property
    def updates(self) -> int:
        """The number of updates over all folds."""
        per_epoch = sum(len(part) for part, _ in folds().split(self.data[0][:, np.newaxis]))
        return per_epoch * sum(config["epochs"] for config in self.configurations)

    @property
    def raw(self) -> dict[str, Any]:
        """All measurements."""
        return {
            "configurations": len(self.configurations),
            "updates": self.updates,
            "workers": self.workers,
            "seconds": self.seconds,
            "peak_bytes": self.peak,
        }

    def run(self, cache: str = "") -> Search:
        """Run the search and store its time and memory. `cache` is the folder of compiled programs, by default the user's."""
        environment = {"TINYGRAD_LAB_CACHE": cache} if cache else {}
        given = json.dumps([self.configurations, [array.tolist() for array in self.data], self.workers])
        found = run_fresh("import report_search; report_search.run_given(sys.argv[1])", given, **environment)
        self.seconds, self.peak = found["seconds"], found["peak"]
        return self


def run_given(given: str) -> None:
    """Run the search that `Search.run` describes, and print its time and memory."""
    configs, data, workers = json.loads(given)
    search = GridSearch(build, configs, folds(), store=None, seed=0, workers=workers)
    with ChildrenPeak() as children:
        start = time.perf_counter()
        result = search.run(np.array(data[0]), np.array(data[1]))
        seconds = time.perf_counter() - start
    failed = [row.configuration for row in result.ranking if row.status == "failed"]
    if failed:
        raise SystemExit(f"error: {len(failed)} configurations failed, the first is {failed[0]}")
    print(json.dumps({"seconds": seconds, "peak": children.bytes if workers > 1 else peak_memory()}))
