"""What has no loop form: it is refused by name, and trained by replay."""

import warnings

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.loops import A, B, X, Y, network
from tinygrad_lab.codegen import NoLoopFormError, native, write_source
from tinygrad_lab.program import capture
from tinygrad_lab.training.engines import choice


class Turned(tl.Layer):
    """Puts the last feature first, which has no loop form."""

    def forward(self, x):
        return tl.concatenate([x[:, -1:], x[:, :-1]], axis=1)


def turning_trainer(engine):
    net = tl.Sequential(Turned(), network((3, 4, 2)))
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), epochs=2, batch_size=5, engine=engine)


def test_a_step_without_loops_is_replayed_with_one_warning(interpreted):
    trainer = turning_trainer("compiled")
    with pytest.warns(UserWarning, match="training by replay, since the step cannot be compiled: getitem has no") as caught:
        trainer.fit(X, Y)
    assert len(caught) == 1
    replayed = turning_trainer("replay")
    replayed.fit(X, Y)
    for name, array in replayed.model.state_dict().items():
        np.testing.assert_array_equal(trainer.model.state_dict()[name], array)


def test_a_step_without_loops_is_replayed_in_silence_where_the_engine_was_not_asked_for(monkeypatch):
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 1)
    monkeypatch.setattr(native, "is_available", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert turning_trainer("auto").fit(X, Y).epochs == 2


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: tl.concatenate([A, B], axis=0).sum(), "concatenate has no loop form"),
        (lambda: A[0].sum(), "getitem has no loop form"),
        (lambda: (A[::-1] * B).sum(), "getitem has no loop form"),  # it has the shape of its operand
        (lambda: A.reshape(4).exp().sum(), "reshape has no loop form"),
        (lambda: (A + A.T).exp().sum(), "one dimension on two axes"),
        (lambda: (A @ B.T @ A).exp().sum(), "one dimension on two axes"),
        (lambda: (A.reshape(1, 2, 2) @ B.reshape(1, 2, 2)).sum(), "matmul has no loop form"),
        (lambda: (A.reshape(2, 2, 1) @ B.reshape(2, 1, 2)).exp().sum(), "matmul has no loop form"),
        (lambda: tl.einsum("ij,jk->ik", A, B).sum(), "einsum has no loop form"),
        (lambda: A.astype(np.int64).sum(), "a change to int64 has no loop form"),
        (lambda: A.sum(axis=0).broadcast_to((2, 2)).sum(axis=0).exp().sum(), "a loop runs along no array"),
        (lambda: A.sum(axis=1, keepdims=True).broadcast_to((2, 2)).max(axis=1).sum(), "a loop runs along no array"),
        (lambda: A, "has one output of one element"),
    ],
)
def test_what_has_no_loops_is_refused(function, message):
    program = capture(lambda: ({"loss": function()}, {}), {"a": A, "b": B}, {})
    with pytest.raises(NoLoopFormError, match=message):
        write_source(program)


@pytest.mark.parametrize("outputs", [dict, lambda: {"loss": A.sum(), "other": B.sum()}])
def test_a_program_of_another_number_of_outputs_is_refused(outputs):
    program = capture(lambda: (outputs(), {}), {"a": A, "b": B}, {})
    with pytest.raises(NoLoopFormError, match="has one output of one element"):
        write_source(program)
