"""Ops that users define: one more entry for the table of ops, checked when it is made.

name, run, vjps, samples --check values, shapes, derivatives, loop form--> Op, for eager, replay, lanes and generated loops
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from string import Formatter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import tinygrad_lab.functions  # noqa: F401 (its ops are in the table, too)
from tinygrad_lab.autodiff.ops import OP_TABLE, VJP, Op, Shape, equal_shapes
from tinygrad_lab.autodiff.tensor import Tensor, apply, wrap
from tinygrad_lab.codegen.source import PRELUDE
from tinygrad_lab.program.lanes import RULES, each_lane
from tinygrad_lab.testing.gradients import check_grad


def define_op(
    name: str,
    run: Callable[..., ArrayLike],
    vjps: Sequence[VJP | None],
    samples: Sequence[Sequence[ArrayLike]],
    *,
    shape: Callable[..., Shape] | None = None,
    loop: str | None = None,
    **params: Any,
) -> Op:
    """Define an op with its own vector-Jacobian products (VJPs), and check it.

    Parameters
    ----------
    name : str
        An identifier that no other op has.
    run : callable
        ``run(*arrays, **params)`` returns an array of floats, and leaves its operands as they are.
    vjps : sequence of callable or None
        For each operand, ``vjp(g, y, *operands, **params)`` returns the gradient, where g is the cotangent of the result y.
        It computes with Tensors, so that it can be differentiated again. None is for an operand whose derivative is 0.
    samples : sequence of sequence of array_like
        Some operands, away from kinks: for each of them, the op is compared with finite differences, to second order.
    shape : callable, optional
        ``shape(*shapes, **params)`` returns the shape of the result, or raises ValueError. By default, `run` is tried.
    loop : str, optional
        The same as an expression of scalars ``{0}``, ``{1}``, ..., if the op is elementwise. Its operands then broadcast, and
        training steps that contain it can be compiled. It has the functions of the module `math`, and `sign`, `sigmoid`,
        `softplus`, `max` and `min` of two numbers. Without it, lanes are computed one by one.
    **params
        The metadata of the op for the samples.

    Returns
    -------
    Op
        A function of Tensors and arrays.

    Raises
    ------
    ValueError
        If the name is taken, or a result differs from `shape`, `loop` or the operands' dtype.
    AssertionError
        If a VJP differs from finite differences.

    Examples
    --------
    >>> softsign = define_op(
    ...     "softsign",
    ...     lambda x: x / (1.0 + np.abs(x)),
    ...     [lambda g, y, x: g / (1.0 + abs(x)) ** 2],
    ...     samples=[[[0.5, -2.0]]],
    ...     loop="({0} / (1.0 + abs({0})))",
    ... )
    >>> x = Tensor([1.0, 3.0], requires_grad=True)
    >>> softsign(x)
    Tensor([0.5 , 0.75], requires_grad=True)
    >>> softsign(x).sum().backward()
    >>> x.grad
    Tensor([0.25  , 0.0625])
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"define_op: name is {name!r}, expected an identifier")
    if name in OP_TABLE:
        raise ValueError(f"define_op: there is an op {name!r} already; choose another name")
    if not samples:
        raise ValueError(f"define_op: {name} has no samples, expected at least one list of operands to check it with")

    if loop is not None and (params or _has_parameters(run)):
        raise ValueError(f"define_op: {name} has a loop form and parameters; make them operands, or give no loop")

    def run_to(*arrays: Any, out: Any = None, **params: Any) -> Any:
        arrays = tuple(map(np.asarray, arrays))
        result = np.array(run(*arrays, **params))  # a copy: the function may keep its array and write to it later
        if result.dtype.kind != "f":
            raise TypeError(f"{name}: returned an array of {result.dtype}, expected floating-point numbers")
        dtypes = [x.dtype for x in arrays if x.dtype.kind == "f"]
        result = result.astype(np.result_type(*dtypes) if dtypes else result.dtype, copy=False)
        if out is None:
            return result
        np.copyto(out, result)
        return out

    def tried(*shapes: Shape, **params: Any) -> Shape:
        return run_to(*map(np.ones, shapes), **params).shape

    for operands in samples:
        if len(vjps) > len(operands):
            raise ValueError(f"define_op: {name} has {len(vjps)} VJPs for {len(operands)} operands")
    rule = equal_shapes if loop is not None else shape or tried
    op = Op(name, run_to, rule, tuple(vjps), loop, analytic=False)
    try:
        for operands in samples:
            _check(op, [np.array(x, float) for x in operands], params)
    except BaseException:
        del OP_TABLE[name]
        raise
    if loop is None:
        RULES[op] = each_lane
    return op


def _has_parameters(run: Callable[..., Any]) -> bool:
    """Whether a function takes more than operands."""
    try:
        parameters = inspect.signature(run).parameters.values()
    except ValueError:  # a function in C, such as a ufunc
        return False
    return any(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) or p.default is not p.empty for p in parameters)


def _check(op: Op, operands: list[np.ndarray], params: dict[str, Any]) -> None:
    """Raise an error if the parts of an op do not fit each other at some operands."""
    for x in operands:
        x.flags.writeable = False
    result = op.run(*operands, **params)
    shape = op.shape(*[x.shape for x in operands], **params)
    if shape != result.shape:
        raise ValueError(f"define_op: {op.name} returned shape {result.shape}, but its shape rule says {shape}")
    if not np.array_equal(op.run(*operands, **params), result, equal_nan=True):
        raise ValueError(
            f"define_op: {op.name} returned something else at its second call; it must depend on its operands alone"
        )
    if op.loop is not None:
        _check_loop(op, operands, result)

    tensors = [Tensor(x, requires_grad=True) for x in operands]
    y = apply(op, *tensors, **params)
    for position, operand in enumerate(tensors):
        vjp = op.vjp(position)
        gradient = operand if vjp is None else vjp(wrap(np.ones(y.shape)), y, *tensors, **params)
        if not isinstance(gradient, Tensor) or gradient.shape != operand.shape:
            given = f"shape {gradient.shape}" if isinstance(gradient, Tensor) else f"a value of type {type(gradient).__name__}"
            raise ValueError(
                f"define_op: the VJP of {op.name} for operand {position} returned {given}, expected a Tensor {operand.shape}"
            )
    check_grad(lambda *inputs: apply(op, *inputs, **params), *operands, order=2, rtol=1e-6)
    single = [Tensor(x, dtype=np.float32) for x in operands]
    check_grad(lambda *inputs: apply(op, *inputs, **params), *single, order=1, rtol=1e-3)


def _check_loop(op: Op, operands: list[np.ndarray], result: np.ndarray) -> None:
    """Raise an error if the loop form of an op computes something else than `run`, without compiling it."""
    assert op.loop is not None
    fields = {field for _, field, *_ in Formatter().parse(op.loop) if field is not None}
    if fields != {str(i) for i in range(len(operands))}:
        raise ValueError(
            f"define_op: the loop form of {op.name} has {sorted(fields)}, expected {{0}} to {{{len(operands) - 1}}}"
        )
    names: dict[str, Any] = {}
    exec(PRELUDE.format(dtype="float64").replace("from numba import njit", "njit = lambda **_: lambda f: f"), names)
    code = compile(op.loop.format(*[f"(x{i})" for i in range(len(operands))]), f"loop form of {op.name}", "eval")
    for index in np.ndindex(result.shape):
        value = eval(code, names, {f"x{i}": x[index].item() for i, x in enumerate(operands)})
        if not np.allclose(value, result[index], rtol=1e-10, atol=0.0, equal_nan=True):
            point = ", ".join(f"{x[index]!r}" for x in operands)
            raise ValueError(
                f"define_op: at {point}, the loop form of {op.name} is {value!r}, but run returned {result[index]!r}"
            )
