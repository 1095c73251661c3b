"""The networks: their parameters, their activations, and what they refuse."""

import numpy as np
import pytest

import tinygrad_lab as tl
from models import MultilayerPerceptron, TwoHiddenLayerNet
from tinygrad_lab.testing import check_grad


def make_net(hidden=(6, 5), **options):
    return MultilayerPerceptron(2, hidden, 3, rng=np.random.default_rng(0), **options)


def test_with_two_hidden_layers_it_is_the_report_s_network():
    net = make_net(activation="tanh")
    other = TwoHiddenLayerNet(2, 6, 5, 3, activation="tanh", rng=np.random.default_rng(0))
    assert list(net.state_dict()) == list(other.state_dict())
    x = np.random.default_rng(1).normal(size=(4, 2))
    assert (net(x).data == other(x).data).all()


@pytest.mark.parametrize(("hidden", "parameters"), [((), 2), ((4,), 4), (np.array([4, 3, 2]), 8), ([1] * 12, 26)])
def test_any_depth(hidden, parameters):
    net = make_net(hidden)
    assert len(net.parameters()) == parameters
    assert net(np.zeros((7, 2))).shape == (7, 3)


def test_each_layer_has_its_own_activation():
    net = make_net(activation=("relu", tl.LeakyReLU(0.5)))
    x = np.random.default_rng(1).normal(size=(4, 2))
    state = net.state_dict()
    first = np.maximum(x @ state["hidden1.weight"].T + state["hidden1.bias"], 0.0)
    second = first @ state["hidden2.weight"].T + state["hidden2.bias"]
    second = np.where(second > 0, second, 0.5 * second)
    np.testing.assert_allclose(net(x).data, second @ state["output.weight"].T + state["output.bias"], rtol=1e-12)


def train(net, engine="eager"):
    x = np.linspace(-1.0, 1.0, 8)
    optimizer = tl.SGD(net.parameters(), lr=0.1)
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, epochs=3, batch_size=4, engine=engine)
    trainer.fit(np.stack([x, x**2], axis=1), np.stack([x, x**2, x**3], axis=1))
    return net.state_dict()


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_training_uses_the_activation_that_was_assigned(engine):
    expected = TwoHiddenLayerNet(2, 6, 5, 3, activation="tanh", rng=np.random.default_rng(0))
    net = TwoHiddenLayerNet(2, 6, 5, 3, activation="relu", rng=np.random.default_rng(0))
    net.activation = tl.Tanh()
    assert net.activation == tl.Tanh()
    assert repr(net) == repr(expected)
    weights, others = train(net, engine), train(expected, engine)
    assert all((weights[name] == others[name]).all() for name in others)


def test_its_derivatives_are_right():
    net = make_net((3, 2), activation=["tanh", "softplus"])
    assert check_grad(lambda x, *_: net(x).square().sum(), [[0.5, -1.0]], *net.parameters(), order=2) < 1e-8


def test_the_initial_weights_are_those_of_the_initializer():
    net = make_net((4,), weight_init=tl.Constant(0.25))
    assert (net.state_dict()["hidden1.weight"] == 0.25).all()
    assert (net.state_dict()["output.weight"] == 0.25).all()


def test_single_precision():
    assert make_net(dtype=np.float32)(np.zeros((1, 2), np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "softsign"}, "activation 'softsign' is unknown"),
        ({"activation": ["relu"] * 3}, "activation has 3 entries for 2 hidden layers"),
        ({"activation": []}, "activation has 0 entries for 2 hidden layers"),
        ({"activation": [tl.ReLU(), 3]}, "activation 3 is unknown"),
        ({"activation": None}, "activation None is unknown"),
        ({"hidden": 100}, r"hidden is 100, expected a sequence of sizes, such as \(100,\)"),
        ({"hidden": "100"}, "hidden is '100', expected a sequence"),
        ({"hidden": (6, 0)}, "out_features is 0, expected a positive integer"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        make_net(**options)
    assert "\n" not in str(error.value)
