"""Rows as an aligned text table."""

from collections.abc import Sequence
from typing import Any


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return the rows as text: numbers to the right and in six digits, everything else to the left.

    Examples
    --------
    >>> print(text_table(["rank", "activation", "mean"], [[1, "relu", 0.6125], [2, "sigmoid", 11.25]]))
    rank  activation    mean
       1  relu        0.6125
       2  sigmoid      11.25
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    is_number = [
        all(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows) for i in range(len(header))
    ]
    lines = [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in [list(header), *cells]
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
