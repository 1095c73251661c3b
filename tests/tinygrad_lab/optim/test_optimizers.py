import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor

SHAPES = [(3, 2), (2,), ()]
SCALES = [np.linspace(0.2, 2.0, 6).reshape(3, 2), np.array([0.5, 3.0]), np.array(1.0)]


# The reference: one function for each method, from the papers and PyTorch's documentation. t counts from 1. -------------------


def sgd(w, g, memory, t, lr, momentum=0.0, nesterov=False):
    if not momentum:
        return w - lr * g
    memory["b"] = g if t == 1 else momentum * memory["b"] + g
    return w - lr * (g + momentum * memory["b"] if nesterov else memory["b"])


def rmsprop(w, g, memory, t, lr, alpha=0.99, eps=1e-8):
    memory["v"] = alpha * memory.get("v", 0.0) + (1 - alpha) * g**2
    return w - lr * g / (np.sqrt(memory["v"]) + eps)


def adam(w, g, memory, t, lr, betas=(0.9, 0.999), eps=1e-8):
    memory["m"] = betas[0] * memory.get("m", 0.0) + (1 - betas[0]) * g
    memory["v"] = betas[1] * memory.get("v", 0.0) + (1 - betas[1]) * g**2
    m_hat = memory["m"] / (1 - betas[0] ** t)
    v_hat = memory["v"] / (1 - betas[1] ** t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps)


def adamw(w, g, memory, t, lr, weight_decay=0.01, **options):
    return adam(w - lr * weight_decay * w, g, memory, t, lr, **options)


METHODS = {
    "SGD": (tl.SGD, sgd, {"lr": 0.1}),
    "momentum": (tl.SGD, sgd, {"lr": 0.05, "momentum": 0.9}),
    "Nesterov": (tl.SGD, sgd, {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    "RMSprop": (tl.RMSprop, rmsprop, {"lr": 0.01}),
    "RMSprop, other options": (tl.RMSprop, rmsprop, {"lr": 0.02, "alpha": 0.5, "eps": 0.1}),
    "Adam": (tl.Adam, adam, {"lr": 0.05}),
    "Adam, other options": (tl.Adam, adam, {"lr": 0.02, "betas": (0.5, 0.9), "eps": 0.1}),
    "Adam without memory": (tl.Adam, adam, {"lr": 0.02, "betas": (0.0, 0.0)}),
    "AdamW": (tl.AdamW, adamw, {"lr": 0.05}),
    "AdamW, other options": (tl.AdamW, adamw, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
}
every_method = pytest.mark.parametrize("method", METHODS)


def start_values():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in SHAPES]


def noisy_targets(steps):
    rng = np.random.default_rng(1)
    return [[rng.normal(size=shape) for shape in SHAPES] for _ in range(steps)]


def make(method, dtype=np.float64, **options):
    kind, _, given = METHODS[method]
    parameters = [Tensor(w, requires_grad=True, dtype=dtype) for w in start_values()]
    return kind(parameters, **given | options)


def run(optimizer, targets):
    """Descend the loss Σ scale (w - target)² / 2, whose target changes at each step."""
    for step_targets in targets:
        optimizer.zero_grad()
        for w, scale, target in zip(optimizer.parameters, SCALES, step_targets, strict=True):
            (0.5 * Tensor(scale, dtype=w.dtype) * (w - Tensor(target, dtype=w.dtype)).square()).sum().backward()
        optimizer.step()
    return [w.numpy() for w in optimizer.parameters]


def run_reference(method, targets):
    _, reference, options = METHODS[method]
    weights, memories = start_values(), [{} for _ in SHAPES]
    for t, step_targets in enumerate(targets, start=1):
        gradients = [scale * (w - target) for w, scale, target in zip(weights, SCALES, step_targets, strict=True)]
        weights = [reference(w, g, m, t, **options) for w, g, m in zip(weights, gradients, memories, strict=True)]
    return weights


@every_method
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_a_hundred_updates_equal_the_reference(method, dtype, tolerance):
    targets = noisy_targets(100)
    weights = run(make(method, dtype), targets)
    for w, expected in zip(weights, run_reference(method, targets), strict=True):
        assert w.dtype == dtype
        np.testing.assert_allclose(w, expected, rtol=tolerance, atol=tolerance)


@every_method
def test_state_keeps_the_parameters_dtype(method):
    optimizer = make(method, np.float32)
    run(optimizer, noisy_targets(2))
    kept = [x.dtype for name, entries in optimizer.state.items() for x in entries if name != "powers"]
    assert set(kept) <= {np.dtype(np.float32)}


@every_method
def test_a_restored_state_goes_on_to_the_same_bits(method):
    targets = noisy_targets(20)
    uninterrupted = run(make(method), targets)

    first = make(method)
    run(first, targets[:7])
    second = make(method)
    for parameter, old in zip(second.parameters, first.parameters, strict=True):
        parameter.assign(old.numpy())
    second.load_state_dict(first.state_dict())
    for w, expected in zip(run(second, targets[7:]), uninterrupted, strict=True):
        np.testing.assert_array_equal(w, expected)


def test_state_dict_returns_copies():
    optimizer = make("Adam")
    run(optimizer, noisy_targets(1))
    before = optimizer.state_dict()
    for array in optimizer.state_dict().values():
        array[...] = 7.0
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_loaded_state_does_not_share_memory():
    optimizer = make("momentum")
    state = {name: np.ones_like(array) for name, array in optimizer.state_dict().items()}
    optimizer.load_state_dict(state)
    for array in state.values():
        array[...] = 7.0
    assert all((array == 1.0).all() for array in optimizer.state_dict().values())


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (lambda state: state.pop("velocity.1"), "velocity.1"),
        (lambda state: state.update({"square.0": np.zeros(())}), "square.0"),
        (lambda state: state.update({"velocity.0": np.zeros((2, 3))}), "velocity.0"),
    ],
)
def test_a_state_of_another_optimizer_is_refused(change, culprit):
    optimizer = make("momentum")
    run(optimizer, noisy_targets(1))
    before = optimizer.state_dict()
    state = optimizer.state_dict()
    change(state)
    with pytest.raises(ValueError, match=rf"^SGD: state differs .* {culprit}$"):
        optimizer.load_state_dict(state)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("bad", [np.zeros((3, 2), np.float32), np.full((3, 2), "x"), np.zeros((3, 2), complex)])
def test_a_state_of_another_dtype_is_refused_and_named(bad):
    optimizer = make("momentum")
    with pytest.raises((ValueError, TypeError), match=r"velocity\.0"):
        optimizer.load_state_dict(optimizer.state_dict() | {"velocity.0": bad})


def test_update_changes_nothing():
    optimizer = make("Adam")
    run(optimizer, noisy_targets(3))
    parameters, state = [w.numpy() for w in optimizer.parameters], optimizer.state_dict()
    updated, _ = optimizer.update(optimizer.parameters, optimizer.parameters, optimizer.state, optimizer.lr)
    for w, before, after in zip(optimizer.parameters, parameters, updated, strict=True):
        np.testing.assert_array_equal(w.numpy(), before)
        assert (after.numpy() != before).all()
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


@every_method
def test_learning_rate_is_an_input_of_the_update(method):
    optimizer = make(method)
    gradients = [Tensor(np.ones(shape)) for shape in SHAPES]
    steps = []
    for lr in (0.1, 0.2):
        updated, _ = optimizer.update(optimizer.parameters, gradients, optimizer.state, Tensor(lr))
        steps.append([new.numpy() - old.numpy() for new, old in zip(updated, optimizer.parameters, strict=True)])
    for short, long in zip(*steps, strict=True):
        np.testing.assert_allclose(long, 2 * short, rtol=1e-12)


def test_an_assigned_learning_rate_holds_from_the_next_step():
    w = Tensor([1.0], requires_grad=True)
    optimizer = tl.SGD([w], lr=0.5)
    (3.0 * w).sum().backward()
    optimizer.step()
    assert w.numpy().tolist() == [-0.5]
    optimizer.lr.assign(0.25)
    optimizer.step()
    assert w.numpy().tolist() == [-1.25]


@every_method
def test_learning_rate_zero_changes_nothing(method):
    optimizer = make(method, lr=0.0)
    for w, before in zip(run(optimizer, noisy_targets(2)), start_values(), strict=True):
        np.testing.assert_array_equal(w, before)


def test_step_uses_what_backward_accumulated_until_zero_grad():
    w = Tensor([1.0], requires_grad=True)
    optimizer = tl.SGD([w], lr=1.0)
    (2.0 * w).sum().backward()
    (3.0 * w).sum().backward()
    optimizer.step()
    assert w.numpy().tolist() == [-4.0]
    optimizer.zero_grad()
    assert w.grad is None
    optimizer.step()
    assert w.numpy().tolist() == [-4.0]


def test_a_parameter_without_gradient_counts_as_gradient_zero():
    used, unused = (Tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = tl.SGD([used, unused], lr=0.1, momentum=0.5)
    used.sum().backward()
    optimizer.step()
    assert unused.numpy().tolist() == [1.0]
    assert optimizer.state_dict()["velocity.1"].tolist() == [0.0]


def test_step_leaves_no_graph():
    w = Tensor([1.0], requires_grad=True)
    optimizer = tl.Adam([w], lr=0.1)
    (w * w).sum().backward()
    optimizer.step()
    assert w.requires_grad
    assert not any(x.requires_grad for entries in optimizer.state.values() for x in entries)
    (w * w).sum().backward()  # a leaf still: its gradient accumulates
    assert w.grad.numpy() == pytest.approx(2.0 + 2.0 * w.numpy())


def test_hooks_run_in_list_order():
    value, norm = tl.ClipGradValue(3.0), tl.ClipGradNorm(1.0)
    after = []
    for hooks in ([value, norm], [norm, value]):
        w = Tensor([0.0, 0.0], requires_grad=True)
        optimizer = tl.SGD([w], lr=1.0, hooks=hooks)
        (Tensor([30.0, 4.0]) * w).sum().backward()
        optimizer.step()
        after.append(-w.numpy())
    np.testing.assert_allclose(after[0], np.array([3.0, 3.0]) / np.hypot(3.0, 3.0))
    np.testing.assert_allclose(after[1], np.array([30.0, 4.0]) / np.hypot(30.0, 4.0))


def test_hooks_see_all_gradients_at_once_and_leave_grad_alone():
    seen = []

    class Spy(tl.GradientHook):
        def __call__(self, gradients):
            seen.append([g.numpy().tolist() for g in gradients])
            return [0.0 * g for g in gradients]

    a, b = Tensor([1.0], requires_grad=True), Tensor(2.0, requires_grad=True)
    optimizer = tl.SGD([a, b], lr=1.0, hooks=[Spy(), Spy()])
    ((3.0 * a).sum() + 4.0 * b).backward()
    optimizer.step()
    assert seen == [[[3.0], 4.0], [[0.0], 0.0]]
    assert (a.numpy().tolist(), b.item()) == ([1.0], 2.0)
    assert (a.grad.numpy().tolist(), b.grad.item()) == ([3.0], 4.0)


# Optimizers of one's own -----------------------------------------------------------------------------------------------


class OwnRule(tl.Optimizer):
    """Momentum by a rule."""

    def __init__(self, parameters, lr, momentum):
        super().__init__(parameters, lr)
        self.add_slots("velocity")
        self.momentum = Tensor(momentum)

    def rule(self, w, g, slots, lr, momentum):
        assert lr.dtype == momentum.dtype == slots["velocity"].dtype == g.dtype == w.dtype
        velocity = momentum * slots["velocity"] + g
        return w - lr * velocity, {"velocity": velocity}


class OwnUpdate(tl.Optimizer):
    """Momentum by an update of all parameters."""

    def __init__(self, parameters, lr, momentum):
        super().__init__(parameters, lr)
        self.state = {"velocity": [Tensor(np.zeros_like(w.data)) for w in self.parameters]}
        self.momentum = momentum

    def update(self, parameters, gradients, state, lr):
        velocities = [self.momentum * v + g for v, g in zip(state["velocity"], gradients, strict=True)]
        updated = [w - lr.astype_like(w) * v for w, v in zip(parameters, velocities, strict=True)]
        return updated, {"velocity": velocities}


@pytest.mark.parametrize("kind", [OwnRule, OwnUpdate])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_optimizer_of_ones_own_equals_the_same_one_of_ours(kind, dtype):
    targets = noisy_targets(20)
    own = kind([Tensor(w, requires_grad=True, dtype=dtype) for w in start_values()], lr=0.05, momentum=0.9)
    for w, expected in zip(run(own, targets), run(make("momentum", dtype), targets), strict=True):
        np.testing.assert_array_equal(w, expected)


@every_method
def test_parameters_of_two_dtypes_move_as_they_would_alone(method):
    kind, _, options = METHODS[method]
    dtypes = [np.float64, np.float32, np.float64]
    parameters = [Tensor(w, requires_grad=True, dtype=dtype) for w, dtype in zip(start_values(), dtypes, strict=True)]
    targets = noisy_targets(20)
    alone = {dtype: run(make(method, dtype), targets) for dtype in dtypes}
    for i, w in enumerate(run(kind(parameters, **options), targets)):
        np.testing.assert_array_equal(w, alone[dtypes[i]][i])


def test_an_optimizer_without_a_rule_is_refused():
    class Empty(tl.Optimizer):
        pass

    with pytest.raises(TypeError, match=r"^Empty: defines no rule, expected a method rule\(w, g, slots, lr, "):
        Empty(one_parameter(), lr=0.1)


# Bad arguments ---------------------------------------------------------------------------------------------------------

NUMBERS = [-0.1, float("nan"), float("inf"), True, "0.1", None, [0.1], 1j, Tensor([0.1, 0.2])]
OPTIONS = [
    (tl.SGD, "lr"), (tl.SGD, "momentum"),
    (tl.RMSprop, "lr"), (tl.RMSprop, "alpha"), (tl.RMSprop, "eps"),
    (tl.Adam, "lr"), (tl.Adam, "eps"),
    (tl.AdamW, "lr"), (tl.AdamW, "eps"), (tl.AdamW, "weight_decay"),
]  # fmt: skip
KINDS = [tl.SGD, tl.RMSprop, tl.Adam, tl.AdamW]
every_kind = pytest.mark.parametrize("kind", KINDS)


def one_parameter():
    return [Tensor([1.0], requires_grad=True)]


def refusal(call):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_bad_number_is_refused_and_named(kind, name, value):
    message = refusal(lambda: kind(one_parameter(), **{name: value}))
    assert message.startswith(f"{kind.__name__}: {name} is {value!r}, expected a number of at least 0")


@pytest.mark.parametrize(("kind", "name"), [(tl.SGD, "momentum"), (tl.RMSprop, "alpha")])
def test_a_share_of_one_is_refused(kind, name):
    assert f"{name} is 1.0, expected a number of at least 0 and below 1.0" in refusal(
        lambda: kind(one_parameter(), **{name: 1.0})
    )


@pytest.mark.parametrize("kind", [tl.Adam, tl.AdamW])
@pytest.mark.parametrize(
    "betas", [(0.9,), (0.9, 0.99, 0.999), (), (1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, "x"), 0.9, None], ids=repr
)
def test_bad_betas_are_refused_and_named(kind, betas):
    message = refusal(lambda: kind(one_parameter(), betas=betas))
    assert message.startswith(f"{kind.__name__}: betas")
    assert "expected" in message


def test_nesterov_without_momentum_is_refused():
    assert refusal(lambda: tl.SGD(one_parameter(), nesterov=True)) == (
        "SGD: nesterov=True with momentum 0, expected a momentum above 0"
    )


@every_kind
def test_no_parameters_are_refused(kind):
    assert "got no parameters" in refusal(lambda: kind([]))


@every_kind
@pytest.mark.parametrize("bad", [np.ones(2), 1.0, "w", None, Tensor([1.0])], ids=lambda bad: type(bad).__name__)
def test_what_is_no_parameter_is_refused_with_its_position(kind, bad):
    message = refusal(lambda: kind([*one_parameter(), bad]))
    assert message.startswith(f"{kind.__name__}: parameters[1] is")


def test_a_result_is_refused_as_a_parameter():
    w = Tensor([1.0], requires_grad=True)
    assert "parameters[0]" in refusal(lambda: tl.SGD([w * 2.0]))


def test_a_parameter_given_twice_is_refused():
    (w,) = one_parameter()
    assert "parameters[1]" in refusal(lambda: tl.SGD([w, w]))


@every_kind
@pytest.mark.parametrize(
    "bad", [lambda gradients: gradients, "clip", None, tl.ClipGradNorm], ids=["function", "str", "None", "class"]
)
def test_what_is_no_hook_is_refused_with_its_position(kind, bad):
    message = refusal(lambda: kind(one_parameter(), hooks=[tl.ClipGradNorm(1.0), bad]))
    assert message.startswith(f"{kind.__name__}: hooks[1] is")
    assert message.endswith("expected a GradientHook")


def test_a_hook_without_a_list_is_refused_and_named():
    assert refusal(lambda: tl.SGD(one_parameter(), hooks=tl.ClipGradNorm(1.0))).startswith("SGD: hooks")


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.float64(0.5), np.int64(1), Tensor(0.5), Tensor([0.5])], ids=repr)
def test_every_kind_of_number_is_a_learning_rate(value):
    lr = tl.SGD(one_parameter(), lr=value).lr
    assert (lr.shape, lr.dtype) == ((), np.float64)
    assert lr.item() == float(value)
