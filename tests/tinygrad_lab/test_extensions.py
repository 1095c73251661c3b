"""Ops that users define: on every engine, in lanes, and refused if a part of them is wrong."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.ops import OP_TABLE
from tinygrad_lab.codegen import native
from tinygrad_lab.program import capture
from tinygrad_lab.testing import check_grad

X = np.array([0.5, -2.0, 1.25])
SOFTSIGN = {
    "run": lambda x: x / (1.0 + np.abs(x)),
    "vjps": [lambda g, y, x: g / (1.0 + abs(x)) ** 2],
    "samples": [[X], [[[0.5], [3.0]]], [-0.75]],
    "loop": "({0} / (1.0 + abs({0})))",
}


pytestmark = pytest.mark.usefixtures("own_ops")


def softsign(**changes):
    return tl.define_op("softsign_", **(SOFTSIGN | changes))


def normalized():
    """An op that is not elementwise, with a parameter: x / sum x, times a factor."""
    return tl.define_op(
        "normalized",
        lambda x, factor: factor * x / x.sum(axis=-1, keepdims=True),
        [lambda g, y, x, factor: (factor * g - (g * y).sum(-1, keepdims=True)) / x.sum(-1, keepdims=True)],
        [[[1.0, 2.0, 4.0]], [np.ones((2, 3)) + np.eye(2, 3)]],
        factor=3.0,
    )


def test_an_op_computes_with_tensors_and_arrays():
    op = softsign()
    np.testing.assert_array_equal(op(X), X / (1.0 + np.abs(X)))
    np.testing.assert_array_equal(op(Tensor(X)).data, X / (1.0 + np.abs(X)))
    assert op(Tensor(X, dtype=np.float32)).dtype == np.float32
    check_grad(op, X, order=3, rtol=1e-6)
    other = normalized()
    check_grad(lambda x: other(x * x, factor=2.0), X, order=2)


def test_operands_of_an_elementwise_op_broadcast():
    op = tl.define_op(
        "squared_difference",
        lambda a, b: (a - b) ** 2,
        [lambda g, y, a, b: 2.0 * g * (a - b), lambda g, y, a, b: -2.0 * g * (a - b)],
        [[X, X[::-1]], [2.0, 3.0]],
        loop="(({0} - {1}) * ({0} - {1}))",
    )
    np.testing.assert_allclose(op(Tensor(X), 1.0).data, (X - 1.0) ** 2)
    check_grad(op, X, np.ones((2, 1)))


class Custom(tl.Activation):
    def __init__(self, op):
        self.op = op

    def forward(self, x):
        return self.op(x)


def trained(op, engine):
    rng = np.random.default_rng(0)
    model = tl.Sequential(tl.Linear(1, 4, rng=rng), Custom(op), tl.Linear(4, 1, rng=rng))
    trainer = tl.Trainer(
        model, tl.MeanSquaredError(), optimizer=tl.SGD(model.parameters(), lr=0.1), epochs=5, batch_size=4, engine=engine
    )
    x = np.linspace(-1.0, 1.0, 8)
    return trainer.fit(x, np.sin(x))["train_loss"]


def test_an_op_trains_on_every_engine():
    op = softsign()
    losses = trained(op, "eager")
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(trained(op, "replay"), losses)
    if native.is_available():
        np.testing.assert_allclose(trained(op, "compiled"), losses, rtol=1e-12)


def test_an_op_without_a_loop_form_trains_on_eager_and_replay():
    op = softsign(loop=None)
    np.testing.assert_array_equal(trained(op, "replay"), trained(op, "eager"))


@pytest.mark.parametrize("make", [softsign, lambda: softsign(loop=None), normalized])
def test_lanes_are_computed_as_each_alone(make):
    op = make()
    params = {"factor": 2.0} if op.name == "normalized" else {}
    x = Tensor(np.abs(X))

    def step():
        value, (slope,) = tl.value_and_grad(lambda t: (op(t, **params) ** 2).sum())(x)
        return {"value": value, "slope": slope}, {}

    program = capture(step, {"x": x}, {})
    single, lanes = program.bind(), program.lanes(3).bind()
    points = np.abs(np.random.default_rng(0).normal(size=(3, 3))) + 0.1
    lanes.inputs["x"][:] = points
    results = lanes.run()
    for lane, point in enumerate(points):
        single.set_inputs(x=point)
        for name, expected in single.run().items():
            np.testing.assert_array_equal(results[name][lane], expected)


def test_a_function_may_reuse_its_memory():
    memory = np.zeros(3)

    def run(x):
        out = memory if x.shape == (3,) else np.empty(x.shape)
        return np.multiply(x, 2.0, out=out)

    op = tl.define_op("double", run, [lambda g, y, x: 2.0 * g], [[X]])
    first = op(Tensor(X))
    op(Tensor(X + 1.0))
    np.testing.assert_array_equal(first.data, 2.0 * X)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"vjps": [lambda g, y, x: 1.01 * g / (1.0 + abs(x)) ** 2]}, AssertionError, "(?s)order 1 .*softsign_"),
        ({"vjps": [None]}, AssertionError, "derivative of order 1"),
        ({"vjps": []}, AssertionError, "derivative of order 1"),
        # The right numbers, but no graph: only the second order shows it.
        ({"vjps": [lambda g, y, x: g / (1.0 + abs(x.detach())) ** 2]}, AssertionError, "derivative of order 2"),
        ({"vjps": [lambda g, y, x: g.sum()], "samples": [[X]]}, ValueError, r"VJP of softsign_ .* returned shape \(\)"),
        ({"vjps": [lambda g, y, x: 1.0]}, ValueError, "VJP of softsign_ for operand 0 returned a value of type float"),
        ({"vjps": SOFTSIGN["vjps"] * 2}, ValueError, "softsign_ has 2 VJPs for 1 operands"),
        ({"loop": "({0} / (1.0 + {0}))"}, ValueError, r"at .*-2.0.*, the loop form of softsign_ is 2.0, but run returned"),
        ({"loop": "({0} / (1.0 + abs({1})))"}, ValueError, r"softsign_ has \['0', '1'\], expected \{0\} to \{0\}"),
        ({"loop": "({0} / unknown({0}))"}, NameError, "unknown"),
        ({"loop": None, "shape": lambda shape: ()}, ValueError, r"returned shape \(3,\), but its shape rule says \(\)"),
        ({"run": lambda x: x > 0.0}, TypeError, "softsign_: returned an array of bool, expected floating-point"),
        ({"run": lambda x: x * 1j}, TypeError, "softsign_: returned an array of complex128"),
        ({"run": lambda x: np.add(x, 1.0, out=x)}, ValueError, "read-only"),
        ({"run": lambda x: x + np.random.default_rng().normal()}, ValueError, "returned something else at its second call"),
        ({"run": lambda x, slope=0.1: x, "loop": "({0})"}, ValueError, "has a loop form and parameters; make them operands"),
        ({"samples": []}, ValueError, "softsign_ has no samples"),
        ({"name": "exp"}, ValueError, "there is an op 'exp' already; choose another name"),
        ({"name": "soft sign"}, ValueError, "name is 'soft sign', expected an identifier"),
    ],
)  # fmt: skip
def test_a_wrong_op_is_refused_and_not_registered(changes, error, message):
    known = dict(OP_TABLE)
    with pytest.raises(error, match=message):
        tl.define_op(**({"name": "softsign_"} | SOFTSIGN | changes))
    assert known == OP_TABLE


def test_the_name_of_an_op_beside_numpys_functions_is_taken():
    code = "import tinygrad_lab as tl; tl.define_op('hypot', abs, [None], [[1.0]])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "there is an op 'hypot' already" in result.stderr
