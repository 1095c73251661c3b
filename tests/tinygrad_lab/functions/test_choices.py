"""Values and derivatives at the edges: kinks, poles, ties, infinities, equal eigenvalues. The table is in docs/numpy.md."""

from math import inf, log, nan, pi

import numpy as np
import pytest
import scipy.special as sp

import tinygrad_lab as tl
from tests.helpers import ROOT
from tinygrad_lab import Tensor

pytestmark = pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")


def slopes(function, *point):
    """Return the derivatives of the sum of a function at a point."""
    variables = [Tensor(x, requires_grad=True, dtype=float) for x in point]
    return [g.data.tolist() for g in tl.grad(function(*variables).sum(), variables)]


def curvature(function, point):
    """Return the second derivative of a scalar function."""
    x = Tensor(point, requires_grad=True, dtype=float)
    (slope,) = tl.grad(function(x), [x], create_graph=True)
    return tl.grad(slope, [x])[0].item()


CHOICES = {
    "hypot at (0, 0)": (np.hypot, [0.0, 0.0], [0.0, 0.0]),
    "arctan2 at (0, 0)": (np.arctan2, [0.0, 0.0], [0.0, 0.0]),
    "arctan2 at (0, -1)": (np.arctan2, [0.0, -1.0], [-1.0, 0.0]),
    "cbrt at 0": (np.cbrt, [0.0], [inf]),
    "sinc at 0": (np.sinc, [0.0], [0.0]),
    "logaddexp at equality": (np.logaddexp, [2.0, 2.0], [0.5, 0.5]),
    "logaddexp of infinities": (np.logaddexp, [[inf, -inf, -inf], [inf, -inf, 0.0]], [[0.5, 0.5, 0.0], [0.5, 0.5, 1.0]]),
    "fmax at equality": (np.fmax, [1.0, 1.0], [0.5, 0.5]),
    "fmax beside nan": (np.fmax, [[nan, 1.0], [1.0, nan]], [[0.0, 1.0], [1.0, 0.0]]),
    "remainder at a multiple": (np.remainder, [4.0, 2.0], [1.0, -2.0]),
    "floor, ceil, trunc, rint": (lambda x: np.floor(x) + np.ceil(x) + np.trunc(x) + np.rint(x) + x, [2.0], [1.0]),
    "nan_to_num of nan": (np.nan_to_num, [[nan, inf, 1.0]], [[0.0, 0.0, 1.0]]),
    "xlogy at (0, 1/2)": (sp.xlogy, [0.0, 0.5], [log(0.5), 0.0]),
    "xlogy at (0, 0)": (sp.xlogy, [0.0, 0.0], [-inf, 0.0]),
    "xlog1py at (0, -1)": (sp.xlog1py, [0.0, -1.0], [-inf, 0.0]),
    "entr at 0": (sp.entr, [0.0], [inf]),
    "rel_entr at (0, 1/2)": (sp.rel_entr, [0.0, 0.5], [-inf, 0.0]),
    "kl_div at equality": (sp.kl_div, [0.5, 0.5], [0.0, 0.0]),
    "ties of median": (np.median, [[1.0, 1.0, 1.0, 5.0]], [[1 / 3, 1 / 3, 1 / 3, 0.0]]),
    "ties of sort": (lambda x: np.sort(x) * [1.0, 2.0, 4.0], [[3.0, 1.0, 1.0]], [[4.0, 1.0, 2.0]]),
    "interp at a point": (lambda x: np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 3.0]), [1.0], [2.0]),
    "interp outside": (lambda x: np.interp(x, [0.0, 1.0], [0.0, 1.0]), [[-1.0, 2.0]], [[0.0, 0.0]]),
    "cumprod with a zero": (np.cumprod, [[2.0, 0.0, 3.0]], [[1.0, 8.0, 0.0]]),
    "norm of order 3 at 0": (lambda x: np.linalg.norm(x, 3), [[0.0, 0.0]], [[0.0, 0.0]]),
    "norm of order 1/2 with a zero": (lambda x: np.linalg.norm(x, 0.5), [[0.0, 4.0]], [[0.0, 1.0]]),
    "norm of order -2 with a zero": (lambda x: np.linalg.norm(x, -2), [[0.0, 4.0]], [[0.0, 0.0]]),
    "ties of the maximum norm": (lambda x: np.linalg.norm(x, inf), [[-2.0, 2.0]], [[-0.5, 0.5]]),
    "eigenvalues that are equal": (lambda a: np.linalg.eigvalsh(a) * [1.0, 3.0], [np.eye(2)], [[[1.0, 0.0], [0.0, 3.0]]]),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_choice(choice):
    function, point, expected = CHOICES[choice]
    result = slopes(function, *point)
    for slope, right in zip(result, expected, strict=True):
        np.testing.assert_allclose(slope, right, rtol=1e-14)


def test_the_table_in_the_docs_has_a_row_for_each_choice():
    table = (ROOT / "docs" / "numpy.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row in CHOICES] == list(CHOICES)


def test_second_derivatives_where_a_composition_would_lose_them():
    assert curvature(lambda x: np.logaddexp(x, 2.0), 2.0) == 0.25
    assert curvature(np.sinc, 0.0) == pytest.approx(-(pi**2) / 3, rel=1e-14)
    assert curvature(np.sinc, 1e-8) == pytest.approx(-(pi**2) / 3, rel=1e-14)
    assert curvature(lambda x: np.hypot(x, 1e-9), 1.0) == pytest.approx(1e-18, rel=1e-14)
    assert curvature(lambda x: np.hypot(x, 1e200), 1e200) == pytest.approx(8**-0.5 * 1e-200, rel=1e-14)
    assert curvature(np.arctan, 1e102) == pytest.approx(-2e-306, rel=1e-14)
    assert curvature(lambda x: np.arctan2(x, 1e-155), 1e-213) == pytest.approx(-2e252, rel=1e-13)
    assert curvature(np.arcsin, 1e-12) == pytest.approx(1e-12, rel=1e-14)
    assert curvature(np.arctanh, 1e-12) == pytest.approx(2e-12, rel=1e-14)
    assert curvature(sp.log_ndtr, -1e6) == pytest.approx(-1.0, rel=1e-11)
    assert curvature(sp.gammaln, -0.5) == pytest.approx(pi**2 / 2 + 4, rel=1e-14)


def test_derivatives_of_betaln_far_below_0_take_no_time():
    assert np.isnan(curvature(lambda x: sp.betaln(x, 2.0), -1e15 + 0.5))  # as many steps would take a month


def test_derivatives_near_the_edges_of_the_domain():
    assert slopes(sp.log_ndtr, -1e10)[0] == pytest.approx(1e10, rel=1e-14)
    assert slopes(sp.log_ndtr, 40.0) == [0.0]
    assert curvature(sp.log_ndtr, -1e300) == pytest.approx(-1.0, rel=1e-14)
    assert slopes(np.sinc, 1e15 + 0.5)[0] == pytest.approx(-np.sinc(0.5) * 0.5e-30, rel=1e-14)
    assert slopes(sp.logit, 1.0 - 2**-50)[0] == pytest.approx(2.0**50, rel=1e-14)
    assert slopes(np.arcsin, 1.0 - 2**-50)[0] == pytest.approx(2.0**24.5, rel=1e-14)
    assert slopes(np.arccosh, 1e200)[0] == pytest.approx(1e-200, rel=1e-14)
    assert slopes(np.arcsinh, -1e200)[0] == pytest.approx(1e-200, rel=1e-14)
    assert slopes(np.arctan2, 1e-200, 1e-200) == [pytest.approx(5e199), pytest.approx(-5e199)]
    assert slopes(np.hypot, 5e-324, 5e-324) == [pytest.approx(0.5**0.5, rel=1e-15)] * 2
    assert slopes(sp.betaln, 1e10, 1e-3) == [pytest.approx(-1e-13, rel=1e-9), pytest.approx(-1023.6014228617, rel=1e-12)]
    assert slopes(sp.rel_entr, 1.0 + 2**-40, 1.0)[0] - 1.0 == pytest.approx(2.0**-40, rel=1e-4)
    assert slopes(sp.kl_div, 1.0 + 2**-40, 1.0)[0] == pytest.approx(2.0**-40, rel=1e-11)


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("order", [3, 1.5, 0.5, -2, 2, 1])
def test_a_norm_neither_overflows_nor_underflows(order, size):
    x = Tensor(size * np.array([1.0, 2.0, -2.0]), requires_grad=True)
    y = np.linalg.norm(x, order)
    assert y.item() / size == pytest.approx(np.linalg.norm([1.0, 2.0, -2.0], order), rel=1e-14)
    near = Tensor([1.0, 2.0, -2.0], requires_grad=True)
    expected = tl.grad(np.linalg.norm(near, order), [near])[0].data
    np.testing.assert_allclose(tl.grad(y, [x])[0].data, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("function", "point"),
    [(np.log2, [8.0]), (np.log10, [1000.0]), (np.exp2, [1000.0]), (np.cbrt, [27.0]), (np.hypot, [3e200, 4e200]),
     (np.mod, [1.0, 0.1])],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_values_are_numpys_to_the_bit_where_a_formula_would_round(function, point):
    assert function(*map(Tensor, point)).item() == function(*point)


def test_edges_of_values_are_numpys():
    x = np.array([0.0, -0.0, nan, inf, -inf, 1.0, -2.5])
    y = np.array([0.0, 0.5, 1.0, inf, nan, -inf, -1.0])
    with np.errstate(all="ignore"):
        for function in (np.fmax, np.fmin, np.hypot, np.arctan2, np.logaddexp, np.heaviside, np.fmod,
                         np.remainder, np.isclose, sp.xlogy, sp.xlog1py, sp.rel_entr, sp.kl_div):  # fmt: skip
            np.testing.assert_array_equal(function(Tensor(x), Tensor(y)).data, function(x, y), err_msg=function.__name__)
        for function in (np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit, np.floor, np.ceil, np.trunc,
                         np.rint, np.nan_to_num, np.sinc, np.cbrt, sp.entr, sp.log_ndtr, sp.ndtr, sp.logit,
                         sp.erfc):  # fmt: skip
            np.testing.assert_array_equal(function(Tensor(x)).data, function(x), err_msg=function.__name__)
        for function in (np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanmedian, np.max, np.median, np.sort):
            np.testing.assert_array_equal(function(Tensor(x)).data, function(x), err_msg=function.__name__)


def test_reductions_of_nothing_are_numpys():
    empty, missing = np.zeros((0, 2)), np.full((3, 2), nan)
    with np.errstate(all="ignore"):
        for function in (np.sum, np.prod, np.any, np.all, np.cumsum, np.cumprod, np.nansum, np.count_nonzero, np.sort):
            np.testing.assert_array_equal(function(Tensor(empty), axis=0).data, function(empty, axis=0))
    for function in (np.nanmax, np.nanmin, np.nanmean, np.nanmedian):
        assert np.isnan(function(Tensor(missing), axis=0).data).all()
    assert np.nansum(Tensor(missing)).item() == 0.0
    assert np.median(Tensor(empty), axis=1).shape == (0,)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        np.testing.assert_array_equal(np.median(Tensor(empty), axis=0).data, np.median(empty, axis=0))
    assert np.pad(Tensor(empty[:, 0]), 1).data.tolist() == [0.0, 0.0]
    for function in (np.max, np.min, np.argmax):
        with pytest.raises(ValueError, match="zero-size array|empty sequence"):
            function(Tensor(empty), axis=0)


def test_integers_and_booleans_follow_numpy():
    numbers, flags = np.array([[3, 0, 5], [1, 1, 2]], np.int32), np.array([[True, False, True]])
    for x in (numbers, flags):
        for function in (np.sum, np.mean, np.cumsum, np.cumprod, np.any, np.argmax, np.median, np.max, np.sort, np.ravel,
                         np.count_nonzero, np.std, np.diff, np.arctan, np.isnan, np.linalg.norm):  # fmt: skip
            result, expected = function(Tensor(x)), function(x)
            assert result.dtype == np.asarray(expected).dtype, function.__name__
            np.testing.assert_allclose(result.data, expected, rtol=1e-15, err_msg=function.__name__)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: np.linalg.eigh(a).eigenvectors, "two eigenvalues are equal"),
        (lambda a: np.linalg.svd(a)[0], "two singular values are equal"),
        (lambda a: np.linalg.inv(a - np.eye(2)), "Singular matrix"),
        (lambda a: np.linalg.cholesky(-a), "not positive definite"),
    ],
    ids=["eigh", "svd", "inv", "cholesky"],
)
def test_a_derivative_that_does_not_exist_is_refused(function, message):
    with pytest.raises(np.linalg.LinAlgError, match=message):
        slopes(function, np.eye(2))


def test_a_determinant_has_a_derivative_at_a_singular_matrix():
    a = Tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    (slope,) = tl.grad(np.linalg.det(a), [a], create_graph=True)
    np.testing.assert_allclose(slope.data, [[4.0, -2.0], [-2.0, 1.0]], rtol=1e-14)
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        tl.grad(slope.sum(), [a])
    zero = Tensor(np.zeros((3, 3)), requires_grad=True)
    assert tl.grad(np.linalg.det(zero), [zero])[0].data.tolist() == np.zeros((3, 3)).tolist()


def test_second_derivatives_of_equal_eigenvalues_are_refused():
    a = Tensor(np.eye(2), requires_grad=True)
    (slope,) = tl.grad((np.linalg.eigvalsh(a) ** 2).sum(), [a], create_graph=True)
    np.testing.assert_allclose(slope.data, 2 * np.eye(2), atol=1e-15)
    with pytest.raises(np.linalg.LinAlgError, match="two eigenvalues are equal"):
        tl.grad(slope.sum(), [a])
