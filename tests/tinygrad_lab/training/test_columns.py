"""Tables and mixed values as data of a training: they are converted, or the column and the value are named."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from tinygrad_lab.training.data import check_rows

FLOATS = {"a": [0.5, 1.5, 2.5]}


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame(FLOATS | {"b": [True, False, True], "c": pd.array([1, 2, 3], dtype="Int64")}),
        pd.DataFrame(FLOATS | {"b": [True, False, True], "c": pd.array([1, 2, 3], dtype="int64[pyarrow]")}),
        np.array([[0.5, True, 1], [1.5, False, 2], [2.5, True, 3]], dtype=object),
        [[0.5, True, 1], [1.5, False, 2], [2.5, True, 3]],
    ],
)
def test_numbers_of_several_types_are_converted(data):
    expected = np.array([[0.5, 1, 1], [1.5, 0, 2], [2.5, 1, 3]])
    np.testing.assert_array_equal(check_rows("x", data), expected)


def test_single_precision_stays_single():
    assert check_rows("x", pd.DataFrame(FLOATS, dtype=np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (pd.DataFrame(FLOATS | {"city": ["a", "b", "c"]}), TypeError, r"x holds 'a' at \(0, 1\), column 'city', expected real"),
        (
            pd.DataFrame(FLOATS | {"b": pd.array([True, None, True], dtype="boolean")}),
            ValueError,
            r"<NA> at \(1, 1\), column 'b'",
        ),
        (pd.DataFrame(FLOATS | {"c": pd.array([1, None, 3], dtype="Int64")}), ValueError, r"holds nan at \(1, 1\), column 'c'"),
        (pd.DataFrame({"a": [0.5, np.inf, 2.5]}), ValueError, r"x holds inf at \(1, 0\), column 'a', expected finite numbers"),
        (
            pd.DataFrame(FLOATS | {"day": pd.to_datetime(["2020-01-01"] * 3)}),
            TypeError,
            r"dtype datetime64.* in column 'day', ex",
        ),
        (pd.DataFrame([[1, "a"], [2, "b"]], columns=["n", "n"]), TypeError, r"x holds 'a' at \(0, 1\), column 'n', expected"),
        ([[1, "a"], [2, "b"]], TypeError, r"x holds 'a' at \(0, 1\), expected real numbers; encode text as numbers, or"),
        (
            [[1, 2], [2, None]],
            ValueError,
            r"x holds None at \(1, 1\), expected finite numbers; fill gaps, or use models.read_table",
        ),
        (pd.Series(["1", "2"]), TypeError, r"x holds '1' at \(0,\), expected real numbers"),
        (scipy.sparse.csr_array(np.eye(3)), TypeError, r"x is a sparse csr_array of shape \(3, 3\), expected .* x.toarray\(\)"),
    ],
)
def test_what_is_no_number_is_named_by_its_column(data, error, message):
    with pytest.raises(error, match=message) as caught:
        check_rows("x", data)
    assert "\n" not in str(caught.value)
