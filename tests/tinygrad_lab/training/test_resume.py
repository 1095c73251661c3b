"""Resuming a training in which something has changed since it was set up, and checkpoints that do not fit."""

import functools
import json
import random

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.storage.arrays import arrays_from_bytes, arrays_to_bytes
from tinygrad_lab.training import checkpoint_bytes
from tinygrad_lab.training.changes import decode, encode
from tinygrad_lab.training.checkpoints import _forms, load_checkpoint

X = np.random.default_rng(1).normal(size=(20, 3))
Y = X[:, :1] ** 2
HELD_OUT = (X[:7], Y[:7])
ENGINES = ["eager", "replay", "auto", "compiled"]
FACTOR = 1.0


@pytest.fixture(autouse=True)
def _unchanged():
    global FACTOR
    FACTOR = 1.0
    yield
    FACTOR = 1.0


class Parts(tl.Layer):
    """A layer with all kinds of settings."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.inner = [tl.Linear(3, 4, rng=rng), tl.Linear(4, 1, rng=rng)]
        self.factor = 1.0
        self.shift = (0.0, 1)
        self.options = {"scale": 1.0, 3: [1.0, None]}
        self.array = np.ones(4)
        self.single = np.float32(1.0)
        self.constant = tl.Tensor(np.ones(4))
        self.name = "tanh"
        factor = 1.0

        def function(x):
            return x * factor

        def change(value):
            nonlocal factor
            factor = value

        self.function, self.change = function, change

    def forward(self, x):
        x = self.function(self.inner[0](x) * (self.factor * FACTOR) + self.shift[0])
        x = x.tanh() if self.name == "tanh" else x.sigmoid()
        extra = getattr(self, "added", 1.0)
        x = x * self.array * self.constant * float(self.single) * extra
        return self.inner[1](x * self.options["scale"] * self.options[3][0])


class Limit(tl.GradientHook):
    def __init__(self):
        self.limit = 10.0

    def __call__(self, gradients):
        return [g.clip(-self.limit, self.limit) for g in gradients]


class Scaled(tl.HalfSquaredError):
    scale = 1.0

    def per_sample(self, prediction, target):
        return super().per_sample(prediction, target) * self.scale


class Steps(tl.Scheduler):
    def __init__(self):
        self.lr = 0.05

    def __call__(self, epoch):
        return self.lr


def make_trainer(engine="replay", scheduler=None, **options):
    net = Parts()
    hooks = [Limit(), tl.ClipGradNorm(5.0)]
    settings = {"epochs": 7, "batch_size": 8, "penalty": tl.L1Penalty(1e-3, decoupled=True), "optimizer": tl.Adam} | options
    optimizer = settings.pop("optimizer")(net.parameters(), lr=0.05, hooks=hooks)
    return tl.Trainer(net, Scaled(), optimizer=optimizer, scheduler=scheduler, engine=engine, **settings)


def set_global(trainer, value):
    global FACTOR
    FACTOR = value


def freeze(trainer):
    trainer.model.inner[0].bias.requires_grad = False


CHANGES = {
    "learning rate": lambda t: setattr(t.optimizer, "lr", 0.02),
    "betas": lambda t: setattr(t.optimizer, "betas", (0.5, 0.9)),
    "eps": lambda t: setattr(t.optimizer, "eps", 0.1),
    "penalty": lambda t: setattr(t.penalty, "strength", 0.1),
    "clip norm": lambda t: setattr(t.optimizer.hooks[1], "max_norm", 0.1),
    "number of a hook": lambda t: setattr(t.optimizer.hooks[0], "limit", 0.01),
    "loss": lambda t: setattr(t.loss, "scale", 0.5),
    "scheduler": lambda t: setattr(t.scheduler, "lr", 0.01),
    "batch size": lambda t: setattr(t, "batch_size", 5),
    "no batches": lambda t: setattr(t, "batch_size", None),
    "shuffle": lambda t: setattr(t, "shuffle", False),
    "seed": lambda t: setattr(t, "seed", 7),
    "attribute": lambda t: setattr(t.model, "factor", 0.5),
    "attribute of another type": lambda t: setattr(t.model, "factor", np.array([0.5, 1.0, 1.5, 2.0])),
    "new attribute": lambda t: setattr(t.model, "added", 0.5),
    "text": lambda t: setattr(t.model, "name", "sigmoid"),
    "tuple": lambda t: setattr(t.model, "shift", (0.5, 1)),
    "dict": lambda t: t.model.options.update(scale=0.5),
    "list": lambda t: t.model.options[3].__setitem__(slice(None), [0.5, "more", (1, 2)]),
    "array in place": lambda t: t.model.array.fill(0.5),
    "array replaced": lambda t: setattr(t.model, "array", np.full(4, 0.5)),
    "NumPy number": lambda t: setattr(t.model, "single", np.float32(0.5)),
    "constant": lambda t: t.model.constant.assign(np.full(4, 0.5)),
    "closure": lambda t: t.model.change(0.5),
    "weights": lambda t: t.model.inner[1].weight.assign(0.5 * t.model.inner[1].weight),
}


class Change(tl.Callback):
    def __init__(self, change, epoch=3):
        self.change, self.epoch = change, epoch

    def on_epoch_end(self, run):
        if run.history.epochs == self.epoch:
            self.change(run.trainer)
        return ""


def state_of(trainer):
    numbers = trainer.model.state_dict() | trainer.optimizer.state_dict() | dict(trainer.history)
    return {name: x.tolist() for name, x in numbers.items()} | {"rate": trainer.optimizer.lr.item()}


def check_resumed(make, change, path, at=3, before=lambda: None):
    """Compare a training that is resumed from its checkpoint with one that was never interrupted."""
    whole, first, second = make(), make(), make()
    whole.fit(X, Y, validation=HELD_OUT, callbacks=[Change(change)])
    before()
    first.fit(X, Y, validation=HELD_OUT, callbacks=[Change(change), tl.Checkpoint(path)], epochs=at)
    before()
    second.fit(X, Y, validation=HELD_OUT, callbacks=[Change(change)], resume=path)
    assert state_of(second) == state_of(whole)
    return whole


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_sets_is_resumed_to_the_same_bits(name, tmp_path):
    def make():
        return make_trainer(scheduler=Steps() if name == "scheduler" else None)

    changed = check_resumed(make, CHANGES[name], tmp_path / "checkpoint")
    plain = make()
    plain.fit(X, Y, validation=HELD_OUT)
    assert changed.history["train_loss"][-1] != plain.history["train_loss"][-1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["learning rate", "penalty", "attribute", "batch size"])
@pytest.mark.parametrize("at", [2, 3, 5])
def test_on_all_engines_and_wherever_it_stops(name, engine, at, tmp_path, interpreted):
    check_resumed(lambda: make_trainer(engine), CHANGES[name], tmp_path / "checkpoint", at)


def test_a_checkpoint_of_a_resumed_training(tmp_path):
    trainers = [make_trainer() for _ in range(4)]
    callbacks = [Change(CHANGES["learning rate"]), Change(CHANGES["attribute"], 5)]
    trainers[0].fit(X, Y, callbacks=callbacks)
    for trainer, until, resume in zip(trainers[1:], (4, 6, 7), (None, *[tmp_path / "checkpoint"] * 2), strict=True):
        trainer.fit(X, Y, callbacks=[*callbacks, tl.Checkpoint(tmp_path / "checkpoint")], epochs=until, resume=resume)
    assert state_of(trainers[3]) == state_of(trainers[0])


def test_a_module_global_is_resumed_and_must_be_as_it_was(tmp_path):
    change = functools.partial(set_global, value=0.5)
    path = tmp_path / "checkpoint"
    check_resumed(make_trainer, change, path, before=lambda: set_global(None, 1.0))
    set_global(None, 2.0)
    with pytest.raises(tl.WeightsError, match=f"it differs in the global variable FACTOR of {__name__}$"):
        make_trainer().fit(X, Y, validation=HELD_OUT, callbacks=[Change(change)], resume=path)


def test_the_set_up_must_be_equal(tmp_path):
    path = tmp_path / "checkpoint"
    change = Change(CHANGES["learning rate"])
    make_trainer().fit(X, Y, callbacks=[change, tl.Checkpoint(path)], epochs=4)
    for lr, penalty, differing in ((0.02, 1e-3, "optimizer"), (0.05, 0.1, "penalty")):
        trainer = make_trainer(penalty=tl.L1Penalty(penalty, decoupled=True))
        trainer.optimizer.lr = lr
        before = state_of(trainer)
        with pytest.raises(tl.WeightsError, match=f"is a checkpoint of another training; it differs in {differing}$"):
            trainer.fit(X, Y, callbacks=[change], resume=path)
        assert state_of(trainer) == before


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_frozen_parameter_is_resumed_frozen(engine, tmp_path):
    path = tmp_path / "checkpoint"
    first, second = make_trainer(engine), make_trainer(engine)
    keep = KeepRun()
    first.fit(X, Y, callbacks=[keep], epochs=3)
    freeze(first)
    path.write_bytes(checkpoint_bytes(keep.run))
    load_checkpoint(second.prepare(X, Y), path)
    bias = second.model.inner[0].bias
    assert (bias.requires_grad, bias.is_parameter) == (False, True)
    assert "inner.0.bias" in second.model.state_dict()


class KeepRun(tl.Callback):
    only_watches = True

    def on_fit_start(self, run):
        self.run = run


# State that the step itself changes, on the eager engine


class Counting(Limit):
    """Has a warm-up and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.norms = []
        self.rng = np.random.default_rng(0)
        self.legacy = np.random.RandomState(0)
        self.python = random.Random(0)
        self.legacy.normal()  # it keeps a second number

    def __call__(self, gradients):
        self.calls += 1
        self.norms.append(float(gradients[0].abs().sum()))
        noise = self.rng.normal() + self.legacy.normal() + self.python.random() + self.python.gauss(0.0, 1.0)
        return [g * min(1.0, 0.05 * self.calls) * (1.0 + 0.01 * noise) for g in super().__call__(gradients)]


def test_state_of_eager_parts_is_resumed(tmp_path):
    def make():
        trainer = make_trainer("eager")
        trainer.optimizer.hooks[0] = Counting()
        return trainer

    whole = check_resumed(make, lambda t: None, tmp_path / "checkpoint")
    assert whole.optimizer.hooks[0].calls > 20
    assert len(whole.optimizer.hooks[0].norms) == whole.optimizer.hooks[0].calls


# What cannot be stored


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: setattr(t, "loss", tl.MeanAbsoluteError()), "loss went from a Scaled to a MeanAbsoluteError since"),
        (lambda t: setattr(t.model, "factor", Limit()), "Parts.factor went from 1.0 to a Limit since the training was set up"),
        (lambda t: t.optimizer.hooks.append(tl.ClipGradNorm(1.0)), r"Adam.hooks\[2\] was added since"),
        (lambda t: setattr(t.model, "function", np.negative), "Parts.function went from a function to a ufunc since"),
    ],
)
def test_a_change_that_cannot_be_stored_is_refused_by_name(change, message, tmp_path):
    with pytest.raises(
        ValueError, match=f"{message}.*, which a checkpoint cannot store; let callbacks change numbers"
    ) as failure:
        make_trainer().fit(X, Y, callbacks=[Change(change), tl.Checkpoint(tmp_path / "checkpoint", every=3)])
    assert "\n" not in str(failure.value)


class LateMomentum(tl.Optimizer):
    def update(self, parameters, gradients, state, lr):
        means = state.get("m", gradients)
        means = [0.9 * m + g for m, g in zip(means, gradients, strict=True)]
        return [w - lr * m for w, m in zip(parameters, means, strict=True)], {"m": means}


def test_state_that_was_created_late_is_refused(tmp_path):
    trainer = make_trainer("eager", optimizer=LateMomentum)
    with pytest.raises(ValueError, match="LateMomentum has created its state m during the training, .* add_slots in the"):
        trainer.fit(X, Y, callbacks=[tl.Checkpoint(tmp_path / "checkpoint")])


# Checkpoints that do not fit


def checkpoint_of(callbacks):
    keep = KeepRun()
    make_trainer().fit(X, Y, validation=HELD_OUT, callbacks=[*callbacks, keep], epochs=4)
    return checkpoint_bytes(keep.run)


class Metric(tl.Callback):
    only_watches = True

    def on_epoch_end(self, run):
        run.history.record(metric=1.0)
        return ""


def all_callbacks():
    return [Metric(), Change(CHANGES["learning rate"]), Change(CHANGES["array in place"]), tl.EarlyStopping(9)]


def altered(array):
    """Other arrays in its place: of another shape, of another dtype, and one more axis."""
    yield np.zeros((*array.shape, 2), array.dtype)
    yield np.concatenate([np.atleast_1d(array), np.atleast_1d(array)[:1]])
    yield array.astype(np.float32 if array.dtype == np.float64 else np.float64)
    if array.ndim:
        yield array[:-1]


def test_each_array_of_a_checkpoint_is_checked_before_any_is_loaded(tmp_path):
    arrays, texts = arrays_from_bytes(checkpoint_of(all_callbacks()))
    assert len(arrays) > 20
    damaged = [{name: x for name, x in arrays.items() if name != missing} for missing in arrays]
    damaged += [arrays | {name: other} for name, x in arrays.items() for other in altered(x)]
    damaged += [arrays | {name: np.zeros(2)} for name in ("more", "model.more", "optimizer.m.0", "history.b", "callback9.a")]
    trainer = make_trainer()
    callbacks = all_callbacks()
    before = state_of(trainer), callbacks[-1].state_dict(), trainer.model.array.tolist()
    path = tmp_path / "checkpoint"
    for content in damaged:
        path.write_bytes(arrays_to_bytes(content, texts))
        with pytest.raises(tl.WeightsError, match="checkpoint: does not fit the checkpoint's own list: ") as failure:
            trainer.fit(X, Y, validation=HELD_OUT, callbacks=callbacks, resume=path)
        assert "\n" not in str(failure.value)
        assert (state_of(trainer), callbacks[-1].state_dict(), trainer.model.array.tolist()) == before
    path.write_bytes(arrays_to_bytes(arrays, texts))
    trainer.fit(X, Y, validation=HELD_OUT, callbacks=callbacks, resume=path)


def test_a_list_of_arrays_that_was_altered_too_is_refused(tmp_path):
    """Where file and list agree, the arrays must fit the Trainer."""
    arrays, texts = arrays_from_bytes(checkpoint_of(all_callbacks()))
    trainer, callbacks = make_trainer(), all_callbacks()
    before = state_of(trainer), callbacks[-1].state_dict(), trainer.model.array.tolist()
    path = tmp_path / "checkpoint"
    contents = [
        {name: x for name, x in arrays.items() if name != missing}
        for missing in arrays
        if not missing.startswith(("callback", "history.m"))
    ]
    contents += [
        arrays | {name: other}
        for name, x in arrays.items()
        for other in altered(x)
        if not name.startswith(("callback", "changes"))
    ]
    for content in contents:
        path.write_bytes(arrays_to_bytes(content, texts | {"arrays": json.dumps(_forms(content))}))
        with pytest.raises(tl.WeightsError) as failure:
            trainer.fit(X, Y, validation=HELD_OUT, callbacks=callbacks, resume=path)
        assert "\n" not in str(failure.value)
        assert (state_of(trainer), callbacks[-1].state_dict(), trainer.model.array.tolist()) == before


def test_best_weights_that_do_not_fit_the_model_are_refused(tmp_path):
    arrays, texts = arrays_from_bytes(checkpoint_of(all_callbacks()))
    weights = {name: x for name, x in arrays.items() if name.startswith("callback") and ".weights." in name}
    assert weights
    trainer, callbacks = make_trainer(), all_callbacks()
    before = state_of(trainer), callbacks[-1].state_dict(), trainer.model.array.tolist()
    path = tmp_path / "checkpoint"
    for name, x in weights.items():
        others = {key: value for key, value in arrays.items() if key != name}
        for content in (others, others | {f"{name}.more": x}, arrays | {name: np.zeros((*x.shape, 2))}):
            path.write_bytes(arrays_to_bytes(content, texts | {"arrays": json.dumps(_forms(content))}))
            with pytest.raises(tl.WeightsError, match=f"EarlyStopping cannot be loaded .*{name.partition('.weights.')[2]}"):
                trainer.fit(X, Y, validation=HELD_OUT, callbacks=callbacks, resume=path)
            assert (state_of(trainer), callbacks[-1].state_dict(), trainer.model.array.tolist()) == before


class Faulty(tl.Callback):
    def load_state_dict(self, state):
        raise KeyError("count")


def test_a_callback_that_cannot_load_its_state_leaves_the_trainer_as_it_was(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(checkpoint_of([*all_callbacks(), Faulty()]))
    trainer, callbacks = make_trainer(), [*all_callbacks(), Faulty()]
    before = state_of(trainer), callbacks[3].state_dict(), trainer.model.array.tolist()
    with pytest.raises(tl.WeightsError, match=r"checkpoint: Faulty cannot be loaded \(KeyError: 'count'\)"):
        trainer.fit(X, Y, validation=HELD_OUT, callbacks=callbacks, resume=path)
    assert (state_of(trainer), callbacks[3].state_dict(), trainer.model.array.tolist()) == before


def test_a_file_of_weights_is_no_checkpoint(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(arrays_to_bytes(make_trainer().model.state_dict()))
    with pytest.raises(tl.WeightsError, match="is no checkpoint, expected a file that the callback Checkpoint has written"):
        make_trainer().fit(X, Y, resume=path)


def test_a_checkpoint_that_is_refused_leaves_the_history_of_the_last_fit(tmp_path):
    path = tmp_path / "weights.safetensors"
    trainer = make_trainer()
    path.write_bytes(arrays_to_bytes(trainer.model.state_dict()))
    history = trainer.fit(X, Y)
    with pytest.raises(tl.WeightsError):
        trainer.fit(X, Y, resume=path)
    assert trainer.history is history


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 10**40, 0.1, float("inf"), "text", [1, [2.0, (3, None)]], (), {"a": {1: (2.0,)}}, {1, 2}, np.arange(3),
        np.float32(0.1), np.bool_(True), np.ones((2, 0), np.float32), tl.Tensor([1.0, 2.0]), tl.Tensor(1.0, requires_grad=True),
    ],
)  # fmt: skip
def test_values_come_back_as_they_were(value):
    arrays = {}
    back = decode(json.loads(json.dumps(encode(value, arrays))), arrays)
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize("value", [1j, b"bytes", object(), np.array(["a"]), np.array([1j]), [np.sin], frozenset()])
def test_other_values_are_refused(value):
    with pytest.raises(TypeError):
        encode(value, {})
