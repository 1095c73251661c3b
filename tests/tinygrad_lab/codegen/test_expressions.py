"""Expressions of loops: signs, changes of dtype, constants, and which values are stored."""

import ast

import numpy as np
import pytest

from tests.helpers.loops import check_against_replay, source_of, step_of
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.codegen import write_source
from tinygrad_lab.codegen.nests import choose_stored
from tinygrad_lab.program import capture


@pytest.mark.parametrize("factor", [0.5, -0.0, np.inf, np.nan])
@pytest.mark.parametrize("product", [lambda a, s: a * s, lambda a, s: s * a])
def test_a_product_with_a_sign_is_a_choice(product, factor):
    x = Tensor([-2.0, -0.0, 0.0, 3.0, np.nan, -np.inf])
    w = Tensor(np.zeros(6))
    with np.errstate(invalid="ignore"):  # infinity times the sign of 0
        program = capture(lambda: ({"loss": w.sum()}, {"w": w + product(factor * x.exp(), x.sign())}), {"x": x}, {"w": w})
    step = step_of(source_of(program))
    assert "signed(" in step
    assert "sign(" not in step.replace("signed(", "")
    with np.errstate(invalid="ignore"):
        check_against_replay(program)


def test_a_sign_that_is_needed_by_itself_is_no_choice():
    x = Tensor([-2.0, 0.5])
    program = capture(lambda: ({"loss": (x * x.sign() + x.sign()).sum() + (x.sign() * 2.0).sum()}, {}), {"x": x}, {})
    assert "sign(" in step_of(source_of(program)).replace("signed(", "")
    check_against_replay(program)


def test_a_sign_that_is_stored_is_read():
    x, y = Tensor([[-2.0, 0.5, 3.0]]), Tensor(np.ones((4, 3)))
    program = capture(lambda: ({"loss": (x.sign() * x).sum() + (x.sign() * y).sum()}, {}), {"x": x, "y": y}, {})
    assert "signed(" not in step_of(source_of(program))
    check_against_replay(program)


def test_a_change_to_the_same_dtype_is_no_operation():
    x = Tensor([1.0, 2.0])
    program = capture(lambda: ({"loss": ops.astype(x, dtype=x.dtype).sum()}, {}), {"x": x}, {})
    assert "float64" not in step_of(source_of(program))
    program = capture(lambda: ({"loss": ops.astype(x, dtype=np.dtype(np.float32)).sum()}, {}), {"x": x}, {})
    assert "np.float32(x0[i0])" in step_of(source_of(program))


@pytest.mark.parametrize(
    ("constant", "in_text"),
    [
        (lambda: 2.5, True),
        (lambda: np.array([2.5]), True),
        (lambda: Tensor(2.5).broadcast_to((2,)), True),
        (lambda: np.array([2.5, 2.5]), False),
    ],
)
def test_a_constant_number_is_in_the_text_and_a_constant_array_is_an_argument(constant, in_text):
    x = Tensor([1.0, 2.0])
    program = capture(lambda: ({"loss": (x * constant()).sum()}, {}), {"x": x}, {})
    assert ("2.5" in step_of(source_of(program))) is in_text
    assert len([value for value in write_source(program).arrays if value.kind == "constant"]) == (not in_text)
    check_against_replay(program)


def stored(function, **inputs):
    program = capture(lambda: ({"loss": function(**inputs).sum()}, {}), inputs, {})
    values = choose_stored(program)
    return [line.op.name for line in program.lines if line.result in values and line.result.array.size > 1]


def test_choose_stored():
    x, y = Tensor(np.ones((1, 4))), Tensor(np.ones((3, 4)))
    assert stored(lambda x: x.exp() * 2.0, x=x) == []  # used once
    assert stored(lambda x: x.exp() * x.exp(), x=x) == []  # twice, but one operation
    assert stored(lambda x: (z := (x * 2.0).exp()) * z, x=x) == ["exp"]
    assert stored(lambda x, y: x.exp() + y, x=x, y=y) == ["exp"]  # by a loop with three times as many iterations
    assert stored(lambda x, y: y * y.max(axis=0, keepdims=True), x=x, y=y) == ["reduce_max"]
    assert stored(lambda x, y: x.T.T + y, x=x, y=y) == []  # a view is a change of indices
    assert stored(lambda x: (x * 2.0).exp().T * 3.0, x=x) == []  # used once: a view is no use


def test_an_expression_does_not_grow_without_bound():
    x = Tensor(np.linspace(0.0, 1.0, 4))

    def step():
        y = x
        for _ in range(300):
            y = y.sin()
        return {"loss": y.sum()}, {}

    program = capture(step, {"a": x}, {})
    ast.parse(source_of(program))
    check_against_replay(program)
