"""What is written to the terminal, without characters that it would obey."""

import sys
from pathlib import Path

from search.errors import printable


def say(message: object) -> None:
    """Print a message for people."""
    print(printable(str(message)))


def program() -> str:
    """Return how the command line was called: the console script, or the module."""
    return "tinygrad-lab" if Path(sys.argv[0]).stem == "tinygrad-lab" else "python -m search"
