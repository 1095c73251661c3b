import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.recording import record

elements = st.floats(-1e3, 1e3, allow_subnormal=False)
gradient_lists = st.lists(
    arrays(np.float64, array_shapes(min_dims=0, max_dims=2, max_side=3), elements=elements), min_size=1, max_size=4
)
limits = st.floats(1e-3, 1e3)


def norm(gradients):
    return np.sqrt(sum((g**2).sum() for g in gradients))


def run(hook, gradients):
    results = hook([Tensor(g) for g in gradients])
    assert [r.shape for r in results] == [np.shape(g) for g in gradients]
    return [r.numpy() for r in results]


@given(gradient_lists, limits)
def test_clipped_norm_is_the_limit_and_the_direction_stays(gradients, limit):
    size = norm(gradients)
    assume(size > limit)
    clipped = run(tl.ClipGradNorm(limit), gradients)
    assert norm(clipped) == pytest.approx(limit, rel=1e-12)
    for before, after in zip(gradients, clipped, strict=True):
        np.testing.assert_allclose(after, before * (limit / size), rtol=1e-12)


@given(gradient_lists, st.floats(1.0000001, 1e3))
def test_gradients_below_the_norm_stay_to_the_bit(gradients, excess):
    size = norm(gradients)
    assume(size > 1e-3)
    for before, after in zip(gradients, run(tl.ClipGradNorm(size * excess), gradients), strict=True):
        np.testing.assert_array_equal(after, before)


@given(gradient_lists)
def test_gradients_at_the_norm_stay(gradients):
    size = norm(gradients)
    assume(size > 1e-3)
    for before, after in zip(gradients, run(tl.ClipGradNorm(size), gradients), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-15)


def test_gradients_of_zero_stay_zero():
    assert [g.tolist() for g in run(tl.ClipGradNorm(10.0), [np.zeros(2), np.array(0.0)])] == [[0.0, 0.0], 0.0]


@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float64, 1e150), (np.float32, 1e20), (np.float64, 1e-150), (np.float32, 1e-25)]
)
def test_an_extreme_limit_neither_zeroes_nor_spoils_gradients(dtype, limit):
    gradients = [Tensor([3.0, 4.0], dtype=dtype), Tensor([0.0], dtype=dtype)]
    with np.errstate(all="ignore"):  # as in the Trainer
        clipped = tl.ClipGradNorm(limit)(gradients)
    np.testing.assert_allclose(clipped[0].numpy(), np.array([3.0, 4.0]) * min(1.0, limit / 5.0), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-150), (np.float32, 1e-25)])
def test_gradients_of_zero_stay_zero_at_a_tiny_limit(dtype, limit):
    with np.errstate(all="ignore"):
        (clipped,) = tl.ClipGradNorm(limit)([Tensor([0.0, 0.0], dtype=dtype)])
    assert clipped.numpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e150), (np.float32, 1e25)])
def test_huge_gradients_are_rescaled(dtype, size):
    with np.errstate(all="ignore"):
        (clipped,) = tl.ClipGradNorm(10.0)([Tensor([3.0 * size, 4.0 * size], dtype=dtype)])
    np.testing.assert_allclose(clipped.numpy(), [6.0, 8.0], rtol=1e-6)


def test_the_norm_is_global_over_all_gradients():
    assert [g.tolist() for g in run(tl.ClipGradNorm(2.6), [np.array([3.0]), np.array([[4.0]]), np.array(12.0)])] == [
        pytest.approx([0.6]), [pytest.approx([0.8])], pytest.approx(2.4)
    ]  # fmt: skip


@given(gradient_lists, limits)
def test_values_are_limited_element_by_element(gradients, limit):
    for before, after in zip(gradients, run(tl.ClipGradValue(limit), gradients), strict=True):
        np.testing.assert_array_equal(after, np.clip(before, -limit, limit))


@pytest.mark.parametrize("hook", [tl.ClipGradNorm(1.0), tl.ClipGradValue(1.0)], ids=repr)
class TestEveryHook:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_keeps_dtypes(self, hook, dtype):
        results = hook([Tensor([3.0, 4.0], dtype=dtype), Tensor(5.0, dtype=dtype)])
        assert [r.dtype for r in results] == [dtype, dtype]

    def test_changes_no_argument(self, hook):
        gradients = [Tensor([3.0, -4.0])]
        hook(gradients)
        assert gradients[0].numpy().tolist() == [3.0, -4.0]

    def test_of_nothing_is_nothing(self, hook):
        assert hook([]) == []

    def test_runs_the_same_ops_whatever_the_values(self, hook):
        lines = []
        for gradient in ([0.0, 0.0], [0.1, 0.1], [30.0, -40.0]):
            with record() as recorded:
                hook([Tensor(gradient)])
            lines.append([line.op.name for line in recorded.lines])
        assert lines[0] == lines[1] == lines[2]
        assert lines[0]

    def test_its_limit_is_an_input(self, hook):
        (limit,) = (value for value in vars(hook).values() if isinstance(value, Tensor))
        before = limit.numpy()
        try:
            limit.assign(0.5)
            (clipped,) = hook([Tensor([100.0])])
        finally:
            limit.assign(before)
        assert clipped.numpy() == pytest.approx([0.5])


@pytest.mark.parametrize(("kind", "name"), [(tl.ClipGradNorm, "max_norm"), (tl.ClipGradValue, "limit")])
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), True, "10", None], ids=repr)
def test_a_bad_limit_is_refused_and_named(kind, name, bad):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: {name} is {bad!r}, expected a number above 0$"):
        kind(bad)


def test_repr_names_the_limit():
    assert repr(tl.ClipGradNorm(10)) == "ClipGradNorm(10.0)"
    assert repr(tl.ClipGradValue(0.5)) == "ClipGradValue(0.5)"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda gradients: None, "Own: returned None, expected a list of 2 Tensors"),
        (lambda gradients: [1.0, 2.0], r"Own: returned \[1.0, 2.0\], expected a list of 2 Tensors"),
        (lambda gradients: gradients[:1], r"Own: returned gradients of shapes \[\(1, 3\)\], expected \[\(1, 3\), \(1,\)\]"),
        (lambda gradients: [g.sum() for g in gradients], r"Own: returned gradients of shapes \[\(\), \(\)\], expected"),
    ],
)
def test_a_hook_that_returns_something_else_is_named(returned, message):
    class Own(tl.GradientHook):
        def __call__(self, gradients):
            return returned(gradients)

    layer = tl.Linear(3, 1, rng=np.random.default_rng(0))
    optimizer = tl.SGD(layer.parameters(), hooks=[tl.ClipGradNorm(1.0), Own()])
    with pytest.raises(ValueError, match=message) as failure:
        optimizer.step()
    assert "\n" not in str(failure.value)
