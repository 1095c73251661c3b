"""The gradient checker: it compares derivatives of any order with numerical ones, element by element.

    phi_1 = sum(u * f(x)), random u --grad--> phi_2 = sum(v * grad phi_1), random v --grad--> ...

The gradient of phi_k is checked for each k from 1 to the order.

*Where does the numerical derivative come from?* If every op is analytic, from a complex step: Im phi(x + ih) / h. It has no
subtraction, so h can be 1e-30 and the result is exact to rounding (Squire & Trapp, SIAM Review 40, 1998). Otherwise from a
central difference of sixth order. Its error is about 1e-12 of the function's scale, and it reads the function up to 0.3 %
away from each value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.derivatives import grad
from tinygrad_lab.autodiff.recording import record
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor, wrap
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.seeds import CHECK, stream

COMPLEX_STEP = 1e-30
RELATIVE_STEP = 1e-3
STENCIL = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
"""Steps and weights of the central difference: sum of w (phi(x + kh) - phi(x - kh)) / h."""


def check_grad(
    function: Callable[..., Tensor],
    *inputs: ArrayLike | Tensor,
    order: int = 2,
    rtol: float | None = None,
    elements: int = 64,
    seed: int = 0,
) -> float:
    """Check the derivatives of `function` with respect to each floating-point input.

    Parameters
    ----------
    function : callable
        Takes the inputs as Tensors, returns a Tensor of any shape. To check a layer, give its parameters as inputs too.
        The function may ignore these arguments and call the layer, because the check changes the values of these Tensors.
    *inputs : array_like or Tensor
        The point at which to check. Keep away from kinks and from the edges of the domain.
    order : int
        The highest order of derivative to check.
    rtol : float, optional
        The error allowed, relative to the largest derivative with respect to that input. By default 1e-8 for float64 and
        1e-4 for float32, whose numerical derivatives are computed in float64.
    elements : int
        How many elements of an input to check. A larger input has this many chosen at random.
    seed : int
        The seed of the random weights and choices.

    Returns
    -------
    float
        The largest relative error.

    Raises
    ------
    AssertionError
        If a derivative differs. The message names the order, the ops, the input, the index and both numbers.

    Examples
    --------
    >>> check_grad(lambda x: (x * x).sum(), [1.0, 2.0], order=2) < 1e-14
    True
    """
    if not is_positive_integer(order):
        raise ValueError(f"check_grad: order is {order!r}, expected a positive integer")
    rng = np.random.default_rng(stream(seed, CHECK))  # not the numbers of inputs drawn from default_rng(seed)
    tensors = [_variable(x) for x in inputs]
    variables = [x for x in tensors if x.requires_grad]
    if not variables:
        raise ValueError("check_grad: no input is floating-point, so there is nothing to differentiate")
    if rtol is None:
        rtol = 1e-4 if any(x.dtype == np.float32 for x in variables) else 1e-8

    output_weights = _random_weights(rng, as_tensor(function(*tensors)).shape)
    gradient_weights = [[_random_weights(rng, x.shape) for x in variables] for _ in range(order - 1)]

    def objective(k: int) -> Tensor:
        phi = _weighted(output_weights, as_tensor(function(*tensors)))
        for weights in gradient_weights[: k - 1]:
            if not phi.requires_grad:
                return wrap(np.zeros((), phi.dtype))
            slopes = grad(phi, variables, create_graph=True)
            parts = [_weighted(w, slope) for w, slope in zip(weights, slopes, strict=True)]
            phi = sum(parts[1:], parts[0])
        return phi

    return max(_check_order(objective, k, variables, rtol, elements, rng) for k in range(1, order + 1))


def _variable(x: ArrayLike | Tensor) -> Tensor:
    if isinstance(x, Tensor) and x.requires_grad:
        return x
    tensor = Tensor(x)
    return Tensor(x, requires_grad=True) if tensor.dtype.kind == "f" else tensor


def _random_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw weights of both signs that are not near 0, so that an error in any element has an effect."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def _weighted(weights: np.ndarray, x: Tensor) -> Tensor:
    return (x * wrap(weights.astype(x.dtype))).sum()


def _check_order(
    objective: Callable[[int], Tensor],
    k: int,
    variables: Sequence[Tensor],
    rtol: float,
    elements: int,
    rng: np.random.Generator,
) -> float:
    phi = objective(k)
    analytic = [slope.numpy() for slope in grad(phi, variables)] if phi.requires_grad else None
    rounding = 1e2 * max(np.finfo(x.dtype).eps for x in variables)  # of the analytic derivative
    with _in_double(variables):
        with record() as recording:
            scale = abs(objective(k).item())
        names = list(dict.fromkeys(line.op.name for line in recording.lines))
        complex_step = all(line.op.analytic for line in recording.lines)
        derivative = _complex_step if complex_step else _central_difference
        noise = (1.0 + scale) * (rounding + (0.0 if complex_step else 1e2 * np.finfo(np.float64).eps / RELATIVE_STEP))

        worst = 0.0
        for position, x in enumerate(variables):
            indices = list(np.ndindex(x.shape))
            if len(indices) > elements:
                indices = [indices[i] for i in sorted(rng.choice(len(indices), elements, replace=False))]
            numeric = np.array([derivative(lambda: objective(k), x, index) for index in indices])
            given = np.array([0.0 if analytic is None else analytic[position][index] for index in indices], np.float64)
            size = max(np.abs(numeric).max(initial=0.0), np.abs(given).max(initial=0.0))
            errors = np.abs(given - numeric)
            if not (errors <= rtol * size + noise).all():
                i = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
                raise AssertionError(
                    f"check_grad: derivative of order {k} of {', '.join(names)} with respect to input {position} "
                    f"at index {indices[i]}: analytic {given[i]:.17g}, {derivative.__name__.strip('_').replace('_', ' ')} "
                    f"{numeric[i]:.17g}, error {errors[i]:.3g} where {rtol * size + noise:.3g} is allowed; "
                    f"the input's value there is {x.data[indices[i]]!r}"
                )
            worst = max(worst, float(errors.max(initial=0.0) / size) if size else 0.0)
    return worst


@contextmanager
def _in_double(variables: Sequence[Tensor]) -> Iterator[None]:
    """Convert the variables to float64 inside a block."""
    with ExitStack() as stack:
        for x in variables:
            stack.enter_context(x._holding(x._array.astype(np.float64)))
        yield


def _shifted(objective: Callable[[], Tensor], x: Tensor, index: tuple[int, ...], step: complex) -> Any:
    array = x._array.astype(np.result_type(x._array, type(step)))
    array[index] += step
    with x._holding(array):
        return objective().item()


def _complex_step(objective: Callable[[], Tensor], x: Tensor, index: tuple[int, ...]) -> float:
    return float(_shifted(objective, x, index, complex(0.0, COMPLEX_STEP)).imag / COMPLEX_STEP)


def _central_difference(objective: Callable[[], Tensor], x: Tensor, index: tuple[int, ...]) -> float:
    h = RELATIVE_STEP * (abs(float(x._array[index])) + 0.1)
    return sum(
        weight * (_shifted(objective, x, index, k * h) - _shifted(objective, x, index, -k * h)) / h for k, weight in STENCIL
    )
