"""`verify` on right Trainers of every kind, and on Trainers whose parts are wrong in one way each.

Each wrong part is what a user might write. The test names the row that has to fail and what its message has to say.
"""

import copy
import itertools

import numpy as np
import pytest

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.ops import Op, equal_shapes
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.optim.optimizer import Optimizer
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.testing import mutant, verification, verify

X = np.linspace(-1.0, 1.0, 11)
Y = np.sin(3.0 * X)


@pytest.fixture(autouse=True)
def fewer_elements_and_calls(monkeypatch, interpreted):
    """Compiled loops run as Python, which is the same program without the compiler's seconds."""
    monkeypatch.setattr(verification, "ELEMENTS", 4)


def network(*activations, dtype=np.float64):
    rng = np.random.default_rng(0)
    sizes = [1, *[3] * len(activations), 1]
    layers = [tl.Linear(n, m, rng=rng, dtype=dtype) for n, m in itertools.pairwise(sizes)]
    return tl.Sequential(layers[0], *[part for pair in zip(activations, layers[1:], strict=True) for part in pair])


def trainer_of(net=None, loss=None, optimizer=tl.SGD, lr=0.05, **options):
    net = network(tl.Tanh()) if net is None else net
    hooks = options.pop("hooks", [])
    options = {"batch_size": 4} | options
    optimizer = optimizer(net.parameters(), lr=lr, hooks=hooks) if hooks else optimizer(net.parameters(), lr=lr)
    return tl.Trainer(net, tl.HalfSquaredError() if loss is None else loss, optimizer=optimizer, **options)


def failures(trainer, x=X, y=Y):
    """Return the failed rows as lines of text, and check that the table is the message."""
    with pytest.raises(AssertionError) as failure:
        verify(trainer, x, y)
    lines = str(failure.value).splitlines()
    assert lines[1].split() == ["part", "checked", "error", "verdict"]
    return [line for line in lines if line.startswith("FAILED")]


# Right Trainers -----------------------------------------------------------------------------------------------------------

RIGHT = {
    "plain": lambda: trainer_of(),
    "all parts": lambda: trainer_of(
        network(tl.ReLU(), tl.Sigmoid()),
        tl.Huber(0.3),
        tl.Adam,
        hooks=[tl.ClipGradValue(0.5), tl.ClipGradNorm(0.1)],
        penalty=tl.L1Penalty(1e-2, decoupled=True),
        scheduler=tl.GeometricDecay(0.05, 0.01, epochs=5),
    ),
    "proximal": lambda: trainer_of(penalty=tl.ElasticNetPenalty(1e-2, proximal=True)),
    "penalty in the loss": lambda: trainer_of(penalty=tl.L1Penalty(1e-2), batch_size=None),
    "single precision": lambda: trainer_of(network(tl.ELU(), dtype=np.float32), penalty=tl.L2Penalty(1e-2)),
    "the report's network": lambda: trainer_of(
        TwoHiddenLayerNet(1, 6, 4, 1, activation="leaky_relu", rng=np.random.default_rng(0)),
        penalty=tl.L1Penalty(1e-3, decoupled=True),
        hooks=[tl.ClipGradNorm(10.0)],
        batch_size=1,
    ),
    "mean absolute error": lambda: trainer_of(loss=tl.MeanAbsoluteError(), optimizer=tl.RMSprop),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_trainer_passes_and_does_not_change(name, capsys):
    trainer = RIGHT[name]()
    before = verification._contents(trainer)
    result = verify(trainer, X, Y)
    assert result.failed == []
    assert {row.verdict for row in result.rows} == {"ok"}
    assert capsys.readouterr().out == f"{result}\n"
    assert verification._contents(trainer) == before
    assert all(row.error is None or row.error < 1e-4 for row in result.rows)


def test_class_labels_weights_and_a_trainer_that_has_trained():
    rng = np.random.default_rng(0)
    net = tl.Sequential(tl.Linear(2, 4, rng=rng), tl.Tanh(), tl.Linear(4, 3, rng=rng))
    trainer = trainer_of(net, tl.CrossEntropy())
    x, y = rng.normal(size=(9, 2)), rng.integers(0, 3, 9)
    trainer.fit(x, y, epochs=2)
    assert verify(trainer, x, y, sample_weight=rng.uniform(0.5, 1.0, 9)).failed == []


def test_a_step_that_cannot_be_captured_is_refused_and_not_wrong():
    class Halting(tl.Layer):
        def __init__(self):
            self.weight = Tensor(1.0, requires_grad=True)

        def forward(self, x):
            return self.weight * x if float(self.weight.detach()) < 1e3 else x

    result = verify(trainer_of(Halting()), X, Y)
    verdicts = {row.promise: row.verdict for row in result.rows}
    assert verdicts["replay equals eager"] == "refused"
    assert "refused: engine, replay equals eager: " in str(result)
    assert "ok" in verdicts.values()


def test_what_is_no_trainer_is_refused():
    with pytest.raises(TypeError, match="verify: trainer is 3, expected a Trainer"):
        verify(3, X, Y)
    with pytest.raises(ValueError, match="engines has 'fast', expected replay and compiled"):
        verify(trainer_of(), X, Y, engines=["fast"])


# Wrong parts --------------------------------------------------------------------------------------------------------------


class Scale(tl.Layer):
    """A right layer, for others to be wrong in one way."""

    def __init__(self):
        self.weight = Tensor([0.7], requires_grad=True)

    def forward(self, x):
        return self.weight * x


wrong_cube = Op("wrong_cube", lambda x, out=None: np.power(x, 3.0, out=out), equal_shapes, (lambda g, y, x: g * 2.0 * x * x,))
del ops.OP_TABLE["wrong_cube"]  # tests range over the table


class WrongVJP(tl.Activation):
    def forward(self, x):
        return wrong_cube(x)


class Detached(Scale):
    def forward(self, x):
        return self.weight.detach() * self.weight * x


class InNumPy(tl.Activation):
    def forward(self, x):
        return Tensor(np.tanh(x.numpy()))


class OwnRandomNumbers(Scale):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        return self.weight * x * self.rng.uniform(0.5, 1.5)


class RunningMean(Scale):
    """Its state is an array, which no file has."""

    def __init__(self):
        super().__init__()
        self.mean = np.zeros(1)

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * np.asarray(x.detach().numpy().mean())
        return self.weight * (x - self.mean)


class Holder:
    def __init__(self):
        self.factor = Tensor(2.0, requires_grad=True)


class HiddenParameter(Scale):
    def __init__(self):
        super().__init__()
        self.holder = Holder()

    def forward(self, x):
        return self.weight * x * self.holder.factor


class Broadcasting(tl.HalfSquaredError):
    def per_sample(self, prediction, target):
        return (prediction - target.reshape(-1)).square().mean(1)


class NotAScalar(tl.HalfSquaredError):
    def __call__(self, prediction, target, sample_weight=None):
        return self.per_sample(prediction, target)


class WarmUp(GradientHook):
    """Acts from its 11th call on."""

    def __init__(self):
        self.calls = 0

    def __call__(self, gradients):
        self.calls += 1
        return [g * 0.5 if self.calls > 10 else g for g in gradients]


class Counting(GradientHook):
    def __init__(self):
        self.calls = 0

    def __call__(self, gradients):
        self.calls += 1
        return list(gradients)


class OwnCounter(Optimizer):
    """Counts its updates in an attribute, which no checkpoint has."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr)
        self.count = 0

    def update(self, parameters, gradients, state, lr):
        self.count += 1
        return [w - lr * g / self.count for w, g in zip(parameters, gradients, strict=True)], state


class WrongGradient(tl.L2Penalty):
    def slope(self, w):
        return 1.01 * w


class WrongShrink(tl.L1Penalty):
    def proximal(self, w, step):
        return w - step * w.sign()


class WrongOrder(Penalty):
    def size(self, w):
        return (w * w.detach()).sum()

    def slope(self, w):
        return 2.0 * w

    def proximal(self, w, step):
        return w


class Forgetful(Scale):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Noisy(tl.ConstantLR):
    def __call__(self, epoch):
        return self.lr * np.random.default_rng().uniform(0.5, 1.0)


WRONG = {
    "a wrong VJP": (lambda: trainer_of(network(WrongVJP())), ["1: WrongVJP, gradient", "at fault: wrong_cube ("]),
    "detach": (lambda: trainer_of(Detached()), ["objective, gradient of the parameters", "most likely: detach ("]),
    "NumPy": (lambda: trainer_of(network(InNumPy())), ["1: InNumPy, gradient", "may have left the graph"]),
    "random numbers": (lambda: trainer_of(OwnRandomNumbers()), ["step, function of the state alone", "rng changed"]),
    "a running mean": (lambda: trainer_of(RunningMean()), ["step, function of the state alone", "model.mean"]),
    "a running mean on disk": (lambda: trainer_of(RunningMean()), ["weights file", "part of its state is not in state_dict"]),
    "a hidden parameter": (
        lambda: trainer_of(HiddenParameter()),
        ["parameters are found", "holder.factor requires a gradient"],
    ),
    "a loss that broadcasts": (lambda: trainer_of(loss=Broadcasting()), ["Broadcasting, mean over the samples", "broadcast"]),
    "a loss of a shape": (lambda: trainer_of(loss=NotAScalar()), ["NotAScalar, gradient", "shape (4,), expected ()"]),
    "a hook that warms up": (lambda: trainer_of(hooks=[WarmUp()]), ["hook 0: WarmUp", "call 11 with equal arguments"]),
    "a hook that counts": (lambda: trainer_of(hooks=[Counting()]), ["hook 0: Counting", "a call changes calls"]),
    "an optimizer that counts": (
        lambda: trainer_of(optimizer=OwnCounter),
        ["OwnCounter, update is a function", "count changed"],
    ),
    "an optimizer on disk": (lambda: trainer_of(optimizer=OwnCounter), ["OwnCounter, state_dict keeps", "next update differs"]),
    "a penalty's gradient": (
        lambda: trainer_of(penalty=WrongGradient(1e-2, decoupled=True)),
        ["WrongGradient, gradient belongs to value", "but value has slopes from"],
    ),
    "a penalty's map": (
        lambda: trainer_of(Scale(), penalty=WrongShrink(100.0, proximal=True)),
        ["WrongShrink, shrink belongs to value", "shrink gives"],
    ),
    "a penalty in the loss": (
        lambda: trainer_of(penalty=WrongOrder(1e-2)),
        ["objective, gradient of the parameters", "most likely: detach ("],
    ),
    "weights that are not saved": (lambda: trainer_of(Forgetful()), ["checkpoint, resumed equals", "has other parameters"]),
    "a scheduler": (lambda: trainer_of(scheduler=Noisy(0.1)), ["Noisy, function of the epoch", "call 2 with equal arguments"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_part_fails_in_its_row(name):
    make, parts_of_the_message = WRONG[name]
    trainer = make()
    before = copy.deepcopy(verification._contents(trainer))
    failed = failures(trainer)
    row = [line for line in failed if parts_of_the_message[0] in line]
    assert row, failed
    assert parts_of_the_message[1] in row[0]
    assert verification._contents(trainer) == before


def test_a_wrong_op_is_named_with_its_line():
    with mutant(ops.tanh, 0, 1.01):
        failed = failures(trainer_of())
    assert any("1: Tanh, gradient" in line and "at fault: tanh" in line for line in failed)


def test_an_error_in_one_check_does_not_hide_the_rest():
    class Broken(tl.SGD):
        def update(self, parameters, gradients, state, lr):
            raise RuntimeError("no update today")

    with pytest.raises(AssertionError) as failure:
        verify(trainer_of(optimizer=Broken), X, Y)
    message = str(failure.value)
    assert "FAILED: Broken, step equals update: RuntimeError: no update today" in message
    table = [line for line in message.splitlines() if not line.startswith("FAILED")]
    assert sum(line.endswith(" ok") for line in table) >= 6


def test_data_that_do_not_fit_give_one_row():
    assert len(failures(trainer_of(), X, Y[:3])) == 1
