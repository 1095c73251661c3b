"""Files of all kinds are read as what they are: the right numbers, or a refusal, and never a silent mistake."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from models import TableError, read_table

PLAIN = "a,b,y\n1,2,3.5\n4,5,6\n7,8,10\n"
PLAIN_X = [[1, 2], [4, 5], [7, 8]]
NAN = np.nan


def zipped(**files):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "."), content)
    return archive.getvalue()


def in_memory(write, *data, **options):
    file = io.BytesIO()
    write(file, *data, **options)
    return file.getvalue()


def read(tmp_path, content, name="t.csv", target="y", **options):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, target, verbose=False, **options)


PLAIN_FILES = {
    "commas": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "blanks and tabs": "  a   b \ty\n  1   2\t3.5\n\n  4   5    6 \n  7 8 10\n",
    "decimal comma": PLAIN.replace(",", ";").replace(".", ","),
    "decimal comma between blanks": PLAIN.replace(",", " ").replace(".", ","),
    "quotes": '"a" , "b","y"\n"1","2","3.5"\n"4","5",6\n7,8,10\n',
    "names in single quotes": "'a' 'b' 'y'\n1 2 3.5\n4 5 6\n7 8 10\n",
    "old Mac": PLAIN.replace("\n", "\r"),
    "Windows, blank lines": "\r\n" + PLAIN.replace("\n", "\r\n\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "gzip": gzip.compress(PLAIN.encode()),
    "bzip2": bz2.compress(PLAIN.encode()),
    "xz": lzma.compress(PLAIN.encode()),
    "zip": zipped(inner__csv=PLAIN),
    "trailing delimiters": "a,b,y,\n1,2,3.5,\n4,5,6,\n7,8,10,\n",
    "trailing delimiters below the header": "a,b,y\n1,2,3.5,\n4,5,6,\n7,8,10,\n",
    "numbers of rows of R": "a,b,y\n1,1,2,3.5\n7,4,5,6\n10,7,8,10\n",
    "index of pandas": ",a,b,y\n0,1,2,3.5\n1,4,5,6\n2,7,8,10\n",
    "row names of R": '"a","b","y"\n"r1",1,2,3.5\n"r2",4,5,6\n"r3",7,8,10\n',
    "Excel's separator line": "sep=|\n" + PLAIN.replace(",", "|"),
    "numpy.savetxt": "# " + PLAIN,
    "numpy.savetxt with blanks": "# " + PLAIN.replace(",", " "),
    "npy with fields": in_memory(np.save, np.array([(1, 2, 3.5), (4, 5, 6), (7, 8, 10)], dtype="i4,i8,f4").view()),
    "npz": in_memory(np.savez, a=np.array([1, 4, 7]), b=np.array([2.0, 5, 8]), y=np.array([[3.5], [6], [10]])),
    "parquet": in_memory(lambda file, frame: frame.to_parquet(file), pd.read_csv(io.StringIO(PLAIN))),
    "excel": in_memory(lambda file, frame: frame.to_excel(file, index=False), pd.read_csv(io.StringIO(PLAIN))),
}


@pytest.mark.parametrize("content", PLAIN_FILES.values(), ids=PLAIN_FILES)
def test_one_table_in_every_kind_of_file(tmp_path, content):
    table = read(tmp_path, content, target=-1)
    np.testing.assert_array_equal(table.x, PLAIN_X)
    np.testing.assert_array_equal(table.y, [[3.5], [6], [10]])
    assert table.summary().startswith("3 samples, 2 features (2 numbers), y = ")


CELLS = {  # a column as it is written, how, and the numbers in it
    "thousands": (['"1,234"', '"12,345.5"', "7"], {}, [1234, 12345.5, 7]),
    "German": (["1.234,5", "12.345", "0,5"], {"delimiter": ";"}, [1234.5, 12345, 0.5]),
    "Swiss": (["1'234.5", "12'345", "7"], {}, [1234.5, 12345, 7]),
    "French": (["1\u202f234,5", "12\u00a0345", "1 000"], {"delimiter": ";"}, [1234.5, 12345, 1000]),
    "one sign twice": (["1,234,567", "1,234", "7"], {"delimiter": ";"}, [1234567, 1234, 7]),
    "a leading zero is no thousand": (["0,234", "1,234", "7"], {"delimiter": ";"}, [0.234, 1.234, 7]),
    "ambiguous, and said": (["1,234", "2,345", "7"], {"delimiter": ";", "thousands": ","}, [1234, 2345, 7]),
    "ambiguous, and said otherwise": (["1,234", "2,345", "7"], {"delimiter": ";", "decimal": ","}, [1.234, 2.345, 7]),
    "three decimals": (["1.234", "2.345", "7"], {"delimiter": ";"}, [1.234, 2.345, 7]),
    "exponents and signs": (["-1e-3", "+.5", "\u22122."], {}, [-1e-3, 0.5, -2]),
    "words for gaps": (["#N/A", "", "7"], {}, [NAN, NAN, 7]),
    "errors of Excel": (["#DIV/0!", "?", "7"], {}, [NAN, NAN, 7]),
    "own words for gaps": (["-", "n.a.", "7"], {"na_values": ["-", "n.a."]}, [NAN, NAN, 7]),
    "numbers for gaps, decimal comma": (["-999,0", "2,5", "7"], {"na_values": [-999], "delimiter": ";"}, [NAN, 2.5, 7]),
    "thousands are no gaps": (["-999.000", "2,5", "7"], {"na_values": [-999], "delimiter": ";"}, [-999000, 2.5, 7]),
    "numbers for gaps": (["-999", "-999.0", "7"], {"na_values": [-999]}, [NAN, NAN, 7]),
    "dates": (["1970-01-02", "1970-01-01 12:00", "1970-01-03T01:00:00+01:00"], {}, [1, 0.5, 2]),
    "dates in a format": (["02.01.1970", "03.01.1970", ""], {"dates": {"a": "%d.%m.%Y"}}, [1, 2, NAN]),
    "dates in a format of digits": (["02011970", "11011970"], {"dates": {"a": "%d%m%Y"}}, [1, 10]),
    "dates with fractions of seconds": (["02.01.1970 12:00:00.0"] * 2, {"dates": {"a": "%d.%m.%Y %H:%M:%S.%f"}}, [1.5, 1.5]),
    "dates in one number": (["19700102", "19700103", "NA"], {"dates": ["a"]}, [1, 2, NAN]),
    "booleans": (["TRUE", "false", "True"], {}, [1, 0, 1]),
    "text": (["red", "blue", "NA"], {}, [1, 0, NAN]),
    "numbers as categories": (["7", "3.0", "3"], {"categories": "a"}, [1, 0, 0]),
    "codes beyond 2**53": (["12345678901234567", "12345678901234568", "7"], {"categories": "a"}, [0, 1, 2]),
    "codes as categories": (["007", "7", "007"], {"categories": "a"}, [0, 1, 0]),
}  # fmt: skip


@pytest.mark.parametrize(("cells", "options", "expected"), CELLS.values(), ids=CELLS)
def test_cells_are_read_as_what_they_mean(tmp_path, cells, options, expected):
    delimiter = options.get("delimiter", ",")
    text = "\n".join(delimiter.join(row) for row in [("a", "y"), *zip(cells, "012", strict=False)])
    np.testing.assert_array_equal(read(tmp_path, text, **options).x[:, 0], expected)


def test_a_target_has_the_format_of_the_other_columns(tmp_path):
    table = read(tmp_path, 'a,y\n"1,5","2,345"\n"2,5","3,456"\n')
    np.testing.assert_array_equal(np.hstack([table.x, table.y]), [[1.5, 2.345], [2.5, 3.456]])


def test_rows_that_begin_with_an_error_of_excel_stay_rows(tmp_path):
    table = read(tmp_path, "a,y\n#N/A,1\n#DIV/0!,2\n# 3,x\n", task="classification", categories="a")
    assert len(table) == 3
    assert table.columns[0].levels == ("# 3",)


def test_a_byte_order_mark_decides_over_the_encoding(tmp_path):
    for encoding, content in (("cp1252", PLAIN.encode("utf-8-sig")), ("utf-16-le", PLAIN.encode("utf-16"))):
        assert read(tmp_path, content, encoding=encoding).names == ("a", "b")


def test_a_file_without_a_header_has_numbered_columns(tmp_path):
    rows = "5.1,red,3.5\n4.2,blue,2\n1.1,red,9\n2,blue,1.5\n"
    table = read(tmp_path, rows, target=-1)
    assert (table.names, table.targets, len(table)) == (("0", "1"), ("2",), 4)
    assert read(tmp_path, rows, target=0).names == ("1", "2")
    assert read(tmp_path, "150,4,setosa\n1,2,0\n3,4,1\n", target=2, skip=1).classes == (0, 1)


def test_frames_are_read_by_their_dtypes(capsys):
    frame = pd.DataFrame(
        {
            "number": pd.array([1, None, 3, 4], dtype="Int64"),
            "code": pd.Categorical([30, 10, 30, None]),
            "flag": pd.array([True, None, False, True], dtype="boolean"),
            "when": pd.to_datetime(["1970-01-02", None, "1970-01-03 06:00", "1970-01-01"], utc=True, format="ISO8601"),
            "mixed": [1, "2.5", None, 4.0],
            "bin": pd.cut([1, 5, 1, 6], [0, 2, 9]),
            "label": ["yes", "no", "no", b"yes"],
        },
        index=["r", "s", "t", "u"],
    )
    table = read_table(frame, "label")
    kinds = "2 numbers, 3 categories with 2 levels, 1 date"
    summary = f"4 samples, 6 features ({kinds}), y = label (classification, 2 classes), 5 missing values in 5 columns"
    assert capsys.readouterr().out == summary + "\n"
    expected = [[1, 1, 1, 1, 1, 0], [NAN, 0, NAN, NAN, 2.5, 1], [3, 1, 0, 2.25, NAN, 0], [4, NAN, 1, 0, 4, 1]]
    np.testing.assert_array_equal(table.x, expected)
    assert (table.classes, table.y.tolist()) == (("no", "yes"), [1, 0, 0, 1])
    assert table.index.tolist() == ["r", "s", "t", "u"]


@pytest.mark.parametrize(
    ("cells", "options", "task", "classes"),
    [
        (["a", "b", "a"], {}, "classification", ("a", "b")),
        (["1", "0", "1"], {}, "classification", (0, 1)),
        (["true", "false", "true"], {}, "classification", (False, True)),
        (["0.5", "1.5", "0.5"], {"task": "classification"}, "classification", (0.5, 1.5)),
        (["3", "5", "9"], {}, "regression", None),
        (["3", "5", "9"], {"task": "classification"}, "classification", (3, 5, 9)),
        (["3", "5", "9"], {"categories": "y"}, "classification", (3, 5, 9)),
        (["1", "0", "1"], {"task": "regression"}, "regression", None),
        (["01", "2", "01"], {"task": "classification"}, "classification", ("01", "2")),
    ],
)
def test_the_task_is_guessed_and_labels_stay_what_they_were(tmp_path, cells, options, task, classes):
    table = read(tmp_path, "x,y\n" + "\n".join(f"{i},{cell}" for i, cell in enumerate(cells)), **options)
    assert (table.task, table.classes) == (task, classes)
    assert classes is None or [type(label) for label in table.classes] == [type(label) for label in classes]


def test_several_targets_are_a_regression_or_labels(tmp_path):
    table = read(tmp_path, "a,y,z\n1,0,1\n2,1,true\n3,1,0\n".replace("true", "1"), target=["y", "z"])
    assert (table.task, table.y.tolist()) == ("multilabel", [[0, 1], [1, 1], [1, 0]])
    assert read(tmp_path, "a,y,z\n1,0,1\n2,1,7\n", target=["z", "y"]).y.tolist() == [[1, 0], [7, 1]]


def test_columns_have_roles(tmp_path):
    text = "name,a,b,who,w,y\nn1,1,2,u,1,1\nn2,3,4,v,0.5,2\nn3,5,6,u,0,4\n"
    table = read(tmp_path, text, index="name", groups="who", weight="w", drop=["b"])
    assert table.names == ("a",)
    assert (table.groups.tolist(), table.weight.tolist(), table.index.tolist()) == ([0, 1, 0], [1, 0.5, 0], ["n1", "n2", "n3"])
    assert ", 2 groups by who, weighted" in table.summary()
    numbers = read_table(np.array([[7, 1, 2], [8, 3, 4]]), -1, index=0, verbose=False)
    assert numbers.index.tolist() == [7, 8]
    assert isinstance(numbers.index[0], np.integer)
    assert read(tmp_path, text, features=["b", 1]).names == ("b", "a")
    assert read(tmp_path, text, index=["name", "who"]).index.tolist() == ["n1, u", "n2, v", "n3, u"]


def test_files_side_by_side_are_one_table(tmp_path):
    (tmp_path / "left.csv").write_text("a b\n1 2\n3 4\n")
    (tmp_path / "right.csv").write_text("y;z\n1,5;2\n3;5\n")
    table = read_table([tmp_path / "left.csv", tmp_path / "right.csv"], ["y", "z"], verbose=False)
    np.testing.assert_array_equal(np.hstack([table.x, table.y]), [[1, 2, 1.5, 2], [3, 4, 3, 5]])
    (tmp_path / "right.csv").write_text("y z\n1 2\n")
    with pytest.raises(TableError, match=r"left.csv has 2 rows and right.csv 1, expected the same number"):
        read_table([tmp_path / "left.csv", tmp_path / "right.csv"], "y")


def test_what_was_guessed_is_reported(tmp_path, capsys):
    rows = "\n".join(f"{i};0{i % 3}1;1,5;2024010{i % 9 + 1};2024010{i % 9 + 1};{i % 4}" for i in range(12))
    read_table(_written(tmp_path, "id;zip;a;date;day;y;\n" + rows.replace("\n", ";\n") + ";"), "y")
    printed = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in printed] == [
        "12 samples, 5 features (4 numbers, 1 date), y = y (regression)",
        "1 column without name and values left out",
        "decimal comma",
        "column 'y' has 4 different whole numbers; give task = \"classification\" if they are classes",
        "column 'date' is read as dates, such as 20240101",
        "column 'day' has numbers such as 20240101; list it in dates if they are dates",
        "column 'id' numbers the rows; drop it, or make it the index, if it is no feature",
        "column 'zip' has numbers with leading zeros; put it into categories if they are codes",
    ]


def _written(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    return path


def test_text_is_read_without_pandas_and_other_files_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert len(read(tmp_path, PLAIN)) == 3
    for kind in ("parquet", "excel"):
        with pytest.raises(TableError, match=r"t.csv: .* are read by pandas, which is missing; pip install .*tables"):
            read(tmp_path, PLAIN_FILES[kind])


def test_the_line_of_a_cell_is_that_of_an_editor(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        texts = rng.choice(["x", "two\nlines", "three\n\nlines"], size=12)
        rows = [f'{i},"{text}",{i}' for i, text in enumerate(texts)]
        bad = rng.integers(1, 12)
        rows[bad] = rows[bad].replace(f"{bad}", "BAD", 1)
        text = "\n" * rng.integers(3) + "a,b,y\n" + "".join(row + "\n" * rng.integers(1, 4) for row in rows)
        line = text[: text.index("BAD")].count("\n") + 1
        with pytest.raises(TableError, match=rf"t.csv, line {line}, column 'a': 'BAD' is not a number"):
            read(tmp_path, text.replace("\n", rng.choice(["\n", "\r\n"])))
