"""Derivatives of Tensors, of any order.

x --ops--> y --grad(create_graph=True)--> dy/dx, itself linked to x --grad--> d²y/dx² --> ...
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.graph import NoGraphError, linking, pull_back, set_linking
from tinygrad_lab.autodiff.tensor import Tensor, check_has_graph, starting_cotangent, wrap


def no_grad() -> AbstractContextManager[None]:
    """Compute without a graph inside a block: the results are constants.

    Examples
    --------
    >>> w = Tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = w * w
    >>> y.requires_grad
    False
    """
    return set_linking(False)


def grad(
    loss: Tensor,
    wrt: Iterable[Tensor],
    create_graph: bool | None = None,
    cotangent: ArrayLike | Tensor | None = None,
    unused: Literal["raise", "zeros", "none"] = "raise",
) -> list[Tensor]:
    """Return the gradients of `loss` with respect to each tensor of `wrt`.

    Parameters
    ----------
    loss : Tensor
        One element, unless `cotangent` is given.
    wrt : iterable of Tensor
        Tensors that require a gradient: leaves, or results that `loss` was computed from.
    create_graph : bool, optional
        Whether the gradients can be differentiated again. By default they can inside a function that is being differentiated,
        such as the `forward` of a model in training, and cannot elsewhere.
    cotangent : array_like, optional
        Weights of the elements of `loss`, of the same shape. The gradient is that of ``(cotangent * loss).sum()``.
    unused : {"raise", "zeros", "none"}
        What to do about a tensor of `wrt` on which `loss` does not depend: raise an error, or return zeros or None for it.

    Returns
    -------
    list of Tensor
        Each has the shape and dtype of its tensor in `wrt`.

    Raises
    ------
    ValueError
        If `loss` or a tensor of `wrt` requires no gradient, if `loss` has more than one element and no cotangent is given, or
        if `loss` does not depend on a tensor of `wrt`.

    Examples
    --------
    >>> x = Tensor(3.0, requires_grad=True)
    >>> (slope,) = grad(x**3, [x], create_graph=True)
    >>> (curvature,) = grad(slope, [x])
    >>> slope.item(), curvature.item()
    (27.0, 18.0)
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"grad: loss is {loss!r}, expected a Tensor")
    if isinstance(wrt, Tensor) or not isinstance(wrt, Iterable):
        raise TypeError(f"grad: wrt is a {type(wrt).__name__}, expected a list of Tensors: [wrt]")
    wrt = list(wrt)
    if unused not in ("raise", "zeros", "none"):
        raise ValueError(f"grad: unused is {unused!r}, expected 'raise', 'zeros' or 'none'")
    check_has_graph("grad", loss)
    start = starting_cotangent("grad", loss, cotangent)
    for position, tensor in enumerate(wrt):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"grad: wrt[{position}] is {tensor!r}, expected a Tensor")
        if not tensor.requires_grad:
            raise NoGraphError(f"grad: wrt[{position}] has requires_grad=False, so nothing was recorded about it")
    create_graph = bool(linking.block) and linking.enabled if create_graph is None else create_graph
    gradients = pull_back([loss], [start], wrt, create_graph=create_graph)
    excluded = linking.excluded  # the links to these are not complete
    missing = [f"wrt[{i}]" for i, (x, g) in enumerate(zip(wrt, gradients, strict=True)) if g is None or id(x) in excluded]
    if missing and (unused == "raise" or excluded):
        raise NoGraphError(
            f"grad: the loss does not depend on {', '.join(missing)}, or not through a graph; "
            "leave that out, or give unused='zeros' or unused='none'"
        )
    return gradients if unused == "none" else filled(gradients, wrt)


def filled(gradients: Sequence[Tensor | None], wrt: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients with zeros in the place of None."""
    return [wrap(np.zeros_like(x._array)) if g is None else g for g, x in zip(gradients, wrt, strict=True)]
