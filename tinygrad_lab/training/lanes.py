"""Lanes: many Trainers that are trained together, each with its own weights, data, learning rate, penalty and seed.

    trainers, data --> groups of one structure --> compiled: one engine, one Trainer after the other
                                               --> replay:   one program, its lanes side by side
                                               --> eager:    each by itself

The result of a Trainer does not depend on the other Trainers, to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.program import BoundProgram
from tinygrad_lab.training.captured import DATA, CapturedStep
from tinygrad_lab.training.checkpoints import load_checkpoint
from tinygrad_lab.training.engines.engine import Engine
from tinygrad_lab.training.engines.replay import ReplayEngine
from tinygrad_lab.training.noise import Drawn, EpochNumbers
from tinygrad_lab.training.preparation import learning
from tinygrad_lab.training.run import NonFiniteLossError, Run
from tinygrad_lab.training.snapshots import Opaque, Snapshot
from tinygrad_lab.training.structure import describe_step, scheduler_acts
from tinygrad_lab.training.trainer import Trainer


def fit_lanes(
    trainers: Sequence[Trainer],
    data: Sequence[Sequence[ArrayLike]],
    *,
    epochs: int | None = None,
    until: int | None = None,
    resume: Sequence[bytes | None] | None = None,
) -> list[NonFiniteLossError | None]:
    """Train each Trainer on its own data, with the same results as its `fit` would have, in less time.

    Trainers have one structure if they differ only in the numbers of their Tensors. Those share a program; all others are
    trained one by one, as are those with callbacks or a `validation_fraction` where the engine replays.

    Parameters
    ----------
    trainers : sequence of Trainer
    data : sequence of (x, y) or (x, y, sample_weight)
        The data of each Trainer, as for its `fit`; the numbers of samples may differ.
    epochs : int, optional
        Overrides those of the Trainers.
    until : int, optional
        Stop after this epoch, before the trainings have ended. They can go on later.
    resume : sequence of bytes or None, optional
        For each Trainer what `checkpoint_bytes` returned for the run of an equal one, which goes on here. The result is the
        same to the bit as if it had never stopped. None begins a new training.

    Returns
    -------
    list of NonFiniteLossError or None
        For each Trainer, why it stopped before its last epoch, or None. Its `history` has the epochs that it finished. One
        that stops does not stop the rest.

    Raises
    ------
    TypeError, ValueError
        If data do not fit their Trainer, or two Trainers share a parameter or a Buffer. Then none is trained.
    WeightsError
        If a checkpoint belongs to another training. Then none is loaded, and none is trained.
    CaptureError
        As in `fit`. Trainers of other structures may have been trained before.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> def trainer(lr):
    ...     net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    ...     return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=lr), epochs=50, batch_size=1)
    >>> x = np.linspace(-1.0, 1.0, 20)
    >>> trainers = [trainer(0.1), trainer(0.2), trainer(1e3)]
    >>> errors = fit_lanes(trainers, [(x, 3.0 * x + 1.0)] * 3)
    >>> trainers[1].model.state_dict()["weight"].round(3)
    array([[3.]])
    >>> errors[1] is None, errors[2].epoch
    (True, 3)
    """
    errors: dict[int, NonFiniteLossError | None] = {}
    for ended in lanes_as_completed(trainers, data, epochs=epochs, until=until, resume=resume):
        errors |= {i: run.error for i, run in ended.items()}
    return [errors[i] for i in range(len(trainers))]


def lanes_as_completed(
    trainers: Sequence[Trainer],
    data: Sequence[Sequence[ArrayLike]],
    *,
    epochs: int | None = None,
    until: int | None = None,
    resume: Sequence[bytes | None] | None = None,
) -> Iterator[dict[int, Run]]:
    """Train as `fit_lanes` does, and yield the runs as they end.

    Parameters
    ----------
    trainers, data, epochs, until, resume
        As for `fit_lanes`.

    Yields
    ------
    dict of int to Run
        The runs that have just ended together, by the positions of their Trainers. The `error` of a run says why it stopped
        before its last epoch, if it did; `checkpoint_bytes` makes of a run what `resume` takes.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> def trainer(epochs):
    ...     net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    ...     return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=epochs)
    >>> data = ([1.0, 2.0], [2.0, 4.0])
    >>> for runs in lanes_as_completed([trainer(20), trainer(5)], [data] * 2):
    ...     print({position: run.history.epochs for position, run in runs.items()})
    {0: 20, 1: 5}
    """
    checkpoints = [None] * len(trainers) if resume is None else resume
    _check(trainers, data, until, checkpoints)
    with learning(trainers):
        runs = [
            trainer.prepare(x, y, sample_weight=weight[0] if weight else None, epochs=epochs, until=until)
            for trainer, (x, y, *weight) in zip(trainers, data, strict=True)
        ]
        _load(runs, checkpoints)
    for trainer, run in zip(trainers, runs, strict=True):
        trainer.begin(run)
    groups: dict[Hashable, dict[int, Run]] = {}
    for i, (trainer, run) in enumerate(zip(trainers, runs, strict=True)):
        sample = tuple((array.shape[1:], array.dtype) for array in run.data)
        engine = trainer.engine, run.choose_engine(), run.is_watched
        groups.setdefault((structure_of(trainer), engine, sample), {})[i] = run
    for lanes in groups.values():
        for ended in _fit_group(lanes):
            yield {i: lanes[i] for i in ended}


def _check(
    trainers: Sequence[Trainer],
    data: Sequence[Sequence[ArrayLike]],
    until: int | None,
    checkpoints: Sequence[bytes | None],
) -> None:
    """Raise a TypeError or ValueError unless these are separate Trainers, each with its data."""
    for count, kind in ((len(data), "sets of data"), (len(checkpoints), "checkpoints")):
        if count != len(trainers):
            raise ValueError(f"fit_lanes: {len(trainers)} trainers and {count} {kind}, expected one for each")
    if until is not None and not is_positive_integer(until):
        raise ValueError(f"fit_lanes: until is {until!r}, expected a positive integer")
    for i, (trainer, arrays) in enumerate(zip(trainers, data, strict=True)):
        if not isinstance(trainer, Trainer):
            raise TypeError(f"fit_lanes: trainers[{i}] is {trainer!r}, expected a Trainer")
        if not isinstance(arrays, (tuple, list)) or len(arrays) not in (2, 3):
            raise ValueError(f"fit_lanes: data[{i}] is no pair (x, y), nor (x, y, sample_weight)")
    if len({id(trainer) for trainer in trainers}) < len(trainers):
        raise ValueError("fit_lanes: a Trainer is there twice, expected each once")
    uses = Counter(id(parameter) for trainer in trainers for parameter in trainer.model.parameters())
    if any(uses[id(parameter)] > 1 for trainer in trainers for parameter in trainer.optimizer.parameters):
        raise ValueError("fit_lanes: two Trainers share a parameter, expected each with a model of its own")
    buffers = Counter(buffer for trainer in trainers for _, buffer in trainer.network.named_buffers())
    if buffers and max(buffers.values()) > 1:
        raise ValueError("fit_lanes: two Trainers share a Buffer, expected each with layers and preprocessors of its own")


def _load(runs: Sequence[Run], checkpoints: Sequence[bytes | None]) -> None:
    """Load the checkpoints of all runs that have one, or of none if one does not fit."""
    before: list[Snapshot] = []
    try:
        for run, checkpoint in zip(runs, checkpoints, strict=True):
            if checkpoint is not None:
                before.append(load_checkpoint(run, checkpoint))
    except BaseException:
        for snapshot in reversed(before):
            snapshot.put_back()
        raise


def structure_of(trainer: Trainer) -> Hashable:
    """Return a description that is equal for two Trainers only if their training steps are one program.

    It is what `describe_step` returns. But a Trainer of a subclass, whose step may read anything, equals only itself. So does
    one whose scheduler may change the step.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> def trainer(width, lr):
    ...     net = tl.Linear(1, width, rng=np.random.default_rng())
    ...     return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=lr))
    >>> structure_of(trainer(3, lr=0.1)) == structure_of(trainer(3, lr=0.2))
    True
    >>> structure_of(trainer(3, lr=0.1)) == structure_of(trainer(4, lr=0.1))
    False
    """
    return Opaque(trainer) if type(trainer) is not Trainer or scheduler_acts(trainer) else describe_step(trainer)


def _fit_group(lanes: Mapping[int, Run]) -> Iterator[list[int]]:
    """Train lanes of one structure, and yield the positions of those that end together."""
    runs = list(lanes.values())
    with np.errstate(all="ignore"):  # a loss that is not finite is an error in its own right
        engine = runs[0].make_engine()
        are_trained = _train_side_by_side(runs, engine)
    if are_trained:
        yield list(lanes)
        return
    for i, lane in lanes.items():
        _train_alone(lane, engine)
        yield [i]


def _train_side_by_side(lanes: Sequence[Run], engine: Engine) -> bool:
    """Train lanes as one program; return whether that is possible. It is not if an op has no rule for lanes."""
    if len(lanes) == 1 or not isinstance(engine, ReplayEngine) or any(lane.callbacks or lane.held_out for lane in lanes):
        return False
    try:
        together = ReplayLanes(lanes, engine.captured)
    except NotImplementedError:
        return False
    together.run()
    return True


def _train_alone(lane: Run, engine: Engine) -> None:
    engine.attach(lane.trainer)
    try:
        lane.train(engine)
    except NonFiniteLossError as error:
        lane.end(error)


class ReplayLanes:
    """Replays one program for many lanes at once: each array has one more axis, that of the lanes.

    The program always computes all lanes. If a lane has fewer samples or epochs, or has stopped, its results are not committed.

    Parameters
    ----------
    lanes : sequence of Run
        Runs whose Trainers have one structure.
    captured : CapturedStep
        That of the first lane, with the programs that it has captured.

    Raises
    ------
    NotImplementedError
        If an op of the step has no rule for lanes.
    """

    def __init__(self, lanes: Sequence[Run], captured: CapturedStep) -> None:
        self._lanes = lanes
        self._steps = [captured, *[CapturedStep(lane.trainer) for lane in lanes[1:]]]
        for step in self._steps:
            step.load()
        self._state = {name: np.stack([step.state[name] for step in self._steps]) for name in captured.state}
        self._programs: dict[int, BoundProgram] = {}  # by their number of samples
        self._drawn: dict[int, dict[str, Drawn]] = {}
        for size, batch in {size: batch for lane in lanes for size, batch in lane.examples.items()}.items():
            self._programs[size] = captured.program(batch).lanes(len(lanes)).bind(self._state)
            self._drawn[size] = captured.drawn(batch)
        # The samples of an epoch in its order; room for as many as the longest lane has.
        longest = max(lane.samples for lane in lanes)
        self._ordered = [np.zeros((len(lanes), longest, *array.shape[1:]), array.dtype) for array in lanes[0].data]

    def run(self) -> None:
        """Train all lanes to their ends."""
        try:
            while active := [i for i, lane in enumerate(self._lanes) if lane.is_active]:
                self._run_epoch(active)
        finally:
            for i, step in enumerate(self._steps):
                step.restore(array[i] for array in self._state.values())
                step.store()
        for lane in self._lanes:
            try:
                lane.check_arrays()
            except NonFiniteLossError as error:
                lane.end(error)

    def _run_epoch(self, active: Sequence[int]) -> None:
        """Make the updates of the next epoch of each active lane. If it is interrupted, go back to the end of the last one."""
        finished = [lane.epoch for lane in self._lanes]
        before = {name: array.copy() for name, array in self._state.items()}
        try:
            self._run_updates(active)
        except BaseException:
            for name, array in self._state.items():
                np.copyto(array, before[name])
            for lane, epoch in zip(self._lanes, finished, strict=True):
                lane.history.cut(epoch)
            raise

    def _run_updates(self, active: Sequence[int]) -> None:
        epochs = {i: self._lanes[i].plan(self._lanes[i].epoch) for i in active}
        numbers = {i: epoch.numbers() for i, epoch in epochs.items()}
        for i, epoch in epochs.items():
            lane = self._lanes[i]
            lane.trainer.optimizer.lr.assign(epoch.rate)
            for ordered, array in zip(self._ordered, lane.data, strict=True):
                ordered[i, : lane.samples] = array[epoch.order]
        for program in self._programs.values():
            self._load_settings(program)
        left = np.zeros(len(self._lanes), int)  # samples to visit in this epoch
        left[active] = [self._lanes[i].samples for i in active]
        size = max(self._lanes[i].batch_size for i in active)
        losses = np.empty((max(self._lanes[i].batches for i in active), len(self._lanes)))
        for batch in range(len(losses)):
            # Lanes with fewer samples may be at their last, smaller batch, or at the end of their epoch.
            sizes = np.minimum(left, size)
            for count in {*sizes.tolist()} - {0}:
                chosen = sizes == count
                losses[batch, chosen] = self._update(chosen, batch * size, count, numbers)[chosen]
            for i in np.flatnonzero((sizes > 0) & ~np.isfinite(losses[batch])).tolist():
                self._lanes[i].end(NonFiniteLossError(self._lanes[i].epoch + 1, batch + 1))
                left[i] = sizes[i] = 0
            left -= sizes
        for i in active:
            lane = self._lanes[i]
            if lane.error is None:
                lane.record(losses[: lane.batches, i], epochs[i].rate)

    def _update(self, chosen: np.ndarray, start: int, count: int, numbers: Mapping[int, EpochNumbers]) -> np.ndarray:
        """Make an update of the chosen lanes, on `count` samples of their epochs, and return the losses of all lanes."""
        program = self._programs[count]
        batch = {name: array[:, start : start + count] for name, array in zip(DATA, self._ordered, strict=False)}
        program.set_inputs(**batch)
        for name, drawn in self._drawn[count].items():
            for i in np.flatnonzero(chosen).tolist():
                program.inputs[name][i] = drawn.next(numbers[i])
        losses = program.run()["loss"]
        committed = chosen & np.isfinite(losses)
        program.commit(None if committed.all() else committed)
        return losses

    def _load_settings(self, program: BoundProgram) -> None:
        """Give each lane its learning rate and its other hyper-parameters."""
        for i, step in enumerate(self._steps):
            for name, tensor in step.settings.items():
                if name in program.inputs:
                    program.inputs[name][i] = tensor._array
