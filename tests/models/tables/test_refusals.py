"""What cannot be read or used is refused in one line, with the file, the line, the column, the value and a cure."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from models import TableError, read_table
from tests.models.tables.test_reading import PLAIN, PLAIN_FILES, in_memory, read, zipped

NAMES = "name,a,y\n" + "".join(f"n{i},{i % 7},{i % 5}\n" for i in range(30))
TWO_SHEETS = io.BytesIO()
with pd.ExcelWriter(TWO_SHEETS) as _writer:
    for _sheet in ("first", "second"):
        pd.DataFrame({"a": [1, 2], "y": [3, 4]}).to_excel(_writer, sheet_name=_sheet, index=False)

FORMULAS = io.BytesIO()
pd.DataFrame({"a": [1, "=A2+1"], "y": [3, 4]}).to_excel(FORMULAS, index=False)

REFUSED = {
    # the file
    "empty": (" \n", {}, "is empty, expected CSV or other text, Parquet"),
    "header only": ("a,b,y\n", {}, r"has a header and no rows \(a, b, y\)"),
    "gzip, cut": (gzip.compress(PLAIN.encode() * 50)[:-12], {}, "cannot be unpacked .* it is damaged or cut off"),
    "zip, cut": (zipped(a__csv=PLAIN)[:60], {}, "cannot be unpacked"),
    "zip of two": (zipped(a__csv=PLAIN, b__csv=PLAIN), {}, r"has 2 files \(a.csv, b.csv\), expected one; unpack it"),
    "parquet, cut": (PLAIN_FILES["parquet"][:200], {}, "cannot be read as Parquet"),
    "npy of objects": (
        in_memory(np.save, np.array([[1, "a"]], object)), {}, "it holds Python objects.*, expected an array of numbers or text",
    ),
    "npy of three axes": (in_memory(np.save, np.zeros((2, 2, 2))), {}, r"has shape \(2, 2, 2\), expected \(rows,\)"),
    "npz of two lengths": (in_memory(np.savez, x=np.zeros(3), y=np.zeros(2)), {}, r"different lengths \(x 3, y 2\)"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(99), {}, r"is an Excel file of before 2007 \(.xls\); save it as .xlsx or CSV"),
    "JSON": ('[{"a": 1, "y": 2}]', {}, "is JSON; convert it"),
    "two sheets": (TWO_SHEETS.getvalue(), {}, "has the sheets first, second; give sheet, such as 'first'"),
    "no such sheet": (TWO_SHEETS.getvalue(), {"sheet": "third"}, "no sheet 'third', expected first, second"),
    "formula": (FORMULAS.getvalue(), {}, "row 3, column 1: '=A2\\+1' has no result in the file; open and save it in Excel"),
    "sheet of text": (PLAIN, {"sheet": 0}, r"sheet is 0, and this is no Excel file \(.xlsx\); leave it out"),
    "latin-1": ("a,größe\n1,2\n3,4".encode("cp1252"), {}, 'line 1: the byte 0xf6 .* give encoding = "cp1252"'),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), {}, 'has zero bytes, .* or encoding = "utf-16-le"'),
    "no encoding": (PLAIN, {"encoding": "undefined"}, "encoding 'undefined' is unknown"),
    "unknown encoding": (PLAIN, {"encoding": "utf-9"}, "encoding 'utf-9' is unknown"),
    # rows and header
    "short row": ("a,b,y\n1,2,3\n\n4,5\n", {}, "line 4: has 2 cells, expected 3 as in the header; add the cells"),
    "long row": ("a,b,y\n1,2,3\n4,5,6,7\n8,9,0", {}, "line 3: has 4 cells, expected 3 .* put quotes around"),
    "open quote": ('a,b,y\n1,"x,3\n4,y,6\n', {}, "line 2: a quote is not closed"),
    "long cell": ("a,y\n" + "1" * 200_000 + ",2\n", {}, "line 2: a cell has more than 131,072 characters, or a quote"),
    "two names": ("a,a,y\n1,2,3\n", {}, "line 1: two columns have the name 'a'; rename one"),
    "title": ("A report\n\na,b,y\n1,2,3\n4,5,6\n", {}, "line 1: has 1 cell, and the rows below have 3; give skip = 1"),
    "title in a cell": ("A report,,\na,b,y\n1,2,3\n", {}, r"line 1: has names for 1 of 3 columns \(A report\); give skip = 1"),
    "comments": ("# a\n# b\na,b,y\n1,2,3\n4,5,6\n", {}, 'line 1: .*give skip = 2, or comment = "#"'),
    "years in the header": ("land,1990,1991\nde,2,3\nfr,5,6\n", {}, "line 1: is it a header.* give header = true, or"),
    "numbers in the header": ("0,1,2\n1,4,5\n6,7,8\n", {}, "line 1: is it a header.* it counts the columns from 0; give"),
    "numbers in the header, index": (",0,1\n0,4,5\n1,7,8\n", {}, "line 1: is it a header.* it counts the columns from 0"),
    "text without a header": ("red,yes\nblue,no\nred,no\n", {}, "line 1: is it a header.* 'red' is among the cells below"),
    "gaps without a header": ("?,red\n1,blue\n2,red\n", {}, "line 1: is it a header.* 'red' is among the cells below"),
    "dates without a header": ("2024-01-01,u\n2024-01-02,v\n", {}, "line 1: is it a header.* 'u' is unlike the cells"),
    "decimal commas between commas": ("a,y\n1,5,2\n1,7,3\n2,5,4\n", {}, "line 1: has 2 names, and the rows below have 3 cells"),
    "falling decimal commas": ("a,y\n2,5,2\n1,7,3\n0,5,4\n", {}, "line 1: has 2 names, and the rows below have 3 cells"),
    "blanks in numbers": ("a y\n1 000 2\n1 500 3\n", {}, "line 1: has 2 names, .* put quotes around a cell with a delimiter"),
    "counts in the first line": ("150,4,x\n5,3,0\n4,3,1\n", {}, "line 1: is it a header.* '150' is a number.* skip = 1"),
    # cells
    "text among numbers": ("a,y\n1,1\n2,2\nx,3\n", {}, "line 4, column 'a': 'x' is not a number .* add it to na_values"),
    "text among targets": ("a,y\n1,1\n2,2\n3,x\n", {}, "line 4, column 'y': 'x' is not a number .* task = \"classification\""),
    "text for a regression": ("a,y\n1,u\n2,v\n", {"task": "regression"}, "line 2, column 'y': 'u' is not a"),
    "underscore": ("a,y\n1_000,1\n2,2\n3,3\n", {}, "line 2, column 'a': '1_000' is not a number"),
    "infinite": ("a,y\n1,1\n-inf,2\n", {}, "line 3, column 'a': -inf is not finite"),
    "too large": ("a,y\n1,1\n2,1e999\n3,4", {}, "line 3, column 'y': 1e999 is not finite"),
    "percent": ("a,y\n12%,1\n13%,2\n", {}, "line 2, column 'a': '12%' is a number with another sign"),
    "point or comma": ("a;y\n1,234;1\n2,345;2\n", {}, "column 'a': '1,234' may be 1234 or 1.234; give decimal"),
    "point and comma": ("a;b;y\n1,5;2.5;1\n", {}, "column 'b' has '2.5' and column 'a' has '1,5', .* give decimal"),
    "no such day": ("a,y\n2024-02-28,1\n2024-02-30,2\n2024-03-01,3\n", {}, "line 3, column 'a': '2024-02-30' is not a date"),
    "which day": ("a,y\n01.02.2024,1\n02.03.2024,2\n", {}, 'line 2, column \'a\': .* give its format, such as dates = {"a"'),
    "month first": ("a,y\nJan-1-2024,1\nFeb-2-2024,2\n", {}, "line 2, column 'a': 'Jan-1-2024' may be a date, .* give its"),
    "not in the format": (
        "a,y\n01.02.2024,1\n2,2\n", {"dates": {"a": "%d.%m.%Y"}}, "line 3, column 'a': '2' is not a date of the format %d.%m",
    ),
    "identifiers": (NAMES, {}, r"column 'name': 30 different texts in 30 rows \('n0', 'n1'\) .* make the column the index"),
    # the target
    "similar name": (PLAIN, {"target": "Y "}, "no column 'Y ', did you mean 'y'"),
    "no similar name": (PLAIN, {"target": "price"}, "no column 'price'; the columns are a, b, y"),
    "position": (PLAIN, {"target": 3}, "no column 3, expected a name, or a position from -3 to 2"),
    "missing": ("a,y\n1,2\n2,\n3,NA\n", {}, r"line 3, column 'y': .*\(and in 1 more line\); .* drop_missing_target"),
    "one class": ("a,y\n1,u\n2,u\n", {}, "column 'y': the target has one class, 'u', in all 2 rows"),
    "constant": ("a,y\n1,5\n2,5\n", {}, "column 'y': the target is 5 in all 2 rows; nothing can be learnt"),
    "date": ("a,y\n1,2024-01-01\n2,2024-01-02\n", {}, "column 'y': the target is a date"),
    "classes without end": (
        "a,y\n" + "".join(f"1,{i}.5\n" for i in range(99)), {"task": "classification"}, "has 99 classes in 99 rows",
    ),
    "two texts": ("a,y,z\n1,u,v\n2,v,u\n", {"target": ["y", "z"]}, "column 'y': one of several targets is text"),
    "no label": (
        "a,y,z\n1,0,1\n2,1,2\n", {"target": ["y", "z"], "task": "multilabel"}, "line 3, column 'z': '2' is no label",
    ),
    "one label": (PLAIN, {"task": "multilabel"}, "column 'y': one target for \"multilabel\"; give several, or task"),
    "two targets of a classification": (PLAIN, {"target": ["a", "y"], "task": "classification"}, "2 targets .* expected one"),
    "unknown task": (PLAIN, {"task": "ranking"}, "task is 'ranking', expected regression"),
    # roles of columns
    "target among features": (PLAIN, {"features": ["a", "y"]}, "column 'y' is in features and the target"),
    "target is the index": (PLAIN, {"index": "y"}, "column 'y' is the target and the index"),
    "groups among features": (PLAIN, {"features": ["a"], "groups": "a"}, "column 'a' is in features and groups"),
    "target in drop": (PLAIN, {"drop": "y"}, "column 'y' is the target and in drop"),
    "date and category": (PLAIN, {"dates": "a", "categories": "a"}, "column 'a' is in dates and a category"),
    "features and drop": (PLAIN, {"features": "a", "drop": "b"}, "features and drop are given"),
    "twice": (PLAIN, {"features": ["a", 0]}, "column 'a' is given twice"),
    "no feature": (PLAIN, {"drop": ["a", "b"]}, "no column is left as a feature beside the target y"),
    "groups missing": ("a,g,y\n1,u,1\n2,,2\n", {"groups": "g"}, "line 3, column 'g': the value is missing; fill it, or"),
    "weight missing": ("a,w,y\n1,,1\n2,1,2\n", {"weight": "w"}, "line 2, column 'w': the value is missing; fill it, with 0"),
    "weight below 0": ("a,w,y\n1,1,1\n2,-1,2\n", {"weight": "w"}, "line 3, column 'w': the weight -1 is below 0"),
    "weights of 0": ("a,w,y\n1,0,1\n2,0,2\n", {"weight": "w"}, "column 'w': all weights are 0"),
    # options
    "delimiter": (PLAIN, {"delimiter": ",,"}, "delimiter is ',,', expected one character"),
    "decimal": (PLAIN, {"decimal": "'"}, "decimal is \"'\", expected"),
    "thousands": (PLAIN, {"decimal": ",", "thousands": ","}, "thousands is ','"),
    "header as text": (PLAIN, {"header": "false"}, "header is 'false', expected true or false"),
    "delimiter as a number": (PLAIN, {"delimiter": 5}, "delimiter is 5, expected text"),
    "sheet as a bool": (PLAIN, {"sheet": True}, "sheet is True, expected a name or a number"),
    "format as a number": (PLAIN, {"dates": {"a": 5}}, "dates is 5 for column 'a', expected a format such as"),
    "no target": (PLAIN, {"target": []}, r"target is \[\], expected the name or the position"),
    "half a position": (PLAIN, {"target": 1.5}, "no column '1.5'; the columns are a, b, y"),
    "skip": (PLAIN, {"skip": -1}, "skip is -1"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, content, options, message):
    with pytest.raises(TableError, match=message) as caught:
        read(tmp_path, content, **{"target": -1} | options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(("t.csv", *options, "features"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1], [2]], "frame, row r, column 'a': holds a list"),
        (np.array([1j, 2]), "column 'a' holds complex numbers"),
        (pd.to_timedelta([1, 2], "D"), "column 'a' holds durations"),
        ([np.inf, 1.0], "frame, row r, column 'a': inf is not finite"),
        (["u", "v"], None),
    ],
)
def test_a_frame_is_refused_by_row_and_column(column, message):
    frame = pd.DataFrame({"a": column, "y": [1, 2]}, index=["r", "s"])
    if message is None:
        assert read_table(frame, "y", verbose=False).columns[0].levels == ("u", "v")
    else:
        with pytest.raises(TableError, match=message):
            read_table(frame, "y")


def test_what_is_no_table_is_refused(tmp_path):
    for given in (None, 3, pd.Series([1, 2]), [[1, 2]]):
        with pytest.raises(TableError, match="expected a path, paths, a DataFrame of pandas or an array"):
            read_table(given, "y")
    with pytest.raises(TableError, match=r"nowhere.csv cannot be read \(No such file"):
        read_table(tmp_path / "nowhere.csv", "y")
    with pytest.raises(TableError, match=r"a,y.1,2.3,4. cannot be read"):  # not a path, but what is in a file
        read_table("a,y\n1,2\n3,4\n", "y")
    with pytest.raises(TableError, match=r"frame: two columns have the name 'a'"):
        read_table(pd.DataFrame([[1, 2, 3]], columns=["a", "a", "y"]), "y")


def test_rows_without_a_target_are_left_out_if_asked_for(tmp_path):
    table = read(tmp_path, "a,y\n1,2\n2,\n3,NA\n4,7\n", drop_missing_target=True)
    assert (table.x[:, 0].tolist(), table.notes[0]) == ([1, 4], "2 rows without a target left out")
    (tmp_path / "test.csv").write_text("a,y\n3,7\n9,\n")
    assert table.like(tmp_path / "test.csv").x.tolist() == [[3]]
    with pytest.raises(TableError, match="no row has a target"):
        read(tmp_path, "a,y\n1,\n2,\n", drop_missing_target=True)


@pytest.mark.parametrize("kind", ["commas", "quotes", "UTF-16", "gzip", "zip", "npz", "parquet", "excel"])
def test_a_damaged_file_is_read_or_refused(tmp_path, kind):
    rng = np.random.default_rng(0)
    messages = []
    content = PLAIN_FILES[kind] if isinstance(PLAIN_FILES[kind], bytes) else PLAIN_FILES[kind].encode()
    for _ in range(15):
        damaged = bytearray(content)
        start = rng.integers(len(damaged))
        damaged[start : start + rng.integers(3)] = rng.integers(256, size=rng.integers(3), dtype=np.uint8).tobytes()
        try:
            table = read(tmp_path, bytes(damaged))
            assert np.isfinite(table.y).all()
        except TableError as error:
            messages.append(str(error))
    assert all("\n" not in message and len(message) < 600 for message in messages)
