"""Larger batches: the report's network 1-75-50-1 at batch 1, 30 and 120, in microseconds for an update of one model.

Every row makes the updates of `updates.py`. An epoch has 90 updates at every batch size.
"""

from __future__ import annotations

from functools import partial

from harness import Row, add_timings, faster, measure, parse_options, peer
from problems import plain_report_problem, report_problem
from report import Result

BATCHES = (1, 30, 120)
BOTH = ("float64", "float32")
PEERS = {
    **{f"tinygrad-lab {engine}": (peer("ours", "Fit", engine=engine), "") for engine in ("eager", "replay", "compiled")},
    "PyTorch eager": (peer("pytorch", "Eager"), "pip install torch"),
    "JAX jit + scan": (peer("jax_", "Scan", in_out=True), "pip install jax"),
    "NumPy, written by hand": (peer("numpy_", "Handwritten"), ""),
    "scikit-learn MLPRegressor, relu, no clip, no L1": (peer("sklearn_", "Regressor"), "pip install scikit-learn"),
}


def rows() -> list[Row]:
    """Return the rows of the tables."""
    return [
        Row(label(name, batch), make, partial(problem, dtype=dtype, batch_size=batch), install=install)
        for batch in BATCHES
        for name, (make, install) in PEERS.items()
        for problem in [plain_report_problem if "scikit" in name else report_problem]
        for dtype in BOTH
    ]


def label(name: str, batch: int) -> str:
    """Name a row."""
    return f"{name}, batch {batch}"


def main() -> None:
    """Measure, print, write."""
    options = parse_options(__doc__)
    result = Result("batches")
    timings, result.notes = measure(rows(), options)

    for batch in BATCHES:
        here = [timing for timing in timings if timing.name.endswith(label("", batch))]
        title = f"Report network 1-75-50-1, batch {batch}: microseconds for an update"
        add_timings(result, here, title, lambda timing: timing.name.rsplit(", batch")[0])
    for batch, bar in ((30, 1.5), (120, 1.2)):
        for dtype in BOTH:
            ratio = faster(timings, label("tinygrad-lab compiled", batch), label("JAX jit + scan", batch), dtype)
            result.add_bar(f"compiled, batch {batch}, one model, against JAX jit + scan, {dtype}", bar, ratio)
    for batch in (1, 120):
        ratio = faster(timings, label("tinygrad-lab eager", batch), label("PyTorch eager", batch), "float32")
        result.add_bar(f"eager, batch {batch}, against PyTorch eager, float32", 1, ratio)
    result.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
