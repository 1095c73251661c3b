"""Kinds of lines, by the loops that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinygrad_lab.autodiff import ops
from tinygrad_lab.program import Line, Value


class NoLoopFormError(NotImplementedError):
    """A line of a program cannot be written as loops, or the loops cannot be compiled.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> x = tl.Tensor(np.eye(2))
    >>> program = tl.capture(lambda: ({"y": np.linalg.eigvalsh(x).sum()}, {}), {"x": x}, {})
    >>> tl.write_source(program)
    Traceback (most recent call last):
    tinygrad_lab.codegen.kinds.NoLoopFormError: eigvalsh has no loop form: v0 = eigvalsh(x)
    """


class CompilerError(NoLoopFormError):
    """The compiler refuses the loops of a program: the expression of an op is at fault, not the step."""


def is_reduction(line: Line) -> bool:
    """Whether a line combines several elements into each element of its result."""
    if line.op is ops.matmul:
        return line.operands[0].array.shape[-1] != 1
    return line.op.reduction is not None and line.operands[0].array.shape != line.result.array.shape


def is_matrix_product(line: Line) -> bool:
    """Whether a line multiplies two matrices that are no rows or columns: for these, BLAS is faster than loops."""
    return line.op is ops.matmul and all(1 not in x.array.shape for x in line.operands)


def follow_views(
    x: Value, producers: Mapping[Value, Line], through: Callable[[Line], bool] = lambda line: line.op.view
) -> Value:
    """Return the value whose elements `x` shows, through all lines of one kind; by default, through views."""
    while x in producers and through(producers[x]):
        (x,) = producers[x].operands
    return x


def is_transpose(line: Line) -> bool:
    """Whether a line shows each element of its operand once and unchanged."""
    return line.op in (ops.transpose, ops.detach)
