"""A larger network: 784-256-128-10, relu, cross-entropy of integer labels, Adam, batch 128.

Every row makes the same updates on the same synthetic classes. An epoch has 20 updates. A round of the compiled engine has at
least 50 epochs, because each call of `fit` generates its loops again. That is about two epochs of 60,000 samples.
Adam divides a gradient by its size. A gradient that consists of rounding errors then moves a weight as far as any other
gradient, so the tolerance in single precision is 1e-2. In double precision the same code must agree to 1e-5.
"""

from __future__ import annotations

from functools import partial

from harness import Row, add_timings, faster, measure, parse_options, peer
from problems import large_problem
from report import Result

COMPILED = "tinygrad-lab compiled"
TORCH = "PyTorch eager, fused Adam"
JAX = "JAX jit + scan"
LEAST_EPOCHS = {COMPILED: 50}


def rows() -> list[Row]:
    """Return the rows of the table."""
    return [
        Row(
            name,
            make,
            partial(large_problem, dtype=dtype),
            updates=20,
            least_epochs=LEAST_EPOCHS.get(name, 1),
            install=install,
            tolerance=1e-2 if dtype == "float32" else None,
        )
        for name, make, install in (
            ("tinygrad-lab eager", peer("ours", "Fit", engine="eager"), ""),
            ("tinygrad-lab replay", peer("ours", "Fit", engine="replay"), ""),
            (COMPILED, peer("ours", "Fit", engine="compiled"), ""),
            (TORCH, peer("pytorch", "Eager"), "pip install torch"),
            (
                "PyTorch torch.compile of model and loss, fused Adam",
                peer("pytorch", "Eager", compiled=True),
                "pip install torch",
            ),
            (JAX, peer("jax_", "Scan"), "pip install jax"),
        )
        for dtype in ("float64", "float32")
    ]


def main() -> None:
    """Measure, print, write."""
    options = parse_options(__doc__)
    result = Result("large_network")
    timings, result.notes = measure(rows(), options)
    add_timings(result, timings, "784-256-128-10, batch 128, cross-entropy, Adam: microseconds for an update")
    for theirs in (TORCH, JAX):
        ratio = faster(timings, COMPILED, theirs, "float32")
        result.add_bar(f"compiled, 784-256-128-10, batch 128, float32, against {theirs}", 1, ratio)
    result.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
