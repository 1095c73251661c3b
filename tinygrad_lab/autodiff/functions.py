"""Functions of several tensors, composed of ops: matrix products, einsum, joining.

Like the ops, they build a graph when an operand is a Tensor, and compute with NumPy when all operands are arrays.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_lab.autodiff import ops


def _operand(x: Any) -> Any:
    """Return `x` if it is a Tensor, else make an array of it."""
    return x if hasattr(x, "__op__") else np.asarray(x)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return the elements of `a` where `condition` holds, and those of `b` elsewhere. The operands broadcast together.

    The gradient of an element goes to the operand that it came from. The other operand gets 0, even where the gradient is
    infinite.

    Parameters
    ----------
    condition : array_like or Tensor
        Of bool. Other numbers hold if they are not 0.
    a, b : array_like or Tensor

    Returns
    -------
    Tensor or ndarray

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> x = Tensor([-1.0, 2.0])
    >>> where(x > 0.0, x, 0.1 * x)
    Tensor([-0.1,  2. ])
    """
    return ops.where(condition, a, b)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two elements each. The operands broadcast together.

    Where two elements are equal, each gets half of the gradient.

    Parameters
    ----------
    a, b : array_like or Tensor

    Returns
    -------
    Tensor or ndarray

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> maximum(Tensor([-1.0, 2.0]), 0.0)
    Tensor([0., 2.])
    """
    return ops.maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two elements each. The operands broadcast together.

    Where two elements are equal, each gets half of the gradient.

    Parameters
    ----------
    a, b : array_like or Tensor

    Returns
    -------
    Tensor or ndarray

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> minimum(Tensor([-1.0, 2.0]), 0.0)
    Tensor([-1.,  0.])
    """
    return ops.minimum(a, b)


def matmul(a: Any, b: Any) -> Any:
    """Return the matrix product, by NumPy's rules for one, two and more axes.

    Parameters
    ----------
    a : array_like or Tensor, shape (n,) or (..., n, k)
    b : array_like or Tensor, shape (k,) or (..., k, m)

    Returns
    -------
    Tensor or ndarray

    Raises
    ------
    ValueError
        If an operand has no axes, or the inner lengths differ.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> matmul(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1.0, 1.0]))
    Tensor([3., 7.])
    """
    left, right = _operand(a), _operand(b)
    if not left.ndim or not right.ndim:
        raise ValueError(f"matmul: shapes {left.shape} and {right.shape}; each operand needs an axis, use * for scalars")
    rows = left if left.ndim > 1 else ops.reshape(left, shape=(1, *left.shape))
    columns = right if right.ndim > 1 else ops.reshape(right, shape=(*right.shape, 1))
    if rows.shape[-1] != columns.shape[-2]:
        raise ValueError(
            f"matmul: shapes {left.shape} and {right.shape} have inner lengths {rows.shape[-1]} and {columns.shape[-2]}"
        )
    if rows.shape[:-2] != columns.shape[:-2]:
        try:
            batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
        except ValueError:
            raise ValueError(f"matmul: the leading axes of {left.shape} and {right.shape} do not broadcast") from None
        rows = ops.broadcast_to(rows, shape=batch + rows.shape[-2:])
        columns = ops.broadcast_to(columns, shape=batch + columns.shape[-2:])
    product = ops.matmul(rows, columns)
    if left.ndim > 1 and right.ndim > 1:
        return product
    inner = (product.shape[-2],) * (left.ndim > 1) + (product.shape[-1],) * (right.ndim > 1)
    return ops.reshape(product, shape=product.shape[:-2] + inner)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Join tensors along an existing axis.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.])
    """
    parts = [_operand(x) for x in tensors]
    if not parts:
        raise ValueError("concatenate: got no tensors, expected at least one")
    shapes = [part.shape for part in parts]
    if any(len(shape) != len(shapes[0]) for shape in shapes):
        raise ValueError(f"concatenate: shapes {', '.join(map(str, shapes))} differ in their number of axes")
    axis = normalize_axis_index(axis, len(shapes[0])) - len(shapes[0])
    ops.concatenate.shape(*shapes, axis=axis)
    return ops.concatenate(*parts, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Join tensors of one shape along a new axis.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    parts = [_operand(x) for x in tensors]
    shapes = [part.shape for part in parts]
    if len(set(shapes)) > 1:
        raise ValueError(f"stack: shapes {', '.join(map(str, shapes))} differ, expected one")
    at = normalize_axis_index(axis, len(shapes[0]) + 1) if shapes else 0
    return concatenate([ops.reshape(part, shape=(*part.shape[:at], 1, *part.shape[at:])) for part in parts], at)


def einsum(subscripts: str, *operands: Any) -> Any:
    """Sum products of elements by Einstein's convention. The subscripts are NumPy's, with ellipsis and implicit result.

    All axes of one letter must have the same length: an axis of length 1 does not broadcast.

    Parameters
    ----------
    subscripts : str
        For example ``"ij,jk->ik"``.
    *operands : array_like or Tensor

    Returns
    -------
    Tensor or ndarray

    Raises
    ------
    ValueError
        If the subscripts do not fit the operands.

    Examples
    --------
    >>> from tinygrad_lab import Tensor
    >>> a = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> einsum("ij,kj->ik", a, a)
    Tensor([[ 5., 11.],
            [11., 25.]])
    >>> einsum("ii->", a)
    Tensor(5.)
    """
    tensors = [_operand(x) for x in operands]
    terms, result = _explicit_subscripts(subscripts, tensors)
    for position, term in enumerate(terms):
        for letter in dict.fromkeys(term):
            while terms[position].count(letter) > 1:  # a repeated letter means a diagonal
                tensors[position], terms[position] = _diagonal(tensors[position], terms[position], letter)
        elsewhere = result + "".join(terms[:position] + terms[position + 1 :])
        for letter in set(terms[position]) - set(elsewhere):  # an axis that is used nowhere else is summed
            tensors[position] = tensors[position].sum(terms[position].index(letter))
            terms[position] = terms[position].replace(letter, "")
    explicit = f"{','.join(terms)}->{result}"
    ops.einsum.shape(*[x.shape for x in tensors], subscripts=explicit)
    return ops.einsum(*tensors, subscripts=explicit)


def _explicit_subscripts(subscripts: str, tensors: Sequence[Any]) -> tuple[list[str], str]:
    """Replace the ellipsis by letters and add the result if it is implicit."""
    inputs, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(tensors):
        raise ValueError(f"einsum: {subscripts!r} has {len(terms)} terms for {len(tensors)} operands")
    if not arrow:
        letters = sorted(set(inputs) - set(",."))
        result = ("..." if "..." in inputs else "") + "".join(x for x in letters if inputs.count(x) == 1)
    free = [letter for letter in string.ascii_letters if letter not in subscripts]
    extra = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, tensors, strict=True)]
    dots = max((n for term, n in zip(terms, extra, strict=True) if "..." in term), default=0)
    spelled = [
        term.replace("...", "".join(free[dots - n : dots])) if n >= 0 else term for term, n in zip(terms, extra, strict=True)
    ]
    result = result.replace("...", "".join(free[:dots]))
    for term, x in zip(spelled, tensors, strict=True):
        if len(term) != x.ndim or not all(letter in string.ascii_letters for letter in term):
            raise ValueError(f"einsum: {subscripts!r} does not fit an operand of shape {x.shape}")
    if len(set(result)) < len(result) or not set(result) <= set("".join(spelled)):
        raise ValueError(f"einsum: the result of {subscripts!r} repeats a letter or has one that no operand has")
    return spelled, result


def _diagonal(x: Any, term: str, letter: str) -> tuple[Any, str]:
    """Take the diagonal of the first two axes named `letter`. It becomes the last axis."""
    first, second = [i for i, other in enumerate(term) if other == letter][:2]
    rest = [i for i in range(x.ndim) if i not in (first, second)]
    if x.shape[first] != x.shape[second]:
        raise ValueError(f"einsum: axis {letter!r} has lengths {x.shape[first]} and {x.shape[second]}")
    along = np.arange(x.shape[first])
    return x.transpose(*rest, first, second)[..., along, along], "".join(term[i] for i in rest) + letter
