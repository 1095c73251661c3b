"""The report's rules, worked out by hand in plain NumPy, against the Trainer (docs: the report in facts)."""

import numpy as np
import pytest
from scipy import stats

import tinygrad_lab as tl
from models import TwoHiddenLayerNet

NAMES = ["hidden1.weight", "hidden1.bias", "hidden2.weight", "hidden2.bias", "output.weight", "output.bias"]
SIGMOID = (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2)
RELU = (lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0))
LEAKY_RELU = (lambda z: np.where(z > 0, z, 0.05 * z), lambda z: np.where(z > 0, 1.0, 0.05))
ACTIVATIONS = {"sigmoid": SIGMOID, "relu": RELU, "leaky_relu": LEAKY_RELU}
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


# The oracle: nothing below here until the tests uses tinygrad_lab ------------------------------------------------------


def predict(weights, x, activation):
    """Compute the outputs for all x at once."""
    w1, b1, w2, b2, w3, b3 = weights
    act, _ = ACTIVATIONS[activation]
    return (act(act(np.outer(x, w1[:, 0]) + b1) @ w2.T + b2) @ w3.T + b3)[:, 0]


def sample_gradient(weights, x, y, activation):
    """Return the loss (ŷ - y)²/2 of one sample and its gradient, by the chain rule from the output backwards."""
    w1, b1, w2, b2, w3, b3 = weights
    act, slope = ACTIVATIONS[activation]
    z1 = w1[:, 0] * x + b1
    h1 = act(z1)
    z2 = w2 @ h1 + b2
    h2 = act(z2)
    error = w3[0] @ h2 + b3[0] - y
    delta2 = error * w3[0] * slope(z2)
    delta1 = (w2.T @ delta2) * slope(z1)
    gradient = [
        (delta1 * x)[:, None], delta1, np.outer(delta2, h1), delta2, error * h2[None, :], np.array([error])
    ]  # fmt: skip
    return error**2 / 2, gradient


def norm(arrays):
    return np.sqrt(sum((a**2).sum() for a in arrays))


def clip(gradient, limit):
    size = norm(gradient)
    return [g * (limit / size) for g in gradient] if size >= limit else gradient


def update(weights, x, y, activation, lr, strength, limit, order):
    """Make one update; return its loss in the report's accounting, and the new weights."""
    loss, gradient = sample_gradient(weights, x, y, activation)
    subgradient = [strength * np.sign(w) for w in weights]
    if order == "clip, then penalty":
        gradient = [g + s for g, s in zip(clip(gradient, limit), subgradient, strict=True)]
    else:
        gradient = clip([g + s for g, s in zip(gradient, subgradient, strict=True)], limit)
    weights = [w - lr * g for w, g in zip(weights, gradient, strict=True)]
    return loss + strength * sum(np.abs(w).sum() for w in weights), weights


def learning_rates(decay, first, final, epochs):
    if decay == "geometric":
        return first * (final / first) ** (np.arange(1, epochs + 1) / epochs)
    return first + (final - first) * np.arange(1, epochs + 1) / epochs


def train(weights, data, held_out, activation, rates, strength, limit=10.0, order="clip, then penalty"):
    x, y = data
    train_losses, validation_losses = [], []
    for lr in rates:
        losses = []
        for x_i, y_i in zip(x, y, strict=True):
            loss, weights = update(weights, x_i, y_i, activation, lr, strength, limit, order)
            losses.append(loss)
        train_losses.append(sum(losses) / len(losses))
        errors = predict(weights, held_out[0], activation) - held_out[1]
        validation_losses.append((errors**2).sum() / 2 / len(errors))
    return weights, train_losses, validation_losses


# The tests -------------------------------------------------------------------------------------------------------------


def hand_set_weights(hidden1, hidden2, seed=0):
    """Draw weights of which some are exactly 0, where sign and the slopes of ReLU are a matter of choice."""
    rng = np.random.default_rng(seed)
    shapes = [(hidden1, 1), (hidden1,), (hidden2, hidden1), (hidden2,), (1, hidden2), (1,)]
    weights = [rng.normal(0, 0.7, shape) for shape in shapes]
    weights[1][::2] = 0.0
    weights[2][0] = 0.0
    weights[3][0] = 0.0
    return weights


def make_trainer(weights, activation, strength, limit, order="clip, then penalty", lr=0.05, scheduler=None):
    net = TwoHiddenLayerNet(1, len(weights[1]), len(weights[3]), 1, activation=activation, rng=np.random.default_rng(9))
    net.load_state_dict(dict(zip(NAMES, weights, strict=True)))
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), lr=lr, hooks=[tl.ClipGradNorm(limit)]),
        scheduler=scheduler,
        penalty=tl.L1Penalty(strength, decoupled=order == "clip, then penalty"),
        epochs=1,
        batch_size=1,
        shuffle=False,
    )


def assert_same(net, weights, tolerance):
    for name, expected in zip(NAMES, weights, strict=True):
        np.testing.assert_allclose(net.state_dict()[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)


@every_activation
@pytest.mark.parametrize("order", ["clip, then penalty", "penalty, then clip"])
@pytest.mark.parametrize(("factor", "is_clipped"), [(0.3, True), (1.0, False), (3.0, False)])
@pytest.mark.parametrize("x", [-3.3, 0.0, 1.7])
def test_one_update_above_at_and_below_the_clip(activation, order, factor, is_clipped, x):
    weights = hand_set_weights(5, 4)
    y, lr, strength = 20.0, 0.05, 0.1
    _, gradient = sample_gradient(weights, x, y, activation)
    if order == "penalty, then clip":
        gradient = [g + strength * np.sign(w) for g, w in zip(gradient, weights, strict=True)]
    limit = factor * norm(gradient)

    loss, expected = update(weights, x, y, activation, lr, strength, limit, order)
    trainer = make_trainer(weights, activation, strength, limit, order, lr)
    history = trainer.fit([x], [y])

    assert_same(trainer.model, expected, 1e-12)
    np.testing.assert_allclose(history["train_loss"], [loss], rtol=1e-12)
    _, unclipped = update(weights, x, y, activation, lr, strength, np.inf, order)
    change = max(np.abs(a - b).max() for a, b in zip(expected, unclipped, strict=True))
    assert (change > 1e-3) == is_clipped


@every_activation
@pytest.mark.parametrize("size", [10.0, 10.5, 9.5, 1e3, 1e-3])
def test_one_update_at_the_reports_clip_of_ten(activation, size):
    weights = hand_set_weights(4, 3, seed=1)
    x = 1.3
    output = predict(weights, [x], activation)[0]
    _, gradient = sample_gradient(weights, x, output - 1.0, activation)  # of an error of 1, in which it is linear
    y = output - size / norm(gradient)
    assert norm(sample_gradient(weights, x, y, activation)[1]) == pytest.approx(size, rel=1e-12)

    loss, expected = update(weights, x, y, activation, 0.075, 1e-3, 10.0, "clip, then penalty")
    trainer = make_trainer(weights, activation, 1e-3, 10.0, lr=0.075)
    assert trainer.fit([x], [y]).last("train_loss") == pytest.approx(loss, rel=1e-12)
    assert_same(trainer.model, expected, 1e-12)


def test_the_two_orders_of_clipping_and_penalty_differ():
    weights = hand_set_weights(5, 4)
    both = [update(weights, 1.7, 20.0, "sigmoid", 0.05, 0.1, 1.0, order)[1] for order in ("clip, then penalty", "other")]
    assert max(np.abs(a - b).max() for a, b in zip(*both, strict=True)) > 1e-3


def samples(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-4, 2, n)
    x[0] = 0.0
    return x, 0.3 * x**4 + rng.normal(0, 1, n)


@every_activation
@pytest.mark.parametrize("decay", ["geometric", "linear"])
@pytest.mark.parametrize("order", ["clip, then penalty", "penalty, then clip"])
def test_many_updates_in_file_order(activation, decay, order):
    data, held_out = samples(13, 0), samples(7, 1)
    weights = hand_set_weights(6, 5)
    rates = learning_rates(decay, 0.075, 0.001, 9)
    expected, train_losses, validation_losses = train(weights, data, held_out, activation, rates, 0.01, order=order)

    scheduler = {"geometric": tl.GeometricDecay, "linear": tl.LinearDecay}[decay](0.075, 0.001, epochs=9)
    trainer = make_trainer(weights, activation, 0.01, 10.0, order, scheduler=scheduler)
    history = trainer.fit(*data, validation=held_out, epochs=9)  # 117 updates

    np.testing.assert_allclose(history["lr"], rates, rtol=1e-13)
    np.testing.assert_allclose(history["train_loss"], train_losses, rtol=1e-10)
    np.testing.assert_allclose(history["validation_loss"], validation_losses, rtol=1e-10)
    assert_same(trainer.model, expected, 1e-10)
    assert trainer.evaluate(*held_out) == pytest.approx(validation_losses[-1], rel=1e-10)


def test_geometric_decay_is_the_notebooks_recurrence():
    scheduler = tl.GeometricDecay(0.075, 0.001, epochs=1000)
    lr = 0.075
    for epoch in range(1000):
        lr *= (0.001 / 0.075) ** (1 / 1000)
        assert scheduler(epoch) == pytest.approx(lr, rel=1e-12)
    assert lr == pytest.approx(0.001, rel=1e-12)


def test_initial_weights_have_the_reports_distribution():
    net = TwoHiddenLayerNet(1, 75, 50, 1, rng=np.random.default_rng(0))
    standardised = []
    for name, values in net.state_dict().items():
        if name.endswith("bias"):
            assert not values.any(), name
        else:
            fan_out, fan_in = values.shape
            standardised.append(values.ravel() / np.sqrt(12 / (fan_in + fan_out)))
            assert np.abs(standardised[-1]).max() <= 0.5, name
            assert stats.kstest(standardised[-1], stats.uniform(-0.5, 1).cdf).pvalue > 0.01, name
    pooled = np.concatenate(standardised)
    assert pooled.size == 75 + 75 * 50 + 50
    assert np.abs(pooled).max() > 0.499


def test_the_weights_of_different_layers_and_seeds_differ():
    first, second = (TwoHiddenLayerNet(1, 5, 5, 1, rng=np.random.default_rng(seed)).state_dict() for seed in (0, 1))
    assert not np.isin(first["hidden1.weight"], second["hidden1.weight"]).any()
    assert not np.isin(first["hidden2.weight"] / np.sqrt(1 / 10), first["hidden1.weight"] / np.sqrt(1 / 6)).any()


# The original data -----------------------------------------------------------------------------------------------------


@pytest.fixture
def original(report_data):
    return [np.loadtxt(report_data / name, delimiter=",").T for name in ("training_set.txt", "test_set.txt")]


def test_facts_of_the_original_data(original):
    (x, y), (x_test, y_test) = original
    assert (len(x), len(x_test)) == (120, 25)
    all_x, all_y = np.concatenate([x, x_test]), np.concatenate([y, y_test])
    assert (((-4 <= all_x) & (all_x <= -3)) | ((-2 <= all_x) & (all_x <= 2))).all()
    assert (round(all_y.min(), 1), round(all_y.max(), 1)) == (-1.8, 25.4)
    quintic = np.polyfit(all_x, all_y, 5)
    np.testing.assert_allclose(quintic, [0.045, 0.329, 0.183, -0.054, -0.129, 0.504], atol=6e-4)
    assert np.mean((np.polyval(quintic, all_x) - all_y) ** 2) / 2 == pytest.approx(0.6747, abs=6e-5)


@pytest.mark.parametrize(
    ("activation", "hidden", "decay"),
    [("leaky_relu", (75, 50), "geometric"), ("relu", (25, 10), "linear"), ("sigmoid", (10, 10), "geometric")],
)
def test_first_epochs_on_the_original_data(original, activation, hidden, decay):
    training, test = original
    net = TwoHiddenLayerNet(1, *hidden, 1, activation=activation, rng=np.random.default_rng(0))
    weights = list(net.state_dict().values())
    rates = learning_rates(decay, 0.075, 0.001, 1000)[:2]
    expected, train_losses, test_losses = train(weights, training, test, activation, rates, 1e-3)

    scheduler = {"geometric": tl.GeometricDecay, "linear": tl.LinearDecay}[decay](0.075, 0.001, epochs=1000)
    trainer = make_trainer(weights, activation, 1e-3, 10.0, scheduler=scheduler)
    history = trainer.fit(*training, validation=tuple(test), epochs=2)

    np.testing.assert_allclose(history["train_loss"], train_losses, rtol=1e-9)
    np.testing.assert_allclose(history["validation_loss"], test_losses, rtol=1e-9)
    assert_same(trainer.model, expected, 1e-9)
