"""The text of generated loops: what it contains, and what it never contains."""

import ast
import builtins
import math
import re
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.generated import interpret
from tests.helpers.loops import A, check_against_replay, report_program, run_once, source_of, step_of
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.codegen import write_source
from tinygrad_lab.program import capture
from tinygrad_lab.training.captured import CapturedStep


@pytest.mark.parametrize("constant", [[2.0], [2.0, 2.0], [2.0, 3.0], [2.0, 3.0, 5.0]])
def test_a_constant_is_written_out_or_read_from_an_array(constant):
    x = Tensor(np.arange(1.0, len(constant) + 1.0))
    program = capture(lambda: ({"loss": (x * np.array(constant)).sum()}, {}), {"x": x}, {})
    check_against_replay(program)
    assert ("c0" in step_of(source_of(program))) == (len(constant) > 1)
    program = capture(lambda: ({"loss": (x * constant[0]).sum()}, {}), {"x": x}, {})
    check_against_replay(program)
    assert "c0" not in step_of(source_of(program))


@pytest.mark.parametrize(
    ("dtypes", "name"),
    [
        ([np.float64], "float64"),
        ([np.float32], "float32"),
        ([np.float64, np.float32], "float32"),
        ([np.float64, np.int32], "float64"),
        ([np.int32], "float64"),
    ],
)
def test_numbers_in_the_text_have_the_narrowest_float_dtype_of_the_state(dtypes, name):
    x, state = Tensor([1.0, 2.0]), {f"s{i}": Tensor([1, 2], dtype=dtype) for i, dtype in enumerate(dtypes)}
    program = capture(lambda: ({"loss": x.sum()}, state), {"x": x}, state)
    assert f"\nFLOAT = np.{name} " in source_of(program)


def test_an_array_that_became_a_scalar_is_no_argument():
    x = Tensor(np.linspace(0.0, 1.0, 4))
    program = capture(lambda: ({"loss": (x * 2.0).exp().square().sum()}, {}), {"x": x}, {})
    assert [value.kind for value in write_source(program).arrays] == ["input"]


def test_an_element_is_read_once_before_an_inner_loop():
    a, b = Tensor(np.arange(6.0).reshape(2, 3)), Tensor([[1.0], [2.0]])
    program = capture(lambda: ({"loss": (a * b).max() + (a / b).exp().max()}, {}), {"a": a, "b": b}, {})
    assert step_of(source_of(program)).count("= x1[i0, 0]") == 1
    check_against_replay(program)


@pytest.mark.parametrize(
    ("dtypes", "narrowest"),
    [
        ([np.float64], "float64"),
        ([np.float64, np.float32], "float32"),
        ([np.float32, np.int8], "float32"),
        ([np.int8], "float64"),
        ([], "float64"),
    ],
)
def test_numbers_of_the_text_have_the_narrowest_precision_of_the_state(dtypes, narrowest):
    state = {f"s{i}": Tensor(np.ones(3, dtype)) for i, dtype in enumerate(dtypes)}
    program = capture(lambda: ({"loss": A.sum()}, state), {"a": A}, state)
    assert f"FLOAT = np.{narrowest} " in source_of(program)


def test_one_text_serves_every_width():
    texts = {source_of(report_program(hidden)) for hidden in [(75, 50), (25, 10), (10, 75), (20, 20)]}
    assert len(texts) == 1
    texts = {source_of(report_program(hidden, 30)) for hidden in [(75, 50), (25, 10), (10, 75), (20, 20), (30, 30)]}
    assert len(texts) == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch_size", [1, 30])
def test_the_text_can_be_read(batch_size, dtype):
    source = source_of(report_program(batch_size=batch_size, dtype=dtype))
    ast.parse(source)
    step = step_of(source)
    lines = step.splitlines()[1:]
    assert len(lines) < 110
    assert max(map(len, lines)) <= 260  # the norm for clipping, which is summed twice
    statement = r" +(return v\d+|for i\d in range\(n\d\):|np\.dot\(.+\)|\w+(\[[\w, :()]+\])? \+?= .+)|@compiled|"
    assert [line for line in lines if not re.fullmatch(statement, line)] == []


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_outer_product_is_stored(dtype):
    program = report_program(dtype=dtype)
    source = write_source(program)
    assert max(x.array.size for x in source.arrays if x.kind == "result") == 75
    assigned = re.findall(r"(\w+)\[i\d, i\d\] \+?= ", step_of(source.text))
    assert assigned == ["s2"]  # the weight itself, in place


def test_an_expression_may_use_math():
    x, y = Tensor(np.linspace(0.1, 0.9, 4)), Tensor(np.ones(4))
    for name in ("atan", "asinh", "gamma", "floor"):
        program = capture(lambda: ({"loss": (x.sin() * y).sum()}, {}), {"x": x, "y": y}, {})
        own = replace(ops.sin, name=f"own_{name}", loop=f"{name}({{0}})")
        del ops.OP_TABLE[own.name]
        program.lines[0] = replace(program.lines[0], op=own)
        loss, _ = run_once(program)
        assert loss == pytest.approx(sum(getattr(math, name)(number) for number in np.linspace(0.1, 0.9, 4)))


@pytest.mark.parametrize("op", [op for op in ops.OP_TABLE.values() if op.loop], ids=str)
def test_the_text_defines_every_name_of_an_expression(op):
    defined = vars(interpret(source_of(report_program(hidden=(2, 2)))))
    expression = ast.parse(op.loop.format("1.0", "1.0", "1.0"))
    names = [node.id for node in ast.walk(expression) if isinstance(node, ast.Name)]
    assert [name for name in names if name not in defined and name not in dir(builtins)] == []


def test_single_precision_stays_single():
    step = step_of(source_of(report_program(dtype=np.float32)))
    numbers = re.findall(r"(?<![\w.(])\d+\.\d+", step)  # a bare number would make its expression double
    assert set(numbers) <= {"0.0", "1.1754943508222875"}  # the factor of clipping is compared with the smallest number
    assert re.findall(r"v\d+ = 0\.0", step)  # the sums of squares for clipping are double on purpose


class Hostile(tl.Layer):
    def __init__(self):
        setattr(self, "__import__('os').system('touch x')", tl.Linear(1, 3, rng=np.random.default_rng(0)))
        setattr(self, "x0 = ', ", Tensor(2.0))

    def forward(self, x):
        linear, factor = vars(self).values()
        return linear(x) * factor.astype(x.dtype)


def test_no_string_of_a_users_enters_the_text():
    net = tl.Sequential(Hostile(), tl.Linear(3, 1, rng=np.random.default_rng(1)))
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()))
    program = CapturedStep(trainer).program([np.ones((1, 1))] * 2)
    assert any("__import__('os')" in name for name in program.state)
    source = source_of(program)
    own = r"[xsvcni]\d+(_\d*|_sum|_all)?|step|updates|range|shape|size|losses|rows?|b|i|for|in|if|else|return|def"
    own += r"|compiled|not|inf|np|float64|sqrt|signed|abs|max|\d+"
    words = re.findall(r"\w+", source[source.index("def step") :])
    assert [word for word in words if not re.fullmatch(own, word)] == []
