"""Loop nests: one for each stored value. Everything else is written out where it is used."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.ops import SUM, Reduction
from tinygrad_lab.codegen.dimensions import WHOLE, Dimensions, Domain, Index, loops, view_index
from tinygrad_lab.codegen.kinds import NoLoopFormError, follow_views, is_matrix_product, is_reduction, is_transpose
from tinygrad_lab.program import Line, Program, Value

LONGEST_EXPRESSION = 16
"""Operations in an expression: more are hard to read, and Python cannot parse some hundred nested brackets."""


def choose_stored(program: Program) -> set[Value]:
    """Return the values that are stored in memory.

    Reductions, factors of matrix products and results of the program are stored. So is an elementwise value that is used more
    than once if recomputing it costs more than one operation, or that is read by a loop with more iterations.
    """
    producers = {line.result: line for line in program.lines}
    stored = {*program.outputs.values(), *program.new_state.values()}
    uses: dict[Value, list[int]] = {}  # the number of iterations of each use of a value, views aside
    for line in program.lines:
        if is_matrix_product(line):
            stored.update(follow_views(x, producers) for x in line.operands)
        if not line.op.view:
            iterations = max(x.array.size for x in (*line.operands, line.result))
            for x in line.operands:
                uses.setdefault(follow_views(x, producers), []).append(iterations)
    costs: dict[Value, int] = {}  # the number of operations in the expression of a value
    for line in program.lines:
        y = line.result
        cost = sum(costs.get(x, 0) for x in line.operands) + (not line.op.view)
        iterations_of_uses = uses.get(y, [])
        worth_storing = (len(iterations_of_uses) > 1 and cost > 1) or any(
            iterations > y.array.size for iterations in iterations_of_uses
        )
        if is_reduction(line) or worth_storing or cost > LONGEST_EXPRESSION:
            stored.add(y)
        costs[y] = 0 if y in stored else cost
    return stored


@dataclass(eq=False)
class Nest:
    """A statement inside loops, which assigns one element or updates it.

    Attributes
    ----------
    domain : tuple of int
        The dimensions of the loops, outermost first.
    name : str
        The array or local variable that is assigned to.
    index : tuple of str
        The index of the element; empty for a local variable.
    expression : str
        It has ``name[index]`` where it reads an array.
    reads : set of (str, index)
        The elements that the expression uses.
    reduction : Reduction or None
        How the inner loops combine elements.
    start : str
        The start of a reduction, as a number of its dtype.
    """

    domain: Domain
    name: str
    index: Index
    expression: str
    reads: set[tuple[str, Index]]
    reduction: Reduction | None = None
    start: str = ""

    @property
    def inner(self) -> Domain:
        """The loops over which a reduction runs, if they are the innermost ones; it then adds up in a local variable."""
        outer = loops(self.index)
        return self.domain[len(outer) :] if self.domain[: len(outer)] == outer else ()


class ExpressionWriter:
    """Writes an element of any value of a program as an expression of stored values.

    Parameters
    ----------
    program : Program

    Attributes
    ----------
    arguments : dict of str to Value
        The arrays that the generated function takes, by their names in its text.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.dimensions = Dimensions(program)
        self.producers = {line.result: line for line in program.lines}
        self.stored = choose_stored(program)
        self.arguments: dict[str, Value] = {}
        self._reads: set[tuple[str, Index]] = set()  # the elements used since `take_reads`
        self._names: dict[Value, str] = {}
        self._constants = 0
        for prefix, values in (("x", program.inputs.values()), ("s", program.state.values())):
            for i, x in enumerate(values):
                self._name(x, f"{prefix}{i}")
        for i, line in enumerate(program.lines):
            if line.result in self.stored:
                self._name(line.result, f"v{i}")

    def write_in_place(self, states: Collection[str]) -> None:
        """Write the new values of these states over the old ones."""
        for name in states:
            new = self.program.new_state[name]
            self.arguments.pop(self._names[new], None)
            self._names[new] = self._names[self.program.state[name]]

    def _name(self, x: Value, name: str) -> None:
        self._names[x] = name
        if x.kind != "result" or x.array.size > 1:
            self.arguments[name] = x

    def name_of(self, x: Value) -> str:
        """Return the name of a stored value."""
        return self._names[x]

    def take_reads(self) -> set[tuple[str, Index]]:
        """Return the elements that were used since the last call."""
        reads, self._reads = self._reads, set()
        return reads

    def index(self, x: Value) -> Index:
        """Return the index of an element of `x` inside loops over its dimensions."""
        dimensions = self.dimensions.of(x)
        long = [d for d in dimensions if d >= 0]
        if len(set(long)) < len(long):
            raise NoLoopFormError(f"{x} has one dimension on two axes")
        return tuple("0" if d < 0 else f"i{d}" for d in dimensions)

    def target(self, x: Value) -> tuple[str, Index]:
        """Return the name and index to which an element of a stored value is assigned."""
        name = self._names[x]
        return name, self.index(x) if name in self.arguments else ()

    def element(self, x: Value, index: Index) -> str:
        """Write the element of `x` at `index`."""
        if x in self._names:
            name = self._names[x]
            if name not in self.arguments:
                index = ()
            self._reads.add((name, index))
            return reference(name, index)
        if x.kind == "constant":
            return self._constant(x, index)
        line = self.producers[x]
        return self.element(line.operands[0], view_index(line, index)) if line.op.view else self.formula(line, index)

    def formula(self, line: Line, index: Index) -> str:
        """Write an element of a line's result as an expression of the line's operands."""
        if line.op is ops.matmul:  # of inner length 1
            a, b = line.operands
            return f"({self.element(a, (index[0], '0'))} * {self.element(b, ('0', index[1]))})"
        if line.op is ops.multiply:
            for factor, sign in (line.operands, line.operands[::-1]):
                if sign not in self._names and sign in self.producers and self.producers[sign].op is ops.sign:
                    (x,) = self.producers[sign].operands
                    return f"signed({self.element(factor, index)}, {self.element(x, index)})"
        operands = [self.element(operand, index) for operand in line.operands]
        if line.op.reduction is not None:  # over axes of length 1
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
        """Return the dimensions of `x`, the one whose elements are furthest apart in memory first."""
        index = self.index(x)
        while x in self.producers and self.producers[x].op.view:
            index = view_index(self.producers[x], index)
            (x,) = self.producers[x].operands
        return loops(index)

    def matrix(self, x: Value) -> str:
        """Write a factor of a matrix product as a whole."""
        name = self._names[follow_views(x, self.producers, is_transpose)]
        self._reads.add((name, WHOLE))
        return name if self.memory_order(x) == loops(self.index(x)) else f"{name}.T"


def _float_name(line: Line) -> str:
    if line.params["dtype"].kind != "f":
        raise NoLoopFormError(f"a change to {line.params['dtype']} has no loop form: {line}")
    return str(line.params["dtype"].name)


def _number(x: Any, dtype: np.dtype) -> str:
    text = repr(x)  # inf and nan are names of `math`
    if dtype == np.float32:
        return f"f32({text})"
    return f"({text})" if text.startswith("-") else text


def reference(name: str, index: Index) -> str:
    """Write an element of an array, or a variable if the index is empty."""
    return f"{name}[{', '.join(index)}]" if index else name


def replaced(expression: str, names: Mapping[str, str]) -> str:
    """Replace references to elements of arrays by other names."""
    return re.sub(r"\w+\[[^]]*\]", lambda match: names.get(match[0], match[0]), expression)


def make_nests(writer: ExpressionWriter) -> list[Nest]:
    """Write one nest for each stored value, in the order of the program, then one for each state not updated in place."""
    nests = []
    for line in writer.program.lines:
        if line.result in writer.stored:
            nests.append(_nest(writer, line))
    for name, x in writer.program.new_state.items():
        state = writer.program.state[name]
        index = writer.index(state)
        value = writer.element(x, index)
        reads = writer.take_reads()
        if writer.name_of(x) != writer.name_of(state):
            nests.append(Nest(loops(index), *writer.target(state), value, reads))
    return nests


def _nest(writer: ExpressionWriter, line: Line) -> Nest:
    name, index = writer.target(line.result)
    if is_matrix_product(line):
        a, b = line.operands
        return Nest((), name, WHOLE, f"np.dot({writer.matrix(a)}, {writer.matrix(b)}, {name})", writer.take_reads())
    if is_reduction(line):
        domain, expression = _product(writer, line) if line.op is ops.matmul else _reduction(writer, line)
        reduction = line.op.reduction or SUM  # a matrix product sums products
        return Nest(
            domain, name, index, expression, writer.take_reads(), reduction, _number(reduction.start, line.result.array.dtype)
        )
    expression = writer.formula(line, writer.index(line.result))
    return Nest(loops(index), name, index, expression, writer.take_reads())


def _reduction(writer: ExpressionWriter, line: Line) -> tuple[Domain, str]:
    """Return the loops, the innermost along the memory of the operand, and the element that is reduced."""
    (x,) = line.operands
    return _ordered(loops(writer.index(x)), writer.memory_order(x)), writer.element(x, writer.index(x))


def _product(writer: ExpressionWriter, line: Line) -> tuple[Domain, str]:
    """Return the loops, the innermost along the memory of the larger factor, and one term of the product."""
    a, b = line.operands
    every = [d for x in (line.result, a, b) for d in loops(writer.index(x))]
    domain = _ordered(every, writer.memory_order(max(line.operands, key=lambda x: x.array.size)))
    return domain, f"{writer.element(a, writer.index(a))} * {writer.element(b, writer.index(b))}"


def _ordered(dimensions: Sequence[int], innermost: Domain) -> Domain:
    return tuple(d for d in dict.fromkeys(dimensions) if d not in innermost) + innermost


def in_place_states(writer: ExpressionWriter) -> list[str]:
    """Name the states that can be updated in place: nothing reads the old value later, or while a reduction replaces it."""
    program = writer.program
    nests = make_nests(writer)
    position = {nest.name: i for i, nest in enumerate(nests)}
    values = list(program.new_state.values())
    names = []
    for name, x in program.new_state.items():
        if x is program.state[name] or x.array.size == 1 or values.count(x) > 1:
            continue
        state = writer.name_of(program.state[name])
        nest, *later = nests[position[writer.name_of(x)] :]
        readers = [nest, *later] if nest.reduction or nest.index == WHOLE else later
        if not any(state == read for reader in readers for read, _ in reader.reads):
            names.append(name)
    return names
