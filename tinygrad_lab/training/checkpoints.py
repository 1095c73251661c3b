"""Checkpoints: the state of a run, on disk or in memory, and a description that must match when the run is resumed.

parameters, optimizer state, history, callbacks --> arrays
what must be equal for the same bits            --> texts, compared when the run is resumed
"""

from __future__ import annotations

import os

import numpy as np

from tinygrad_lab.storage.arrays import WeightsError, arrays_from_bytes, arrays_to_bytes, load_arrays, save_arrays
from tinygrad_lab.storage.description import describe
from tinygrad_lab.storage.digests import digest_arrays
from tinygrad_lab.training.run import Callback, Run


def save_checkpoint(run: Run, path: str | os.PathLike[str]) -> None:
    """Write all that is needed to resume a run to `path`, atomically."""
    save_arrays(path, *_content(run))


def checkpoint_bytes(run: Run) -> bytes:
    """Return what `save_checkpoint` would write.

    Parameters
    ----------
    run : Run
        As `lanes_as_completed` yields it, or as a callback receives it.

    Raises
    ------
    TypeError
        If `run` is something else, such as a Trainer.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> def trainer():
    ...     net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    ...     return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=50)
    >>> x = np.linspace(-1.0, 1.0, 20)
    >>> whole, first, second = trainer(), trainer(), trainer()
    >>> _ = tl.fit_lanes([whole], [(x, x)])
    >>> [runs] = tl.lanes_as_completed([first], [(x, x)], until=20)
    >>> _ = tl.fit_lanes([second], [(x, x)], resume=[checkpoint_bytes(runs[0])])
    >>> first.history.epochs, second.history.epochs
    (20, 50)
    >>> bool(second.model.weight.data == whole.model.weight.data)
    True
    """
    if not isinstance(run, Run):
        kind = type(run).__name__
        raise TypeError(
            f"checkpoint_bytes: got a {kind}, expected a Run, which lanes_as_completed yields and callbacks receive"
        )
    return arrays_to_bytes(*_content(run))


def _content(run: Run) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if run.checkpoint_obstacle:
        raise ValueError(f"no checkpoint can be made, since {run.checkpoint_obstacle}; use an earlier one, or train again")
    parts = {
        "model": run.trainer.model.state_dict(),
        "optimizer": run.trainer.optimizer.state_dict(),
        "history": run.history.state_dict(),
    } | {f"callback{i}": callback.state_dict() for i, callback in enumerate(_acting_callbacks(run))}
    arrays = {f"{part}.{name}": array for part, entries in parts.items() for name, array in entries.items()}
    return arrays, _settings(run) | {"stop_reason": run.history.stop_reason}


def load_checkpoint(run: Run, source: str | os.PathLike[str] | bytes) -> None:
    """Restore a run from a file, or from what `checkpoint_bytes` returned.

    Raises
    ------
    WeightsError
        If the source is no checkpoint, or one of another training; the message names what differs.
    """
    name = "checkpoint in memory" if isinstance(source, bytes) else os.fspath(source)
    arrays, texts = arrays_from_bytes(source, name) if isinstance(source, bytes) else load_arrays(source)
    stop_reason = texts.pop("stop_reason", "")
    current = _settings(run)
    differing = sorted(name for name in current.keys() | texts.keys() if current.get(name) != texts.get(name))
    if differing:
        raise WeightsError(f"{name}: is a checkpoint of another training; it differs in {', '.join(differing)}")

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): x for key, x in arrays.items() if key.startswith(prefix)}

    run.trainer.model.load_state_dict(part("model."))
    run.trainer.optimizer.load_state_dict(part("optimizer."))
    run.history.load_state_dict(part("history."), stop_reason)
    if run.history.epochs:
        run.trainer.optimizer.lr.assign(run.history.last("lr"))
    for i, callback in enumerate(_acting_callbacks(run)):
        callback.load_state_dict(part(f"callback{i}."))


def _acting_callbacks(run: Run) -> list[Callback]:
    """List the callbacks on which the result of the training may depend."""
    return [callback for callback in run.callbacks if not callback.only_watches]


def _settings(run: Run) -> dict[str, str]:
    """Describe what must be equal for a resumed training to reach the same bits."""
    trainer, optimizer = run.trainer, run.trainer.optimizer
    held_out = {} if run.held_out is None else {"validation": digest_arrays(run.held_out)}
    changing = {"parameters", "state"} | ({"_lr"} if trainer.scheduler is not None else set())
    fixed = {name: x for name, x in vars(optimizer).items() if name not in changing}
    return {
        "data": digest_arrays(run.data),
        "model": describe(trainer.model),
        "loss": describe(trainer.loss),
        "optimizer": f"{type(optimizer).__name__} {describe(fixed)}",
        "scheduler": describe(trainer.scheduler),
        "penalty": describe(trainer.penalty),
        "batches": f"{trainer.batch_size} {trainer.shuffle} {trainer.seed}",
        "callbacks": str([f"{type(callback).__name__}{describe(callback.settings())}" for callback in _acting_callbacks(run)]),
    } | held_out
