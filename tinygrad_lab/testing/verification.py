"""Verification of a user's own training: one call checks every part of a Trainer, alone and together.

    trainer, x, y --copies--> gradients, purity, optimizer, engines, lanes, files --rows--> Verification, or an AssertionError

Each check works on a copy of the Trainer and gives one row. A check that raises an error gives a row with its message, and
the other checks still run.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.derivatives import grad, no_grad
from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.contents import children
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.storage.weights import load_weights, save_weights
from tinygrad_lab.testing.gradients import check_tensors
from tinygrad_lab.testing.slopes import slopes
from tinygrad_lab.training.callbacks import Checkpoint
from tinygrad_lab.training.lanes import fit_lanes
from tinygrad_lab.training.trainer import Trainer

ELEMENTS = 16
"""How many elements of each array a gradient check compares."""

LARGEST_BATCH = 32
"""How many samples a check of a part takes at most."""

CALLS = 25
"""How often a part is called to see whether it always gives the same. A part may count its calls and change at one of them."""

EPOCHS = 2

TOLERANCES = {"replay": (0.0, 1e-4), "compiled": (1e-8, 1e-3)}
"""How far an engine may be from the eager one, in double and in single precision. Compiled loops add up in another order."""

STEPS = tuple(10.0**-k for k in range(3, 10))


@dataclass(frozen=True)
class Check:
    """One row of a verification.

    Attributes
    ----------
    part : str
        What was checked.
    promise : str
        What it should do.
    error : float or None
        The largest error, if the check computes one.
    verdict : {"ok", "FAILED", "refused", "skipped"}
        "refused" if the step cannot be captured, so that it trains on the eager engine only; "skipped" if a library is
        missing or there is nothing to check.
    message : str
        Why, in one line.

    Examples
    --------
    >>> Check("loss", "the gradient", 1e-3, "FAILED", "off by 0.001")
    Check(part='loss', promise='the gradient', error=0.001, verdict='FAILED', message='off by 0.001')
    """

    part: str
    promise: str
    error: float | None = None
    verdict: str = "ok"
    message: str = ""


@dataclass(frozen=True)
class Verification:
    """The rows of a verification. Its text is a table.

    Attributes
    ----------
    rows : list of Check

    Examples
    --------
    >>> table = Verification([Check("loss", "the gradient", 1e-9, "ok"), Check("step", "repeats", None, "skipped")])
    >>> print(table)
    part  checked       error    verdict
    loss  the gradient  1.0e-09  ok
    step  repeats                skipped
    >>> table.failed
    []
    """

    rows: list[Check]

    @property
    def failed(self) -> list[Check]:
        """The rows that failed."""
        return [row for row in self.rows if row.verdict == "FAILED"]

    def __str__(self) -> str:
        header = ("part", "checked", "error", "verdict")
        cells = [(r.part, r.promise, "" if r.error is None else f"{r.error:.1e}", r.verdict) for r in self.rows]
        widths = [max(len(row[i]) for row in (header, *cells)) for i in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (header, *cells)
        ]
        notes = [f"{row.verdict}: {row.part}, {row.promise}: {row.message}" for row in self.rows if row.message]
        return "\n".join([*lines, *notes])


def verify(
    trainer: Trainer,
    x: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    engines: Sequence[str] = ("replay", "compiled"),
) -> Verification:
    """Check every part of a Trainer and print a table. The Trainer itself does not change.

    These are checked: the gradients of the whole objective, of each layer, activation, loss and penalty, to order 2; that
    loss, hooks, optimizer and step are functions of their arguments alone; that an update equals a step of the optimizer;
    that all engines and lanes train the same; that weights files and checkpoints keep all that matters.

    Parameters
    ----------
    trainer : Trainer
    x, y, sample_weight : array_like
        Some data, as for `fit`. A few samples are enough, but more than one batch of them checks more.
    engines : sequence of {"replay", "compiled"}
        Those to compare with the eager engine. Compiling takes some seconds at the first call.

    Returns
    -------
    Verification
        Its `rows` are the checks. ``str`` of it is the table.

    Raises
    ------
    AssertionError
        If a check fails. The message is the table, with the reason for each failure below it.
    TypeError, ValueError
        If `trainer` is no Trainer, or an engine has another name.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> rng = np.random.default_rng(0)
    >>> net = tl.Sequential(tl.Linear(1, 4, rng=rng), tl.Tanh(), tl.Linear(4, 1, rng=rng))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.Adam(net.parameters(), lr=0.1), batch_size=4)
    >>> x = np.linspace(-1.0, 1.0, 10)
    >>> table = verify(trainer, x, np.sin(x), engines=["replay"])
    part          checked                      error    verdict
    objective     gradient of the parameters   ...      ok
    objective     gradient of x                ...      ok
    ...
    >>> table.failed
    []
    """
    if not isinstance(trainer, Trainer):
        raise TypeError(f"verify: trainer is {trainer!r}, expected a Trainer")
    for name in engines:
        if name not in TOLERANCES:
            raise ValueError(f"verify: engines has {name!r}, expected {' and '.join(TOLERANCES)}")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a row says it
        result = Verification(list(_checks(trainer, engines, x, y, sample_weight)))
    if result.failed:
        raise AssertionError(f"verify: {len(result.failed)} of {len(result.rows)} checks failed\n{result}")
    print(result)
    return result


def _checks(trainer: Trainer, engines: Sequence[str], *data: Any) -> Iterator[Check]:
    try:
        parts = _Parts(trainer, engines, *data)
    except Exception as error:
        yield _failure(Check("data", "fit the model and the loss"), error)
        return
    for group in (_gradients, _parts_alone, _purity, _optimizer, _training, _files):
        for part, promise, check in group(parts):
            yield _outcome(Check(part, promise), check)


CheckFunction = Callable[[], float | None]
Rows = Iterator[tuple[str, str, CheckFunction]]


class SkippedError(Exception):
    """There is nothing to check, or no way to do it."""


def _outcome(row: Check, check: CheckFunction) -> Check:
    try:
        return replace(row, error=check())
    except CaptureError as error:
        return replace(row, verdict="refused", message=_one_line(error))
    except (ImportError, SkippedError) as error:
        return replace(row, verdict="skipped", message=_one_line(error))
    except Exception as error:
        return _failure(row, error)


def _failure(row: Check, error: Exception) -> Check:
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return replace(row, verdict="FAILED", message=kind + _one_line(error))


def _one_line(error: Exception) -> str:
    """Return the first and the last line of a message: what is wrong, and which op is at fault."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]}; {lines[-1].strip()}"


class _Parts:
    """A Trainer, checked data, and a batch of them, as Tensors."""

    def __init__(
        self, trainer: Trainer, engines: Sequence[str], x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> None:
        self._trainer = trainer
        self.engines = engines
        self.data = copy.deepcopy(trainer).prepare(x, y, sample_weight=sample_weight).data
        size = min(trainer.batch_size or len(self.data[0]), LARGEST_BATCH)
        self.batch = [array[:size] for array in self.data]
        self.is_single = any(w.dtype == np.float32 for w in trainer.optimizer.parameters)
        # Some batches, the last of them smaller, so that both are trained.
        few = 3 * size - size // 2
        self.some = [array[:few] for array in self.data]

    def copy(self, **attributes: Any) -> Trainer:
        """Return a copy of the Trainer, for data that are prepared already.

        A Tensor that a part kept from an earlier step becomes a constant.
        """
        memo: dict[int, Any] = {}
        for _, x in _walk(self._trainer):
            if isinstance(x, Tensor) and not x.is_leaf:
                memo[id(x)] = x.detach()
        trainer = copy.deepcopy(self._trainer, memo)
        prepared: dict[str, Any] = dict.fromkeys(("inputs", "targets", "validation_fraction", "class_weight")) | {
            "callbacks": []
        }
        for name, value in (prepared | attributes).items():
            setattr(trainer, name, value)
        return trainer

    def tensors(self) -> list[Tensor]:
        """Return the batch as constants."""
        return [Tensor(array) for array in self.batch]

    def fit(self, trainer: Trainer, epochs: int = EPOCHS, **options: Any) -> Trainer:
        x, y, *weight = self.some
        trainer.fit(x, y, sample_weight=weight[0] if weight else None, epochs=epochs, **options)
        return trainer


# Gradients ----------------------------------------------------------------------------------------------------------------


def _gradients(parts: _Parts) -> Rows:
    def of_parameters() -> float:
        trainer = parts.copy()
        objective, constants = _objective(trainer, parts)
        return check_tensors(objective, [*constants, *_all_parameters(trainer)], order=2, elements=ELEMENTS)

    def of_x() -> float:
        trainer = parts.copy()
        objective, (x, *rest) = _objective(trainer, parts)
        # A little away from the data, where zeros or equal samples would meet several kinks at once.
        noise = np.random.default_rng(0).uniform(-1e-3, 1e-3, x.shape) * (1.0 + np.abs(x.data))
        moved = Tensor(x.data + noise.astype(x.dtype), requires_grad=True)
        frozen = _all_parameters(trainer)
        for w in frozen:
            w.requires_grad = False
        return check_tensors(objective, [moved, *rest, *frozen], order=2, elements=ELEMENTS)

    yield "objective", "gradient of the parameters", of_parameters
    yield "objective", "gradient of x", of_x


def _objective(trainer: Trainer, parts: _Parts) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return the loss with its penalty as a function of a batch, and the batch."""
    batch = parts.tensors()
    penalty = trainer.penalty

    def objective(x: Tensor, *rest: Tensor) -> Tensor:
        loss = trainer.loss(trainer.model(x), *rest[: len(batch) - 1])
        if penalty is not None and penalty.placement == "loss":
            loss = loss + penalty.value(trainer.optimizer.parameters)
        return loss

    return objective, batch


def _all_parameters(trainer: Trainer) -> list[Tensor]:
    return list(trainer.model.named_state().values())


# Parts alone --------------------------------------------------------------------------------------------------------------


def _parts_alone(parts: _Parts) -> Rows:
    trainer = parts.copy()
    inputs = _inputs_of_layers(trainer, parts)
    for name, (layer, arguments) in inputs.items():
        yield name, "gradient", partial(_check_layer, layer, arguments)
    loss = type(trainer.loss).__name__
    yield loss, "gradient", lambda: _check_loss(trainer, parts)
    yield loss, "mean over the samples", lambda: _check_mean(trainer, parts)
    if trainer.penalty is not None:
        penalty = type(trainer.penalty).__name__
        yield penalty, "gradient belongs to value", lambda: _check_penalty(trainer)
        if trainer.penalty.placement == "proximal":
            yield penalty, "shrink belongs to value", lambda: _check_shrink(trainer)
    for i, hook in enumerate(trainer.optimizer.hooks):
        yield f"hook {i}: {type(hook).__name__}", "function of the gradients", partial(_check_hook, hook, parts)
    if trainer.scheduler is not None:
        yield type(trainer.scheduler).__name__, "function of the epoch", lambda: _check_scheduler(trainer)


def _inputs_of_layers(trainer: Trainer, parts: _Parts) -> dict[str, tuple[Any, list[Tensor]]]:
    """Return the layers and activations inside the model, by name, with the inputs of each in a forward pass."""
    found: dict[str, tuple[Any, list[Tensor]]] = {}
    layers = [(name, x) for name, x in _walk(trainer.model) if isinstance(x, (Layer, Activation)) and x is not trainer.model]

    def observed(name: str, layer: Any) -> Callable[..., Any]:
        forward = layer.forward

        def wrapper(*arguments: Any) -> Any:
            if all(isinstance(x, Tensor) for x in arguments):
                found.setdefault(name, (layer, [x.detach() for x in arguments]))
            return forward(*arguments)

        return wrapper

    for name, layer in layers:
        object.__setattr__(layer, "forward", observed(f"{name}: {type(layer).__name__}", layer))
    try:
        with no_grad():
            trainer.model(parts.tensors()[0])
    except Exception:  # the row of the objective says it
        return {}
    finally:
        for _, layer in layers:
            object.__delattr__(layer, "forward")
    return found


def _check_layer(layer: Any, arguments: Sequence[Tensor]) -> float:
    inputs = [Tensor(x.data, requires_grad=x.dtype.kind == "f") for x in arguments]
    parameters = list(layer.named_state().values()) if isinstance(layer, Layer) else []
    count = len(inputs)
    return check_tensors(lambda *tensors: layer(*tensors[:count]), [*inputs, *parameters], order=2, elements=ELEMENTS)


def _prediction(trainer: Trainer, parts: _Parts) -> Tensor:
    with no_grad():
        return trainer.model(parts.tensors()[0])


def _check_loss(trainer: Trainer, parts: _Parts) -> float:
    prediction = Tensor(_prediction(trainer, parts).data, requires_grad=True)
    loss = trainer.loss(prediction, *parts.tensors()[1:])
    if loss.shape != ():
        raise AssertionError(f"the loss has shape {loss.shape}, expected ()")
    return check_tensors(trainer.loss, [prediction, *parts.tensors()[1:]], order=2, elements=ELEMENTS)


def _check_mean(trainer: Trainer, parts: _Parts) -> float:
    # A loss that broadcasts compares each prediction with the targets of other samples too.
    arrays = [_prediction(trainer, parts).numpy(), *parts.batch[1:]]
    together = trainer.loss(*map(Tensor, arrays)).item()
    alone = [trainer.loss(*[Tensor(array[i : i + 1]) for array in arrays]).item() for i in range(len(arrays[0]))]
    return _require_close(
        together,
        np.mean(alone),
        _tolerance(parts),
        "the loss of a batch is not the mean of the losses of its samples: does it compare samples with each other, "
        "or broadcast prediction and target?",
    )


def _check_penalty(trainer: Trainer) -> float:
    parameters, penalty = trainer.optimizer.parameters, trainer.penalty
    assert penalty is not None
    gradients = penalty.gradient(parameters)
    return _require_subgradients(trainer, parameters, [g.numpy() for g in gradients], "gradient")


def _check_shrink(trainer: Trainer) -> float:
    # The proximal map v of w minimises |v - w|²/2 + lr value(v), so (w - v) / lr is a subgradient of the value at v.
    parameters, penalty = trainer.optimizer.parameters, trainer.penalty
    assert penalty is not None
    lr = Tensor(0.01)
    shrunk = penalty.shrink(parameters, lr)
    differences = [(w.numpy() - v.numpy()) / lr.item() for w, v in zip(parameters, shrunk, strict=True)]
    for w, v in zip(parameters, shrunk, strict=True):
        w.assign(v)
    return _require_subgradients(trainer, parameters, differences, "shrink")


def _require_subgradients(trainer: Trainer, parameters: Sequence[Tensor], given: Sequence[np.ndarray], what: str) -> float:
    """Raise an error unless each element of `given` lies between the slopes of the penalty's value from both sides."""
    penalty, worst = trainer.penalty, 0.0
    assert penalty is not None
    rng = np.random.default_rng(0)
    doubles = [Tensor(w.data.astype(np.float64)) for w in parameters]
    tolerance = 1e-3 if any(w.dtype == np.float32 for w in parameters) else 1e-6
    for position, w in enumerate(doubles):
        indices = list(np.ndindex(w.shape))
        for index in [indices[i] for i in rng.permutation(len(indices))[:ELEMENTS]]:

            def value(t: float, position: int = position, index: tuple[int, ...] = index) -> np.ndarray:
                array = doubles[position].numpy()
                array[index] += t
                moved = [Tensor(array) if i == position else x for i, x in enumerate(doubles)]
                return penalty.value(moved).numpy().reshape(1)

            size = abs(float(w.data[index])) + 0.1
            found = slopes(value, [step * size for step in STEPS])
            low, high = sorted((float(found.left[0]), float(found.right[0])))
            number = float(given[position][index])
            error = max(low - number, number - high, 0.0) / (abs(low) + abs(high) + 1e-3)
            worst = max(worst, error)
            if not error <= tolerance:
                raise AssertionError(
                    f"{what} gives {number:.9g} for parameter {position} at {index}, but value has slopes from {low:.9g} "
                    f"to {high:.9g}; the parameter is {float(w.data[index]):.6g}"
                )
    return worst


def _check_hook(hook: Any, parts: _Parts) -> float:
    trainer = parts.copy()
    gradients = grad(trainer.loss(trainer.model(parts.tensors()[0]), *parts.tensors()[1:]), trainer.optimizer.parameters)
    with no_grad():
        return _require_repeats(lambda: [g.numpy() for g in hook(gradients)], hook)


def _check_scheduler(trainer: Trainer) -> float:
    scheduler = trainer.scheduler
    assert scheduler is not None
    return _require_repeats(lambda: [np.array([scheduler(epoch) for epoch in range(5)])], scheduler)


# Purity -------------------------------------------------------------------------------------------------------------------


def _purity(parts: _Parts) -> Rows:
    trainer = parts.copy()

    def step() -> list[np.ndarray]:
        loss, parameters, state = trainer.training_step(*parts.tensors())[:3]
        return [x.numpy() for x in (loss, *parameters, *(x for entries in state.values() for x in entries))]

    yield "step", "function of the state alone", lambda: _require_repeats(step, trainer)
    yield "model", "parameters are found", lambda: _require_known(trainer)


def _require_repeats(function: Callable[[], Sequence[np.ndarray]], owner: Any) -> float:
    """Raise an error unless every call returns the same bits, and nothing in `owner` changes."""
    before = _contents(owner)
    first = function()
    for call in range(2, CALLS + 1):
        again = function()
        if not all(_same(a, b) for a, b in zip(first, again, strict=True)):
            after = _contents(owner)
            changed = [name for name in before if after.get(name) != before[name]]
            reason = f"; {', '.join(changed)} changed" if changed else ""
            raise AssertionError(f"call {call} with equal arguments gives another result than the first{reason}")
    after = _contents(owner)
    changed = sorted(name for name in before.keys() | after.keys() if after.get(name) != before.get(name))
    if changed:
        raise AssertionError(
            f"a call changes {', '.join(changed[:3])}: what a part keeps from step to step must be a parameter, a buffer or a "
            "slot of the optimizer, or it is lost on disk and in captured steps"
        )
    return 0.0


def _contents(x: Any) -> dict[str, str]:
    """Describe everything that an object consists of, by name, except for results that it keeps."""
    texts: dict[str, str] = {}
    for name, part in _walk(x):
        if isinstance(part, Tensor):
            texts |= {name: part.numpy().tobytes().hex()} if part.is_leaf and part.is_parameter else {}
        elif isinstance(part, np.ndarray):
            texts[name] = part.tobytes().hex()
        elif isinstance(part, np.random.Generator):
            texts[name] = repr(part.bit_generator.state)
        elif isinstance(part, (int, float, complex, str, bytes, np.generic)) or part is None:
            texts[name] = repr(part)
    return texts


def _walk(x: Any) -> Iterator[tuple[str, Any]]:
    """Yield an object and everything that it consists of, each once, with its name."""
    met: set[int] = set()
    stack = [("", x)]
    while stack:
        name, part = stack.pop()
        is_plain = isinstance(part, (int, float, complex, str, bytes, np.generic)) or part is None
        if not is_plain and id(part) in met:
            continue
        met.add(id(part))
        yield name or type(part).__name__, part
        if not is_plain and not isinstance(part, (Tensor, np.ndarray, np.random.Generator, type)):
            stack.extend((f"{name}.{key}" if name else str(key), child) for key, child in reversed(children(part)))


def _require_known(trainer: Trainer) -> None:
    """Raise an error if the model has a Tensor that requires a gradient, and that no optimizer or file would find."""
    known = {id(x) for x in trainer.model.named_state().values()}
    for name, x in _walk(trainer.model):
        if isinstance(x, Tensor) and x.is_leaf and x.requires_grad and id(x) not in known:
            raise AssertionError(f"{name} requires a gradient, but parameters() and state_dict() do not find it")


# Optimizer ----------------------------------------------------------------------------------------------------------------


def _optimizer(parts: _Parts) -> Rows:
    name = type(parts.copy().optimizer).__name__

    def gradients_of(trainer: Trainer) -> list[Tensor]:
        loss = trainer.loss(trainer.model(parts.tensors()[0]), *parts.tensors()[1:])
        return grad(loss, trainer.optimizer.parameters)

    def repeats() -> float:
        trainer = parts.copy()
        gradients = gradients_of(trainer)
        optimizer = trainer.optimizer

        def update() -> list[np.ndarray]:
            parameters, state = optimizer.update(optimizer.parameters, gradients, optimizer.state, optimizer.lr)
            return [x.numpy() for x in (*parameters, *(x for entries in state.values() for x in entries))]

        with no_grad():
            return _require_repeats(update, optimizer)

    def step_equals_update() -> float:
        one, other = parts.copy(), parts.copy()
        for _ in range(3):
            gradients = gradients_of(one)
            for w, g in zip(one.optimizer.parameters, gradients, strict=True):
                w.grad = g
            one.optimizer.step()
            optimizer, gradients = other.optimizer, gradients_of(other)
            with no_grad():
                changed = optimizer.run_hooks(gradients)
                optimizer.commit(*optimizer.update(optimizer.parameters, changed, optimizer.state, optimizer.lr))
            _require_same_weights(one, other, "step() and update() with commit() give other parameters")
        return 0.0

    def reloads() -> float:
        trained = parts.fit(parts.copy(engine="eager"))
        fresh = parts.copy(engine="eager")
        fresh.model.load_state_dict(trained.model.state_dict())
        fresh.optimizer.load_state_dict(trained.optimizer.state_dict())
        fresh.optimizer.lr.assign(trained.optimizer.lr)
        for trainer in (trained, fresh):
            _, parameters, _ = trainer.training_step(*parts.tensors())[:3]
            for w, new in zip(trainer.optimizer.parameters, parameters, strict=True):
                w.assign(new)
        return _require_same_weights(trained, fresh, "after state_dict and load_state_dict, the next update differs")

    yield name, "update is a function of its slots", repeats
    yield name, "step equals update", step_equals_update
    yield name, "state_dict keeps its state", reloads


# Training -----------------------------------------------------------------------------------------------------------------


def _training(parts: _Parts) -> Rows:
    def engine(name: str, rtol: float) -> CheckFunction:
        def check() -> float:
            expected = parts.fit(parts.copy(engine="eager"))
            trained = parts.fit(parts.copy(engine=name))
            error = _distance(expected, trained)
            if not error <= rtol:
                raise AssertionError(
                    f"the parameters after {EPOCHS} epochs differ from those of the eager engine by {error:.1e}"
                )
            return error

        return check

    def lanes() -> float:
        trainers = [parts.copy(seed=seed) for seed in (0, 1)]
        expected = [parts.fit(parts.copy(seed=seed)) for seed in (0, 1)]
        fit_lanes(trainers, [parts.some] * 2, epochs=EPOCHS)
        for one, other in zip(trainers, expected, strict=True):
            _require_same_weights(one, other, "in lanes, the parameters differ from those of fit")
        return 0.0

    for name in parts.engines:
        rounding = ", to rounding" if any(TOLERANCES[name][: 1 + parts.is_single]) else ""
        yield "engine", f"{name} equals eager{rounding}", engine(name, TOLERANCES[name][parts.is_single])
    yield "lanes", "equal fit", lanes


# Files --------------------------------------------------------------------------------------------------------------------


def _files(parts: _Parts) -> Rows:
    def weights() -> float:
        trained, fresh = parts.fit(parts.copy(engine="eager")), parts.copy()
        with tempfile.TemporaryDirectory() as folder:
            save_weights(Path(folder) / "weights.safetensors", trained.model)
            load_weights(Path(folder) / "weights.safetensors", fresh.model)
        first, second = (trainer.predict(parts.data[0]) for trainer in (trained, fresh))
        if not _same(first, second):
            raise AssertionError(
                "a fresh model with the saved weights predicts something else: part of its state is not in state_dict()"
            )
        return 0.0

    def resume() -> float:
        whole = parts.fit(parts.copy(engine="eager"), epochs=2 * EPOCHS)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint"
            parts.fit(parts.copy(engine="eager"), callbacks=[Checkpoint(path)])
            resumed = parts.fit(parts.copy(engine="eager"), epochs=2 * EPOCHS, resume=path)
        return _require_same_weights(whole, resumed, "a resumed training has other parameters than an uninterrupted one")

    yield "weights file", "keeps what predict needs", weights
    yield "checkpoint", "resumed equals uninterrupted", resume


# Comparison ---------------------------------------------------------------------------------------------------------------


def _tolerance(parts: _Parts) -> float:
    return 1e-4 if parts.is_single else 1e-10


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))


def _require_close(a: float, b: float, rtol: float, message: str) -> float:
    error = abs(a - b) / max(abs(a), abs(b), 1e-300)
    if not error <= rtol:
        raise AssertionError(f"{message} ({a:.6g} and {b:.6g})")
    return error


def _arrays(trainer: Trainer) -> dict[str, np.ndarray]:
    """Return what the optimizer trains, and what the model says that it consists of."""
    trained = {f"parameter {i}": w.numpy() for i, w in enumerate(trainer.optimizer.parameters)}
    return trainer.model.state_dict() | trained


def _distance(one: Trainer, other: Trainer) -> float:
    """Return the largest difference of the arrays of two Trainers, relative to the largest element of each array.

    An array whose elements are rounding errors, such as a bias that should be 0, is compared with 1e-6 of the largest one.
    """
    first, second = _arrays(one), _arrays(other)
    sizes = {name: np.abs(a).max(initial=0.0) for name, a in first.items()}
    least = max(1e-6 * max(sizes.values(), default=0.0), 1e-300)
    errors = [np.abs(a - second[name]).max(initial=0.0) / max(sizes[name], least) for name, a in first.items()]
    return float(max(errors, default=0.0))


def _require_same_weights(one: Trainer, other: Trainer, message: str) -> float:
    second = _arrays(other)
    differing = [name for name, array in _arrays(one).items() if not _same(array, second[name])]
    if differing:
        raise AssertionError(f"{message}: {', '.join(differing[:3])}, by {_distance(one, other):.1e}")
    return 0.0
