"""The same task on a table of one's own with this project, scikit-learn, Optuna and skorch: lines of code, and that it runs.

    python benchmarks/lines_of_code.py [NAME ...]     # needs scikit-learn, pandas, MAPIE, Optuna, skorch and torch

The task is in `table_task/__init__.py`. A line counts if it holds code: no blank line, comment or docstring.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from counts import code_lines

SCRIPTS = Path(__file__).parent / "table_task"
NAMES = ("ours", "scikit_learn", "optuna_", "skorch_")


def write_tables(folder: Path) -> None:
    """Write a table of 400 rows with a text column and gaps, and 20 new rows without prices."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(30.0, 150.0, 420), rng.uniform(0.0, 80.0, 420)
    city = rng.choice(["Bern", "Graz", "Linz"], 420)
    price = 2.0 * size + 40.0 * (city == "Bern") - age + 0.01 * (age - 40.0) ** 2 + rng.normal(0.0, 10.0, 420)
    rows = [
        f"{a:.1f},{'' if missing else f'{b:.0f}'},{c},{p:.1f}"
        for a, b, c, p, missing in zip(size, age, city, price, rng.random(420) < 0.1, strict=True)
    ]
    (folder / "train.csv").write_text("\n".join(["size,age,city,price", *rows[:400]]), encoding="utf-8")
    new = [row.rpartition(",")[0] for row in rows[400:]]
    (folder / "new.csv").write_text("\n".join(["size,age,city", *new]), encoding="utf-8")


def run(script: Path) -> str:
    """Run a script on the tables, then its prediction in another process. Return "runs", or the last line of the error."""
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder))
        for arguments in ([], ["predict"]):
            environment = os.environ | {"PYTHONWARNINGS": "ignore"}
            command = [sys.executable, str(script), *arguments]
            ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            if ended.returncode:
                return (ended.stderr.strip().splitlines() or ["?"])[-1]
            print(f"--- {script.stem} {' '.join(arguments)}\n{ended.stdout}", file=sys.stderr)
    return "runs"


def main() -> None:
    """Print one row for each library."""
    for name in sys.argv[1:] or NAMES:
        script = SCRIPTS / f"{name}.py"
        print(f"{name.strip('_'):<14}{code_lines(script):>4} lines of code, {run(script)}", flush=True)


if __name__ == "__main__":
    main()
