import numpy as np
import pytest
from scipy import stats

import tinygrad_lab as tl

SHAPE = (150, 250)  # fan_out, fan_in
# kind -> its distribution at a gain of 1
LAWS = {
    tl.XavierUniform: stats.uniform(-np.sqrt(6 / 400), 2 * np.sqrt(6 / 400)),
    tl.XavierNormal: stats.norm(0, np.sqrt(2 / 400)),
    tl.HeUniform: stats.uniform(-np.sqrt(3 / 250), 2 * np.sqrt(3 / 250)),
    tl.HeNormal: stats.norm(0, np.sqrt(1 / 250)),
}
every_kind = pytest.mark.parametrize("kind", LAWS)
gains = pytest.mark.parametrize("gain", [1.0, np.sqrt(0.5), 2.0])


def draw(initializer, seed=0, shape=SHAPE):
    return initializer(shape, np.random.default_rng(seed))


@every_kind
@gains
def test_draws_follow_the_law(kind, gain):
    values = draw(kind(gain)).ravel() / gain
    assert stats.kstest(values, LAWS[kind].cdf).pvalue > 0.01


@every_kind
@gains
def test_mean_and_variance(kind, gain):
    values = draw(kind(gain)).ravel() / gain
    law = LAWS[kind]
    variance, kurtosis = law.var(), float(law.stats(moments="k")) + 3.0
    assert abs(values.mean()) < 4 * np.sqrt(variance / values.size)
    # the mean of squares has variance (kurtosis - 1) σ⁴ / n
    assert abs((values**2).mean() / variance - 1) < 4 * np.sqrt((kurtosis - 1) / values.size)


@pytest.mark.parametrize("kind", [tl.XavierUniform, tl.HeUniform])
@gains
def test_uniform_draws_fill_their_bounds_and_stay_inside(kind, gain):
    bound = gain * LAWS[kind].support()[1]
    values = draw(kind(gain))
    assert -bound <= values.min() < -0.999 * bound
    assert 0.999 * bound < values.max() <= bound


@pytest.mark.parametrize("kind", [tl.HeUniform, tl.HeNormal])
def test_he_keeps_the_variance_through_relu_by_default(kind):
    assert draw(kind()).var() == pytest.approx(2 / 250, rel=0.03)


def test_the_default_of_a_linear_layer_is_the_reports():
    weight = tl.Linear(250, 150, rng=np.random.default_rng(0)).weight.numpy()
    scale = np.sqrt(12 / 400)
    assert stats.kstest(weight.ravel() / scale, stats.uniform(-0.5, 1).cdf).pvalue > 0.01
    np.testing.assert_array_equal(weight, draw(tl.XavierUniform(gain=np.sqrt(0.5))))


@every_kind
def test_the_seed_decides(kind):
    np.testing.assert_array_equal(draw(kind(), seed=3), draw(kind(), seed=3))
    assert (draw(kind(), seed=3) != draw(kind(), seed=4)).all()


@every_kind
def test_successive_draws_of_one_generator_differ(kind):
    rng = np.random.default_rng(0)
    assert (kind()((4, 3), rng) != kind()((4, 3), rng)).all()


@every_kind
def test_result_is_a_float64_array_of_the_shape(kind):
    values = draw(kind(), shape=(3, 2))
    assert (values.shape, values.dtype) == ((3, 2), np.float64)


@every_kind
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_what_is_no_weights_shape_is_refused(kind, shape):
    with pytest.raises(ValueError, match=r"is no \(fan_out, fan_in\); use Zeros or Constant"):
        draw(kind(), shape=shape)


@every_kind
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, "2", None], ids=repr)
def test_a_bad_gain_is_refused_and_named(kind, bad):
    with pytest.raises((ValueError, TypeError), match=rf"{kind.__name__}: gain is {bad!r}"):
        draw(kind(bad))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize(
    ("initializer", "value"), [(tl.Zeros(), 0.0), (tl.Constant(0.25), 0.25), (tl.Constant(-2), -2.0)], ids=repr
)
def test_constants_fill_any_shape_and_leave_the_generator_alone(initializer, value, shape):
    rng = np.random.default_rng(0)
    values = initializer(shape, rng)
    assert (values.shape, values.dtype) == (shape, np.float64)
    assert (values == value).all()
    assert rng.random() == np.random.default_rng(0).random()


def test_initializers_are_values():
    assert tl.HeNormal(1.0) == tl.HeNormal(1.0) != tl.HeNormal(2.0)
    assert repr(tl.XavierUniform(0.5)) == "XavierUniform(gain=0.5)"


def test_a_layer_takes_other_initializers():
    layer = tl.Linear(3, 2, rng=np.random.default_rng(0), weight_init=tl.HeNormal(), bias_init=tl.Constant(0.5))
    np.testing.assert_array_equal(layer.weight.numpy(), draw(tl.HeNormal(), shape=(2, 3)))
    assert layer.bias.numpy().tolist() == [0.5, 0.5]
