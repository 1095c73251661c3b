"""Parts that keep state of their own, such as a counter: what a capture cannot repeat is refused, and "auto" trains eagerly."""

import random
import types
from collections import deque
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
        (InGlobalRandom, "random, a Random, changed its state"),
        (InGlobalNumPy, "numpy.random, a RandomState, changed its state"),
        (InCount, "InCount.numbers is a count, which a trial run would use up"),
        (InGeneratorFunction, "InGeneratorFunction.numbers is a generator, which a trial run would use up"),
    ],
)
def test_the_message_names_what_changes(counter, message):
    with pytest.raises(CaptureError, match=message):
        trainer_of("hook", counter, "replay").fit(X, Y)
