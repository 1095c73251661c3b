"""examples/reproduce_report.py on a grid that takes a second; run as a script, a program to be interrupted."""

import signal
from pathlib import Path

from examples import reproduce_report
from search import SearchResult

TINY = {
    "hidden": [(3, 2), (2, 2)],
    "activation": ["sigmoid", "relu"],
    "l1": [1e-3],
    "lr": [0.05],
    "lr_final": [0.001],
    "epochs": [2],
}


def blank_report(result, folder, **contents):
    """In place of `SearchResult.report`, whose figures take seconds."""
    page = Path(folder, "index.html")
    page.touch()
    return page


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in a shell's background ignores it
    reproduce_report.GRIDS["report"] = TINY
    SearchResult.report = blank_report
    reproduce_report.main()
