"""Passes over programs, before they become loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial, reduce
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.ops import Op
from tinygrad_lab.codegen.kinds import follow_views, is_matrix_product, is_reduction, is_transpose
from tinygrad_lab.program import Line, Program, Value, drop_dead


def _append(lines: list[Line], op: Op, *operands: Value, **params: Any) -> Value:
    """Append a new line and return its result."""
    array = op.run(*[x.array for x in operands], **params)
    lines.append(Line(op, operands, params, Value("new", "result", array)))
    return lines[-1].result


def expand_norms(program: Program) -> Program:
    """Write the norm of several arrays as the root of their sums of squares, and of scaled ones where a square may overflow."""
    producers = {line.result: line for line in program.lines}
    lines: list[Line] = []
    for line in program.lines:
        if line.op is ops.norm:
            dtype, ndims = line.result.array.dtype, line.params["ndims"]
            if dtype == np.float32:
                doubles = [_append(lines, ops.astype, x, dtype=np.dtype(np.float64)) for x in line.operands]
                norm = _append(lines, ops.sqrt, _append_squares(lines, doubles, ndims))
                lines.append(Line(ops.astype, (norm,), {"dtype": dtype}, line.result))
                continue
            squares = _append_squares(lines, line.operands, ndims)
            if all(_is_single(x, producers) for x in line.operands):  # whose squares are finite in double precision
                line = Line(ops.sqrt, (squares,), {}, line.result)
            else:
                scale, huge = (Value("number", "constant", np.array(x, dtype)) for x in (ops.SCALE, ops.HUGE_SQUARES))
                scaled = _append_squares(lines, [_scaled(lines, x, scale) for x in line.operands], ndims)
                plain = _append(lines, ops.sqrt, squares)
                rescaled = _append(lines, ops.divide, _append(lines, ops.sqrt, scaled), scale)
                line = Line(ops.where, (_append(lines, ops.less, squares, huge), plain, rescaled), {}, line.result)
        lines.append(line)
    return replace(program, lines=lines)


def _is_single(x: Value, producers: Mapping[Value, Line]) -> bool:
    """Whether the elements of `x` are numbers of single precision."""
    line = producers.get(x)
    return line is not None and line.op is ops.astype and line.operands[0].array.dtype == np.float32


def _append_squares(lines: list[Line], operands: Sequence[Value], ndims: Sequence[int]) -> Value:
    """Append the sum of the squares of the elements of all operands, a number."""
    totals = []
    for x, ndim in zip(operands, ndims, strict=True):
        square = _append(lines, ops.multiply, x, x)
        total = _append(lines, ops.reduce_sum, square, axes=tuple(range(-ndim, 0)))
        totals.append(_append(lines, ops.reshape, total, shape=()))
    return reduce(partial(_append, lines, ops.add), totals)


def factor_squares(program: Program) -> Program:
    """Write the sum of (a_i b_j)² over all i and j as (Σ a_i²) (Σ b_j²).

    The elements may be multiplied by the scale c of a norm, too.
    This is the squared norm of a weight's gradient for one sample. It takes n + m multiplications instead of n m.
    """
    producers = {line.result: line for line in program.lines}
    lines: list[Line] = []
    replaced: dict[Value, Value] = {}

    @cache  # the same vector may be a factor of two sums
    def sum_of_squares(x: Value, dtype: np.dtype) -> Value:
        y = x if x.array.dtype == dtype else _append(lines, ops.astype, x, dtype=dtype)
        return _append(lines, ops.reduce_sum, _append(lines, ops.multiply, y, y), axes=(-2, -1))

    for line in program.lines:
        outer, scale = _squared_outer_product(line, producers)
        if outer is None:
            lines.append(Line(line.op, tuple(replaced.get(x, x) for x in line.operands), line.params, line.result))
            continue
        a, b = (sum_of_squares(replaced.get(x, x), line.result.array.dtype) for x in outer.operands)
        if scale is not None:  # so that nothing overflows, c² goes to the larger sum
            square = Value("number", "constant", scale.array * scale.array)
            is_larger = _append(lines, ops.greater, a, b)
            a, b = (
                _append(lines, ops.where, is_larger, _scaled(lines, a, square), a),
                _append(lines, ops.where, is_larger, b, _scaled(lines, b, square)),
            )
        replaced[line.result] = _append(lines, ops.multiply, a, b)
    outputs = {name: replaced.get(x, x) for name, x in program.outputs.items()}
    new_state = {name: replaced.get(x, x) for name, x in program.new_state.items()}
    lines = drop_dead(lines, [*outputs.values(), *new_state.values()])
    return replace(program, lines=lines, outputs=outputs, new_state=new_state)


def _scaled(lines: list[Line], x: Value, scale: Value) -> Value:
    return _append(lines, ops.multiply, x, _append(lines, ops.broadcast_to, scale, shape=x.array.shape))


def _squared_outer_product(line: Line, producers: Mapping[Value, Line]) -> tuple[Line | None, Value | None]:
    """Return the line of an outer product if `line` sums the squares of all its elements, and the number that scales them."""
    if line.op is not ops.reduce_sum or line.result.array.shape != (1, 1):
        return None, None
    square = producers.get(line.operands[0])
    if square is None or square.op is not ops.multiply or square.operands[0] is not square.operands[1]:
        return None, None
    outer, scale = producers.get(follow_views(square.operands[0], producers, _is_transpose_or_rounding)), None
    if outer is not None and outer.op is ops.multiply:
        x, factor = outer.operands
        scale = follow_views(factor, producers)
        if scale.kind != "constant" or scale.array.ndim or scale.array != ops.SCALE:
            return None, None
        outer = producers.get(follow_views(x, producers, _is_transpose_or_rounding))
    return (outer, scale) if outer is not None and outer.op is ops.matmul and not is_reduction(outer) else (None, None)


def _is_transpose_or_rounding(line: Line) -> bool:
    return is_transpose(line) or (line.op is ops.astype and line.params["dtype"].kind == "f")


def split_sums(program: Program) -> Program:
    """Write a sum over several axes as a sum over all but the last of them, followed by a sum over the last.

    The sums of the columns of a matrix are neighbours in memory, so a processor adds to several of them at once. A single
    sum would have to be collected from several partial sums at the end of each row.
    """
    lines: list[Line] = []
    for line in program.lines:
        if line.op is ops.reduce_sum:
            (x,) = line.operands
            *others, last = sorted(axis for axis in line.params["axes"] if x.array.shape[axis] > 1) or [-1]
            if others:
                columns = _append(lines, ops.reduce_sum, x, axes=tuple(others))
                line = Line(ops.reduce_sum, (columns,), {"axes": (last,)}, line.result)
        lines.append(line)
    return replace(program, lines=lines)


def transpose_factors(program: Program) -> Program:
    """Write the transpose of a product, (A B)ᵀ, as Bᵀ Aᵀ, unless something else reads the product.

    The gradient of a weight then has the memory layout of the weight, so one loop goes through both in order.
    """
    producers = {line.result: line for line in program.lines}
    read = [x for line in program.lines for x in line.operands]
    read += [*program.outputs.values(), *program.new_state.values()]
    lines: list[Line] = []
    for line in program.lines:
        product = producers.get(line.operands[0]) if line.op is ops.transpose and line.params["axes"] == (-1, -2) else None
        if product is not None and is_matrix_product(product) and read.count(product.result) == 1:
            factors = [_append(lines, ops.transpose, x, axes=(-1, -2)) for x in reversed(product.operands)]
            lines.append(Line(ops.matmul, tuple(factors), {}, line.result))
        else:
            lines.append(line)
    lines = drop_dead(lines, [*program.outputs.values(), *program.new_state.values()])
    return replace(program, lines=lines)


def separate_uses(program: Program) -> Program:
    """Make a separate copy of each view and constant for each use.

    Two layers of the same width may both read ``broadcast_to(lr, shape=(5,))``. As one value, it would make their dimensions
    the same, although they are equal by coincidence only.
    """
    lines: list[Line] = []
    views: dict[Value, Line] = {}

    def separate(x: Value) -> Value:
        if x.kind == "constant":
            return Value(x.name, x.kind, x.array)
        if x not in views:
            return x
        line = views[x]
        operands = tuple(map(separate, line.operands))
        lines.append(Line(line.op, operands, line.params, Value(x.name, x.kind, x.array)))
        return lines[-1].result

    for line in program.lines:
        if line.op.view:
            views[line.result] = line
        else:
            operands = tuple(map(separate, line.operands))
            lines.append(Line(line.op, operands, line.params, line.result))
    outputs = {name: separate(x) for name, x in program.outputs.items()}
    new_state = {name: separate(x) for name, x in program.new_state.items()}
    return replace(program, lines=lines, outputs=outputs, new_state=new_state)


def copy_views(program: Program) -> Program:
    """Copy each result of the program and each factor of a matrix product that has no memory.

    A new state that is another state, or a view of one, might be overwritten before it is read. BLAS reads a whole array,
    transposed or not, but it cannot read one number as if it were repeated.
    """
    producers = {line.result: line for line in program.lines}
    lines: list[Line] = []

    def has_memory(x: Value) -> bool:
        return x.kind in ("input", "state") or (x.kind == "result" and not producers[x].op.view)

    def copied(x: Value) -> Value:
        return _append(lines, ops.astype, x, dtype=x.array.dtype)

    for line in program.lines:
        operands = line.operands
        if is_matrix_product(line):
            operands = tuple(x if has_memory(follow_views(x, producers, is_transpose)) else copied(x) for x in operands)
        lines.append(Line(line.op, operands, line.params, line.result))
    results = {x for x in producers if has_memory(x)}
    outputs = {name: x if x in results else copied(x) for name, x in program.outputs.items()}
    new_state = {name: x if x in results or x is program.state[name] else copied(x) for name, x in program.new_state.items()}
    return replace(program, lines=lines, outputs=outputs, new_state=new_state)
