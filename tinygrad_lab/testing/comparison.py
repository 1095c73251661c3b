"""The comparison of derivatives with numerical ones, element by element, for any order.

    F_1 = f(x), phi_1 = u·F_1 with random u --grad--> F_2 = grad phi_1, phi_2 = v·F_2 with random v --grad--> ...

The gradient of phi_k is compared for each k from 1 to the order.

*Where does the numerical derivative come from?* If every op is analytic, from a complex step: Im phi(x + ih) / h. It has no
subtraction, so h can be 1e-30 and the result is exact to rounding (Squire & Trapp, SIAM Review 40, 1998). Otherwise from a
central difference of sixth order. Its error is about 1e-12 of the function's scale, and it reads the function up to 0.3 %
away from each value.

*What is right at a kink?* Any subgradient: a number between the slopes from the left and from the right. This is judged for
each component of F_k alone, because weights of both signs would mix the subgradients of different components. The gradient
jumps at a kink, so an element with a kink has no derivatives of higher order, and they are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.derivatives import grad
from tinygrad_lab.autodiff.functions import concatenate
from tinygrad_lab.autodiff.recording import RecordedOp, record
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.testing.slopes import slopes

COMPLEX_STEP = 1e-30
RELATIVE_STEP = 1e-3
STENCIL = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
"""Steps and weights of the central difference: sum of w (phi(x + kh) - phi(x - kh)) / h."""

Index = tuple[int, ...]
Objective = Callable[[], Tensor]


@dataclass(frozen=True)
class Kink:
    """A point where the slopes from the left and from the right differ, and the analytic value lies between them."""

    order: int
    input: int
    index: Index
    left: float
    right: float
    analytic: float


@dataclass(frozen=True)
class Mismatch:
    """An analytic derivative that differs from the numerical one. `index` is None for the sum of all elements."""

    input: int
    index: Index | None
    value: float
    analytic: float
    numerical: str
    error: float
    allowed: float


@dataclass
class Comparison:
    """What a comparison found, up to the first order with a mismatch.

    Attributes
    ----------
    order : int
        The last order that was compared.
    worst : float
        The largest error, relative to the largest derivative with respect to that input.
    compared : int
        The number of elements that were compared at that order.
    method : str
    kinks : list of Kink
    mismatches : list of Mismatch
    lines : list of RecordedOp
        The ops of the last order.
    """

    order: int = 0
    worst: float = 0.0
    compared: int = 0
    method: str = ""
    kinks: list[Kink] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    lines: list[RecordedOp] = field(default_factory=list)


class Comparer:
    """Compares the derivatives of a function with numerical ones.

    Parameters
    ----------
    function : callable
    tensors : sequence of Tensor
        Its inputs. The derivatives are those with respect to each that requires a gradient.
    rtol : float or None
    elements : int
        How many elements of an input to compare.
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        rtol: float | None,
        elements: int,
        rng: np.random.Generator,
    ) -> None:
        self._function = function
        self._tensors = tensors
        self._variables = [x for x in tensors if x.requires_grad]
        self._arrays = [x._array for x in tensors]
        self._coarsest = max(np.finfo(x.dtype).eps for x in self._variables)
        self._rtol = rtol if rtol is not None else 1e-4 if any(x.dtype == np.float32 for x in self._variables) else 1e-8
        self._rng = rng
        self._weights: list[np.ndarray] = []  # those of phi_1, phi_2, ..., drawn when phi_k is first needed
        self._indices = [_chosen(x.shape, elements, rng) for x in self._variables]

    def compare(self, order: int) -> Comparison:
        """Compare the derivatives up to `order`."""
        found = Comparison()
        self._check_repeats()
        for k in range(1, order + 1):
            if not found.mismatches:
                self._compare_order(k, found)
        return found

    # The function ----------------------------------------------------------------------------------------------------

    def components(self, k: int) -> Tensor:
        """Return F_k as a vector."""
        if k == 1:
            result = self._function(*self._tensors)
            if not isinstance(result, Tensor):
                raise TypeError(f"check_grad: the function returned a {type(result).__name__}, expected a Tensor")
            return result.reshape(-1)
        phi = self.objective(k - 1)
        if not phi.requires_grad:
            return wrap(np.zeros(sum(x.size for x in self._variables), phi.dtype))
        slopes = grad(phi, self._variables, create_graph=True, unused="zeros")
        common = np.result_type(*[slope.dtype for slope in slopes])
        return concatenate([_in_dtype(slope, common).reshape(-1) for slope in slopes])

    def objective(self, k: int) -> Tensor:
        """Return phi_k, the sum of F_k with random weights."""
        values = self.components(k)
        if len(self._weights) < k:
            self._weights.append(_random_weights(self._rng, values.size))
        return (values * wrap(self._weights[k - 1].astype(values.dtype))).sum()

    def _check_repeats(self) -> None:
        first, second = (self.components(1)._array for _ in range(2))
        if first.shape != second.shape or not np.array_equal(first, second, equal_nan=True):
            raise AssertionError(
                "check_grad: the function gives different values at one point, expected a function of its inputs alone; "
                "give it a random generator with the same seed at each call, and let it keep no state"
            )

    def _takes_complex_numbers(self) -> bool:
        """Whether the function can be evaluated at complex numbers. It cannot if it turns a Tensor into a number."""
        x = self._variables[0]
        try:
            with x._holding(x._array.astype(complex)):
                self.components(1)
        except (TypeError, ValueError):
            return False
        return True

    # One order -------------------------------------------------------------------------------------------------------

    def _compare_order(self, k: int, found: Comparison) -> None:
        with record() as recording, np.errstate(all="ignore"):
            phi = self.objective(k)
            analytic = [x.numpy() for x in grad(phi, self._variables, unused="zeros")] if phi.requires_grad else None
        found.order, found.compared, found.lines = k, 0, recording.lines
        with _in_double(self._tensors), np.errstate(all="ignore"):
            with record() as recording:
                scale = abs(self.objective(k).item())
            complex_step = all(line.op.analytic for line in recording.lines) and self._takes_complex_numbers()
            found.method = "complex step" if complex_step else "central difference"
            # Only an op without a VJP compares, so without one the function has no kinks.
            may_branch = any(not line.op.vjps for line in (*recording.lines, *found.lines))
            differentiate = partial(_complex_step, may_branch=may_branch) if complex_step else _central_difference
            noise = (1.0 + scale) * 1e2 * self._coarsest
            noise += 0.0 if complex_step else _rounding(scale, RELATIVE_STEP)
            skipped = {(kink.input, kink.index) for kink in found.kinks}
            for position, x in enumerate(self._variables):
                given = np.zeros(x.shape) if analytic is None else analytic[position].astype(np.float64)
                indices = [index for index in self._indices[position] if (position, index) not in skipped]
                results = [differentiate(lambda: self.objective(k), x, index) for index in indices]
                numbers = [n for n, _ in results] + [float(given[index]) for index in indices]
                size = max((abs(n) for n in numbers if np.isfinite(n)), default=0.0)
                allowed = self._rtol * size + noise
                found.compared += len(indices)
                for index, (numerical, is_suspect) in zip(indices, results, strict=True):
                    number = float(given[index])
                    error = abs(number - numerical)
                    if is_suspect or not error <= allowed:
                        line = _Line(self, k, position, index)
                        error = self._judge(line, number, None if complex_step else numerical, error, allowed, found)
                    found.worst = max(found.worst, error / (size + noise / self._rtol))
            if any(kink.order == k for kink in found.kinks) and not found.mismatches and analytic is not None:
                # Move all elements together: the elements of a tie do not part, so their shares must add up.
                total = float(sum(x.sum(dtype=np.float64) for x in analytic))
                size = float(sum(np.abs(x).sum(dtype=np.float64) for x in analytic))
                self._judge(_Line(self, k, None, None), total, 0.0, np.inf, self._rtol * size + noise, found)

    def _judge(
        self, line: _Line, given: float, numerical: float | None, error: float, allowed: float, found: Comparison
    ) -> float:
        """Decide with slopes from both sides whether `given` is right, and note what it is. Return the error.

        `numerical` is None if a complex step computed the derivative, which is exact unless there is a kink.
        """
        sides = slopes(line.values, line.steps(self._coarsest))
        weights = self._weights[line.order - 1]
        kinks = np.flatnonzero(sides.is_kink)
        if line.index is None and not np.isfinite(sides.middle).all():  # the common step leaves the domain of the function
            return 0.0
        if sides.is_jump.any():
            i = int(np.argmax(sides.is_jump))
            text = f"the function jumps from {sides.below[i]:.6g} to {sides.above[i]:.6g}"
            found.mismatches.append(line.mismatch(given, text, np.inf, allowed))
            return np.inf
        if not kinks.size:
            if numerical is not None and not error <= allowed:
                numerical = float(weights @ sides.middle)
                error = abs(given - numerical)
                # A step that is small enough for this function may have a larger error. It must not hide a wrong VJP.
                allowed += min(float(np.abs(weights) @ sides.error), 1e-3 * abs(given))
            if not error <= allowed:
                exact = numerical if numerical is not None else _complex_step(line.objective, *line.element, False)[0]
                found.mismatches.append(line.mismatch(given, f"{exact:.17g}", error, allowed))
            return error
        rest = given
        for i in kinks.tolist():
            low, high = sorted((float(sides.left[i]), float(sides.right[i])))
            analytic = line.derivative_of_component(i)
            rest -= float(weights[i]) * analytic
            slack = allowed + float(sides.error[i])
            if not low - slack <= analytic <= high + slack:
                distance = max(low - analytic, analytic - high)
                found.mismatches.append(line.mismatch(analytic, f"kink: from {low:.6g} to {high:.6g}", distance, slack))
                return distance
            if line.index is not None:
                kink = Kink(line.order, line.position or 0, line.index, float(sides.left[i]), float(sides.right[i]), analytic)
                found.kinks.append(kink)
        smooth = ~sides.is_kink
        expected = float(weights[smooth] @ sides.middle[smooth])
        slack = allowed + float(np.abs(weights[smooth]) @ sides.error[smooth])
        if not abs(rest - expected) <= slack:
            found.mismatches.append(line.mismatch(rest, f"{expected:.17g}", abs(rest - expected), slack))
        return 0.0


class _Line:
    """The line through the point on which one element changes, or all elements of all inputs together."""

    def __init__(self, comparer: Comparer, order: int, position: int | None, index: Index | None) -> None:
        self._comparer = comparer
        self._variables = comparer._variables
        self.order = order
        self.position = position
        self.index = index

    @property
    def element(self) -> tuple[Tensor, Index]:
        assert self.position is not None
        assert self.index is not None
        return self._variables[self.position], self.index

    def objective(self) -> Tensor:
        return self._comparer.objective(self.order)

    def values(self, t: float) -> np.ndarray:
        """Return the components of F_k at the distance t from the point."""
        with ExitStack() as stack:
            for position, x in enumerate(self._variables):
                if self.position is None:
                    stack.enter_context(x._holding(x._array + t))
                elif position == self.position:
                    stack.enter_context(x._holding(_moved(x, self.index, t)))
            return self._comparer.components(self.order)._array.astype(np.float64)

    def steps(self, eps: float) -> list[float]:
        """Return steps down to the distance at which a kink counts as one at the point.

        In single precision, a threshold is rounded, so a kink may be some units in the last place away.
        """
        size = self._size() + 0.1
        return [step * size for step in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9) if step >= min(50.0 * eps, 1e-3)]

    def _size(self) -> float:
        if self.position is None:
            return max(float(np.abs(x._array).max(initial=0.0)) for x in self._variables)
        x, index = self.element
        return abs(float(x._array[index]))

    def derivative_of_component(self, i: int) -> float:
        """Return the analytic derivative of component i of F_k along the line."""
        with ExitStack() as stack:
            for x, array in zip(self._comparer._tensors, self._comparer._arrays, strict=True):
                stack.enter_context(x._holding(array))
            components = self._comparer.components(self.order)
            if not components.requires_grad:
                return 0.0
            gradients = grad(components[i], self._variables, unused="zeros")
        if self.position is None or self.index is None:
            return float(sum(g._array.sum() for g in gradients))
        return float(gradients[self.position]._array[self.index])

    def mismatch(self, analytic: float, numerical: str, error: float, allowed: float) -> Mismatch:
        value = np.nan if self.position is None else float(self.element[0]._array[self.element[1]])
        return Mismatch(self.position or 0, self.index, value, analytic, numerical, error, allowed)


# Derivatives of one element ------------------------------------------------------------------------------------------


def _complex_step(objective: Objective, x: Tensor, index: Index, may_branch: bool) -> tuple[float, bool]:
    """Return the derivative, and whether there may be a kink.

    NumPy compares complex numbers by their real part, then by their imaginary part. So at a kink, steps of +ih and -ih take
    different branches. An analytic function has conjugate values there.
    """
    ahead = _shifted(objective, x, index, complex(0.0, COMPLEX_STEP))
    slope = ahead.imag / COMPLEX_STEP
    if not may_branch:
        return slope, False
    behind = _shifted(objective, x, index, complex(0.0, -COMPLEX_STEP))
    differs = abs(behind.imag / COMPLEX_STEP + slope) > 1e-10 * abs(slope) or abs(ahead.real - behind.real) > 1e-10 * abs(ahead)
    return slope, bool(differs)


def _central_difference(objective: Objective, x: Tensor, index: Index) -> tuple[float, bool]:
    """Return the derivative, and whether there may be a kink: if so, (f(h) - 2 f(0) + f(-h)) / h does not vanish with h."""
    h = RELATIVE_STEP * (abs(float(x._array[index])) + 0.1)
    at = objective().item()
    ahead = {k: _shifted(objective, x, index, k * h) for k in (1, 2, 3)}
    behind = {k: _shifted(objective, x, index, -k * h) for k in (1, 2, 3)}
    slope = sum(weight * (ahead[k] - behind[k]) / h for k, weight in STENCIL)
    one, two, three = ((ahead[k] - 2.0 * at + behind[k]) / (k * h) for k in (1, 2, 3))
    limit = 3.0 * one - 3.0 * two + three
    error = abs(limit - (2.0 * one - two)) + _rounding(at, h)
    return slope, not abs(limit) <= error


def _rounding(value: float, step: float) -> float:
    """Estimate the rounding error of a difference of values, each the result of many operations, divided by a step."""
    return 1e2 * float(np.finfo(np.float64).eps) * (1.0 + abs(value)) / step


def _shifted(objective: Objective, x: Tensor, index: Index, step: complex) -> Any:
    with x._holding(_moved(x, index, step)):
        return objective().item()


def _moved(x: Tensor, index: Index | None, step: complex) -> np.ndarray:
    array = x._array.astype(np.result_type(x._array, type(step)))
    array[index] += step
    return array


@contextmanager
def _in_double(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Convert the inputs that hold floats to float64 inside a block."""
    with ExitStack() as stack:
        for x in (x for x in tensors if x.dtype.kind == "f"):
            stack.enter_context(x._holding(x._array.astype(np.float64)))
        yield


def _in_dtype(x: Tensor, dtype: np.dtype) -> Tensor:
    return x if x.dtype == dtype or dtype.kind == "c" else x.astype(dtype)


def _chosen(shape: tuple[int, ...], elements: int, rng: np.random.Generator) -> list[Index]:
    """Choose indices of an array at random if it has more than `elements`."""
    indices = list(np.ndindex(shape))
    if len(indices) <= elements:
        return indices
    return [indices[i] for i in sorted(rng.choice(len(indices), elements, replace=False))]


def _random_weights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw weights of both signs that are not near 0, so that an error in any element has an effect."""
    return rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)
