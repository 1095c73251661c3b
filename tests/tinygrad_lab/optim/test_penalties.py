import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import optimize

import tinygrad_lab as tl
from tinygrad_lab import Tensor

# Each penalty of strength 1 as a function of one number.
SIZES = {
    "L1": lambda v: abs(v),
    "L2": lambda v: v * v / 2,
    "elastic net": lambda v: 0.3 * abs(v) + 0.7 * v * v / 2,
    "elastic net, all L1": lambda v: abs(v),
    "elastic net, all L2": lambda v: v * v / 2,
}
every_penalty = pytest.mark.parametrize("name", SIZES)


def make(name, strength, **place):
    if name.startswith("elastic"):
        ratio = {"elastic net": 0.3, "elastic net, all L1": 1.0, "elastic net, all L2": 0.0}[name]
        return tl.ElasticNetPenalty(strength, ratio, **place)
    return {"L1": tl.L1Penalty, "L2": tl.L2Penalty}[name](strength, **place)


strengths = st.floats(0.0, 10.0)
away_from_zero = st.floats(1e-3, 100.0) | st.floats(-100.0, -1e-3)
parameter_lists = st.lists(
    arrays(np.float64, array_shapes(min_dims=0, max_dims=2, max_side=3), elements=away_from_zero), min_size=1, max_size=3
)


@every_penalty
@given(parameter_lists, strengths)
def test_value_is_the_sum_over_all_parameters(name, parameters, strength):
    value = make(name, strength).value([Tensor(w) for w in parameters])
    expected = strength * sum(SIZES[name](v) for w in parameters for v in w.ravel())
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-12)


@every_penalty
@given(parameter_lists, strengths)
@example([np.array(1.0)], 5e-324)
def test_gradient_is_that_of_the_value_away_from_zero(name, parameters, strength):
    penalty = make(name, strength)
    variables = [Tensor(w, requires_grad=True) for w in parameters]
    for closed, derived in zip(penalty.gradient(variables), tl.grad(penalty.value(variables), variables), strict=True):
        assert closed.shape == derived.shape
        # Subnormal numbers have an absolute precision of 5e-324 and no relative one.
        np.testing.assert_allclose(closed.numpy(), derived.numpy(), rtol=1e-14, atol=1e-320)


@every_penalty
def test_subgradient_at_zero_is_zero(name):
    penalty = make(name, 2.0)
    w = Tensor([0.0, -0.0], requires_grad=True)
    assert penalty.gradient([w])[0].numpy().tolist() == [0.0, 0.0]
    assert tl.grad(penalty.value([w]), [w])[0].numpy().tolist() == [0.0, 0.0]


@every_penalty
@given(st.floats(-5.0, 5.0), st.floats(1e-2, 3.0), st.floats(0.01, 1.0))
def test_proximal_map_is_the_minimiser(name, w, strength, lr):
    shrunk = make(name, strength).shrink([Tensor(w)], Tensor(lr))[0].item()

    def objective(v):
        return (v - w) ** 2 / 2 + lr * strength * SIZES[name](v)

    found = optimize.minimize_scalar(objective, bounds=(-6.0, 6.0), method="bounded", options={"xatol": 1e-10})
    assert shrunk == pytest.approx(found.x, abs=1e-5)
    assert objective(shrunk) <= found.fun + 1e-12


@pytest.mark.parametrize(("name", "threshold"), [("L1", 0.5), ("elastic net", 0.15)])
def test_proximal_map_reaches_exact_zeros_up_to_its_threshold(name, threshold):
    w = np.array([0.0, 0.2, -0.99, 1.0]) * threshold
    beyond = np.array([1.01, -4.0]) * threshold
    shrunk = make(name, 1.0).shrink([Tensor(np.append(w, beyond))], Tensor(0.5))[0].numpy()
    assert (shrunk[:4] == 0.0).all()
    assert (np.sign(shrunk[4:]) == np.sign(beyond)).all()


def test_proximal_map_of_l2_keeps_all_elements():
    np.testing.assert_allclose(
        tl.L2Penalty(2.0).shrink([Tensor([1e-9, -3.0])], Tensor(0.25))[0].numpy(), np.array([1e-9, -3.0]) / 1.5
    )


@every_penalty
def test_strength_zero_is_no_penalty(name):
    penalty = make(name, 0.0)
    w = Tensor([1.5, -2.0, 0.0])
    assert penalty.value([w]).item() == 0.0
    assert not penalty.gradient([w])[0].numpy().any()
    np.testing.assert_array_equal(penalty.shrink([w], Tensor(0.1))[0].numpy(), w.numpy())


@every_penalty
def test_float32_stays(name):
    penalty = make(name, 0.5)
    w = Tensor([1.5, 0.0], dtype=np.float32)
    results = [penalty.value([w]), *penalty.gradient([w]), *penalty.shrink([w], Tensor(0.1))]
    assert {x.dtype for x in results} == {np.dtype(np.float32)}


@every_penalty
def test_strength_is_an_input(name):
    penalty = make(name, 1.0)
    w = Tensor([1.5, -2.0])
    before = penalty.value([w]).item(), penalty.gradient([w])[0].numpy()
    penalty.strength.assign(3.0)
    assert penalty.value([w]).item() == pytest.approx(3.0 * before[0])
    np.testing.assert_allclose(penalty.gradient([w])[0].numpy(), 3.0 * before[1])


# In the Trainer --------------------------------------------------------------------------------------------------------

WEIGHT, BIAS, X, Y, LR = np.array([[0.5, -0.004, 0.0]]), np.array([0.01]), np.array([[2.0, 0.5, -1.0]]), 3.0, 0.1


def fit_once(penalty, hooks=(), optimizer=tl.SGD):
    layer = tl.Linear(3, 1, rng=np.random.default_rng(0))
    layer.load_state_dict({"weight": WEIGHT, "bias": BIAS})
    trainer = tl.Trainer(
        layer, tl.HalfSquaredError(), optimizer=optimizer(layer.parameters(), lr=LR, hooks=hooks), penalty=penalty, epochs=1
    )
    history = trainer.fit(X, [Y])
    return np.append(layer.weight.numpy(), layer.bias.numpy()), history.last("train_loss")


def by_hand(name, strength, place, limit):
    """Return the parameters after one step, worked out in NumPy, and the reported loss."""
    w, x = np.append(WEIGHT, BIAS), np.append(X, 1.0)
    error = w @ x - Y
    gradient = error * x

    def clipped(g):
        return g * min(1.0, limit / np.sqrt((g**2).sum()))

    l1, l2 = {"L1": (1.0, 0.0), "L2": (0.0, 1.0), "elastic net": (0.3, 0.7)}[name]
    slope = strength * (l1 * np.sign(w) + l2 * w)
    if place == "loss":
        new = w - LR * clipped(gradient + slope)
    elif place == "decoupled":
        new = w - LR * (clipped(gradient) + slope)
    else:
        new = w - LR * clipped(gradient)
        new = np.sign(new) * np.maximum(np.abs(new) - LR * strength * l1, 0.0) / (1 + LR * strength * l2)
    return new, error**2 / 2 + strength * (l1 * np.abs(new) + l2 * new**2 / 2).sum()


@pytest.mark.parametrize("name", ["L1", "L2", "elastic net"])
@pytest.mark.parametrize("place", ["loss", "decoupled", "proximal"])
@pytest.mark.parametrize("limit", [1.0, 1e6])
def test_each_place_of_a_step(name, place, limit):
    penalty = make(name, 0.7, **({} if place == "loss" else {place: True}))
    assert penalty.placement == place
    new, loss = fit_once(penalty, [tl.ClipGradNorm(limit)])
    expected, expected_loss = by_hand(name, 0.7, place, limit)
    np.testing.assert_allclose(new, expected, rtol=1e-12, atol=1e-15)
    assert loss == pytest.approx(expected_loss, rel=1e-12)


def test_only_the_proximal_place_reaches_and_keeps_exact_zeros():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    y = 2.0 * x[:, 0] + 0.01 * rng.normal(size=40)
    zeros = {}
    for place in ("loss", "decoupled", "proximal"):
        layer = tl.Linear(5, 1, rng=np.random.default_rng(1))
        penalty = tl.L1Penalty(0.1, **({} if place == "loss" else {place: True}))
        optimizer = tl.SGD(layer.parameters(), lr=0.1)
        tl.Trainer(layer, tl.HalfSquaredError(), optimizer=optimizer, penalty=penalty, batch_size=10, epochs=40).fit(x, y)
        zeros[place] = int((layer.weight.numpy() == 0.0).sum())
        assert layer.weight.numpy()[0, 0] == pytest.approx(1.9, abs=0.2), place
    assert zeros == {"loss": 0, "decoupled": 0, "proximal": 4}


def test_the_converged_proximal_solution_is_the_lasso():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=60)
    layer = tl.Linear(4, 1, bias=False, rng=np.random.default_rng(1))
    optimizer = tl.SGD(layer.parameters(), lr=0.2)
    tl.Trainer(
        layer, tl.HalfSquaredError(), optimizer=optimizer, penalty=tl.L1Penalty(0.1, proximal=True), batch_size=None, epochs=300
    ).fit(x, y)
    w = layer.weight.numpy()[0]
    residual_slope = x.T @ (x @ w - y) / 60  # optimal where it is -0.1 sign(w), or within ±0.1 at 0
    assert 0 < (w == 0.0).sum() < 4
    np.testing.assert_allclose(residual_slope[w != 0], -0.1 * np.sign(w[w != 0]), atol=1e-9)
    assert (np.abs(residual_slope[w == 0]) <= 0.1).all()


# Bad arguments, and the text of a penalty ------------------------------------------------------------------------------

KINDS = [tl.L1Penalty, tl.L2Penalty, tl.ElasticNetPenalty]
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("bad", [-1e-3, float("nan"), float("inf"), True, "0.1", None], ids=repr)
def test_a_bad_strength_is_refused_and_named(kind, bad):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: strength is {bad!r}, expected a number of at least 0$"):
        kind(bad)


@every_kind
def test_two_places_are_refused(kind):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: decoupled and proximal are both set, expected at most one"):
        kind(0.1, decoupled=True, proximal=True)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), True, "0.5"], ids=repr)
def test_a_bad_ratio_is_refused_and_named(bad):
    with pytest.raises(ValueError, match=rf"^ElasticNetPenalty: l1_ratio is {bad!r}, expected a number"):
        tl.ElasticNetPenalty(0.1, bad)


def test_repr_names_strength_and_place():
    assert repr(tl.L1Penalty(0.001)) == "L1Penalty(0.001)"
    assert repr(tl.L1Penalty(0.001, decoupled=True)) == "L1Penalty(0.001, decoupled=True)"
    assert repr(tl.L2Penalty(0.5, proximal=True)) == "L2Penalty(0.5, proximal=True)"


def test_repr_tells_different_penalties_apart():
    assert repr(tl.ElasticNetPenalty(0.1, 0.2)) != repr(tl.ElasticNetPenalty(0.1, 0.9))


def test_a_training_with_another_ratio_is_not_resumed(tmp_path):
    def trainer(ratio):
        layer = tl.Linear(3, 1, rng=np.random.default_rng(0))
        penalty = tl.ElasticNetPenalty(0.1, ratio)
        return tl.Trainer(layer, tl.HalfSquaredError(), optimizer=tl.SGD(layer.parameters()), penalty=penalty, epochs=2)

    trainer(0.2).fit(X, [Y], callbacks=[tl.Checkpoint(tmp_path / "checkpoint")], epochs=1)
    with pytest.raises(tl.WeightsError, match="differs in penalty"):
        trainer(0.9).fit(X, [Y], callbacks=[tl.Checkpoint(tmp_path / "checkpoint")], resume=tmp_path / "checkpoint")
