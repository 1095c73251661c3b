"""Tables in text files: encoding, delimiter, rows.

bytes --decode--> text --choose_delimiter--> rows of cells, each with its line --make_cells--> Cells

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
from itertools import islice

from models.tables.cells import MISSING_WORDS, Cells, TableError
from models.tables.header import BLANK, NAMES, SAMPLE, Row, make_cells

WORD = re.compile(r'"((?:[^"]|"")*)"(?=\s|$)|(\S+)')
SEPARATOR = re.compile(r"sep=(.)")

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
    for delimiter in NAMES:
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
