"""Derivatives of any order, deep graphs, and the `.grad` that `backward` sets."""

import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.recording import record
from tinygrad_lab.testing import check_grad
from tinygrad_lab.testing.strategies import values


def function(x):
    return (x.sin() * x.exp() + x * x[0]).sum()


def test_grad_of_any_order():
    x = Tensor(0.7, requires_grad=True)
    y = x.sin()
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7), np.cos(0.7)):
        (y,) = tl.grad(y, [x], create_graph=True)
        assert y.item() == pytest.approx(expected, rel=1e-14)
    assert check_grad(lambda t: t.exp() * t, 0.3, order=4) < 1e-12


def test_the_variables_may_come_from_any_iterable():
    w = {"a": Tensor(2.0, requires_grad=True), "b": Tensor(3.0, requires_grad=True)}
    for variables in (w.values(), (x for x in w.values()), tuple(w.values())):
        assert [slope.item() for slope in tl.grad(w["a"] * w["b"], variables)] == [3.0, 2.0]


def test_gradients_are_constants_unless_a_graph_is_asked_for():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (slope,) = tl.grad((x * x).sum(), [x])
    assert not slope.requires_grad
    (slope,) = tl.grad((x * x).sum(), [x], create_graph=True)
    assert slope.requires_grad


def test_a_tensor_used_twice_gets_the_sum_of_both_shares():
    x = Tensor(3.0, requires_grad=True)
    y = x * x
    z = y * y + y
    assert tl.grad(z, [x])[0].item() == 4 * 27 + 6
    assert tl.grad(z, [y])[0].item() == 2 * 9 + 1  # grad also takes a result as its variable


def test_backward_accumulates_into_leaves_only():
    x = Tensor(3.0, requires_grad=True)
    y = x * x
    z = y * 2.0
    z.backward()
    assert x.grad.item() == 12.0
    assert y.grad is None
    z.backward()
    assert x.grad.item() == 24.0  # a second backward adds its gradient
    assert not x.grad.requires_grad
    x.grad = None
    z.backward()
    assert x.grad.item() == 12.0


def test_backward_of_a_vector_takes_a_cotangent():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * x).backward([1.0, 10.0])
    assert x.grad.data.tolist() == [2.0, 40.0]


def test_what_the_output_does_not_depend_on_is_refused_or_zero_or_none():
    x = Tensor([1.0, 2.0], requires_grad=True)
    other = Tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(ValueError, match=r"grad: the loss does not depend on wrt\[1\], wrt\[2\]"):
        tl.grad(x.sum(), [x, other, x * 2.0])  # the product is no part of this graph
    assert tl.grad(x.sum(), [x, other], unused="zeros")[1].data.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    slope, missing = tl.grad(x.sum(), [x, other], unused="none")
    assert slope.data.tolist() == [1.0, 1.0]
    assert missing is None
    with pytest.raises(ValueError, match="grad: unused is 'ignore', expected 'raise', 'zeros' or 'none'"):
        tl.grad(x.sum(), [x], unused="ignore")


def test_a_tensor_that_is_a_condition_only_gets_no_gradient_from_backward():
    x, w = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    tl.where(x, w, 0.0).sum().backward()
    assert w.grad.data.tolist() == [1.0, 1.0]
    assert x.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, c: tl.grad(x, [x]), r"grad: the output has shape \(2,\), expected one element"),
        (lambda x, c: tl.grad(c.sum(), [x]), "grad: the output depends on no Tensor with requires_grad=True"),
        (lambda x, c: tl.grad(x.sum(), [c]), r"grad: wrt\[0\] has requires_grad=False"),
        (lambda x, c: tl.grad(x, [x], cotangent=[1.0]), r"grad: the cotangent has shape \(1,\)"),
        (lambda x, c: x.backward(), "backward: the output has shape"),
        (lambda x, c: c.sum().backward(), "backward: the output depends on no Tensor"),
        (lambda x, c: check_grad(lambda i: i, [1, 2]), "no input is floating-point"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 2.0]))


def test_a_cotangent_takes_the_dtype_of_the_output():
    x = Tensor([1.0, 2.0], dtype=np.float32, requires_grad=True)
    (slope,) = tl.grad(x * x, [x], cotangent=np.array([1.0, 10.0]))
    assert slope.dtype == np.float32
    assert slope.data.tolist() == [2.0, 40.0]


def test_a_graph_100_000_ops_deep():
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    assert tl.grad(y, [x])[0].item() == 1.0
    y.backward()
    assert x.grad.item() == 1.0
    del y  # Python frees the links without recursion
    gc.collect()


def test_a_diamond_of_100_levels_is_walked_once_per_node():
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100):
        y = 0.5 * y + 0.5 * y
    assert tl.grad(y, [x])[0].item() == 1.0


def test_no_grad_and_detach():
    x = Tensor(2.0, requires_grad=True)
    with tl.no_grad():
        assert not (x * x).requires_grad
        with tl.no_grad():
            pass
        assert not (x * x).requires_grad
    assert (x * x).requires_grad
    y = x * x.detach()
    assert tl.grad(y, [x])[0].item() == 2.0
    with pytest.raises(ZeroDivisionError), tl.no_grad():
        raise ZeroDivisionError
    assert (x * x).requires_grad


@given(data=st.data())
def test_products_with_jacobians_and_hessians_agree_with_the_whole_ones(data):
    x, v, u = (data.draw(values((3,), grid=i)) for i in range(3))

    def f(t):
        return t.exp() * t.sum() + t[::-1] * t

    jacobian = tl.jacobian(f)(x).data
    value, slope = tl.jvp(f, [x], [v])
    np.testing.assert_allclose(value.data, f(Tensor(x)).data)
    np.testing.assert_allclose(slope.data, jacobian @ v, rtol=1e-12, atol=1e-12)
    _, pullback = tl.vjp(f, x)
    np.testing.assert_allclose(pullback(u)[0].data, u @ jacobian, rtol=1e-12, atol=1e-12)

    hessian = tl.hessian(function)(x).data
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    np.testing.assert_allclose(tl.hvp(function, x, v).data, hessian @ v, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tl.jacobian(lambda t: tl.grad(function(t), [t], create_graph=True)[0])(x).data, hessian)


def test_derivatives_of_linear_and_constant_functions():
    x = np.array([1.0, 2.0])
    assert not tl.hessian(lambda t: 3.0 * t.sum())(x).data.any()
    assert not tl.hessian(lambda t: Tensor(1.0))(x).data.any()
    assert not tl.hvp(lambda t: t.sum(), x, x).data.any()
    assert tl.jacobian(lambda t: t[:0])(x).shape == (0, 2)
    assert not tl.jacobian(lambda t: Tensor([1.0, 2.0, 3.0]))(x).data.any()
    assert tl.jacobian(lambda t: Tensor([1.0, 2.0, 3.0]))(x).shape == (3, 2)
    assert not tl.jvp(lambda t: Tensor(1.0), [x], [x])[1].data.any()
    assert tl.jvp(lambda s, t: s * 2.0 + t, [x, x], [x, x])[1].data.tolist() == [3.0, 6.0]
    assert tl.jvp(lambda s, t: s * 2.0, [x, x], [x, x])[1].data.tolist() == [2.0, 4.0]


def test_hessian_of_a_hessian():
    third = tl.jacobian(tl.hessian(lambda t: (t**3).sum()))(np.array([1.0, 2.0])).data
    expected = np.zeros((2, 2, 2))
    expected[[0, 1], [0, 1], [0, 1]] = 6.0
    np.testing.assert_allclose(third, expected)


def test_value_and_grad_of_several_arguments():
    value, (dx, dy) = tl.value_and_grad(lambda x, y: (x * y).sum())([1.0, 2.0], [3.0, 4.0])
    assert value.item() == 11.0
    assert dx.data.tolist() == [3.0, 4.0]
    assert dy.data.tolist() == [1.0, 2.0]


def test_the_transforms_compose():
    """The derivatives with respect to a Tensor that requires a gradient can be differentiated again."""

    def cubes(x):
        return (x**3).sum()

    x = np.array([1.0, 2.0])
    ones = np.ones(2)
    np.testing.assert_allclose(tl.jacobian(lambda t: tl.hvp(cubes, t, ones))(x).data, np.diag([6.0, 6.0]))
    np.testing.assert_allclose(tl.jacobian(lambda t: tl.value_and_grad(cubes)(t)[1][0])(x).data, np.diag([6.0, 12.0]))
    np.testing.assert_allclose(tl.jacobian(lambda t: tl.jvp(cubes, [t], [ones])[1])(x).data, [6.0, 12.0])
    np.testing.assert_allclose(tl.jacobian(lambda t: tl.vjp(lambda s: s**3, t)[1](ones)[0])(x).data, np.diag([6.0, 12.0]))
    u = Tensor(x, requires_grad=True)
    (slope,) = tl.grad((u * u).sum() + tl.hvp(cubes, u, ones).sum(), [u])
    np.testing.assert_allclose(slope.data, [8.0, 10.0])
    assert not tl.hvp(cubes, x, ones).requires_grad


def test_products_can_be_differentiated_with_respect_to_the_vector():
    x = np.array([1.0, 2.0])
    v = Tensor([1.0, 1.0], requires_grad=True)
    products = [
        (tl.vjp(lambda t: t**3, x)[1](v)[0], [3.0, 12.0]),
        (tl.jvp(lambda t: t**3, [x], [v])[1], [3.0, 12.0]),
        (tl.hvp(lambda t: (t**3).sum(), x, v), [6.0, 12.0]),
    ]
    for product, expected in products:
        np.testing.assert_allclose(tl.grad(product.sum(), [v])[0].data, expected)


def test_the_value_at_an_array_is_a_constant():
    x = np.array([1.0, 2.0])
    assert not tl.value_and_grad(lambda t: t.sum())(x)[0].requires_grad
    assert not tl.vjp(lambda t: t * t, x)[0].requires_grad
    assert not tl.jvp(lambda t: t * t, [x], [x])[0].requires_grad


def test_the_mixed_second_derivative_of_a_power_at_exponent_0():
    np.testing.assert_allclose(tl.hessian(lambda v: v[0] ** v[1])([2.0, 0.0]).data[0], [0.0, 0.5])
    check_grad(lambda a, b: a**b, [2.0], [0.0])
    a, b = (Tensor(0.0, requires_grad=True) for _ in range(2))
    (slope,) = tl.grad(a**b, [a], create_graph=True)  # b a^(b-1), where 0^(-1) counts as 1 at b = 0
    assert slope.item() == 0.0
    assert tl.grad(slope, [b])[0].item() == 1.0


def test_gradients_of_two_leaves_are_two_tensors():
    a, b = (Tensor([1.0], requires_grad=True) for _ in range(2))
    (a + b).backward()
    a.grad.assign([5.0])
    assert b.grad.data.tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: tl.grad(w.sum(), w), r"wrt is a Tensor, expected a list of Tensors: \[wrt\]"),
        (lambda w: tl.grad(w.sum(), [np.ones(1)]), r"wrt\[0\] is array.*, expected a Tensor"),
        (lambda w: tl.grad(w.sum(), None), r"wrt is a NoneType, expected a list of Tensors: \[wrt\]"),
        (lambda w: tl.grad(w, [w], cotangent=[1j, 1.0]), "grad: the cotangent: data has dtype complex128, expected real"),
        (lambda w: w.backward(np.array([None, None])), "backward: the cotangent: data has dtype object, expected real"),
        (lambda w: tl.grad(3.0, [w]), "loss is 3.0, expected a Tensor"),
    ],
)
def test_what_is_no_tensor_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call(Tensor([1.0, 2.0], requires_grad=True))


def test_requires_grad_can_be_set_on_leaves_of_floats_only():
    x = Tensor([1.0])
    x.requires_grad = True
    assert (x * 2.0).requires_grad
    with pytest.raises(ValueError, match="result of multiply"):
        (x * 2.0).requires_grad = False
    with pytest.raises(TypeError, match="floating-point"):
        Tensor([1]).requires_grad = True


def test_a_thread_links_and_records_on_its_own():
    slopes = []

    def differentiate():
        x = Tensor(3.0, requires_grad=True)
        slopes.append(tl.grad(x * x, [x])[0].item())

    with tl.no_grad(), record() as recording:
        thread = threading.Thread(target=differentiate)
        thread.start()
        thread.join()
    assert slopes == [6.0]
    assert not recording.lines


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: (lambda value, slopes: (value, slopes[0]))(*tl.value_and_grad(f)(x)),
        lambda f, x: (lambda value, pullback: (value, pullback(1.0)[0]))(*tl.vjp(f, x)),
        lambda f, x: tl.jvp(f, [x], [np.ones(2)]),
        lambda f, x: (x, tl.hvp(f, x, np.ones(2))),
        lambda f, x: (x, tl.jacobian(f)(x)),
        lambda f, x: (x, tl.hessian(f)(x)),
    ],
)
def test_results_are_linked_if_and_only_if_the_input_requires_a_gradient(transform):
    def cubes(x):
        return (x**3).sum()

    x = Tensor([1.0, 2.0], requires_grad=True)
    assert all(result.requires_grad for result in transform(cubes, x))
    assert not any(result.requires_grad for result in transform(cubes, x.detach()))


@pytest.mark.parametrize("tangent_is_linked", [False, True])
def test_products_are_linked_to_their_tangents(tangent_is_linked):
    x, v = np.array([1.0, 2.0]), Tensor([1.0, 1.0], requires_grad=tangent_is_linked)
    assert tl.jvp(lambda t: t**3, [x], [v])[1].requires_grad == tangent_is_linked
    assert tl.vjp(lambda t: t**3, x)[1](v)[0].requires_grad == tangent_is_linked
    assert tl.hvp(lambda t: (t**3).sum(), x, v).requires_grad == tangent_is_linked


def test_the_gradient_of_what_is_broadcast_to_no_elements_is_zero():
    x = Tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    for shape in ((0, 3), (2, 0, 3)):
        (slope,) = tl.grad(x.broadcast_to(shape).sum(), [x])
        assert slope.data.tolist() == [[0.0, 0.0, 0.0]]


def test_a_condition_gets_no_gradient():
    x = Tensor([0.0, 1.0], requires_grad=True)
    assert tl.grad(tl.where(x * 2.0, 3.0 * x, -x).sum(), [x])[0].data.tolist() == [-1.0, 3.0]


def test_only_what_the_gradient_needs_must_be_unchanged():
    x, other = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    y = x * x + other * other
    other.assign([5.0, 5.0])
    assert tl.grad(y.sum(), [x])[0].data.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="was assigned a new value"):
        tl.grad(y.sum(), [other])
