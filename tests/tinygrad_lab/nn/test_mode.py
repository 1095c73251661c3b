"""Training mode and evaluation mode, buffers, random inputs, and the layers that are made of them."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.testing import check_grad

X = np.random.default_rng(0).normal(size=(6, 3))


class Counter(tl.Layer):
    """Counts the samples it has seen, twice where it is used twice."""

    def __init__(self):
        self.seen = tl.Buffer(0.0)

    def forward(self, x):
        if self.training:
            self.seen.value = self.seen.value + float(len(x))
        return x


def test_evaluation_is_the_mode_outside_of_a_block():
    layer = Counter()
    assert not layer.training
    layer(X)
    with tl.training_mode():
        assert layer.training
        layer(X)
        assert layer.seen.value.item() == 6.0  # the next use in the same pass sees the new value
        layer(X)
        assert layer.seen.tensor.item() == 0.0  # committed last
    assert not layer.training
    assert layer.seen.value.item() == 12.0


def test_a_block_inside_a_block_goes_on_from_its_values():
    layer = Counter()
    with tl.training_mode():
        layer(X)
        with tl.training_mode():
            layer(X)
        assert layer.seen.value.item() == 12.0
        layer(X)
    assert layer.seen.value.item() == 18.0


def test_an_exception_in_a_block_changes_no_buffer():
    layer = Counter()
    net = tl.Sequential(layer, tl.BatchNorm(3))  # which refuses a single sample
    with pytest.raises(ValueError, match="no variance"), tl.training_mode():
        net(X[:1])
    assert layer.seen.value.item() == 0.0
    assert not layer.training


def test_a_buffer_is_named_saved_and_loaded_with_the_parameters(tmp_path):
    rng = np.random.default_rng(0)
    net = tl.Sequential(tl.Linear(3, 2, rng=rng), tl.BatchNorm(2), Counter())
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_variance", "2.seen"]
    assert list(net.state_dict()) == list(net.named_state()) == names
    assert [name for name, _ in net.named_buffers()] == names[4:]
    assert [name for name, _ in net.named_parameters()] == names[:4]
    with tl.training_mode():
        net(X)
    tl.save_weights(tmp_path / "net", net)
    other = tl.Sequential(tl.Linear(3, 2, rng=rng), tl.BatchNorm(2), Counter())
    tl.load_weights(tmp_path / "net", other)
    np.testing.assert_array_equal(other(X).data, net(X).data)
    assert other[2].seen.value.item() == 6.0
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(X).data, net(X).data)
    with pytest.raises(ValueError, match="2.seen is missing"):
        other.load_state_dict({name: value for name, value in net.state_dict().items() if name != "2.seen"})


def test_a_shared_layer_has_its_buffer_once():
    layer = Counter()
    net = tl.Sequential(layer, layer)
    assert [name for name, _ in net.named_buffers()] == ["0.seen"]
    with tl.training_mode():
        net(X)
    assert layer.seen.value.item() == 12.0


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: setattr(tl.Buffer(0.0), "value", 1.0), RuntimeError, "evaluation mode"),
        (lambda: tl.RandomInput("uniform")((2,)), RuntimeError, "no random numbers in evaluation mode"),
        (lambda: tl.RandomInput("poisson"), ValueError, "'poisson', expected uniform or normal"),
        (
            lambda: in_training(lambda: setattr(tl.Buffer([0.0]), "value", 1.0)),
            ValueError,
            r"of shape \(\), expected float64 of",
        ),
        (lambda: in_training(lambda: setattr(tl.Buffer(0.0), "value", np.float32(1.0))), ValueError, "float32 of shape"),
        (lambda: in_training(lambda: tl.Dropout(0.5)(X), rng=None), RuntimeError, "give it a generator"),
        (lambda: in_training(lambda: None, rng=np.random), TypeError, "expected a numpy Generator"),
        (lambda: setattr(Counter(), "training", True), AttributeError, "training"),
        (lambda: tl.Dropout(1.0), ValueError, "Dropout: p is 1.0, expected a number of at least 0 and below 1.0"),
        (lambda: tl.GaussianNoise(-1.0), ValueError, "GaussianNoise: std is -1.0"),
        (lambda: tl.BatchNorm(0), ValueError, "BatchNorm: features is 0"),
        (lambda: tl.BatchNorm(2, momentum=1.5), ValueError, "momentum is 1.5, expected a number above 0 and at most 1.0"),
        (lambda: tl.LayerNorm(2, eps=0.0), ValueError, "LayerNorm: eps is 0.0"),
        (lambda: tl.LayerNorm(2)(X), ValueError, r"LayerNorm\(2\): input has shape \(6, 3\), expected \(samples, ..., 2\)"),
        (lambda: tl.BatchNorm(3)(X[0]), ValueError, r"input has shape \(3,\)"),
        (lambda: in_training(lambda: tl.BatchNorm(3)(X[:1])), ValueError, "a batch of 1 sample has no variance"),
    ],
)
def test_what_has_no_meaning_is_refused(use, error, message):
    with pytest.raises(error, match=message):
        use()


def in_training(function, rng=np.random.default_rng(0)):  # noqa: B008 (any numbers will do)
    with tl.training_mode(rng):
        return function()


# Layers --------------------------------------------------------------------------------------------------------------


def batch_norm(x, weight, bias, eps=1e-5):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + eps) * weight + bias


def test_batch_norm_follows_the_formula_and_its_running_statistics_the_batches():
    norm = tl.BatchNorm(3, momentum=0.25)
    weight, bias = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 1.0])
    norm.weight.assign(weight)
    norm.bias.assign(bias)
    mean, variance = np.zeros(3), np.ones(3)
    for batch in (X, X[:4] + 1.0):
        y = in_training(lambda: norm(batch))  # noqa: B023 (called at once)
        np.testing.assert_allclose(y.data, batch_norm(batch, weight, bias), rtol=1e-12)
        mean = 0.75 * mean + 0.25 * batch.mean(0)
        variance = 0.75 * variance + 0.25 * batch.var(0, ddof=1)
    np.testing.assert_allclose(norm.running_mean.value.data, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_variance.value.data, variance, rtol=1e-12)
    expected = (X - mean) / np.sqrt(variance + 1e-5) * weight + bias
    np.testing.assert_allclose(norm(X).data, expected, rtol=1e-12)


def test_batch_norm_takes_all_axes_but_the_last_as_samples():
    x = X.reshape(2, 3, 3)
    y = in_training(lambda: tl.BatchNorm(3)(x))
    np.testing.assert_allclose(y.data, batch_norm(X, 1.0, 0.0).reshape(2, 3, 3), rtol=1e-12)


def test_layer_norm_follows_the_formula():
    y = tl.LayerNorm(3)(X)
    expected = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y.data, expected, rtol=1e-12)


def test_dropout_keeps_the_mean_and_drops_its_share():
    x = np.ones((200, 500))
    y = in_training(lambda: tl.Dropout(0.3)(x)).numpy()
    assert set(np.unique(y)) == {0.0, 1.0 / 0.7}
    assert abs((y == 0.0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)  # five standard errors
    np.testing.assert_array_equal(in_training(lambda: tl.Dropout(0.0)(x)).data, x)
    np.testing.assert_array_equal(tl.Dropout(0.3)(x).data, x)


def test_gaussian_noise_has_its_standard_deviation():
    x = np.full((200, 500), 2.0)
    noise = in_training(lambda: tl.GaussianNoise(0.5)(x)).numpy() - x
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(x.size)
    assert abs(noise.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * x.size)
    np.testing.assert_array_equal(tl.GaussianNoise(0.5)(x).data, x)


def test_float32_stays_float32():
    x = X.astype(np.float32)
    for layer in (tl.BatchNorm(3, dtype=np.float32), tl.LayerNorm(3, dtype=np.float32), tl.Dropout(0.5), tl.GaussianNoise(1.0)):
        assert in_training(lambda: layer(x)).dtype == np.float32  # noqa: B023 (called at once)
        assert layer(x).dtype == np.float32


@pytest.mark.parametrize(
    "layer", [tl.Dropout(0.4), tl.GaussianNoise(0.1), tl.BatchNorm(3), tl.LayerNorm(3)], ids=lambda x: type(x).__name__
)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_order_two_with_the_same_random_numbers(layer, training):
    def function(x, *parameters):
        if training:
            with tl.training_mode(np.random.default_rng(3)):
                return (layer(x) * np.linspace(0.5, 1.5, 18).reshape(6, 3)).tanh()
        return layer(x).tanh()

    check_grad(function, tl.Tensor(X, requires_grad=True), *layer.parameters(), order=2)
