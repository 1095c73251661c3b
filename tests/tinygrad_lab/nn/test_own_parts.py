"""What layers, activations and initializers of a user's return is checked, and the message names their class."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor


def refusal(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def own(kind, returned):
    return type("Own", (kind,), {"forward": lambda self, x: returned(x)})()


@pytest.mark.parametrize("kind", [tl.Layer, tl.Activation])
@pytest.mark.parametrize(
    ("returned", "given"),
    [
        (lambda x: None, "None, expected a Tensor; is a return missing?"),
        (
            lambda x: np.tanh(x.data),
            "a value of type ndarray, expected a Tensor; compute with operators and methods",
        ),
        (lambda x: 1.5, "1.5, expected a Tensor; compute with"),
        (lambda x: [x], "a value of type list, expected a Tensor; compute with"),
        (lambda x: (x, x), "a value of type tuple, expected a Tensor; compute with"),
        (lambda x: (y for y in [x]), "a value of type generator, expected a Tensor; compute with"),
    ],
)
def test_a_forward_is_named(kind, returned, given):
    part = own(kind, returned)
    net = tl.Sequential(tl.Linear(1, 2, rng=np.random.default_rng(0)), part)
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()))
    for call in (lambda: part([1.0]), lambda: net([[1.0]]), lambda: trainer.fit([1.0], [1.0]), lambda: trainer.predict([1.0])):
        assert refusal(call).startswith(f"Own: forward returned {given}")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_activation_keeps_shape_and_dtype(dtype):
    x = Tensor([1.0, 2.0], dtype=dtype)
    other = np.float32 if dtype == np.float64 else np.float64
    assert refusal(lambda: own(tl.Activation, lambda x: x.sum())(x)) == (
        "Own: forward returned a Tensor of shape (), expected (2,)"
    )
    assert refusal(lambda: own(tl.Activation, lambda x: x.astype(other))(x)) == (
        f"Own: forward returned a Tensor of {np.dtype(other)}, expected {np.dtype(dtype)}; use .astype()"
    )
    assert own(tl.Activation, lambda x: (x > 1.5).astype(x.dtype))(x).numpy().tolist() == [0.0, 1.0]
    assert own(tl.Activation, lambda x: x * 0.5)([1, 2]).dtype == np.float64


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "Own: returned an array of object, expected numbers; is a return missing?"),
        (np.zeros((2, 3)), "Own: returned an array of shape (2, 3), expected (3, 2)"),
        (np.zeros(()), "Own: returned an array of shape (), expected (3, 2)"),
        (np.full((3, 2), np.nan), "Own: returned nan, expected finite numbers"),
        (np.full((3, 2), -np.inf), "Own: returned -inf, expected finite numbers"),
        (np.zeros((3, 2), complex), "Own: returned an array of complex128, expected numbers; is a return missing?"),
        (np.zeros((3, 2), bool), "Own: returned an array of bool, expected numbers; is a return missing?"),
    ],
)
def test_an_initializer_is_named(returned, message):
    class Own(tl.Initializer):
        def __call__(self, shape, rng):
            return returned

    rng = np.random.default_rng(0)
    assert refusal(lambda: tl.Linear(2, 3, rng=rng, weight_init=Own())) == message
    bias = message.replace("(3, 2)", "(3,)") if "shape ()" in message else None
    if bias:
        assert refusal(lambda: tl.Linear(2, 3, rng=rng, bias_init=Own())) == bias


def test_an_initializer_may_return_whole_numbers_and_lists():
    class Own(tl.Initializer):
        def __call__(self, shape, rng):
            return np.ones(shape, int).tolist()

    layer = tl.Linear(2, 3, rng=np.random.default_rng(0), weight_init=Own(), dtype=np.float32)
    assert layer.weight.dtype == np.float32
    assert layer.weight.numpy().tolist() == [[1.0, 1.0]] * 3


def test_a_preprocessor_is_named():
    class Own(tl.Preprocessor):
        def __init__(self, forward, inverse=lambda y: y):
            self.does, self.undoes = forward, inverse

        def learn(self, data, weight=None):
            pass

        def forward(self, x):
            return self.does(x)

        def inverse(self, y):
            return self.undoes(y)

    def fitted(**parts):
        net = tl.Linear(1, 1, rng=np.random.default_rng(0))
        trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), epochs=1, **parts)
        trainer.fit([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
        return trainer

    message = "Own: forward returned None, expected a Tensor; is a return missing?"
    assert refusal(lambda: fitted(inputs=Own(lambda x: None))) == message
    message = "Own: forward returned 2 rows for 3, expected as many"
    assert refusal(lambda: fitted(inputs=Own(lambda x: x[:2]))) == message
    assert refusal(lambda: fitted(targets=Own(lambda x: x[:2]))) == message
    trained = fitted(targets=Own(lambda y: y, lambda y: None))
    assert refusal(lambda: trained.predict([1.0])) == "Own: inverse returned None, expected a Tensor; is a return missing?"


def test_a_buffer_that_is_set_to_nothing_says_so():
    class Own(tl.Layer):
        def __init__(self):
            self.mean = tl.Buffer([0.0])

        def forward(self, x):
            self.mean.value = None
            return x

    with tl.training_mode():
        assert refusal(lambda: Own()([1.0])) == "Buffer: the new value is None, expected a Tensor of shape (1,)"
