"""Operators that change how a function is differentiated, not what it computes.

x --checkpoint(f)--> f(x), without intermediate results        backward: f runs again, this time with its graph
x --backward_hook--> x                                         backward: x̄ = hook(ȳ)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.graph import Link, Pullback, ancestors, linking, pull_back, repetitions, set_linking
from tinygrad_lab.autodiff.recording import Recording, current, record
from tinygrad_lab.autodiff.tensor import Tensor, named_tensor


def _with_pullback(value: Tensor, name: str, inputs: Sequence[Tensor], pull: Callable[..., Sequence[Any]]) -> Tensor:
    """Return a Tensor of the same elements that has another graph: `pull` gives the gradients of `inputs`."""
    result = value.detach()
    result._link = Link(Pullback(name, pull), inputs, [x._array for x in inputs], {})
    result._requires_grad = True
    return result


def checkpoint(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a function that computes the same, but keeps no intermediate results for its gradient.

    The gradient runs `function` again. That takes its time twice, and saves its memory (Chen et al., arXiv:1604.06174). A
    captured program computes each result once, so there it changes nothing.

    Parameters
    ----------
    function : callable
        Returns one Tensor, and always the same for the same arguments. It may read other Tensors, such as parameters.

    Raises
    ------
    RuntimeError
        In the backward pass, if `function` computes something else when it runs again.

    Examples
    --------
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> block = checkpoint(lambda x: (x * w).exp().sum())
    >>> block(Tensor([0.0, 0.0])).backward()
    >>> w.grad
    Tensor([0., 0.])
    """
    name = f"checkpoint({getattr(function, '__qualname__', repr(function))})"

    @wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Tensor:
        if not linking.enabled:
            return function(*arguments, **options)
        contexts = [begin() for begin in repetitions]
        # *Which Tensors does the result depend on?* Those that an op took and no op made: arguments, and what the function
        # closes over. A recording has all of these ops.
        with nullcontext(current.recording) if type(current.recording) is Recording else record() as recording:
            start = len(recording.lines)
            value = function(*arguments, **options)
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: returned a value of type {type(value).__name__}, expected a Tensor")
        lines = recording.lines[start:]
        made = {id(line.result) for line in lines}
        read = {id(x): x for line in lines for x in line.inputs if x._requires_grad and id(x) not in made}
        if id(value) not in made or not value.requires_grad:
            return value
        inputs = [x for x in ancestors([value], stop=read) if id(x) in read]
        array = value._array

        def pull(g: Tensor, needed: list[Tensor]) -> list[Any]:
            create_graph = linking.enabled
            with ExitStack() as stack:
                for context in contexts:
                    stack.enter_context(context())
                stack.enter_context(set_linking(True))
                again = function(*arguments, **options)
            found = {id(x) for x in ancestors([again], stop=read)}
            same = np.array_equal(again._array, array, equal_nan=array.dtype.kind in "fc")
            if not same or any(id(x) not in found for x in inputs):
                raise RuntimeError(
                    f"{name}: computed something else when it ran again; it must not draw numbers from a generator, "
                    "read what has changed since, or compute in another thread"
                )
            return pull_back([again], [g], needed, create_graph=create_graph, partial=True)

        return _with_pullback(value, name, inputs, pull)

    return wrapped


def backward_hook(x: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Tensor:
    """Return `x`, with a function that the gradient passes through on its way back.

    Parameters
    ----------
    x : Tensor
    hook : callable
        It takes the cotangent of the result, of the shape of `x`. It returns the cotangent of `x`, or None to leave it as it
        is. It runs in each backward pass that reaches `x`, also in one that differentiates a gradient.
        Its ops are linked and captured as those of any function.

    Raises
    ------
    CaptureError
        If a hook returns None during a capture: a replay would not repeat what it does.

    Examples
    --------
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> (backward_hook(w, lambda g: g.clip(-3.0, 3.0)) ** 2).sum().backward()
    >>> w.grad
    Tensor([2., 3.])
    """
    if not isinstance(x, Tensor) or not callable(hook):
        raise TypeError(f"backward_hook: given {type(x).__name__} and {type(hook).__name__}, expected a Tensor and a function")

    def pull(g: Tensor, _: list[Tensor]) -> list[Tensor]:
        changed = hook(g)
        if changed is None:
            if current.recording is not None:
                current.recording.check_pure("a backward hook returns None")
            return [g]
        changed = named_tensor("backward_hook: the hook's result", changed)
        if changed.shape != g.shape or changed.dtype != g.dtype:
            given, expected = f"{changed.dtype} {changed.shape}", f"{g.dtype} {g.shape}"
            raise ValueError(f"backward_hook: the hook returned {given}, expected {expected}, as its argument, or None")
        return [changed]

    linked = linking.enabled and x.requires_grad and id(x) not in linking.excluded
    return _with_pullback(x, "backward_hook", [x], pull) if linked else x
