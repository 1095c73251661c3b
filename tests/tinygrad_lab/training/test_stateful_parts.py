"""Parts that keep state of their own, such as a counter: what a capture cannot repeat is refused, and "auto" trains eagerly."""

import collections
import ctypes
import decimal
import functools
import itertools
import logging
import math
import multiprocessing
import os
import random
import re
import threading
import types
from array import array
from collections import OrderedDict, defaultdict, deque
from contextlib import nullcontext
from contextvars import ContextVar
from itertools import count, cycle

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.autodiff.recording import CaptureError

X = np.random.default_rng(1).normal(size=(20, 3))
Y = X[:, :1] ** 2
SCOPE = types.ModuleType("settings_of_a_user")
CALLS = 0
COUNTS = [0]


# Ways to count, each a function that returns a counter: a function that returns how often it was called.


class Counter:
    calls = 0

    def __init__(self):
        self.start()

    def start(self):
        pass


class InAttribute(Counter):
    def start(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


class InList(Counter):
    def start(self):
        self.calls = [0]

    def __call__(self):
        self.calls[0] += 1
        return self.calls[0]


class InLengthOfList(Counter):
    def start(self):
        self.calls = []

    def __call__(self):
        self.calls.append(None)
        return len(self.calls)


class InDict(Counter):
    def start(self):
        self.calls = {"of this": (0,)}

    def __call__(self):
        self.calls["of this"] = (self.calls["of this"][0] + 1,)
        return self.calls["of this"][0]


class InDeque(Counter):
    def start(self):
        self.calls = deque([0], maxlen=1)

    def __call__(self):
        self.calls.append(self.calls[0] + 1)
        return self.calls[0]


class InSet(Counter):
    def start(self):
        self.calls = set()

    def __call__(self):
        self.calls.add(len(self.calls))
        return len(self.calls)


class InArray(Counter):
    def start(self):
        self.calls = np.zeros((), int)

    def __call__(self):
        self.calls += 1
        return int(self.calls)


class InTensor(Counter):
    def start(self):
        self.calls = tl.Tensor(0)

    def __call__(self):
        self.calls = tl.Tensor(self.calls.item() + 1)
        return self.calls.item()


class Inner:
    __slots__ = ("calls",)

    def __init__(self):
        self.calls = 0


class InSlot(Counter):
    def start(self):
        self.inner = {"a": [Inner()]}

    def __call__(self):
        self.inner["a"][0].calls += 1
        return self.inner["a"][0].calls


class InClass(Counter):
    def start(self):
        type(self).calls = 0

    def __call__(self):
        type(self).calls += 1
        return self.calls


class InGlobal(Counter):
    def start(self):
        global CALLS
        CALLS = 0

    def __call__(self):
        global CALLS
        CALLS += 1
        return CALLS


class InGlobalList(Counter):
    def start(self):
        COUNTS[:] = [0]

    def __call__(self):
        return count_in_list()


def count_in_list():
    COUNTS[0] += 1
    return COUNTS[0]


class InModule(Counter):
    def start(self):
        SCOPE.calls = 0

    def __call__(self):
        SCOPE.calls += 1
        return SCOPE.calls


class InClosure(Counter):
    def start(self):
        calls = 0

        def step():
            nonlocal calls
            calls += 1
            return calls

        self.step = step

    def __call__(self):
        return self.step()


class InFunction(Counter):
    def start(self):
        def step():
            step.calls += 1
            return step.calls

        step.calls = 0
        self.step = step

    def __call__(self):
        return self.step()


class InDefault(Counter):
    def start(self):
        def step(calls=[0], *, more={"calls": 0}):  # noqa: B006 (it is the point)
            calls[0] += 1
            more["calls"] += 1
            return max(calls[0], more["calls"])

        self.step = step

    def __call__(self):
        return self.step()


class InMethod(Counter):
    def start(self):
        self.step = InAttribute().__call__

    def __call__(self):
        return self.step()


class InGenerator(Counter):
    """Draws a number from a generator, and looks up how many it has drawn."""

    def start(self):
        self.generator = np.random.default_rng(0)
        self.drawn = np.random.default_rng(0).random(10_000).tolist()

    def __call__(self):
        return self.drawn.index(self.generator.random()) + 1


@functools.cache
def f(calls=[0]):  # noqa: B006
    return calls


@functools.cache
def count_in_cached_function():
    return COUNTS


class InCachedFunction(Counter):
    """A cached function is pickled by its name."""

    function = staticmethod(count_in_cached_function)

    def start(self):
        self.function()[0] = 0

    def __call__(self):
        self.function()[0] += 1
        return self.function()[0]


class InCachedFunctionOfShortName(InCachedFunction):
    function = staticmethod(f)


class InBoundMethod(Counter):
    def start(self):
        self.next = list(range(1000, 0, -1)).pop

    def __call__(self):
        return self.next()


class InEnvironment(Counter):
    def start(self):
        os.environ["CALLS"] = "0"

    def __call__(self):
        os.environ["CALLS"] = str(int(os.environ["CALLS"]) + 1)
        return int(os.environ["CALLS"])


class InMemory(Counter):
    """In the memory of a native object."""

    make = staticmethod(lambda: (ctypes.c_int * 1)())

    def start(self):
        self.calls = self.make()

    def __call__(self):
        self.calls[0] += 1
        return self.calls[0]


class InMemoryView(InMemory):
    make = staticmethod(lambda: memoryview(bytearray(1)))


class InNativeArray(InMemory):
    make = staticmethod(lambda: array("l", [0]))


class InLengthOfNativeArray(InMemory):
    make = staticmethod(lambda: array("l", [0]))

    def __call__(self):
        self.calls.append(1)
        return len(self.calls) - 1


class InEmptyNativeArray(InLengthOfNativeArray):
    make = staticmethod(lambda: array("l"))

    def __call__(self):
        self.calls.append(1)
        return len(self.calls)


class InSharedMemory(InMemory):
    make = staticmethod(lambda: multiprocessing.Value("i", 0))

    def __call__(self):
        self.calls.value += 1
        return self.calls.value


CONTEXT = ContextVar("CONTEXT", default=0)


class InContext(Counter):
    def start(self):
        CONTEXT.set(0)

    def __call__(self):
        CONTEXT.set(CONTEXT.get() + 1)
        return CONTEXT.get()


class InRandom(InGenerator):
    def start(self):
        self.generator = random.Random(0)
        again = random.Random(0)
        self.drawn = [again.random() for _ in range(10_000)]


class InGlobalRandom(InGenerator):
    def start(self):
        random.seed(0)
        self.drawn = [random.random() for _ in range(10_000)]
        random.seed(0)

    def __call__(self):
        return self.drawn.index(random.random()) + 1


class InGlobalNumPy(InGenerator):
    def start(self):
        np.random.seed(0)  # noqa: NPY002
        self.drawn = np.random.random(10_000).tolist()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002

    def __call__(self):
        return self.drawn.index(np.random.random()) + 1  # noqa: NPY002


class InIterator(Counter):
    def start(self):
        self.numbers = iter(range(1, 10_000))

    def __call__(self):
        return next(self.numbers)


class InCycle(Counter):
    def start(self):
        self.numbers = cycle(range(1, 10_000))

    def __call__(self):
        return next(self.numbers)


class InCount(Counter):
    def start(self):
        self.numbers = count(1)

    def __call__(self):
        return next(self.numbers)


class InGeneratorFunction(Counter):
    def start(self):
        self.numbers = (i for i in range(1, 10_000))

    def __call__(self):
        return next(self.numbers)


COUNTERS = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Counter)][1:]


# Parts that act differently from their 11th call on


class Scaling:
    """A number that is 1.0 in the first ten calls, then 0.5."""

    def __init__(self, counter):
        self.counter = counter

    def number(self):
        return 1.0 if self.counter() <= 10 else 0.5


class OfLayer(Scaling, tl.Layer):
    def forward(self, x):
        return x * self.number()


class OfActivation(Scaling, tl.Activation):
    def forward(self, x):
        return x.tanh() * self.number()


class OfLoss(Scaling, tl.Loss):
    def per_sample(self, prediction, target):
        return ((prediction - target).square() * self.number()).sum(axis=1)


class OfHook(Scaling, tl.GradientHook):
    def __call__(self, gradients):
        return [g * self.number() for g in gradients]


class OfPenalty(tl.L2Penalty):
    def __init__(self, counter):
        super().__init__(0.1)
        self.scaling = Scaling(counter)

    def value(self, parameters):
        return super().value(parameters) * self.scaling.number()


class OfOptimizer(tl.SGD):
    def __init__(self, parameters, hooks, counter):
        super().__init__(parameters, lr=0.05, hooks=hooks)
        self.scaling = Scaling(counter)

    def rule(self, w, g, slots, lr, momentum):
        return super().rule(w, g * self.scaling.number(), slots, lr, momentum)


PARTS = ["layer", "activation", "loss", "hook", "penalty", "optimizer"]


def trainer_of(part, counter, engine, **options):
    counter = counter()
    rng = np.random.default_rng(0)
    between = {"layer": OfLayer, "activation": OfActivation}.get(part, lambda _: tl.Tanh())(counter)
    net = tl.Sequential(tl.Linear(3, 4, rng=rng), between, tl.Linear(4, 1, rng=rng))
    hooks = [OfHook(counter)] if part == "hook" else []
    optimizer = (
        OfOptimizer(net.parameters(), hooks, counter) if part == "optimizer" else tl.SGD(net.parameters(), lr=0.05, hooks=hooks)
    )
    loss = OfLoss(counter) if part == "loss" else tl.HalfSquaredError()
    penalty = OfPenalty(counter) if part == "penalty" else None
    settings = {"epochs": 6, "batch_size": 8} | options
    return tl.Trainer(net, loss, optimizer=optimizer, penalty=penalty, engine=engine, **settings)


def losses_of(trainer, **options):
    history = trainer.fit(X, Y, validation=(X[:7], Y[:7]), **options)
    return [history["train_loss"], history["validation_loss"]]


def check_refused(part, counter, interpreted):
    expected = losses_of(trainer_of(part, counter, "eager"))
    for engine in ("replay", "compiled"):
        with pytest.raises(CaptureError, match="train with engine='eager'|differs each time|it depends on more") as failure:
            trainer_of(part, counter, engine).fit(X, Y)
        assert "\n" not in str(failure.value)
    with pytest.warns(UserWarning, match="training on the eager engine, since the step cannot be replayed"):
        np.testing.assert_array_equal(losses_of(trainer_of(part, counter, "auto")), expected)
    trainer = trainer_of(part, counter, "eager")
    with pytest.raises(CaptureError):
        trainer.capture(X, Y)
    np.testing.assert_array_equal(losses_of(trainer), expected)


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_of_a_hook_is_refused_and_left_as_it_was(counter, interpreted):
    check_refused("hook", counter, interpreted)


@pytest.mark.parametrize("counter", [InAttribute, InClosure, InGlobal, InGenerator, InCount])
@pytest.mark.parametrize("part", PARTS)
def test_a_counter_of_any_part_is_refused(part, counter, interpreted):
    check_refused(part, counter, interpreted)


@pytest.mark.parametrize(
    ("counter", "message"),
    [
        (InAttribute, "InAttribute.calls went from 0 to 4 during the step"),
        (InList, r"InList.calls\[0\] went from 0 to"),
        (InLengthOfList, r"InLengthOfList.calls\[0\] was added during the step"),
        (InArray, "InArray.calls went from 0 to"),
        (InSlot, "Inner.calls went from 0 to"),
        (InClass, "InClass.calls went from 0 to"),
        (InGlobal, f"the global variable CALLS of {__name__} went from 0 to"),
        (InModule, "settings_of_a_user.calls went from 0 to"),
        (InClosure, "the variable calls in the closure of .*step went from 0 to"),
        (InFunction, "step.calls went from 0 to"),
        (InDefault, r"the default argument 0 of .*step\[0\] went from 0 to"),
        (InGenerator, "InGenerator.generator, a Generator, changed its state"),
        (InRandom, "InRandom.generator, a Random, changed its state"),
        (InGlobalRandom, "random changed its state during the step"),
        (InGlobalNumPy, "numpy.random changed its state during the step"),
        (InMemory, "InMemory.calls, a c_int_Array_1, changed its state during the step"),
        (InContext, "the global variable CONTEXT of .* went from 0 to 4 during the step"),
        (InEnvironment, "os.environ changed its state during the step"),
        (InBoundMethod, r"InBoundMethod.next\[99\d\] was removed during the step"),
        (InCount, "InCount.numbers is a count, which a trial run would use up"),
        (InGeneratorFunction, "InGeneratorFunction.numbers is a generator, which a trial run would use up"),
    ],
)
def test_the_message_names_what_changes(counter, message):
    with pytest.raises(CaptureError, match=message):
        trainer_of("hook", counter, "replay").fit(X, Y)


class InContextOfDecimals:
    """It can be read, but not put back."""

    def __init__(self):
        self.context = decimal.Context(prec=1)

    def __call__(self):
        self.context.prec += 1
        return self.context.prec


def test_state_that_cannot_be_put_back_is_refused():
    message = "InContextOfDecimals.context, a Context, changed its state in a trial run, and cannot be put back"
    with pytest.raises(CaptureError, match=message):
        trainer_of("hook", InContextOfDecimals, "replay").fit(X, Y)
    with pytest.warns(UserWarning, match=message):
        trainer_of("hook", InContextOfDecimals, "auto").fit(X, Y)


# Results and inputs that a step keeps


class KeepsAll(tl.Layer):
    """Keeps its input and its results, as layers do that someone looks into."""

    def __init__(self):
        self.linear = tl.Linear(3, 1, rng=np.random.default_rng(0))
        self.input = None
        self.seen = {}
        self.outputs = []

    def forward(self, x):
        self.input = x
        self.outputs = [self.linear(x), self.linear(x).tanh()]
        self.seen["sum"] = self.outputs[0] + self.outputs[1]
        self.last = self.seen["sum"].detach()
        return self.seen["sum"]


def simple_trainer(net, engine, optimizer=tl.SGD, **options):
    settings = {"epochs": 4, "batch_size": 8} | options
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer(net.parameters(), lr=0.05), engine=engine, **settings)


def check_equal_without_a_warning(make, **options):
    expected = losses_of(make("eager"), **options)
    for engine in ("replay", "auto"):
        np.testing.assert_array_equal(losses_of(make(engine), **options), expected)
    np.testing.assert_allclose(losses_of(make("compiled"), **options), expected, rtol=1e-12)
    return expected


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
def test_a_layer_may_keep_its_input_and_results_to_be_looked_at(interpreted):
    check_equal_without_a_warning(lambda engine: simple_trainer(KeepsAll(), engine))
    trainer = simple_trainer(KeepsAll(), "eager")
    trainer.fit(X, Y, epochs=1)
    trainer.capture(X, Y)  # it has kept results before


class ReadsWhatIsKept(tl.Callback):
    def __init__(self):
        self.means = []

    def on_epoch_end(self, run):
        self.means.append(run.trainer.model.last.numpy().mean())
        return ""


@pytest.mark.parametrize("validation", [None, (X, Y)], ids=["training", "evaluation"])
def test_a_result_that_a_callback_may_read_is_not_lost(validation):
    for engine in ("replay", "compiled"):
        with pytest.raises(CaptureError, match=r"^KeepsAll\.input: .*a callback may read .*train with engine='eager'"):
            simple_trainer(KeepsAll(), engine).fit(X, Y, validation, callbacks=[ReadsWhatIsKept()])
    means = []
    for engine in ("eager", "auto"):
        reader = ReadsWhatIsKept()
        with pytest.warns(UserWarning, match="training on the eager engine") if engine == "auto" else nullcontext():
            simple_trainer(KeepsAll(), engine).fit(X, Y, validation, callbacks=[reader])
        means.append(reader.means)
    assert means[0] == means[1]


@pytest.mark.parametrize("engine", ["replay", "auto"])
def test_a_result_that_is_lost_is_named(engine):
    with pytest.warns(
        UserWarning, match=r"^KeepsAll\.input: the step keeps a result .*train with engine='eager' to look at it"
    ):
        simple_trainer(KeepsAll(), engine).fit(X, Y, callbacks=[tl.EarlyStopping(3, monitor="train_loss")])


class KeepsInMapping(KeepsAll):
    def __init__(self, mapping):
        super().__init__()
        self.seen = mapping

    def forward(self, x):
        self.seen["b"] = self.linear(x)
        return self.seen["b"]


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda x: defaultdict(list, x), collections.Counter])
def test_results_may_be_kept_in_any_mapping(kind, interpreted):
    check_equal_without_a_warning(lambda engine: simple_trainer(KeepsInMapping(kind({"a": 1})), engine))
    mapping = kind({"a": 1})
    simple_trainer(KeepsInMapping(mapping), "eager").capture(X, Y)
    assert list(mapping.items()) == [("a", 1)]


class ReordersItsDict(KeepsAll):
    def __init__(self):
        super().__init__()
        self.seen = OrderedDict.fromkeys("abcdefgh")

    def forward(self, x):
        self.seen.move_to_end(next(iter(self.seen)))
        return self.linear(x) * (0.5 if next(iter(self.seen)) == "h" else 1.0)


def test_the_order_of_an_ordered_dict_is_state():
    with pytest.raises(CaptureError, match="seen changed its order during the step"):
        simple_trainer(ReordersItsDict(), "replay").fit(X, Y)


LOCK = threading.Lock()
PATTERN = re.compile("a")


class UsesHarmlessObjects(KeepsAll):
    def __init__(self, file, name):
        super().__init__()
        self.file, self.lock = file, LOCK
        self.log = logging.getLogger(name)  # a new one, which has not looked up its level

    def forward(self, x):
        with self.lock:
            self.log.debug("forward")
            self.file.write("a" if PATTERN.match("a") else "")
        return self.linear(x) * float(math.gcd(4, 2))


def test_objects_without_state_of_the_training_are_no_obstacle(tmp_path, interpreted):
    with open(tmp_path / "log.txt", "w", encoding="utf-8") as file:
        check_equal_without_a_warning(lambda engine: simple_trainer(UsesHarmlessObjects(file, f"{tmp_path}.{engine}"), engine))


class UsesTheLastBatch(KeepsAll):
    def forward(self, x):
        last = x if self.input is None or self.input.shape != x.shape else self.input
        self.input = x
        return self.linear(x + 0.1 * last)


class UsesTheLastResult(KeepsAll):
    def forward(self, x):
        result = self.linear(x)
        if "last" in self.seen and self.seen["last"].shape == result.shape:
            result = result + 0.0 * self.seen["last"]
        self.seen["last"] = result.detach()
        return result


class DecidesByTheLastResult(KeepsAll):
    def forward(self, x):
        factor = 0.5 if self.input is not None and float(self.input) < 0.05 else 1.0
        result = self.linear(x) * factor
        self.input = result.square().mean().detach()
        return result


class DecidesByItsLastInput(KeepsAll):
    def forward(self, x):
        factor = 0.5 if self.input is not None and self.input[0, 0].item() > 0.0 else 1.0
        self.input = x
        return self.linear(x) * factor


class CountsResults(KeepsAll):
    def forward(self, x):
        self.outputs.append(self.linear(x))
        return self.outputs[-1] * (1.0 if len(self.outputs) < 10 else 0.5)


class CountsResultsByName(KeepsAll):
    def forward(self, x):
        self.seen[len(self.seen)] = self.linear(x)
        return self.linear(x) * (1.0 if len(self.seen) < 10 else 0.5)


@pytest.mark.parametrize(
    "layer",
    [UsesTheLastBatch, UsesTheLastResult, DecidesByTheLastResult, DecidesByItsLastInput, CountsResults, CountsResultsByName],
)
def test_a_layer_must_not_use_what_it_has_kept(layer):
    for engine in ("replay", "compiled"):
        with pytest.raises(CaptureError):
            simple_trainer(layer(), engine).fit(X, Y)
    with pytest.warns(UserWarning, match="training on the eager engine"):
        losses = losses_of(simple_trainer(layer(), "auto"))
    np.testing.assert_array_equal(losses, losses_of(simple_trainer(layer(), "eager")))


class Centering(KeepsAll):
    """Keeps the mean of the batch in training, and reads it in evaluation."""

    def __init__(self, start, keep, read):
        super().__init__()
        self.mean = start
        self.keep, self.read = keep, read

    def forward(self, x):
        if self.training:
            self.keep(self, x.mean(0).detach())
            return self.linear(x - x.mean(0))
        return self.linear(x - self.read(self))


class Squashing(KeepsAll):
    """Keeps a result of the evaluation, and reads it in training."""

    def __init__(self):
        super().__init__()
        self.scale = tl.Tensor(1.0)

    def forward(self, x):
        y = self.linear(x)
        if self.training:
            return y / self.scale
        self.scale = y.square().mean().detach()
        return y


ZEROS = tl.Tensor(np.zeros(3))


def put_attribute(layer, mean):
    layer.mean = mean


def put_item(layer, mean):
    layer.mean[0] = mean


def put_tensor(layer, mean):
    layer.mean.tensor = mean


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: Centering(ZEROS, put_attribute, lambda layer: layer.mean), "keep it in a Buffer"),
        (lambda: Centering(ZEROS, put_attribute, lambda layer: float(layer.mean[0])), "keep it in a Buffer"),
        (lambda: Centering([ZEROS], put_item, lambda layer: layer.mean[0]), "keep it in a Buffer"),
        (lambda: Centering({0: ZEROS, 1: ()}, put_item, lambda layer: layer.mean[0]), "keep it in a Buffer"),
        (
            lambda: Centering(tl.Buffer(np.zeros(3)), put_tensor, lambda layer: layer.mean.value),
            "mean: the step replaces the Tensor of a Buffer; set its `value`",
        ),
        (Squashing, "keep it in a Buffer"),
    ],
)
def test_what_one_mode_keeps_and_the_other_reads_is_state(net, message):
    for engine in ("replay", "compiled"):
        with pytest.raises(CaptureError, match=message):
            losses_of(simple_trainer(net(), engine))
    with pytest.warns(UserWarning, match="training on the eager engine"):
        losses = losses_of(simple_trainer(net(), "auto"))
    np.testing.assert_array_equal(losses, losses_of(simple_trainer(net(), "eager")))


@pytest.mark.filterwarnings("ignore:.*the step keeps a result")
def test_a_layer_may_replace_a_tensor_that_it_does_not_read(interpreted):
    def make(engine):
        net = KeepsAll()
        net.last = tl.Tensor(1.0)
        trainer = simple_trainer(net, engine)
        trainer.fit(X, Y, epochs=1)
        trainer.predict(X)
        return simple_trainer(net, engine)

    check_equal_without_a_warning(make)


class LogsItsEvaluation(KeepsAll):
    def forward(self, x):
        y = self.linear(x)
        if not self.training:
            self.mean = float(y.mean())
        return y


class CountsEvaluations(KeepsAll):
    evaluations = 0

    def forward(self, x):
        self.evaluations += not self.training
        return self.linear(x) * (1.0 if self.evaluations < 4 else 0.5)


@pytest.mark.parametrize("kind", [LogsItsEvaluation, CountsEvaluations])
def test_an_evaluation_that_cannot_be_captured_is_refused_before_the_first_update(kind):
    for engine in ("replay", "compiled"):
        net = kind()
        before = net.linear.weight.numpy().tolist()
        with pytest.raises(CaptureError):
            losses_of(simple_trainer(net, engine))
        assert net.linear.weight.numpy().tolist() == before
    with pytest.warns(UserWarning, match="training on the eager engine") as warned:
        losses = losses_of(simple_trainer(kind(), "auto"))
    assert len(warned) == 1
    np.testing.assert_array_equal(losses, losses_of(simple_trainer(kind(), "eager")))


class ReadsTheHistory(KeepsAll):
    def forward(self, x):
        return self.linear(x) * (0.5 if self.trainer.history.epochs > 1 else 1.0)


def test_a_layer_that_reads_the_history_is_trained_eagerly():
    def make(engine):
        net = ReadsTheHistory()
        trainer = simple_trainer(net, engine)
        net.trainer = trainer
        return trainer

    with pytest.raises(CaptureError, match=r"Trainer.history is the history, which grows during the training"):
        make("replay").fit(X, Y)
    with pytest.warns(UserWarning, match="training on the eager engine"):
        losses = losses_of(make("auto"))
    np.testing.assert_array_equal(losses, losses_of(make("eager")))


# State that callbacks and schedulers change between epochs

FACTOR = 1.0


class Configuration:
    factor = 1.0


CONFIGURATION = Configuration()


def tempered(x, options={"factor": 1.0}):  # noqa: B006
    return x * options["factor"]


class ReadsAround(tl.Layer):
    """Reads what a callback may change around it."""

    factor = 1.0

    def __init__(self):
        self.linear = tl.Linear(3, 1, rng=np.random.default_rng(0))
        factor = 1.0
        constant = tl.Tensor(1.0)

        def function(x):
            return x * (factor * constant.item())

        def change(value):
            nonlocal factor
            factor = value

        self.function, self.change, self.assign = function, change, constant.assign
        self.partial = functools.partial(np.multiply, 1.0)

    def forward(self, x):
        return self.function(
            self.partial(tempered(self.linear(x * FACTOR) * self.factor * CONFIGURATION.factor * SCOPE.factor))
        )


def change_global(net, value):
    global FACTOR
    FACTOR = value


CHANGES = {
    "module global": change_global,
    "global object": lambda net, value: setattr(CONFIGURATION, "factor", value),
    "other module": lambda net, value: setattr(SCOPE, "factor", value),
    "class attribute": lambda net, value: setattr(ReadsAround, "factor", value),
    "closure": lambda net, value: net.change(value),
    "Tensor in a closure": lambda net, value: net.assign(value),
    "default argument": lambda net, value: tempered.__defaults__[0].update(factor=value),
    "partial": lambda net, value: setattr(net, "partial", functools.partial(np.multiply, value)),
    "method": lambda net, value: setattr(ReadsAround, "forward", lambda self, x: self.linear(x) * value),
}


@pytest.fixture
def unchanged():
    """Leave no change in the modules and classes of the tests."""
    forward = ReadsAround.forward

    def restore():
        SCOPE.factor = ReadsAround.factor = CONFIGURATION.factor = tempered.__defaults__[0]["factor"] = 1.0
        ReadsAround.forward = forward
        change_global(None, 1.0)

    restore()
    yield restore
    restore()


class Change(tl.Callback):
    def __init__(self, change):
        self.change = change

    def on_epoch_end(self, run):
        if run.history.epochs == 2:
            self.change(run.trainer.model, 0.5)
        return ""


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_changes_around_the_parts_is_followed(name, unchanged, interpreted):
    losses = {}
    for engine in ("eager", "replay", "auto", "compiled"):
        unchanged()
        losses[engine] = losses_of(simple_trainer(ReadsAround(), engine), callbacks=[Change(CHANGES[name])])
    for engine in ("replay", "auto"):
        np.testing.assert_array_equal(losses[engine], losses["eager"])
    np.testing.assert_allclose(losses["compiled"], losses["eager"], rtol=1e-12)
    unchanged()
    assert (losses["eager"][0][2:] != losses_of(simple_trainer(ReadsAround(), "eager"))[0][2:]).all()


class Acting(tl.Scheduler):
    """Changes a layer when it is asked for a learning rate."""

    def __init__(self, net):
        self.net = net

    def __call__(self, epoch):
        self.net.factor = 1.0 / (1 + epoch)
        return 0.05


class Plateau(tl.Scheduler):
    """Halves the learning rate where the loss has not gone down by a tenth."""

    trainer = None

    def __call__(self, epoch):
        losses = self.trainer.history["train_loss"] if epoch else []
        return 0.05 * 0.5 ** sum(after > 0.9 * before for before, after in itertools.pairwise(losses))


@pytest.mark.parametrize("kind", ["acting", "plateau", "wrapped"])
def test_a_scheduler_may_change_the_step_and_read_the_history(kind, unchanged, interpreted):
    def make(engine):
        net = ReadsAround()
        scheduler = Plateau() if kind == "plateau" else Acting(net)
        trainer = simple_trainer(net, engine, epochs=8, scheduler=tl.WarmUp(scheduler, 2) if kind == "wrapped" else scheduler)
        scheduler.trainer = trainer if kind == "plateau" else None
        return trainer

    histories = {engine: make(engine).fit(X, Y) for engine in ("eager", "replay", "auto", "compiled")}
    together = {engine: make(engine) for engine in ("eager", "replay", "compiled")}
    tl.fit_lanes(list(together.values()), [(X, Y)] * 3)
    histories |= {f"{engine} lane": trainer.history for engine, trainer in together.items()}
    two = [make("replay"), make("replay")]
    tl.fit_lanes(two, [(X, Y)] * 2)
    histories["lanes"] = two[1].history
    for engine, history in histories.items():
        rtol = 1e-12 if "compiled" in engine else 0
        for name in ("train_loss", "lr"):
            np.testing.assert_allclose(history[name], histories["eager"][name], rtol=rtol, err_msg=f"{engine} {name}")


# Trial runs leave no trace


class Dropout(tl.Layer):
    """A user's own, which draws from its generator and from the global one."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        return x * (self.rng.random(x.shape) < 0.5) * np.random.random()  # noqa: NPY002


def test_probes_and_failed_captures_draw_no_random_numbers():
    def make(engine):
        np.random.seed(0)  # noqa: NPY002
        rng = np.random.default_rng(0)
        net = tl.Sequential(tl.Linear(3, 4, rng=rng), Dropout(), tl.Linear(4, 1, rng=rng))
        return simple_trainer(net, engine, batch_size=None, shuffle=False, epochs=3)

    trainer = make("eager")
    expected = trainer.fit(X, Y)["train_loss"]
    with pytest.warns(UserWarning, match="training on the eager engine"):
        np.testing.assert_array_equal(make("auto").fit(X, Y)["train_loss"], expected)
    by_hand, losses = make("eager"), []
    for _ in range(3):
        update = by_hand.training_step(tl.Tensor(X), tl.Tensor(Y))
        by_hand.commit(update.parameters, update.state, update.buffers)
        losses.append(float(update.loss))
    np.testing.assert_array_equal(losses, expected)


class AssignsItsMean(tl.Layer):
    def __init__(self):
        self.linear = tl.Linear(3, 1, rng=np.random.default_rng(0))
        self.mean = tl.Tensor(np.zeros(3))

    def forward(self, x):
        self.mean.assign(0.9 * self.mean.numpy() + 0.1 * x.numpy().mean(axis=0))
        return self.linear(x - self.mean)


def test_a_check_of_the_data_assigns_to_no_tensor():
    trainer = simple_trainer(AssignsItsMean(), "eager")
    trainer.prepare(X, Y)
    assert trainer.model.mean.numpy().tolist() == [0.0, 0.0, 0.0]


def test_a_failing_trial_leaves_no_trace_either():
    net = tl.Sequential(OfLayer(InAttribute()), tl.Linear(2, 1, rng=np.random.default_rng(0)))
    with pytest.raises(ValueError, match="input has 3 features, expected 2"):
        simple_trainer(net, "eager").fit(X, Y)
    assert net[0].counter.calls == 0


# Parameters and optimizers


class Replaces(tl.Layer):
    def __init__(self, how):
        self.inner = [tl.Linear(3, 3, rng=np.random.default_rng(0))]
        self.weight = tl.Tensor(np.ones((3, 1)), requires_grad=True)
        self.how = how

    def forward(self, x):
        if self.how == "constant":
            self.weight = tl.Tensor(np.full((3, 1), 0.5), requires_grad=True)
        elif self.how == "result":
            self.weight = self.weight * 0.9
        elif self.how == "removed":
            vars(self).pop("weight", None)
            return self.inner[0](x)[:, :1]
        else:
            self.inner[0].bias = tl.Tensor(np.zeros(3))
        return self.inner[0](x) @ self.weight


@pytest.mark.parametrize("engine", ["eager", "replay", "compiled", "auto"])
@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("constant", "Replaces.weight"),
        ("result", "Replaces.weight"),
        ("removed", "Replaces.weight"),
        ("inner", "Linear.bias"),
    ],
)
def test_a_layer_that_replaces_a_parameter_is_refused(how, name, engine):
    trainer = simple_trainer(Replaces(how), engine)
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match=f"^{name} has been replaced by another Tensor") as failure:
        trainer.fit(X, Y)
    assert "\n" not in str(failure.value)
    assert trainer.history.epochs == 0
    for key, value in before.items():
        if key in trainer.model.state_dict() and key != name.rpartition(".")[2]:
            np.testing.assert_array_equal(trainer.model.state_dict()[key], value)


class LateMomentum(tl.Optimizer):
    """Creates its state at the first update."""

    def update(self, parameters, gradients, state, lr):
        means = state.get("m") or [tl.Tensor(np.zeros(w.shape)) for w in parameters]
        means = [0.9 * m + g for m, g in zip(means, gradients, strict=True)]
        return [w - lr * m for w, m in zip(parameters, means, strict=True)], {"m": means}


class LateSlots(LateMomentum):
    def update(self, parameters, gradients, state, lr):
        if "m" not in self.state:
            self.add_slots("m")
        return super().update(parameters, gradients, self.state, lr)


@pytest.mark.parametrize("optimizer", [LateMomentum, LateSlots])
def test_an_optimizer_that_creates_its_state_at_the_first_update(optimizer):
    def make(engine):
        return simple_trainer(tl.Linear(3, 1, rng=np.random.default_rng(0)), engine, optimizer)

    expected = losses_of(make("eager"))
    message = rf"{optimizer.__name__}: the first update creates the state m, .* add_slots in the constructor"
    for engine in ("replay", "compiled"):
        with pytest.raises(CaptureError, match=message):
            make(engine).fit(X, Y)
    with pytest.warns(UserWarning, match=message):
        np.testing.assert_array_equal(losses_of(make("auto")), expected)
    trainer = make("eager")
    trainer.fit(X, Y, epochs=1)
    trainer.engine = "replay"  # the state exists
    trainer.fit(X, Y)
