"""The gradient-check suite for what is composed from the ops: activations, losses, penalties, layers, the whole network.

Orders 1 and 2, in double precision at a relative tolerance of 1e-9 and in single precision at 1e-4.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab.autodiff import ops
from tinygrad_lab.testing import check_grad, mutant
from tinygrad_lab.testing.strategies import dtypes, shapes, values

TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}


@pytest.mark.parametrize("name", tl.ACTIVATIONS)
@given(data=st.data())
@settings(max_examples=15)
def test_activations(name, data):
    dtype = data.draw(dtypes())
    x = data.draw(values(shapes(max_dims=2), dtype))
    y = tl.get_activation(name)(tl.Tensor(x))
    assert y.shape == x.shape
    assert y.dtype == dtype
    check_grad(tl.get_activation(name), x, rtol=TOLERANCE[dtype])


REGRESSION = [tl.HalfSquaredError(), tl.MeanSquaredError(), tl.MeanAbsoluteError(), tl.Huber(0.55), tl.BinaryCrossEntropy()]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [*REGRESSION, tl.CrossEntropy()], ids=repr)
@given(data=st.data())
@settings(max_examples=10)
def test_losses(loss, weighted, data):
    dtype = data.draw(dtypes())
    samples, features = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    prediction = data.draw(values((samples, features), dtype))
    target = data.draw(values((samples, features), dtype, grid=1))
    arrays = [prediction, target]
    if weighted:
        arrays.append(data.draw(values((samples,), dtype, low=0.5, grid=2)))
    assert loss(*map(tl.Tensor, arrays)).dtype == dtype
    check_grad(loss, *arrays, rtol=TOLERANCE[dtype])


@given(data=st.data())
def test_cross_entropy_of_labels(data):
    logits = data.draw(values((4, 3)))
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4)))
    check_grad(tl.CrossEntropy(), logits, labels, rtol=1e-9)
    one_hot = np.eye(3)[labels]
    np.testing.assert_allclose(tl.CrossEntropy()(logits, labels).item(), tl.CrossEntropy()(logits, one_hot).item(), rtol=1e-14)


PENALTIES = [tl.L1Penalty(0.3), tl.L2Penalty(0.3), tl.ElasticNetPenalty(0.3, l1_ratio=0.25)]


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@given(data=st.data())
@settings(max_examples=10)
def test_penalties(penalty, data):
    dtype = data.draw(dtypes())
    first, second = data.draw(values(shapes(max_dims=2), dtype)), data.draw(values(shapes(max_dims=1), dtype))
    check_grad(lambda *w: penalty.value(w), first, second, rtol=TOLERANCE[dtype])
    check_grad(lambda *w: penalty.gradient(w)[0], first, second, rtol=TOLERANCE[dtype], order=1)
    check_grad(lambda *w: penalty.shrink(w, tl.Tensor(0.01))[0], first, second, rtol=TOLERANCE[dtype], order=1)


@pytest.mark.parametrize("hook", [tl.ClipGradNorm(1.0), tl.ClipGradNorm(100.0), tl.ClipGradValue(0.55)], ids=repr)
@given(data=st.data())
@settings(max_examples=10)
def test_hooks(hook, data):
    g = data.draw(values((2, 2), low=0.5))
    check_grad(lambda *gradients: hook(gradients)[0], g, 2.0 * g[0], rtol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
@given(data=st.data())
@settings(max_examples=10)
def test_linear(bias, data):
    dtype = data.draw(dtypes())
    layer = tl.Linear(3, 2, bias, rng=np.random.default_rng(0), dtype=dtype)
    x = data.draw(values((2, 3), dtype))
    check_grad(lambda x, *_: layer(x), x, *layer.parameters(), rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", tl.ACTIVATIONS)
def test_the_whole_network_with_its_loss_and_penalty(activation, dtype):
    """Every parameter of a small network, through the loss and an L2 penalty, at orders 1 and 2."""
    net = TwoHiddenLayerNet(2, 4, 3, 1, activation=activation, rng=np.random.default_rng(3), dtype=dtype)
    for bias in (net.hidden1.bias, net.hidden2.bias):  # away from the kinks at 0
        bias.assign(np.where(np.arange(bias.size) % 2, 0.6, -0.6))
    x = np.array([[0.5, -1.0], [1.5, 0.25]], dtype)
    y = np.array([[1.0], [-2.0]], dtype)
    penalty = tl.L2Penalty(0.1)

    def objective(x, y, *parameters):
        return tl.HalfSquaredError()(net(x), y) + penalty.value(parameters)

    check_grad(objective, x, y, *net.parameters(), rtol=TOLERANCE[dtype])


def test_the_reports_network_in_full_size():
    net = TwoHiddenLayerNet(1, 75, 50, 1, activation="sigmoid", rng=np.random.default_rng(0))
    x = np.linspace(-4.0, 2.0, 5)[:, None]
    reached = check_grad(lambda *_: tl.HalfSquaredError()(net(x), x), *net.parameters(), elements=20, rtol=1e-8)
    assert reached < 1e-8


@pytest.mark.parametrize("factor", [1.01, 0.0])
@pytest.mark.parametrize(
    ("op", "position"),
    [(ops.matmul, 0), (ops.matmul, 1), (ops.add, 1), (ops.where, 1), (ops.broadcast_to, 0), (ops.transpose, 0)],
)
def test_the_network_check_rejects_a_wrong_vjp(op, position, factor):
    with mutant(op, position, factor), pytest.raises(AssertionError, match="check_grad"):
        test_the_whole_network_with_its_loss_and_penalty("leaky_relu", np.float64)


def test_a_failure_names_the_op_the_input_the_index_and_both_numbers():
    with mutant(ops.sin, 0, 1.01), pytest.raises(AssertionError) as failure:
        check_grad(lambda x, y: x * y.sin(), [1.0, 2.0], [0.5, 0.25])
    message = str(failure.value)
    for part in (
        "order 1",
        "input 1",
        "(1,)",
        "0.25",
        "analytic",
        "complex step",
        "at fault: sin (",
        "test_gradients.py, line ",
    ):
        assert part in message


def test_the_check_restores_what_it_perturbs():
    w = tl.Tensor(np.array([1.0, 2.0], np.float32), requires_grad=True)
    before = w._array
    with mutant(ops.exp, 0, 0.0), pytest.raises(AssertionError):
        check_grad(lambda t: t.exp(), w)
    assert w._array is before
    assert w.dtype == np.float32


def test_derivatives_through_an_update_of_the_optimizer():
    """A step consists of differentiable ops. So a loss after it has a gradient with respect to the values before it."""
    optimizer = tl.SGD([tl.Tensor([1.0, 2.0], requires_grad=True)], momentum=0.9, hooks=[tl.ClipGradNorm(1.0)])

    def after_a_step(w, lr):
        (g,) = optimizer.run_hooks(tl.grad((w**3).sum(), [w], create_graph=True))
        (new,), _ = optimizer.update([w], [g], {"velocity": [tl.Tensor([0.1, 0.2])]}, lr)
        return (new * new).sum()

    check_grad(after_a_step, [1.0, 2.0], 0.1, order=2)
