"""Rows: outcomes as values that SQLite stores to the bit. Each row has a checksum of its content.

(configuration, fold, epochs), Outcome --to_row--> values and their sha256 --check_row, from_row--> the same
"""

import hashlib
import json
import struct
from operator import index
from typing import Any

from search.trials.fits import Outcome

StoredRow = tuple[Any, ...]

COLUMNS = (
    "configuration",
    "fold",
    "epochs",
    "status",
    "validation_loss",
    "train_loss",
    "scores",
    "seconds",
    "reason",
    "state",
    "checksum",
)


def to_row(configuration: str, fold: int, epochs: int, outcome: Outcome) -> StoredRow:
    """Return the outcome of a fit as the values of COLUMNS; `configuration` is the canonical text."""
    content = (
        configuration,
        index(fold),
        index(epochs),
        outcome.status,
        _to_text(outcome.validation_loss),
        _to_text(outcome.train_loss),
        json.dumps({name: _to_text(score) for name, score in outcome.scores.items()}),
        _to_text(outcome.seconds),
        outcome.reason,
        outcome.state,
    )
    return *content, checksum(content)


def check_row(row: StoredRow) -> None:
    """Raise a ValueError if the row is not as it was written."""
    *content, found = row
    if checksum(tuple(content)) != found:
        raise ValueError(f"the row of configuration {row[0]!r}, fold {row[1]!r} is damaged, its checksum is that of another")


def from_row(row: StoredRow) -> Outcome:
    """Return the outcome in a row."""
    _, _, _, status, validation_loss, train_loss, scores, seconds, reason, state, _ = row
    return Outcome(
        status,
        _from_text(validation_loss),
        _from_text(train_loss),
        _from_text(seconds),
        reason,
        state=state,
        scores={name: _from_text(score) for name, score in json.loads(scores).items()},
    )


def checksum(content: StoredRow) -> bytes:
    """Return the sha256 of some values.

    Examples
    --------
    >>> checksum(("lr", 1)) == checksum(("lr", "1"))
    False
    """
    return hashlib.sha256(ascii(content).encode()).digest()


# A REAL column cannot store NaN and loses the sign of -0.0. repr keeps every other number to the bit. There are many NaNs,
# so a NaN is stored as its 8 bytes in hexadecimal.
def _to_text(number: float) -> str:
    plain = float(number)
    return repr(plain) if plain == plain else "nan:" + struct.pack(">d", plain).hex()


def _from_text(text: str) -> float:
    number: float
    if text.startswith("nan:"):
        (number,) = struct.unpack(">d", bytes.fromhex(text.removeprefix("nan:")))
    else:
        number = float(text)
    return number
