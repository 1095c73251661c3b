"""How often the true value is inside the 90 % interval of a search's model, over many seeds, with real networks.

    python benchmarks/interval_coverage.py                       # prints the table as Markdown
    python benchmarks/interval_coverage.py --seeds 20 --coverage 0.8

For each seed: 100 samples with noise that depends on x and has heavy tails, a search over two networks on 5 folds, its best
model, and intervals for 1,000 new samples. Beside them are intervals from the residuals of the training set, as one might take
them without conformal prediction. The guarantee is the theorem of CV+ (Barber et al., Annals of Statistics 49, 2021).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import tinygrad_lab as tl
from search import GridSearch, KFold, ParameterGrid

SAMPLES, NEW, FOLDS = 100, 1000, 5


def draw(rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and a function of it with noise."""
    x = rng.uniform(-2.0, 2.0, (samples, 2))
    return x, np.sin(2.0 * x[:, 0]) + x[:, 1] ** 2 + (0.2 + 0.2 * abs(x[:, 0])) * rng.standard_t(4, samples)


def build(configuration: Mapping[str, Any], rng: np.random.Generator) -> tl.Trainer:
    """Return the Trainer of a network with one hidden layer, which learns its scaling in each fold."""
    width = configuration["width"]
    net = tl.Sequential(tl.Linear(2, width, rng=rng), tl.Tanh(), tl.Linear(width, 1, rng=rng))
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.Adam(net.parameters(), lr=0.02),
        epochs=150,
        batch_size=None,
        inputs=tl.Standardize(2),
        targets=tl.Standardize(1),
    )


def measure(seed: int, coverage: float) -> tuple[float, float, float]:
    """Return for one seed the shares of new samples in CV+ and in naive intervals, and the median width of the former."""
    rng = np.random.default_rng(seed)
    (x, y), (x_new, y_new) = draw(rng, SAMPLES), draw(rng, NEW)
    folds = KFold(FOLDS, shuffle=True, seed=seed)
    search = GridSearch(build, ParameterGrid(width=[4, 16]), folds=folds, store=None, seed=seed, workers=1)
    model = search.run(x, y, progress=False).best
    lower, upper = model.predict_interval(x_new, coverage)
    margin = np.quantile(abs(y - model.predict(x)), coverage)
    naive = abs(y_new - model.predict(x_new)) <= margin
    return float(((lower <= y_new) & (y_new <= upper)).mean()), float(naive.mean()), float(np.median(upper - lower))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure the coverage of prediction intervals.")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--coverage", type=float, default=0.9)
    options = parser.parse_args()
    rows = np.array([measure(seed, options.coverage) for seed in range(options.seeds)])
    means, errors = rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    guarantee = 2 * options.coverage - 1 - math.sqrt(2 / SAMPLES)
    print(f"| {options.seeds} seeds, {SAMPLES} samples, {FOLDS} folds | mean ± standard error | 5 % to 95 % of the seeds |")
    print("| --- | ---: | ---: |")
    for name, column in (
        ("coverage of CV+ intervals", 0),
        ("coverage of intervals from training residuals", 1),
        ("median width", 2),
    ):
        low, high = np.quantile(rows[:, column], [0.05, 0.95])
        print(f"| {name} | {means[column]:.4f} ± {errors[column]:.4f} | {low:.3f} to {high:.3f} |")
    print(f"\nPromised: {options.coverage}. Guaranteed for any distribution and any model: {guarantee:.3f}.")


if __name__ == "__main__":
    main()
