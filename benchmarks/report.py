"""The results of a benchmark: tables, bars and raw numbers, printed and written as JSON for `tables.py`."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tinygrad-lab", "numpy", "scipy", "numba", "torch", "jax", "scikit-learn", "autograd")


@dataclass
class Table:
    """A title, the names of the columns, and lines of text."""

    title: str
    columns: list[str]
    lines: list[list[str]]


@dataclass
class Bar:
    """A number that a measurement should reach.

    Attributes
    ----------
    work : str
    bar : float
    measured : list of float
        One number for each round. The bar is compared with their median. Empty if it could not be measured.
    unit : str
    at_least : bool
        Whether more is better.
    """

    work: str
    bar: float
    measured: list[float]
    unit: str
    at_least: bool

    def line(self) -> list[str]:
        """Return work, bar, measured number with its quartiles, and whether the bar is met."""
        bar = f"at {'least' if self.at_least else 'most'} {self.bar:g} {self.unit}"
        if not self.measured:
            return [self.work, bar, "not measured", ""]
        low, median, high = np.quantile(self.measured, (0.25, 0.5, 0.75))
        met = median >= self.bar if self.at_least else median <= self.bar
        spread = f" ({low:.3g} to {high:.3g})" if len(self.measured) > 1 else ""
        return [self.work, bar, f"{median:.3g}{spread}", "met" if met else "not met"]


BAR_COLUMNS = ["work", "bar", "measured, median (quartiles)", ""]


@dataclass
class Result:
    """The results of one script.

    Attributes
    ----------
    name : str
        The name of the script.
    tables : list of Table
    bars : list of Bar
    notes : list of str
        Lines that say what was left out, and why.
    raw : list of dict
        Every number that was measured.
    """

    name: str
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)

    def add_table(self, title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        """Add a table."""
        self.tables.append(Table(title, list(columns), [list(line) for line in lines]))

    def add_bar(
        self, work: str, bar: float, measured: Sequence[float] | None, unit: str = "times faster", *, at_least: bool = True
    ) -> None:
        """Add a bar and its measurements."""
        self.bars.append(Bar(work, bar, list(measured or []), unit, at_least))

    def finish(self, *, keep: bool) -> None:
        """Print everything. If `keep` is true, write `results/<name>.json`."""
        for table in self.tables:
            print(f"\n{table.title}\n{aligned(table.columns, table.lines)}")
        if self.bars:
            print(f"\nBars\n{aligned(BAR_COLUMNS, [bar.line() for bar in self.bars])}")
        print("".join(f"\n{note}" for note in self.notes))
        about = machine()
        print("\n" + "; ".join(f"{name}: {value}" for name, value in about.items()))
        if keep:
            RESULTS.mkdir(exist_ok=True)
            path = RESULTS / f"{self.name}.json"
            path.write_text(
                json.dumps({"machine": about} | asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            print(f"written: {os.path.relpath(path)}")


def machine() -> dict[str, str]:
    """Describe the machine on which the numbers were measured."""
    packages = []
    for name in PACKAGES:
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": ", ".join(packages),
        "date": date.today().isoformat(),
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def aligned(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lay out a table for a terminal. The first column is aligned to the left, all others to the right.

    Examples
    --------
    >>> print(aligned(["", "µs"], [["one", "1.5"], ["another", "20.0"]]))
               µs
    one       1.5
    another  20.0
    """
    widths = [max(map(len, cells)) for cells in zip(columns, *lines, strict=True)]
    rows = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in (columns, *lines)
    ]
    return "\n".join(row.rstrip() for row in rows)
