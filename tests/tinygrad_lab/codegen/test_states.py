"""The memory of states: an old value is read before it is overwritten."""

import numpy as np
import pytest

from tests.helpers.loops import check_against_replay, stepped
from tinygrad_lab import Tensor
from tinygrad_lab.codegen import NoLoopFormError, write_source
from tinygrad_lab.codegen.nests import ExpressionWriter, in_place_states
from tinygrad_lab.codegen.passes import copy_views, separate_uses
from tinygrad_lab.program import capture


@pytest.mark.parametrize(
    ("new_state", "in_place"),
    [
        (lambda w, m: (w - 0.1 * m, 0.9 * m), ["w", "m"]),
        (lambda w, m: (w - 0.1 * m, 0.9 * m + w), ["m"]),  # the second reads the old w
        (lambda w, m: (m, w), ["m"]),  # swapped
        (lambda w, m: (w - m, w), ["m"]),  # the old w is kept
        (lambda w, m: (m, m * 2.0), ["w"]),  # m * 2 is computed first, then m is copied
        (lambda w, m: (m * 2.0, m * 2.0), []),  # one value, two states
        (lambda w, m: (w * 2.0, (w * 2.0 + m).exp()), ["w", "m"]),  # the second reads the new w
        (lambda w, m: (w, m * 2.0), ["m"]),  # unchanged
        (lambda w, m: ((w * 2.0).detach(), m.reshape(2, 3) + w), ["w", "m"]),
        (lambda w, m: (w.sum() * m, m.sum() * w), ["m"]),
        (lambda w, m: (w * w.sum(axis=0, keepdims=True).broadcast_to((2, 3)), m), ["w"]),
    ],
)
def test_a_state_is_updated_in_place_if_nothing_reads_the_old_one_later(new_state, in_place):
    program = stepped(new_state)
    check_against_replay(program)
    assert in_place_states(ExpressionWriter(copy_views(separate_uses(program)))) == in_place


def test_a_state_that_is_updated_in_place_needs_no_other_memory():
    a, b, w = Tensor(np.ones((2, 4))), Tensor(np.ones((4, 3))), Tensor(np.zeros((2, 3)))
    program = capture(lambda: ({"loss": w.sum()}, {"w": a @ b}), {"a": a, "b": b}, {"w": w})
    check_against_replay(program)
    assert [x.kind for x in write_source(program).arrays if x.array.shape == (2, 3)] == ["state"]


def test_a_state_that_is_a_sum_of_itself_is_not_made_in_place():
    w, a = Tensor([[1.0, 2.0, 3.0]]), Tensor(np.arange(6.0).reshape(2, 3))
    check_against_replay(capture(lambda: ({"loss": w.sum()}, {"w": (a * w).sum(axis=0, keepdims=True)}), {"a": a}, {"w": w}))
    check_against_replay(capture(lambda: ({"loss": w.sum()}, {"w": (a * a).sum(axis=0, keepdims=True)}), {"a": a}, {"w": w}))


@pytest.mark.parametrize(
    "new_state",
    [
        lambda w, m: (w.T, m.T),
        lambda w, m: (w @ m, m @ w),
        lambda w, m: (w.T + m, m),
        lambda w, m: ((w @ m).T, m * 2.0),
    ],
)
def test_a_state_whose_axes_change_places_is_refused(new_state):
    w, m = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[0.5, 1.0], [2.0, -1.0]])
    state = {"w": w, "m": m}
    program = capture(lambda: ({"loss": w.sum()}, dict(zip("wm", new_state(w, m), strict=True))), {}, state)
    with pytest.raises(NoLoopFormError, match="one dimension on two axes"):
        write_source(program)


def test_states_that_are_swapped_and_turned():
    w, m = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(6.0)[::-1].reshape(3, 2) - 2.5)
    check_against_replay(capture(lambda: ({"loss": w.sum()}, {"w": m.T, "m": w.T}), {}, {"w": w, "m": m}))


@pytest.mark.parametrize("new", [lambda p: p * 0.9, lambda p: p, lambda p: (p + 1.0).detach()])
def test_states_of_one_number(new):
    p, q, w = Tensor(2.0), Tensor([3.0]), Tensor([1.0, 2.0])
    program = capture(
        lambda: ({"loss": (p * w * q).sum()}, {"p": new(p), "q": new(q), "w": w * p}), {}, {"p": p, "q": q, "w": w}
    )
    check_against_replay(program)


def test_a_loss_that_is_a_state_is_that_before_the_update():
    p = Tensor(2.0)
    check_against_replay(capture(lambda: ({"loss": p}, {"p": p * 3.0}), {}, {"p": p}))
    w = Tensor([[2.0]])
    check_against_replay(capture(lambda: ({"loss": w.reshape(())}, {"w": w * 3.0}), {}, {"w": w}))
