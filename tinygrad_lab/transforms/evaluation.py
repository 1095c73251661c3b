"""The evaluation of a function that is to be differentiated, which all transforms share.

    arguments --copy--> variables --function--> value --pull back--> gradients, nested as the arguments

*When can a result be differentiated again?* When the value depends on a leaf outside: on an argument that requires a gradient,
since its copy is linked to it, or on a Tensor that the function closes over. Otherwise the results are constants. The variables
are no such leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.derivatives import filled
from tinygrad_lab.autodiff.functions import stack
from tinygrad_lab.autodiff.graph import Link, Pullback, depends_on_leaf, differentiating, linking, pull_back
from tinygrad_lab.autodiff.tensor import Tensor, named_tensor, starting_cotangent, vector_like, wrap
from tinygrad_lab.transforms.nests import leaves, rebuild

Argnums = int | Sequence[int] | None

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
class Evaluation:
    """A function that was run on variables.

    Forward mode is reverse mode applied twice: the pullback u -> uᵀJ is linear in u, and its own pullback takes v to Jv.

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
        if not callable(function):
            raise TypeError(f"{caller}: given a {type(function).__name__}, expected a function of Tensors")
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
        return filled(pull_back(outputs, cotangents, self.variables, create_graph=create_graph), self.variables)

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
        return filled(pull_back(rows, tangents, [u], create_graph=self.links(*tangents)), [u])[0]
