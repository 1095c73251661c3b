"""Checkpoints, which recompute in the backward pass, and hooks of gradients."""

import gc
import threading

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.graph import Link
from tinygrad_lab.program import capture
from tinygrad_lab.testing import check_grad

X = np.array([0.5, -1.25])


def live_links():
    gc.collect()
    return sum(type(x) is Link for x in gc.get_objects())


def deep(x, w, n=50):
    for _ in range(n):
        x = (x * w).sin()
    return x


def test_a_checkpoint_keeps_no_intermediate_results():
    w, x = Tensor([1.5, 0.5], requires_grad=True), Tensor(X, requires_grad=True)
    before = live_links()
    plain = deep(x, w)
    kept = live_links() - before
    del plain
    y = x
    for _ in range(5):
        y = tl.checkpoint(deep)(y, w, n=10)
    assert kept == 100
    assert live_links() - before == 5
    for slope, expected in zip(tl.grad(y.sum(), [x, w]), tl.grad(deep(x, w).sum(), [x, w]), strict=True):
        np.testing.assert_allclose(slope.data, expected.data, rtol=1e-13)
    assert live_links() - before == 5  # the backward pass has dropped what it recomputed


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: tl.checkpoint(lambda t: (t * w).exp())(x),
        lambda x, w: tl.checkpoint(lambda t: (t * w).exp())(x * w) * w,  # the argument depends on w, too
        lambda x, w: (lambda h: tl.checkpoint(lambda t: t * h + h.sin())(x) * h)(w * x),  # it closes over a result
        lambda x, w: tl.checkpoint(lambda t: tl.checkpoint(lambda s: s * w)(t).sin() * t)(x),
        lambda x, w: tl.checkpoint(lambda t: t)(x) * tl.checkpoint(lambda t: w)(x),  # nothing is computed
        lambda x, w: tl.checkpoint(lambda *parts, scale: parts[0] * parts[1] * scale)(x, w * w, scale=w),
        lambda x, w: tl.checkpoint(lambda t: tl.grad((t**3 * w).sum(), [t], create_graph=True)[0])(x * 1.0) * x,
        lambda x, w: tl.checkpoint(lambda t: tl.jvp(lambda s: s**3 * w, [t], [np.ones(2)])[1])(x) * x,
        lambda x, w: tl.checkpoint(lambda t: t * w)(x) * tl.checkpoint(lambda t: t * w)(x),
        lambda x, w: tl.checkpoint(lambda t: (t * np.ones((3, 2)) * w).sum(axis=0))(x),
    ],
)  # fmt: skip
def test_a_checkpoint_has_the_gradients_of_its_function_to_order_3(function):
    check_grad(function, X, [1.5, 0.5], order=3)


def test_a_checkpoint_has_the_gradient_of_each_use_of_what_it_closes_over():
    h = Tensor(X, requires_grad=True) * 2.0
    y = tl.checkpoint(lambda: h**2)() + 3.0 * h
    np.testing.assert_allclose(tl.grad(y.sum(), [h])[0].data, 2.0 * h.data + 3.0)


def test_a_checkpoint_of_constants_and_under_no_grad_is_a_constant():
    assert not tl.checkpoint(lambda x: x * 2.0)(Tensor(X)).requires_grad
    with tl.no_grad():
        assert not tl.checkpoint(lambda x: x * 2.0)(Tensor(X, requires_grad=True)).requires_grad


def test_a_checkpoint_that_draws_random_numbers_or_reads_what_has_changed_is_refused():
    rng, x, scale = np.random.default_rng(0), Tensor(X, requires_grad=True), Tensor(2.0)
    y = tl.checkpoint(lambda t: t * rng.normal(size=2))(x)
    with pytest.raises(RuntimeError, match=r"checkpoint\(.*\): computed something else when it ran again"):
        y.sum().backward()
    y = tl.checkpoint(lambda t: t * scale)(x)
    scale.assign(3.0)
    with pytest.raises(RuntimeError, match="computed something else"):
        y.sum().backward()
    y = tl.checkpoint(lambda t: t * t)(x)
    x.assign([1.0, 1.0])
    with pytest.raises(RuntimeError, match="was assigned a new value"):
        y.sum().backward()


def test_a_checkpoint_that_computes_in_another_thread_is_refused():
    w, results = Tensor(X, requires_grad=True), []

    def function(x):
        thread = threading.Thread(target=lambda: results.append(w * w))
        thread.start()
        thread.join()
        return x * results[-1]

    y = tl.checkpoint(function)(Tensor(X, requires_grad=True))
    with pytest.raises(RuntimeError, match="computed something else when it ran again; .* in another thread"):
        y.sum().backward()


def test_a_checkpoint_of_nan_is_compared_too():
    x = Tensor([np.nan, 1.0], requires_grad=True)
    assert tl.grad(tl.checkpoint(lambda t: t * t)(x).sum(), [x])[0].data[1] == 2.0


def test_a_captured_checkpoint_is_replayed():
    x, w = Tensor(X), Tensor([1.5, 0.5], requires_grad=True)

    def step():
        loss = (tl.checkpoint(lambda t: (t * w).sin())(x) ** 2).sum()
        return {"loss": loss.detach()}, {"w": w - 0.1 * tl.grad(loss, [w])[0]}

    bound = capture(step, {"x": x}, {"w": w}).bind()
    for point in (X, np.array([2.0, 3.0])):
        bound.set_inputs(x=point)
        before = bound.state["w"].copy()
        assert bound.run()["loss"] == pytest.approx((np.sin(point * before) ** 2).sum())
        bound.commit()
        slope = 2 * np.sin(point * before) * np.cos(point * before) * point
        np.testing.assert_allclose(bound.state["w"], before - 0.1 * slope)


# Hooks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tl.backward_hook(x, lambda g: 2.0 * g) ** 2, 4.0 * X),
        (lambda x: tl.backward_hook(x, lambda g: None) ** 2, 2.0 * X),
        (lambda x: tl.backward_hook(x * 1.0, lambda g: g * g) ** 2, 4.0 * X**2),
        (lambda x: tl.backward_hook(x, lambda g: np.ones(2)) ** 2, np.ones(2)),
        (lambda x: tl.backward_hook(x, lambda g: -g) * x, X - X),
    ],
)  # fmt: skip
def test_a_hook_changes_the_cotangent_of_its_tensor(function, expected):
    x = Tensor(X, requires_grad=True)
    np.testing.assert_allclose(tl.grad(function(x).sum(), [x])[0].data, expected)
    function(x).sum().backward()
    np.testing.assert_allclose(x.grad.data, expected)
    np.testing.assert_array_equal(function(x).data, function(Tensor(X)).data)


def test_a_hook_sees_the_whole_cotangent_once():
    seen, x = [], Tensor(X, requires_grad=True)
    y = tl.backward_hook(x, seen.append)
    (y * 2.0 + y * 3.0).sum().backward()
    assert [g.data.tolist() for g in seen] == [[5.0, 5.0]]


def test_a_hook_is_differentiated():
    x = Tensor(X, requires_grad=True)
    w = Tensor(3.0, requires_grad=True)
    (slope,) = tl.grad((tl.backward_hook(x, lambda g: w * g**2) ** 3).sum(), [x], create_graph=True)
    np.testing.assert_allclose(slope.data, 27.0 * X**4)  # w (3 x²)²
    dx, dw = tl.grad(slope.sum(), [x, w])
    np.testing.assert_allclose(dx.data, 3.0 * (108.0 * X**3) ** 2)  # this gradient passes through the hook, too
    assert dw.item() == pytest.approx((9.0 * X**4).sum())


def test_a_hook_inside_transforms():
    def function(x):
        return (tl.backward_hook(x, lambda g: 2.0 * g) ** 3).sum()

    np.testing.assert_allclose(tl.value_and_grad(function)(X)[1][0].data, 6.0 * X**2)
    np.testing.assert_allclose(tl.value_and_grad(tl.checkpoint(function))(X)[1][0].data, 6.0 * X**2)


def test_a_hook_in_a_capture_is_repeated_or_refused():
    w = Tensor(X, requires_grad=True)

    def step(hook):
        return {}, {"w": w - tl.grad((tl.backward_hook(w, hook) ** 2).sum(), [w])[0]}

    bound = capture(lambda: step(lambda g: g.clip(-0.5, 0.5)), {}, {"w": w}).bind()
    for _ in range(2):
        before = bound.state["w"].copy()
        bound.run()
        bound.commit()
        np.testing.assert_allclose(bound.state["w"], before - np.clip(2 * before, -0.5, 0.5))
    with pytest.raises(tl.CaptureError, match=r"test_backward.py, line \d+: a backward hook returns None during the step"):
        capture(lambda: step(lambda g: None), {}, {"w": w})
    with pytest.raises(tl.CaptureError, match="the number of a Tensor"):
        capture(lambda: step(lambda g: g if float(g.sum()) < 1.0 else -g), {}, {"w": w})


def test_a_hook_is_not_called_where_no_gradient_flows():
    def never(g):
        raise AssertionError

    constant, x = Tensor(X), Tensor(X, requires_grad=True)
    assert not tl.backward_hook(constant, never).requires_grad
    with tl.no_grad():
        assert not (tl.backward_hook(x, never) * 2.0).requires_grad
    other = Tensor(X, requires_grad=True)
    tl.grad((tl.backward_hook(x, never) * other).sum(), [other])


@pytest.mark.parametrize(
    ("hook", "error", "message"),
    [
        (lambda g: g.sum(), ValueError, r"backward_hook: the hook returned float64 \(\), expected float64 \(2,\)"),
        (lambda g: g.astype(np.float32), ValueError, r"returned float32 \(2,\), expected float64 \(2,\)"),
        (lambda g: [1j, 2.0], TypeError, "backward_hook: the hook's result: data has dtype complex128"),
    ],
)
def test_what_a_hook_returns_is_checked(hook, error, message):
    x = Tensor(X, requires_grad=True)
    with pytest.raises(error, match=message):
        tl.grad(tl.backward_hook(x, hook).sum(), [x])
