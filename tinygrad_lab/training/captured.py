"""The captured step: the program of a training step, and the memory in which it is replayed.

    TrainingStep --capture--> Program --bind--> BoundProgram, in the memory of `state`
    parameters, optimizer state, buffers --load--> state --replays--> state --store--> parameters, optimizer state, buffers
    hyper-parameters -----------load--> inputs of the programs
    random numbers of a batch ------->

Engines and lanes have a captured step. Only this class knows the names that a program has for the parts of a Trainer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from tinygrad_lab.autodiff.recording import CaptureError, current, record
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.contents import children
from tinygrad_lab.nn.mode import Buffer
from tinygrad_lab.optim.optimizer import State
from tinygrad_lab.program import BoundProgram, Program, capture
from tinygrad_lab.program.memory import aligned_empty
from tinygrad_lab.training.history import History
from tinygrad_lab.training.noise import Drawn, DrawnInputs, EpochNumbers
from tinygrad_lab.training.parameters import check_kept_parameters, check_objectives, owners_of_parameters
from tinygrad_lab.training.snapshots import Snapshot, label, roots_of, snapshot_of, trial_run
from tinygrad_lab.training.step import TrainingStep

DATA = ("x", "y", "sample_weight")
"""The inputs of a program that differ from batch to batch."""

Shapes = tuple[tuple[int, ...], ...]
Results = tuple[dict[str, Tensor], dict[str, Tensor]]


class CapturedStep:
    """A training step as programs, one for each shape of batch, with the memory that they share.

    Between `load` and `store` the parameters, the optimizer's state and the buffers are those in `state`.

    Parameters
    ----------
    step : TrainingStep

    Attributes
    ----------
    settings : dict of str to Tensor
        What the step reads and does not change: hyper-parameters, and constants of the model's layers.
    state : dict of str to ndarray
        The parameters, the optimizer's state, then the buffers: the memory that a replay reads and an update changes.
    kept : list of str
        Where the captured passes have kept a Tensor to be looked at, such as an attribute of a layer. A replay keeps none.
    """

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._parameter_names = _parameter_names(step)
        self._owners = owners_of_parameters(step.model)
        self.settings = settings_of(step)
        self.state: dict[str, np.ndarray] = {}
        self.kept: list[str] = []
        self._programs: dict[Shapes, Program] = {}
        self._drawn: dict[Shapes, dict[str, Drawn]] = {}
        self._updates: dict[Shapes, BoundProgram] = {}
        self._evaluations: dict[Shapes, BoundProgram] = {}

    def attach(self, step: TrainingStep) -> None:
        """Serve another step of the same structure from the next `load` on, with the programs that were captured so far."""
        self._step = step

    def load(self) -> None:
        """Take the parameters, the optimizer's state, the buffers and the settings from the parts of the step."""
        self.settings = settings_of(self._step)  # a callback may have replaced one
        self._load_settings()
        for name, tensor in self._named_state().items():
            array = self.state.setdefault(name, aligned_empty(tensor.shape, tensor.dtype))
            np.copyto(array, tensor._array)

    def restore(self, arrays: Iterable[np.ndarray]) -> None:
        """Set the whole state, in the order of `state`."""
        for memory, array in zip(self.state.values(), arrays, strict=True):
            np.copyto(memory, array)

    def store(self) -> None:
        """Give the parameters, the optimizer's state and the buffers back to the parts of the step."""
        optimizer = self._step.optimizer
        arrays = iter(self.state.values())
        parameters = [wrap(next(arrays).copy()) for _ in optimizer.parameters]
        state = {name: [wrap(next(arrays).copy()) for _ in entries] for name, entries in optimizer.state.items()}
        buffers = {buffer: wrap(next(arrays).copy()) for _, buffer in self._step.model.named_buffers()}
        self._step.commit(parameters, state, buffers)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the updates to come."""
        self._step.optimizer.lr.assign(rate)
        self._load_settings()

    def _load_settings(self) -> None:
        for program in (*self._updates.values(), *self._evaluations.values()):
            program.set_inputs(**{name: tensor._array for name, tensor in self.settings.items() if name in program.inputs})

    # Programs --------------------------------------------------------------------------------------------------------

    def program(self, batch: Sequence[np.ndarray]) -> Program:
        """Return the program of the update on batches of this shape, captured at the first call.

        Raises
        ------
        CaptureError
            If a replay could not repeat the step, naming the line of code.
        """
        shapes = shapes_of(batch)
        if shapes not in self._programs:
            names = set(self._step.optimizer.state)
            objectives: list[Tensor | None] = []
            source = DrawnInputs(self._step.random_inputs(), self._step.seed)

            def step(*data: Tensor) -> Results:
                mode = source.mode()
                update = self._step.run_in(mode, data)
                objectives.append(mode.objective)
                if update.state.keys() != names:
                    self._refuse_new_state([name for name in update.state if name not in names])
                return {"loss": update.loss}, self._named(update.parameters, update.state, update.buffers)

            if source.names:  # find the random numbers that it reads, which are inputs of the program
                with trial_run(self._step):
                    step(*_named_data(batch).values())
            drawn = {_unused(name, {*DATA, *self.settings}): x for name, x in source.drawn.items()}
            given = {name: x.tensor for name, x in drawn.items()}
            try:
                program = self._capture(step, batch, self._evaluation, given)
            finally:
                if not self._programs:
                    check_objectives(self._step, objectives, Snapshot(roots_of(self._step)))
            self._programs[shapes] = program
            self._drawn[shapes] = {name: x for name, x in drawn.items() if name in program.inputs}
        return self._programs[shapes]

    def drawn(self, batch: Sequence[np.ndarray]) -> dict[str, Drawn]:
        """Return the random numbers that the update on batches of this shape reads, by the names of the inputs."""
        self.program(batch)
        return self._drawn[shapes_of(batch)]

    def update(self, batch: Sequence[np.ndarray], numbers: EpochNumbers | None = None) -> BoundProgram:
        """Return the program of the update on batches of this shape, ready to run on `state`.

        Parameters
        ----------
        batch : sequence of ndarray
        numbers : EpochNumbers, optional
            If they are given, the inputs of the program are this batch and the next of these random numbers.
        """
        shapes = shapes_of(batch)
        program = self._updates.get(shapes)
        if program is None:
            program = self._updates[shapes] = self.program(batch).bind(self.state)
        if numbers is not None:
            program.set_inputs(**dict(zip(DATA, batch, strict=False)))
            for name, drawn in self._drawn[shapes].items():
                program.set_inputs(**{name: drawn.next(numbers)})
        return program

    def evaluation(self, data: Sequence[np.ndarray]) -> BoundProgram:
        """Return the program of the data loss on arrays of these shapes, captured at the first call.

        Raises
        ------
        CaptureError
            If a replay could not repeat the evaluation.
        """
        shapes = shapes_of(data)
        if shapes not in self._evaluations:
            self._evaluations[shapes] = self._capture(self._evaluation, data, self._training).bind(self.state)
        return self._evaluations[shapes]

    def evaluate(self, data: Sequence[np.ndarray]) -> float:
        """Return the data loss on x, y and perhaps weights, with the parameters in `state`."""
        program = self.evaluation(data)
        program.set_inputs(**dict(zip(DATA, data, strict=False)))
        return float(program.run()["loss"])

    def _evaluation(self, *data: Tensor) -> Results:
        return {"loss": self._step.data_loss(*data)}, {}

    def _training(self, *data: Tensor) -> Results:
        source = DrawnInputs(self._step.random_inputs(), self._step.seed)
        return {"loss": self._step.run_in(source.mode(), data).loss}, {}

    def _capture(
        self,
        step: Callable[..., Results],
        data: Sequence[np.ndarray],
        other_pass: Callable[..., Results],
        drawn: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Program:
        """Capture a step, which must change nothing but its results. Of the settings, the program has those that it reads.

        A layer may keep results to be looked at. But a replay keeps none, so `other_pass`, the evaluation after a training
        step or the other way round, must not read them.

        Drop unread Tensors: a layer may keep activations, whose shape changes with the batch.
        """
        tensors, others = _named_data(data), _named_data(data)
        with trial_run(self._step) as before:
            _check_repeatable(before)
            later: list[Snapshot] = []
            recordings = []  # kept alive, so that no new Tensor gets the id of a result

            def observed(given: Mapping[str, Tensor]) -> Results:
                results = step(*given.values())
                check_kept_parameters(self._step, self._owners)
                assert current.recording is not None
                recordings.append(current.recording)
                computed = {id(line.result) for line in current.recording.lines} | set(map(id, given.values()))
                later.append(snapshot_of(self._step, computed))
                return results

            buffers = [(name, buffer, buffer.tensor) for name, buffer in self._step.model.named_buffers()]
            inputs = {**tensors, **drawn, **self.settings}
            again = partial(observed, others), others
            try:
                program = capture(partial(observed, tensors), inputs, self._named_state(), again)
            except CaptureError as error:
                change = _change(before, *later)
                if change:
                    raise CaptureError(f"{error}; {change} during the step") from None
                raise
            if change := _change(before, *later):
                raise CaptureError(f"{change} during the step, which a replay would not repeat; train with engine='eager'")
            if replaced := [name for name, buffer, tensor in buffers if buffer.tensor is not tensor]:
                raise CaptureError(f"{replaced[0]}: the step replaces the Tensor of a Buffer; set its `value` instead")
            if not later[-1].nodes.keys().isdisjoint(later[-1].results):  # it has kept some
                stored = {*tensors.values(), *others.values(), *(line.result for run in recordings for line in run.lines)}
                _check_does_not_read(stored, partial(other_pass, *_named_data(data).values()))
                self.kept += [label(change.owner, change.key) for change in before.differences(later[-1])]
        read = {x for line in program.lines for x in line.operands} | {*program.outputs.values(), *program.new_state.values()}
        kept = {name: x for name, x in program.inputs.items() if name in tensors or x in read}
        return replace(program, inputs=kept)

    def _refuse_new_state(self, names: Sequence[str]) -> NoReturn:
        kind = type(self._step.optimizer).__name__
        raise CaptureError(
            f"{kind}: the first update creates the state {', '.join(names)}, which a replay cannot; "
            "create it with add_slots in the constructor, or train with engine='eager'"
        )

    # Names -----------------------------------------------------------------------------------------------------------

    def _named_state(self) -> dict[str, Tensor]:
        """Name the parameters, the entries of the optimizer's state, then the buffers."""
        optimizer = self._step.optimizer
        buffers = {buffer: buffer.tensor for _, buffer in self._step.model.named_buffers()}
        return self._named(optimizer.parameters, optimizer.state, buffers)

    def _named(self, parameters: Sequence[Tensor], state: State, buffers: Mapping[Buffer, Tensor]) -> dict[str, Tensor]:
        named = dict(zip(self._parameter_names, parameters, strict=True))
        names = {buffer: name for name, buffer in self._step.model.named_buffers()}
        taken = {*self._parameter_names, *names.values()}
        for name, entries in state.items():
            named |= {_unused(f"{name}.{i}", taken): tensor for i, tensor in enumerate(entries)}
        return named | {names[buffer]: value for buffer, value in buffers.items()}


def shapes_of(arrays: Sequence[np.ndarray]) -> Shapes:
    """Return the shapes of a batch, for which one program is captured."""
    return tuple(array.shape for array in arrays)


def settings_of(step: TrainingStep) -> dict[str, Tensor]:
    """Name every Tensor that a step may read and does not change: hyper-parameters, and constants of the model's layers."""
    optimizer = step.optimizer
    changing = {id(tensor) for tensor in chain(optimizer.parameters, *optimizer.state.values())}
    settings: dict[str, Tensor] = {}
    for _, name, tensor in step.named_objects(Tensor):
        if id(tensor) not in changing:
            changing.add(id(tensor))
            settings[_unused(name.lstrip("_"), {*DATA, *settings})] = tensor
    return settings


def _check_repeatable(before: Snapshot) -> None:
    """Raise CaptureError if a step could read something that a trial run changes for good, or that changes with each epoch."""
    if before.iterators:
        raise CaptureError(f"{before.iterators[0]}, which a trial run would use up; train with engine='eager'")
    for node in before.nodes.values():
        if isinstance(node.x, History):
            raise CaptureError(f"{node} is the history, which grows during the training; train with engine='eager'")


def _change(before: Snapshot, first: Snapshot | None = None, second: Snapshot | None = None) -> str:
    """Name something that a step has changed in its runs. It may keep results to be looked at."""

    def is_result(x: Any) -> bool:
        if isinstance(x, Tensor):
            return first is not None and id(x) in first.results
        return isinstance(x, (list, tuple, dict)) and len(x) > 0 and all(is_result(part) for _, part in children(x))

    changes = [] if first is None else [*before.differences(first, is_result)]
    changes += [] if first is None or second is None else [*first.differences(second)]
    return str(changes[0]) if changes else ""


def _check_does_not_read(kept: Collection[Tensor], other_pass: Callable[[], Any]) -> None:
    """Raise CaptureError if a pass reads Tensors that another pass has kept."""
    given = set(map(id, kept))
    way_out = ""
    with record(kept) as recording, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            other_pass()
        except CaptureError as error:
            way_out = str(error)
        except Exception:  # the engine will meet it again, with the data of that pass
            pass
    lines = [line.source_line for line in recording.lines if not given.isdisjoint(map(id, line.inputs))]
    if lines or way_out:
        raise CaptureError(
            f"{lines[0] if lines else way_out.partition(': ')[0]}: reads what the step has kept in another mode, "
            "which a replay does not keep; keep it in a Buffer by setting its `value`, or train with engine='eager'"
        )


def _parameter_names(step: TrainingStep) -> list[str]:
    check_kept_parameters(step, {})
    names = {id(tensor): name for name, tensor in step.model.named_state().items()}
    return [names[id(tensor)] for tensor in step.optimizer.parameters]


def _named_data(arrays: Sequence[np.ndarray]) -> dict[str, Tensor]:
    return dict(zip(DATA, map(wrap, arrays), strict=False))


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "'"
    return name
