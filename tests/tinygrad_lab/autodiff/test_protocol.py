"""NumPy's protocol: functions are found by the object, keywords are taken or refused, and every error names the function."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.special

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS


@pytest.fixture
def x():
    return Tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize("name", ["sign", "erf", "exp", "expit", "floor"])
def test_a_ufunc_of_the_users_own_is_not_taken_for_one_of_the_same_name(x, name):
    def own(number):
        return number + 100.0

    own.__name__ = name
    ufunc = np.frompyfunc(own, 1, 1)
    assert ufunc.__name__.startswith(name)
    with pytest.raises(TypeError, match=rf"^{name} .*: this ufunc is not NumPy's or SciPy's, so its derivative is unknown"):
        ufunc(x)


def test_a_numba_ufunc_with_the_name_of_numpys_is_refused(x):
    numba = pytest.importorskip("numba")

    @numba.vectorize
    def sign(number):
        return number + 100.0

    with pytest.raises(TypeError, match=r"sign: this ufunc is not NumPy's or SciPy's"):
        sign(x)


def test_scipy_is_not_imported_by_numpys_functions():
    code = """
import sys, numpy as np, tinygrad_lab as tl
x = tl.Tensor([1.0, 2.0], requires_grad=True)
np.exp(x)
assert "tinygrad_lab.functions" not in sys.modules
np.cumsum(x)
assert "scipy" not in sys.modules
import scipy.special
assert isinstance(scipy.special.gammaln(x), tl.Tensor)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_function_of_scipy_in_the_table_is_a_ufunc_of_scipy(x):
    scipy.special.erf(x)
    scipy.special.erfc(x)
    ufuncs = {name: f for name, f in vars(scipy.special).items() if isinstance(f, np.ufunc)}
    names = [name for name, ufunc in ufuncs.items() if ufunc in FUNCTIONS]
    assert {"erf", "expit", "xlogy", "gammaln", "log_ndtr"} <= set(names)


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_functions_of_scipy_that_no_protocol_reaches_are_refused_and_offered(x, name):
    with pytest.raises(TypeError, match=r"requires a gradient"):
        getattr(scipy.special, name)(x)
    for options in ({}, {"axis": 0}):
        expected = getattr(scipy.special, name)(x.numpy(), **options)
        np.testing.assert_allclose(getattr(tl, name)(x, **options).data, expected, rtol=1e-15)
    matrix = np.arange(6.0).reshape(2, 3)
    expected = getattr(scipy.special, name)(matrix)
    np.testing.assert_allclose(getattr(tl, name)(Tensor(matrix)).data, expected, rtol=1e-14)


def test_logsumexp_with_factors():
    a, b = np.array([[1000.0, 1001.0], [-5.0, 2.0]]), np.array([[0.5, 0.0], [2.0, 1.5]])
    for options in ({}, {"axis": 1}, {"axis": 0, "keepdims": True}):
        expected = scipy.special.logsumexp(a, b=b, **options)
        np.testing.assert_allclose(tl.logsumexp(Tensor(a), b=b, **options).data, expected, rtol=1e-14)
    tl.testing.check_grad(lambda a: tl.logsumexp(a, axis=1, b=b), a, order=2)
    tl.testing.check_grad(lambda b: tl.logsumexp(np.ones((2, 2)), axis=1, b=b), b, order=2)


REFUSED = {
    # A keyword that is not available is refused, never ignored.
    "out": (
        lambda x: np.sum(x, out=np.zeros(())),
        "numpy.sum: given out=, .* expected a, axis, dtype, keepdims, initial, where",
    ),
    "out of a ufunc": (lambda x: np.exp(x, out=np.zeros(2)), "numpy.exp: given out="),
    "where of a ufunc": (lambda x: np.exp(x, where=[True, False]), "numpy.exp: given where="),
    "dtype of a ufunc": (lambda x: np.add(x, 1.0, dtype=np.float32), "numpy.add: given dtype="),
    "out of reduce": (lambda x: np.add.reduce(x, out=np.zeros(())), "numpy.add.reduce: given out="),
    "out of a movement": (lambda x: np.take(x, 0, out=np.zeros(())), "numpy.take: given out="),
    "out of compress": (lambda x: np.compress([True], x, out=np.zeros(1)), "numpy.compress: given out="),
    "method": (lambda x: np.quantile(x, 0.5, method="lower"), "numpy.quantile: given method="),
    "overwrite_input": (lambda x: np.median(x, overwrite_input=True), "numpy.median: given overwrite_input="),
    "casting": (lambda x: np.concatenate([x, x], casting="no"), "numpy.concatenate: given casting="),
    "dtype of einsum": (lambda x: np.einsum("i->", x, dtype=np.float32), "numpy.einsum: given dtype="),
    "end_values": (lambda x: np.pad(x, 1, end_values=3), "numpy.pad: given end_values="),
    "to_end": (lambda x: np.ediff1d(x, to_end=3), "numpy.ediff1d: given to_end="),
    "period": (lambda x: np.interp(x, [0.0, 1.0], [2.0, 3.0], period=1.0), "numpy.interp: given period="),
    # Functions that are left out give the reason.
    "complex numbers": (np.fft.fft, "numpy.fft.fft: Fourier transforms are left out: their results are complex"),
    "eig": (lambda x: np.linalg.eig(x[None]), "numpy.linalg.eig: .* use eigh"),
    "Bessel functions": (np.i0, "numpy.i0: Bessel functions are left out"),
    "polynomials": (lambda x: np.polyval(x, 2.0), "numpy.polyval: polynomials are left out"),
    "Python functions": (lambda x: np.apply_along_axis(sum, 0, x), "numpy.apply_along_axis: it calls a Python function"),
    "writes": (lambda x: np.copyto(np.zeros(2), x), "numpy.copyto: a Tensor is immutable"),
    "bits": (lambda x: np.gcd(x, 2), "numpy.gcd"),
    "at": (lambda x: np.add.at(np.zeros(2), [0, 1], x), "numpy.add.at: not available"),
    "reduceat": (lambda x: np.add.reduceat(x, [0]), "numpy.add.reduceat: not available"),
    "other reductions": (np.subtract.reduce, "numpy.subtract.reduce: not available"),
    "other functions of SciPy": (scipy.special.exprel, "scipy.special.exprel: not available"),
    "Bessel functions of SciPy": (scipy.special.j0, "scipy.special.j0: Bessel functions are left out"),
    # Arguments without a meaning.
    "axis": (lambda x: np.sum(x, axis=1), "numpy.sum: axis 1 is out of bounds"),
    "axis of a movement": (lambda x: np.flip(x, 3), "numpy.flip: axis 3 is out of bounds"),
    "axis twice": (lambda x: np.moveaxis(x[None], [0, 0], [0, 1]), "moveaxis|repeated axis"),
    "shape": (lambda x: np.reshape(x, (3,)), "reshape: shape .* do not fill"),
    "order": (lambda x: np.reshape(x, 2, order="A"), "numpy.reshape: order is 'A', expected 'C' or 'F'"),
    "shapes": (lambda x: np.dot(x, np.ones(3)), "numpy.dot: axes .* have different lengths"),
    "complex operand": (lambda x: np.outer(x, [1j]), "numpy.outer: .* complex128, expected real numbers"),
    "object operand": (lambda x: np.hypot(x, np.array([None, "a"])), "numpy.hypot: .* object, expected real numbers"),
    "matrix": (np.linalg.inv, "numpy.linalg.inv: given shape .* expected a matrix"),
    "square matrix": (lambda x: np.linalg.det(x[None]), r"numpy.linalg.det: given shape \(1, 2\), expected \(..., n, n\)"),
    "solve": (lambda x: np.linalg.solve(np.eye(3), x), "numpy.linalg.solve: given shapes"),
    "index": (lambda x: np.take(x, 5), "numpy.take: .*out of bounds"),
    "fraction": (lambda x: np.quantile(x, 1.5), "numpy.quantile: q is 1.5, expected fractions from 0 to 1"),
    "where without initial": (lambda x: np.max(x, where=[True, False]), "numpy.max: where= is given without initial="),
    "mode": (lambda x: np.pad(x, 1, mode="mean"), "numpy.pad: mode is 'mean', expected constant"),
    "reflect_type": (lambda x: np.pad(x, 1, mode="reflect", reflect_type="odd"), "numpy.pad: reflect_type is 'odd'"),
    "full matrices": (lambda x: np.linalg.svd(x[None]), "numpy.linalg.svd: full_matrices is True"),
    "qr": (lambda x: np.linalg.qr(x[None], mode="complete"), "numpy.linalg.qr: mode is 'complete', expected 'reduced' or 'r'"),
    "ord": (lambda x: np.linalg.norm(x[None], 3), "numpy.linalg.norm: ord is 3"),
    "ord of a vector": (lambda x: np.linalg.norm(x, "fro"), "numpy.linalg.norm: ord is 'fro', expected a number"),
    "cross": (lambda x: np.cross(x, x), "numpy.cross: vectors have lengths 2 and 2, expected 3"),
    "convolve": (lambda x: np.convolve(x[None], x), "numpy.convolve: shapes are"),
    "meshgrid": (lambda x: np.meshgrid(x, x, indexing="yx"), "numpy.meshgrid: indexing is 'yx'"),
    "select": (lambda x: np.select([x > 1, x > 2], [x]), "numpy.select: given 2 conditions and 1 choices"),
    "weights": (lambda x: np.average(x[None], weights=x), "numpy.average: weights have shape"),
    "interp": (lambda x: np.interp(x, [0.0, 1.0], x[:1]), "numpy.interp: xp and fp have shapes"),
    "decimals": (lambda x: np.round(x, 1.5), "numpy.round: 'float' object cannot be interpreted as an integer"),
    "n": (lambda x: np.diff(x, n=-1), "numpy.diff: n is -1, expected a count"),
    "UPLO": (lambda x: np.linalg.eigvalsh(x[None], "Z"), "numpy.linalg.eigvalsh: UPLO is 'Z', expected 'L' or 'U'"),
    "power": (lambda x: np.linalg.matrix_power(np.diag(x), 1.5), "numpy.linalg.matrix_power: 'float' object"),
    "einsum": (np.einsum, "numpy.einsum: given one operand, expected subscripts"),
    "einsum of lists": (lambda x: np.einsum(x, [0, 1]), "einsum: 'ab' does not fit an operand"),
    "elements without order": (np.unique, "numpy.unique: set operations are left out"),
    "indices": (lambda x: np.take_along_axis(x, [[0]], 0), "numpy.take_along_axis: indices have 2 axes and the data 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_available_is_refused_and_the_error_names_the_function(x, case):
    call, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        call(x)


@pytest.mark.skipif(not hasattr(np, "cumulative_sum"), reason="NumPy 2.0 does not have it")
def test_cumulative_sums_of_a_matrix_need_an_axis(x):
    with pytest.raises(ValueError, match=r"numpy.cumulative_sum: given shape \(1, 2\) without axis="):
        np.cumulative_sum(x[None])


def test_clip_takes_either_names_of_its_bounds(x):
    bounds = {"min": 1.5, "max": None} if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else {"a_min": 1.5, "a_max": None}
    assert np.clip(x, **bounds).data.tolist() == [1.5, 2.0]


def test_a_keyword_with_numpys_default_is_no_keyword(x):
    assert np.sum(x, out=None, keepdims=np._NoValue).item() == 3.0
    assert np.median(x, overwrite_input=False).item() == 1.5
    assert np.quantile(x, 0.5, method="linear").item() == 1.5
    assert np.add(x, 1.0, out=None).data.tolist() == [2.0, 3.0]


def test_an_array_of_tensors_never_loses_a_graph_silently(x):
    number = x[0]
    for build in (np.array, np.asarray):
        for items in ([x, x], [number, number], [number, 1.0], number, (x,)):
            with pytest.raises(TypeError, match="requires a gradient"):
                build(items)
    joined = np.array([[number, 3.0], x], like=x)
    assert joined.data.tolist() == [[1.0, 3.0], [1.0, 2.0]]
    assert tl.grad(joined.sum(), [x])[0].data.tolist() == [2.0, 1.0]
    assert np.asarray([x, x], like=x).requires_grad
    assert tl.grad(np.full((2, 2), number, like=x).sum(), [x])[0].data.tolist() == [4.0, 0.0]
    for result in (np.zeros(2, like=x), np.ones((2, 1), dtype=np.float32, like=x), np.arange(3.0, like=x), np.eye(2, like=x)):
        assert isinstance(result, Tensor)


def test_elements_are_compared_with_none_as_in_numpy(x):
    assert (x == None).data.tolist() == [False, False]  # noqa: E711 (the operator is tested)
    assert (x != None).data.tolist() == [True, True]  # noqa: E711
    assert (Tensor([np.nan, np.inf]) == None).data.tolist() == [False, False]  # noqa: E711


def test_operators_of_division_with_remainder_follow_numpy():
    a, b = np.array([7.5, -7.5, 7.0]), np.array([2.0, 2.0, -3.0])
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    np.testing.assert_array_equal((x % y).data, a % b)
    np.testing.assert_array_equal((x // y).data, a // b)
    np.testing.assert_array_equal((7.5 % y).data, 7.5 % b)
    np.testing.assert_array_equal((7.5 // y).data, 7.5 // b)
    for result, expected in zip((*divmod(x, y), *divmod(7.5, y)), (*divmod(a, b), *divmod(7.5, b)), strict=True):
        np.testing.assert_array_equal(result.data, expected)
    dx, dy = tl.grad((x % y).sum(), [x, y])
    assert dx.data.tolist() == [1.0, 1.0, 1.0]
    assert dy.data.tolist() == [-3.0, 4.0, 3.0]


def test_an_integer_without_axes_is_an_index():
    x = Tensor([1.0, 3.0, 2.0])
    assert ["a", "b", "c"][x.argmax()] == "b"
    assert list(range(Tensor(2))) == [0, 1]
    with pytest.raises(TypeError, match="Tensor of dtype float64 is no index"):
        ["a"][Tensor(0.0)]
    with pytest.raises(tl.CaptureError, match="the number of a Tensor"):
        tl.capture(lambda: ({"y": x * [1.0, 2.0, 3.0][x.argmax()]}, {}), {"x": x}, {})


def test_round_follows_numpy():
    x = Tensor([0.5, 1.5, -2.345], requires_grad=True)
    assert round(x).data.tolist() == [0.0, 2.0, -2.0]
    assert round(x, 1).data.tolist() == [0.5, 1.5, -2.3]
    assert np.round(Tensor([1250, 14]), -2).data.tolist() == [1200, 0]
    assert not round(x).requires_grad


def test_results_with_several_parts_have_numpys_names():
    a = np.diag([3.0, 2.0])
    for name, fields in {"eigh": "eigenvalues eigenvectors", "svd": "U S Vh", "qr": "Q R", "slogdet": "sign logabsdet"}.items():
        result, expected = getattr(np.linalg, name)(Tensor(a)), getattr(np.linalg, name)(a)
        assert type(result) is type(expected)
        for field in fields.split():
            np.testing.assert_allclose(getattr(result, field).data, getattr(expected, field), atol=1e-15)
