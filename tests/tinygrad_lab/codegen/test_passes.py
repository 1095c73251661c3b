"""The passes before loops are written: what each changes, and what it leaves alone."""

import contextlib
import re

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.loops import check_against_replay, names, source_of, stepped
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.codegen import NoLoopFormError
from tinygrad_lab.codegen.dimensions import Dimensions
from tinygrad_lab.codegen.passes import copy_views, factor_squares, separate_uses, split_sums, transpose_factors
from tinygrad_lab.program import capture


def test_separate_uses_unties_layers_that_share_a_broadcast_number():
    a, b, lr = Tensor(np.ones(5)), Tensor(np.ones(5)), Tensor(0.1)

    def step():
        rate = lr.broadcast_to((5,))
        return {"loss": a.sum()}, {"a": a - rate * a, "b": b - rate * b}

    program = capture(step, {"lr": lr}, {"a": a, "b": b})
    assert names(program).count("broadcast_to") == 1
    dimensions = Dimensions(program)
    assert dimensions.of(program.state["a"]) == dimensions.of(program.state["b"])
    program = separate_uses(program)
    program.check()
    assert names(program).count("broadcast_to") == 2
    dimensions = Dimensions(program)
    assert dimensions.of(program.state["a"]) != dimensions.of(program.state["b"])


def test_layers_that_share_a_constant_are_not_tied():
    a, b = Tensor(np.ones(5)), Tensor(np.ones((5, 5)))

    def step():
        return {"loss": a.sum()}, {"a": a * np.arange(5.0), "b": b * np.arange(5.0) * np.arange(5.0).reshape(5, 1)}

    check_against_replay(capture(step, {}, {"a": a, "b": b}))


def outer(square_of=lambda x: x):
    a, b = Tensor(np.arange(1.0, 4.0).reshape(3, 1)), Tensor(np.arange(1.0, 6.0).reshape(1, 5))
    return capture(lambda: ({"loss": square_of(a @ b).square().sum()}, {}), {"a": a, "b": b}, {})


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.T, lambda x: x.astype(np.float32).astype(np.float64)])
def test_factor_squares_avoids_the_outer_product(change):
    program = outer(change)
    assert "matmul" in names(program)
    factored = factor_squares(program)
    factored.check()
    assert "matmul" not in names(factored)
    assert names(factored).count("reduce_sum") == 2
    np.testing.assert_allclose(factored.bind().run()["loss"], program.bind().run()["loss"], rtol=1e-6)


@pytest.mark.parametrize("change", [lambda x: x + 1.0, lambda x: x.exp(), lambda x: x.astype(np.int64).astype(np.float64)])
def test_factor_squares_leaves_other_sums_alone(change):
    program = outer(change)
    assert names(factor_squares(program)) == names(program)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, w: ((a @ b) * w).sum(),  # a product, but not with itself
        lambda a, b, w: (w * (a @ b)).sum(),
        lambda a, b, w: ((c := a @ b) + c).sum(),  # the same operand twice, but not multiplied
        lambda a, b, w: (a @ b).square().max(),  # not a sum
        lambda a, b, w: (a @ b).square().sum(axis=0).exp().sum(),  # not over all elements
        lambda a, b, w: (a @ b).square().sum(axis=1, keepdims=True).exp().sum(),
        lambda a, b, w: (a @ b).sum(),  # not squared
        lambda a, b, w: w.sum(),
        lambda a, b, w: w.square().sum(),  # not an outer product
        lambda a, b, w: (w.T @ w).square().sum(),
    ],
)
def test_factor_squares_leaves_what_is_no_sum_of_squares_of_an_outer_product(function):
    a, b = Tensor(np.arange(1.0, 4.0).reshape(3, 1)), Tensor(np.arange(1.0, 6.0).reshape(1, 5))
    w = Tensor(np.linspace(-1.0, 1.0, 15).reshape(3, 5))
    program = capture(lambda: ({"loss": function(a, b, w)}, {}), {"a": a, "b": b, "w": w}, {})
    factored = factor_squares(program)
    assert names(factored) == names(program)
    np.testing.assert_array_equal(factored.bind().run()["loss"], program.bind().run()["loss"])
    with contextlib.suppress(NoLoopFormError):  # of the product of a matrix with itself
        check_against_replay(program)


def test_factor_squares_adds_up_in_the_precision_of_the_sum():
    a, b = Tensor(np.float32([[1.0], [1e-3]])), Tensor(np.float32([[1.0, 3e-4]]))
    program = capture(lambda: ({"loss": (a @ b).astype(np.float64).square().sum()}, {}), {"a": a, "b": b}, {})
    factored = factor_squares(program)
    factored.check()
    assert names(factored).count("astype") == 2
    assert {line.result.array.dtype for line in factored.lines} == {np.dtype(np.float64)}
    assert names(factor_squares(outer())).count("astype") == 0


def test_factor_squares_of_factors_that_are_factored_sums_themselves():
    a, b = Tensor([[1.0], [2.0]]), Tensor([[3.0, 4.0]])

    def step():
        size = ops.reduce_sum((a @ b).square(), axes=(-2, -1))
        return {"loss": (a @ size).square().sum()}, {"s": size}

    program = capture(step, {"a": a, "b": b}, {"s": Tensor([[0.0]])})
    factored = factor_squares(program)
    factored.check()
    assert "matmul" not in names(factored)
    np.testing.assert_allclose(factored.bind().run()["loss"], program.bind().run()["loss"])
    check_against_replay(program)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((3, 4), (-2, -1), [(-2,), (-1,)]),
        ((2, 3, 4), (-1, -3, -2), [(-3, -2), (-1,)]),
        ((2, 3, 4), (-3, -2), [(-3,), (-2,)]),
        ((1, 4), (-2, -1), [(-2, -1)]),
        ((1, 1), (-2, -1), [(-2, -1)]),
        ((3, 4), (-2,), [(-2,)]),
    ],
)
def test_split_sums_adds_up_columns_first(shape, axes, expected):
    a = Tensor(np.arange(1.0, np.prod(shape) + 1.0).reshape(shape))
    program = capture(lambda: ({"loss": ops.reduce_sum(a, axes=axes)}, {}), {"a": a}, {})
    split = split_sums(program)
    split.check()
    assert [line.params["axes"] for line in split.lines] == expected
    np.testing.assert_array_equal(split.bind().run()["loss"], program.bind().run()["loss"])


def test_split_sums_leaves_maxima_alone():
    a = Tensor(np.arange(6.0).reshape(2, 3))
    program = capture(lambda: ({"loss": a.max()}, {}), {"a": a}, {})
    assert split_sums(program).lines == program.lines


def test_transpose_factors_lays_out_a_gradient_as_its_weight():
    x, w = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(12.0).reshape(4, 3), requires_grad=True)

    def step():
        loss = (x @ w.T).square().sum()
        return {"loss": loss}, {"w": w - 0.1 * tl.grad(loss, [w])[0]}

    program = capture(step, {"x": x}, {"w": w})
    turned = transpose_factors(program)
    turned.check()
    assert names(turned).count("matmul") == names(program).count("matmul") == 2
    products = [[line for line in p.lines if line.op is ops.matmul][1] for p in (program, turned)]
    assert [line.result.array.shape for line in products] == [(3, 4), (4, 3)]
    np.testing.assert_allclose(turned.bind().run()["loss"], program.bind().run()["loss"])
    assert re.search(r"\n +np\.dot\(v\d+\.T, x0, v\d+\)\n", source_of(program))


def test_transpose_factors_leaves_what_is_no_transpose_or_is_read_as_well():
    a, b = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(6.0).reshape(3, 2))
    for function in (
        lambda: (a @ b).transpose(0, 1).exp().sum(),
        lambda: ((c := a @ b).T @ c).sum(),
        lambda: (a[:1] @ b).T.exp().sum(),  # a row
        lambda: a.exp().T.sum() + b.sum(),
        lambda: a.T.exp().sum(),
    ):
        program = capture(lambda function=function: ({"loss": function()}, {}), {"a": a, "b": b}, {})
        assert names(transpose_factors(program)) == names(program)


def test_copy_views_gives_moved_states_memory_of_their_own():
    program = stepped(lambda w, m: (m, w + 0.0))
    assert names(program)[-1] == "add"
    copied = copy_views(program)
    assert names(copied)[-1] == "astype"
    assert copied.new_state["w"].kind == "result"


@pytest.mark.parametrize(
    ("new_state", "copies"),
    [
        (lambda w, m: (w, m), 0),  # unchanged
        (lambda w, m: (w * 2.0, m + w), 0),  # new results
        (lambda w, m: (w, m.T.T), 1),  # a view of itself
        (lambda w, m: (w * 2.0, (m * 2.0).detach()), 1),  # a view of a result
        (lambda w, m: (m, w), 2),  # swapped
        (lambda w, m: (w, w), 1),
    ],
)
def test_copy_views_copies_new_states_that_have_no_memory_of_their_own(new_state, copies):
    program = stepped(new_state)
    assert names(copy_views(program)).count("astype") == copies + 1  # and the loss, a view of a sum
    check_against_replay(program)


def test_copy_views_does_not_copy_an_output_that_has_memory_of_its_own():
    p = Tensor(2.0)
    program = capture(lambda: ({"loss": p * 3.0}, {"p": p}), {}, {"p": p})
    assert names(copy_views(program)) == ["multiply"]


@pytest.mark.parametrize(
    ("function", "copies"),
    [
        (lambda a, b: a @ b, 0),
        (lambda a, b: a @ b.T.T, 0),
        (lambda a, b: b.T @ a.T, 0),
        (lambda a, b: a.exp() @ b, 0),
        (lambda a, b: a @ Tensor(np.arange(12.0).reshape(3, 4)), 1),  # a constant
        (lambda a, b: a @ b.sum(axis=0).broadcast_to((3, 4)), 1),  # repeated numbers
        (lambda a, b: a.sum(axis=0) @ b, 0),  # no matrix product
    ],
)
def test_copy_views_copies_factors_that_blas_cannot_read(function, copies):
    a, b = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(12.0).reshape(3, 4))
    program = capture(lambda: ({"loss": function(a, b).square().sum()}, {}), {"a": a, "b": b}, {})
    assert names(copy_views(program)).count("astype") == copies + 1  # and the loss, a view of a sum
