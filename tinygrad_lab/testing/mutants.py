"""Wrong VJPs, to show that a gradient check can fail.

with mutant(ops.exp, position=0, factor=1.01): check_grad(...)  --> AssertionError if the check works
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_lab.autodiff.ops import VJP, Op


@contextmanager
def mutant(op: Op, position: int, factor: float) -> Iterator[None]:
    """Scale the VJP of `op` for the input at `position` by `factor`, inside a block.

    Parameters
    ----------
    op : Op
    position : int
    factor : float
        1.01 for a small error, 0 for a missing gradient.

    Raises
    ------
    ValueError
        If the op is constant in that input.

    Examples
    --------
    >>> from tinygrad_lab.autodiff import ops
    >>> from tinygrad_lab.testing import check_grad
    >>> with mutant(ops.exp, position=0, factor=1.01):
    ...     check_grad(lambda x: x.exp(), [1.0])
    Traceback (most recent call last):
    AssertionError: check_grad: derivative of order 1 with respect to input 0 is wrong: 1 of 1 elements differ...
    """
    original = op.vjps
    right = op.vjp(position)
    if right is None:
        raise ValueError(f"mutant: {op.name} has no VJP for the input at position {position}")

    def wrong(*args: Any, **params: Any) -> Any:
        return right(*args, **params) * factor

    def vjp_of(other: int) -> VJP | None:
        if other == position:
            return wrong
        if callable(original):
            return original(other)
        return original[other] if other < len(original) else None

    object.__setattr__(op, "vjps", vjp_of)
    try:
        yield
    finally:
        object.__setattr__(op, "vjps", original)
