"""`check_grad` at kinks, at jumps and on wrong derivatives: what passes, what fails, and what the message says."""

import inspect

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.testing import check_grad, mutant
from tinygrad_lab.testing.slopes import slopes

RNG = np.random.default_rng

# Kinks --------------------------------------------------------------------------------------------------------------------

KINKS = {
    "relu": (lambda x: x.relu(), [0.0, 1.0, -1.0], {(0,): (0.0, 1.0, 0.0)}),
    "leaky relu": (tl.LeakyReLU(0.05), [0.0, 1.0], {(0,): (0.05, 1.0, 0.05)}),
    "elu": (tl.ELU(0.5), [0.0, 1.0], {(0,): (0.5, 1.0, 0.5)}),
    "abs": (lambda x: x.abs(), [0.0, 2.0], {(0,): (-1.0, 1.0, 0.0)}),
    "clip": (lambda x: x.clip(-1.0, 0.5), [-1.0, 0.25, 0.5], {(0,): (0.0, 1.0, 0.0), (2,): (1.0, 0.0, 0.0)}),
    "max": (lambda x: x.max(), [2.0, 1.0, 2.0], {(0,): (0.0, 1.0, 0.5), (2,): (0.0, 1.0, 0.5)}),
    "min": (lambda x: x.min(), [1.0, 1.0, 2.0], {(0,): (1.0, 0.0, 0.5), (1,): (1.0, 0.0, 0.5)}),
    "maximum": (lambda x: tl.maximum(x, 1.0), [1.0, 2.0], {(0,): (0.0, 1.0, 0.5)}),
    "norm": (lambda x: x.norm(), [0.0, 0.0], {(0,): (-1.0, 1.0, 0.0), (1,): (-1.0, 1.0, 0.0)}),
    "std": (lambda x: x.std(), [2.0, 2.0], {(0,): (-0.5, 0.5, 0.0), (1,): (-0.5, 0.5, 0.0)}),
    "absolute error": (lambda x: (x - 1.0).abs().mean(), [1.0], {(0,): (-1.0, 1.0, 0.0)}),
    "of a small function": (lambda x: 1e-9 * x.abs(), [0.0, 2.0], {(0,): (-1e-9, 1e-9, 0.0)}),
    "of a large function": (lambda x: 1e9 * x.abs() + 1e3, [0.0, 2.0], {(0,): (-1e9, 1e9, 0.0)}),
    "not through 0": (lambda x: (x.square() - 2.0 * x).abs(), [2.0], {(0,): (-2.0, 2.0, 0.0)}),
    "with a function that has no complex step": (lambda x: x.abs() * x.softplus(), [0.0], {(0,): (-np.log(2), np.log(2), 0.0)}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", KINKS)
def test_a_subgradient_passes_and_the_kink_is_reported(name, dtype):
    function, point, expected = KINKS[name]
    report = check_grad(function, np.array(point, dtype), order=2)
    assert report < (1e-8 if dtype is np.float64 else 1e-4)
    assert {kink.index for kink in report.kinks} == set(expected)
    for kink in report.kinks:
        assert kink.order == 1
        np.testing.assert_allclose(
            [kink.left, kink.right, kink.analytic],
            expected[kink.index],
            rtol=1e-6,
            atol=1e-7 * np.abs(expected[kink.index]).max(),
        )
        assert f"index {kink.index}: slope {expected[kink.index][0]:.6g} from the left" in repr(report)


def test_bounds_that_single_precision_rounds_are_kinks():
    """0.1 in single precision is above 0.1, so in double precision the bound is passed already."""
    report = check_grad(lambda x: x.clip(0.1, 1.0), np.array([0.1, 0.2], np.float32))
    assert [kink.index for kink in report.kinks] == [(0,)]


def test_a_kink_of_the_first_derivative_is_one_of_order_2():
    report = check_grad(lambda x: tl.Huber(1.0)(x, [[0.0]]), [[1.0]])
    assert [(kink.order, kink.index) for kink in report.kinks] == [(2, (0, 0))]
    assert check_grad(lambda x: tl.Huber(1.0)(x, [[0.0]]), [[1.0]], order=1).kinks == []


def test_each_component_of_a_function_is_judged_alone():
    """With random weights of both signs, the sum over both components could have any slopes."""
    for seed in range(10):
        kinks = check_grad(lambda x: tl.concatenate([x.relu(), (-x).relu()]), [0.0], seed=seed).kinks
        assert [(kink.left, kink.right, kink.analytic) for kink in kinks] == [(0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.relu() + x**2.0,  # 0 ** y has no derivatives across 0
        lambda x: x.abs() + (x * x).sum().sqrt() * 0.0 + x**0.0,
        lambda x: x.relu() + tl.concatenate([x, Tensor([-np.inf])]).logsumexp(),
        lambda x: x.relu() + tl.where(x > -1.0, x, -np.inf).softmax(),
        lambda x: x.relu() + x.std() + x.norm() + x.prod(),
    ],
)
def test_ops_at_the_edge_of_their_domain_do_not_pass_for_wrong_at_a_kink(function):
    assert check_grad(function, [0.0, 1.0, 2.0], order=2).kinks


def test_close_to_a_kink_there_is_none():
    points = [1e-6, -1e-6, 1e-5, 1e-3]
    for function in (lambda x: x.relu(), lambda x: x.abs(), lambda x: x.abs() * x.softplus()):
        assert check_grad(function, points).kinks == []


def test_curvature_is_no_kink():
    assert check_grad(lambda x: (1e4 * x).tanh() + (1e4 * x).softplus(), [1e-4, 0.0]).kinks == []
    assert check_grad(lambda x: x.softplus() / x.square(), [1e-3, 2e-4]).kinks == []


# Wrong derivatives --------------------------------------------------------------------------------------------------------


def leaky(x):
    return tl.where(x <= 0.0, 0.05 * x, x)


@pytest.mark.parametrize("factor", [1.01, 0.99, 0.0])
@pytest.mark.parametrize(
    ("op", "position", "function", "point"),
    [
        (ops.where, 1, leaky, [0.0]),
        (ops.where, 2, leaky, [0.0, 1.0]),
        (ops.multiply, 1, leaky, [0.0]),
        (ops.maximum, 0, lambda x: tl.maximum(x, 1.0 * x), [1.0]),
        (ops.maximum, 0, lambda x: tl.maximum(x[0], x[1]), [1.0, 1.0]),
        (ops.minimum, 1, lambda x: tl.minimum(x[0], x[1]), [1.0, 1.0]),
        (ops.reduce_max, 0, lambda x: x.max(), [1.0, 1.0, 0.5]),
        (ops.reduce_min, 0, lambda x: x.min(), [1.0, 1.0, 1.0]),
        (ops.exp, 0, lambda x: x.abs() + x.exp(), [0.0]),
        (ops.exp, 0, lambda x: x.exp() * x.relu(), [0.0, 0.0]),
        (ops.absolute, 0, lambda x: x.abs() * x.softplus(), [1e-3, 1e-6, 0.0]),
    ],
)
def test_a_wrong_vjp_never_passes_as_a_kink(op, position, function, point, factor):
    check_grad(function, point)
    with mutant(op, position, factor), pytest.raises(AssertionError, match=rf"check_grad: (?s:.*){op.name} \(.*line \d+"):
        check_grad(function, point)


def test_a_value_outside_of_both_slopes_fails():
    """relu(x) - relu(-x) is x, but with relu'(0) = 0 its derivative at 0 would be 0."""
    with pytest.raises(AssertionError, match=r"(?s)order 1.*at a threshold: less_equal \(.*test_check_grad.py, line"):
        check_grad(lambda x: x.relu() - (-x).relu(), [0.0])
    with pytest.raises(AssertionError, match=r"kink: from 0.5 to 1 "):
        check_grad(lambda x: x.relu() - 0.5 * (-x).relu(), [0.0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tl.where(x <= 0.0, 0.0, x + 1.0),
        lambda x: tl.where(x <= 0.0, 0.0, 1.0),
        lambda x: x.sign() * x.exp(),
        lambda x: x.sign() * x.softplus(),
    ],
)
def test_a_jump_fails_and_shows_both_limits(function):
    with pytest.raises(AssertionError, match=r"the function jumps from -?[01](\.\d+)? to [01]"):
        check_grad(function, [0.0])


def test_the_message_shows_the_worst_elements_the_op_and_the_line():
    def function(x):
        y = x * x
        return y.sin()

    with mutant(ops.sin, 0, 1.01), pytest.raises(AssertionError) as failure:
        check_grad(function, np.linspace(0.1, 1.0, 9))
    first, header, *rows, fault = str(failure.value).splitlines()
    assert first.startswith("check_grad: derivative of order 1 with respect to input 0 is wrong: 9 of 9 elements differ")
    assert header.split()[:4] == ["input", "index", "value", "analytic"]
    assert len(rows) == 6
    assert rows[-1] == "  and 4 more"
    for row in rows[:5]:
        analytic, numerical = map(float, row.split()[-4:-2])
        assert analytic / numerical == pytest.approx(1.01)
    line = inspect.getsourcelines(function)[1] + 2
    assert fault == f"at fault: sin ({__file__}, line {line}), whose own derivative is wrong"


def test_the_message_names_every_wrong_op_and_no_right_one():
    with mutant(ops.sin, 0, 1.01), mutant(ops.exp, 0, 0.0), pytest.raises(AssertionError) as failure:
        check_grad(lambda x: x.sin() * x.cos() + x.exp(), [0.5])
    named = [line.split()[2] for line in str(failure.value).splitlines() if line.startswith("at fault")]
    assert named == ["sin", "exp"]


def test_a_vjp_that_is_wrong_at_order_2_only_is_found():
    right = ops.exp.vjps
    object.__setattr__(ops.exp, "vjps", (lambda g, y, x: g * ops.detach(y),))
    try:
        check_grad(lambda x: x.exp(), [0.5], order=1)
        with pytest.raises(AssertionError, match=r"(?s)derivative of order 2.*at fault: exp \("):
            check_grad(lambda x: x.exp(), [0.5], order=2)
    finally:
        object.__setattr__(ops.exp, "vjps", right)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * x.detach(), r"most likely: detach \(.*test_check_grad.py, line"),
        (lambda x: x * x.numpy(), r"a value may have left the graph"),
        (lambda x: x * float(x.sum()), r"a value may have left the graph"),
    ],
)
def test_a_derivative_that_was_cut_is_explained(function, message):
    with pytest.raises(AssertionError, match=message):
        check_grad(function, [1.0])


def test_a_function_that_does_not_repeat_itself_is_refused():
    rng = RNG(0)
    with pytest.raises(AssertionError, match="different values at one point"):
        check_grad(lambda x: x * rng.normal(), [1.0])


def test_a_function_that_returns_no_tensor_is_refused():
    with pytest.raises(TypeError, match="the function returned a float, expected a Tensor"):
        check_grad(lambda x: 3.0, [1.0])
    with pytest.raises(ValueError, match="elements is 0"):
        check_grad(lambda x: x, [1.0], elements=0)


def test_a_derivative_that_is_not_finite_fails():
    with pytest.raises(AssertionError, match="order 1"):
        check_grad(lambda x: x.sqrt(), [0.0])
    with pytest.raises(AssertionError, match=r"at fault: sqrt \(.*whose own derivative is not finite there"):
        check_grad(lambda x: x.abs().sqrt(), [0.0])
    with pytest.raises(AssertionError, match="nan"):
        check_grad(lambda x: (x * x).sqrt(), [0.0])


# Slopes -------------------------------------------------------------------------------------------------------------------

STEPS = [10.0**-k for k in range(3, 10)]


def test_slopes_of_kinks_jumps_and_curves():
    def function(t):
        return np.array([abs(t), max(t, 0.0), np.exp(50.0 * t), np.sign(t), abs(t - 1e-5), t * abs(t)])

    found = slopes(function, STEPS)
    assert found.is_kink.tolist() == [True, True, False, False, False, False]
    assert found.is_jump.tolist() == [False, False, False, True, False, False]
    np.testing.assert_allclose(found.left[[0, 1, 2, 4, 5]], [-1.0, 0.0, 50.0, -1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found.right[[0, 1, 2, 4, 5]], [1.0, 1.0, 50.0, -1.0, 0.0], atol=1e-6)
    assert (found.below[3], found.above[3]) == (-1.0, 1.0)
