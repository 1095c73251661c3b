"""Starting: the time to import, and the time to compile every program of the report's search or load it from the cache.

Everything is timed in fresh processes, and the imports take turns. tinygrad_lab imports a module when one of its names is
first used, and `import *` uses all names. The time to compile or load is the time of a first short training of each of the 27
networks minus that of a second one, which also captures and trains.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np

import harness
from processes import run_fresh
from report import Result

IMPORT = """
import json, sys, time
start = time.perf_counter()
exec(sys.argv[1])
print(json.dumps(time.perf_counter() - start))
"""

COMPILE = """
import json, time
from harness import clock
import numpy as np
start = time.perf_counter()
import numba
importing = time.perf_counter() - start
from report_search import build, points, structures

def fit(config):
    trainer = build(config, np.random.default_rng(0))
    trainer.engine = "compiled"
    return clock(lambda: trainer.fit(*points(), epochs=1))[0]

first = [fit(config) for config in structures()]
print(json.dumps({"import numba": importing, "first": first, "second": [fit(config) for config in structures()]}))
"""


def main() -> None:
    """Measure, print, write."""
    parser = harness.option_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="of imports (default: 21)")
    parser.add_argument("--compile-rounds", type=int, default=3, help="each compiles everything once (default: 3)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.compile_rounds = 3, 1
    result = Result("startup")

    alone, ours, all_of_ours = "import numpy", "import numpy, tinygrad_lab", "from tinygrad_lab import *"
    imports: dict[str, list[float]] = {statement: [] for statement in (alone, ours, all_of_ours, "import scipy.special")}
    for _ in range(options.rounds):
        for statement, times in imports.items():
            times.append(run_fresh(IMPORT, statement))
    ratio = (np.array(imports[ours]) / imports[alone]).tolist()

    compiling: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(options.compile_rounds):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TINYGRAD_LAB_CACHE"] = folder
            for state, seconds in compiling.items():
                found = run_fresh(COMPILE)
                seconds.append(sum(found["first"]) - sum(found["second"]))
                result.raw.append({"cache": state} | found)

    result.add_table(
        "Import in a fresh process: milliseconds",
        ["", "median", "quartiles"],
        [
            [name, f"{1e3 * np.median(times):.0f}", "{:.0f} to {:.0f}".format(*1e3 * np.quantile(times, (0.25, 0.75)))]
            for name, times in imports.items()
        ],
    )
    result.add_table(
        "All programs of the report's search: seconds",
        ["", "median", "quartiles"],
        [
            [name, f"{np.median(times):.2f}", "{:.2f} to {:.2f}".format(*np.quantile(times, (0.25, 0.75)))]
            for name, times in (
                ("import numba", [entry["import numba"] for entry in result.raw]),
                ("compiled, cache empty", compiling["cold"]),
                ("loaded from the disk cache", compiling["warm"]),
                ("27 short trainings, programs at hand", [sum(entry["second"]) for entry in result.raw]),
            )
        ],
    )
    result.add_bar("import numpy, tinygrad_lab against import numpy", 1.5, ratio, "times as long", at_least=False)
    result.add_bar("compile all programs of the report search, cold", 15, compiling["cold"], "s", at_least=False)
    result.add_bar("the same from the disk cache, beyond import numba", 0.5, compiling["warm"], "s", at_least=False)
    result.raw += [{"import": name, "seconds": times} for name, times in imports.items()]
    result.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
