"""Checkpoints: the state of a run, on disk or in memory, and a description that must match when the run is resumed.

parameters, optimizer state, history, callbacks --> arrays
what has changed since the set-up               --> texts, and arrays
what must be equal for the same bits            --> texts, compared when the run is resumed
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_lab.storage.arrays import WeightsError, arrays_from_bytes, arrays_to_bytes, load_arrays, save_arrays
from tinygrad_lab.storage.description import describe
from tinygrad_lab.storage.digests import digest_arrays
from tinygrad_lab.training.history import MEASURED
from tinygrad_lab.training.run import Callback, Run
from tinygrad_lab.training.snapshots import Snapshot


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
    ValueError
        If the training has ended within an epoch, if `EarlyStopping` has put back other weights, or if a callback has changed
        something that cannot be stored. The message names it.

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
    changes, changed_arrays = run.setup.changes()
    parts = {
        "model": run.trainer.model.state_dict(),
        "optimizer": run.trainer.optimizer.state_dict(),
        "history": run.history.state_dict(),
        "changes": changed_arrays,
    } | {f"callback{i}": _state_of(callback) for i, callback in enumerate(_acting_callbacks(run))}
    arrays = {f"{part}.{name}": array for part, entries in parts.items() for name, array in entries.items()}
    texts = {"stop_reason": run.history.stop_reason, "changes": json.dumps(changes), "arrays": json.dumps(_forms(arrays))}
    return arrays, _settings(run) | texts


def _state_of(callback: Callback) -> dict[str, np.ndarray]:
    """Return the state of a callback, which a user may have written."""
    state = callback.state_dict()
    if not isinstance(state, dict) or not all(isinstance(x, np.ndarray) for x in state.values()):
        raise TypeError(f"{type(callback).__name__}: state_dict returned no dict of arrays, expected {{name: ndarray}}")
    return state


def load_checkpoint(run: Run, source: str | os.PathLike[str] | bytes) -> Snapshot:
    """Restore a run from a file, or from what `checkpoint_bytes` returned. If it does not fit, nothing is changed.

    Returns
    -------
    Snapshot
        What the run was before, to put it back.

    Raises
    ------
    WeightsError
        If the source is no checkpoint, or one of another training; the message names what differs.
    """
    name = "checkpoint in memory" if isinstance(source, bytes) else os.fspath(source)
    arrays, texts = arrays_from_bytes(source, name) if isinstance(source, bytes) else load_arrays(source, kind="a checkpoint")
    if "arrays" not in texts:
        raise WeightsError(f"{name}: is no checkpoint, expected a file that the callback Checkpoint has written")
    stop_reason, changes, forms = (texts.pop(key, "") for key in ("stop_reason", "changes", "arrays"))
    current = _settings(run)
    differing = sorted(name for name in current.keys() | texts.keys() if current.get(name) != texts.get(name))
    if differing:
        raise WeightsError(f"{name}: is a checkpoint of another training; it differs in {', '.join(differing)}")
    _compare(name, "the checkpoint's own list", _forms(arrays), json.loads(forms))

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): x for key, x in arrays.items() if key.startswith(prefix)}

    trainer, history = run.trainer, part("history.")
    _compare(name, "the model", _forms(part("model.")), _forms(trainer.model.state_dict()))
    _compare(name, "the optimizer", _forms(part("optimizer.")), _forms(trainer.optimizer.state_dict()))
    measured = [key for key in MEASURED if history and (key != "validation_loss" or run.held_out is not None)]
    length = max(map(np.size, history.values()), default=0)
    _compare(name, "the history", _forms(history), {key: ["float64", [length]] for key in (*measured, *history)})
    callbacks = _acting_callbacks(run)
    before = Snapshot({"trainer": trainer, "history": run.history, "callbacks": callbacks})
    loading = "the changes"
    try:
        run.setup.apply(json.loads(changes), part("changes."))
        trainer.model.load_state_dict(part("model."))
        trainer.optimizer.load_state_dict(part("optimizer."))
        run.history.load_state_dict(history, stop_reason)
        for i, callback in enumerate(callbacks):
            loading = type(callback).__name__
            callback.load_state_dict(part(f"callback{i}."))
            callback.on_state_loaded(run)
    except Exception as error:
        before.put_back()
        reason = f"{loading} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())})"
        raise WeightsError(f"{name}: {reason}; expected the checkpoint of an equal training") from error
    return before


def _forms(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the dtypes and shapes of arrays, for JSON."""
    return {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}


def _compare(source: str, owner: str, given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise WeightsError if arrays do not have the names, dtypes and shapes that are expected."""
    problems = [f"{name} is missing" for name in expected if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in expected]
    problems += [
        f"{name} is {form[0]} of shape {tuple(form[1])}, expected {expected[name][0]} of shape {tuple(expected[name][1])}"
        for name, form in given.items()
        if name in expected and form != expected[name]
    ]
    if problems:
        raise WeightsError(f"{source}: does not fit {owner}: {'; '.join(problems)}")


def _acting_callbacks(run: Run) -> list[Callback]:
    """List the callbacks on which the result of the training may depend."""
    return [callback for callback in run.callbacks if not callback.only_watches]


def _settings(run: Run) -> dict[str, str]:
    """Describe what must be equal for a resumed training to reach the same bits."""
    held_out = {} if run.held_out is None else {"validation": digest_arrays(run.held_out)}
    callbacks = [f"{type(callback).__name__}{describe(callback.settings())}" for callback in _acting_callbacks(run)]
    return run.setup.texts | {"data": digest_arrays(run.data), "callbacks": str(callbacks)} | held_out
