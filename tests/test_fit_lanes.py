"""Lanes: whatever Trainers are trained together, each learns to the bit what its own `fit` teaches it. And blocks of updates
on the compiled engine: where they are cut decides nothing.
"""

import itertools
import warnings

import numpy as np
import pytest

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tests.test_codegen import cache, compiling, interpreted  # noqa: F401 (fixtures)
from tinygrad_lab import native
from tinygrad_lab.graph import CaptureError
from tinygrad_lab.program import Program
from tinygrad_lab.training import compiled, lanes, loop
from tinygrad_lab.training.structure import structure

RNG = np.random.default_rng(5)
LENGTHS = (23, 9, 30, 16)  # of the lanes' data: with batches of 7, last ones of 2, 2, 2 and 2; see `data` for others
X = RNG.uniform(-2.0, 2.0, (60, 2))
Y = np.stack([X[:, 0] ** 2 - X[:, 1], np.sin(2.0 * X[:, 0])], axis=1) + RNG.normal(0.0, 0.1, X.shape)
STARTS = (0, 20, 30, 7)

OPTIMIZERS = {
    "sgd": lambda p, i, hooks: tl.SGD(p, lr=0.02 * (i + 1), hooks=hooks),
    "momentum": lambda p, i, hooks: tl.SGD(p, lr=0.02, momentum=0.9 / (1 + 0.2 * i), hooks=hooks),
    "nesterov": lambda p, i, hooks: tl.SGD(p, lr=0.02, momentum=0.9 / (1 + 0.2 * i), nesterov=True, hooks=hooks),
    "rmsprop": lambda p, i, hooks: tl.RMSprop(p, lr=0.01, alpha=0.9 / (1 + 0.1 * i), hooks=hooks),
    "adam": lambda p, i, hooks: tl.Adam(p, lr=0.01 + 0.002 * i, betas=(0.9 / (1 + 0.1 * i), 0.99), hooks=hooks),
    "adamw": lambda p, i, hooks: tl.AdamW(p, lr=0.01, weight_decay=0.01 * i, hooks=hooks),
}
HOOKS = {
    "none": lambda i: [],
    "norm": lambda i: [tl.ClipGradNorm(0.5 + 0.5 * i)],
    "value, norm": lambda i: [tl.ClipGradValue(0.1 + 0.1 * i), tl.ClipGradNorm(0.5 + 0.5 * i)],
}
PENALTIES = {
    f"{kind.__name__} {place}": lambda i, kind=kind, place=place: kind(0.01 * i, **({place: True} if place else {}))
    for kind in (tl.L1Penalty, tl.L2Penalty, tl.ElasticNetPenalty)
    for place in ("", "decoupled", "proximal")
} | {"none": lambda i: None}
SCHEDULERS = {
    "none": lambda i: None,
    "constant": lambda i: tl.ConstantLR(0.01 * (i + 1)),
    "linear": lambda i: tl.LinearDecay(0.05, 0.01 * i, epochs=3),
    "geometric": lambda i: tl.GeometricDecay(0.05, 0.01 + 0.01 * i, epochs=2),
    "cosine": lambda i: tl.CosineDecay(0.05, 0.0, epochs=2 + i),
    "step": lambda i: tl.StepDecay(0.05, 0.5, every=1 + i),
    "warm-up": lambda i: tl.WarmUp(tl.ConstantLR(0.05), epochs=1 + i),
}


def network(i, sizes=(2, 4, 2), activation="tanh", dtype=np.float64, bias=True):
    rng = np.random.default_rng([7, i])
    layers = []
    for ins, outs in itertools.pairwise(sizes):
        layers += [tl.Linear(ins, outs, bias, rng=rng, dtype=dtype), tl.get_activation(activation)]
    return tl.Sequential(*layers[:-1])


def maker(
    optimizer="sgd", hooks="norm", penalty="L1Penalty decoupled", scheduler="geometric", loss=None, net=network, **options
):
    """Return a function that makes the Trainer of lane i, with numbers of its own."""

    def make(i):
        model = net(i)
        settings = {"epochs": (3, 5, 2, 4)[i % 4], "batch_size": 7, "engine": "replay", "seed": i} | options
        return tl.Trainer(
            model,
            loss or tl.HalfSquaredError(),
            optimizer=OPTIMIZERS[optimizer](model.parameters(), i, HOOKS[hooks](i)),
            scheduler=scheduler(i) if callable(scheduler) else SCHEDULERS[scheduler](i),
            penalty=PENALTIES[penalty](i),
            **{name: value(i) if callable(value) else value for name, value in settings.items()},
        )

    return make


def data(i):
    rows = slice(STARTS[i % 4], STARTS[i % 4] + LENGTHS[i % 4])
    return X[rows], Y[rows]


def state_of(trainer, error):
    """Everything that a training leaves behind, to the bit."""
    arrays = trainer.model.state_dict() | {f"optimizer {k}": v for k, v in trainer.optimizer.state_dict().items()}
    arrays |= {f"history {k}": v for k, v in trainer.history.items()} | {"lr": trainer.optimizer.lr.numpy()}
    bits = {name: (array.shape, array.dtype, array.tobytes()) for name, array in arrays.items()}
    return bits | {"error": None if error is None else (error.epoch, error.batch, str(error))}


def fit_alone(trainer, data, epochs=None):
    x, y, *weight = data
    error = None
    try:
        trainer.fit(x, y, sample_weight=weight[0] if weight else None, epochs=epochs)
    except tl.NonFiniteLossError as caught:
        error = caught
    return state_of(trainer, error)


def fit_together(trainers, data, epochs=None):
    errors = tl.fit_lanes(trainers, data, epochs=epochs)
    return [state_of(trainer, error) for trainer, error in zip(trainers, errors, strict=True)]


def check(make, data=data, count=4, epochs=None, together=True):
    """Compare lanes with trainings alone; `together` says that the lanes are of one structure."""
    trainers = [make(i) for i in range(count)]
    assert (len({structure(trainer) for trainer in trainers}) == 1) == together
    alone = [fit_alone(make(i), data(i), epochs) for i in range(count)]
    assert fit_together(trainers, [data(i) for i in range(count)], epochs) == alone
    return alone


CASES = (
    [{"optimizer": name, "hooks": hooks} for name in OPTIMIZERS for hooks in ("none", "value, norm")]
    + [{"penalty": name, "optimizer": "adam"} for name in PENALTIES]
    + [{"scheduler": name} for name in SCHEDULERS]
    + [{"batch_size": size, "shuffle": shuffle} for size in (1, 20, 1000, None) for shuffle in (True, False)]
    + [{"batch_size": 5}, {"batch_size": 8}]  # last batches of 3, 4, 5 and 1 samples; of 7, 1, 6 and 8
    + [{"seed": 0}]
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(f"{k}={v}" for k, v in case.items()))
def test_lanes_learn_what_each_learns_alone(case):
    check(maker(**case))


@pytest.mark.parametrize("activation", tl.ACTIVATIONS)
def test_lanes_of_every_activation(activation):
    check(maker(net=lambda i: network(i, (2, 5, 3, 2), activation), epochs=2))


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_lanes_in_single_precision(optimizer, batch_size):
    check(maker(optimizer, net=lambda i: network(i, dtype=np.float32), batch_size=batch_size, epochs=2))


@pytest.mark.parametrize("loss", [tl.MeanSquaredError(), tl.MeanAbsoluteError(), tl.Huber(0.5)], ids=repr)
def test_lanes_of_every_regression_loss(loss):
    check(maker(loss=loss, epochs=2))


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_lanes_of_class_labels(batch_size):
    def labelled(i):
        x, y = data(i)
        return x, (y[:, 0] > 0).astype(int) + (y[:, 1] > 0)

    make = maker("adam", loss=tl.CrossEntropy(), net=lambda i: network(i, (2, 5, 3)), batch_size=batch_size)
    check(make, labelled)


def test_lanes_with_sample_weights_beside_lanes_without():
    def weighted(i):
        x, y = data(i)
        return (x, y) if i == 1 else (x, y, np.random.default_rng(i).uniform(0.0, 2.0, len(x)))

    check(maker(), weighted)


def test_some_lanes_shuffle_and_others_do_not():
    check(maker(shuffle=lambda i: i % 2 == 0, batch_size=5))


def test_a_lane_depends_neither_on_the_others_nor_on_their_number_and_order():
    make = maker("adam", "value, norm")
    alone = [fit_alone(make(i), data(i)) for i in range(4)]
    for order in ([0], [3, 2, 1, 0], [1, 3], [2, 0, 3], [2, 0, 3, 1]):
        assert fit_together([make(i) for i in order], [data(i) for i in order]) == [alone[i] for i in order]
    many = fit_together([make(i) for i in [2, *range(4, 20)]], [data(i) for i in [2, *range(4, 20)]])
    assert many[0] == alone[2]


def test_structures_may_be_mixed():
    def make(i):
        if i < 2:
            return maker()(i)
        return [maker("adam"), maker(net=lambda i: network(i, (2, 3, 2))), maker(batch_size=4), maker(engine="eager")][i % 4](i)

    check(make, count=8, together=False)


def test_lanes_whose_data_have_other_features_or_dtypes_are_kept_apart():
    class Narrow(tl.Layer):
        """Takes as many features as there are."""

        def __init__(self, i):
            self.scale = tl.Tensor(1.0 + i, requires_grad=True)

        def forward(self, x):
            return (self.scale * x).sum(axis=1, keepdims=True)

    def given(i):
        x, y = data(i)
        return (x, y[:, :1]) if i % 2 else (x[:, :1], y[:, :1])

    check(maker(net=Narrow), given)


def test_epochs_of_the_call_override_those_of_the_trainers():
    states = check(maker(), epochs=2)
    assert {state["history lr"][0] for state in states} == {(2,)}


def test_lanes_start_from_the_weights_and_the_optimizers_state_that_they_have():
    def pretrained(i):
        trainer = maker("adam")(i)
        trainer.fit(*data(3), epochs=1 + i)
        return trainer

    states = check(pretrained)
    assert states != [fit_alone(maker("adam")(i), data(i)) for i in range(4)]


def test_lanes_can_be_trained_again_and_by_fit_after_that():
    make = maker("momentum")
    alone, trainers = [make(i) for i in range(3)], [make(i) for i in range(3)]
    for shift in range(2):
        arrays = [data(i + shift) for i in range(3)]
        assert fit_together(trainers, arrays) == [fit_alone(alone[i], arrays[i]) for i in range(3)]
    assert [fit_alone(trainers[i], data(i)) for i in range(3)] == [fit_alone(alone[i], data(i)) for i in range(3)]


def test_constants_of_layers_and_frozen_or_untrained_parameters_differ_between_lanes():
    class Scaled(tl.Layer):
        def __init__(self, i):
            self.mean = tl.Tensor(np.full(2, 0.1 * i))
            self.inner = [network(i), {"factor": tl.Tensor(1.0 + i)}]
            self.inner[0][0].bias.requires_grad = False

        def forward(self, x):
            return self.inner[0](x - self.mean) * self.inner[1]["factor"]

    check(maker(net=Scaled))

    def subset(i):
        net = network(i)
        return tl.Trainer(
            net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()[1:]), epochs=2, batch_size=4, engine="replay"
        )

    check(subset)


# Lanes that stop


class Jump(tl.Scheduler):
    """A learning rate that is too large in one epoch."""

    def __init__(self, epoch, rate=1e200):
        self.epoch = epoch
        self.rate = rate

    def __call__(self, epoch):
        return self.rate if epoch == self.epoch else 0.01


@pytest.mark.parametrize("batch_size", [1, 5, 7, 1000])
@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_a_lane_that_diverges_stops_where_it_would_alone_and_the_others_go_on(engine, batch_size):
    make = maker(
        "momentum", "none", "none", lambda i: Jump(i - 1), net=lambda i: network(i, activation="relu"),
        batch_size=batch_size, engine=engine, epochs=4,
    )  # fmt: skip
    errors = [state["error"] and state["error"][:2] for state in check(make, count=6)]
    assert errors[0] is errors[5] is None
    if batch_size == 1:
        assert errors[1] == (1, 2)
    if batch_size == 1000:
        assert errors[1:5] == [(2, 1), (3, 1), (4, 1), None]
    else:
        assert [error[0] for error in errors[1:5]] == [1, 2, 3, 4]


def test_a_lane_whose_last_update_overflows():
    """There is no loss to tell, so its weights are looked at."""
    make = maker("sgd", "none", "none", lambda i: Jump(2, 1e308 if i == 1 else 0.01), batch_size=None, epochs=3)
    states = check(make, lambda i: (data(i)[0], 1e3 * data(i)[1]))
    assert [state["error"] and state["error"][:2] for state in states] == [None, (3, None), None, None]
    assert states[1]["history lr"][0] == (3,)


def test_the_first_loss_may_be_the_one_that_is_not_finite():
    def spoilt(i):
        x, y = data(i)
        y = y.copy()
        if i:
            y[(0, 7, -1)[i - 1]] = 1e160  # its square overflows
        return x, y

    states = check(maker(shuffle=False, epochs=3), spoilt)
    assert [state["error"] and state["error"][:2] for state in states] == [None, (1, 1), (1, 2), (1, 3)]
    assert states[1]["0.weight"] == state_of(maker()(1), None)["0.weight"], "no update was made"


def test_every_lane_may_diverge():
    states = check(maker("sgd", "none", "none", lambda i: tl.ConstantLR(1e300)))
    assert all(state["error"] is not None for state in states)


class Interrupting(tl.Scheduler):
    """Ctrl-C in an epoch, or another exception."""

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch = epoch
        self.error = error

    def __call__(self, epoch):
        if epoch == self.epoch:
            raise self.error
        return 0.01


@pytest.mark.parametrize("engine", ["replay", "eager"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, NotImplementedError])
@pytest.mark.parametrize("interrupted", [0, 1, 3])
def test_an_interruption_leaves_every_lane_at_the_end_of_an_epoch_of_its_history(interrupted, error, engine):
    def make(i, scheduler=Interrupting):
        scheduler = scheduler(2, error) if i == interrupted else tl.ConstantLR(0.01)
        return maker("adam", scheduler=lambda i: scheduler, engine=engine, epochs=4)(i)

    trainers = [make(i) for i in range(4)]
    with pytest.raises(error):
        tl.fit_lanes(trainers, [data(i) for i in range(4)])
    assert trainers[interrupted].history.epochs == 2
    assert {trainer.history.epochs for trainer in trainers} <= {0, 2, 4}
    for i, trainer in enumerate(trainers):
        expected = make(i, lambda *_: tl.ConstantLR(0.01))
        if trainer.history.epochs:
            expected.fit(*data(i), epochs=trainer.history.epochs)
            assert state_of(trainer, None) == state_of(expected, None)
        else:
            assert state_of(trainer, None)["0.weight"] == state_of(expected, None)["0.weight"]


@pytest.mark.parametrize("engine", ["replay", "eager", "compiled"])
def test_a_scheduler_is_asked_once_an_epoch_and_in_order(engine, interpreted):  # noqa: F811
    class Asked(tl.Scheduler):
        def __init__(self):
            self.epochs = []

        def __call__(self, epoch):
            self.epochs.append(epoch)
            return 0.01 * (1 + epoch)

    for together in (False, True):
        schedulers = [Asked() for _ in range(2)]
        trainers = [maker(scheduler=schedulers.__getitem__, engine=engine, epochs=4)(i) for i in range(2)]
        if together:
            tl.fit_lanes(trainers, [data(0), data(1)])
        else:
            trainers[0].fit(*data(0))
            trainers[1].fit(*data(1))
        for scheduler, trainer in zip(schedulers, trainers, strict=True):
            assert scheduler.epochs == [0, 1, 2, 3]
            assert trainer.history["lr"].tolist() == [0.01, 0.02, 0.03, 0.04]
            assert trainer.optimizer.lr.item() == 0.04


# Engines


def test_lanes_on_the_eager_engine():
    check(maker("adam", engine="eager"))


class Branching(tl.Layer):
    """A step that depends on its data: no program can be captured."""

    def __init__(self, i):
        self.inner = network(i)

    def forward(self, x):
        y = self.inner(x)
        return y if y.sum().item() > 0.0 else 2.0 * y


def test_steps_that_cannot_be_captured_are_trained_one_by_one():
    with pytest.warns(UserWarning, match="training on the eager engine, since the step cannot be replayed") as caught:
        tl.fit_lanes([maker(net=Branching, engine="auto")(i) for i in range(3)], [data(i) for i in range(3)])
    assert len(caught) == 1
    with warnings.catch_warnings(action="ignore"):
        check(maker(net=Branching, engine="auto"))


def test_an_engine_that_was_asked_for_refuses_its_own_lanes_only():
    make = maker(net=Branching, engine=lambda i: "replay" if i else "auto")
    trainers = [make(i) for i in range(2)]
    with (
        pytest.warns(UserWarning, match="training on the eager engine"),
        pytest.raises(CaptureError, match=r"test_fit_lanes.py, line \d+: the number of a Tensor"),
    ):
        tl.fit_lanes(trainers, [data(0), data(1)])
    assert [trainer.history.epochs for trainer in trainers] == [3, 0]


class BranchingOnSize(tl.Layer):
    """A step that can be captured for batches of one size only."""

    def __init__(self, i):
        self.inner = network(i)

    def forward(self, x):
        y = self.inner(x)
        return y if x.shape[0] == 7 or y.sum().item() > 0.0 else 2.0 * y


def test_a_last_batch_that_cannot_be_captured_is_noticed_before_the_training():
    with warnings.catch_warnings(action="ignore"):
        check(maker(net=BranchingOnSize, engine="auto"))
    trainer = maker(net=BranchingOnSize)(0)
    before = state_of(trainer, None)
    with pytest.raises(CaptureError):
        trainer.fit(*data(0))
    assert state_of(trainer, None) == before


def test_ops_without_a_rule_for_lanes_are_replayed_one_lane_after_the_other(monkeypatch, recwarn):
    def refuse(program, n):
        raise NotImplementedError("no rule")

    monkeypatch.setattr(Program, "lanes", refuse)
    check(maker("adam"))
    assert not recwarn.list


@pytest.mark.parametrize("case", [{}, {"batch_size": 1, "epochs": 2}, {"optimizer": "adam", "batch_size": None}], ids=str)
def test_lanes_on_the_compiled_engine(case, interpreted):  # noqa: F811
    check(maker(**{"engine": "compiled"} | case))


def test_lanes_that_diverge_on_the_compiled_engine(interpreted):  # noqa: F811
    make = maker(
        "sgd", "none", "none", lambda i: Jump(i - 1), net=lambda i: network(i, activation="relu"), engine="compiled", epochs=4
    )
    states = check(make, count=6)
    assert [state["error"] is None for state in states] == [True, False, False, False, False, True]


def test_auto_compiles_the_long_lanes_and_replays_the_short_ones(monkeypatch, interpreted):  # noqa: F811
    monkeypatch.setattr(loop, "COMPILE_FROM_UPDATES", 12)
    monkeypatch.setattr(native, "is_available", lambda: True)
    ran = []
    monkeypatch.setattr(lanes.ReplayLanes, "run", lambda self, run=lanes.ReplayLanes.run: (ran.append(self), run(self))[1])
    make = maker(engine="auto", epochs=lambda i: 4 if i < 2 else 2)
    check(lambda i: make(i), lambda i: data(0))
    assert len(ran) == 1
    assert [make(i).prepare(*data(0)).choose_engine() for i in range(4)] == ["compiled"] * 2 + ["replay"] * 2


def report_trainer(i, engine="compiled", **options):
    """As those of tests/test_codegen.py, so that all share one compilation."""
    net = TwoHiddenLayerNet(1, 7, 5, 1, activation="leaky_relu", rng=np.random.default_rng(i))
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), lr=0.05, hooks=[tl.ClipGradNorm(1.0 + i)]),
        penalty=tl.L1Penalty(1e-3 * i, decoupled=True),
        engine=engine,
        **{"batch_size": 1, "epochs": 2 + i, "seed": i} | options,
    )


def one_feature(i):
    return tuple(array[:, :1] for array in data(i))


# Loops that are compiled choose between two forms by how near their arrays lie to each other in memory.
@compiling
def test_compiled_lanes_learn_what_each_learns_alone():
    states = check(report_trainer, one_feature)
    replayed = [report_trainer(i, "replay") for i in range(4)]
    tl.fit_lanes(replayed, [one_feature(i) for i in range(4)])
    for state, trainer in zip(states, replayed, strict=True):
        near(state, state_of(trainer, None))


# What is given


def test_no_trainers_are_trained_to_no_result():
    assert tl.fit_lanes([], []) == []


@pytest.mark.parametrize(
    ("trainers", "given", "error", "message"),
    [
        (2, lambda: [data(0)], ValueError, "fit_lanes: 2 trainers and 1 sets of data, expected one for each"),
        (1, lambda: [X], ValueError, r"fit_lanes: data\[0\] is no pair \(x, y\), nor \(x, y, sample_weight\)"),
        (2, lambda: [data(0), (X,)], ValueError, r"data\[1\] is no pair"),
        (2, lambda: [data(0), (X, Y, None, None)], ValueError, r"data\[1\] is no pair"),
        (2, lambda: [data(0), None], ValueError, r"data\[1\] is no pair"),
        (2, lambda: [data(0), (X, Y[:-1])], ValueError, "x has 60 samples and y has 59 samples"),
        (2, lambda: [data(0), (X * np.nan, Y)], ValueError, r"x holds nan at \(0, 0\)"),
        (2, lambda: [data(0), (X, Y, np.ones(3))], ValueError, "sample_weight"),
        (2, lambda: [data(0), (["a"], [1.0])], TypeError, "x has dtype <U1"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_any_training(trainers, given, error, message):
    made = [maker()(i) for i in range(trainers)]
    before = [state_of(trainer, None) for trainer in made]
    with pytest.raises(error, match=message) as failure:
        tl.fit_lanes(made, given())
    assert "\n" not in str(failure.value)
    assert [state_of(trainer, None) for trainer in made] == before


def test_trainers_that_are_none_or_share_their_weights_are_refused():
    trainer, other = maker()(0), maker()(1)
    with pytest.raises(TypeError, match=r"fit_lanes: trainers\[1\] is 'trainer', expected a Trainer"):
        tl.fit_lanes([trainer, "trainer"], [data(0)] * 2)
    with pytest.raises(ValueError, match="a Trainer is there twice"):
        tl.fit_lanes([trainer, other, trainer], [data(0)] * 3)
    head = tl.Sequential(trainer.model, tl.Linear(2, 2, rng=np.random.default_rng(0)))
    for parameters in (head.parameters(), list(head[1].parameters())):  # of which the second leaves the shared ones alone
        sharing = tl.Trainer(head, tl.HalfSquaredError(), optimizer=tl.SGD(parameters))
        with pytest.raises(ValueError, match="two Trainers share a parameter, expected each with a model of its own"):
            tl.fit_lanes([trainer, sharing], [data(0)] * 2)
    assert trainer.history.epochs == 0
    with pytest.raises(ValueError, match="Trainer: epochs is 0, expected a positive integer"):
        tl.fit_lanes([trainer], [data(0)], epochs=0)


def test_trainers_may_share_what_training_does_not_change():
    penalty, hook, loss, scheduler = tl.L1Penalty(0.01), tl.ClipGradNorm(1.0), tl.Huber(0.5), tl.StepDecay(0.05, 0.5, every=1)

    def make(i):
        net = network(i)
        optimizer = tl.SGD(net.parameters(), hooks=[hook])
        return tl.Trainer(net, loss, optimizer=optimizer, scheduler=scheduler, penalty=penalty, epochs=3, engine="replay")

    check(make)


# Blocks of updates on the compiled engine


def blocks(monkeypatch, calls, samples):
    """Fix the number of updates in a native call, and that of samples in a run of the engine."""
    monkeypatch.setattr(compiled.Loops, "_calls", property(lambda self: calls, lambda self, value: None), raising=False)
    monkeypatch.setattr(compiled.CompiledEngine, "samples_per_run", samples)


SIZES = [(1, 1), (1, 100_000), (7, 1), (7, 50), (7, 100_000), (100_000, 7), (100_000, 100_000)]


def compiled_states(make, monkeypatch, given=None):
    given = data(0) if given is None else given
    states = []
    for calls, samples in SIZES:
        blocks(monkeypatch, calls, samples)
        states.append(fit_alone(make(0), given))
    assert all(state == states[0] for state in states)
    return states[0]


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_the_length_of_a_block_decides_nothing(batch_size, interpreted, monkeypatch):  # noqa: F811
    compiled_states(maker("adam", engine="compiled", batch_size=batch_size, epochs=5), monkeypatch)


@compiling
def test_the_length_of_a_compiled_block_decides_nothing(monkeypatch):
    compiled_states(lambda i: report_trainer(3, epochs=30), monkeypatch, one_feature(0))


def near(state, other):
    assert state.keys() == other.keys()
    for name, value in state.items():
        if name == "error":
            assert value == other[name]
        else:
            assert value[:2] == other[name][:2], name
            ours, theirs = (np.frombuffer(bits, value[1]) for bits in (value[2], other[name][2]))
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(
    ("sample", "batch"),
    [(0, (1, 1)), (4, (1, 2)), (19, (1, 5)), (20, (1, 6)), (22, (1, 6))],  # the last two in the smaller last batch
)
def test_a_loss_of_the_first_epoch_that_is_not_finite(sample, batch, interpreted, monkeypatch):  # noqa: F811
    x, y = data(0)
    y = y.copy()
    y[sample] = 1e160
    options = {"batch_size": 4, "shuffle": False, "epochs": 3}
    state = compiled_states(maker("momentum", engine="compiled", **options), monkeypatch, (x, y))
    assert state["error"][:2] == batch
    assert "history lr" not in state
    near(state, fit_alone(maker("momentum", **options)(0), (x, y)))


@pytest.mark.parametrize(
    ("batch_size", "samples", "epoch", "where", "finished"),
    [
        (1, 23, 0, (1, 2), 0),
        (1, 23, 2, (3, 2), 2),
        (4, 23, 3, (4, 2), 3),
        (22, 23, 3, (4, 2), 3),  # the last batch of the last epoch, of a size of its own
        (12, 24, 3, (4, 2), 3),  # the last batch of the last epoch
        (None, 23, 1, (3, 1), 2),
        (None, 23, 3, (4, None), 4),  # no loss, but the last update
    ],
)
def test_a_loss_in_a_block_that_is_not_finite(batch_size, samples, epoch, where, finished, interpreted, monkeypatch):  # noqa: F811
    def make(engine):
        return maker(
            "momentum", "none", "none", lambda i: Jump(epoch, 1e200 if where[1] else 1e308), engine=engine, epochs=4,
            net=lambda i: network(i, activation="relu"), batch_size=batch_size,
        )  # fmt: skip

    given = (X[:samples], Y[:samples] * (1.0 if where[1] else 1e3))
    state = compiled_states(make("compiled"), monkeypatch, given)
    assert state["error"][:2] == where
    assert state.get("history lr", [(0,)])[0] == (finished,)
    if where[1]:
        near(state, fit_alone(make("replay")(0), given))
    else:
        assert state["error"] == fit_alone(make("replay")(0), given)["error"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_validation_and_callbacks_come_after_every_epoch_of_a_compiled_training(batch_size, interpreted):  # noqa: F811
    class Watch(tl.Callback):
        def __init__(self):
            self.seen = []

        def on_epoch_end(self, trainer, history):
            loss = trainer.evaluate(X, Y)
            assert history.last("validation_loss") == pytest.approx(loss, 1e-12)
            self.seen.append((history.epochs, history.last("lr")))
            return ""

    trainers = {engine: maker(engine=engine, batch_size=batch_size, epochs=4)(0) for engine in ("replay", "compiled")}
    for trainer in trainers.values():
        watch = Watch()
        trainer.fit(*data(0), validation=(X, Y), callbacks=[watch])
        assert watch.seen == [(i + 1, trainer.scheduler(i)) for i in range(4)]
    near(state_of(trainers["compiled"], None), state_of(trainers["replay"], None))


class _Interrupt(tl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_seen(self, trainer, history):
        if history.epochs == self.epochs:
            raise KeyboardInterrupt


def test_a_compiled_training_resumes_to_the_same_bits(interpreted, tmp_path):  # noqa: F811
    make = maker("adam", engine="compiled", batch_size=4, epochs=5)
    whole, first, second = (make(0) for _ in range(3))
    whole.fit(*data(0))
    with pytest.raises(KeyboardInterrupt):
        first.fit(*data(0), callbacks=[tl.Checkpoint(tmp_path / "c"), _Interrupt(2)])
    assert first.history.epochs == 2
    second.fit(*data(0), callbacks=[tl.Checkpoint(tmp_path / "c"), _Interrupt(-1)], resume=tmp_path / "c")
    assert state_of(second, None) == state_of(whole, None)


def test_an_interruption_within_a_block_leaves_the_weights_where_the_history_ends(interpreted, monkeypatch):  # noqa: F811
    blocks(monkeypatch, 100_000, 50)  # of two epochs, of two native calls each
    make = maker("adam", engine="compiled", batch_size=4, epochs=9)
    trainer, expected = make(0), make(0)
    expected.fit(*data(0), epochs=2)
    made = []

    def run(self, *arguments, run=compiled.Loops.run):
        made.append(run(self, *arguments))
        if len(made) == 6:
            raise KeyboardInterrupt
        return made[-1]

    monkeypatch.setattr(compiled.Loops, "run", run)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*data(0))
    assert trainer.history.epochs == 2
    assert trainer.model.state_dict()["0.weight"].tolist() == expected.model.state_dict()["0.weight"].tolist()
    assert trainer.optimizer.state_dict()["mean.0"].tolist() == expected.optimizer.state_dict()["mean.0"].tolist()


def test_an_attached_engine_gives_what_a_fresh_one_gives(interpreted):  # noqa: F811
    class Constant(tl.Layer):
        def __init__(self, i):
            self.inner = network(i)
            self.shift = tl.Tensor(np.full((1, 2), 0.1 * i))

        def forward(self, x):
            return self.inner(x - self.shift)

    make = maker("adam", net=Constant, engine="compiled", batch_size=4)
    trainers = [make(i) for i in range(3)]
    engine = trainers[0].prepare(*data(0)).make_engine()
    for i in (0, 2, 1):
        training = trainers[i].prepare(*data(i))
        engine.attach(trainers[i])
        training.run(engine)
        assert state_of(trainers[i], None) == fit_alone(make(i), data(i))
        assert engine.evaluate([X, Y]) == pytest.approx(trainers[i].evaluate(X, Y), 1e-12)
