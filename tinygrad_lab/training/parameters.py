"""Whether the Tensors that a step differentiates are the parameters of the model.

A layer that sets ``self.weight = Tensor(...)`` during the step replaces a parameter. The optimizer would go on to move the old
one, which the model no longer uses. And a Tensor in a deque, a closure or a loss is no parameter at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_lab.autodiff.graph import ancestors
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.naming import walk
from tinygrad_lab.training.snapshots import Snapshot, roots_of
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


def check_objective(step: TrainingStep, objective: Tensor | None) -> None:
    """Raise ValueError if a step depends on a Tensor that asks for a gradient, but is no parameter of the model.

    A Tensor that ``forward`` makes, to differentiate with respect to it, is allowed. It is not found among the parts.

    Parameters
    ----------
    step : TrainingStep
    objective : Tensor or None
        What the step has differentiated; None if a subclass of the Trainer does not say so.
    """
    leaves = [] if objective is None else [x for x in ancestors([objective]) if x.is_leaf and x.requires_grad]
    known = {id(parameter) for parameter in step.optimizer.parameters}
    unknown = {id(leaf) for leaf in leaves} - known
    if unknown:
        unknown -= {id(tensor) for tensor in step.model.named_state().values()}
    if not unknown:
        return
    for node in Snapshot(roots_of(step)).nodes.values():
        parts = node.x if isinstance(node.x, (set, frozenset)) else [node.x]
        if not unknown.isdisjoint(map(id, parts)):
            raise ValueError(
                f"{node}: the loss depends on a Tensor that requires a gradient, but is no parameter of the model, so it would "
                "be neither trained nor saved; make it an attribute of a Layer of the model, where lists, tuples and dicts "
                "count too, or set its requires_grad to False"
            )
