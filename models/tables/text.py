"""Tables in text files: encoding, delimiter, rows, and whether the first row is a header.

bytes --decode--> text --choose_delimiter--> rows of cells, each with its line --take_header--> Cells

The csv module of the standard library splits the rows, because it knows the line of each. pandas pads a short row with
missing values and does not say on which line a quoted line break has moved a row.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any

import numpy as np

from models.tables.cells import MISSING_WORDS, Cells, TableError, count, listed, objects
from models.tables.dates import ISO
from models.tables.formats import FORMATS, is_number

Row = tuple[int, list[Any]]  # its line, its cells

BLANK = " "
DELIMITERS = ("\t", ";", "|", ",", BLANK)
NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", BLANK: "blanks"}
WORD = re.compile(r'"((?:[^"]|"")*)"(?=\s|$)|(\S+)')
SEPARATOR = re.compile(r"sep=(.)")
SAMPLE = 100  # rows from which the delimiter and the header are guessed

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(source: str, content: bytes, encoding: str | None = None) -> str:
    """Return the text of a file. A byte order mark decides, then `encoding`, and UTF-8 is the default."""
    if encoding is None and b"\0" in content and not content.startswith(tuple(mark for mark, _ in BYTE_ORDER_MARKS)):
        raise TableError(
            f"{source}: has zero bytes, so it is no text in UTF-8; expected CSV, Parquet, Excel (.xlsx), .npz or .npy, or "
            'encoding = "utf-16-le" if it is text of Windows'
        )
    marked = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    chosen = marked or encoding or "utf-8"
    try:
        text = content.decode(chosen)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TableError(
            f'{source}, line {line}: the byte {content[error.start]:#04x} is no text in {chosen}; give encoding = "cp1252" '
            "for a file of Windows in a western language, or another one"
        ) from None
    except (LookupError, ValueError):
        raise TableError(f"{source}: encoding {encoding!r} is unknown, expected one such as 'utf-8' or 'cp1252'") from None
    if "\0" in text:
        raise TableError(f"{source}: has zero characters, so it is no text in {chosen}; give another encoding")
    return text


def read_text(
    source: str,
    content: bytes,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    skip: int = 0,
    comment: str | None = None,
    encoding: str | None = None,
    missing: Container[str] = MISSING_WORDS,
    known: Sequence[str] = (),
) -> Cells:
    """Read a table from the content of a text file.

    Parameters
    ----------
    source : str
        What error messages call the file.
    content : bytes
    delimiter : str, optional
        One character. A blank stands for any number of blanks and tabs. Guessed by default.
    header : bool, optional
        Whether the first row has the names of the columns. Guessed by default.
    skip : int
        The number of lines before the table.
    comment : str, optional
        Lines that begin with it are left out. By default there are none, because rows may begin with ``#N/A``.
    encoding : str, optional
    missing : container of str
        Cells that are no values.
    known : sequence of str
        Names that a header has, if there is one.
    """
    text = decode(source, content, encoding)
    given = list(io.StringIO(text, newline=""))
    lines = ["\n" for _ in given[:skip]] + given[skip:]
    if comment:
        lines = ["\n" if line.startswith(comment) else line for line in lines]
    if lines and (said := SEPARATOR.fullmatch(lines[0].strip("\r\n"))):  # Excel begins a file with it
        lines[0] = "\n"
        delimiter = delimiter or said[1]
    if delimiter is None:
        delimiter = choose_delimiter(lines)
    elif delimiter in (r"\s+", "whitespace"):
        delimiter = BLANK
    elif len(delimiter) != 1 or delimiter in '"\r\n':
        raise TableError(f"{source}: delimiter is {delimiter!r}, expected one character, or ' ' for blanks")
    rows = list(_rows(source, lines, delimiter))
    if rows and all(len(cells) == 1 for _, cells in rows):
        blank = next((line for line in range(rows[0][0], rows[-1][0]) if not given[line - 1].strip()), None)
        if blank is not None:
            raise TableError(
                f"{source}, line {blank}: is blank, in a table of one column; write NA for a missing value, or remove the line"
            )
    return make_cells(source, rows, "line", delimiter, header, missing, known)


def choose_delimiter(lines: Sequence[str]) -> str:
    r"""Return the character that splits most of the first rows into the same number of cells, at least two.

    Examples
    --------
    >>> choose_delimiter(["a;b\n", "1,5;2,5\n"]), choose_delimiter(["a b\n", "1 \t2\n"])
    (';', ' ')
    """
    best, best_share = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            lengths = Counter(len(cells) for _, cells in islice(_rows("", lines, delimiter), SAMPLE))
        except TableError:  # a quote that this delimiter leaves open
            continue
        (length, count), *_ = lengths.most_common(1) or [(1, 0)]
        share = count / max(1, lengths.total())
        if length > 1 and share > best_share:
            best, best_share = delimiter, share
    return best


def _rows(source: str, lines: Sequence[str], delimiter: str) -> Iterator[Row]:
    """Split lines into cells, without the blanks around them. Lines without any text are no rows."""
    if delimiter == BLANK:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, [(word[0] or word[1]).replace('""', '"') for word in WORD.findall(line.strip())]
        return
    blanks = re.compile(rf'" +(?=[{re.escape(delimiter)}\r\n]|$)')  # after a quote, where strict rules allow none
    trimmed = (blanks.sub('"', line) if '" ' in line else line for line in lines)
    reader = csv.reader(trimmed, delimiter=delimiter, strict=True, skipinitialspace=True)
    start = 1
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and lines[start - 1].strip()):  # pandas writes a single missing value as ""
                yield start, [cell.strip() for cell in cells]
            start = reader.line_num + 1
    except csv.Error as error:
        reason = f"a quote is not closed, or is followed by other text than {delimiter!r} ({error})"
        if "field limit" in str(error):
            reason = f"a cell has more than {csv.field_size_limit():,} characters, or a quote is not closed"
        raise TableError(f"{source}, line {start}: {reason}; correct the quotes, or give the delimiter") from None


# ---- header --------------------------------------------------------------------------------------------------------


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
        elif _are_row_names([cells[0] for _, cells in body]):  # R leaves out their name
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


def _are_row_names(cells: Sequence[Any]) -> bool:
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
