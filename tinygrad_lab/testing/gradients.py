"""The gradient checker: it compares derivatives of any order with numerical ones, and says which op is at fault.

    function, inputs --Comparer--> errors, kinks, mismatches --check_grad--> GradientReport, or an AssertionError

On a mismatch, the VJP of each op of the function is compared alone, at the inputs that the op had. So the message can name
the op that is wrong, and the line of code that ran it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.recording import CaptureError, RecordedOp, record
from tinygrad_lab.autodiff.tensor import Tensor, apply
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.seeds import CHECK, stream
from tinygrad_lab.testing.comparison import Comparer, Comparison, Kink

OCCURRENCES = 3
"""How often an op is compared alone that one line of code runs many times."""

SHOWN = 5
"""How many entries a message or a report lists."""


class GradientReport(float):
    """The largest relative error of a check, as a number, and the kinks that were found.

    Attributes
    ----------
    kinks : list of Kink
        For each: the order of the derivative, the input, the index, the slopes from the left and from the right, and the
        analytic value between them.

    Examples
    --------
    >>> report = check_grad(lambda x: x.relu(), [0.0, 1.0])
    >>> report
    GradientReport(largest relative error 0, kinks 1)
      order 1, input 0, index (0,): slope 0 from the left, 1 from the right, analytic 0
    >>> report < 1e-8
    True
    """

    kinks: list[Kink]

    def __new__(cls, error: float, kinks: Sequence[Kink] = ()) -> GradientReport:
        """Make a report of an error and the kinks."""
        report = super().__new__(cls, error)
        report.kinks = list(kinks)
        return report

    def __repr__(self) -> str:
        lines = [f"GradientReport(largest relative error {float(self):.3g}, kinks {len(self.kinks)})"]
        for kink in self.kinks[:SHOWN]:
            left, right, analytic = _rounded(kink.left, kink.right, kink.analytic)
            lines.append(
                f"  order {kink.order}, input {kink.input}, index {kink.index}: slope {left} from the left, "
                f"{right} from the right, analytic {analytic}"
            )
        if len(self.kinks) > SHOWN:
            lines.append(f"  and {len(self.kinks) - SHOWN} more")
        return "\n".join(lines)


def _rounded(*numbers: float) -> list[str]:
    """Format numbers with 6 digits of the largest one, so that a rounding error shows as 0."""
    size = max(map(abs, numbers))
    return [f"{0.0 if abs(x) < 1e-7 * size else x:.6g}" for x in numbers]


def check_grad(
    function: Callable[..., Tensor],
    *inputs: ArrayLike | Tensor,
    order: int = 2,
    rtol: float | None = None,
    elements: int = 64,
    seed: int = 0,
) -> GradientReport:
    """Check the derivatives of `function` with respect to each floating-point input.

    At a kink, the slopes from the left and from the right differ, and every number between them is a subgradient. A
    derivative that lies between them passes, and the report lists the kink. The derivatives of higher order do not exist
    there and are not checked.

    Parameters
    ----------
    function : callable
        Takes the inputs as Tensors, returns a Tensor of any shape. To check a layer, give its parameters as inputs too.
        The function may ignore these arguments and call the layer, because the check changes the values of these Tensors.
    *inputs : array_like or Tensor
        The point at which to check. A kink counts as one at this point if it is closer than about 1e-8 of an element's
        size, or 1e-5 in single precision.
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
    GradientReport
        A float, the largest relative error, with the attribute `kinks`.

    Raises
    ------
    AssertionError
        If a derivative differs, if it does not lie between the slopes at a kink, if the function jumps, or if it gives
        different values at one point. The message shows the worst elements with both numbers, and names the op whose own
        derivative is wrong and the line of code that ran it.
    TypeError
        If the function does not return a Tensor.

    Examples
    --------
    >>> check_grad(lambda x: (x * x).sum(), [1.0, 2.0], order=2) < 1e-14
    True
    """
    if not is_positive_integer(order):
        raise ValueError(f"check_grad: order is {order!r}, expected a positive integer")
    if not is_positive_integer(elements):
        raise ValueError(f"check_grad: elements is {elements!r}, expected a positive integer")
    tensors = [_variable(x) for x in inputs]
    if not any(x.requires_grad for x in tensors):
        raise ValueError("check_grad: no input is floating-point, so there is nothing to differentiate")
    return check_tensors(function, tensors, order=order, rtol=rtol, elements=elements, seed=seed)


def check_tensors(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    *,
    order: int,
    rtol: float | None = None,
    elements: int = 64,
    seed: int = 0,
) -> GradientReport:
    """Check the derivatives with respect to those `tensors` that require a gradient, as `check_grad` does."""
    rng = np.random.default_rng(stream(seed, CHECK))  # not the numbers of inputs drawn from default_rng(seed)
    found = Comparer(function, tensors, rtol, elements, rng).compare(order)
    if found.mismatches:
        raise AssertionError(_explanation(found, _suspicions(function, tensors, found)))
    if found.kinks:
        # A wrong VJP may give a number between the slopes too. It shows where the op alone is compared.
        wrong = wrong_ops(_lines(function, tensors), order)
        if wrong:
            reasons = " and ".join(f"of {name} {reason}" for name, reason in wrong.items())
            raise AssertionError(f"check_grad: at a kink, the derivative {reasons}")
    return GradientReport(found.worst, found.kinks)


def _variable(x: ArrayLike | Tensor) -> Tensor:
    if isinstance(x, Tensor) and x.requires_grad:
        return x
    tensor = Tensor(x)
    return Tensor(x, requires_grad=True) if tensor.dtype.kind == "f" else tensor


# The message ---------------------------------------------------------------------------------------------------------


def _explanation(found: Comparison, suspicions: Sequence[str]) -> str:
    worst = sorted(found.mismatches, key=lambda m: np.inf if np.isnan(m.error) else m.error / m.allowed, reverse=True)
    inputs = sorted({mismatch.input for mismatch in found.mismatches})
    rows = [("input", "index", "value", "analytic", f"numerical ({found.method})", "error", "allowed")]
    for m in worst[:SHOWN]:
        place = (str(m.input), str(m.index), f"{m.value:.9g}") if m.index is not None else ("all", "all", "moved together")
        rows.append((*place, f"{m.analytic:.17g}", m.numerical, f"{m.error:.3g}", f"{m.allowed:.3g}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = [f"  and {len(worst) - SHOWN} more"] if len(worst) > SHOWN else []
    return "\n".join(
        [
            f"check_grad: derivative of order {found.order} with respect to input {', '.join(map(str, inputs))} is wrong: "
            f"{len(found.mismatches)} of {found.compared} elements differ",
            *table,
            *more,
            *suspicions,
        ]
    )


def _suspicions(function: Callable[..., Tensor], tensors: Sequence[Tensor], found: Comparison) -> list[str]:
    """Say which ops may be the reason for a mismatch."""
    lines = _lines(function, tensors)
    wrong = wrong_ops(lines, found.order)
    if wrong:
        return [f"at fault: {name}, whose own derivative {reason}" for name, reason in [*wrong.items()][:SHOWN]]
    texts = []
    cut = _distinct(line for line in lines if line.op.name == "detach" and line.inputs[0].requires_grad)
    if cut:
        texts.append(f"at fault, most likely: {', '.join(cut[:SHOWN])}, which makes a constant of what it is given")
    tied = _distinct(line for line in lines if not line.op.vjps and _is_at_threshold(line))
    if tied:
        texts.append(f"at a threshold: {', '.join(tied[:SHOWN])}; the derivative is a choice there, and the choices do not fit")
    if not texts:
        texts.append(
            "no op is wrong alone: a value may have left the graph (.numpy(), .item(), NumPy), or differ from call to call; "
            f"the ops are {', '.join(dict.fromkeys(line.op.name for line in lines))}"
        )
    return texts


def _is_at_threshold(line: RecordedOp) -> bool:
    arrays = [x._array for x in line.inputs]
    return bool(np.equal(*arrays).any()) if len(arrays) == 2 else line.op.name == "sign" and not arrays[0].all()


def _lines(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> list[RecordedOp]:
    """Return the ops of `function`, each with the line of code that ran it."""
    with np.errstate(all="ignore"):
        try:
            with record(traced=()) as recording:
                function(*tensors)
        except CaptureError:  # it assigns to a Tensor, so it is recorded without lines of code
            with record() as recording:
                function(*tensors)
    return recording.lines


def wrong_ops(lines: Sequence[RecordedOp], order: int) -> dict[str, str]:
    """Name the ops whose own VJP differs from differences at the inputs that they had, and say what is wrong with it."""
    wrong: dict[str, str] = {}
    times: Counter[str] = Counter()
    for line in lines:
        name = _name(line)
        times[name] += 1
        # A loop runs one op many times. Some of them are enough to see that it is wrong.
        if line.op.vjps and name not in wrong and times[name] <= OCCURRENCES and (reason := _reason(line, order)):
            wrong[name] = reason
    return wrong


def _reason(line: RecordedOp, order: int) -> str:
    """Say what is wrong with the derivative of an op, or nothing."""
    tensors = [Tensor(x._array, requires_grad=x.requires_grad) for x in line.inputs]
    if not any(x.requires_grad for x in tensors) or not all(np.isfinite(x._array).all() for x in line.inputs):
        return ""
    comparer = Comparer(lambda *x: apply(line.op, *x, **line.params), tensors, None, 8, np.random.default_rng(0))
    mismatches = comparer.compare(order).mismatches
    if any(not np.isfinite(m.analytic) for m in mismatches):
        return "is not finite there"
    # At the edge of its domain, an op has no differences, which says nothing about its VJP.
    return "is wrong" if any(np.isfinite(m.error) for m in mismatches) else ""


def _name(line: RecordedOp) -> str:
    return f"{line.op.name} ({line.source_line})" if line.source_line else line.op.name


def _distinct(lines: Iterable[RecordedOp]) -> list[str]:
    return list(dict.fromkeys(_name(line) for line in lines))
