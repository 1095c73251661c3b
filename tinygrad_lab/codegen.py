"""Code generation: from a Program to loops over scalars, in Python source that a person can read and Numba compiles.

    Program --> which axes are one and the same dimension       (`Dimensions`)
            --> which values are stored, which are inlined      (`choose_stored`)
            --> one loop nest for each stored value             (`make_nests`)
            --> neighbours over the same dimensions merged      (`merge_nests`)
            --> source text: `step`, and `epoch` around it      (`write_source`)

A value that is not stored is written out where it is used: an elementwise line as its op's scalar expression, a view as a
change of indices, a product with an inner length of 1 as a multiplication. So the gradient of a weight for one sample, an
outer product, never exists as a matrix. Loop bounds come from the arrays: one compilation serves every width.

The text is made of the op table's expressions and of names given here; no string of a user's enters it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from tinygrad_lab import ops
from tinygrad_lab.program import Line, Program, Value

Index = tuple[str, ...]
Domain = tuple[int, ...]


class NoLoopFormError(NotImplementedError):
    """A line of a program cannot be written as loops."""


# Dimensions ----------------------------------------------------------------------------------------------------------


class Dimensions:
    """Which axes of which values have one length by necessity, not by coincidence.

    Every axis longer than 1 gets the number of its dimension. Lines equate axes: an elementwise op those of its operands, a
    matrix product the inner ones, and so on.
    """

    def __init__(self, program: Program) -> None:
        self._parent: dict[tuple[Value, int], tuple[Value, int]] = {}
        for line in program.lines:
            for one, other in _equal_axes(line):
                self._parent[self._root(one)] = self._root(other)
        self._numbers: dict[tuple[Value, int], int] = {}

    def _root(self, axis: tuple[Value, int]) -> tuple[Value, int]:
        while axis in self._parent and self._parent[axis] != axis:
            axis = self._parent[axis]
        return axis

    def of(self, x: Value) -> tuple[int, ...]:
        """Return the dimension of each axis of `x`, -1 where its length is 1."""
        return tuple(
            -1 if n == 1 else self._numbers.setdefault(self._root((x, i)), len(self._numbers))
            for i, n in enumerate(x.array.shape)
        )


def _equal_axes(line: Line) -> Iterator[tuple[tuple[Value, int], tuple[Value, int]]]:
    y, op = line.result, line.op
    if op.elementwise or op in (ops.astype, ops.reduce_sum, ops.reduce_max):
        axes = range(y.array.ndim)
        reduced = {axis % y.array.ndim for axis in line.params.get("axes", ())}
        yield from (((x, i), (y, i)) for x in line.operands for i in axes if i not in reduced)
    elif op is ops.matmul:
        a, b = line.operands
        yield from [((a, 0), (y, 0)), ((b, 1), (y, 1)), ((a, 1), (b, 0))]
    else:
        (x,) = line.operands
        symbols = tuple(f"i{i}" if n != 1 else "0" for i, n in enumerate(y.array.shape))
        for i, symbol in enumerate(_view_index(line, symbols)):
            if symbol in symbols and symbol != "0":
                yield (x, i), (y, symbols.index(symbol))


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
    long = [i for i, n in zip(index, result_shape, strict=True) if n != 1]
    if line.op is ops.reshape and [n for n in shape if n != 1] == [n for n in result_shape if n != 1]:
        remaining = iter(long)
        return tuple(next(remaining) if n != 1 else "0" for n in shape)
    raise NoLoopFormError(f"{line.op.name} has no loop form here: {line}")


# What is stored ------------------------------------------------------------------------------------------------------


def is_reduction(line: Line) -> bool:
    """Whether a line adds up, or compares, several elements for each of its result."""
    if line.op is ops.matmul:
        return line.operands[0].array.shape[-1] != 1
    return line.op in (ops.reduce_sum, ops.reduce_max) and line.operands[0].array.shape != line.result.array.shape


def choose_stored(program: Program) -> set[Value]:
    """Return the results that get memory: reductions, what the program gives back, and what is dear and used more than once.

    An elementwise value is dear to repeat where it takes more than one operation, or any and is used by something larger.
    """
    producers = {line.result: line for line in program.lines}
    uses: dict[Value, list[int]] = {}
    for line in program.lines:
        if not line.op.view:
            size = line.result.array.size
            if line.op is ops.matmul:
                size *= line.operands[0].array.shape[-1]
            for x in line.operands:
                size_of_use = max(size, x.array.size)
                root = x
                while root in producers and producers[root].op.view:
                    root = producers[root].operands[0]
                uses.setdefault(root, []).append(size_of_use)

    stored = {x for x in (*program.outputs.values(), *program.new_state.values()) if x.kind == "result"}
    costs: dict[Value, int] = {}
    for line in program.lines:
        y = line.result
        cost = sum(costs.get(x, 0) for x in line.operands) + (not line.op.view)
        used = uses.get(y, [])
        dear = (len(used) > 1 and cost > 1) or (cost > 0 and any(size > y.array.size for size in used))
        if is_reduction(line) or (dear and not line.op.view):
            stored.add(y)
        costs[y] = 0 if y in stored else cost
    return {y for y in stored if not producers[y].op.view} | {y for y in stored if is_reduction(producers[y])}


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
    reads : set of (str, index)
        The elements that the expression uses.
    reduction : {"", "sum", "max"}
        How the elements of the inner loops make one.
    """

    domain: Domain
    name: str
    index: Index
    expression: str
    reads: set[tuple[str, Index]]
    reduction: str = ""

    @property
    def target(self) -> str:
        """The element as source text."""
        return f"{self.name}[{', '.join(self.index)}]" if self.index else self.name

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
        for prefix, values in (("x", program.inputs.values()), ("s", program.state.values())):
            for i, x in enumerate(values):
                self._name(x, f"{prefix}{i}")
        state_names = dict(zip(program.state, (self._names[x] for x in program.state.values()), strict=True))
        for name in in_place:
            self._names[program.new_state[name]] = state_names[name]
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

    def element(self, x: Value, index: Index) -> str:
        """Write the element of `x` at `index`."""
        if x in self._names:
            name = self._names[x]
            scalar = name not in self.arguments or not x.array.ndim
            self.reads.add((name, () if scalar else index))
            return name if scalar else f"{name}[{', '.join(index)}]"
        if x.kind == "constant":
            return self._constant(x, index)
        line = self.producers[x]
        if line.op.view:
            return self.element(line.operands[0], _view_index(line, index))
        if line.op is ops.matmul:  # of inner length 1
            a, b = line.operands
            return f"({self.element(a, (index[0], '0'))} * {self.element(b, ('0', index[1]))})"
        if line.op in (ops.reduce_sum, ops.reduce_max):  # over axes of length 1
            return self.element(line.operands[0], index)
        return self.formula(line, index)

    def formula(self, line: Line, index: Index) -> str:
        """Write an elementwise line's expression of its operands' elements."""
        if line.op is ops.astype and line.params["dtype"].kind == "f":
            return f"np.{line.params['dtype'].name}({self.element(line.operands[0], index)})"
        if line.op.loop is None:
            raise NoLoopFormError(f"{line.op.name} has no loop form: {line}")
        return line.op.loop.format(*[self.element(operand, index) for operand in line.operands])

    def _constant(self, x: Value, index: Index) -> str:
        if x.array.size > 1 and any(x.array.strides):
            self._name(x, f"c{sum(name.startswith('c') for name in self.arguments)}")
            return self.element(x, index)
        number = x.array.flat[0].item()
        text = repr(number) if isfinite(number) else {"inf": "inf", "-inf": "(-inf)"}.get(str(number), "nan")
        return f"f32({text})" if x.array.dtype == np.float32 else text

    def stored_index(self, x: Value, index: Index) -> Index:
        """Follow views from `x` and return the index in the order in which the elements lie in memory."""
        while x not in self._names and x in self.producers and self.producers[x].op.view:
            index = _view_index(self.producers[x], index)
            (x,) = self.producers[x].operands
        return index


def make_nests(writer: Writer) -> list[Nest]:
    """Write one nest for each stored value, in the order of the program, then the states that are not made in place."""
    nests = []
    for line in writer.program.lines:
        y = line.result
        if y not in writer.stored:
            continue
        writer.reads = set()
        index = writer.index(y)
        domain, reduction = _loops(index), ""
        if is_reduction(line):
            domain, expression = _product(writer, line) if line.op is ops.matmul else _reduction(writer, line)
            reduction = "max" if line.op is ops.reduce_max else "sum"
        else:
            expression = _expression(writer, line, index)
        name = writer.name_of(y)
        nests.append(Nest(domain, name, index if name in writer.arguments else (), expression, writer.reads, reduction))
    for name, y in writer.program.new_state.items():
        state = writer.program.state[name]
        writer.reads = set()
        index = writer.index(state)
        value = writer.element(y, writer.index(y))
        if (writer.name_of(state), index) not in writer.reads:
            nests.append(Nest(_loops(index), writer.name_of(state), index, value, writer.reads))
    return nests


def _expression(writer: Writer, line: Line, index: Index) -> str:
    """Write the element of a line's own result, which is stored, from its operands."""
    if line.op is ops.matmul:
        a, b = line.operands
        return f"{writer.element(a, (index[0], '0'))} * {writer.element(b, ('0', index[1]))}"
    if line.op in (ops.reduce_sum, ops.reduce_max):
        return writer.element(line.operands[0], index)
    return writer.formula(line, index)


def _reduction(writer: Writer, line: Line) -> tuple[Domain, str]:
    (x,) = line.operands
    index = writer.index(x)
    return _loops(writer.stored_index(x, index)), writer.element(x, index)


def _product(writer: Writer, line: Line) -> tuple[Domain, str]:
    """Write one term of a matrix product; the innermost loop runs along the memory of the largest array of the three."""
    if line.result.array.ndim != 2:
        raise NoLoopFormError(f"a product of batches of matrices has no loop form: {line}")
    a, b = line.operands
    indices = [(x, writer.index(x)) for x in (a, b, line.result)]
    largest, index = max(indices, key=lambda pair: pair[0].array.size)
    order = _loops(writer.stored_index(largest, index))
    every = dict.fromkeys(d for _, other in indices for d in _loops(other))
    if len(every) < sum(n != 1 for n in (*a.array.shape, b.array.shape[1])):
        raise NoLoopFormError(f"{line} has one dimension on two axes")
    domain = tuple(d for d in every if d not in order) + order
    return domain, f"{writer.element(a, indices[0][1])} * {writer.element(b, indices[1][1])}"


def _loops(index: Index) -> Domain:
    return tuple(int(i[1:]) for i in index if i != "0")


def in_place_states(program: Program) -> list[str]:
    """Name the states whose new value is stored, and whose old one nothing reads any more once it is."""
    writer = Writer(program)
    nests = make_nests(writer)
    position = {nest.name: i for i, nest in enumerate(nests)}
    names = []
    for name, y in program.new_state.items():
        state = writer.name_of(program.state[name])
        if y in writer.stored and y.array.size > 1 and list(program.new_state.values()).count(y) == 1:
            later = nests[position[writer.name_of(y)] + 1 :]
            if not any(state == read for nest in later for read, _ in nest.reads):
                names.append(name)
    return names


def merge_nests(nests: Sequence[Nest]) -> list[list[Nest]]:
    """Group the nests whose loops can be shared, keeping every element written before it is read.

    A nest joins a group where its loops are the same, and what it reads from that group is the very element that the same
    turn of the loops has written. A reduction with inner loops of its own stays alone.
    """
    groups: list[list[Nest]] = []
    place: dict[str, tuple[int, Nest]] = {}  # the group in which a name is written
    readers: dict[str, list[tuple[int, Index, Nest]]] = {}  # the groups in which it is read, before it is written over
    for nest in nests:
        alone = bool(nest.inner) and nest.domain != nest.inner
        earliest = 0
        for name, index in nest.reads:
            if name in place:
                group, writer = place[name]
                together = not alone and not writer.reduction and writer.domain == nest.domain and writer.index == index
                earliest = max(earliest, group if together else group + 1)
        for group, index, reader in readers.get(nest.name, []):
            together = not reader.reduction and reader.domain == nest.domain and index == nest.index
            earliest = max(earliest, group if together else group + 1)
        fitting = [
            i
            for i in range(earliest, len(groups))
            if groups[i][0].domain == nest.domain
            and not alone
            and not (groups[i][0].inner and groups[i][0].domain != groups[i][0].inner)
        ]
        at = fitting[0] if fitting else len(groups)
        if at == len(groups):
            groups.append([])
        groups[at].append(nest)
        for name, index in nest.reads:
            readers.setdefault(name, []).append((at, index, nest))
        place[nest.name] = (at, nest)
    return groups


# Source --------------------------------------------------------------------------------------------------------------

PRELUDE = '''"""Generated by tinygrad_lab.codegen: one training step as loops, and an epoch of them."""

from math import cos, erf, exp, expm1, inf, isfinite, log, log1p, nan, sin, sqrt, tanh

import numpy as np
from numba import njit

f32 = np.float32
FLOAT = np.{dtype}
compiled = njit(cache=True, error_model="numpy", fastmath={{"contract", "reassoc", "nsz", "arcp"}})


@compiled
def sign(x):
    return FLOAT((x > 0) - (x < 0)) if x == x else x


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
    program.check()
    writer = Writer(program, in_place_states(program))
    nests = make_nests(writer)
    (loss,) = program.outputs.values()
    result = writer.element(loss, writer.index(loss))
    body = _step_body(writer, merge_nests(nests))
    arguments = writer.arguments
    dtype = max((x.array.dtype for x in program.state.values()), key=lambda d: d.itemsize, default=np.dtype(np.float64))
    names = [f"{name}_" if not x.array.ndim else name for name, x in arguments.items()]
    batched = [name for name, x in zip(arguments, program.inputs, strict=False) if x in DATA]
    first = [f"{name}_all" for name in batched]
    slices = [f"        {name} = {name}_all[b * size : (b + 1) * size]" for name in batched]
    text = [
        PRELUDE.format(dtype=dtype.name),
        "",
        "@compiled",
        f"def step({', '.join(names)}):",
        *body,
        f"    return {result}",
        "",
        "",
        "@compiled",
        f"def epoch({', '.join([*first, 'size', 'losses', *[n for n in names if n not in batched]])}):",
        "    for b in range(losses.shape[0]):",
        *slices,
        f"        losses[b] = step({', '.join(names)})",
        "        if not isfinite(losses[b]):",
        "            return b + 1",
        "    return losses.shape[0]",
        "",
    ]
    return "\n".join(text), batched, arguments


DATA = ("x", "y", "sample_weight")


def _step_body(writer: Writer, groups: Sequence[Sequence[Nest]]) -> list[str]:
    lines = [f"    {name} = {name}_[()]" for name, x in writer.arguments.items() if not x.array.ndim]
    used = {d for group in groups for d in group[0].domain}
    for name, x in writer.arguments.items():
        for axis, d in enumerate(writer.dimensions.of(x)):
            if d in used:
                used.remove(d)
                lines.append(f"    n{d} = {name}.shape[{axis}]")
    for group in groups:
        lines += _group_source(group)
    return lines


def _group_source(group: Sequence[Nest]) -> list[str]:
    """Write the loops of a group, with what does not change in an inner loop read before it."""
    domain = group[0].domain
    lines = []
    written = {nest.name for nest in group}
    statements = []
    hoisted: dict[int, list[str]] = {}
    locals_: dict[str, str] = {}
    for nest in group:
        expression = nest.expression
        for name, index in sorted(nest.reads):
            level = max((domain.index(d) + 1 for d in _loops(index) if d in domain), default=0)
            if index and level < len(domain) and name not in written:
                reference = f"{name}[{', '.join(index)}]"
                if reference not in locals_:
                    locals_[reference] = f"{name}_{len(locals_)}"
                    hoisted.setdefault(level, []).append(f"{locals_[reference]} = {reference}")
                expression = expression.replace(reference, locals_[reference])
        statements.append((nest, expression))

    indent = "    "
    inner_start = len(domain)
    for nest in group:
        if nest.reduction and not (nest.inner or nest.domain == ()):
            lines.append(f"{indent}{nest.name}[:] = {_start(nest)}")
        if nest.reduction and nest.inner:
            inner_start = len(domain) - len(nest.inner)
    for level in range(len(domain) + 1):
        depth = indent * (level + 1)
        lines += [f"{depth}{statement}" for statement in hoisted.get(level, [])]
        if level == inner_start:
            lines += [f"{depth}{_accumulator(nest)} = {_start(nest)}" for nest in group if nest.inner]
        if level < len(domain):
            d = domain[level]
            lines.append(f"{depth}for i{d} in range(n{d}):")
    depth = indent * (len(domain) + 1)
    for nest, expression in statements:
        lines.append(f"{depth}{_statement(nest, expression)}")
    after = indent * (inner_start + 1)
    lines += [
        f"{after}{nest.target} = {_accumulator(nest)}" for nest in group if nest.inner and nest.target != _accumulator(nest)
    ]
    return lines


def _accumulator(nest: Nest) -> str:
    return nest.name if not nest.index else f"{nest.name}_sum"


def _start(nest: Nest) -> str:
    return "FLOAT(-inf)" if nest.reduction == "max" else "FLOAT(0)"


def _statement(nest: Nest, expression: str) -> str:
    target = _accumulator(nest) if nest.inner else nest.target
    if nest.reduction == "sum":
        return f"{target} += {expression}"
    if nest.reduction == "max":
        return f"{target} = max({target}, {expression})"
    return f"{target} = {expression}"
