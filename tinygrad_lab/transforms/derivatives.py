"""Derivatives of functions, whole: the gradient, the Jacobian, the Hessian.

f --value_and_grad--> x -> (f(x), gradient)        f --jacobian--> x -> J        f --hessian--> x -> H
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor, vector_like
from tinygrad_lab.transforms.evaluation import Argnums, Evaluation


def value_and_grad(
    function: Callable[..., Any], argnums: Argnums = None, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Make a function that returns the value of `function` and its gradients.

    Parameters
    ----------
    function : callable
        Returns a Tensor of one element. Its arguments are array_likes, or lists, tuples and dicts of arrays, however nested.
    argnums : int or sequence of int, optional
        The arguments to differentiate with respect to. Other arguments are passed on as they are.
    has_aux : bool
        Whether `function` returns a pair (value, aux). The new function then returns ((value, aux), gradients).

    Returns
    -------
    callable
        The gradients are nested as the arguments: a list with those of all arguments by default, those of one argument if
        `argnums` is an int, a tuple if it is a sequence.

    Examples
    --------
    >>> value, (dx, dy) = value_and_grad(lambda x, y: x * y)(2.0, 5.0)
    >>> value.item(), dx.item(), dy.item()
    (10.0, 5.0, 2.0)
    >>> layer = {"weight": np.array([1.0, 2.0]), "bias": np.array(3.0)}
    >>> value_and_grad(lambda p, x: (p["weight"] * x).sum() + p["bias"], argnums=0)(layer, 10.0)
    (Tensor(33.), {'weight': Tensor([10., 10.]), 'bias': Tensor(1.)})
    """

    def wrapped(*arguments: Any) -> tuple[Any, Any]:
        run = Evaluation("value_and_grad", function, arguments, argnums, has_aux)
        slopes = run.slopes(create_graph=run.links())
        return run.with_aux(run.outside(run.value)), run.nest(slopes)

    return wrapped


def elementwise_grad(function: Callable[..., Tensor], argnums: int = 0) -> Callable[..., Any]:
    """Make a function that returns the derivative of an elementwise `function` at each element of an argument.

    Raises
    ------
    ValueError
        If an element of the result depends on another element of the argument.

    Examples
    --------
    >>> slope = elementwise_grad(lambda x: x**3)
    >>> slope([1.0, 2.0]), elementwise_grad(slope)([1.0, 2.0])
    (Tensor([ 3., 12.]), Tensor([ 6., 12.]))
    """

    def wrapped(*arguments: Any) -> Any:
        run = Evaluation("elementwise_grad", function, arguments, argnums)
        shape = run.value.shape
        ramp = 1.0 + np.arange(run.value.size).reshape(shape)
        cotangents = [vector_like("elementwise_grad: the cotangent", u, run.value) for u in (np.ones(shape), ramp)]
        slopes = run.gradients([run.value], cotangents[:1], create_graph=run.links())
        # In each column of a diagonal Jacobian J, only one element of u counts: uᵀJ = u * 1ᵀJ.
        weighted = run.gradients([run.value], cotangents[1:], create_graph=False)
        for x, slope, other in zip(run.variables, slopes, weighted, strict=True):
            tolerance = 1e2 * np.finfo(x.dtype).eps
            size = np.abs(other._array, where=np.isfinite(other._array), out=np.zeros(x.shape)).max(initial=0.0)
            if x.shape != shape or not np.allclose(
                other._array, ramp * slope._array, rtol=tolerance, atol=tolerance * size, equal_nan=True
            ):
                raise ValueError(
                    f"elementwise_grad: an argument of shape {x.shape} gives a value of shape {shape} whose elements "
                    "depend on several of its elements, expected one each; use jacobian"
                )
        return run.nest(slopes)

    return wrapped


def jacobian(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Make a function that returns the Jacobian of `function`, of shape (*output.shape, *input.shape).

    Parameters
    ----------
    function : callable
    argnums, has_aux
        As for `value_and_grad`. With `has_aux`, the new function returns (Jacobian, aux).

    Examples
    --------
    >>> jacobian(lambda x: x * x)([1.0, 2.0])
    Tensor([[2., 0.],
            [0., 4.]])
    >>> jacobian(lambda x, y: x * y, argnums=(0, 1))(2.0, 5.0)
    (Tensor(5.), Tensor(2.))
    """

    def wrapped(*arguments: Any) -> Any:
        run = Evaluation("jacobian", function, arguments, argnums, has_aux)
        return run.with_aux(run.nest(run.jacobians(run.value, create_graph=run.links())))

    return wrapped


def hessian(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Make a function that returns the Hessian of the scalar `function`, of shape (*input.shape, *input.shape).

    Parameters
    ----------
    function : callable
    argnums, has_aux
        As for `jacobian`. For several inputs, ``result[i][j]`` has shape (*inputs[i].shape, *inputs[j].shape).

    Examples
    --------
    >>> hessian(lambda x: x[0] * x[1] * x[1])([2.0, 3.0])
    Tensor([[0., 6.],
            [6., 4.]])
    """

    def wrapped(*arguments: Any) -> Any:
        run = Evaluation("hessian", function, arguments, argnums, has_aux)
        linked = run.links()
        rows = [run.nest(run.jacobians(slope, linked)) for slope in run.slopes(create_graph=True)]
        return run.with_aux(run.nest(rows))

    return wrapped
