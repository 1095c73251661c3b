"""Code generation: from a Program to loops over scalars, in Python source that a person can read and Numba compiles.

    Program --> sums of squares of outer products, factored         (`factor_squares`)
            --> transposed products as products                     (`turn_products`)
            --> a value of its own for each use of a view           (`separate_uses`)
            --> copies of what has to lie in memory of its own      (`copy_views`)
            --> which axes are one and the same dimension           (`Dimensions`)
            --> which values are stored, which are inlined          (`choose_stored`)
            --> which states are updated in place                   (`in_place_states`)
            --> one loop nest for each stored value                 (`make_nests`)
            --> nests over the same dimensions merged               (`merge_nests`)
            --> arrays that only one turn of a loop uses, scalars   (`make_scalars`)
            --> source text: `step`, and `epoch` around it          (`write_source`)

A value that is not stored is written out where it is used: an elementwise line as its op's scalar expression, a view as a
change of indices, a product with an inner length of 1 as a multiplication. So the gradient of a weight for one sample, an
outer product, never exists as a matrix. A product of two matrices calls BLAS. Loop bounds come from the arrays: one
compilation serves every width.

The text is made of the op table's expressions and of names given here; no string of a user's enters it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from tinygrad_lab import ops
from tinygrad_lab.ops import Op
from tinygrad_lab.program import Line, Program, Value, drop_dead

Index = tuple[str, ...]
Domain = tuple[int, ...]

WHOLE: Index = (":",)  # the index of an array that is read or written as a whole


class NoLoopFormError(NotImplementedError):
    """A line of a program cannot be written as loops."""


# Kinds of lines ------------------------------------------------------------------------------------------------------


def is_reduction(line: Line) -> bool:
    """Whether a line adds up, or compares, several elements for each of its result."""
    if line.op is ops.matmul:
        return line.operands[0].array.shape[-1] != 1
    return line.op in (ops.reduce_sum, ops.reduce_max) and line.operands[0].array.shape != line.result.array.shape


def is_matrix_product(line: Line) -> bool:
    """Whether a line multiplies two matrices, neither of them a row or a column: then BLAS is faster than loops."""
    return line.op is ops.matmul and all(1 not in x.array.shape for x in line.operands)


def _root(x: Value, producers: Mapping[Value, Line], through: Callable[[Line], bool] = lambda line: line.op.view) -> Value:
    """Follow views, or lines of another kind with one operand, back to the value whose elements they show."""
    while x in producers and through(producers[x]):
        (x,) = producers[x].operands
    return x


def _is_transpose(line: Line) -> bool:
    return line.op in (ops.transpose, ops.detach)


def _is_transpose_or_rounding(line: Line) -> bool:
    return _is_transpose(line) or (line.op is ops.astype and line.params["dtype"].kind == "f")


# Passes from programs to programs ------------------------------------------------------------------------------------


def _append(lines: list[Line], op: Op, *operands: Value, **params: Any) -> Value:
    """Append a new line, and return its result."""
    array = op.run(*[x.array for x in operands], **params)
    lines.append(Line(op, operands, params, Value("new", "result", array)))
    return lines[-1].result


def factor_squares(program: Program) -> Program:
    """Write the sum of (a_i b_j)² over all i and j as (Σ a_i²) (Σ b_j²).

    It is the square of the norm of a weight's gradient for one sample: n m multiplications become n + m.
    """
    producers = {line.result: line for line in program.lines}
    lines: list[Line] = []
    replaced: dict[Value, Value] = {}
    for line in program.lines:
        outer = _squared_outer_product(line, producers)
        if outer is None:
            lines.append(Line(line.op, tuple(replaced.get(x, x) for x in line.operands), line.params, line.result))
            continue
        sums = []
        for x in outer.operands:
            factor = replaced.get(x, x)
            if factor.array.dtype != line.result.array.dtype:
                factor = _append(lines, ops.astype, factor, dtype=line.result.array.dtype)
            square = _append(lines, ops.multiply, factor, factor)
            sums.append(_append(lines, ops.reduce_sum, square, axes=(-2, -1)))
        replaced[line.result] = _append(lines, ops.multiply, *sums)
    outputs = {name: replaced.get(x, x) for name, x in program.outputs.items()}
    new_state = {name: replaced.get(x, x) for name, x in program.new_state.items()}
    lines = drop_dead(lines, [*outputs.values(), *new_state.values()])
    return Program(program.inputs, program.state, lines, outputs, new_state)


def _squared_outer_product(line: Line, producers: Mapping[Value, Line]) -> Line | None:
    """Return the line of an outer product if `line` sums the squares of all its elements."""
    if line.op is not ops.reduce_sum or line.result.array.shape != (1, 1):
        return None
    square = producers.get(line.operands[0])
    if square is None or square.op is not ops.multiply or square.operands[0] is not square.operands[1]:
        return None
    outer = producers.get(_root(square.operands[0], producers, _is_transpose_or_rounding))
    return outer if outer is not None and outer.op is ops.matmul and not is_reduction(outer) else None


def turn_products(program: Program) -> Program:
    """Write the transpose of a product, (A B)ᵀ, as Bᵀ Aᵀ where nothing else reads the product.

    The gradient of a weight then lies in memory as the weight does, and one loop runs along both.
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
    return Program(program.inputs, program.state, lines, program.outputs, program.new_state)


def separate_uses(program: Program) -> Program:
    """Give each use of a view or constant a value of its own.

    Where two layers of one width both read ``broadcast_to(lr, shape=(5,))``, their dimensions, which are equal by coincidence,
    would count as one because of it.
    """
    lines: list[Line] = []
    views: dict[Value, Line] = {}

    def own(x: Value) -> Value:
        if x.kind == "constant":
            return Value(x.name, x.kind, x.array)
        if x not in views:
            return x
        line = views[x]
        operands = tuple(map(own, line.operands))
        lines.append(Line(line.op, operands, line.params, Value(x.name, x.kind, x.array)))
        return lines[-1].result

    for line in program.lines:
        if line.op.view:
            views[line.result] = line
        else:
            operands = tuple(map(own, line.operands))
            lines.append(Line(line.op, operands, line.params, line.result))
    outputs = {name: own(x) for name, x in program.outputs.items()}
    new_state = {name: own(x) for name, x in program.new_state.items()}
    return Program(program.inputs, program.state, lines, outputs, new_state)


def copy_views(program: Program) -> Program:
    """Let every result of the program, and every factor of a matrix product, lie in memory of its own.

    A new state that is another state, or a view of one, might be overwritten before it is read. BLAS reads whole arrays,
    transposed or not, but no repeated scalar.
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
            operands = tuple(x if has_memory(_root(x, producers, _is_transpose)) else copied(x) for x in operands)
        lines.append(Line(line.op, operands, line.params, line.result))
    results = {x for x in producers if has_memory(x)}
    outputs = {name: x if x in results else copied(x) for name, x in program.outputs.items()}
    new_state = {name: x if x in results or x is program.state[name] else copied(x) for name, x in program.new_state.items()}
    return Program(program.inputs, program.state, lines, outputs, new_state)


# Dimensions ----------------------------------------------------------------------------------------------------------


class Dimensions:
    """Which axes of which values have one length by necessity, not by coincidence.

    Every axis longer than 1 gets the number of its dimension. Lines equate axes: an elementwise op those of its operands, a
    matrix product the inner ones, and so on; and a state has the axes of its new value.
    """

    def __init__(self, program: Program) -> None:
        self._parent: dict[tuple[Value, int], tuple[Value, int]] = {}
        equal = [pair for line in program.lines for pair in _equal_axes(line)]
        equal += [((x, i), (program.state[name], i)) for name, x in program.new_state.items() for i in range(x.array.ndim)]
        for one, other in equal:
            one, other = self._representative(one), self._representative(other)
            if one != other:
                self._parent[one] = other
        self._numbers: dict[tuple[Value, int], int] = {}

    def _representative(self, axis: tuple[Value, int]) -> tuple[Value, int]:
        while axis in self._parent:
            axis = self._parent[axis]
        return axis

    def of(self, x: Value) -> tuple[int, ...]:
        """Return the dimension of each axis of `x`, -1 where its length is 1."""
        return tuple(
            -1 if n == 1 else self._numbers.setdefault(self._representative((x, i)), len(self._numbers))
            for i, n in enumerate(x.array.shape)
        )


def _equal_axes(line: Line) -> Iterator[tuple[tuple[Value, int], tuple[Value, int]]]:
    y, op = line.result, line.op
    if op.view:
        (x,) = line.operands
        symbols = tuple(f"i{i}" if n != 1 else "0" for i, n in enumerate(y.array.shape))
        for i, symbol in enumerate(_view_index(line, symbols)):
            if symbol != "0":
                yield (x, i), (y, symbols.index(symbol))
    elif op.elementwise or op in (ops.astype, ops.reduce_sum, ops.reduce_max):
        reduced = {axis % y.array.ndim for axis in line.params.get("axes", ())}
        yield from (((x, i), (y, i)) for x in line.operands for i in range(y.array.ndim) if i not in reduced)
    elif op is ops.matmul and y.array.ndim == 2:
        a, b = line.operands
        yield from [((a, 0), (y, 0)), ((b, 1), (y, 1)), ((a, 1), (b, 0))]
    else:
        raise NoLoopFormError(f"{op.name} has no loop form: {line}")


def _view_index(line: Line, index: Index) -> Index:
    """Return the index into the operand of a view that has the element of the result at `index`.

    Raises
    ------
    NoLoopFormError
        Where the view is no mere change of indices.
    """
    (x,) = line.operands
    shape, result_shape = x.array.shape, line.result.array.shape
    if line.op is ops.detach:
        return index
    if line.op is ops.transpose:
        axes = line.params["axes"]
        lead = len(shape) - len(axes)
        order = [*range(lead), *[axis + len(shape) for axis in axes]]
        return tuple(index[order.index(i)] for i in range(len(shape)))
    if line.op is ops.broadcast_to:
        return tuple(i if n != 1 else "0" for i, n in zip(index[len(index) - len(shape) :], shape, strict=True))
    if line.op is ops.reshape and [n for n in shape if n != 1] == [n for n in result_shape if n != 1]:
        remaining = iter([i for i, n in zip(index, result_shape, strict=True) if n != 1])
        return tuple(next(remaining) if n != 1 else "0" for n in shape)
    raise NoLoopFormError(f"{line.op.name} has no loop form here: {line}")


# What is stored ------------------------------------------------------------------------------------------------------

LONGEST_EXPRESSION = 16  # operations; a longer one is hard to read, and one with some hundred brackets cannot be parsed


def choose_stored(program: Program) -> set[Value]:
    """Return the results that get memory: reductions, what the program gives back, and what is dear and used more than once.

    An elementwise value is dear to repeat where it takes more than one operation, or any and is used by something larger.
    """
    producers = {line.result: line for line in program.lines}
    stored = {x for x in (*program.outputs.values(), *program.new_state.values()) if x.kind == "result"}
    uses: dict[Value, list[int]] = {}  # for each value that is no view, how many turns each use of it takes
    for line in program.lines:
        if is_matrix_product(line):
            stored.update(x for x in (_root(x, producers) for x in line.operands) if x.kind == "result")
        if not line.op.view:
            turns = max(x.array.size for x in (*line.operands, line.result))
            for x in line.operands:
                uses.setdefault(_root(x, producers), []).append(turns)
    costs: dict[Value, int] = {}  # the operations in the expression of a value
    for line in program.lines:
        y = line.result
        cost = sum(costs.get(x, 0) for x in line.operands) + (not line.op.view)
        turns_of_uses = uses.get(y, [])
        dear = (len(turns_of_uses) > 1 and cost > 1) or any(turns > y.array.size for turns in turns_of_uses)
        if is_reduction(line) or (not line.op.view and (dear or cost > LONGEST_EXPRESSION)):
            stored.add(y)
        costs[y] = 0 if y in stored else cost
    return stored


# Loop nests ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Nest:
    """A statement under loops: it assigns one element, or adds to one.

    Attributes
    ----------
    domain : tuple of int
        The dimensions of the loops, outermost first.
    name : str
        The array, or the local variable, that is assigned to.
    index : tuple of str
        Of the element; empty for a local variable.
    expression : str
        With ``name[index]`` wherever it reads an array.
    reads : set of (str, index)
        The elements that the expression uses.
    reduction : {"", "sum", "max"}
        How the elements of the inner loops make one.
    start : str
        Of a reduction: where it begins.
    """

    domain: Domain
    name: str
    index: Index
    expression: str
    reads: set[tuple[str, Index]]
    reduction: str = ""
    start: str = ""

    @property
    def inner(self) -> Domain:
        """The innermost loops where they run along the reduction only: then the sum grows in a local variable."""
        own = _loops(self.index)
        return self.domain[len(own) :] if self.reduction and self.domain[: len(own)] == own else ()


class Writer:
    """Writes elements of a program's values as expressions of stored ones.

    Parameters
    ----------
    program : Program
    in_place : collection of str
        The states whose new value is written over the old one.

    Attributes
    ----------
    arguments : dict of str to Value
        The arrays that the generated function takes, by the names that they have there.
    reads : set of (str, index)
        The elements used since it was last emptied.
    """

    def __init__(self, program: Program, in_place: Collection[str] = ()) -> None:
        self.program = program
        self.dimensions = Dimensions(program)
        self.producers = {line.result: line for line in program.lines}
        self.stored = choose_stored(program)
        self.arguments: dict[str, Value] = {}
        self.reads: set[tuple[str, Index]] = set()
        self._names: dict[Value, str] = {}
        self._constants = 0
        for prefix, values in (("x", program.inputs.values()), ("s", program.state.values())):
            for i, x in enumerate(values):
                self._name(x, f"{prefix}{i}")
        for name in in_place:
            self._names[program.new_state[name]] = self._names[program.state[name]]
        for i, line in enumerate(program.lines):
            if line.result in self.stored and line.result not in self._names:
                self._name(line.result, f"v{i}")

    def _name(self, x: Value, name: str) -> None:
        self._names[x] = name
        if x.kind != "result" or x.array.size > 1:
            self.arguments[name] = x

    def name_of(self, x: Value) -> str:
        """Return the name of a stored value."""
        return self._names[x]

    def index(self, x: Value) -> Index:
        """Return the index of an element of `x` under loops named by dimensions."""
        dimensions = self.dimensions.of(x)
        long = [d for d in dimensions if d >= 0]
        if len(set(long)) < len(long):
            raise NoLoopFormError(f"{x} has one dimension on two axes")
        return tuple("0" if d < 0 else f"i{d}" for d in dimensions)

    def target(self, x: Value) -> tuple[str, Index]:
        """Return the name and index that an element of a stored value is assigned to."""
        name = self._names[x]
        return name, self.index(x) if name in self.arguments else ()

    def element(self, x: Value, index: Index) -> str:
        """Write the element of `x` at `index`."""
        if x in self._names:
            name = self._names[x]
            if name not in self.arguments or not x.array.ndim:
                index = ()
            self.reads.add((name, index))
            return _reference(name, index)
        if x.kind == "constant":
            return self._constant(x, index)
        line = self.producers[x]
        return self.element(line.operands[0], _view_index(line, index)) if line.op.view else self.formula(line, index)

    def formula(self, line: Line, index: Index) -> str:
        """Write the element of a line's result, of the line's operands."""
        if line.op is ops.matmul:  # of inner length 1
            a, b = line.operands
            return f"({self.element(a, (index[0], '0'))} * {self.element(b, ('0', index[1]))})"
        operands = [self.element(operand, index) for operand in line.operands]
        if line.op in (ops.reduce_sum, ops.reduce_max):  # over axes of length 1
            return operands[0]
        if line.op is ops.astype:
            same = line.operands[0].array.dtype == line.result.array.dtype
            return operands[0] if same else f"np.{_float_name(line)}({operands[0]})"
        assert line.op.loop is not None
        return line.op.loop.format(*operands)

    def _constant(self, x: Value, index: Index) -> str:
        if x.array.size > 1 and any(x.array.strides):
            self._name(x, f"c{self._constants}")
            self._constants += 1
            return self.element(x, index)
        return _number(x.array.flat[0].item(), x.array.dtype)

    def memory_order(self, x: Value) -> Domain:
        """Return the dimensions of `x` in the order in which its elements lie in memory."""
        index = self.index(x)
        while x not in self._names and x in self.producers and self.producers[x].op.view:
            index = _view_index(self.producers[x], index)
            (x,) = self.producers[x].operands
        return _loops(index)

    def matrix(self, x: Value) -> str:
        """Write a factor of a matrix product as a whole."""
        name = self._names[_root(x, self.producers, _is_transpose)]
        self.reads.add((name, WHOLE))
        return name if self.memory_order(x) == _loops(self.index(x)) else f"{name}.T"


def _float_name(line: Line) -> str:
    if line.params["dtype"].kind != "f":
        raise NoLoopFormError(f"a change to {line.params['dtype']} has no loop form: {line}")
    return str(line.params["dtype"].name)


def _number(x: Any, dtype: np.dtype) -> str:
    text = repr(x) if isfinite(x) else {"inf": "inf", "-inf": "-inf"}.get(str(x), "nan")
    if dtype == np.float32:
        return f"f32({text})"
    return f"({text})" if text.startswith("-") else text


def _reference(name: str, index: Index) -> str:
    return f"{name}[{', '.join(index)}]" if index else name


def _replaced(expression: str, names: Mapping[str, str]) -> str:
    """Replace whole references to elements of arrays."""
    return re.sub(r"\w+\[[^]]*\]", lambda match: names.get(match[0], match[0]), expression)


def _loops(index: Index) -> Domain:
    return tuple(int(i[1:]) for i in index if i.startswith("i"))


def make_nests(writer: Writer) -> list[Nest]:
    """Write one nest for each stored value, in the order of the program, then the states that are not made in place."""
    nests = []
    for line in writer.program.lines:
        if line.result in writer.stored:
            writer.reads = set()
            nests.append(_nest(writer, line))
    for name, x in writer.program.new_state.items():
        state = writer.program.state[name]
        writer.reads = set()
        index = writer.index(state)
        value = writer.element(x, index)
        if writer.name_of(x) != writer.name_of(state):
            nests.append(Nest(_loops(index), *writer.target(state), value, writer.reads))
    return nests


def _nest(writer: Writer, line: Line) -> Nest:
    name, index = writer.target(line.result)
    if is_matrix_product(line):
        a, b = line.operands
        return Nest((), name, WHOLE, f"np.dot({writer.matrix(a)}, {writer.matrix(b)}, {name})", writer.reads)
    if is_reduction(line):
        domain, expression = _product(writer, line) if line.op is ops.matmul else _reduction(writer, line)
        reduction = "max" if line.op is ops.reduce_max else "sum"
        start = _number(float("-inf") if reduction == "max" else 0.0, line.result.array.dtype)
        return Nest(domain, name, index, expression, writer.reads, reduction, start)
    expression = writer.formula(line, writer.index(line.result))
    return Nest(_loops(index), name, index, expression, writer.reads)


def _reduction(writer: Writer, line: Line) -> tuple[Domain, str]:
    """Write one element of what is added up; the innermost loop runs along its memory."""
    (x,) = line.operands
    return _ordered(_loops(writer.index(x)), writer.memory_order(x)), writer.element(x, writer.index(x))


def _product(writer: Writer, line: Line) -> tuple[Domain, str]:
    """Write one term of a matrix product with a vector; the innermost loop runs along the memory of the matrix."""
    a, b = line.operands
    every = [d for x in (line.result, a, b) for d in _loops(writer.index(x))]
    domain = _ordered(every, writer.memory_order(max(line.operands, key=lambda x: x.array.size)))
    return domain, f"{writer.element(a, writer.index(a))} * {writer.element(b, writer.index(b))}"


def _ordered(dimensions: Sequence[int], innermost: Domain) -> Domain:
    return tuple(d for d in dict.fromkeys(dimensions) if d not in innermost) + innermost


def in_place_states(program: Program) -> list[str]:
    """Name the states whose new value may overwrite the old one: nobody reads that later, or while a sum grows in its place."""
    writer = Writer(program)
    nests = make_nests(writer)
    position = {nest.name: i for i, nest in enumerate(nests)}
    values = list(program.new_state.values())
    names = []
    for name, x in program.new_state.items():
        if x is program.state[name] or x.array.size == 1 or values.count(x) > 1:
            continue
        state = writer.name_of(program.state[name])
        own, *later = nests[position[writer.name_of(x)] :]
        readers = [own, *later] if own.reduction or own.index == WHOLE else later
        if not any(state == read for nest in readers for read, _ in nest.reads):
            names.append(name)
    return names


# Passes from nests to nests ------------------------------------------------------------------------------------------


def merge_nests(nests: Sequence[Nest]) -> list[list[Nest]]:
    """Group the nests whose loops can be shared, keeping every element written before it is read.

    A nest joins a group where its loops are the same, and what it reads from that group is the very element that the same
    turn of the loops has written.
    """
    groups: list[list[Nest]] = []
    writers: dict[str, tuple[int, Nest]] = {}  # the group in which a name is written
    readers: dict[str, list[tuple[int, Index, Nest]]] = {}  # the groups in which it is read before
    for nest in nests:
        earliest = 0
        for name, index in nest.reads:
            if name in writers:
                group, writer = writers[name]
                in_step = not writer.reduction and writer.domain == nest.domain and writer.index == index
                earliest = max(earliest, group if in_step else group + 1)
        for group, index, reader in readers.get(nest.name, []):
            in_step = not nest.reduction and reader.domain == nest.domain and index == nest.index
            earliest = max(earliest, group if in_step else group + 1)
        fitting = (i for i in range(earliest, len(groups)) if groups[i][0].domain == nest.domain)
        at = next(fitting, len(groups))
        if at == len(groups):
            groups.append([])
        groups[at].append(nest)
        for name, index in nest.reads:
            readers.setdefault(name, []).append((at, index, nest))
        writers[nest.name] = (at, nest)
    return groups


def make_scalars(groups: Sequence[Sequence[Nest]], arrays: Collection[str]) -> tuple[list[list[Nest]], set[str]]:
    """Turn each array that is written and read in the same turn of the same loops only into a local variable.

    Parameters
    ----------
    groups : sequence of sequence of Nest
    arrays : collection of str
        The names that may be turned: intermediate results, of which nothing is wanted after the step.

    Returns
    -------
    groups : list of list of Nest
        With local variables.
    names : set of str
        The arrays that are no more.
    """
    readers: dict[str, set[int]] = {}
    for i, group in enumerate(groups):
        for nest in group:
            for name, _ in nest.reads:
                readers.setdefault(name, set()).add(i)
    gone = {
        nest.name
        for i, group in enumerate(groups)
        for nest in group
        if nest.name in arrays and not nest.reduction and nest.index != WHOLE and readers.get(nest.name, set()) <= {i}
    }

    def scalar(nest: Nest) -> Nest:
        names = {_reference(name, index): name for name, index in nest.reads if name in gone}
        reads = {(name, () if name in gone else index) for name, index in nest.reads}
        index = () if nest.name in gone else nest.index
        return replace(nest, index=index, expression=_replaced(nest.expression, names), reads=reads)

    return [[scalar(nest) for nest in group] for group in groups], gone


# Source --------------------------------------------------------------------------------------------------------------

PRELUDE = '''"""Generated by tinygrad_lab.codegen: one training step as loops, and an epoch of them."""

from math import cos, erf, exp, expm1, inf, isfinite, log, log1p, nan, sin, sqrt, tanh

import numpy as np
from numba import njit

f32 = np.float32
FLOAT = np.{dtype}  # the narrowest in use: with a wider operand, a result is as wide as that
compiled = njit(error_model="numpy", fastmath={{"contract", "reassoc", "nsz", "arcp"}})


@compiled
def sign(x):
    return FLOAT(1) if x > 0 else (FLOAT(-1) if x < 0 else x)


@compiled
def max(a, b):
    return a if a > b or a != a else b


@compiled
def min(a, b):
    return a if a < b or a != a else b


@compiled
def sigmoid(x):
    return FLOAT(1) / (FLOAT(1) + exp(-x)) if x >= 0 else exp(x) / (FLOAT(1) + exp(x))


@compiled
def softplus(x):
    return max(x, FLOAT(0)) + log1p(exp(-abs(x)))
'''

DATA = ("x", "y", "sample_weight")  # the inputs that every batch has its own of


def write_source(program: Program) -> tuple[str, list[str], dict[str, Value]]:
    """Write the module of a program.

    Returns
    -------
    source : str
        A module with `step`, which makes one update and returns the loss, and `epoch`, which makes all of an epoch.
    batched : list of str
        The inputs, among the program's, that `epoch` takes for all batches together: they come first.
    arguments : dict of str to Value
        The arrays that both take after those, in order.

    Raises
    ------
    NoLoopFormError
        Where a line of the program has no loop form.
    """
    if len(program.outputs) != 1 or next(iter(program.outputs.values())).array.size != 1:
        raise NoLoopFormError("a program with loops has one output of one element, the loss")
    for rewrite in (factor_squares, turn_products, separate_uses, copy_views):
        program = rewrite(program)
        program.check()
    writer = Writer(program, in_place_states(program))
    groups = merge_nests(make_nests(writer))
    arguments = writer.arguments
    groups, gone = make_scalars(groups, {name for name, x in arguments.items() if x.kind == "result"})
    for name in gone:
        del arguments[name]
    (loss,) = program.outputs.values()
    names = [_parameter(name, x) for name, x in arguments.items()]
    batched = [name for name, key in zip(arguments, program.inputs, strict=False) if key in DATA]
    others = [name for name in names if name not in batched]
    text = [
        PRELUDE.format(dtype=_narrowest(program).name),
        "",
        "@compiled",
        f"def step({', '.join(names)}):",
        *[f"    {name} = {name}_[()]" for name, x in arguments.items() if not x.array.ndim],
        *_lengths(writer, groups),
        *[line for group in groups for line in _group_source(group, arguments)],
        f"    return {writer.name_of(loss)}",
        "",
        "",
        "@compiled",
        f"def epoch({', '.join([*[f'{name}_all' for name in batched], 'size', 'losses', *others])}):",
        "    for b in range(losses.shape[0]):",
        *[f"        {name} = {name}_all[b * size : (b + 1) * size]" for name in batched],
        f"        losses[b] = step({', '.join(names)})",
        "        if not isfinite(losses[b]):",
        "            return b + 1",
        "    return losses.shape[0]",
        "",
    ]
    return "\n".join(text), batched, arguments


def _narrowest(program: Program) -> np.dtype:
    dtypes = [x.array.dtype for x in program.state.values() if x.array.dtype.kind == "f"]
    return min(dtypes, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float64))


def _parameter(name: str, x: Value) -> str:
    """Return the name of an argument; that of a single number, read at the start, is freed for the number itself."""
    return name if x.array.ndim else f"{name}_"


def _lengths(writer: Writer, groups: Sequence[Sequence[Nest]]) -> list[str]:
    """Read the loop bounds from the arrays."""
    needed = {d for group in groups for d in group[0].domain}
    lines = []
    for name, x in writer.arguments.items():
        for axis, d in enumerate(writer.dimensions.of(x)):
            if d in needed:
                needed.remove(d)
                lines.append(f"    n{d} = {name}.shape[{axis}]")
    if needed:
        raise NoLoopFormError("a loop runs along no array that the program is given")
    return lines


def _group_source(group: Sequence[Nest], arguments: Mapping[str, Value]) -> list[str]:
    """Write the loops of a group, with what does not change in an inner loop read before it."""
    domain = group[0].domain
    before: list[list[str]] = [[] for _ in range(len(domain) + 1)]  # what stands before the loop of each level
    after: list[list[str]] = [[] for _ in range(len(domain) + 1)]
    body = []
    local: dict[str, str] = {}  # elements, and the variables that hold them
    for nest in group:
        for name, index in sorted(nest.reads):
            level = max((domain.index(d) + 1 for d in _loops(index)), default=0)
            reference = _reference(name, index)
            if index and level < len(domain) and reference not in local:
                local[reference] = f"{name}_{len(local)}"
                before[level].append(f"{local[reference]} = {reference}")
        expression = _replaced(nest.expression, local)
        target = _reference(nest.name, nest.index)
        if nest.inner:
            # A sum over several loops has one of its own for each turn of the outer ones: shorter chains of additions.
            total = f"{nest.name}_sum" if nest.index else nest.name
            first = len(domain) - len(nest.inner)
            before[first].append(f"{total} = {nest.start}")
            if nest.index:
                after[first].append(f"{target} = {total}")
            if len(nest.inner) > 1:
                part = f"{nest.name}_part"
                before[-2].append(f"{part} = {nest.start}")
                after[-2].append(_update(nest, total, part))
                total = part
            body.append(_update(nest, total, expression))
        elif nest.reduction:
            before[0].append(f"{nest.name}[:] = {nest.start}")
            body.append(_update(nest, target, expression))
        elif nest.index == WHOLE:
            body.append(expression)
        elif nest.name in arguments and not nest.index:
            body.append(f"{nest.name}_[()] = {expression}")
        else:
            body.append(f"{target} = {expression}")
    return [
        *[line for level, d in enumerate(domain) for line in _indented(level, [*before[level], f"for i{d} in range(n{d}):"])],
        *_indented(len(domain), body),
        *[line for level in reversed(range(len(domain))) for line in _indented(level, after[level])],
    ]


def _indented(level: int, lines: Sequence[str]) -> list[str]:
    return [f"{'    ' * (level + 1)}{line}" for line in lines]


def _update(nest: Nest, target: str, expression: str) -> str:
    return f"{target} = max({target}, {expression})" if nest.reduction == "max" else f"{target} += {expression}"
