"""ONNX: the ops of a forward pass as nodes of a graph that other programs run.

    forward(2 samples), forward(3 samples) --record--> two lists of ops --compare, a node for each op--> ONNX model

*Why are there two recordings?* A recording has the number of its samples in shapes. What differs between the two is that
number, and the graph gets it from its input. All else must be the same, or the graph would be right for one number only.

The rules are for ops of the table, not for layers. So all layers that are composed of these ops can be exported, a user's own
too. Constants keep their precision: an attribute of ONNX would round 0.05 to single precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from tinygrad_lab.autodiff.ops import ARRAY
from tinygrad_lab.autodiff.recording import RecordedOp, Recording, record
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.checks import install_hint, is_positive_integer
from tinygrad_lab.nn.mode import entered
from tinygrad_lab.storage.files import replacing

OPSET = 18
INPUT = "x"
FEW, MORE = 2, 3
"""The numbers of samples of the two recordings."""

SAME = {
    "abs": "Abs", "add": "Add", "arccos": "Acos", "arccosh": "Acosh", "arcsin": "Asin", "arcsinh": "Asinh", "arctan": "Atan",
    "arctanh": "Atanh", "cos": "Cos", "cosh": "Cosh", "detach": "Identity", "divide": "Div", "equal": "Equal",
    "exp": "Exp", "floor": "Floor", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And", "logical_not": "Not", "logical_or": "Or",
    "matmul": "MatMul", "maximum": "Max", "minimum": "Min", "multiply": "Mul", "negative": "Neg", "power": "Pow",
    "rint": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "subtract": "Sub",
    "tan": "Tan", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
"""Ops of the table that are one operator of ONNX."""


def write_onnx(
    path: str | os.PathLike[str],
    forward: Callable[[Tensor], Tensor],
    in_features: int,
    dtype: np.dtype,
    output: str,
    notes: Mapping[str, str],
) -> None:
    """Write a function of samples as an ONNX model with the input ``x``, for any number of samples.

    Parameters
    ----------
    path : path
    forward : callable
        From a Tensor of shape (samples, features) to one of shape (samples, outputs).
    in_features : int
    dtype : dtype
        Of the input.
    output : str
        The name of the output.
    notes : mapping of str to str
        Metadata of the model.

    Raises
    ------
    ImportError
        If onnx is not installed.
    CaptureError
        If the function computes with Python numbers that it has read from the samples.
    TypeError, ValueError
        If it uses an op that has no rule here, or depends on the number of samples in another way than by shapes.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError(f"to_onnx needs onnx, which is not installed: {install_hint('onnx')}") from None
    if not is_positive_integer(in_features):
        raise ValueError(f"to_onnx: in_features is {in_features!r}, expected a positive integer")
    few, more = (_recorded(forward, np.ones((samples, in_features), dtype)) for samples in (FEW, MORE))
    graph = _Graph()
    names = graph.translate(few, more)
    result = few[2]
    graph.node("Identity", names[id(result)], name=output)
    tensor_type = onnx.helper.np_dtype_to_tensor_dtype
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "tinygrad_lab",
            [onnx.helper.make_tensor_value_info(INPUT, tensor_type(dtype), ["samples", in_features])],
            [onnx.helper.make_tensor_value_info(output, tensor_type(result.dtype), ["samples", *result.shape[1:]])],
            graph.initializers,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=8,  # of the first release with this opset, so that older programs read it
        producer_name="tinygrad_lab",
    )
    onnx.helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as file:
        file.write(model.SerializeToString())


Recorded = tuple[Tensor, Recording, Tensor]


def _recorded(forward: Callable[[Tensor], Tensor], samples: np.ndarray) -> Recorded:
    x = wrap(samples)
    with entered(None), np.errstate(all="ignore"), record([x]) as recording:
        return x, recording, forward(x)


class _Graph:
    """The nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._count: str | None = None  # the name of the number of samples

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its result."""
        from onnx import helper

        name = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, array: Any) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def shape(self, few: Sequence[int], more: Sequence[int], source: str) -> str:
        """Return the name of a shape, in which the number of samples is that of the input."""
        if few == more:
            return self.constant(np.array(few, np.int64))
        if any(a != b and (a, b) != (FEW, MORE) for a, b in zip(few, more, strict=True)):
            _refuse(f"a shape is {tuple(few)} for {FEW} samples and {tuple(more)} for {MORE}", source)
        if self._count is None:
            self._count = self.node("Shape", INPUT, start=0, end=1)
        parts = [self._count if a != b else self.constant(np.array([a], np.int64)) for a, b in zip(few, more, strict=True)]
        return self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def translate(self, few: Recorded, more: Recorded) -> dict[int, str]:
        """Add the ops that depend on the input, and return the names of their results by the ids of the Tensors."""
        names = {id(few[0]): INPUT}
        lines, others = few[1].lines, more[1].lines
        if [line.op for line in lines] != [line.op for line in others]:
            _refuse("it runs other ops for another number of samples", "")
        for line, other in zip(lines, others, strict=True):
            if any(id(x) in names for x in line.inputs):
                inputs = [
                    names[id(x)] if id(x) in names else self._constant_of(x, y, line)
                    for x, y in zip(line.inputs, other.inputs, strict=True)
                ]
                names[id(line.result)] = self._translate_line(line, other, inputs)
        if id(few[2]) not in names:
            _refuse("its result does not depend on its input", "")
        return names

    def _constant_of(self, x: Tensor, y: Tensor, line: RecordedOp) -> str:
        """Return the name of a constant, of which an axis as long as the samples is one row, repeated."""
        array, other = x._array, y._array
        axes = [axis for axis, (a, b) in enumerate(zip(array.shape, other.shape, strict=True)) if a != b]
        for axis in axes:
            one, another = array.take([0], axis), other.take([0], axis)
            if (array != one).any() or (other != another).any() or not line.op.elementwise:
                _refuse("a constant depends on the number of samples", line.source_line)
            array, other = one, another
        if not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
            _refuse("a constant depends on the number of samples", line.source_line)
        if line.op.elementwise and array.size and not any(array.strides):
            array = array.flat[0]  # one number, which ONNX repeats
        return self.constant(array)

    def _translate_line(self, line: RecordedOp, other: RecordedOp, inputs: list[str]) -> str:
        name, params = line.op.name, line.params
        if name in SAME:
            return self.node(SAME[name], *inputs)
        if name in ("broadcast_to", "reshape"):
            shape = self.shape(params["shape"], other.params["shape"], line.source_line)
            return self.node("Expand" if name == "broadcast_to" else "Reshape", inputs[0], shape)
        if params != other.params:
            _refuse(f"{name} has parameters that depend on the number of samples", line.source_line)
        if name not in RULES:
            _refuse(f"the op {name} has no rule for ONNX", line.source_line)
        return RULES[name](self, line, inputs)


def _refuse(what: str, source: str) -> NoReturn:
    raise ValueError(
        f"to_onnx: {f'{source}: ' if source else ''}{what}, expected ops of layers as in tinygrad_lab.nn; change it"
    )


# Rules of the other ops ------------------------------------------------------------------------------------------------


def _one(g: _Graph, line: RecordedOp) -> str:
    return g.constant(np.ones((), line.result.dtype))


def _not_equal(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:  # noqa: ARG001
    return g.node("Not", g.node("Equal", *inputs))


def _expm1(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    return g.node("Sub", g.node("Exp", *inputs), _one(g, line))


def _log1p(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    return g.node("Log", g.node("Add", *inputs, _one(g, line)))


def _softplus(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow, unlike log(1 + exp(x))."""
    tail = g.node("Exp", g.node("Neg", g.node("Abs", *inputs)))
    return g.node("Add", g.node("Relu", *inputs), g.node("Log", g.node("Add", tail, _one(g, line))))


def _astype(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    from onnx import helper

    return g.node("Cast", *inputs, to=helper.np_dtype_to_tensor_dtype(np.dtype(line.params["dtype"])))


def _erf(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    """Erf in single precision, the only one that ONNX Runtime has, with an error below 1e-7."""
    from onnx import TensorProto, helper

    single = g.node("Erf", g.node("Cast", *inputs, to=TensorProto.FLOAT))
    return g.node("Cast", single, to=helper.np_dtype_to_tensor_dtype(line.result.dtype))


def _reduce(kind: str) -> Callable[[_Graph, RecordedOp, list[str]], str]:
    def rule(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
        return g.node(kind, *inputs, g.constant(np.array(line.params["axes"], np.int64)), keepdims=1)

    return rule


def _transpose(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    axes = line.params["axes"]
    count = len(line.result.shape)
    moved = [count + axis for axis in axes]
    return g.node("Transpose", *inputs, perm=[*range(count - len(axes)), *moved])


def _concatenate(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    return g.node("Concat", *inputs, axis=line.params["axis"])


def _getitem(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    name, index = inputs[0], line.params["index"]
    if index[:1] != (Ellipsis,):
        _refuse(f"an index {index}", line.source_line)
    for axis, item in zip(range(1 - len(index), 0), index[1:], strict=True):  # removing an axis moves none on its right
        if isinstance(item, slice):
            if item != slice(None):
                name = g.node(
                    "Slice", name, *(g.constant(np.array([x], np.int64)) for x in (*_bounds(item), axis, item.step or 1))
                )
        elif isinstance(item, (int, np.integer)):
            name = g.node("Gather", name, g.constant(np.int64(item)), axis=axis)
        else:
            _refuse(f"an index {item!r}", line.source_line)
    return name


def _bounds(item: slice) -> tuple[int, int]:
    limits = np.iinfo(np.int64)
    first, last = (0, limits.max) if (item.step or 1) > 0 else (limits.max, limits.min)
    return first if item.start is None else item.start, last if item.stop is None else item.stop


def _gather(g: _Graph, line: RecordedOp, inputs: list[str]) -> str:
    first, *items = line.params["index"]
    if first is not Ellipsis or items.count(ARRAY) != 1 or any(item not in (ARRAY, slice(None)) for item in items):
        _refuse(f"an index {line.params['index']}", line.source_line)
    return g.node("Gather", *inputs, axis=items.index(ARRAY) - len(items))


Rule = Callable[[_Graph, RecordedOp, list[str]], str]
RULES: dict[str, Rule] = {
    "astype": _astype,
    "concatenate": _concatenate,
    "erf": _erf,
    "expm1": _expm1,
    "gather": _gather,
    "getitem": _getitem,
    "log1p": _log1p,
    "not_equal": _not_equal,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_sum": _reduce("ReduceSum"),
    "softplus": _softplus,
    "transpose": _transpose,
}
