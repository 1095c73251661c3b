"""Tensors: broadcasting, NumPy's rules and protocols, dtypes, immutability, indexing, and the errors."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.recording import record
from tinygrad_lab.testing import check_grad
from tinygrad_lab.testing.strategies import broadcasting_shapes, distinct_values, shapes, values

BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@pytest.mark.parametrize("name", BINARY)
@given(data=st.data())
def test_broadcasting_follows_numpy_and_each_gradient_has_its_operands_shape(name, data):
    left, right = data.draw(broadcasting_shapes())
    a = data.draw(values(left, low=0.5))
    b = data.draw(values(right, low=0.5, grid=1))
    function = BINARY[name]
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = function(x, y)
    np.testing.assert_array_equal(z.data, function(a, b))
    dx, dy = tl.grad(z, [x, y], cotangent=np.ones(z.shape))
    assert dx.shape == x.shape
    assert dy.shape == y.shape
    check_grad(function, a, b, order=2, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", BINARY)
def test_a_number_beside_an_array_gives_the_same_bits_whether_recorded_or_not(name, dtype):
    function = BINARY[name]
    number, array = Tensor(0.3, dtype=dtype), Tensor(np.linspace(0.1, 3.0, 35).reshape(5, 7), dtype=dtype)
    for operands in ((number, array), (array, number)):
        with tl.no_grad():
            unrecorded = function(*operands)
            with record() as recording:
                recorded = function(*operands)
        assert [line.op.name for line in recording.lines][:-1] == ["broadcast_to"]
        assert unrecorded.dtype == dtype
        np.testing.assert_array_equal(unrecorded.numpy(), recorded.numpy())


@pytest.mark.parametrize("name", BINARY)
def test_operators_take_arrays_and_numbers_on_either_side(name):
    function = BINARY[name]
    x = Tensor([0.5, 2.0], requires_grad=True)
    for other in (3.0, 3, np.float64(3.0), np.array([1.0, 3.0]), np.array(3.0)):
        for a, b in ((x, other), (other, x)):
            result = function(a, b)
            assert isinstance(result, Tensor)
            assert result.requires_grad
            np.testing.assert_array_equal(
                result.data, function(np.asarray(getattr(a, "data", a)), np.asarray(getattr(b, "data", b)))
            )


def test_lists_and_in_place_operators():
    x = Tensor([1.0, 2.0])
    assert (x + (1.0, 1.0)).data.tolist() == [2.0, 3.0]  # noqa: RUF005 (a sum, not a longer tuple)
    y = x
    y += 1.0
    assert x.data.tolist() == [1.0, 2.0]
    array = np.ones(2)
    with pytest.raises(TypeError, match="numpy.add: given out=, which is not available"):
        array += x


def test_comparisons_are_boolean_and_constant():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    for result, expected in (
        (x < 2, [True, False, False]),
        (x <= 2, [True, True, False]),
        (x > 2, [False, False, True]),
        (x >= 2, [False, True, True]),
        (x == 2, [False, True, False]),
        (x != 2, [True, False, True]),
        (2 > x, [True, False, False]),
    ):
        assert result.dtype == bool
        assert result.data.tolist() == expected
        assert not result.requires_grad


REDUCTIONS = ["sum", "mean", "max", "min", "prod", "var", "std"]


@pytest.mark.parametrize("name", [*REDUCTIONS, "logsumexp", "norm"])
@pytest.mark.parametrize("keepdims", [False, True])
@given(data=st.data())
def test_reductions_over_one_axis_several_or_all(name, keepdims, data):
    shape = data.draw(shapes(min_dims=1, max_side=3))
    x = data.draw(distinct_values(shape))
    axis = data.draw(
        st.one_of(
            st.none(),
            st.integers(-len(shape), len(shape) - 1),
            st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple),
        )
    )
    numpy_name = {"norm": "linalg.norm"}.get(name, name)
    result = getattr(Tensor(x), name)(axis=axis, keepdims=keepdims)
    if name == "logsumexp":
        expected = np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))
    elif name == "norm":
        expected = np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
    else:
        expected = getattr(np, numpy_name)(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(result.data, expected, rtol=1e-13, atol=1e-15)
    assert result.shape == expected.shape
    spread = name not in ("std", "var") or x.std(axis=axis).min() > 0.05  # the root has a kink if all elements are equal
    if spread:
        check_grad(lambda t: getattr(t, name)(axis=axis, keepdims=keepdims), x, order=2, rtol=1e-8)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(data=st.data())
def test_softmax_over_one_axis_several_or_all(name, data):
    shape = data.draw(shapes(min_dims=1, max_side=3))
    x = data.draw(distinct_values(shape))
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1), st.just(tuple(range(len(shape))))))
    exps = np.exp(x)
    expected = exps / exps.sum(axis=axis, keepdims=True)
    result = getattr(Tensor(x), name)(axis=axis)
    np.testing.assert_allclose(result.data, np.log(expected) if name == "log_softmax" else expected, rtol=1e-12, atol=1e-14)
    check_grad(lambda t: getattr(t, name)(axis=axis), x, order=2, rtol=1e-8)


def test_softmax_is_over_the_last_axis_by_default():
    x = Tensor([[1.0, 2.0, 4.0], [0.0, 5.0, -1.0]])
    np.testing.assert_array_equal(x.softmax().data, x.softmax(axis=1).data)
    np.testing.assert_array_equal(x.log_softmax().data, x.log_softmax(axis=1).data)
    np.testing.assert_allclose(x.log_softmax().exp().sum(axis=1).data, 1.0)


def test_nothing_overflows_that_need_not():
    big = Tensor([1000.0, -1000.0, 0.0])
    assert big.logsumexp().item() == 1000.0
    assert big.softmax().data.tolist() == [1.0, 0.0, 0.0]
    assert big.log_softmax().data.tolist() == [0.0, -2000.0, -1000.0]
    assert big.sigmoid().data.tolist() == [1.0, 0.0, 0.5]
    assert big.softplus().data.tolist() == [1000.0, 0.0, np.log(2.0)]
    assert Tensor([np.inf, 1.0]).logsumexp().item() == np.inf


def test_prod_with_zeros_has_right_derivatives_of_both_orders():
    for x in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0], [[1.0, 0.0], [0.0, 5.0]]):
        check_grad(lambda t: t.prod(), x, order=2)
    assert Tensor(np.ones((0, 3))).prod(axis=0).data.tolist() == [1.0, 1.0, 1.0]
    assert Tensor(np.ones((0, 3))).prod(axis=0, keepdims=True).data.tolist() == [[1.0, 1.0, 1.0]]
    assert Tensor(np.ones((0, 3))).prod(axis=1).shape == (0,)
    assert Tensor(np.ones((0, 3))).prod().item() == 1.0


@given(data=st.data())
def test_matmul_follows_numpy_for_vectors_matrices_and_batches(data):
    n, k, m = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    left, right = data.draw(broadcasting_shapes(max_dims=2, max_side=2))
    a_shape = data.draw(st.sampled_from([(k,), (n, k), (*left, n, k)]))
    b_shape = data.draw(st.sampled_from([(k,), (k, m), (*right, k, m)]))
    a, b = data.draw(values(a_shape)), data.draw(values(b_shape))
    expected = np.matmul(a, b)
    result = Tensor(a) @ Tensor(b)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.data, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal((a @ Tensor(b)).data, result.data)
    check_grad(lambda s, t: s @ t, a, b, order=2, rtol=1e-9)


EINSUMS = [
    ("ij,jk->ik", [(2, 3), (3, 2)]),
    ("ij,jk", [(2, 3), (3, 2)]),
    ("ii->", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iji->j", [(2, 3, 2)]),
    ("iii->i", [(2, 2, 2)]),
    ("ij->j", [(2, 3)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("i,j->ji", [(2,), (3,)]),
    ("...ij,...jk->...ik", [(2, 2, 3), (2, 3, 2)]),
    ("...i,i->...", [(2, 3), (3,)]),
    ("...i,...i->...", [(2, 4, 3), (4, 3)]),
    ("i...", [(2, 3)]),
    ("ij, jk , kl -> il", [(2, 3), (3, 2), (2, 2)]),
    (",ij->ij", [(), (2, 2)]),
    ("i->...i", [(2,)]),
    ("...i,...i->...i", [(3,), (2, 3)]),
]


@pytest.mark.parametrize(("subscripts", "operand_shapes"), EINSUMS)
def test_einsum_follows_numpy(subscripts, operand_shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in operand_shapes]
    result = tl.einsum(subscripts, *map(Tensor, arrays))
    np.testing.assert_allclose(result.data, np.einsum(subscripts, *arrays), rtol=1e-13)
    check_grad(lambda *tensors: tl.einsum(subscripts, *tensors), *arrays, order=2)


@pytest.mark.parametrize(
    ("subscripts", "operand_shapes"),
    [
        ("ij,jk->ik", [(2, 3)]),
        ("ij->ik", [(2, 3)]),
        ("ij->ii", [(2, 3)]),
        ("ijk->i", [(2, 3)]),
        ("ij,jk->ik", [(2, 3), (2, 2)]),
        ("ii->i", [(2, 3)]),
    ],
)
def test_einsum_refuses_subscripts_that_do_not_fit(subscripts, operand_shapes):
    with pytest.raises(ValueError, match="einsum"):
        tl.einsum(subscripts, *[Tensor(np.ones(shape)) for shape in operand_shapes])


INDICES = [
    0, -1, slice(1, None), slice(None, None, -1), (slice(None), 1), (..., 0), (None, 1), (1, None, slice(0, 2)),
    [0, 2, 2], (slice(None), [1, 1, 0]), ([0, 1], [2, 2]), ([[0, 1], [2, 0]],), ([0, 1], slice(None), [1, 1]),
    (0, slice(None), [1, 1]), np.array([True, False, True]), (slice(None), np.array([True, False, True])), (..., [1, 0]),
    np.int64(1), (np.array(1), [0, 1]),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indexing_follows_numpy_with_a_scatter_add_gradient(index):
    x = np.random.default_rng(0).normal(size=(3, 3, 2))
    np.testing.assert_array_equal(Tensor(x)[index].data, x[index])
    check_grad(lambda t: t[index], x, order=2)


def test_an_element_taken_twice_gets_both_gradients():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 0, 2]].sum().backward()
    assert x.grad.data.tolist() == [2.0, 0.0, 1.0]


def test_a_tensor_of_integers_is_an_index():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert x[Tensor([0, 1]), Tensor([1, 0])].data.tolist() == [2.0, 3.0]
    assert x[x > 1.5].data.tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("index", [(0, 0, 0, 0), (..., ...)], ids=repr)
def test_an_index_with_too_many_items_names_the_shape(index):
    with pytest.raises(IndexError, match=r"index \(.*\) does not fit shape \(3, 3, 2\)"):
        Tensor(np.ones((3, 3, 2)))[index]


@pytest.mark.parametrize("index", [5, (0, 0, 0, 0), (..., ...), "a", 1.5, True, np.array([True, False])], ids=repr)
def test_indices_that_do_not_fit_are_refused(index):
    with pytest.raises(IndexError):
        Tensor(np.ones((3, 3, 2)))[index]


MOVEMENTS = {
    "reshape": lambda x: x.reshape(3, -1),
    "reshape of a tuple": lambda x: x.reshape((4, 3)),
    "transpose": lambda x: x.transpose(),
    "transpose by axes": lambda x: x.transpose(1, 0, 2),
    "T": lambda x: x.T,
    "swapaxes": lambda x: x.swapaxes(0, -1),
    "squeeze": lambda x: x.squeeze(),
    "squeeze one": lambda x: x.squeeze(2),
    "expand_dims": lambda x: np.expand_dims(x, (0, -1)),
    "broadcast_to": lambda x: np.broadcast_to(x, (5, 2, 6, 4)),
    "concatenate": lambda x: np.concatenate([x, x * 2.0], axis=1),
    "stack": lambda x: np.stack([x, x * 2.0], axis=-1),
    "split": lambda x: np.split(x, 3, axis=1)[1],
    "split at": lambda x: np.split(x, [1, 4], axis=1)[2],
    "clip": lambda x: np.clip(x, -0.4, 0.7),
    "where": lambda x: np.where(x > 0.0, x * x, 2.0),
}


@pytest.mark.parametrize("name", MOVEMENTS)
def test_movements_follow_numpy_and_numpys_functions_keep_the_graph(name):
    x = np.random.default_rng(0).normal(size=(2, 6, 1))
    function = MOVEMENTS[name]
    result = function(Tensor(x, requires_grad=True))
    assert isinstance(result, Tensor)
    np.testing.assert_array_equal(result.data, function(x))
    check_grad(function, x, order=2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.reshape(4, 2), "reshape"),
        (lambda x: x.reshape(-1, -1), "reshape"),
        (lambda x: x[:1, :1].reshape(-1, -1), "reshape"),
        (lambda x: x.transpose(0), "transpose"),
        (lambda x: x.transpose(1), r"transpose: axes \(1,\) do not permute the 2 axes"),
        (lambda x: x.squeeze(0), "squeeze"),
        (lambda x: x.broadcast_to(3, 3), "broadcast"),
        (lambda x: x.split(4), "split"),
        (lambda x: x.split(-1), "split"),
        (lambda x: x + np.ones(4), r"add: shapes \(2, 3\) and \(4,\) do not broadcast"),
        (lambda x: x @ np.ones(2), "matmul: .* inner lengths 3 and 2"),
        (lambda x: x @ np.float64(2.0), "matmul"),
        (lambda x: np.ones((2, 4, 2)) @ x.broadcast_to(3, 2, 3), r"matmul: the leading axes of .* do not broadcast"),
        (lambda x: tl.concatenate([x, Tensor([1.0])]), "concatenate"),
        (lambda x: tl.concatenate([x, np.ones((2, 2))]), r"concatenate: shapes .* differ beside axis -2"),
        (lambda x: tl.concatenate([]), "concatenate"),
        (lambda x: tl.stack([x, Tensor([1.0])]), "stack"),
        (lambda x: x.item(), "item: .* 6 elements"),
        (lambda x: bool(x), "ambiguous"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([[1.0], [1.0, 2.0]], ValueError, "ragged"),
        ("abc", TypeError, "dtype <U3"),
        (1j, TypeError, "complex128"),
        ([None], TypeError, "object"),
        (np.float16(1.0), TypeError, "float16"),
    ],
)
def test_data_that_are_no_real_numbers_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        Tensor(data)
    if isinstance(data, complex):
        with pytest.raises(error, match="complex"):
            Tensor(1.0) * data


def test_integers_cannot_require_a_gradient():
    with pytest.raises(TypeError, match="floating-point"):
        Tensor([1, 2], requires_grad=True)


def test_dtypes_change_only_where_asked_for():
    single = Tensor([1.0, 2.0], dtype=np.float32, requires_grad=True)
    double = Tensor([1.0, 2.0])
    assert double.dtype == np.float64
    assert (single * 2.0 + 1).exp().dtype == np.float32
    assert (single * np.float64(2.0)).dtype == np.float32
    assert (single * np.array([1, 2])).dtype == np.float32
    with pytest.raises(TypeError, match="multiply: operands are float32 and float64"):
        single * double
    with pytest.raises(TypeError, match="matmul"):
        single @ double
    product = single.astype(np.float64) * double
    assert product.dtype == np.float64
    (slope,) = tl.grad(product.sum(), [single])
    assert slope.dtype == np.float32
    assert single.mean().dtype == single.std().dtype == single.softmax().dtype == np.float32


def test_the_dtype_of_a_condition_is_its_own():
    single, double = Tensor([0.0, 2.0], dtype=np.float32), Tensor([1.0, 2.0])
    assert tl.where(single, double, 5.0).data.tolist() == [5.0, 2.0]
    with record() as recording:
        tl.where(double > 1.0, double, double)
    assert [line.op.name for line in recording.lines] == ["broadcast_to", "greater", "where"][-len(recording.lines) :]
    for a, b in ((single, double), (double, single)):
        with pytest.raises(TypeError, match="where: operands are float"):
            tl.where(double > 1.0, a, b)


def test_ndarray_times_tensor_keeps_the_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = np.array([3.0, 4.0]) * x
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert x.grad.data.tolist() == [3.0, 4.0]
    assert isinstance(np.exp(x), Tensor)
    assert isinstance(np.sum(x, axis=0), Tensor)


def test_numpy_functions_that_would_lose_the_graph_are_refused():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for function in (np.frexp, np.subtract.reduce, np.add.at, np.fft.fft, np.linalg.eig):
        with pytest.raises(TypeError, match=function.__name__):
            function(x)


def test_asarray_of_a_tensor_that_requires_a_gradient_is_refused():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="requires a gradient"):
        np.asarray(x)
    assert np.asarray(x.detach()).tolist() == [1.0, 2.0]
    assert x.numpy().tolist() == [1.0, 2.0]


def test_writes_never_reach_a_graph():
    array = np.array([1.0, 2.0])
    x = Tensor(array, requires_grad=True)
    y = (x * array).sum()
    array[:] = 100.0  # the Tensor has a copy
    x.numpy()[:] = 100.0  # numpy() returns a copy
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 100.0
    with pytest.raises(TypeError, match="immutable"):
        x[0] = 100.0
    y.backward()
    assert x.grad.data.tolist() == [1.0, 2.0]


def test_assigning_a_leaf_that_a_graph_used_raises_instead_of_a_wrong_gradient():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    x.assign([3.0, 4.0])
    with pytest.raises(RuntimeError, match="multiply: an input of shape .* was assigned a new value"):
        y.backward()
    (x * x).sum().backward()
    assert x.grad.data.tolist() == [6.0, 8.0]
    with pytest.raises(ValueError, match="assign: value has shape"):
        x.assign([1.0])
    with pytest.raises(ValueError, match="only a leaf"):
        (x * 2.0).assign([1.0, 1.0])


def test_an_assigned_leaf_has_rows_in_memory_order():
    x = Tensor(np.zeros((3, 2)))
    x.assign(np.ones((2, 3)).T)
    assert x.data.flags.c_contiguous


def test_iteration_length_and_representation():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert len(x) == 2
    assert [row.data.tolist() for row in x] == [[1.0, 2.0], [3.0, 4.0]]
    assert repr(Tensor([1.0], dtype=np.float32)) == "Tensor([1.], dtype=float32)"
    assert float(Tensor(2.5)) == 2.5
    assert int(Tensor([3])) == 3
    with pytest.raises(TypeError, match="len"):
        len(Tensor(1.0))


def test_matplotlib_refuses_a_tensor_with_a_gradient_in_one_line():
    leaf = Tensor([1.0, 2.0], requires_grad=True)
    for tensor in (leaf, 2.0 * leaf, leaf[:1]):
        for draw in ("plot", "hist", "scatter"):
            with pytest.raises(TypeError, match=r"^this Tensor .*use \.detach\(\).*\.numpy\(\)[^\n]*$"):
                getattr(Figure().add_subplot(), draw)(*[tensor] * (1 + (draw == "scatter")))
        Figure().add_subplot().plot(tensor.detach(), tensor.numpy())


def test_leaves_are_copied_and_pickled_and_results_are_not():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin is not x
        assert twin.requires_grad
        assert twin.data.tolist() == [1.0, 2.0]
    for function in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="result of multiply and has a graph, .*; use .detach"):
            function(x * 2.0)
    x.requires_grad = False
    for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.is_parameter
        assert not twin.requires_grad
    assert not pickle.loads(pickle.dumps(Tensor([1.0]))).is_parameter


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.uint64, bool])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "norm"])
def test_reductions_of_integers_follow_numpy(dtype, name):
    x = np.array([[3, 0, 5], [100, 100, 1]]).astype(dtype)
    result = getattr(Tensor(x), name)(axis=1)
    expected = np.linalg.norm(x, axis=1) if name == "norm" else getattr(np, name)(x, axis=1)
    assert result.dtype == (np.float64 if name == "norm" else expected.dtype)
    np.testing.assert_allclose(result.data, expected)


def test_numbers_beside_integers_follow_numpy():
    for dtype in (np.uint8, np.int32, np.uint64):
        assert (Tensor([250], dtype=dtype) + 1).dtype == dtype
        assert (Tensor([250], dtype=dtype) + 1.5).dtype == np.float64


def test_masks_combine():
    x = Tensor([1.0, 2.0, 3.0])
    assert ((x > 1.0) & (x < 3.0)).data.tolist() == [False, True, False]
    assert ((x < 2.0) | ~(x < 3.0)).data.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x & Tensor([3]), "&: operands are int64, expected bool; compare first"),
        (lambda x: x | True, "|: operands are int64 and bool, expected bool; compare first"),
        (lambda x: (x > 1) & x.astype(float), "&: operands are bool and float64, expected bool; compare first"),
        (lambda x: (x > 1) | 2.0, "|: operands are bool and float64, expected bool; compare first"),
        (lambda x: ~x, "~: operand is int64, expected bool; compare first"),
    ],
)
def test_bits_of_numbers_are_not_combined(function, message):
    with pytest.raises(TypeError) as failure:
        function(Tensor([6], dtype=np.int64))
    assert str(failure.value) == message


def test_masks_combine_with_booleans_of_others():
    mask = Tensor([True, False])
    assert (mask & np.array([True, True])).data.tolist() == [True, False]
    assert (mask | True).data.tolist() == [True, True]


def test_a_leaf_that_was_frozen_is_a_parameter_and_a_constant_or_a_result_is_none():
    x = Tensor([1.0], requires_grad=True)
    assert x.is_parameter
    x.requires_grad = False
    assert x.is_parameter
    assert not x.requires_grad
    assert not (x * 2.0).requires_grad
    for other in (Tensor([1.0]), Tensor(x), x.detach(), x * 2.0, Tensor([1.0], requires_grad=True) * 2.0):
        assert not other.is_parameter


def test_a_leaf_was_not_computed_from_what_requires_a_gradient():
    x = Tensor([1.0], requires_grad=True)
    assert x.is_leaf is True
    assert x.detach().is_leaf is True
    assert (x * 2.0).is_leaf is False
    assert (x.detach() * 2.0).is_leaf is True


def test_methods_have_the_names_of_the_ops():
    x = Tensor([4.0], requires_grad=True)
    for name, expected in [
        ("add", 6.0),
        ("subtract", 2.0),
        ("multiply", 8.0),
        ("divide", 2.0),
        ("power", 16.0),
        ("maximum", 4.0),
        ("minimum", 2.0),
    ]:
        assert getattr(x, name)(2.0).item() == expected
    assert x.negative().item() == -4.0
    assert x.matmul([2.0]).item() == 8.0


def test_an_ellipsis_of_no_axis_between_index_arrays_separates_them_as_in_numpy():
    x = np.arange(6.0).reshape(2, 3, 1)
    index = (slice(None), [-2, -2, -2], ..., [[0], [-1]])
    np.testing.assert_array_equal(Tensor(x)[index].data, x[index])
    check_grad(lambda t: t[index], x)
    assert Tensor(x)[[]].shape == (0, 3, 1)
    for index in ((None, [0, 1], ..., [1, 0], [0, 0]), ([0, 1], ..., None, [1, 0], [0, 0])):
        np.testing.assert_array_equal(Tensor(x)[index].data, x[index])


def test_integers_made_of_floats_are_constants():
    x = Tensor([1.5, -1.5], requires_grad=True)
    assert x.astype(int).data.tolist() == [1, -1]
    assert not x.astype(int).requires_grad
    assert x.astype(np.float32).requires_grad


def test_a_square_is_a_product():
    with record() as recording:
        assert (Tensor([3.0]) ** 2).item() == 9.0
    assert [line.op.name for line in recording.lines] == ["multiply"]


@pytest.mark.parametrize("name", ["var", "std"])
def test_the_divisor_of_a_variance_is_n_minus_ddof(name):
    x = np.random.default_rng(0).normal(size=(4, 3))
    result = getattr(Tensor(x), name)(axis=0, ddof=1)
    np.testing.assert_allclose(result.data, getattr(x, name)(axis=0, ddof=1), rtol=1e-14)


def test_single_precision_keeps_its_digits():
    logits = Tensor([10000.0, 10001.0], dtype=np.float32)
    np.testing.assert_allclose(logits.log_softmax().data, [-1.3132616, -0.3132616], rtol=1e-6)
    loss = tl.BinaryCrossEntropy()(Tensor([[17.0]], dtype=np.float32), Tensor([[1.0]], dtype=np.float32))
    assert loss.item() == pytest.approx(4.1399e-8, rel=1e-4)
    x = Tensor([-12.0], dtype=np.float32, requires_grad=True)
    assert tl.grad(x.expm1().sum(), [x])[0].item() == pytest.approx(np.exp(-12.0), rel=1e-6)


@pytest.mark.parametrize("dtype", [complex, str, object, np.float16, "M8[s]"])
def test_dtypes_that_a_tensor_does_not_have_are_refused(dtype):
    with pytest.raises((TypeError, ValueError)):
        Tensor([1.0], dtype=dtype)
    with pytest.raises(TypeError, match="astype: asked for dtype"):
        Tensor([1.0]).astype(dtype)


def test_a_masked_array_beside_a_tensor_cannot_reach_its_memory():
    # numpy.ma takes the attribute `_data` of any operand for its elements.
    w = Tensor(3.0, requires_grad=True)
    with pytest.raises(TypeError, match="requires a gradient"):
        np.ma.array([1.0, 2.0]) * w
    with pytest.raises(TypeError, match="requires a gradient"):
        np.ma.getdata(w)
    constant = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        np.ma.getdata(constant)[0] = 10.0
    assert constant.data.tolist() == [1.0, 2.0]


def test_masked_arrays_are_refused_and_numbers_are_formatted():
    with pytest.raises(TypeError, match="masked"):
        Tensor(np.ma.array([1.0, 2.0], mask=[True, False]))
    assert f"{Tensor(0.12345):.2f}" == "0.12"
    assert f"{Tensor(0.5)}" == "Tensor(0.5)"
    assert f"{Tensor([1.0, 2.0]):>18}" == "  Tensor([1., 2.])"
    with pytest.raises(TypeError, match="len"):
        list(Tensor(1.0))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((2, 3), (3, 4)),
        ((3,), (5, 3, 2)),
        ((5, 2, 3), (3,)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 2, 3), (3, 4)),
        ((5, 3), (5, 3, 4)),
        ((3, 2, 3), (3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((2, 2, 3, 2), (2, 2, 4)),
        ((2, 2, 4), (2, 2, 4, 3)),
    ],
)
def test_matmul_of_each_number_of_axes(left, right):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=left), rng.normal(size=right)
    result = Tensor(a) @ Tensor(b)
    assert result.shape == np.matmul(a, b).shape
    np.testing.assert_allclose(result.data, np.matmul(a, b), rtol=1e-13)
    check_grad(lambda s, t: s @ t, a, b)


def test_relu_and_clip_between_and_beyond_their_bounds():
    x = Tensor([-0.5, 0.0, 0.5, 1.0, 1.5])
    assert x.relu().data.tolist() == [0.0, 0.0, 0.5, 1.0, 1.5]
    assert x.clip(0.25, 1.25).data.tolist() == [0.25, 0.25, 0.5, 1.0, 1.25]
    assert x.clip(min=0.25).data.tolist() == [0.25, 0.25, 0.5, 1.0, 1.5]
    assert x.clip(max=1.25).data.tolist() == [-0.5, 0.0, 0.5, 1.0, 1.25]


def test_integer_exponents():
    x = Tensor([3.0, -2.0])
    for exponent in range(5):
        assert (x**exponent).data.tolist() == [3.0**exponent, (-2.0) ** exponent]


def test_variance_with_another_divisor():
    x = np.array([[1.0, 2.0, 6.0], [0.0, 5.0, 5.5]])
    for ddof in (0, 1, 2):
        np.testing.assert_allclose(Tensor(x).var(axis=1, ddof=ddof).data, x.var(axis=1, ddof=ddof))
        np.testing.assert_allclose(Tensor(x).std(axis=1, ddof=ddof).data, x.std(axis=1, ddof=ddof))


def test_the_length_of_a_tensor_is_that_of_its_first_axis():
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert len(x) == 2
    assert [row.data.tolist() for row in x] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize("index", [(0, 0, 0, 0), (..., ...), (..., 0, ...), ([0], [0], [0], [0]), ([0], ..., ...)], ids=repr)
def test_an_index_with_too_many_axes_or_ellipses_is_named(index):
    with pytest.raises(IndexError, match=r"index .* does not fit shape \(3, 3, 2\)"):
        Tensor(np.ones((3, 3, 2)))[index]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b: tl.concatenate([a, b]), r"concatenate: shapes \(2, 3\), \(3, 4\) differ beside axis -2"),
        (lambda a, b: tl.concatenate([a, b], axis=1), r"concatenate: shapes \(2, 3\), \(3, 4\) differ beside axis -1"),
        (lambda a, b: tl.concatenate([a, b[0]]), r"concatenate: shapes \(2, 3\), \(4,\) differ in their number of axes"),
        (lambda a, b: tl.stack([a, b]), r"stack: shapes \(2, 3\), \(3, 4\) differ, expected one"),
    ],
)
def test_shapes_that_cannot_be_joined_are_named(function, message):
    with pytest.raises(ValueError, match=message):
        function(Tensor(np.ones((2, 3))), Tensor(np.ones((3, 4))))


def test_a_number_beside_integers_and_floats_is_aligned():
    product = ops.einsum(Tensor([1, 2]), Tensor([1.0, 2.5]), 2.0, subscripts="i,i,->i")
    assert product.data.tolist() == [2.0, 10.0]


@pytest.mark.parametrize("lengths", [(-1, -1), (4, -1), (0, -1), (-1, -1, 6)])
def test_lengths_that_do_not_hold_the_elements_are_named(lengths):
    with pytest.raises(ValueError, match=r"reshape: \(.*\) cannot hold the 6 elements of shape \(2, 3\)"):
        Tensor(np.ones((2, 3))).reshape(*lengths)


def test_a_split_into_one_section_is_the_whole():
    x = np.arange(6.0).reshape(2, 3)
    (whole,) = Tensor(x).split(1, axis=1)
    assert whole.data.tolist() == x.tolist()
    for sections in (0, -3, 2):
        with pytest.raises(ValueError, match=f"split: an axis of length 3 does not divide into {sections} equal sections"):
            Tensor(x).split(sections, axis=1)


def test_the_dtype_of_another_tensor_is_kept_or_converted():
    double = Tensor([1.5, 2.5])
    assert Tensor(double).dtype == np.float64
    assert Tensor(double, dtype=np.float32).dtype == np.float32
    single = Tensor([0.0, 0.0], dtype=np.float32)
    single.assign(double)
    assert single.dtype == np.float32
    assert single.data.tolist() == [1.5, 2.5]


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3, (0, 1), (0, -1), (1, 2, 3)])
def test_axes_of_length_1_come_and_go(axis):
    x = np.arange(6.0).reshape(2, 3)
    wide = Tensor(x).expand_dims(axis)
    np.testing.assert_array_equal(wide.data, np.expand_dims(x, axis))
    np.testing.assert_array_equal(wide.squeeze(axis).data, x)
    np.testing.assert_array_equal(wide.squeeze().data, x)


@pytest.mark.parametrize("name", ["logsumexp", "sum", "max", "min", "mean", "prod", "var", "norm"])
def test_reductions_over_each_axis_keep_it_with_length_1_if_asked_to(name):
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 4))
    functions = {
        "logsumexp": lambda x, **options: np.log(np.exp(x).sum(**options)),
        "norm": lambda x, **options: np.sqrt((x * x).sum(**options)),
    }
    for axis in (0, 1, 2, -1, (0, 2), (1, 2), None, ()):
        for keepdims in (False, True):
            expected = functions.get(name, getattr(np, name, None))(x, axis=axis, keepdims=keepdims)
            result = getattr(Tensor(x), name)(axis=axis, keepdims=keepdims)
            assert result.shape == expected.shape
            np.testing.assert_allclose(result.data, expected, rtol=1e-12, atol=1e-15)


def test_the_defaults_are_numpys():
    x = np.random.default_rng(0).normal(size=(4, 6))
    assert [part.shape for part in Tensor(x).split(2)] == [part.shape for part in np.split(x, 2)]
    assert Tensor(x).std().item() == pytest.approx(x.std(), rel=1e-14)
    assert Tensor(x).logsumexp().shape == x.sum().shape
    assert tl.stack([Tensor(x), Tensor(x)]).shape == np.stack([x, x]).shape
