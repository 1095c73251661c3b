"""Products of vectors with derivatives of functions, without the whole matrices.

vjp: u -> uᵀJ        jvp: v -> Jv        hvp: v -> Hv        gnvp: v -> JᵀHJv
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.tensor import Tensor, vector_like
from tinygrad_lab.transforms.evaluation import Evaluation


def vjp(function: Callable[..., Tensor], *inputs: Any) -> tuple[Tensor, Callable[[ArrayLike | Tensor], list[Any]]]:
    """Return the value of `function` at `inputs`, and a function that maps a cotangent u of the value to uᵀJ of each input.

    Examples
    --------
    >>> y, pullback = vjp(lambda x: x * x, [1.0, 2.0])
    >>> pullback([1.0, 10.0])
    [Tensor([ 2., 40.])]
    """
    run = Evaluation("vjp", function, inputs, None)

    def pullback(cotangent: ArrayLike | Tensor) -> list[Any]:
        u = vector_like("vjp: the cotangent", cotangent, run.value)
        return list(run.nest(run.gradients([run.value], [u], create_graph=run.links(u))))

    return run.outside(run.value), pullback


def jvp(function: Callable[..., Tensor], inputs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Return the value of `function` at `inputs`, and its derivative Jv in the direction v, the `tangents` of the inputs.

    Examples
    --------
    >>> value, slope = jvp(lambda x: x.exp(), [0.0], [2.0])
    >>> value.item(), slope.item()
    (1.0, 2.0)
    """
    for name, given in (("inputs", inputs), ("tangents", tangents)):
        if not isinstance(given, (list, tuple)):
            raise TypeError(
                f"jvp: {name} is a value of type {type(given).__name__}, expected a list with one for each argument"
            )
    run = Evaluation("jvp", function, inputs, None)
    return run.outside(run.value), run.push(run.vectors("tangent", tangents))


def hvp(function: Callable[[Any], Tensor], x: Any, v: Any) -> Any:
    """Return the product of the Hessian of the scalar `function` at `x` with `v`, without computing the Hessian.

    It is the gradient of gᵀv, where g is the gradient (Pearlmutter, Neural Computation 6, 1994).

    Examples
    --------
    >>> hvp(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 1.0])
    Tensor([ 6., 12.])
    """
    run = Evaluation("hvp", function, [x], 0)
    vectors = run.vectors("v", [v])
    return run.nest(run.gradients(run.slopes(create_graph=True), vectors, create_graph=run.links(*vectors)))


def gnvp(model: Callable[[Any], Tensor], loss: Callable[[Tensor], Tensor], x: Any, v: Any) -> Any:
    """Return the Gauss-Newton vector product JᵀHJv for ``loss(model(x))``.

    J is the Jacobian of `model` at `x`, and H is the Hessian of `loss` at the value of the model. If `loss` is convex, the
    matrix JᵀHJ has no negative eigenvalues, unlike the Hessian (Schraudolph, Neural Computation 14, 2002).

    Examples
    --------
    >>> gnvp(lambda w: w**2, lambda y: 0.5 * (y * y).sum(), [1.0, 3.0], [1.0, 1.0])
    Tensor([ 4., 36.])
    """
    run = Evaluation("gnvp", model, [x], 0)
    product = hvp(loss, run.outside(run.value), run.push(run.vectors("v", [v])))
    return run.nest(run.gradients([run.value], [product], create_graph=run.links(product)))
