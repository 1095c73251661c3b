"""Lanes that stop after some epochs and go on later: to the bits of a training that never stopped."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.compilation import compiling
from tests.helpers.lanes import OPTIMIZERS, Jump, data, fit_together, maker, network, one_feature, report_trainer, state_of
from tinygrad_lab.storage.arrays import arrays_from_bytes
from tinygrad_lab.training import Run, checkpoint_bytes
from tinygrad_lab.training.captured import CapturedStep
from tinygrad_lab.training.engines import choice
from tinygrad_lab.training.lanes import ReplayLanes

MANY = {"epochs": lambda i: (5, 7, 4, 6)[i % 4]}  # of each lane


def run_lanes(trainers, given, **options):
    """Train as `fit_lanes` does, and return the runs in the order of the Trainers."""
    runs = {}
    for ended in tl.lanes_as_completed(trainers, given, **options):
        runs |= ended
    return [runs[i] for i in range(len(trainers))]


def in_stages(make, given, stops, count=4):
    """Train to each stop, and from there by other Trainers that are built alike."""
    checkpoints = [None] * count
    for until in [*stops, None]:
        trainers = [make(i) for i in range(count)]
        runs = run_lanes(trainers, [given(i) for i in range(count)], until=until, resume=checkpoints)
        if until is not None:
            assert [trainer.history.epochs for trainer in trainers] == [min(until, trainer.epochs) for trainer in trainers]
            checkpoints = [checkpoint_bytes(run) for run in runs]
    return [state_of(trainer, run.error) for trainer, run in zip(trainers, runs, strict=True)]


def check(make, given=data, stops=(2, 5)):
    whole = fit_together([make(i) for i in range(4)], [given(i) for i in range(4)])
    assert in_stages(make, given, stops) == whole


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("engine", ["replay", "eager", "compiled"])
def test_lanes_that_go_on_reach_the_bits_of_those_that_never_stopped(optimizer, engine, interpreted):
    check(maker(optimizer, "value, norm", engine=engine, **MANY))


@pytest.mark.parametrize("scheduler", ["none", "cosine", "step", "warm-up"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_schedules_and_orders_are_those_of_the_whole_training(scheduler, shuffle):
    check(maker(scheduler=scheduler, shuffle=shuffle, **MANY), stops=(1, 2, 3, 6))


def test_some_lanes_begin_where_others_go_on():
    make = maker("adam", **MANY)
    first = [make(i) for i in range(2)]
    runs = run_lanes(first, [data(0), data(1)], until=3)
    resume = [checkpoint_bytes(runs[0]), None, checkpoint_bytes(runs[1]), None]
    trainers = [make(i) for i in (0, 0, 1, 1)]
    tl.fit_lanes(trainers, [data(0), data(0), data(1), data(1)], resume=resume)
    states = [state_of(trainer, None) for trainer in trainers]
    assert states[0] == states[1] != states[2] == states[3]


@compiling
def test_compiled_lanes_that_go_on(monkeypatch):
    check(lambda i: report_trainer(i, epochs=6 + i), one_feature)


def test_the_engine_is_that_of_the_whole_training(monkeypatch, interpreted):
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 12)
    monkeypatch.setattr(Run, "make_engine", lambda self, make=Run.make_engine: (made.append(self), make(self))[1])
    made = []
    trainer = maker(engine="auto", epochs=6)(0)
    tl.fit_lanes([trainer], [data(0)], until=1)
    assert [training.choose_engine() for training in made] == ["compiled"]
    tl.fit_lanes([maker(engine="auto", epochs=6)(0)], [data(0)], epochs=1)
    assert [training.choose_engine() for training in made] == ["compiled", "replay"]


def test_a_lane_that_diverges_after_going_on():
    make = maker(
        "momentum", "none", "none", lambda i: Jump(3 if i == 1 else 99), net=lambda i: network(i, activation="relu"), epochs=5
    )
    states = in_stages(make, data, stops=(3,))
    assert [state["error"] and state["error"][0] for state in states] == [None, 4, None, None]
    assert states == fit_together([make(i) for i in range(4)], [data(i) for i in range(4)])


def test_a_step_is_captured_once_for_all_lanes(monkeypatch):
    captured = []

    def capture(self, step, data, *drawn, original=CapturedStep._capture):
        captured.append(len(data[0]))
        return original(self, step, data, *drawn)

    monkeypatch.setattr(CapturedStep, "_capture", capture)
    ran = []
    monkeypatch.setattr(ReplayLanes, "run", lambda self, run=ReplayLanes.run: (ran.append(self), run(self))[1])
    tl.fit_lanes([maker()(i) for i in range(4)], [data(i) for i in range(4)])
    assert len(ran) == 1
    assert sorted(captured) == [2, 7], "a batch of 7 samples, and a last one of 2"


# What is given


def test_a_checkpoint_of_another_training_is_refused():
    make = maker("adam")
    first = make(0)
    [run] = run_lanes([first], [data(0)], until=1)
    checkpoint = checkpoint_bytes(run)
    for trainer, given, named in (
        (make(0), data(1), "data"),
        (maker("sgd")(0), data(0), "optimizer"),
        (maker("adam", batch_size=5)(0), data(0), "batches"),
    ):
        with pytest.raises(tl.WeightsError, match=f"checkpoint in memory: is a checkpoint of another training; .* {named}"):
            tl.fit_lanes([trainer], [given], resume=[checkpoint])
    for damaged in (b"", checkpoint[:-1], checkpoint[:100], checkpoint[:-3] + bytes([checkpoint[-3] ^ 1]) + checkpoint[-2:]):
        with pytest.raises(tl.WeightsError, match="checkpoint in memory: ") as failure:
            tl.fit_lanes([make(0)], [data(0)], resume=[damaged])
        assert "\n" not in str(failure.value)


def test_a_checkpoint_that_is_refused_leaves_all_trainers_as_they_were():
    make = maker("adam", epochs=4)
    runs = run_lanes([make(0), make(1)], [data(0), data(1)], until=2)
    checkpoints = [checkpoint_bytes(run) for run in runs]
    trainers = [make(0), make(1)]
    tl.fit_lanes(trainers, [data(0), data(1)], epochs=1)
    before = [state_of(trainer, None) for trainer in trainers]
    with pytest.raises(tl.WeightsError):
        tl.fit_lanes(trainers, [data(0), data(1)], resume=[checkpoints[0], checkpoints[0]])
    assert [state_of(trainer, None) for trainer in trainers] == before
    assert all(before)


def test_of_a_checkpoint_every_flipped_bit_and_every_truncation_is_refused():
    trainer = maker("sgd", net=lambda i: tl.Linear(2, 2, rng=np.random.default_rng(0)))(0)
    [run] = run_lanes([trainer], [data(0)], until=1)
    checkpoint = checkpoint_bytes(run)
    arrays_from_bytes(checkpoint)
    for bit in range(8 * len(checkpoint)):
        damaged = bytearray(checkpoint)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(tl.WeightsError):
            arrays_from_bytes(bytes(damaged))
    for length in range(len(checkpoint)):
        with pytest.raises(tl.WeightsError):
            arrays_from_bytes(checkpoint[:length])


def test_a_checkpoint_is_of_a_run():
    with pytest.raises(TypeError, match="checkpoint_bytes: got a Trainer, expected a Run, which lanes_as_completed yields"):
        checkpoint_bytes(maker()(0))


class Rates(tl.Scheduler):
    def __init__(self, rates):
        self.rates = rates

    def __call__(self, epoch):
        return float(np.asarray(self.rates)[epoch])


@pytest.mark.parametrize("kind", [np.array, tl.Tensor])
def test_of_a_checkpoint_the_constants_in_arrays_count(kind):
    def trainer(last):
        net = tl.Linear(2, 2, rng=np.random.default_rng(0))
        rates = Rates(kind([0.1, 0.1, last]))
        return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), scheduler=rates, epochs=3)

    first = trainer(0.1)
    [run] = run_lanes([first], [data(0)], until=1)
    tl.fit_lanes([trainer(0.1)], [data(0)], resume=[checkpoint_bytes(run)])
    with pytest.raises(tl.WeightsError, match="differs in scheduler"):
        tl.fit_lanes([trainer(0.2)], [data(0)], resume=[checkpoint_bytes(run)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": 0}, "fit_lanes: until is 0, expected a positive integer"),
        ({"until": 1.5}, "fit_lanes: until is 1.5, expected"),
        ({"resume": [None, None]}, "fit_lanes: 1 trainers and 2 checkpoints, expected one for each"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tl.fit_lanes([maker()(0)], [data(0)], **options)


def test_bad_data_of_one_leave_the_histories_of_all_as_they_were():
    trainers = [maker()(i) for i in range(2)]
    tl.fit_lanes(trainers, [data(0), data(1)])
    before = [state_of(trainer, None) for trainer in trainers]
    assert all(trainer.history.epochs for trainer in trainers)
    with pytest.raises(ValueError, match="x holds nan"):
        tl.fit_lanes(trainers, [data(0), (np.nan * data(1)[0], data(1)[1])])
    assert [state_of(trainer, None) for trainer in trainers] == before
