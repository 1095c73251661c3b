"""Every op of the table: gradients of orders 1 and 2, the shape rule, `out=`, the loop expression, and mutants."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers.generated import interpret
from tests.helpers.operands import interval, operands_of, takes_conditions
from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.tensor import Tensor, apply
from tinygrad_lab.codegen import native
from tinygrad_lab.codegen.source import PRELUDE
from tinygrad_lab.testing import check_grad, mutant

ALL = list(ops.OP_TABLE.values())
DIFFERENTIABLE = [op for op in ALL if op.differentiable]
ELEMENTWISE = [op for op in ALL if op.elementwise]
FUNCTIONS = PRELUDE.format(dtype="float64")


def check_op(op, operands, params, **options):
    return check_grad(lambda *tensors: apply(op, *tensors, **params), *operands, **options)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
@given(data=st.data())
def test_gradients_of_orders_1_and_2(op, data):
    operands, params = data.draw(operands_of(op))
    check_op(op, operands, params, order=2, rtol=1e-9)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
@given(data=st.data())
@settings(max_examples=5)
def test_gradients_in_single_precision(op, data):
    operands, params = data.draw(operands_of(op, np.float32))
    check_op(op, operands, params, order=2, rtol=1e-4)


@pytest.mark.parametrize("op", ALL, ids=lambda op: op.name)
@given(data=st.data())
def test_shape_rule_dtype_and_out(op, data):
    operands, params = data.draw(operands_of(op, np.float32))
    result = np.asarray(op.run(*operands, **params))
    assert op.shape(*[x.shape for x in operands], **params) == result.shape
    if op.name.startswith(("less", "greater", "equal", "not_equal", "logical")):
        assert result.dtype == bool
    elif op.name in ("argmax", "argmin", "argsort"):
        assert result.dtype == np.intp
    else:
        assert result.dtype == (params["dtype"] if op is ops.astype else np.float32)
    if op.view:
        assert np.shares_memory(result, operands[0]) or result.size == 0 or op is ops.reshape
    else:
        out = np.full_like(result, 1)
        op.run(*operands, **params, out=out)
        np.testing.assert_array_equal(out, result)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
@given(data=st.data())
@settings(max_examples=10)
def test_loop_expression_computes_what_run_computes(op, interpreted_functions, data):
    operands, params = data.draw(operands_of(op))
    code = compile(op.loop.format("a", "b", "c"), op.name, "eval")
    result = np.asarray(op.run(*operands, **params))
    for index in np.ndindex(result.shape):
        scalars = dict(zip("abc", [x[index].item() for x in operands], strict=False))
        assert eval(code, vars(interpreted_functions), scalars) == pytest.approx(result[index].item(), rel=1e-14)


@pytest.fixture(scope="module")
def interpreted_functions():
    return interpret(FUNCTIONS)


@pytest.mark.skipif(not native.is_available(), reason="needs Numba")
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_numba_compiles_every_loop_expression(tmp_path, monkeypatch):
    """Compile one function with all expressions, so that LLVM runs once. Numba's error shows the line that it refuses."""
    samples = np.random.default_rng(0)
    operands = []
    assignments = []
    for k, op in enumerate(ELEMENTWISE):
        names = []
        for i, is_condition in enumerate(takes_conditions(op)):
            names.append(f"x[{len(operands)}, i]{' > 0' * is_condition}")
            operands.append(samples.uniform(*interval(op, i), 50))
        assignments.append(f"        results[{k}, i] = {op.loop.format(*[f'({name})' for name in names])}  # {op.name}")
    loops = ["@compiled", "def updates(x, results):", "    for i in range(x.shape[1]):", *assignments]
    monkeypatch.setattr(native, "_cache_folder", lambda: tmp_path)
    module = native.load_module("\n".join([FUNCTIONS, "", *loops, ""]))
    results = np.empty((len(ELEMENTWISE), 50))
    module.updates(np.array(operands), results)

    drawn = iter(operands)
    for op, result in zip(ELEMENTWISE, results, strict=True):
        arrays = [next(drawn) > 0 if is_condition else next(drawn) for is_condition in takes_conditions(op)]
        np.testing.assert_allclose(result, op.run(*arrays), rtol=1e-13, atol=1e-14, err_msg=op.name)


MUTANTS = [
    (op, position)
    for op in DIFFERENTIABLE
    for position in range(3)
    if op.vjp(position) is not None and position < {"concatenate": 2, "einsum": 2}.get(op.name, 3)
]


def gradients_of(op):
    """The property test that rejects mutants. It shrinks no failure: any failing example is enough."""

    @given(data=st.data())
    @settings(max_examples=25, database=None, report_multiple_bugs=False, phases=[Phase.generate])
    def gradients(data):
        operands, params = data.draw(operands_of(op))
        check_op(op, operands, params, order=1, rtol=1e-9)

    return gradients


@pytest.mark.parametrize("factor", [1.01, 0.0])
@pytest.mark.parametrize(("op", "position"), MUTANTS, ids=lambda x: getattr(x, "name", str(x)))
def test_the_suite_rejects_a_wrong_vjp(op, position, factor):
    """With a wrong VJP, some example of the property test must fail; otherwise the test would show nothing.

    That all examples pass with the right VJP is what `test_gradients_of_orders_1_and_2` tests.
    """
    with mutant(op, position, factor), pytest.raises(AssertionError, match="check_grad: derivative of order 1"):
        gradients_of(op)()


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_elementwise_primitives_refuse_unequal_shapes(op):
    assert op.shape((2, 3), (2, 3)) == (2, 3)
    with pytest.raises(ValueError, match="equal shapes"):
        op.shape((2, 1), (2, 3))


def test_an_op_on_arrays_computes_numbers_and_on_tensors_builds_a_graph():
    x = np.array([0.5, 1.0])
    assert type(ops.exp(x)) is np.ndarray
    y = ops.exp(Tensor(x, requires_grad=True))
    assert isinstance(y, Tensor)
    assert y.requires_grad


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda: ops.matmul.shape((3,), (3, 2)), "matmul takes"),
        (lambda: ops.matmul.shape((2, 3), (4, 2)), "matmul takes"),
        (lambda: ops.matmul.shape((5, 2, 3), (6, 3, 2)), "matmul takes"),
        (lambda: ops.matmul.shape((5, 2, 3), (3, 2)), "matmul takes"),
        (lambda: ops.broadcast_to.shape((2, 3), shape=(3,)), "broadcast_to: shape .* does not broadcast"),
        (lambda: ops.broadcast_to.shape((3, 2), shape=(3,)), "broadcast_to: shape .* does not broadcast"),
        (lambda: ops.broadcast_to.shape((2, 3), shape=(4, 3)), "broadcast_to: shape .* does not broadcast"),
        (lambda: ops.reshape.shape((2, 3), shape=(5,)), "reshape: shape .* has 6 elements"),
        (lambda: ops.concatenate.shape((2, 3), (2, 4), axis=-2), "concatenate: .* differ beside axis -2"),
        (lambda: ops.concatenate.shape((2, 3, 4), (2, 3, 5), axis=-3), "concatenate: .* differ beside axis -3"),
        (lambda: ops.concatenate.shape((2, 3, 4), (2, 5, 4), axis=-1), "concatenate: .* differ beside axis -1"),
        (lambda: ops.einsum.shape((2, 3), (4, 2), subscripts="ij,jk->ik"), "einsum .*: axis 'j' has lengths 3 and 4"),
        (lambda: ops.add.shape((2, 3), (3,)), "equal shapes"),
    ],
)
def test_shapes_that_an_op_does_not_take_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        rule()


def test_shape_rules():
    assert ops.matmul.shape((2, 3), (3, 4)) == (2, 4)
    assert ops.matmul.shape((5, 2, 3), (5, 3, 4)) == (5, 2, 4)
    assert ops.concatenate.shape((2, 3), (4, 3), axis=-2) == (6, 3)
    assert ops.concatenate.shape((2, 3), (2, 4), axis=-1) == (2, 7)
    assert ops.transpose.shape((5, 2, 3), axes=(-1, -2)) == (5, 3, 2)
    assert ops.transpose.shape((5, 2, 3), axes=(-2, -1, -3)) == (2, 3, 5)
    assert ops.reduce_sum.shape((5, 2, 3), axes=(-3, -1)) == (1, 2, 1)
    assert ops.broadcast_to.shape((1, 3), shape=(4, 2, 3)) == (4, 2, 3)


def test_an_op_has_no_vjp_for_an_operand_in_which_it_is_constant():
    assert ops.where.vjp(0) is None
    assert ops.gather.vjp(1) is None
    assert ops.sign.vjp(0) is None
    assert ops.add.vjp(1) is not None


@pytest.mark.parametrize("op", [op for op in ALL if op.reduction is not None], ids=lambda op: op.name)
def test_a_reduction_combines_elements_as_run_does(op, interpreted_functions):
    for elements in ([3.0], [-1.5, 2.0, 0.25], [-2.0, -0.5]):
        names = {"total": op.reduction.start}
        for element in elements:
            exec(op.reduction.update.format("total", element), vars(interpreted_functions), names)
        assert names["total"] == op.run(np.array(elements), axes=(-1,))[0]


def test_an_op_is_immutable():
    with pytest.raises(AttributeError, match="cannot assign to field 'run'"):
        ops.add.run = np.subtract


def test_ops_say_whether_they_are_elementwise_differentiable_and_analytic():
    for op, elementwise, differentiable, analytic in (
        (ops.add, True, True, True),
        (ops.absolute, True, True, False),
        (ops.sign, True, False, False),
        (ops.detach, True, False, True),
        (ops.matmul, False, True, True),
        (ops.astype, False, True, False),
    ):
        assert op.elementwise is elementwise
        assert op.differentiable is differentiable
        assert op.analytic is analytic
