"""The hazards of capturing a step once and replaying it, each with its test.

frozen number       a traced Tensor turned into a Python number or array keeps its value of the capture
branch on data      the same, in an `if`
outside Tensor      a Tensor that was not declared is never seen to change
frozen randomness   a constant drawn from a random generator is drawn once
counting            a step that does something else each time
side effect         an assignment in the step is not repeated
nested capture      a capture inside a capture
replaced Tensor     a Tensor that the step exchanges for another would stay what it was: training/test_engines.py
other thread        what another thread computes is not recorded
half way            an exception in the step must leave no recording open
"""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.recording import CaptureError, current
from tinygrad_lab.program import capture

X = np.linspace(-1.0, 1.0, 6)
W = Tensor(2.0, requires_grad=True)


def captured(function):
    x = Tensor([1.0, 2.0])
    return capture(lambda: ({"y": function(x)}, {}), {"x": x}, {})


@pytest.mark.parametrize(
    ("way_out", "function"),
    [
        ("the number", lambda x: x * float(x.sum())),
        ("the number", lambda x: x * int(x.sum())),
        ("the number", lambda x: x * x.sum().item()),
        ("the number", lambda x: x if x.sum() > 0 else -x),
        ("the number", lambda x: x if (x > 0).sum() > 1 else -x),
        (r"\.numpy\(\)", lambda x: x * x.numpy()),
        (r"\.data", lambda x: x * x.data),
        ("a copy", lambda x: x * copy.copy(x)),
        ("a copy", lambda x: x * copy.deepcopy([x.detach()])[0]),
        ("an array", lambda x: x * np.asarray(x)),
        ("an array", lambda x: x[x > 1.5]),
        (r"\.numpy\(\)", lambda x: x * (x * 2.0).exp().numpy()),
    ],
)
def test_frozen_numbers_and_branches_on_data_are_refused_with_the_line_of_code(way_out, function):
    with pytest.raises(CaptureError, match=rf"test_capture_hazards.py, line \d+: {way_out} of a Tensor that changes"):
        captured(function)


def test_a_copy_as_a_tensor_is_copied_again_in_a_replay():
    for dtype in (None, np.float32):
        bound = captured(lambda x: x.astype(dtype or float) * Tensor(x * 2.0, dtype=dtype)).bind()  # noqa: B023 (runs at once)
        bound.set_inputs(x=np.array([3.0, 4.0]))
        assert bound.run()["y"].tolist() == [18.0, 32.0]


def test_numbers_that_do_not_change_may_be_read():
    assert captured(lambda x: x * float(Tensor(2.0)) * len(x) * x.shape[0]).bind().run()["y"].tolist() == [8.0, 16.0]


def test_constants_may_hold_nan():
    assert str(captured(lambda x: x * np.array([np.nan, 3.0])).bind().run()["y"].tolist()) == "[nan, 6.0]"


def test_an_undeclared_tensor_from_outside_is_refused():
    outside = Tensor([1.0, 1.0])
    with pytest.raises(CaptureError, match=r"line \d+: multiply takes a Tensor of shape \(2,\) that is neither declared"):
        captured(lambda x: x * outside)


def test_an_outside_number_that_is_broadcast_is_refused_too():
    outside = Tensor(3.0)
    with pytest.raises(CaptureError, match="neither declared nor computed"):
        captured(lambda x: x + outside)


def test_frozen_randomness_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(CaptureError, match=r"line \d+: multiply takes a constant that differs each time"):
        captured(lambda x: x * rng.normal(size=2))


def test_a_step_that_counts_is_refused():
    calls = []

    def function(x):
        calls.append(1)
        return x.exp() if len(calls) % 2 else x.sin()

    with pytest.raises(CaptureError, match="runs exp once and sin then"):
        captured(function)
    with pytest.raises(CaptureError, match="it depends on more than its Tensors"):
        captured(lambda x: (calls.append(1), x.exp() if len(calls) % 2 else x.exp().sin())[1])


def test_a_step_whose_parameters_or_operands_change_is_refused():
    calls = []

    def counted(*functions):
        calls.append(1)
        return functions[len(calls) % 2]

    with pytest.raises(CaptureError, match="runs reduce_sum once and reduce_sum then, or with other parameters"):
        captured(lambda x: counted(lambda: (x * np.ones((2, 2))).sum(0), lambda: (x * np.ones((2, 2))).sum(1))())
    with pytest.raises(CaptureError, match="runs concatenate once and concatenate then, or with other parameters"):
        captured(lambda x: counted(lambda: tl.concatenate([x, x]), lambda: tl.concatenate([x, x, x]))())
    with pytest.raises(CaptureError, match="subtract takes another operand each time the step runs"):
        captured(lambda x: counted(lambda y: x - y, lambda y: y - x)(x.exp()))
    with pytest.raises(CaptureError, match="exp takes another operand each time the step runs"):
        captured(lambda x: (lambda a, b: counted(a, b).exp() + a + b)(x.sin(), x.cos()))


def test_a_side_effect_is_refused():
    running = Tensor([0.0, 0.0])

    def function(x):
        running.assign(x)
        return x * 2.0

    with pytest.raises(CaptureError, match=r"line \d+: a Tensor is assigned to during the step"):
        captured(function)
    assert running.data.tolist() == [0.0, 0.0]


def test_gradients_by_backward_are_replayed():
    x, w = Tensor([1.0, 2.0]), Tensor([0.5, 0.5], requires_grad=True)

    def step():
        w.grad = None
        ((w * x) ** 2).sum().backward()
        return {}, {"w": w - 0.25 * w.grad}

    bound = capture(step, {"x": x}, {"w": w}).bind()
    bound.set_inputs(x=np.array([1.0, 0.0]))
    for expected in ([0.25, 0.5], [0.125, 0.5]):
        bound.run()
        bound.commit()
        assert bound.state["w"].tolist() == expected


def test_a_capture_inside_a_capture_records_its_own_lines():
    inner = []

    def function(x):
        inner.append(captured(lambda t: t.exp()))
        return x.sin()

    outer = captured(function)
    assert [line.op.name for line in outer.lines] == ["sin"]
    assert [line.op.name for line in inner[0].lines] == ["exp"]


def test_an_exception_half_way_leaves_no_recording_open():
    def function(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        captured(function)
    assert current.recording is None
    assert Tensor([1.0]).numpy() == 1.0


def in_thread(function):
    def run(*arguments):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *arguments).result()

    return run


def without_gradients(function):
    with tl.no_grad():
        return function()


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: in_thread(lambda: x.exp())() * 2.0, "exp was computed"),
        (in_thread(lambda x: x.exp()), "exp was computed"),
        (lambda x: x + in_thread(lambda: W * x.sum())(), "multiply was computed"),
        (lambda x: x + in_thread(lambda: without_gradients(lambda: W * x))(), "multiply was computed"),
        (lambda x: x + in_thread(lambda: tl.checkpoint(lambda x: W * x)(x))(), "detach was computed"),
        (lambda x: x * in_thread(lambda: float(x.sum()))(), "the number of a Tensor .* was read"),
        (lambda x: x * in_thread(lambda: x.numpy()[0])(), r"\.numpy\(\) of a Tensor .* was read"),
    ],
)
def test_what_another_thread_computes_is_refused_with_the_line_of_code(function, op):
    with pytest.raises(CaptureError, match=rf"test_capture_hazards.py, line \d+: {op} in another thread, which a recording"):
        captured(function)
    assert current.recording is None
    assert in_thread(lambda: current.recording)() is None


def test_other_threads_may_compute_and_train_during_a_capture():
    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    constant = in_thread(lambda: Tensor([1.0]).exp())
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=2, engine="replay")
    program = captured(lambda x: (in_thread(trainer.fit)(X[:, None], X[:, None]) and x) * constant())
    bound = program.bind()
    bound.set_inputs(x=np.array([2.0, 3.0]))
    np.testing.assert_allclose(bound.run()["y"], np.e * np.array([2.0, 3.0]))


class Branches(tl.Layer):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.branches = [tl.Linear(1, 2, rng=rng), tl.Linear(1, 2, rng=rng)]
        self.out = tl.Linear(2, 1, rng=rng)

    def forward(self, x):
        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(lambda layer: layer(x).tanh(), self.branches)
        return self.out(one * two)


def test_branches_in_threads_are_trained_eagerly():
    def losses(engine):
        net = Branches()
        optimizer = tl.SGD(net.parameters(), lr=0.1)
        trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, epochs=3, engine=engine)
        return trainer.fit(X[:, None], X[:, None] ** 2)["train_loss"]

    with pytest.raises(CaptureError, match="in another thread"):
        losses("replay")
    with pytest.warns(UserWarning, match="training on the eager engine"):
        np.testing.assert_array_equal(losses("auto"), losses("eager"))


class Noise(tl.Layer):
    """A layer that draws random numbers, as dropout does."""

    def __init__(self, rng):
        self.rng = rng

    def forward(self, x):
        return x + self.rng.normal(size=x.shape)


def noisy_trainer(engine):
    net = tl.Sequential(
        tl.Linear(1, 3, rng=np.random.default_rng(0)),
        Noise(np.random.default_rng(1)),
        tl.Linear(3, 1, rng=np.random.default_rng(2)),
    )
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), epochs=2, engine=engine)


def test_a_trainer_asked_to_replay_says_why_it_cannot():
    with pytest.raises(CaptureError, match="takes a constant that differs each time the step runs"):
        noisy_trainer("replay").fit(X, X)
    with pytest.raises(ValueError, match="engine is 'fast', expected auto, eager, replay"):
        noisy_trainer("fast")


def test_a_trainer_left_to_choose_falls_back_to_eager_and_says_so():
    with pytest.warns(UserWarning, match="training on the eager engine, since the step cannot be replayed: .*line"):
        history = noisy_trainer("auto").fit(X, X)
    assert history.epochs == 2


def test_a_constant_of_a_layer_is_an_input_and_may_change_between_epochs():
    class Shift(tl.Layer):
        def __init__(self):
            self.by = Tensor([1.0])

        def forward(self, x):
            return x + self.by

    class Move(tl.Callback):
        def on_epoch_end(self, run):
            run.trainer.model[0].by.assign([float(run.history.epochs)])
            return ""

    losses = []
    for engine in ("eager", "replay"):
        net = tl.Sequential(Shift(), tl.Linear(1, 1, rng=np.random.default_rng(0)))
        trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), epochs=4, engine=engine)
        losses.append(trainer.fit(X, X, callbacks=[Move()])["train_loss"])
    assert (losses[0] == losses[1]).all()


def test_derivatives_inside_a_step_are_replayed():
    x = Tensor([1.0, 2.0])
    bound = capture(lambda: ({"y": tl.hvp(lambda t: (t**3).sum(), x, np.ones(2))}, {}), {"x": x}, {}).bind()
    bound.set_inputs(x=np.array([10.0, 20.0]))
    assert bound.run()["y"].tolist() == [60.0, 120.0]


def test_a_constant_of_a_layer_may_be_called_as_the_data_are():
    class Shift(tl.Layer):
        def __init__(self):
            self.x = Tensor([1.0])

        def forward(self, x):
            return x + self.x

    net = tl.Sequential(tl.Linear(1, 1, rng=np.random.default_rng(0)), Shift())
    Shift.__init__(net)  # the same name on the model itself
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), epochs=2, engine="replay")
    assert trainer.fit(X, X).epochs == 2


def test_parts_may_be_printed_in_a_step():
    class Printing(tl.Layer):
        def __init__(self):
            self.inner = tl.Sequential(tl.Linear(1, 2, rng=np.random.default_rng(0)), tl.Dropout(0.5), tl.GaussianNoise(1e-5))
            self.others = [tl.ClipGradNorm(2.0), tl.ClipGradValue(0.1), tl.L1Penalty(1e-3), tl.SGD(self.parameters(), lr=0.1)]

        def forward(self, x):
            inner = "Sequential(Linear(1, 2), Dropout(0.5), GaussianNoise(1e-05))"
            assert repr(self) == f"Printing(inner={inner})"
            assert list(map(repr, self.others[:2])) == ["ClipGradNorm(2.0)", "ClipGradValue(0.1)"]
            assert "0.001" in repr(self.others[2])
            assert "lr=0.1" in repr(self.others[3])
            return self.inner(x).sum(axis=1, keepdims=True)

    net = Printing()
    optimizer = tl.SGD(net.parameters(), lr=0.1)
    tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, engine="replay").capture([1.0], [2.0])
