import math

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


LARGEST = float(np.finfo(np.float64).max)
LARGEST_SINGLE = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float64).tiny)
SMALLEST_SINGLE = float(np.finfo(np.float32).tiny)


@pytest.mark.parametrize("limit", [1e-150, 1e-12, 1.0, 10.0, 1e150])
@pytest.mark.parametrize("size", [1e154, 1.4e154, 1e200, 1e300, LARGEST / 8])
def test_gradients_whose_squares_overflow_are_clipped_to_full_precision(size, limit):
    clipped = run(tl.ClipGradNorm(limit), [np.array([3.0, -4.0]) * size, np.array([[0.0]]), np.array(12.0) * (size / 12)])
    factor = limit / np.sqrt(26.0) / size
    expected = np.array([3.0, -4.0, 0.0, 1.0]) / np.sqrt(26.0) * limit if factor > SMALLEST else np.full(4, np.nan)
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in clipped]), expected, rtol=1e-15)


@pytest.mark.parametrize("limit", [1e-38, 1e-30, 1e-7, 1.0, 1e30])
@pytest.mark.parametrize("size", [1e20, 1e30, LARGEST_SINGLE / 4])
def test_a_factor_that_single_precision_cannot_hold_zeroes_nothing(size, limit):
    (clipped,) = tl.ClipGradNorm(limit)([Tensor(np.array([3.0, 4.0]) * size, dtype=np.float32)])
    factor = min(1.0, limit / float(np.linalg.norm(np.float32([3.0 * size, 4.0 * size]).astype(float))))
    expected = np.array([3.0, 4.0]) * size * factor if factor > SMALLEST_SINGLE else np.full(2, np.nan)
    np.testing.assert_allclose(clipped.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e100])
@pytest.mark.parametrize(("single", "double"), [(3.0, 4.0), (3e30, 4e30), (3e30, 4e200), (1e-30, 1e300), (3e30, 1e-300)])
def test_gradients_of_two_precisions_have_one_norm(single, double, limit):
    first, second = tl.ClipGradNorm(limit)([Tensor([single], dtype=np.float32), Tensor([double])])
    norm = math.hypot(np.float32(single), double)
    factor = limit / norm if norm > limit else 1.0
    assert (first.dtype, second.dtype) == (np.float32, np.float64)
    expected = float(np.float32(single)) * factor if factor > SMALLEST_SINGLE else np.nan
    assert first.item() == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert second.item() == pytest.approx(double * factor, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("limit", [1e-30, 1.0, 1e150])
def test_subnormal_gradients_stay_to_the_bit(dtype, limit):
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1.0, -3.0, 0.0, 12345.0], dtype)
    (clipped,) = tl.ClipGradNorm(limit)([Tensor(tiny)])
    np.testing.assert_array_equal(clipped.numpy(), tiny)


@given(gradient_lists, limits)
def test_ordinary_gradients_have_the_bits_of_the_formula(gradients, limit):
    squares = sum(np.sum(g * g) for g in gradients)
    factor = limit / np.sqrt(np.maximum(squares, limit * limit))
    for before, after in zip(gradients, run(tl.ClipGradNorm(limit), gradients), strict=True):
        np.testing.assert_array_equal(after, before * factor)


def test_tiny_elements_beside_a_norm_below_a_huge_limit_stay_to_the_bit():
    gradients = [np.array([9e149, 5e-324, 1e-200])]
    np.testing.assert_array_equal(run(tl.ClipGradNorm(1e150), gradients)[0], gradients[0])
    single = np.float32([3e38, 1e-45, 1e-30])
    np.testing.assert_array_equal(tl.ClipGradNorm(1e40)([Tensor(single)])[0].numpy(), single)


@pytest.mark.parametrize("size", [1.0, 1e200])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_gradients_become_nan_beside_an_element_that_is_not_finite(size, bad):
    clipped = run(tl.ClipGradNorm(1.0), [np.array([size, bad]), np.array([1.0])])
    assert np.isnan(np.concatenate(clipped)).all()


@pytest.mark.parametrize("width", [1, 40])
@pytest.mark.parametrize(("x", "y"), [(1e3, 1e153), (1e150, 1e153), (1e153, 1e150), (1e-3, 1e154)])
@pytest.mark.parametrize("limit", [1e-3, 1.0])
@pytest.mark.parametrize("engine", ["eager", "replay", "compiled"])
def test_a_step_with_huge_gradients_has_the_length_of_the_limit(engine, limit, x, y, width):
    layer = tl.Linear(width, 1, rng=np.random.default_rng(0), weight_init=tl.Zeros())
    optimizer = tl.SGD(layer.parameters(), lr=1.0, hooks=[tl.ClipGradNorm(limit)])
    trainer = tl.Trainer(layer, tl.HalfSquaredError(), optimizer=optimizer, epochs=1, batch_size=1, engine=engine)
    trainer.fit(np.full((1, width), x), [y])
    step = np.concatenate([value.ravel() for value in layer.state_dict().values()])
    expected = np.append(np.full(width, x), 1.0)
    expected *= limit / np.sqrt(width * (x / 1e100) ** 2 + 1e-200) / 1e100
    np.testing.assert_allclose(step, expected, rtol=1e-13)


def test_lanes_of_any_size_are_clipped_as_they_are_alone():
    def trainer(i):
        layer = tl.Linear(2, 1, rng=np.random.default_rng(i))
        optimizer = tl.SGD(layer.parameters(), lr=0.1, hooks=[tl.ClipGradNorm(1.0 + i)])
        return tl.Trainer(layer, tl.HalfSquaredError(), optimizer=optimizer, epochs=2, batch_size=1, engine="replay")

    def data(i):
        return np.array([[1.0, 2.0], [3.0, -1.0]]) * [1.0, 1e100][i % 2], np.array([1.0, 1e10]) * [1.0, 1e140][i // 2]

    alone = [trainer(i) for i in range(4)]
    for i, one in enumerate(alone):
        one.fit(*data(i))
    together = [trainer(i) for i in range(4)]
    tl.fit_lanes(together, [data(i) for i in range(4)])
    for one, other in zip(alone, together, strict=True):
        for name, value in one.model.state_dict().items():
            np.testing.assert_array_equal(value, other.model.state_dict()[name])


def test_the_norm_is_global_over_all_gradients():
    assert [g.tolist() for g in run(tl.ClipGradNorm(2.6), [np.array([3.0]), np.array([[4.0]]), np.array(12.0)])] == [
        pytest.approx([0.6]), [pytest.approx([0.8])], pytest.approx(2.4)
    ]  # fmt: skip


@given(gradient_lists, limits)
def test_values_are_limited_element_by_element(gradients, limit):
    for before, after in zip(gradients, run(tl.ClipGradValue(limit), gradients), strict=True):
        np.testing.assert_array_equal(after, np.clip(before, -limit, limit))


def test_the_extremes_of_a_limit_on_values():
    elements = np.array([1e308, -1e308, 0.0, np.nan, np.inf, -np.inf])
    (clipped,) = run(tl.ClipGradValue(1e-300), [elements])
    np.testing.assert_array_equal(clipped, [1e-300, -1e-300, 0.0, np.nan, 1e-300, -1e-300])
    single = np.float32([3e38, -1e-45, np.inf])
    (clipped,) = tl.ClipGradValue(1e300)([Tensor(single)])
    np.testing.assert_array_equal(clipped.numpy(), single)


@pytest.mark.parametrize("hook", [tl.ClipGradNorm(1.0), tl.ClipGradValue(1.0)], ids=repr)
class TestEveryHook:
    def test_takes_any_iterable(self, hook):
        (clipped,) = hook(Tensor([x]) for x in (3.0,))
        assert clipped.item() == 1.0

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
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: {name} is {bad!r}, expected a number "):
        kind(bad)


def test_repr_names_the_limit():
    assert repr(tl.ClipGradNorm(10)) == "ClipGradNorm(10.0)"
    assert repr(tl.ClipGradValue(0.5)) == "ClipGradValue(0.5)"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda gradients: None, "Own: returned None, expected a list of 2 Tensors"),
        (lambda gradients: [1.0, 2.0], "Own: __call__ returned as gradient 0 1.0, expected a Tensor"),
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
    with pytest.raises((ValueError, TypeError), match=message) as failure:
        optimizer.step()
    assert "\n" not in str(failure.value)
