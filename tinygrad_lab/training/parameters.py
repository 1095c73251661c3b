"""Whether the Tensors that a step differentiates are the parameters of the model.

A layer that sets ``self.weight = Tensor(...)`` during the step replaces a parameter. The optimizer would go on to move the old
one, which the model no longer uses. And a Tensor in a deque, a closure or a loss is no parameter at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tinygrad_lab.autodiff.graph import ancestors
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.naming import walk
from tinygrad_lab.training.snapshots import Snapshot
from tinygrad_lab.training.step import TrainingStep


def owners_of_parameters(model: Layer) -> dict[int, str]:
    """Name the Tensors of a model by the classes of their layers, such as ``Linear.weight``, by their ids."""
    return {id(found.value): f"{found.owner}.{found.keys[-1]}" for found in walk(model, (Tensor,), (Layer,))}


def check_kept_parameters(step: TrainingStep, owners: Mapping[int, str]) -> None:
    """Raise ValueError if the model has no longer a parameter that the optimizer moves.

    Parameters
    ----------
    step : TrainingStep
    owners : mapping of int to str
        What `owners_of_parameters` returned before.
    """
    present = {id(tensor) for tensor in step.model.named_state().values()}
    for parameter in step.optimizer.parameters:
        if id(parameter) not in present:
            name = owners.get(id(parameter), f"a parameter of {type(step.model).__name__}")
            raise ValueError(
                f"{name} has been replaced by another Tensor, so that it would not be trained; "
                "keep other values in another attribute, or change a parameter by its assign between updates"
            )


def check_objectives(step: TrainingStep, objectives: Sequence[Tensor | None], before: Snapshot) -> None:
    """Raise ValueError if a step depends on a Tensor that asks for a gradient, but is no parameter of the model.

    A Tensor that ``forward`` makes, to differentiate with respect to it, is allowed. It was not there before the step, and is
    another one in the next step.

    Parameters
    ----------
    step : TrainingStep
    objectives : sequence of Tensor or None
        What the first steps have differentiated; None if a subclass of the Trainer does not say so.
    before : Snapshot
        The parts of the step before.
    """
    unknown = [_unknown_leaves(step, objective) for objective in objectives if objective is not None]
    if not any(unknown):
        return
    names = {id(part): str(node) for node in before.nodes.values() for part in _held_by(node.x)}
    found = [names[key] for key in unknown[-1] if key in names]
    if len(unknown) > 1:
        kept = unknown[-1].keys() & unknown[0].keys()
        found += [f"{type(step.model).__name__}, a Tensor of shape {unknown[-1][key].shape}" for key in kept]
    if found:
        raise ValueError(
            f"{found[0]}: the loss depends on a Tensor that requires a gradient, but is no parameter of the model, so it would "
            "be neither trained nor saved; make it an attribute of a Layer of the model, where lists, tuples and dicts "
            "count too, or set its requires_grad to False"
        )


def _unknown_leaves(step: TrainingStep, objective: Tensor) -> dict[int, Tensor]:
    """Return the leaves of a graph that require a gradient and are no parameters of the model, by their ids."""
    known = {id(parameter) for parameter in step.optimizer.parameters}
    leaves = [x for x in ancestors([objective]) if x.is_leaf and x.requires_grad and id(x) not in known]
    if leaves:
        known = {id(tensor) for tensor in step.model.named_state().values()}
    return {id(leaf): leaf for leaf in leaves if id(leaf) not in known}


def _held_by(x: Any) -> Collection[Any]:
    """Return an object, or the elements of a set, which a snapshot does not list."""
    return x if isinstance(x, (set, frozenset)) else [x]
