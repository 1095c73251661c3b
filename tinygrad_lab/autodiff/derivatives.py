"""Derivatives of functions of Tensors: gradients of any order, Jacobians, Hessians, and products with them.

    f, x --run f--> y --grad(create_graph=True)--> dy/dx, itself a function of x --grad--> d²y/dx² --> ...

All of these use reverse mode. *How does reverse mode give a Jacobian-vector product?* By applying it twice. The pullback
u -> uᵀJ is linear in u. Its own pullback takes v to Jv, for any u.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.functions import stack
from tinygrad_lab.autodiff.graph import Link, Pullback, depends_on_leaf, differentiating, linking, pull_back, set_linking
from tinygrad_lab.autodiff.nests import leaves, rebuild
from tinygrad_lab.autodiff.tensor import Tensor, check_has_graph, named_tensor, starting_cotangent, vector_like, wrap

Argnums = int | Sequence[int] | None


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
    wrt: Sequence[Tensor],
    create_graph: bool | None = None,
    cotangent: ArrayLike | Tensor | None = None,
    unused: Literal["raise", "zeros", "none"] = "raise",
) -> list[Tensor]:
    """Return the gradients of `loss` with respect to each tensor of `wrt`.

    Parameters
    ----------
    loss : Tensor
        One element, unless `cotangent` is given.
    wrt : sequence of Tensor
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
    if isinstance(wrt, Tensor):
        raise TypeError("grad: wrt is a Tensor, expected a list of Tensors: [wrt]")
    if unused not in ("raise", "zeros", "none"):
        raise ValueError(f"grad: unused is {unused!r}, expected 'raise', 'zeros' or 'none'")
    check_has_graph("grad", loss)
    start = starting_cotangent("grad", loss, cotangent)
    for position, tensor in enumerate(wrt):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"grad: wrt[{position}] is {tensor!r}, expected a Tensor")
        if not tensor.requires_grad:
            raise ValueError(f"grad: wrt[{position}] has requires_grad=False, so nothing was recorded about it")
    create_graph = bool(linking.block) and linking.enabled if create_graph is None else create_graph
    gradients = pull_back([loss], [start], wrt, create_graph=create_graph)
    missing = [f"wrt[{position}]" for position, g in enumerate(gradients) if g is None]
    if missing and unused == "raise":
        raise ValueError(
            f"grad: the loss does not depend on {', '.join(missing)}, or not through a graph; "
            "leave that out, or give unused='zeros' or unused='none'"
        )
    return gradients if unused == "none" else _filled(gradients, wrt)


def _filled(gradients: Sequence[Tensor | None], wrt: Sequence[Tensor]) -> list[Tensor]:
    return [wrap(np.zeros_like(x._array)) if g is None else g for g, x in zip(gradients, wrt, strict=True)]


# Functions of arrays -------------------------------------------------------------------------------------------------
#
# All of these run their function on variables, which are copies of its arguments. *When can a result be differentiated
# again?* When the value depends on a leaf outside: on an argument that requires a gradient, since its copy is linked to it, or
# on a Tensor that the function closes over. Otherwise the results are constants. The variables are no such leaves.

_ARGUMENT = Pullback("argument", lambda _, inputs: inputs)
"""The origin of a variable after its function has run: from then on it is no leaf."""


def _variable(name: str, x: ArrayLike | Tensor) -> Tensor:
    tensor = named_tensor(name, x)
    if tensor.dtype.kind not in "fc":
        raise TypeError(f"{name} has dtype {tensor.dtype}, expected floating-point numbers; give floats")
    variable = tensor * 1.0 if tensor.requires_grad else tensor.detach()
    if not variable.requires_grad:
        variable.requires_grad = True
    return variable


def _positions(caller: str, argnums: Argnums, count: int) -> list[int]:
    """Return the chosen positions among `count` arguments, counted from the left."""
    given = np.atleast_1d(np.arange(count) if argnums is None else np.array(argnums))
    positions = [int(i) % max(count, 1) for i in given if given.dtype.kind == "i" and -count <= i < count]
    if len({*positions}) < given.size:
        raise ValueError(f"{caller}: argnums is {argnums}, expected distinct positions among {count} arguments")
    return positions


@final
class _Evaluation:
    """A function that was run on variables.

    Parameters
    ----------
    caller : str
        The name for error messages.
    function : callable
    arguments : sequence
        Array_likes, Tensors, and nests of these.
    argnums : int, sequence of int or None
        The arguments that become variables; None means all. Other arguments are passed on as they are.
    has_aux : bool
        Whether the function returns a pair: the value, and something else to pass on.

    Attributes
    ----------
    value : Tensor
    variables : list of Tensor
        The leaves of the copied arguments.
    """

    def __init__(
        self, caller: str, function: Callable[..., Any], arguments: Sequence[Any], argnums: Argnums, has_aux: bool = False
    ) -> None:
        self._caller = caller
        self._argnums = argnums
        self._has_aux = has_aux
        self._outside = linking.enabled
        positions = _positions(caller, argnums, len(arguments))
        self._chosen = [arguments[i] for i in positions]
        self.variables: list[Tensor] = []
        copies = list(arguments)
        for i in positions:
            found = leaves(f"{caller}: argument {i}", arguments[i], arguments[i])
            self.variables += [_variable(name, x) for name, x in found]
            copies[i] = rebuild(arguments[i], iter(self.variables[-len(found) :]))

        with differentiating(caller):
            result = function(*copies)
        is_pair = isinstance(result, tuple) and len(result) == 2
        self.value: Tensor
        self._aux: Any
        self.value, self._aux = result if has_aux and is_pair else (result, None)
        if (has_aux and not is_pair) or not isinstance(self.value, Tensor):
            name = getattr(function, "__qualname__", repr(function))
            expected = "a tuple (Tensor, aux)" if has_aux else "a Tensor"
            raise TypeError(f"{caller}: {name} returned a value of type {type(result).__name__}, expected {expected}")
        for variable in self.variables:
            if variable._link is None:
                variable._link = Link(_ARGUMENT, (), (), {})

    def links(self, *others: Tensor) -> bool:
        """Whether derivatives at this value, multiplied with other Tensors, can be differentiated again."""
        return self._outside and linking.enabled and any(map(depends_on_leaf, (self.value, *others)))

    def vectors(self, name: str, vectors: Sequence[Any]) -> list[Tensor]:
        """Return the leaves of tangents, which have the nesting and the shapes of the arguments."""
        if len(vectors) != len(self._chosen):
            raise ValueError(f"{self._caller}: {len(vectors)} {name}s for {len(self._chosen)} arguments, expected one for each")
        found = [
            leaf
            for i, (vector, x) in enumerate(zip(vectors, self._chosen, strict=True))
            for leaf in leaves(f"{self._caller}: {name} {i}", vector, x)
        ]
        return [vector_like(place, vector, x) for (place, vector), x in zip(found, self.variables, strict=True)]

    def nest(self, tensors: Iterable[Any]) -> Any:
        """Return one object for each variable in the nesting of the arguments."""
        values = iter(tensors)
        nests = [rebuild(x, values) for x in self._chosen]
        if self._argnums is None:
            return nests
        return nests[0] if np.ndim(self._argnums) == 0 else tuple(nests)

    def outside(self, x: Any) -> Any:
        """Return a Tensor from inside the function as its caller gets it: a constant unless it depends on a leaf outside."""
        return x.detach() if isinstance(x, Tensor) and not (self._outside and depends_on_leaf(x)) else x

    def with_aux(self, result: Any) -> Any:
        """Return `result`, with what else the function returned if there is such."""
        if not self._has_aux:
            return result
        return result, rebuild(self._aux, (self.outside(x) for _, x in leaves("aux", self._aux, self._aux)))

    def gradients(self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
        """Return the gradients with respect to the variables, zeros where there is none."""
        return _filled(pull_back(outputs, cotangents, self.variables, create_graph=create_graph), self.variables)

    def slopes(self, create_graph: bool) -> list[Tensor]:
        """Return the gradients of the value, which has one element."""
        return self.gradients([self.value], [starting_cotangent(self._caller, self.value, None)], create_graph)

    def jacobians(self, output: Tensor, create_graph: bool) -> list[Tensor]:
        """Return the Jacobian of a result with respect to each variable, computed row by row."""
        units = np.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
        rows = [self.gradients([output], [wrap(unit)], create_graph) for unit in units]
        columns = zip(*rows, strict=True) if rows else ([] for _ in self.variables)
        shapes = [output.shape + x.shape for x in self.variables]
        return [
            stack(column).reshape(shape) if column else wrap(np.zeros(shape, x.dtype))
            for column, shape, x in zip(columns, shapes, self.variables, strict=True)
        ]

    def push(self, tangents: Sequence[Tensor]) -> Tensor:
        """Return Jv, the derivative of the value in the direction of the `tangents` of the variables."""
        u = wrap(np.zeros_like(self.value._array), Link(_ARGUMENT, (), (), {}))
        rows = self.gradients([self.value], [u], create_graph=True)  # uᵀJ, linear in u
        return _filled(pull_back(rows, tangents, [u], create_graph=self.links(*tangents)), [u])[0]


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
        run = _Evaluation("value_and_grad", function, arguments, argnums, has_aux)
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
        run = _Evaluation("elementwise_grad", function, arguments, argnums)
        ones, ramp = (
            np.broadcast_to(x, run.value.size).reshape(run.value.shape) for x in (1.0, np.arange(run.value.size) + 1.0)
        )
        slopes = run.gradients([run.value], [vector_like("", ones, run.value)], create_graph=run.links())
        # In each column of a diagonal Jacobian J, only one element of u counts: uᵀJ = u * 1ᵀJ.
        weighted = run.gradients([run.value], [vector_like("", ramp, run.value)], create_graph=False)
        for x, slope, other in zip(run.variables, slopes, weighted, strict=True):
            if x.shape != run.value.shape or not np.allclose(
                other._array, ramp * slope._array, rtol=1e2 * np.finfo(x.dtype).eps, equal_nan=True
            ):
                raise ValueError(
                    f"elementwise_grad: an argument of shape {x.shape} gives a value of shape {run.value.shape} whose elements "
                    "depend on several of its elements, expected one each; use jacobian"
                )
        return run.nest(slopes)

    return wrapped


def vjp(function: Callable[..., Tensor], *inputs: Any) -> tuple[Tensor, Callable[[ArrayLike | Tensor], list[Any]]]:
    """Return the value of `function` at `inputs`, and a function that maps a cotangent u of the value to uᵀJ of each input.

    Examples
    --------
    >>> y, pullback = vjp(lambda x: x * x, [1.0, 2.0])
    >>> pullback([1.0, 10.0])
    [Tensor([ 2., 40.])]
    """
    run = _Evaluation("vjp", function, inputs, None)

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
    run = _Evaluation("jvp", function, inputs, None)
    return run.outside(run.value), run.push(run.vectors("tangent", tangents))


def hvp(function: Callable[[Any], Tensor], x: Any, v: Any) -> Any:
    """Return the product of the Hessian of the scalar `function` at `x` with `v`, without computing the Hessian.

    It is the gradient of gᵀv, where g is the gradient (Pearlmutter, Neural Computation 6, 1994).

    Examples
    --------
    >>> hvp(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 1.0])
    Tensor([ 6., 12.])
    """
    run = _Evaluation("hvp", function, [x], 0)
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
    run = _Evaluation("gnvp", model, [x], 0)
    product = hvp(loss, run.outside(run.value), run.push(run.vectors("v", [v])))
    return run.nest(run.gradients([run.value], [product], create_graph=run.links(product)))


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
        run = _Evaluation("jacobian", function, arguments, argnums, has_aux)
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
        run = _Evaluation("hessian", function, arguments, argnums, has_aux)
        linked = run.links()
        rows = [run.nest(run.jacobians(slope, linked)) for slope in run.slopes(create_graph=True)]
        return run.with_aux(run.nest(rows))

    return wrapped
