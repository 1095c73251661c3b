"""Whether the parameters that an optimizer moves are still those of the model.

A layer that sets ``self.weight = Tensor(...)`` during the step replaces a parameter. The optimizer would go on to move the old
one, which the model no longer uses.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.naming import walk
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
