"""Programs: what the passes do, and that a replay computes the same bits as the eager engine."""

import numpy as np
import pytest

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.recording import record
from tinygrad_lab.program import capture, drop_dead, merge_common, number
from tinygrad_lab.program.memory import GAP, aligned_empty
from tinygrad_lab.training.captured import CapturedStep

RNG = np.random.default_rng(1)
X = RNG.uniform(-2.0, 2.0, 25)
Y = X**2 - X + RNG.normal(0.0, 0.1, 25)


def recorded(function):
    with record() as recording:
        wanted = function()
    values = {}
    return number(recording, values), [values[id(tensor)] for tensor in wanted]


def names(lines):
    return [line.op.name for line in lines]


# Passes


def test_common_lines_are_merged():
    x = Tensor([1.0, 2.0])
    lines, wanted = recorded(lambda: [(x.exp() * 2.0) + (x.exp() * 2.0)])
    assert names(lines) == ["exp", "multiply", "exp", "multiply", "add"]
    lines, wanted = merge_common(lines, wanted)
    assert names(lines) == ["exp", "multiply", "add"]
    assert wanted == [lines[-1].result]
    assert lines[-1].operands == (lines[1].result, lines[1].result)


def test_lines_with_other_parameters_or_numbers_are_not_merged():
    x = Tensor([[1.0, 2.0]])
    lines, wanted = recorded(lambda: [x.sum(axis=0), x.sum(axis=1), x * 2.0, x * 3.0, x * 0.0, x * -0.0])
    merged, _ = merge_common(lines, wanted)
    assert names(merged) == names(lines)


def test_dead_lines_are_dropped():
    x = Tensor([1.0, 2.0])
    lines, wanted = recorded(lambda: [(x.exp(), x.sin() * 2.0)[1]])
    assert names(lines) == ["exp", "sin", "multiply"]
    assert names(drop_dead(lines, wanted)) == ["sin", "multiply"]


def test_buffers_are_shared_by_lifetime():
    def chain(length):
        x = Tensor(np.ones(5))

        def step():
            y = x
            for _ in range(length):
                y = y.sin()
            return {"y": y}, {}

        return capture(step, {"x": x}, {}).bind()

    assert chain(3).buffers == chain(30).buffers == 2


def test_views_cost_no_call():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    bound = capture(lambda: ({"y": x.T.reshape(1, 3, 2)[0, 1:] + 1.0}, {}), {"x": x}, {}).bind()
    assert len(bound._calls) == 1
    np.testing.assert_array_equal(bound.run()["y"], x.data.T[1:] + 1.0)


def test_a_number_can_be_broadcast_to_no_elements():
    x, y = Tensor(np.ones((0, 3))), Tensor(2.0)
    bound = capture(lambda: ({"y": x * y}, {}), {"x": x, "y": y}, {}).bind()
    assert bound.run()["y"].shape == (0, 3)


def test_a_reshape_that_has_to_copy_copies_at_every_replay():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    bound = capture(lambda: ({"y": x.T.reshape(6)}, {}), {"x": x}, {}).bind()
    bound.set_inputs(x=-x.data)
    np.testing.assert_array_equal(bound.run()["y"], -x.data.T.ravel())


def test_a_program_checks_itself():
    x = Tensor([1.0, 2.0])
    program = capture(lambda: ({"y": (x * 2.0).sum()}, {}), {"x": x}, {})
    program.check()
    program.lines.reverse()
    with pytest.raises(ValueError, match="is used before it is assigned"):
        program.check()


def test_a_program_can_be_read():
    x, w = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=True)

    def step():
        (slope,) = tl.grad((w * x).square().sum(), [w])
        return {}, {"w": w - 0.1 * slope}

    text = str(capture(step, {"x": x}, {"w": w}))
    assert text.splitlines()[:3] == ["input  x: float64 (2,)", "state  w: float64 (2,)", "v0 = multiply(w, x)"]
    assert "multiply(0.1, " in text
    assert text.splitlines()[-1].startswith("state  w = v")


# Memory


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(), (1,), (75,), (50, 75), (0, 3)])
def test_aligned_empty(shape, dtype):
    array = aligned_empty(shape, dtype)
    assert (array.shape, array.dtype, array.ctypes.data % 64) == (shape, dtype, 0) or not array.size
    assert array.flags.c_contiguous
    assert array.flags.writeable
    memory = array
    while memory.base is not None:
        memory = memory.base
    before = array.ctypes.data - memory.ctypes.data
    assert min(before, memory.nbytes - before - array.nbytes) >= GAP or not array.size


# Replay


def test_state_that_is_swapped_is_swapped():
    a, b = Tensor([1.0]), Tensor([2.0])
    bound = capture(lambda: ({}, {"a": b, "b": a}), {}, {"a": a, "b": b}).bind()
    bound.run()
    bound.commit()
    assert (bound.state["a"], bound.state["b"]) == (np.array([2.0]), np.array([1.0]))


def test_outputs_are_copies():
    x = Tensor([1.0])
    bound = capture(lambda: ({"y": x + 1.0, "same": x}, {}), {"x": x}, {}).bind()
    first = bound.run()
    bound.set_inputs(x=np.array([5.0]))
    second = bound.run()
    assert (first["y"], second["y"]) == (2.0, 6.0)
    assert (first["same"], second["same"]) == (1.0, 5.0)


def test_nothing_is_committed_before_commit():
    x, w = Tensor([1.0]), Tensor([0.0])
    bound = capture(lambda: ({}, {"w": w + x}), {"x": x}, {"w": w}).bind()
    bound.run()
    bound.run()
    assert bound.state["w"] == 0.0
    bound.commit()
    assert bound.state["w"] == 1.0


@pytest.mark.parametrize("array", [np.ones(3), np.ones(2, np.float32), np.ones((1, 2))])
def test_another_shape_or_dtype_is_refused_at_replay(array):
    x = Tensor([1.0, 2.0])
    bound = capture(lambda: ({"y": x * 2.0}, {}), {"x": x}, {}).bind()
    with pytest.raises(ValueError, match=r"replay: input 'x' is .*, but was captured as float64 \(2,\); capture again"):
        bound.set_inputs(x=array)
    with pytest.raises(ValueError, match="there is no input 'z'; the inputs are x"):
        bound.set_inputs(z=array)


# Engines

OPTIMIZERS = {
    "sgd": lambda p, hooks: tl.SGD(p, hooks=hooks),
    "momentum": lambda p, hooks: tl.SGD(p, momentum=0.9, hooks=hooks),
    "nesterov": lambda p, hooks: tl.SGD(p, momentum=0.8, nesterov=True, hooks=hooks),
    "rmsprop": lambda p, hooks: tl.RMSprop(p, hooks=hooks),
    "adam": lambda p, hooks: tl.Adam(p, hooks=hooks),
    "adamw": lambda p, hooks: tl.AdamW(p, hooks=hooks),
}
HOOKS = {"none": [], "norm": [tl.ClipGradNorm(1.0)], "value, norm": [tl.ClipGradValue(0.5), tl.ClipGradNorm(1.0)]}
PENALTIES = {
    "none": None,
    "l1 in the loss": tl.L1Penalty(1e-3),
    "l1 decoupled": tl.L1Penalty(1e-3, decoupled=True),
    "l1 proximal": tl.L1Penalty(1e-2, proximal=True),
    "l2 decoupled": tl.L2Penalty(1e-3, decoupled=True),
    "elastic net proximal": tl.ElasticNetPenalty(1e-2, proximal=True),
}


def trained(engine, optimizer="sgd", hooks="norm", penalty="l1 decoupled", activation="leaky_relu", loss=None, **options):
    net = TwoHiddenLayerNet(1, 6, 5, 1, activation=activation, rng=np.random.default_rng(0))
    trainer = tl.Trainer(
        net,
        loss or tl.HalfSquaredError(),
        optimizer=OPTIMIZERS[optimizer](net.parameters(), HOOKS[hooks]),
        scheduler=tl.GeometricDecay(0.05, 0.01, epochs=60),
        penalty=PENALTIES[penalty],
        engine=engine,
        **({"epochs": 60, "batch_size": 5, "seed": 3} | options),  # 5 batches of 5 samples: 300 updates
    )
    history = trainer.fit(X, Y, validation=(X, Y))
    assert np.isfinite(history["train_loss"]).all()
    arrays = [*net.state_dict().values(), *trainer.optimizer.state_dict().values(), *history.state_dict().values()]
    return np.concatenate([array.ravel() for array in arrays])


CASES = (
    [{"optimizer": name} for name in OPTIMIZERS]
    + [{"hooks": name} for name in HOOKS]
    + [{"penalty": name} for name in PENALTIES]
    + [{"activation": name} for name in tl.ACTIVATIONS]
    + [{"batch_size": 1, "epochs": 12}, {"batch_size": None, "epochs": 300}, {"batch_size": 8}, {"shuffle": False}]
    + [{"loss": tl.MeanSquaredError()}, {"loss": tl.MeanAbsoluteError()}, {"loss": tl.Huber(0.5)}]
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_replay_equals_eager_to_the_bit_over_300_updates(case):
    assert (trained("replay", **case) == trained("eager", **case)).all()


def test_classification_with_sample_weights_replays_to_the_bit():
    rng = np.random.default_rng(0)
    x, labels, weights = rng.normal(size=(30, 2)), rng.integers(0, 3, 30), rng.uniform(0.5, 1.5, 30)
    states = []
    for engine in ("eager", "replay"):
        net = tl.Sequential(
            tl.Linear(2, 8, rng=np.random.default_rng(0)), tl.GELU(), tl.Linear(8, 3, rng=np.random.default_rng(1))
        )
        trainer = tl.Trainer(
            net, tl.CrossEntropy(), optimizer=tl.Adam(net.parameters()), epochs=30, batch_size=7, engine=engine
        )
        trainer.fit(x, labels, sample_weight=weights)
        states.append(np.concatenate([value.ravel() for value in net.state_dict().values()]))
    assert (states[0] == states[1]).all()


def test_single_precision_replays_to_the_bit():
    def run(engine):
        net = TwoHiddenLayerNet(1, 6, 5, 1, activation="tanh", rng=np.random.default_rng(0), dtype=np.float32)
        optimizer = tl.AdamW(net.parameters(), hooks=[tl.ClipGradNorm(1.0)])
        tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, epochs=20, batch_size=8, engine=engine).fit(X, Y)
        return np.concatenate([value.ravel() for value in net.state_dict().values()])

    assert (run("replay") == run("eager")).all()


def test_hyper_parameters_may_change_between_epochs():
    class Change(tl.Callback):
        def on_epoch_end(self, run):
            run.trainer.optimizer.hooks[0].max_norm = 0.1 * run.history.epochs
            run.trainer.penalty.strength = 1e-3 * run.history.epochs
            return ""

    def run(engine):
        net = TwoHiddenLayerNet(1, 6, 5, 1, rng=np.random.default_rng(0))
        trainer = tl.Trainer(
            net,
            tl.HalfSquaredError(),
            optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(1.0)]),
            penalty=tl.L1Penalty(1e-3, decoupled=True),
            epochs=10,
            batch_size=5,
            engine=engine,
        )
        return trainer.fit(X, Y, callbacks=[Change()])["train_loss"]

    assert (run("replay") == run("eager")).all()


def test_a_program_of_training_names_what_it_works_on():
    net = TwoHiddenLayerNet(1, 3, 2, 1, rng=np.random.default_rng(0))
    optimizer = tl.SGD(net.parameters(), momentum=0.9, hooks=[tl.ClipGradNorm(10.0)])
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, penalty=tl.L1Penalty(1e-3))
    program = CapturedStep(trainer).program([np.ones((1, 1)), np.ones((1, 1))])
    program.check()
    assert list(program.inputs) == ["x", "y", "lr", "momentum", "max_norm", "strength"]
    assert list(program.state) == [*dict(net.named_parameters()), *[f"velocity.{i}" for i in range(6)]]
    assert list(program.outputs) == ["loss"]


# Memory


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (1000,), (7, 1, 3)])
def test_an_aligned_array_starts_on_a_cache_line_and_has_a_gap_on_both_sides(shape, dtype):
    arrays = [aligned_empty(shape, dtype) for _ in range(20)]  # all alive, so at addresses of their own
    for array in arrays:
        assert array.shape == shape
        assert array.dtype == dtype
        memory = array
        while memory.base is not None:
            memory = memory.base
        before = array.ctypes.data - memory.ctypes.data
        after = memory.nbytes - before - array.nbytes
        assert array.ctypes.data % 64 == 0
        assert GAP <= before <= GAP + 64
        assert GAP <= after <= GAP + 64
