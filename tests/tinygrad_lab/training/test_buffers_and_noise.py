"""Buffers and random numbers in a training: the same on every engine, in lanes, and after a resume."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.compilation import compiling, interpreted  # noqa: F401 (a fixture)
from tinygrad_lab.nn.mode import entered
from tinygrad_lab.training.engines import compiled
from tinygrad_lab.training.noise import DrawnInputs, EpochNumbers, eager_mode

X = np.random.default_rng(0).normal(size=(37, 3))
Y = np.sin(X.sum(1))
ENGINES = ["eager", "replay", "compiled", "auto"]

pytestmark = pytest.mark.usefixtures("interpreted")  # the loops run as Python, unless a test compiles


def trainer(engine="eager", *, seed=0, p=0.3, dtype=np.float64, batch_size=10, epochs=5, **options):
    rng = np.random.default_rng(0)
    net = tl.Sequential(
        tl.Linear(3, 5, rng=rng, dtype=dtype),
        tl.BatchNorm(5, dtype=dtype),
        tl.Tanh(),
        tl.Dropout(p),
        tl.Linear(5, 4, rng=rng, dtype=dtype),
        tl.LayerNorm(4, dtype=dtype),
        tl.GaussianNoise(0.1),
        tl.ReLU(),
        tl.Linear(4, 1, rng=rng, dtype=dtype),
    )
    optimizer = tl.SGD(net.parameters(), lr=0.05, momentum=0.5)
    settings = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "engine": engine} | options
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, **settings)


def assert_equal(one, other, rtol=0.0):
    for name, value in one.model.state_dict().items():
        np.testing.assert_allclose(other.model.state_dict()[name], value, rtol=rtol, atol=rtol, err_msg=name)
    for name in one.history:
        np.testing.assert_allclose(other.history[name], one.history[name], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES[1:])
@pytest.mark.parametrize("batch_size", [8, 10, None])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_engines_train_the_same(engine, batch_size, dtype):
    one, other = (trainer(name, batch_size=batch_size, dtype=dtype) for name in ("eager", engine))
    for each in (one, other):
        each.fit(X, Y, validation=(X, Y))
    rounding = {np.float64: 1e-12, np.float32: 1e-4}[dtype] if engine == "compiled" else 0.0
    assert_equal(one, other, rounding)


@compiling
def test_compiled_loops_train_the_same(monkeypatch):
    monkeypatch.undo()  # compile
    both = []
    for engine in ("eager", "compiled"):
        net = tl.Sequential(tl.BatchNorm(3), tl.Dropout(0.3), tl.Linear(3, 1, rng=np.random.default_rng(0)))
        optimizer = tl.SGD(net.parameters(), lr=0.1)
        both.append(tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, epochs=3, batch_size=6, engine=engine))
        both[-1].fit(X[:36], Y[:36])
    assert_equal(*both, 1e-12)


@pytest.mark.parametrize("most", [1, 1_000, 1_000_000])
def test_epochs_in_one_native_call_have_the_numbers_of_epochs_one_by_one(most, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_NUMBERS", most)
    for batch_size in (37, 10):
        one, other = (trainer("compiled", batch_size=batch_size) for _ in range(2))
        one.fit(X, Y)
        other.fit(X, Y, callbacks=[tl.Callback()])
        assert_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_changes_nothing_until_it_is_committed(engine):
    one = trainer(engine)
    before = one.model.state_dict()
    one.capture(X[:10], Y[:10])
    one.predict(X)
    one.evaluate(X, Y)
    update = one.training_step(tl.Tensor(X), tl.Tensor(Y[:, None]))
    assert {name for name, _ in one.model.named_buffers()} == {"1.running_mean", "1.running_variance"}
    assert set(update.buffers) == {buffer for _, buffer in one.model.named_buffers()}
    for name, value in one.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_resumed_training_gives_the_same_bits(engine, tmp_path):
    whole, first, second = (trainer(engine, epochs=6) for _ in range(3))
    whole.fit(X, Y, callbacks=[tl.Callback()])
    first.fit(X, Y, epochs=3, callbacks=[tl.Callback(), tl.Checkpoint(tmp_path / "half")])
    second.fit(X, Y, callbacks=[tl.Callback()], resume=tmp_path / "half")
    assert_equal(whole, second)


@pytest.mark.parametrize("engine", ENGINES)
def test_lanes_train_as_alone(engine):
    settings = [{"seed": 0}, {"seed": 1}, {"seed": 2, "p": 0.0}, {"seed": 1, "p": 0.6}]
    together, alone = ([trainer(engine, **each) for each in settings] for _ in range(2))
    data = [(X[: 37 - 5 * i], Y[: 37 - 5 * i]) for i in range(4)]
    tl.fit_lanes(together, data)
    for one, other, (x, y) in zip(together, alone, data, strict=True):
        other.fit(x, y)
        assert_equal(other, one)
    assert not np.array_equal(together[0].history["train_loss"], together[1].history["train_loss"])


def test_lanes_that_stop_and_go_on_train_as_alone():
    whole, first, second = ([trainer("replay", seed=seed) for seed in range(2)] for _ in range(3))
    data = [(X, Y)] * 2
    tl.fit_lanes(whole, data)
    ended = [run for runs in tl.lanes_as_completed(first, data, until=2) for _, run in sorted(runs.items())]
    tl.fit_lanes(second, data, resume=[tl.checkpoint_bytes(run) for run in ended])
    for one, other in zip(whole, second, strict=True):
        assert_equal(one, other)


def test_best_weights_include_the_buffers():
    one = trainer(epochs=30)
    stopping = tl.EarlyStopping(patience=2)
    kept = {}

    class Keep(tl.Callback):
        only_watches = True

        def on_epoch_end(self, run):
            kept[run.history.epochs - 1] = run.trainer.model.state_dict()
            return ""

    one.fit(X, Y, validation=(X, Y), callbacks=[stopping, Keep()])
    for name, value in one.model.state_dict().items():
        np.testing.assert_array_equal(value, kept[stopping.best_epoch][name])


def test_a_loop_by_hand_trains_as_the_eager_engine():
    one, other = trainer(shuffle=False), trainer(shuffle=False, epochs=2)
    other.fit(X, Y)
    x, y = X, Y[:, None]
    for epoch in range(2):
        numbers = EpochNumbers(0, epoch)
        names = one.random_inputs()
        for start in range(0, len(x), 10):
            batch = slice(start, start + 10)

            with entered(eager_mode(numbers, names)):
                update = one.training_step(tl.Tensor(x[batch]), tl.Tensor(y[batch]))
            one.commit(update.parameters, update.state, update.buffers)
    for name, value in other.model.state_dict().items():
        np.testing.assert_array_equal(one.model.state_dict()[name], value)


# What a user may write -----------------------------------------------------------------------------------------------


class NoisyLoss(tl.Loss):
    """A loss may read random numbers too."""

    def __init__(self):
        self.noise = tl.RandomInput("normal")

    def per_sample(self, prediction, target):
        error = (prediction - target).square().mean(axis=1)
        return error + 0.01 * self.noise(error.shape) if tl.in_training_mode() else error


class DropConnect(tl.Layer):
    """Two draws a step from one source, of which one has no axes."""

    def __init__(self, rng):
        self.linear = tl.Linear(3, 1, rng=rng)
        self.uniform = tl.RandomInput("uniform")

    def forward(self, x):
        weight = self.linear.weight
        if self.training:
            weight = weight * (0.5 + self.uniform(weight.shape)) * (0.5 + self.uniform(()))
        return x @ weight.T + self.linear.bias


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_random_inputs_of_any_part_and_of_any_shape(engine):
    def make(name):
        net = DropConnect(np.random.default_rng(0))
        return tl.Trainer(net, NoisyLoss(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=3, batch_size=10, engine=name)

    one, other = make("eager"), make(engine)
    for each in (one, other):
        each.fit(X, Y, validation=(X, Y))
    assert_equal(one, other, 1e-12 if engine == "compiled" else 0.0)


def test_numbers_depend_on_seed_epoch_name_and_call_only():
    def numbers(seed, epoch, key):
        return EpochNumbers(seed, epoch).draw(key, "normal", (3,), np.dtype(float)).tolist()

    keys = [(0, 0, ("a", 0)), (1, 0, ("a", 0)), (0, 1, ("a", 0)), (0, 0, ("b", 0)), (0, 0, ("a", 1))]
    assert len({tuple(numbers(*key)) for key in keys}) == len(keys)
    assert numbers(*keys[0]) == numbers(*keys[0])


def test_a_layer_that_is_added_leaves_the_numbers_of_the_others():
    rng = np.random.default_rng(0)
    short = tl.Trainer(net := tl.Sequential(tl.Linear(3, 1, rng=rng), tl.Dropout(0.5)), tl.MeanSquaredError(),
                       optimizer=tl.SGD(net.parameters(), lr=0.1))  # fmt: skip
    long = tl.Trainer(net := tl.Sequential(tl.Linear(3, 1, rng=rng), tl.Dropout(0.5), tl.Dropout(0.1)), tl.MeanSquaredError(),
                      optimizer=tl.SGD(net.parameters(), lr=0.1))  # fmt: skip
    assert list(short.random_inputs().values()) == ["1.uniform"]
    assert list(long.random_inputs().values()) == ["1.uniform", "2.uniform"]


class Hidden(tl.Layer):
    """Keeps its source where nobody finds it."""

    def __init__(self, rng):
        self.linear = tl.Linear(3, 1, rng=rng)
        source = tl.RandomInput("uniform")
        self.draw = lambda shape: source(shape)

    def forward(self, x):
        return self.linear(x) + self.draw((1,)) if self.training else self.linear(x)


class ForeignBuffer(tl.Layer):
    def __init__(self, rng):
        self.linear = tl.Linear(3, 1, rng=rng)
        buffer = tl.Buffer(0.0)
        self.count = lambda: setattr(buffer, "value", buffer.value + 1.0)

    def forward(self, x):
        if self.training:
            self.count()
        return self.linear(x)


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize(
    ("layer", "message"), [(Hidden, "was not found in the Trainer"), (ForeignBuffer, "set a Buffer that is not in the model")]
)
def test_what_a_trainer_cannot_find_is_refused(layer, message, engine):
    net = layer(np.random.default_rng(0))
    one = tl.Trainer(net, tl.MeanSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), engine=engine)
    with pytest.raises(ValueError, match=message):
        one.fit(X, Y)


def test_numbers_of_another_shape_each_time_are_refused_by_a_capture():
    source = tl.RandomInput("uniform")
    net = tl.Sequential(tl.Linear(3, 1, rng=np.random.default_rng(0)))
    net.source = source
    one = tl.Trainer(net, tl.MeanSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1))
    inputs = DrawnInputs(one.random_inputs(), one.seed)
    with entered(inputs.mode()):
        source((2,))
    with entered(inputs.mode()), pytest.raises(tl.CaptureError, match=r"source: the step draws numbers of shape \(2,\), then"):
        source((3,))


class Plain(tl.Layer):
    def __init__(self, *layers):
        self.inner = tl.Sequential(*layers)

    def forward(self, x):
        return self.inner(x)


class Checkpointed(Plain):
    def forward(self, x):
        return tl.checkpoint(self.inner)(x)


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_buffers_and_random_numbers_under_checkpoint(engine):
    both = []
    for kind in (Plain, Checkpointed):
        rng = np.random.default_rng(0)
        layers = [tl.Linear(3, 4, rng=rng), tl.BatchNorm(4), tl.Dropout(0.5), CountsBatches(), tl.Linear(4, 1, rng=rng)]
        net = kind(*layers, tl.GaussianNoise(0.1))
        both.append(tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=2, engine=engine))
    for each in both:
        each.fit(X, Y)
    for one, other in zip(both[0].model.state_dict().values(), both[1].model.state_dict().values(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


def test_a_backward_pass_after_the_block_repeats_the_pass_in_training_mode():
    layer = Checkpointed(tl.Linear(3, 4, rng=np.random.default_rng(0)), tl.BatchNorm(4), tl.Dropout(0.5))
    with tl.training_mode(np.random.default_rng(1)):
        loss = layer(X).square().sum()
    gradients = tl.grad(loss, layer.parameters())
    with tl.training_mode(np.random.default_rng(1)):
        expected = tl.grad(layer.inner(X).square().sum(), layer.parameters())
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)


class CountsBatches(tl.Layer):
    """Its output depends on a buffer that it sets."""

    def __init__(self):
        self.count = tl.Buffer(1.0)

    def forward(self, x):
        if self.training:
            self.count.value = 0.5 * self.count.value
        return x * self.count.value


class NoisyHook(tl.GradientHook):
    def __init__(self, factor):
        self.factor = factor
        self.noise = tl.RandomInput("normal")

    def __call__(self, gradients):
        return [g + self.factor * self.noise(g.shape) for g in gradients]


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_random_inputs_of_one_name_in_several_parts_have_numbers_of_their_own(engine):
    def make(name):
        net = tl.Sequential(tl.Linear(3, 1, rng=np.random.default_rng(0)))
        optimizer = tl.SGD(net.parameters(), lr=0.1, hooks=[NoisyHook(1.0), NoisyHook(-1.0)])
        return tl.Trainer(net, NoisyLoss(), optimizer=optimizer, epochs=2, batch_size=10, engine=name)

    one, other = make("eager"), make(engine)
    assert list(one.random_inputs().values()) == ["hooks.0.noise", "hooks.1.noise", "loss.noise"]
    for each in (one, other):
        each.fit(X, Y)
    assert_equal(one, other, 1e-12)


def test_two_random_inputs_of_one_name_are_refused():
    net = DropConnect(np.random.default_rng(0))
    net.sources = {1: tl.RandomInput("normal"), "1": tl.RandomInput("normal")}
    one = tl.Trainer(net, tl.MeanSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="'sources.1' names 2 RandomInputs"):
        one.fit(X, Y)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_in_a_block_of_training_mode_is_the_same(engine):
    one, other = trainer(engine), trainer(engine)
    one.fit(X, Y)
    with tl.training_mode():
        other.fit(X, Y)
    assert_equal(one, other)


class ReturnsThree(tl.Trainer):
    def training_step(self, x, y, sample_weight=None):
        loss, parameters, state, _ = super().training_step(x, y, sample_weight)
        return loss, parameters, state


class ReturnsNone(tl.Trainer):
    def training_step(self, x, y, sample_weight=None):
        super().training_step(x, y, sample_weight)


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_step_of_a_users_own_keeps_the_buffers(engine):
    def make(kind):
        net = tl.Sequential(tl.BatchNorm(3), tl.Linear(3, 1, rng=np.random.default_rng(0)))
        optimizer = tl.SGD(net.parameters(), lr=0.1)
        return kind(net, tl.HalfSquaredError(), optimizer=optimizer, epochs=2, engine=engine)

    one, other = make(tl.Trainer), make(ReturnsThree)
    for each in (one, other):
        each.fit(X, Y)
    assert_equal(one, other)
    with pytest.raises(TypeError, match="ReturnsNone: training_step returned None, expected an Update"):
        make(ReturnsNone).fit(X, Y)


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_frozen_parameter_of_the_optimizer_is_named(engine):
    net = tl.Sequential(tl.Linear(3, 1, rng=np.random.default_rng(0)))
    one = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), engine=engine)
    net[0].weight.requires_grad = False
    with pytest.raises(ValueError, match=r"0\.weight: is frozen \(requires_grad = False\), but the optimizer moves it"):
        one.fit(X, Y)
