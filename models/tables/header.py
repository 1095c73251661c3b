"""Rows of cells as columns with names: whether the first row is a header, and whether all rows have as many cells.

rows of cells of a text or a sheet, each with its place --make_cells--> Cells
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from datetime import date
from typing import Any

import numpy as np

from models.tables.cells import MISSING_WORDS, Cells, TableError, count, listed, objects
from models.tables.dates import ISO
from models.tables.formats import FORMATS, is_number

Row = tuple[int, list[Any]]  # its place, its cells

BLANK = " "
NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", BLANK: "blanks"}
"""Delimiters that are recognised, and what messages call them."""
SAMPLE = 100
"""How many rows show what the delimiter and the header are."""


def make_cells(
    source: str,
    rows: Sequence[Row],
    unit: str,
    delimiter: str = "",
    header: bool | None = None,
    missing: Container[str] = MISSING_WORDS,
    known: Sequence[str] = (),
) -> Cells:
    """Make a table of rows of cells, of which the first may be a header. Columns without names are called 0, 1, ..."""
    if not rows:
        raise TableError(f"{source}: has no rows, expected a header and rows of cells")
    notes = []
    first_line, first = rows[0]
    body = rows[1:]
    width = Counter(len(cells) for _, cells in (body or rows)[:SAMPLE]).most_common(1)[0][0]
    if delimiter == BLANK and first[0] == "#" and len(first) == width + 1:
        first = first[1:]
    if header is None:
        header = bool(set(known) & set(map(str, first))) or _is_header(source, unit, first_line, first, body, width, missing)
    if not header:
        names, body = [str(i) for i in range(width)], list(rows)
    elif len(first) == width - 1 and body:
        if all(len(cells) == width and _cell(cells[-1], missing) is None for _, cells in body):
            body = [(line, cells[:-1]) for line, cells in body]  # each row ends with a delimiter, and the header does not
            names = list(map(_name, first))
        elif _can_name_rows([cells[0] for _, cells in body]):  # R leaves out their name
            names = ["row names", *map(_name, first)]
        else:
            raise TableError(
                f"{source}, {unit} {first_line}: has {count(len(first), 'name')}, and the rows below have {width} cells; name "
                "each column, put quotes around a cell with a delimiter in it, or give the delimiter"
            )
    else:
        names = list(map(_name, first))
        names[0] = names[0].removeprefix("# ")  # as numpy.savetxt writes a header
    if header and all(len(name) > 1 and name[0] == name[-1] == "'" for name in names):
        names = [name[1:-1] for name in names]
    if not body:
        raise TableError(f"{source}: has a header and no rows ({listed(names)}), expected at least one row")
    for line, cells in body:
        if len(cells) != len(names):
            raise TableError(
                f"{source}, {unit} {line}: has {count(len(cells), 'cell')}, expected {len(names)} as "
                + ("in the header" if header else "in the other rows")
                + _cure_of_width(len(cells) > len(names), delimiter, line == first_line)
            )
    columns = [objects([_cell(row[i], missing) for _, row in body]) for i in range(len(names))]
    lines = np.array([line for line, _ in body])
    if header and sum(not name for name in names) > max(1, len(names) // 2):
        named = [name for name in names if name]
        raise TableError(
            f"{source}, {unit} {first_line}: has names for {len(named)} of {len(names)} columns ({listed(named)}); give "
            f"skip = {first_line} if it is a title, or name the columns"
        )
    kept = []
    for i, name in enumerate(names):
        if name or columns[i].astype(bool).any():
            kept.append(i)
            names[i] = name or f"column {i + 1}"
    if len(kept) < len(names):
        notes.append(f"{count(len(names) - len(kept), 'column')} without name and values left out")
    if twice := [name for name, count in Counter(names[i] for i in kept).items() if count > 1]:
        raise TableError(
            f"{source}, {unit} {first_line}: two columns have the name {twice[0]!r}; rename one, or set header = false with "
            f"skip = {first_line}"
        )
    return Cells(source, tuple(names[i] for i in kept), tuple(columns[i] for i in kept), lines, unit, delimiter, tuple(notes))


def _can_name_rows(cells: Sequence[Any]) -> bool:
    """Whether cells are different texts, or whole numbers that grow: not the first part of numbers such as 1,5 or 1 000."""
    texts = [str(cell) for cell in cells]
    if len(set(texts)) < len(texts) or "" in texts:
        return False
    if not all(map(_is_value, texts)):
        return True
    return all(map(str.isdecimal, texts)) and texts == sorted(texts, key=int)


def _cell(cell: Any, missing: Container[str]) -> Any:
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell in missing else cell
    return cell


def _name(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _cure_of_width(is_long: bool, delimiter: str, is_first: bool) -> str:
    if is_first:
        return "; skip = 1 leaves the first line out"
    found = f"(cells are between {NAMES.get(delimiter, repr(delimiter))})"
    if is_long:
        return f"; put quotes around a cell that contains {delimiter!r}, or give the delimiter {found}"
    return f"; add the cells that are missing, or give the delimiter {found}"


def _is_header(
    source: str, unit: str, line: int, first: Sequence[Any], body: Sequence[Row], width: int, missing: Container[str]
) -> bool:
    """Guess from the first rows whether the first of all is a header. Where both are possible, refuse the table.

    A header has texts only, above at least one column of numbers or dates, or above texts that are all different from it.
    A row has numbers where the rows below have numbers, and the words that they have.
    """
    if len(first) not in (width, width - 1):
        last = next((number for number, cells in reversed([(line, first), *body[:SAMPLE]]) if len(cells) != width), line)
        last = line if last > line + 20 else last
        comment = ', or comment = "#"' if str(first[0]).startswith("#") else ""
        raise TableError(
            f"{source}, {unit} {line}: has {count(len(first), 'cell')}, and the rows below have {width}; give skip = {last}"
            f"{comment} if it is no part of the table, or give the delimiter"
        )
    below = [cells for _, cells in body[:SAMPLE] if len(cells) == len(first)]
    present = {i: cell for i, cell in enumerate(first) if _cell(cell, missing) is not None}
    others = {i: [row[i] for row in below if _cell(row[i], missing) is not None] for i in present}
    valued = {i for i, cells in others.items() if sum(map(_is_value, cells)) > len(cells) / 2}
    values = [cell for cell in present.values() if _is_value(cell)]
    unlike: Any = None
    if not values:
        unlike = None if valued else next((cell for i, cell in present.items() if cell in others[i]), None)
        if unlike is None:
            return True
        reason = f"{unlike!r:.80} is among the cells below"
    elif len(present) > 1 and [str(cell) for cell in present.values()] == [str(i) for i in range(len(present))]:
        reason = "it counts the columns from 0"
    else:
        unlike = next(
            (cell for i, cell in present.items() if _is_value(cell) != (i in valued) or not (i in valued or cell in others[i])),
            None,
        )
        if unlike is None:
            return False
        kind = "date" if isinstance(values[0], date) else "number"
        reason = f"{str(values[0])!r:.80} is a {kind}, and {str(unlike)!r:.80} is unlike the cells below"
    raise TableError(
        f"{source}, {unit} {line}: is it a header? {reason}; give header = true, or header = false, or skip = {line} with "
        "header = false to leave it out"
    )


def _is_value(cell: Any) -> bool:
    """Whether a cell is a number or a date, as names of columns are not."""
    if isinstance(cell, str):
        return any(form.fits(cell) for form in FORMATS) or ISO.fullmatch(cell) is not None
    return is_number(cell) or isinstance(cell, date)
