"""What is written to the terminal, without characters that it would obey."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import printable


def say(message: object) -> None:
    """Print a message for people."""
    print("\n".join(map(printable, str(message).split("\n"))))


def note(message: object) -> None:
    """Print something that a user should know besides the results, on standard error, in one line."""
    print(f"{program()}: {printable(' '.join(str(message).split()))}", file=sys.stderr)


@contextmanager
def notes_of_warnings() -> Iterator[None]:
    """Print the warnings of the block as notes, each once, without the place in the code that Python prints."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(str(warning.message) for warning in caught):
                note(message)


def program() -> str:
    """Return how the command line was called: the console script, or the module."""
    return "tinygrad-lab" if Path(sys.argv[0]).stem == "tinygrad-lab" else "python -m search"
