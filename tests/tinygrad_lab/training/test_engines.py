"""All engines train the same: layers, hooks and penalties of one's own, and callbacks that change the step."""

import dataclasses

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.training.captured import CapturedStep
from tinygrad_lab.training.engines import choice
from tinygrad_lab.training.engines.compiled import CompiledEngine

X = np.random.default_rng(1).normal(size=(20, 3))
Y = X[:, :1] ** 2


def linear():
    return tl.Linear(3, 1, rng=np.random.default_rng(0))


def trainer_of(model, engine, loss=None, optimizer=tl.SGD, hooks=(), **options):
    settings = {"epochs": 4, "batch_size": 8} | options
    optimizer = optimizer(model.parameters(), lr=0.05, hooks=list(hooks))
    return tl.Trainer(model, loss or tl.HalfSquaredError(), optimizer=optimizer, engine=engine, **settings)


def check_engines(make, *, validation=None, callbacks=()):
    """Compare with the eager engine: replay to the bit, loops to rounding."""
    histories = {}
    for engine in ("eager", "replay", "auto", "compiled"):
        histories[engine] = make(engine).fit(X, Y, validation=validation, callbacks=[kind() for kind in callbacks])
    expected = histories["eager"]
    for name in expected:
        for engine in ("replay", "auto"):
            np.testing.assert_array_equal(histories[engine][name], expected[name], err_msg=f"{engine} {name}")
        np.testing.assert_allclose(histories["compiled"][name], expected[name], rtol=1e-12, err_msg=name)
    return expected


class Keeps(tl.Layer):
    """Keeps its activation, as one does to look at it."""

    def __init__(self):
        self.linear = linear()

    def forward(self, x):
        self.hidden = self.linear(x)
        return self.hidden


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
@pytest.mark.parametrize("callbacks", [(), (tl.ProgressBar, lambda: tl.EarlyStopping(3))])
def test_a_result_that_a_layer_keeps_is_no_setting(callbacks, interpreted):
    check_engines(lambda engine: trainer_of(Keeps(), engine), validation=(X[:7], Y[:7]), callbacks=callbacks)


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
def test_a_trainer_whose_layer_keeps_a_result_is_trained_again_on_other_shapes():
    trainers = [trainer_of(Keeps(), engine) for engine in ("eager", "replay")]
    for rows in (20, 13):
        first, second = (trainer.fit(X[:rows], Y[:rows])["train_loss"] for trainer in trainers)
        np.testing.assert_array_equal(first, second)


class Tempered(tl.Layer):
    """Has a Python number, which a capture makes a constant of the program."""

    def __init__(self):
        self.linear = linear()
        self.factor = 1.0

    def forward(self, x):
        return self.linear(x) * self.factor


class Halve(tl.Callback):
    def on_epoch_end(self, run):
        run.trainer.model.factor *= 0.5
        return ""


class ReplaceTheLoss(tl.Callback):
    def on_epoch_seen(self, run):
        if run.history.epochs == 2:
            run.trainer.loss = tl.MeanAbsoluteError()


@pytest.mark.parametrize("callback", [Halve, ReplaceTheLoss])
def test_a_callback_may_change_what_a_capture_froze(callback, interpreted):
    def make(engine):
        return trainer_of(Tempered(), engine)

    validation = X[:7], Y[:7]
    changed = check_engines(make, validation=validation, callbacks=[callback])
    plain = check_engines(make, validation=validation)
    assert (changed["validation_loss"][2:] != plain["validation_loss"][2:]).all()


def test_a_subclass_of_the_trainer_may_be_changed_too():
    class Scaled(tl.Trainer):
        factor = 1.0

        def training_step(self, x, y, sample_weight=None):
            loss, *update = super().training_step(x, y, sample_weight)
            return loss * self.factor, *update

    class Halve(tl.Callback):
        def on_epoch_end(self, run):
            run.trainer.factor *= 0.5
            return ""

    losses = []
    for engine in ("eager", "replay"):
        model = linear()
        trainer = Scaled(model, tl.HalfSquaredError(), optimizer=tl.SGD(model.parameters()), epochs=3, engine=engine)
        losses.append(trainer.fit(X, Y, callbacks=[Halve()])["train_loss"])
    np.testing.assert_array_equal(*losses)


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
def test_a_callback_that_changes_no_step_costs_no_capture(monkeypatch):
    captures = []
    capture = CapturedStep._capture
    monkeypatch.setattr(CapturedStep, "_capture", lambda self, *given: captures.append(1) or capture(self, *given))
    trainer = trainer_of(Keeps(), "replay", optimizer=tl.Adam)
    trainer.fit(X, Y, validation=(X[:7], Y[:7]), callbacks=[tl.EarlyStopping(3), tl.ProgressBar()])
    assert len(captures) == 3  # batches of 8 and of 4, and the evaluation


def test_what_a_callback_changes_is_not_compiled_where_the_engine_was_left_to_choose(monkeypatch, interpreted):
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 1)
    compiled = []
    prepare = CompiledEngine.prepare
    monkeypatch.setattr(CompiledEngine, "prepare", lambda self, *given: compiled.append(id(self)) or prepare(self, *given))
    trainer_of(Tempered(), "auto").fit(X, Y, callbacks=[Halve()])
    assert len({*compiled}) == 1


class PenaltyOfTwo(tl.Penalty):
    def __init__(self):
        super().__init__(1.0)
        self.parts = [tl.L1Penalty(1e-3), tl.L2Penalty(1e-2)]

    def size(self, w):
        return self.parts[0].value([w]) + self.parts[1].value([w])

    def slope(self, w):
        return self.parts[0].gradient([w])[0] + self.parts[1].gradient([w])[0]

    def proximal(self, w, step):
        return w


@dataclasses.dataclass(frozen=True)
class Scaling(tl.Activation):
    factor: tl.Tensor

    def forward(self, x):
        return x * self.factor


class OnTheFirst(tl.GradientHook):
    """Gives the first gradient to other hooks."""

    def __init__(self, *hooks):
        self.hooks = hooks

    def __call__(self, gradients):
        first = gradients[:1]
        for hook in self.hooks:
            first = hook(first)
        return [*first, *gradients[1:]]


COMPOSED = {
    "penalty": lambda engine: trainer_of(linear(), engine, penalty=PenaltyOfTwo()),
    "activation": lambda engine: trainer_of(tl.Sequential(linear(), Scaling(tl.Tensor(0.3))), engine),
    "hook": lambda engine: trainer_of(linear(), engine, hooks=[OnTheFirst(tl.ClipGradValue(0.5), tl.ClipGradNorm(0.2))]),
}


@pytest.mark.parametrize("make", COMPOSED.values(), ids=COMPOSED)
def test_parts_may_be_made_of_parts(make, interpreted):
    check_engines(make)


def test_hyper_parameters_keep_their_names_and_those_within_parts_have_longer_ones():
    program = trainer_of(linear(), "replay", hooks=[tl.ClipGradNorm(1.0)], penalty=PenaltyOfTwo()).capture(X, Y)
    assert list(program.inputs) == ["x", "y", "lr", "max_norm", "strength", "parts.0.strength", "parts.1.strength"]


class Centred(tl.Layer):
    """Its parameters are named as Adam's running means are."""

    def __init__(self):
        self.mean = [tl.Tensor(np.zeros((1, 3)), requires_grad=True)]
        self.linear = linear()

    def forward(self, x):
        return self.linear(x - self.mean[0])


def test_a_parameter_may_have_the_name_of_an_entry_of_the_optimizers_state(interpreted):
    check_engines(lambda engine: trainer_of(Centred(), engine, optimizer=tl.Adam))


class RunningMean(tl.Layer):
    """Replaces a Tensor of its own in every step."""

    def __init__(self):
        self.linear = linear()
        self.mean = tl.Tensor(np.zeros(3))

    def forward(self, x):
        self.mean = (0.9 * self.mean + 0.1 * x.mean(axis=0)).detach()
        return self.linear(x - self.mean)


@pytest.mark.parametrize("engine", ["replay", "compiled"])
def test_a_tensor_that_the_step_replaces_is_refused(engine):
    with pytest.raises(
        CaptureError, match=r"test_engines.py, line \d+: multiply takes a Tensor of shape \(3,\) that the step rep"
    ):
        trainer_of(RunningMean(), engine).fit(X, Y)
    with pytest.warns(
        UserWarning, match="training on the eager engine, since the step cannot be replayed: .* replaces by another"
    ):
        trainer_of(RunningMean(), "auto").fit(X, Y)


def test_a_parameter_that_is_frozen_after_its_optimizer_was_made_is_named_in_an_error():
    for engine in ("eager", "replay"):
        trainer = trainer_of(linear(), engine)
        trainer.model.bias.requires_grad = False
        with pytest.raises(ValueError, match="bias: is frozen"):
            trainer.fit(X, Y)
