"""What optimizers, hooks, penalties and schedulers of a user's return is checked, and the message names their class."""

import re

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor

X = np.linspace(-1.0, 1.0, 6)


def refusal(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def trainer(optimizer=tl.SGD, engine="eager", dtype=np.float64, **options):
    net = tl.Linear(1, 1, rng=np.random.default_rng(0), dtype=dtype)
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer(net.parameters()), epochs=2, engine=engine, **options)


def optimizer_of(returned, method="rule"):
    class Own(tl.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, 0.1)
            self.add_slots("mean")

    def rule(self, w, g, slots, lr):
        return returned(w, slots)

    def update(self, parameters, gradients, state, lr):
        return returned(parameters, state)

    setattr(Own, method, locals()[method])
    return Own


RULES = [
    (lambda w, slots: None, "rule returned None, expected the new parameter and its slots"),
    (lambda w, slots: w, "rule returned a value of type Tensor, expected the new parameter and its slots"),
    (lambda w, slots: (None, slots), "rule returned as the parameter None, expected a Tensor"),
    (lambda w, slots: (np.zeros(w.shape), slots), "rule returned as the parameter a value of type ndarray, expected a Tensor"),
    (lambda w, slots: (w.sum(), slots), r"rule returned as the parameter a Tensor of shape \(\), expected \(1, 1\)"),
    (lambda w, slots: (w.astype(np.float32), slots), "rule returned as the parameter a Tensor of float32, expected float64"),
    (lambda w, slots: (w, None), r"rule returned the slots None, expected \['mean'\]"),
    (lambda w, slots: (w, {}), r"rule returned the slots \[\], expected \['mean'\]; declare them with add_slots"),
    (lambda w, slots: (w, slots | {"own": w}), r"rule returned the slots \['mean', 'own'\], expected \['mean'\]"),
    (lambda w, slots: (w, {"mean": 0.5}), "rule returned as slot 'mean' 0.5, expected a Tensor"),
    (lambda w, slots: (w, {"mean": w.sum()}), r"rule returned as slot 'mean' a Tensor of shape \(\), expected \(1, 1\)"),
    (
        lambda w, slots: (w, {"mean": w.astype(np.float32)}),
        "rule returned as slot 'mean' a Tensor of float32, expected float64",
    ),
]


@pytest.mark.parametrize("engine", ["eager", "replay", "auto"])
@pytest.mark.parametrize(("returned", "message"), RULES)
def test_a_rule_is_named(returned, message, engine):
    assert re.match(f"Own: {message}", refusal(lambda: trainer(optimizer_of(returned), engine).fit(X, X)))


def test_a_rule_called_by_step_is_named():
    optimizer = optimizer_of(lambda w, slots: None)([Tensor([1.0], requires_grad=True)])
    assert refusal(optimizer.step).startswith("Own: rule returned None, expected")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda ws, state: None, "update returned None, expected the new parameters and the state"),
        (lambda ws, state: (ws[:1], state), "update returned 1 parameters, expected a list of 2 Tensors"),
        (lambda ws, state: ((w for w in ws), state), "update returned a value of type generator, expected a list of 2"),
        (lambda ws, state: ([ws[0], None], state), "update returned as parameter 1 None, expected a Tensor"),
        (
            lambda ws, state: ([ws[0], ws[0]], state),
            r"update returned as parameter 1 a Tensor of shape ",
        ),
        (lambda ws, state: (ws, None), "update returned None as the state, expected a dict of lists"),
        (
            lambda ws, state: (ws, {"mean": ws[0]}),
            "update returned a value of type dict as the state",
        ),
        (lambda ws, state: (ws, {}), "update returned 0 of the state's 'mean', expected 2"),
        (lambda ws, state: (ws, {"mean": ws[:1]}), "update returned 1 of the state's 'mean', expected 2"),
        (
            lambda ws, state: (ws, {"mean": ws[::-1]}),
            r"update returned as state mean.0 a Tensor of shape \(1,\)",
        ),
        (lambda ws, state: (ws, {"mean": [0.0, 0.0]}), "update returned as state mean.0 0.0, expected a Tensor"),
    ],
)
def test_an_update_is_named(returned, message):
    optimizer = optimizer_of(lambda ws, state: returned(list(ws), state), "update")
    assert re.match(f"Own: {message}", refusal(lambda: trainer(optimizer).fit(X, X)))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda gs: (g for g in gs), "returned a value of type generator, expected a list of 2 Tensors"),
        (lambda gs: [*gs, gs[0]], "returned gradients of shapes"),
        (lambda gs: [g.numpy() for g in gs], "__call__ returned as gradient 0 a value of type ndarray, expected a Tensor"),
        (
            lambda gs: [g.astype(np.float32) for g in gs],
            "__call__ returned as gradient 0 a Tensor of float32, expected",
        ),
    ],
)
def test_a_hook_is_named(returned, message):
    class Own(tl.GradientHook):
        def __call__(self, gradients):
            return returned(gradients)

    assert re.match(f"Own: {message}", refusal(lambda: trainer(lambda p: tl.SGD(p, hooks=[Own()])).fit(X, X)))


def test_state_that_shared_returns_and_nothing_keeps_is_refused():
    class Own(tl.SGD):
        def shared(self, state, lr):
            return super().shared(state, lr)[0], {"count": [lr]}

    assert refusal(lambda: trainer(Own).fit(X, X)) == "Own: shared returned the state ['count'], expected some of []"


def test_a_hook_that_changes_its_list_changes_no_other():
    class Own(tl.GradientHook):
        def __call__(self, gradients):
            return [gradients.pop(0) for _ in range(len(gradients))]

    own, plain = trainer(lambda p: tl.SGD(p, hooks=[Own()])), trainer(lambda p: tl.SGD(p))
    np.testing.assert_array_equal(own.fit(X, X)["train_loss"], plain.fit(X, X)["train_loss"])


WRONG_PENALTIES = {
    "size": [
        (lambda w: w.abs(), r"size returned a Tensor of shape \(1, 1\), expected \(\)"),
        (lambda w: None, "size returned None, expected a Tensor; is a return missing"),
        (lambda w: 0.0, "size returned 0.0, expected a Tensor; compute with operators"),
        (lambda w: w.abs().sum().astype(np.float32), "size returned a Tensor of float32, expected float64"),
    ],
    "slope": [
        (lambda w: w.sum(), r"slope returned a Tensor of shape \(\), expected \(1, 1\)"),
        (lambda w: 1.0, "slope returned 1.0, expected a Tensor"),
    ],
    "proximal": [
        (lambda w: [w], "proximal returned a value of type list, expected a Tensor"),
        (lambda w: w.astype(np.float32), "proximal returned a Tensor of float32, expected float64"),
    ],
}


@pytest.mark.parametrize("method", WRONG_PENALTIES)
def test_a_penalty_is_named(method):
    place = {"size": {}, "slope": {"decoupled": True}, "proximal": {"proximal": True}}[method]
    for returned, message in WRONG_PENALTIES[method]:

        class Own(tl.L1Penalty):
            pass

        setattr(Own, method, lambda self, w, *step, returned=returned: returned(w))
        assert re.match(f"Own: {message}", refusal(lambda: trainer(penalty=Own(0.1, **place)).fit(X, X)))


@pytest.mark.parametrize("engine", ["eager", "replay", "auto"])
@pytest.mark.parametrize(
    ("rate", "given"),
    [
        (None, "None"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (-0.1, "-0.1"),
        ("0.1", "a value of type str"),
        (True, "True"),
    ],
)
def test_a_scheduler_is_named(rate, given, engine):
    class Own(tl.Scheduler):
        def __call__(self, epoch):
            return rate if epoch == 1 else np.float32(0.5)

    message = f"Own: returned {given} for epoch 1, expected a finite number of at least 0"
    assert refusal(lambda: trainer(scheduler=Own(), engine=engine).fit(X, X)) == message
    assert refusal(lambda: tl.WarmUp(Own(), epochs=2)(3)) == message
    assert type(Own().checked_rate(0)) is float


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda state, lr: {"lr": lr}, TypeError, "Sharing: shared returned a value of type dict, expected two dicts"),
        (lambda state, lr: ({"lr": 0.1}, {}), TypeError, "Sharing: shared returned as number 'lr' 0.1, expected a Tensor"),
        (lambda state, lr: ({"lr": lr}, {"m": state["m"][:1]}), ValueError, "Sharing: shared returned 1 of 'm', expected 2"),
        (
            lambda state, lr: ({"lr": lr}, {"m": [x.reshape(1) for x in state["m"]]}),
            ValueError,
            r"shared returned as state m.0 a Tensor of shape \(1,\), expected \(\)",
        ),
    ],
)
def test_what_an_optimizer_shares_is_checked(returned, error, message):
    class Sharing(tl.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, 0.1)
            self.state["m"] = [tl.Tensor(0.0), tl.Tensor(1.0)]

        def shared(self, state, lr):
            return returned(state, lr)

        def rule(self, w, g, slots, lr):
            return w - lr * g, {}

    w = tl.Tensor([1.0], requires_grad=True)
    w.sum().backward()
    with pytest.raises(error, match=message):
        Sharing([w]).step()


@pytest.mark.parametrize(
    ("state", "given"),
    [
        (Tensor([0.0]), "a value of type Tensor"),
        (0.0, "0.0"),
        (None, "None"),
        (np.zeros(2), "a value of type ndarray"),
        ([0.0, 0.0], "a list of others"),
    ],
)
@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_a_state_that_is_no_list_of_tensors_is_named(state, given, engine):
    class Own(optimizer_of(lambda w, slots: (w, slots))):
        def __init__(self, parameters):
            super().__init__(parameters)
            self.state["own"] = state

    message = f"Own: state['own'] is {given}, expected a list of Tensors; add_slots makes one of zeros for each parameter"
    assert refusal(lambda: trainer(Own, engine).fit(X, X)) == message


def test_a_state_with_another_number_of_tensors_is_named():
    class Own(optimizer_of(lambda w, slots: (w, slots))):
        def __init__(self, parameters):
            super().__init__(parameters)
            self.state["own"] = [Tensor(0.0)]

    assert refusal(lambda: trainer(Own).fit(X, X)).startswith("Own: state['own'] has 1 Tensors, expected 2, one for each")


def test_a_constructor_that_does_not_call_its_base_is_named():
    class Own(tl.SGD):
        def __init__(self, parameters):
            self.parameters = list(parameters)

    class OwnPenalty(tl.L1Penalty):
        def __init__(self):
            pass

    end = "expected that __init__ calls super().__init__(...)"
    assert refusal(lambda: trainer(Own)) == f"Own: has no lr, {end}"
    assert refusal(lambda: trainer(penalty=OwnPenalty())) == f"OwnPenalty: has no strength, {end}"


class LogPenalty(tl.Penalty):
    """A penalty of which only the size is written."""

    def size(self, w):
        return (1.0 + w.abs()).log().sum()


@pytest.mark.parametrize("place", [{}, {"decoupled": True}])
def test_a_penalty_needs_only_its_size(place):
    losses = [
        trainer(penalty=LogPenalty(0.1, **place), engine=engine).fit(X, X)["train_loss"]
        for engine in ("eager", "replay", "auto")
    ]
    np.testing.assert_array_equal(losses[1], losses[0])
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-12)
    slopes = LogPenalty(0.5).gradient([Tensor([-1.0, 0.0, 3.0], requires_grad=True)])
    np.testing.assert_allclose(slopes[0].numpy(), [-0.25, 0.0, 0.125])


def test_a_penalty_without_a_proximal_map_says_so():
    assert refusal(lambda: LogPenalty(0.1, proximal=True)).startswith("LogPenalty: proximal=True given, expected a method prox")
