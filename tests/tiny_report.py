"""examples/reproduce_report.py on a grid that takes a second; run as a script, a program to be interrupted."""

import signal

from examples import reproduce_report

TINY = {
    "hidden": [(3, 2), (2, 2)],
    "activation": ["sigmoid", "relu"],
    "l1": [1e-3],
    "lr": [0.05],
    "lr_final": [0.001],
    "epochs": [2],
}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in a shell's background ignores it
    reproduce_report.GRIDS["report"] = TINY
    reproduce_report.main()
