"""Lanes: whatever Trainers are trained together, each learns to the bit what its own `fit` teaches it."""

import warnings

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.compilation import compiling
from tests.helpers.lanes import (
    OPTIMIZERS,
    PENALTIES,
    SCHEDULERS,
    Jump,
    X,
    Y,
    check,
    data,
    fit_alone,
    fit_together,
    maker,
    near,
    network,
    one_feature,
    report_trainer,
    state_of,
)
from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.codegen import native
from tinygrad_lab.program import Program
from tinygrad_lab.training import lanes
from tinygrad_lab.training.engines import choice

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
def test_a_scheduler_is_asked_once_an_epoch_and_in_order(engine, interpreted):
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
        return y if y.sum() > 0.0 else 2.0 * y


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
        return y if x.shape[0] == 7 or y.sum() > 0.0 else 2.0 * y


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
def test_lanes_on_the_compiled_engine(case, interpreted):
    check(maker(**{"engine": "compiled"} | case))


def test_lanes_that_diverge_on_the_compiled_engine(interpreted):
    make = maker(
        "sgd", "none", "none", lambda i: Jump(i - 1), net=lambda i: network(i, activation="relu"), engine="compiled", epochs=4
    )
    states = check(make, count=6)
    assert [state["error"] is None for state in states] == [True, False, False, False, False, True]


def test_auto_compiles_the_long_lanes_and_replays_the_short_ones(monkeypatch, interpreted):
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 12)
    monkeypatch.setattr(native, "is_available", lambda: True)
    ran = []
    monkeypatch.setattr(lanes.ReplayLanes, "run", lambda self, run=lanes.ReplayLanes.run: (ran.append(self), run(self))[1])
    make = maker(engine="auto", epochs=lambda i: 4 if i < 2 else 2)
    check(lambda i: make(i), lambda i: data(0))
    assert len(ran) == 1
    assert [make(i).prepare(*data(0)).choose_engine() for i in range(4)] == ["compiled"] * 2 + ["replay"] * 2


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
        (2, lambda: [data(0), (["a"], [1.0])], TypeError, "x holds 'a' at"),
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


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
def test_layers_of_lanes_may_keep_their_results():
    class Keeps(tl.Layer):
        def __init__(self, i):
            self.inner = network(i)

        def forward(self, x):
            self.hidden = self.inner(x)
            return self.hidden

    make = maker(net=Keeps, batch_size=5)
    alone = [fit_alone(make(i), data(i)) for i in range(4)]
    assert fit_together([make(i) for i in range(4)], [data(i) for i in range(4)]) == alone
