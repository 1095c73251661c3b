"""The graph of a computation: what each result was made from, and the walk back along it.

    w --multiply--> p --add--> z            forward: every result keeps a Link to its inputs
    w̄ <----vjp----- p̄ <--vjp-- z̄ = 1        backward: `pull_back` follows the links, last result first

*In which order are gradients computed?* The cotangent of a tensor is the derivative of the output with respect to it. It is
the sum of one share for each use of the tensor. So every use must be visited before the tensor itself: `pull_back` visits
results before their inputs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.ops import Op


class Link:
    """How a result was made: the op, its input tensors, the arrays that they held, and the op's parameters."""

    __slots__ = ("arrays", "inputs", "op", "params")

    def __init__(self, op: Op, inputs: Sequence[Any], arrays: Sequence[np.ndarray], params: dict[str, Any]) -> None:
        self.op = op
        self.inputs = inputs
        self.arrays = arrays
        self.params = params

    def check_unchanged(self) -> None:
        """Raise an error if an input holds another array now than when the op ran: its VJP would use the wrong values."""
        for tensor, array in zip(self.inputs, self.arrays, strict=True):
            if tensor._array is not array:
                raise RuntimeError(
                    f"{self.op.name}: an input of shape {array.shape} was assigned a new value after it was used, "
                    "so its gradient would be wrong; compute the loss again, then differentiate it"
                )


class _Linking(threading.local):
    def __init__(self) -> None:
        self.enabled = True


linking = _Linking()
"""Whether results are linked to their inputs, in this thread."""


@contextmanager
def set_linking(enabled: bool) -> Iterator[None]:
    """Switch the linking of results to their inputs on or off for a block."""
    before = linking.enabled
    linking.enabled = enabled
    try:
        yield
    finally:
        linking.enabled = before


def ancestors(output: Any) -> list[Any]:
    """List `output` and all tensors with a gradient that it was computed from, inputs before results."""
    order: list[Any] = []
    visited: set[int] = set()
    stack = [(output, False)]  # an explicit stack: Python limits recursion to about 1,000 calls
    while stack:
        tensor, inputs_listed = stack.pop()
        if inputs_listed:
            order.append(tensor)
        elif id(tensor) not in visited:
            visited.add(id(tensor))
            stack.append((tensor, True))
            if tensor._link is not None:
                stack.extend((x, False) for x in tensor._link.inputs if x._requires_grad)
    return order


def pull_back(output: Any, cotangent: Any, wrt: Sequence[Any], *, create_graph: bool = False) -> list[Any]:
    """Propagate `cotangent` from `output` back along the links to each tensor of `wrt`.

    Parameters
    ----------
    output : Tensor
    cotangent : Tensor
        dL/d(output) for a scalar L, of the shape of `output`.
    wrt : sequence of Tensor
    create_graph : bool
        Whether the results are linked to their inputs, so that they can be differentiated again.

    Returns
    -------
    list of Tensor or None
        dL/dx for each x of `wrt`; None if `output` does not depend on x.

    Raises
    ------
    RuntimeError
        If an input was assigned a new value after the graph used it.
    """
    order = ancestors(output)
    needed = {id(tensor) for tensor in wrt}  # the tensors on a path from wrt to the output
    wanted = set(needed)
    for tensor in order:
        if tensor._link is not None and any(id(x) in needed for x in tensor._link.inputs):
            needed.add(id(tensor))

    cotangents = {id(output): cotangent}
    with set_linking(create_graph):
        for tensor in reversed(order):
            key = id(tensor)
            if tensor._link is None or key not in needed or key not in cotangents:
                continue
            g = cotangents[key] if key in wanted else cotangents.pop(key)
            link = tensor._link
            link.check_unchanged()
            for position, x in enumerate(link.inputs):
                vjp = link.op.vjp(position) if id(x) in needed else None
                if vjp is not None:
                    share = vjp(g, tensor, *link.inputs, **link.params)
                    cotangents[id(x)] = cotangents[id(x)] + share if id(x) in cotangents else share
    return [cotangents.get(id(tensor)) for tensor in wrt]
