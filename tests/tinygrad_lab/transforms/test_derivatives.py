"""Transforms of functions: what they close over, `no_grad` outside, nested arguments, and input that does not fit.

closures            a function reads a Tensor that requires a gradient: the results are linked to it
no_grad             it makes the results constant, and changes no number
nests               lists, tuples and dicts of arrays as arguments; gradients have the same nesting
"""

from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.tensor import as_tensor
from tinygrad_lab.testing import check_grad

X = np.array([0.5, -1.25])
V = np.array([2.0, 3.0])


def cubes(w, x):
    """A scalar function of two vectors, with mixed derivatives of each order."""
    return (w * x**3 + (w * x).sin()).sum() + (w * w).sum() * x.sum()


# Each gives a list of results for a function of x, at X.
TRANSFORMS = {
    "value_and_grad": lambda f, x: (lambda value, slopes: [value, *slopes])(*tl.value_and_grad(f)(x)),
    "vjp": lambda f, x: (lambda value, pullback: [value, *pullback(2.0)])(*tl.vjp(f, x)),
    "jvp": lambda f, x: [*tl.jvp(f, [x], [V])],
    "hvp": lambda f, x: [tl.hvp(f, x, V)],
    "jacobian": lambda f, x: [tl.jacobian(f)(x)],
    "hessian": lambda f, x: [tl.hessian(f)(x)],
    "elementwise_grad": lambda f, x: [tl.elementwise_grad(lambda t: t**3 * f(as_tensor(x)))(x)],
    "gnvp": lambda f, x: [tl.gnvp(lambda t: t * f(t), lambda y: (y**4).sum(), x, V)],
    "checkpoint": lambda f, x: [tl.checkpoint(f)(as_tensor(x))],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_a_function_closes_over_is_differentiated_to_order_2(name):
    transform = TRANSFORMS[name]
    count = len(transform(lambda x: cubes(Tensor(V), x), Tensor(X)))
    for i in range(count):
        check_grad(lambda w: transform(lambda x: cubes(w, x), X)[i], [1.5, -0.5], order=2)  # noqa: B023 (runs at once)
        # With respect to the argument and what the function closes over at once, also through a result of ops.
        check_grad(lambda w, x: transform(lambda t: cubes(w.exp(), t), x * x)[i], [0.5, -0.5], X, order=2)  # noqa: B023


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_transforms_keep_what_they_close_over(name):
    transform = TRANSFORMS[name]
    for inner in ("value_and_grad", "jvp", "hvp", "vjp"):

        def function(w, inner=inner):
            return transform(lambda x: sum(r.sum() for r in TRANSFORMS[inner](lambda t: cubes(w, t * x), X)), X)[-1]

        check_grad(function, [1.5, -0.5], order=1)


def test_a_number_that_the_function_closes_over():
    w = Tensor(2.0, requires_grad=True)
    _, slope = tl.jvp(lambda x: w * x**3, [3.0], [1.0])
    assert tl.grad(w * w + slope, [w])[0].item() == 31.0


@pytest.mark.parametrize("name", TRANSFORMS)
def test_results_are_constants_if_nothing_outside_requires_a_gradient(name):
    constant = Tensor(V)
    for result in TRANSFORMS[name](lambda x: cubes(constant, x), X):
        assert not result.requires_grad
    # The variable of the inner transform is no leaf outside of it.
    for inner in TRANSFORMS:

        def function(x, inner=inner):
            return sum(r.sum() for r in TRANSFORMS[inner](lambda t: cubes(x, t), X))

        for result in TRANSFORMS[name](function, X):
            assert not result.requires_grad, inner


@pytest.mark.parametrize("name", TRANSFORMS)
def test_no_grad_outside_changes_no_number_and_makes_the_results_constant(name):
    w, x = Tensor(V, requires_grad=True), Tensor(X, requires_grad=True)
    expected = TRANSFORMS[name](lambda t: cubes(w, t), x)
    with tl.no_grad():
        results = TRANSFORMS[name](lambda t: cubes(w, t), x)
        assert not (w * x).requires_grad
    assert all(result.requires_grad for result in expected)
    for result, other in zip(results, expected, strict=True):
        assert not result.requires_grad
        np.testing.assert_array_equal(result.data, other.data)


def test_a_pullback_is_linked_as_it_is_called():
    w = Tensor(V, requires_grad=True)
    _, pullback = tl.vjp(lambda x: w * x**2, X)
    assert pullback(V)[0].requires_grad
    with tl.no_grad():
        assert not pullback(V)[0].requires_grad
        _, constant = tl.vjp(lambda x: w * x**2, X)
    assert not constant(V)[0].requires_grad


def test_an_elementwise_derivative_may_be_infinite_or_nan():
    with np.errstate(all="ignore"):
        slopes = tl.elementwise_grad(Tensor.sqrt)([0.0, 1.0, np.nan, 4.0, np.inf])
        np.testing.assert_array_equal(slopes.data, 0.5 / np.sqrt([0.0, 1.0, np.nan, 4.0, np.inf]))


def test_no_grad_inside_a_function_makes_a_constant_there():
    def function(x):
        with tl.no_grad():
            scale = float(x.sum())  # nothing is lost: nothing is linked here
        return scale * x.sum()

    assert tl.value_and_grad(function)([1.0, 2.0])[1][0].data.tolist() == [3.0, 3.0]


def test_grad_of_a_graph_that_exists_works_inside_no_grad():
    x = Tensor(3.0, requires_grad=True)
    y = x**3
    with tl.no_grad():
        (slope,) = tl.grad(y, [x], create_graph=True)
        (curvature,) = tl.grad(slope, [x])
    assert curvature.item() == 18.0


def test_grad_inside_a_function_can_be_differentiated_again_unless_told_otherwise():
    def slope(x, **options):
        return tl.grad((x**3).sum(), [x], **options)[0] * x

    assert tl.jacobian(slope)([1.0, 2.0]).data.tolist() == [[9.0, 0.0], [0.0, 36.0]]
    assert tl.jacobian(lambda x: slope(x, create_graph=False))([1.0, 2.0]).data.tolist() == [[3.0, 0.0], [0.0, 12.0]]


def test_the_pullback_of_a_checkpoint_after_its_transform_has_ended():
    w = Tensor(V, requires_grad=True)
    value, pullback = tl.vjp(tl.checkpoint(lambda x: w * x**2), X)
    slope = pullback([1.0, 1.0])[0]
    np.testing.assert_allclose(slope.data, 2 * V * X)
    np.testing.assert_allclose(tl.grad(slope.sum() + value.sum(), [w])[0].data, 2 * X + X**2)


# Arguments -----------------------------------------------------------------------------------------------------------

Layer = namedtuple("Layer", "weight bias")
NESTS = {
    "dict": {"w": X, "b": [V, X]},
    "list of tensors": [Tensor(X), Tensor(V)],
    "tuple of arrays": (X, V, (X, [V])),
    "namedtuple": Layer(X, V),
    "None": {"w": X, "bias": None},
    "numbers in a dict": {"w": [1.0, 2.0], "b": (3.0, 4.0)},
    "OrderedDict": OrderedDict(b=X, a=V),
    "defaultdict": defaultdict(list, w=[X, V]),
    "two axes": [np.ones((2, 2)), X],
}


EXPECTED = {"numbers in a dict": {"w": V, "b": V}}  # a list of numbers is an array


def leaves_of(nest):
    if nest is None:
        return []
    if isinstance(nest, dict):
        return [leaf for x in nest.values() for leaf in leaves_of(x)]
    if isinstance(nest, (list, tuple)) and not all(isinstance(x, float) for x in nest):
        return [leaf for x in nest for leaf in leaves_of(x)]
    return [np.asarray(nest)]


def structure(nest):
    if isinstance(nest, dict):
        return type(nest), {key: structure(x) for key, x in nest.items()}
    if isinstance(nest, (list, tuple)):
        return type(nest), [structure(x) for x in nest]
    return None if nest is None else getattr(nest, "shape", ())


def weighted(nest):
    """Return the sum of k times the sum of cubes of leaf k."""
    total = Tensor(0.0)
    for k, x in enumerate(tensors_of(nest), 1):
        total = total + k * (x**3).sum()
    return total


def tensors_of(nest):
    if isinstance(nest, Tensor):
        return [nest]
    parts = [] if nest is None else nest.values() if isinstance(nest, dict) else nest
    return [leaf for part in parts for leaf in tensors_of(part)]


@pytest.mark.parametrize("name", NESTS)
def test_gradients_are_nested_as_the_arguments(name):
    nest = NESTS[name]
    arrays = leaves_of(nest)
    value, slopes = tl.value_and_grad(weighted, argnums=0)(nest)
    assert structure(slopes) == structure(EXPECTED.get(name, nest))
    assert value.item() == pytest.approx(sum(k * (x**3).sum() for k, x in enumerate(arrays, 1)))
    expected = [3 * k * x**2 for k, x in enumerate(arrays, 1)]
    for results in (slopes, tl.vjp(weighted, nest)[1](1.0)[0], tl.jacobian(weighted)(nest)):
        assert structure(results) == structure(EXPECTED.get(name, nest))
        for slope, right in zip(tensors_of(results), expected, strict=True):
            np.testing.assert_allclose(slope.data, right)
    assert tl.jvp(weighted, [nest], [nest])[1].item() == pytest.approx(3 * value.item())
    for k, (product, x) in enumerate(zip(tensors_of(tl.hvp(weighted, nest, nest)), arrays, strict=True), 1):
        np.testing.assert_allclose(product.data, 6 * k * x**2)


def test_the_hessian_of_a_nest_has_a_block_for_each_pair():
    blocks = tl.hessian(lambda p: (p["w"] ** 2).sum() * p["b"])({"w": X, "b": np.array(3.0)})
    np.testing.assert_allclose(blocks["w"]["w"].data, 6.0 * np.eye(2))
    np.testing.assert_allclose(blocks["w"]["b"].data, 2 * X)
    np.testing.assert_allclose(blocks["b"]["w"].data, 2 * X)
    assert blocks["b"]["b"].item() == 0.0


def test_argnums_choose_arguments_and_pass_on_the_others():
    def function(x, y, name):
        assert name == "sine"
        return (np.sin(x) * y).sum()

    assert isinstance(tl.value_and_grad(function, argnums=1)(X, V, "sine")[1], Tensor)
    for argnums in ((1, 0), [1, -3], np.array([1, 0])):
        _, (dy, dx) = tl.value_and_grad(function, argnums=argnums)(X, V, "sine")
        np.testing.assert_allclose(dy.data, np.sin(X))
        np.testing.assert_allclose(dx.data, np.cos(X) * V)
    blocks = tl.hessian(function, argnums=(0, 1))(X, V, "sine")
    assert isinstance(blocks, tuple)
    np.testing.assert_allclose(blocks[0][1].data, np.diag(np.cos(X)))
    np.testing.assert_allclose(blocks[0][0].data, np.diag(-np.sin(X) * V))
    np.testing.assert_allclose(tl.jacobian(function, argnums=1)(X, V, "sine").data, np.sin(X))
    np.testing.assert_allclose(tl.elementwise_grad(lambda x, y: x * y, argnums=1)(X, V).data, X)


@pytest.mark.parametrize("w", [Tensor(2.0), Tensor(2.0, requires_grad=True)], ids=["constant", "linked"])
def test_has_aux_passes_on_what_else_a_function_returns(w):
    def function(x):
        return w * (x**2).sum(), {"cubes": w * x**3, "name": "f", "count": 3}

    for aux in (
        tl.value_and_grad(function, has_aux=True)(X)[0][1],
        tl.jacobian(function, has_aux=True)(X)[1],
        tl.hessian(function, has_aux=True)(X)[1],
    ):
        assert aux["name"] == "f"
        assert aux["count"] == 3
        np.testing.assert_allclose(aux["cubes"].data, 2.0 * X**3)
        assert aux["cubes"].requires_grad == w.requires_grad
    assert tl.value_and_grad(function, has_aux=True)(X)[0][0].item() == pytest.approx(2.0 * (X**2).sum())


def test_elementwise_derivatives_of_any_order_and_shape():
    f = tl.Tensor.sin
    for expected in (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)):
        f = tl.elementwise_grad(f)
        for x in (X, np.ones((2, 3)), 0.5, np.ones((0, 2))):
            np.testing.assert_allclose(f(x).data, expected(np.asarray(x)), atol=1e-15)


@pytest.mark.parametrize(
    "function",
    [Tensor.softmax, lambda x: x.sum(), lambda x: x[::-1] * 1.0, lambda x: x * np.ones((2, 2)), lambda x: x - x.mean()],
)
def test_a_function_that_is_not_elementwise_has_no_elementwise_derivative(function):
    with pytest.raises(ValueError, match="elementwise_grad: an argument of shape .* use jacobian"):
        tl.elementwise_grad(function)(X)


def test_gauss_newton_products_agree_with_the_matrices():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 2))

    def model(w):
        return (w * a).sum(axis=1).tanh()

    def loss(y):
        return (y**4).sum() + y[0] * y[1]

    j, h = tl.jacobian(model)(X).data, tl.hessian(loss)(model(Tensor(X))).data
    np.testing.assert_allclose(tl.gnvp(model, loss, X, V).data, j.T @ h @ j @ V, rtol=1e-12)


def test_constant_functions_have_derivatives_of_zero():
    value, (slope,) = tl.value_and_grad(lambda _: Tensor(3.0))(X)
    assert value.item() == 3.0
    assert slope.data.tolist() == [0.0, 0.0]
    assert tl.vjp(lambda _: Tensor(3.0), X)[1](1.0)[0].data.tolist() == [0.0, 0.0]
    assert tl.gnvp(lambda _: Tensor([3.0]), lambda y: (y * y).sum(), X, V).data.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: tl.jacobian(f(Tensor(X)))(X), TypeError, "jacobian: given a Tensor, expected a function of Tensors"),
        (lambda f: tl.jvp(f, [X], []), ValueError, "jvp: 0 tangents for 1 arguments, expected one for each"),
        (lambda f: tl.jvp(f, [X], [np.ones(3)]), ValueError, r"jvp: tangent 0 has shape \(3,\), expected \(2,\)"),
        (lambda f: tl.jvp(f, [X], [1.0]), ValueError, r"jvp: tangent 0 has shape \(\), expected \(2,\)"),
        (lambda f: tl.jvp(f, [X], [[1j, 2.0]]), TypeError, "jvp: tangent 0: data has dtype complex128, expected real"),
        (lambda f: tl.jvp(f, X, V), TypeError, "jvp: inputs is a value of type ndarray, expected a list"),
        (lambda f: tl.jvp(f, [X], Tensor(V)), TypeError, "jvp: tangents is a value of type Tensor, expected a list"),
        (lambda f: tl.hvp(f, X, np.ones(3)), ValueError, r"hvp: v 0 has shape \(3,\), expected \(2,\)"),
        (lambda f: tl.gnvp(f, f, X, np.ones(3)), ValueError, r"gnvp: v 0 has shape \(3,\), expected \(2,\)"),
        (lambda f: tl.vjp(f, X)[1](np.ones(2)), ValueError, r"vjp: the cotangent has shape \(2,\), expected \(\)"),
        (lambda f: tl.vjp(f, X)[1](1j), TypeError, "vjp: the cotangent: data has dtype complex128"),
        (lambda f: tl.vjp(f, X * 1j), TypeError, "vjp: argument 0: data has dtype complex128, expected real numbers"),
        (lambda f: tl.jacobian(f)(np.array([None])), TypeError, "jacobian: argument 0: data has dtype object"),
        (lambda f: tl.jacobian(f)([[1.0], [1.0, 2.0]]), ValueError, "jacobian: argument 0: data is ragged"),
        (lambda f: tl.hessian(f)([1, 2]), TypeError, "hessian: argument 0 has dtype int64, expected floating-point"),
        (lambda f: tl.value_and_grad(f)({"w": X, "n": 3}), TypeError, r"value_and_grad: argument 0\['n'\] has dtype int64"),
        (lambda f: tl.hvp(weighted, {"w": X}, {"v": X}), ValueError, "hvp: v 0 is dict, expected dict with keys 'w'"),
        (lambda f: tl.hvp(weighted, {"w": X}, X), ValueError, "hvp: v 0 is ndarray, expected dict with keys 'w'"),
        (lambda f: tl.hvp(weighted, [X, X], [X]), ValueError, "hvp: v 0 is list, expected list with 2 items"),
        (lambda f: tl.value_and_grad(f, argnums=1)(X), ValueError, "argnums is 1, expected distinct positions among 1 arg"),
        (lambda f: tl.jacobian(f, argnums=(0, 0))(X), ValueError, r"argnums is \(0, 0\), expected distinct positions"),
        (lambda f: tl.jacobian(f, argnums=0.0)(X), ValueError, "jacobian: argnums is 0.0, expected distinct positions"),
        (lambda f: tl.jacobian(f)(), ValueError, "jacobian: argnums is 0, expected distinct positions among 0 arguments"),
        (lambda f: tl.value_and_grad(lambda x: x)(X), ValueError, r"value_and_grad: the output has shape \(2,\)"),
        (lambda f: tl.hessian(lambda x: x)(X), ValueError, r"hessian: the output has shape \(2,\)"),
        (lambda f: tl.jacobian(lambda x: 3.0)(X), TypeError, "jacobian: .*<lambda> returned a value of type float, expected"),
        (lambda f: tl.jacobian(lambda x: [x[0], x[1]])(X), TypeError, "returned a value of type list, expected a Tensor"),
        (lambda f: tl.jacobian(lambda x: None)(X), TypeError, "returned a value of type NoneType, expected a Tensor"),
        (lambda f: tl.vjp(lambda x: (x, x), X), TypeError, "vjp: .* returned a value of type tuple, expected a Tensor"),
        (lambda f: tl.value_and_grad(f, has_aux=True)(X), TypeError, r"of type Tensor, expected a tuple \(Tensor, aux\)"),
        (lambda f: tl.value_and_grad(f)(X, X), TypeError, "takes 1 positional argument but 2 were given"),
        (lambda f: tl.checkpoint(lambda x: 3.0)(X), TypeError, r"checkpoint\(.*\): returned a value of type float"),
        (lambda f: tl.backward_hook(X, f), TypeError, "backward_hook: given ndarray and function, expected a Tensor and"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_refused_by_the_name_of_the_function(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda x: (x**2).sum())
