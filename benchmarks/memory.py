"""Memory: a worker over a search, a graph of 100,000 operations, and a training step on each engine.

Each number comes from a separate process. For a worker, it is the peak of the resident memory. For a graph, it is the growth
of that peak while the graph is built and differentiated. For a step, it is the peak of NumPy's allocations, by tracemalloc.
"""

from __future__ import annotations

from importlib.util import find_spec

import harness
from processes import MEGABYTE, run_fresh
from report import Result
from report_search import Search, configurations, points

OPERATIONS = 100_000

GRAPHS = {
    "tinygrad-lab": (
        "tinygrad_lab",
        """
import tinygrad_lab as tl
def differentiate():
    x = y = tl.Tensor(1.0, requires_grad=True)
    for _ in range(n):
        y = y * 1.00001
    return tl.grad(y, [x])[0].item()
""",
    ),
    "PyTorch": (
        "torch",
        """
import torch
def differentiate():
    x = y = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    for _ in range(n):
        y = y * 1.00001
    return torch.autograd.grad(y, [x])[0].item()
""",
    ),
    "HIPS autograd": (
        "autograd",
        """
from autograd import grad
def scale(x):
    for _ in range(n):
        x = x * 1.00001
    return x
def differentiate():
    return float(grad(scale)(1.0))
""",
    ),
}

MEASURE_GRAPH = """
import json
from harness import clock
from processes import peak_memory
n = 10
differentiate()
n = int(sys.argv[1])
before = peak_memory()
slope = []
seconds, _ = clock(lambda: slope.append(differentiate()))
assert abs(slope[0] / 1.00001**n - 1) < 1e-9
print(json.dumps({"bytes": peak_memory() - before, "seconds": seconds}))
"""

MEASURE_STEP = """
import json, tracemalloc
from peers.ours import Fit
import problems
runner = Fit(getattr(problems, sys.argv[2])(5), sys.argv[1])
runner.run(1)
tracemalloc.start()
runner.run(1)
print(json.dumps(tracemalloc.get_traced_memory()[1]))
"""


def main() -> None:
    """Measure, print, write."""
    parser = harness.option_parser(__doc__)
    parser.add_argument("--every", type=int, default=24, metavar="N", help="each Nth configuration is searched (default: 24)")
    options = parser.parse_args()
    if options.quick:
        options.every = 108
    result = Result("memory")

    search = Search(configurations(options.every), points(), workers=2).run()
    result.add_table(
        f"A worker over a search of {len(search.configurations)} configurations x 4 folds: MB",
        ["", "peak"],
        [["the larger of two workers", f"{search.peak / MEGABYTE:.0f}"]],
    )
    result.raw.append(search.raw)

    lines = []
    for name, (package, code) in GRAPHS.items():
        if find_spec(package) is None:
            result.notes.append(f"skipped: the graph of {name}, which is not installed; pip install {package}")
            continue
        found = run_fresh(code + MEASURE_GRAPH, OPERATIONS)
        lines.append(
            [name, f"{found['bytes'] / MEGABYTE:.0f}", f"{found['bytes'] / OPERATIONS:.0f}", f"{found['seconds']:.2f}"]
        )
        result.raw.append({"graph": name} | found)
    title = f"A graph of {OPERATIONS:,} multiplications of a number, built and differentiated"
    result.add_table(title, ["", "MB", "bytes an operation", "seconds"], lines)

    steps = {"1-75-50-1, batch 1, float64": "report_problem", "784-256-128-10, batch 128, float32": "large_problem"}
    engines = ("eager", "replay", "compiled")
    peaks = {name: [run_fresh(MEASURE_STEP, engine, problem) for engine in engines] for name, problem in steps.items()}
    result.add_table(
        "An epoch of 5 updates: peak of allocated memory, MB",
        ["", *engines],
        [[name, *(f"{size / MEGABYTE:.2f}" for size in sizes)] for name, sizes in peaks.items()],
    )
    result.raw += [{"step": name} | dict(zip(engines, sizes, strict=True)) for name, sizes in peaks.items()]

    result.add_bar("peak memory of a worker over a search", 400, [search.peak / MEGABYTE], "MB", at_least=False)
    result.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
