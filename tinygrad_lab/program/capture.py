"""Capture: from a step, a function that computes with Tensors, to a Program.

step --> record --> record again --> compare --> number --> merge_common --> drop_dead --> rename --> Program

*Why record twice?* An operand of a recorded line is declared (an input or state), the result of an earlier line, or a constant.
A constant that is made from a Python number is a new object in each run, with the same value. These kinds of operands are
refused, with the line of code that used them:

- A constant that is the same object in both runs. It came from outside and was not declared, so a replay would never see it
  change.
- A constant whose value differs between the runs. It was drawn from a random generator, or counts calls.
- Another Tensor in the place of a declared one. The first run has replaced the declared Tensor.
- A Tensor that another thread has computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tinygrad_lab.autodiff.recording import CaptureError, Recording, record
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.program.lines import Value
from tinygrad_lab.program.passes import constant, drop_dead, merge_common, number, rename
from tinygrad_lab.program.program import Program

Step = Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]


def capture(
    step: Step,
    inputs: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    again: tuple[Step, Mapping[str, Tensor]] | None = None,
) -> Program:
    """Run a step under a recording, and return its program.

    Parameters
    ----------
    step : callable
        It takes nothing and returns (outputs, new_state), two mappings of names to Tensors; `new_state` has the names of
        `state`. It uses the Tensors of `inputs` and `state` themselves. It changes nothing and turns no Tensor into a number.
    inputs : mapping of str to Tensor
        The Tensors whose values each replay is given.
    state : mapping of str to Tensor
        The Tensors whose values a replay keeps for the next one.
    again : pair of callable and mapping, optional
        The step of the second recording, and the Tensors that it uses in the place of some inputs. Then a Tensor that the
        step has kept from its first run is told from the new ones. By default it is the same step.

    Returns
    -------
    Program

    Raises
    ------
    CaptureError
        If a replay could not repeat the step. The message names the line of code.

    Examples
    --------
    >>> x = Tensor([1.0])
    >>> capture(lambda: ({"y": x if x.item() > 0 else -x}, {}), {"x": x}, {})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tinygrad_lab.autodiff.recording.CaptureError: ..., line 1: the number of a Tensor that changes between replays would be ...
    """
    declared = {id(tensor) for tensor in (*inputs.values(), *state.values())}
    with record((*inputs.values(), *state.values())) as recording:
        outputs, new_state = step()
    kept = [line.result for line in recording.lines]  # a step may have kept some, and must not decide by them
    repeated, others = again or (step, {})
    with record((*inputs.values(), *others.values(), *state.values(), *kept)) as second:
        repeated()
    compare(recording, second, declared, {id(inputs[name]): tensor for name, tensor in others.items()})

    values = {id(tensor): Value(name, "input", tensor._array) for name, tensor in inputs.items()}
    values |= {id(tensor): Value(name, "state", tensor._array) for name, tensor in state.items()}
    results = [*outputs.values(), *new_state.values()]
    for result in results:
        recording.check_is_seen(result)
    lines = number(recording, values)
    wanted = [values.setdefault(id(tensor), constant(tensor)) for tensor in results]
    lines, wanted = merge_common(lines, wanted)
    lines = drop_dead(lines, wanted)
    lines, wanted = rename(lines, wanted)
    return Program(
        {name: values[id(tensor)] for name, tensor in inputs.items()},
        {name: values[id(tensor)] for name, tensor in state.items()},
        lines,
        dict(zip(outputs, wanted[: len(outputs)], strict=True)),
        dict(zip(new_state, wanted[len(outputs) :], strict=True)),
    )


def compare(first: Recording, second: Recording, declared: set[int], others: Mapping[int, Tensor]) -> None:
    """Raise CaptureError if two recordings of a step differ, or share a Tensor that is not declared.

    `others` are the Tensors that the second has in the place of declared ones, by the ids of these.
    """
    for recording in (first, second):
        if recording.read_elsewhere:
            raise CaptureError(recording.read_elsewhere)
    kept = {id(line.result) for line in first.lines}
    positions: tuple[dict[int, int], dict[int, int]] = ({}, {})
    if len(first.lines) != len(second.lines):
        raise CaptureError(
            f"the step ran {len(first.lines)} ops, then {len(second.lines)}: it depends on more than its Tensors"
        )
    for i, (one, two) in enumerate(zip(first.lines, second.lines, strict=True)):
        if one.op is not two.op or repr(one.params) != repr(two.params) or len(one.inputs) != len(two.inputs):
            raise CaptureError(f"{one.source_line}: runs {one.op.name} once and {two.op.name} then, or with other parameters")
        for x, again in zip(one.inputs, two.inputs, strict=True):
            if positions[0].get(id(x)) != positions[1].get(id(again)):
                raise CaptureError(f"{one.source_line}: {one.op.name} takes another operand each time the step runs")
            if id(x) in positions[0] or (id(x) in declared and again is others.get(id(x), x)):
                continue
            first.check_is_seen(x)
            if id(x) in declared:
                raise CaptureError(
                    f"{one.source_line}: {one.op.name} takes a Tensor of shape {x.shape} that the step replaces by another, "
                    "which a replay would not repeat; train with engine='eager'"
                )
            if id(again) in kept:
                raise CaptureError(f"{one.source_line}: {one.op.name} takes a result that the step has kept from its last run")
            if x is again:
                raise CaptureError(
                    f"{one.source_line}: {one.op.name} takes a Tensor of shape {x.shape} that is neither declared nor computed "
                    "in the step, so a replay would never see it change; declare it as an input"
                )
            if not np.array_equal(x._array, again._array, equal_nan=x.dtype.kind == "f"):
                raise CaptureError(f"{one.source_line}: {one.op.name} takes a constant that differs each time the step runs")
        positions[0][id(one.result)] = positions[1][id(two.result)] = i
