"""The generated data, and the reader of points, whose errors name the file and the line."""

import numpy as np
import pytest

from models import read_points, stand_in_data


def test_the_stand_in_has_the_sizes_ranges_and_gap_of_the_report():
    (x, y), (x_test, y_test) = stand_in_data()
    assert (x.shape, y.shape, x_test.shape, y_test.shape) == ((120,), (120,), (25,), (25,))
    both = np.concatenate([x, x_test])
    assert (((both >= -4) & (both <= -3)) | ((both >= -2) & (both <= 2))).all()
    assert (stand_in_data(0)[0][0] == x).all()
    assert (stand_in_data(1)[0][0] != x).all()


def test_the_stand_in_scatters_like_the_original_around_its_quintic(report_data):
    original = [read_points(report_data / name) for name in ("training_set.txt", "test_set.txt")]
    halves = []
    for sets in (original, *[stand_in_data(seed) for seed in range(20)]):
        x, y = (np.concatenate(parts) for parts in zip(*sets, strict=True))
        residuals = y - np.polyval(np.polyfit(x, y, 5), x)
        halves.append((residuals**2).mean() / 2)
    assert halves[0] == pytest.approx(0.6747, abs=1e-4)
    assert np.mean(halves[1:]) == pytest.approx(halves[0], rel=0.1)


def test_points_are_read(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("\ufeff1.5,-2\n\n 3 , 4e-1 \n", encoding="utf-8")
    x, y = read_points(path)
    assert x.tolist() == [1.5, 3.0]
    assert y.tolist() == [-2.0, 0.4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", r"points.csv, line 2: '3' is not two numbers, expected x,y"),
        ("1,2\n3,\n", r"line 2: '3,' is not two numbers"),
        ("1,2,3\n", r"line 1: '1,2,3' is not two numbers"),
        ("1,2\n\n3,abc\n", r"line 3: 'abc' is no number"),
        ("x,y\n1,2\n", r"line 1: 'x' is no number"),
        ("1,nan\n", r"line 1: 'nan' is not finite"),
        ("1,2\n3,-1e400\n", r"line 2: '-1e400' is not finite"),
        ("1,2\n3,1_000\n", r"line 2: '1_000' is no number"),
        ('1,2\n"3,4\n5,6\n', r"line 2: '\"3' is no number"),
        ("1,2\r3;4\r", r"line 2: '3;4' is not two numbers"),
        ("1\0,2\n", r"line 1: '1\\x00' is no number"),
        ("1," + "9" * 10**6, r"line 1: '9{59} is not finite"),
        ("\n\n", "has no points"),
        ("", "has no points"),
    ],
)
def test_lines_that_are_no_points_are_named(text, message, tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as failure:
        read_points(path)
    assert "\n" not in str(failure.value)


def test_binary_files_are_refused(tmp_path):
    path = tmp_path / "points.bin"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="is no text in UTF-8 .*, expected lines of x,y"):
        read_points(path)
