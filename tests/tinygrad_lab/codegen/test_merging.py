"""Nests of loops: which share a loop, and which arrays become variables."""

import numpy as np
import pytest

from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.codegen.merging import make_scalars, merge_nests
from tinygrad_lab.codegen.nests import ExpressionWriter, Nest, make_nests
from tinygrad_lab.codegen.passes import copy_views, separate_uses
from tinygrad_lab.program import capture


def test_a_nest_joins_the_first_group_in_which_what_it_needs_is_there():
    total = Nest((0,), "t", (), "x[i0]", {("x", ("i0",))}, ops.SUM, "0.0")
    one, two = (Nest((0,), name, ("i0",), f"{name}0[i0] * t", {(f"{name}0", ("i0",)), ("t", ())}) for name in "ab")
    assert merge_nests([total, one, two]) == [[total], [one, two]]


def test_a_nest_joins_the_first_group_after_what_reads_the_old_value():
    reader = Nest((0, 1), "v", ("i0", "i1"), "s[i1]", {("s", ("i1",))})
    other = Nest((1,), "u", ("i1",), "x[i1]", {("x", ("i1",))})
    writer = Nest((1,), "s", ("i1",), "3.0", set())
    assert merge_nests([reader, other, writer]) == [[reader], [other, writer]]
    assert merge_nests([other, reader, writer]) == [[other], [reader], [writer]]


def write(name, *index, reads=(), reduction=None):
    domain = tuple(int(i[1]) for i in index)
    return Nest(domain, name, index, "", {(read, tuple(at)) for read, *at in reads}, reduction)


def merged(function, *shapes):
    inputs = {f"a{i}": Tensor(np.ones(shape)) for i, shape in enumerate(shapes)}
    program = capture(lambda: ({"loss": function(*inputs.values())}, {}), inputs, {})
    return merge_nests(make_nests(ExpressionWriter(copy_views(separate_uses(program)))))


def test_merge_nests_shares_loops_over_one_dimension():
    groups = merged(lambda a: a.exp().sum() + a.sin().sum(), 4)
    assert [(group[0].domain, len(group)) for group in groups] == [((0,), 2), ((), 1)]


def test_merge_nests_keeps_apart_what_waits_for_a_sum():
    groups = merged(lambda a: (a / a.sum()).exp().sum(), 4)
    assert [(group[0].domain, len(group)) for group in groups] == [((0,), 1), ((0,), 1), ((), 1)]


def test_merge_nests_keeps_apart_lengths_that_are_equal_by_coincidence():
    groups = merged(lambda a, b: a.exp().sum() + b.exp().sum(), 4, 4)
    assert [group[0].domain for group in groups] == [(0,), (1,), ()]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (write("v", "i0", "i1"), write("w", "i0", "i1", reads=[("v", "i0", "i1")]), True),
        (write("v", "i0", "i1"), write("w", "i0", "i1", reads=[("v", "i1", "i0")]), False),  # another element
        (write("w", "i0", "i1", reads=[("s", "i0", "i1")]), write("s", "i0", "i1"), True),
        (write("w", "i0", "i1", reads=[("s", "i1", "i0")]), write("s", "i0", "i1"), False),
        (write("v", "i0", "i1"), write("w", "i1", "i0", reads=[("v", "i0", "i1")]), False),  # other loops
        (write("v", "i0", "i1", reduction=ops.SUM), write("w", "i0", "i1", reads=[("v", "i0", "i1")]), False),
        (write("w", "i0", "i1", reads=[("s", "i0", "i1")]), write("s", "i0", "i1", reduction=ops.SUM), False),
    ],
)
def test_merge_nests_shares_loops_where_each_turn_reads_what_it_wrote(first, second, together):
    assert merge_nests([first, second]) == ([[first, second]] if together else [[first], [second]])


def test_make_scalars_turns_arrays_of_one_turn_into_variables():
    groups = merged(lambda a: (a * 2.0).exp().square().sum(), 4)
    array = groups[0][0]
    assert (array.index, groups[0][1].expression) == (("i0",), f"({array.name}[i0] * {array.name}[i0])")
    groups, gone = make_scalars(groups, {array.name})
    assert gone == {array.name}
    assert (groups[0][0].index, groups[0][1].expression) == ((), f"({array.name} * {array.name})")
    assert groups[0][1].reads == {(array.name, ())}


def test_make_scalars_leaves_what_another_loop_reads():
    groups = merged(lambda a: (y := (a * 2.0).exp()).sum() + (y / y.sum()).log().sum(), 4)
    array = groups[0][0]
    assert make_scalars(groups, {array.name})[1] == set()


@pytest.mark.parametrize(
    ("nest", "arrays"),
    [
        (write("v", "i0"), set()),  # wanted after the step
        (write("v", "i0", reduction=ops.SUM), {"v"}),  # complete only after the loop
        (Nest((), "v", (":",), "np.dot(a, b, v)", set()), {"v"}),  # written as a whole
    ],
)
def test_make_scalars_leaves_arrays_that_are_needed_as_arrays(nest, arrays):
    groups, names = make_scalars([[nest]], arrays)
    assert groups[0][0].index == nest.index
    assert names == set()


def test_make_scalars_takes_arrays_that_nothing_reads():
    assert make_scalars([[write("v", "i0")]], {"v"})[1] == {"v"}
