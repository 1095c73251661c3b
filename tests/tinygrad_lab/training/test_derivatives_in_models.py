"""Models whose forward differentiates a network: they train on each engine, and are evaluated as they are trained."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor

X = np.linspace(-1.0, 1.0, 12).reshape(-1, 1)


class Differentiating(tl.Layer):
    """Returns u(x) and du/dx side by side, for a network u."""

    def __init__(self, derivative, seed=0):
        rng = np.random.default_rng(seed)
        self.net = tl.Sequential(tl.Linear(1, 8, rng=rng), tl.Tanh(), tl.Linear(8, 1, rng=rng))
        self.derivative = derivative

    def forward(self, x):
        return tl.concatenate(self.derivative(self.net, x), axis=1)


def by_grad(net, x):
    x = Tensor(x, requires_grad=True)
    u = net(x)
    return [u, tl.grad(u.sum(), [x])[0]]


def by_grad_of_a_leaf(net, x):
    leaf = x.detach()
    leaf.requires_grad = True
    u = net(leaf)
    return [u, tl.grad(u.sum(), [leaf], create_graph=True)[0]]


def by_jvp(net, x):
    return list(tl.jvp(net, [x], [np.ones(x.shape)]))


def by_value_and_grad(net, x):
    return [net(x), tl.value_and_grad(lambda t: net(t).sum())(x)[1][0]]


def by_vjp(net, x):
    value, pullback = tl.vjp(net, x)
    return [value, pullback(np.ones(value.shape))[0]]


def by_jacobian(net, x):
    return [net(x), tl.jacobian(lambda t: net(t).sum())(x)]


def by_elementwise_grad(net, x):
    return [net(x), tl.elementwise_grad(net)(x)]


def second_derivative(net, x):
    return [net(x), tl.elementwise_grad(tl.elementwise_grad(net))(x)]


def by_hvp(net, x):
    return [net(x), tl.hvp(lambda t: net(t).sum(), x, np.ones(x.shape))]


def by_checkpoint(net, x):
    return [tl.checkpoint(net)(x), tl.checkpoint(tl.elementwise_grad(net))(x)]


FIRST = [by_grad, by_grad_of_a_leaf, by_jvp, by_value_and_grad, by_vjp, by_jacobian, by_elementwise_grad, by_checkpoint]
SECOND = [second_derivative, by_hvp]


def trained(derivative, engine, epochs=20):
    model = Differentiating(derivative)
    trainer = tl.Trainer(
        model,
        tl.MeanSquaredError(),
        optimizer=tl.SGD(model.parameters(), lr=0.05),
        epochs=epochs,
        batch_size=None,
        engine=engine,
    )
    y = np.hstack([np.sin(X), np.cos(X)])
    history = trainer.fit(X, y, validation=(X, y))
    return trainer, history, y


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize("derivatives", [FIRST, SECOND], ids=["first", "second"])
def test_all_ways_to_a_derivative_train_the_same(derivatives, engine):
    losses = {derivative.__name__: trained(derivative, engine)[1]["train_loss"] for derivative in derivatives}
    first = losses[derivatives[0].__name__]
    assert first[-1] < 0.9 * first[0]
    for name, other in losses.items():
        np.testing.assert_allclose(other, first, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("derivative", [*FIRST, *SECOND], ids=lambda f: f.__name__)
def test_the_validation_loss_is_the_training_loss_of_the_same_data(derivative):
    """The validation loss of an epoch is that of its last parameters: the training loss of the next epoch."""
    for engine in ("eager", "replay"):
        trainer, history, y = trained(derivative, engine)
        np.testing.assert_allclose(history["validation_loss"][:-1], history["train_loss"][1:], rtol=1e-9)
        assert trainer.evaluate(X, y) == pytest.approx(history["validation_loss"][-1], rel=1e-12)
        assert np.mean((trainer.predict(X) - y) ** 2) == pytest.approx(history["validation_loss"][-1], rel=1e-12)


def test_a_gradient_penalty_has_the_gradient_of_differences():
    """The second target is 0, so the loss contains the mean of the squared slopes."""
    model = Differentiating(by_grad)
    trainer = tl.Trainer(model, tl.MeanSquaredError(), optimizer=tl.SGD(model.parameters(), lr=1.0), batch_size=None)
    y = np.hstack([np.sin(X), np.zeros_like(X)])
    updated = trainer.training_step(Tensor(X), Tensor(y)).parameters
    for parameter, new in zip(model.parameters(), updated, strict=True):
        before = parameter.numpy()
        index = tuple(n // 2 for n in before.shape)
        sides = []
        for step in (1e-5, -1e-5):
            moved = before.copy()
            moved[index] += step
            parameter.assign(moved)
            sides.append(trainer.evaluate(X, y))
        parameter.assign(before)
        assert (before - new.numpy())[index] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-6, abs=1e-9)


class Adapting(tl.Layer):
    """Moves its weight against the gradient of a loss of its own before it predicts."""

    def __init__(self, unused, through_result):
        self.weight = Tensor([[0.5], [0.25]], requires_grad=True)
        self.unused = unused
        self.through_result = through_result

    def forward(self, x):
        w = self.weight * 1.0 if self.through_result else self.weight
        other = Tensor(x, requires_grad=True)
        loss = ((x @ w.T) ** 2).mean() + (other @ w.T).sum()
        w_new = w - 0.1 * tl.grad(loss, [w], unused=self.unused)[0]
        return x @ w_new.T


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize("unused", ["raise", "zeros"])
@pytest.mark.parametrize("through_result", [False, True])
def test_a_model_that_differentiates_by_its_own_parameters(engine, unused, through_result):
    model = Adapting(unused, through_result)
    trainer = tl.Trainer(
        model, tl.MeanSquaredError(), optimizer=tl.SGD(model.parameters(), lr=0.1), epochs=4, batch_size=None, engine=engine
    )
    y = np.hstack([X, 2.0 * X])
    history = trainer.fit(X, y, validation=(X, y))
    np.testing.assert_allclose(history["validation_loss"][:-1], history["train_loss"][1:], rtol=1e-12)
    assert np.mean((trainer.predict(X) - y) ** 2) == pytest.approx(history["validation_loss"][-1], rel=1e-12)


class NumPyActivation(tl.Activation):
    def forward(self, x):
        return Tensor(np.tanh(x.numpy()))


@pytest.mark.filterwarnings("ignore:training on the eager engine")
@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_an_activation_that_leaves_the_graph_is_refused_where_earlier_layers_would_stay_untrained(engine):
    rng = np.random.default_rng(0)
    model = tl.Sequential(tl.Linear(1, 4, rng=rng), NumPyActivation(), tl.Linear(4, 1, rng=rng))
    trainer = tl.Trainer(model, tl.MeanSquaredError(), optimizer=tl.SGD(model.parameters(), lr=0.1), epochs=1, engine=engine)
    with pytest.raises(TypeError, match=r"test_derivatives_in_models.py, line \d+: \.numpy\(\) of a Tensor .* a training step"):
        trainer.fit(X, X)


def test_training_inside_no_grad_trains():
    with tl.no_grad():
        history = trained(by_grad, "eager", epochs=3)[1]
    assert history["train_loss"][2] < history["train_loss"][0]
    assert (Tensor(1.0, requires_grad=True) * 2.0).requires_grad


def test_evaluation_keeps_no_graph_of_the_parameters():
    seen = []

    class Keeping(tl.Layer):
        def __init__(self):
            self.linear = tl.Linear(1, 1, rng=np.random.default_rng(0))

        def forward(self, x):
            seen.append(self.linear(x))
            return seen[-1]

    model = Keeping()
    trainer = tl.Trainer(model, tl.MeanSquaredError(), optimizer=tl.SGD(model.parameters(), lr=0.1))
    trainer.predict(X)
    trainer.evaluate(X, X)
    assert [h.requires_grad for h in seen] == [False] * len(seen)
    assert len(seen) >= 2
