"""One update at a time: the report's network 1-75-50-1 at batch 1, in microseconds for an update of one model.

Every row makes the same updates: leaky relu 0.05, half squared error, a global gradient norm of at most 10, SGD with a
geometrically decaying learning rate, and decoupled L1. It also computes the loss of the history, which is the data loss plus
the penalty of each update. Only scikit-learn does less, and one row of tinygrad-lab does the same as scikit-learn. With many
models, each has its own weights, data, learning rate and penalty.
"""

from __future__ import annotations

from functools import partial

from harness import Row, add_timings, faster, measure, parse_options, peer
from problems import plain_report_problem, report_problem
from report import Result

EAGER = "tinygrad-lab eager"
REPLAY = "tinygrad-lab replay"
COMPILED = "tinygrad-lab compiled"
TORCH = "PyTorch eager"
TORCH_VMAP = "PyTorch torch.compile + vmap, 64 models"
JAX_VMAP = "JAX jit + scan + vmap, 64 models"
COMPILED_MANY = "tinygrad-lab compiled, 64 models"
COMPILED_PLAIN = "tinygrad-lab compiled, relu, no clip, no L1"
LEAST_EPOCHS = {COMPILED: 1000, COMPILED_PLAIN: 1000, COMPILED_MANY: 100}  # the report's trainings have 1000
SKLEARN = "scikit-learn MLPRegressor, relu, no clip, no L1"
BOTH = ("float64", "float32")


def rows() -> list[Row]:
    """Return the rows of the table."""
    wanted = [
        *[
            (f"tinygrad-lab {engine}", peer("ours", "Fit", engine=engine), 1, BOTH, "")
            for engine in ("eager", "replay", "compiled")
        ],
        *[(f"{REPLAY}, {n} lanes", peer("ours", "Lanes", engine="replay"), n, BOTH, "") for n in (16, 64)],
        (COMPILED_MANY, peer("ours", "Lanes", engine="compiled"), 64, BOTH, ""),
        (TORCH, peer("pytorch", "Eager"), 1, BOTH, "pip install torch"),
        ("PyTorch torch.compile, one model", peer("pytorch", "Compiled"), 1, BOTH, "pip install torch"),
        (TORCH_VMAP, peer("pytorch", "Compiled"), 64, BOTH, "pip install torch"),
        ("JAX jit + scan, one model", peer("jax_", "Scan", in_out=True), 1, BOTH, "pip install jax"),
        (JAX_VMAP, peer("jax_", "Scan"), 64, BOTH, "pip install jax"),
        ("HIPS autograd", peer("autograd_", "Autograd"), 1, ("float64",), "pip install autograd"),
        ("NumPy, written by hand", peer("numpy_", "Handwritten"), 1, BOTH, ""),
        ("Numba loops, written by hand", peer("numba_", "Handwritten"), 1, BOTH, "pip install numba"),
    ]
    found = [
        Row(
            name,
            make,
            partial(report_problem, dtype=dtype, models=models),
            least_epochs=LEAST_EPOCHS.get(name, 1),
            install=install,
        )
        for name, make, models, dtypes, install in wanted
        for dtype in dtypes
    ]
    plain = [
        Row(
            name,
            make,
            partial(plain_report_problem, dtype=dtype),
            least_epochs=LEAST_EPOCHS.get(name, 1),
            install=install,
        )
        for name, make, install in (
            (COMPILED_PLAIN, peer("ours", "Fit", engine="compiled"), ""),
            (SKLEARN, peer("sklearn_", "Regressor"), "pip install scikit-learn"),
        )
        for dtype in BOTH
    ]
    return found + plain


def main() -> None:
    """Measure, print, write."""
    options = parse_options(__doc__)
    result = Result("updates")
    timings, result.notes = measure(rows(), options)
    add_timings(result, timings, "Report network 1-75-50-1, batch 1: microseconds for an update of one model")
    for theirs, bar, precision in ((JAX_VMAP, 2.0, "float64"), (JAX_VMAP, 1.5, "float32"), (TORCH_VMAP, 1.5, "float32")):
        for ours in (COMPILED, COMPILED_MANY):
            name = ours.removeprefix("tinygrad-lab ")
            result.add_bar(f"{name}, batch 1, against {theirs}, {precision}", bar, faster(timings, ours, theirs, precision))
    result.add_bar("compiled, batch 1, against PyTorch eager, float32", 200, faster(timings, COMPILED, TORCH, "float32"))
    result.add_bar("compiled, batch 1, against scikit-learn, float64", 40, faster(timings, COMPILED, SKLEARN, "float64"))
    plain = faster(timings, COMPILED_PLAIN, SKLEARN, "float64")
    result.add_bar("compiled without what scikit-learn lacks, batch 1, against scikit-learn, float64", 40, plain)
    for ours, bar in ((REPLAY, 4), (f"{REPLAY}, 16 lanes", 20), (f"{REPLAY}, 64 lanes", 20), (EAGER, 1)):
        name = ours.removeprefix("tinygrad-lab ")
        result.add_bar(f"{name}, batch 1, against PyTorch eager, float32", bar, faster(timings, ours, TORCH, "float32"))
    result.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
