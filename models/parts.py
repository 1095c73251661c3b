"""Losses and optimizers by name, for estimators and for searches that are described by numbers and names alone.

"huber" --get_loss--> Huber(1.0)        "adam" --get_optimizer--> Adam, a function of the parameters
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_lab import (
    SGD,
    Adam,
    AdamW,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Optimizer,
    RMSprop,
    Tensor,
)

OptimizerFactory = Callable[[list[Tensor]], Optimizer]

LOSSES: dict[str, type[Loss]] = {
    "half_squared_error": HalfSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "cross_entropy": CrossEntropy,
}

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss of a name in `LOSSES`, with its default parameters. Return a Loss as it is.

    Raises
    ------
    ValueError
        If `loss` is neither a name nor a Loss.

    Examples
    --------
    >>> get_loss("huber")
    Huber(delta=1.0)
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss {loss!r} is unknown; expected a Loss such as Huber(), or one of {', '.join(LOSSES)}")
    return LOSSES[loss]()


def get_optimizer(optimizer: str | OptimizerFactory) -> OptimizerFactory:
    """Return the optimizer class of a name in `OPTIMIZERS`. Return a function from parameters to an Optimizer as it is.

    Raises
    ------
    ValueError
        If `optimizer` is neither a name nor a function.

    Examples
    --------
    >>> get_optimizer("adam").__name__
    'Adam'
    """
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return OPTIMIZERS[optimizer]
    if isinstance(optimizer, str) or not callable(optimizer):
        raise ValueError(
            f"optimizer {optimizer!r} is unknown; expected a function of the parameters such as "
            f"functools.partial(SGD, lr=0.1), or one of {', '.join(OPTIMIZERS)}"
        )
    return optimizer
