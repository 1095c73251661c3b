"""Derivatives of functions of Tensors: gradients of any order, Jacobians, Hessians, and products with them.

    f, x --run f--> y --grad(create_graph=True)--> dy/dx, itself a function of x --grad--> d²y/dx² --> ...

All of these use reverse mode. *How does reverse mode give a Jacobian-vector product?* By applying it twice. The pullback
u -> uᵀJ is linear in u. Its own pullback takes v to Jv, for any u.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.functions import stack
from tinygrad_lab.autodiff.graph import pull_back, set_linking
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor, starting_cotangent, wrap


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
    loss: Tensor, wrt: Sequence[Tensor], create_graph: bool = False, cotangent: ArrayLike | Tensor | None = None
) -> list[Tensor]:
    """Return the gradients of `loss` with respect to each tensor of `wrt`.

    Parameters
    ----------
    loss : Tensor
        One element, unless `cotangent` is given.
    wrt : sequence of Tensor
        Tensors that require a gradient: leaves, or results that `loss` was computed from.
    create_graph : bool
        Whether the gradients can be differentiated again.
    cotangent : array_like, optional
        Weights of the elements of `loss`, of the same shape. The gradient is that of ``(cotangent * loss).sum()``.

    Returns
    -------
    list of Tensor
        Each has the shape and dtype of its tensor in `wrt`; zeros if `loss` does not depend on that tensor.

    Raises
    ------
    ValueError
        If `loss` or a tensor of `wrt` requires no gradient, or if `loss` has more than one element and no cotangent is given.

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
    if isinstance(wrt, Tensor):
        raise TypeError("grad: wrt is a Tensor, expected a list of Tensors: [wrt]")
    start = starting_cotangent("grad", loss, cotangent)
    for position, tensor in enumerate(wrt):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"grad: wrt[{position}] is {tensor!r}, expected a Tensor")
        if not tensor.requires_grad:
            raise ValueError(f"grad: wrt[{position}] has requires_grad=False, so nothing was recorded about it")
    return _filled(pull_back(loss, start, wrt, create_graph=create_graph), wrt)


def _filled(gradients: Sequence[Tensor | None], wrt: Sequence[Tensor]) -> list[Tensor]:
    return [wrap(np.zeros_like(x._array)) if g is None else g for g, x in zip(gradients, wrt, strict=True)]


def _run(function: Callable[..., Tensor], inputs: Sequence[ArrayLike | Tensor]) -> tuple[Tensor, list[Tensor], bool]:
    """Run `function` on copies of `inputs` that require a gradient.

    Returns
    -------
    value : Tensor
    variables : list of Tensor
        The copies. The copy of an input that requires a gradient is linked to it.
    linked : bool
        Whether an input required a gradient. If so, the caller returns derivatives that can be differentiated again.
        Otherwise it returns constants.
    """
    variables = []
    for x in inputs:
        tensor = as_tensor(x)
        variable = tensor * 1.0 if tensor.requires_grad else tensor.detach()
        if not variable.requires_grad:
            variable.requires_grad = True
        variables.append(variable)
    return as_tensor(function(*variables)), variables, any(_is_linked(x) for x in inputs)


def _is_linked(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def value_and_grad(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, list[Tensor]]]:
    """Make a function that returns the value of `function` and its gradients with respect to each argument.

    Examples
    --------
    >>> value, (dx, dy) = value_and_grad(lambda x, y: x * y)(2.0, 5.0)
    >>> value.item(), dx.item(), dy.item()
    (10.0, 5.0, 2.0)
    """

    def wrapped(*inputs: ArrayLike | Tensor) -> tuple[Tensor, list[Tensor]]:
        value, variables, linked = _run(function, inputs)
        return value if linked else value.detach(), grad(value, variables, create_graph=linked)

    return wrapped


def vjp(function: Callable[..., Tensor], *inputs: ArrayLike | Tensor) -> tuple[Tensor, Callable[..., list[Tensor]]]:
    """Return the value of `function` at `inputs`, and a function that maps a cotangent u of the value to uᵀJ of each input.

    Examples
    --------
    >>> y, pullback = vjp(lambda x: x * x, [1.0, 2.0])
    >>> pullback([1.0, 10.0])
    [Tensor([ 2., 40.])]
    """
    value, variables, linked = _run(function, inputs)

    def pullback(cotangent: ArrayLike | Tensor) -> list[Tensor]:
        return grad(value, variables, create_graph=linked or _is_linked(cotangent), cotangent=cotangent)

    return value if linked else value.detach(), pullback


def jvp(function: Callable[..., Tensor], inputs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Return the value of `function` at `inputs`, and its derivative Jv in the direction v, the `tangents` of the inputs.

    Examples
    --------
    >>> value, slope = jvp(lambda x: x.exp(), [0.0], [2.0])
    >>> value.item(), slope.item()
    (1.0, 2.0)
    """
    value, variables, linked = _run(function, inputs)
    linked = linked or any(_is_linked(tangent) for tangent in tangents)
    zeros = Tensor(np.zeros_like(value._array))
    if not value.requires_grad:
        return value, zeros
    u = Tensor(zeros, requires_grad=True)
    pulled = _filled(pull_back(value, u, variables, create_graph=True), variables)  # uᵀJ, linear in u
    slope = zeros
    for row, tangent in zip(pulled, tangents, strict=True):
        if row.requires_grad:
            slope = slope + grad(row, [u], create_graph=linked, cotangent=tangent)[0]
    return value if linked else value.detach(), slope


def hvp(function: Callable[[Tensor], Tensor], x: ArrayLike | Tensor, v: ArrayLike | Tensor) -> Tensor:
    """Return the product of the Hessian of the scalar `function` at `x` with `v`, without computing the Hessian.

    It is the gradient of gᵀv, where g is the gradient (Pearlmutter, Neural Computation 6, 1994).

    Examples
    --------
    >>> hvp(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 1.0])
    Tensor([ 6., 12.])
    """
    value, (variable,), linked = _run(function, [x])
    slope = grad(value, [variable], create_graph=True)[0] if value.requires_grad else value
    if not slope.requires_grad:  # the function is linear, so its Hessian is 0
        return Tensor(np.zeros_like(variable._array))
    return grad(slope, [variable], create_graph=linked or _is_linked(v), cotangent=v)[0]


def jacobian(function: Callable[[Tensor], Tensor]) -> Callable[[ArrayLike | Tensor], Tensor]:
    """Make a function that returns the Jacobian of `function`, of shape (*output.shape, *input.shape).

    Examples
    --------
    >>> jacobian(lambda x: x * x)([1.0, 2.0])
    Tensor([[2., 0.],
            [0., 4.]])
    """

    def wrapped(x: ArrayLike | Tensor) -> Tensor:
        value, (variable,), linked = _run(function, [x])
        if not value.requires_grad or not value.size:
            return Tensor(np.zeros(value.shape + variable.shape, variable.dtype))
        units = np.eye(value.size, dtype=value.dtype).reshape(value.size, *value.shape)
        rows = [grad(value, [variable], create_graph=linked, cotangent=unit)[0] for unit in units]
        return stack(rows).reshape(value.shape + variable.shape)

    return wrapped


def hessian(function: Callable[[Tensor], Tensor]) -> Callable[[ArrayLike | Tensor], Tensor]:
    """Make a function that returns the Hessian of the scalar `function`, of shape (*input.shape, *input.shape).

    Examples
    --------
    >>> hessian(lambda x: x[0] * x[1] * x[1])([2.0, 3.0])
    Tensor([[0., 6.],
            [6., 4.]])
    """

    def gradient(x: Tensor) -> Tensor:
        value = function(x)
        return grad(value, [x], create_graph=True)[0] if value.requires_grad else Tensor(np.zeros_like(x._array))

    return jacobian(gradient)
