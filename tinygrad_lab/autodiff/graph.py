"""The graph of a computation: what each result was made from, and the walk back along it.

    w --multiply--> p --add--> z            forward: every result keeps a Link to its inputs
    w̄ <----vjp----- p̄ <--vjp-- z̄ = 1        backward: `pull_back` follows the links, last result first

*In which order are gradients computed?* The cotangent of a tensor is the derivative of the output with respect to it. It is
the sum of one share for each use of the tensor. So every use must be visited before the tensor itself: `pull_back` visits
results before their inputs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.ops import Op


class Link:
    """How a result was made: the op, its input tensors, the arrays that they held, and the op's parameters."""

    __slots__ = ("arrays", "inputs", "op", "params")

    def __init__(self, op: Op | Pullback, inputs: Sequence[Any], arrays: Sequence[np.ndarray], params: dict[str, Any]) -> None:
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


class Pullback:
    """What a Link has in the place of an op, if its result was not made by one op: the gradients of all inputs at once.

    Parameters
    ----------
    name : str
    pull : callable
        It takes the cotangent of the result and the list of the inputs whose gradients are needed. It returns these, or None
        for an input on which the result does not depend.
    """

    __slots__ = ("name", "pull")

    def __init__(self, name: str, pull: Callable[[Any, list[Any]], Sequence[Any]]) -> None:
        self.name = name
        self.pull = pull


class _Linking(threading.local):
    def __init__(self) -> None:
        self.enabled = True
        self.excluded: frozenset[int] = frozenset()
        self.constants: frozenset[int] | None = self.excluded
        self.block = ""


linking = _Linking()
"""How results are linked to their inputs, in this thread.

- `enabled`: whether they are linked at all.
- `excluded`: the ids of Tensors that require a gradient, but count as constants.
- `constants`: `excluded` if results are linked, else None. `apply` reads only this field: reading it takes about 0.1 µs.
- `block`: the name of the innermost block that will be differentiated, or "". There, a Tensor that requires a gradient must
  not become a number, because its graph would be lost.
"""

repetitions: list[Callable[[], Callable[[], AbstractContextManager[None]]]] = []
"""What a function may read beside Tensors, if it runs again for its gradient.

Each entry is called before the function runs. It returns a function that makes a context in which all is as it was then.
"""


@contextmanager
def set_linking(enabled: bool, **settings: Any) -> Iterator[None]:
    """Switch the linking of results to their inputs on or off for a block, and set other fields of `linking`."""
    fields = vars(linking)  # those of this thread
    before = fields.copy()
    fields.update(settings, enabled=enabled)
    fields["constants"] = fields["excluded"] if enabled else None
    try:
        yield
    finally:
        fields.update(before)


@contextmanager
def differentiating(block: str) -> Iterator[None]:
    """Link results inside a block, whatever is switched off outside, and refuse to lose the graph of a Tensor there."""
    with set_linking(True, block=block):
        try:
            yield
        except ValueError as error:  # NumPy says "setting an array element with a sequence", and hides the reason behind it
            if error.__cause__ is not None and "array element" in str(error):
                raise error.__cause__ from None
            raise


class NoGraphError(ValueError):
    """A gradient is asked for, but there is no graph from the output to the variable."""


def without_gradients_of(tensors: Iterable[Any], function: Callable[[], Any]) -> Any:
    """Return what a function of no arguments returns, and link nothing to `tensors`, if it can be computed so.

    A model is evaluated in this way: nothing is linked to its parameters, but its `forward` can call `grad`. A `forward` that
    differentiates with respect to a parameter, or to a result of one, runs again with all links.
    """
    try:
        with set_linking(True, excluded=linking.excluded.union(map(id, tensors))):
            return function()
    except NoGraphError:
        with set_linking(True):
            return function()


def ancestors(outputs: Sequence[Any], stop: Collection[int] = ()) -> list[Any]:
    """List `outputs` and all tensors with a gradient that they were computed from, inputs before results.

    What the tensors with an id in `stop` were computed from is left out.
    """
    order: list[Any] = []
    visited: set[int] = set()
    stack = [(output, False) for output in outputs]  # an explicit stack: Python limits recursion to about 1,000 calls
    while stack:
        tensor, inputs_listed = stack.pop()
        key = id(tensor)
        if inputs_listed:
            order.append(tensor)
        elif key not in visited:
            visited.add(key)
            stack.append((tensor, True))
            if tensor._link is not None and key not in stop:
                stack.extend((x, False) for x in tensor._link.inputs if x._requires_grad)
    return order


def depends_on_leaf(tensor: Any) -> bool:
    """Whether a tensor was computed from a leaf that requires a gradient and does not count as a constant."""
    return any(x._requires_grad and x._link is None and id(x) not in linking.excluded for x in ancestors([tensor]))


def pull_back(
    outputs: Sequence[Any], cotangents: Sequence[Any], wrt: Sequence[Any], *, create_graph: bool = False, partial: bool = False
) -> list[Any]:
    """Propagate `cotangents` from `outputs` back along the links to each tensor of `wrt`.

    Parameters
    ----------
    outputs, cotangents : sequence of Tensor
        For each output, dL/d(output) of one scalar L, of the shape of the output.
    wrt : sequence of Tensor
    create_graph : bool
        Whether the results are linked to their inputs, so that they can be differentiated again.
    partial : bool
        Whether the other tensors of `wrt` count as constant in each derivative, also if one was computed from another.

    Returns
    -------
    list of Tensor or None
        dL/dx for each x of `wrt`; None if no output depends on x.

    Raises
    ------
    RuntimeError
        If an input was assigned a new value after the graph used it.
    """
    needed = {id(tensor) for tensor in wrt}  # the tensors on a path from wrt to an output
    wanted = set(needed)
    order = ancestors(outputs, stop=wanted if partial else ())
    for tensor in order:
        if tensor._link is not None and any(id(x) in needed for x in tensor._link.inputs):
            needed.add(id(tensor))
    passing = needed - wanted if partial else needed  # the tensors whose cotangent goes on to their inputs

    sums: dict[int, Any] = {}  # the cotangent of each tensor, by its id
    with set_linking(create_graph):
        for output, cotangent in zip(outputs, cotangents, strict=True):
            _add(sums, output, cotangent)
        for tensor in reversed(order):
            key = id(tensor)
            link = tensor._link
            if link is None or key not in passing or key not in sums:
                continue
            g = sums[key] if key in wanted else sums.pop(key)
            link.check_unchanged()
            op = link.op
            if type(op) is Pullback:
                inputs = [x for x in link.inputs if id(x) in needed]
                for x, share in zip(inputs, op.pull(g, inputs), strict=True):
                    if share is not None:
                        _add(sums, x, share)
                continue
            for position, x in enumerate(link.inputs):
                vjp = op.vjp(position) if id(x) in needed else None
                if vjp is not None:
                    share = vjp(g, tensor, *link.inputs, **link.params)
                    sums[id(x)] = sums[id(x)] + share if id(x) in sums else share  # _add, without a call
    return [sums.get(id(tensor)) for tensor in wrt]


def _add(sums: dict[int, Any], x: Any, share: Any) -> None:
    sums[id(x)] = sums[id(x)] + share if id(x) in sums else share
