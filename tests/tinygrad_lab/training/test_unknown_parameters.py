"""Tensors that require a gradient and are no parameters of the model: they would be neither trained nor saved."""

from collections import deque
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

import tinygrad_lab as tl

X = np.random.default_rng(1).normal(size=(8, 2))
Y = X[:, :1] ** 2
ENGINES = ["eager", "replay", "auto"]
GLOBAL = tl.Tensor(0.5, requires_grad=True)


class Hidden(tl.Layer):
    """A layer that keeps a Tensor in its attribute `kept`."""

    def __init__(self, keep, read):
        self.inner = tl.Linear(2, 1, rng=np.random.default_rng(0))
        self.kept = keep(tl.Tensor(0.5, requires_grad=True))
        self.read = read

    def forward(self, x):
        return self.inner(x) + self.read(self.kept)


@cache
def cached():
    return tl.Tensor(0.5, requires_grad=True)


@dataclass
class Plain:
    weight: tl.Tensor


class InLayer(tl.Layer):
    def __init__(self, weight):
        self.weight = weight

    def forward(self, x):
        return x + self.weight


class Slotted:
    __slots__ = ("weight",)

    def __init__(self, weight):
        self.weight = weight


PLACES = {
    "deque": (lambda w: deque([w]), lambda kept: kept[0]),
    "set": (lambda w: {w}, lambda kept: next(iter(kept))),
    "frozenset": (lambda w: frozenset([w]), lambda kept: next(iter(kept))),
    "closure": (lambda w: lambda: w, lambda kept: kept()),
    "default": (lambda w: lambda w=w: w, lambda kept: kept()),
    "plain object": (Plain, lambda kept: kept.weight),
    "namespace": (lambda w: SimpleNamespace(weight=w), lambda kept: kept.weight),
    "slots": (Slotted, lambda kept: kept.weight),
    "global": (lambda w: None, lambda kept: GLOBAL),
    "key": (lambda w: {w: 1}, lambda kept: next(iter(kept))),
    "native mapping": (lambda w: MappingProxyType({"w": w}), lambda kept: kept["w"]),
    "result of a function": (lambda w: None, lambda kept: cached()),
    "layer in a set": (lambda w: {InLayer(w)}, lambda kept: next(iter(kept))(0.0)),
}


class OwnActivation(tl.Activation):
    def __init__(self):
        self.weight = tl.Tensor(0.5, requires_grad=True)

    def forward(self, x):
        return x * self.weight


class OwnLoss(tl.HalfSquaredError):
    def __init__(self):
        object.__setattr__(self, "weight", tl.Tensor(0.5, requires_grad=True))

    def per_sample(self, prediction, target):
        return super().per_sample(prediction, target) * self.weight


class OwnPenalty(tl.L2Penalty):
    def __init__(self):
        super().__init__(0.1)
        self.weight = tl.Tensor(0.5, requires_grad=True)

    def size(self, w):
        return super().size(w) * self.weight


def trainer_of(model, loss=None, engine="replay", **options):
    settings = {"optimizer": tl.SGD(model.parameters()), "epochs": 2, "batch_size": 4, "engine": engine} | options
    return tl.Trainer(model, loss or tl.HalfSquaredError(), **settings)


def linear():
    return tl.Linear(2, 1, rng=np.random.default_rng(0))


OTHERS = {
    "OwnActivation.weight": lambda engine: trainer_of(tl.Sequential(linear(), OwnActivation()), engine=engine),
    "OwnLoss.weight": lambda engine: trainer_of(linear(), OwnLoss(), engine=engine),
    "OwnPenalty.weight": lambda engine: trainer_of(linear(), engine=engine, penalty=OwnPenalty()),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", PLACES)
def test_a_parameter_that_the_model_does_not_list_is_refused(place, engine):
    trainer = trainer_of(Hidden(*PLACES[place]), engine=engine)
    before = trainer.model.inner.state_dict()["weight"].tolist()
    with pytest.raises(ValueError, match="the loss depends on a Tensor that requires a gradient, but is no parameter") as error:
        trainer.fit(X, Y)
    assert "\n" not in str(error.value)
    assert trainer.model.inner.state_dict()["weight"].tolist() == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OTHERS)
def test_other_parts_have_no_parameters(name, engine):
    with pytest.raises(ValueError, match=f"^{name}: the loss depends on a Tensor"):
        OTHERS[name](engine).fit(X, Y)


@pytest.mark.parametrize("place", PLACES)
def test_a_constant_may_be_anywhere(place):
    keep, read = PLACES[place]
    trainer_of(Hidden(lambda w: keep(w.detach()), lambda kept: read(kept).detach()), engine="eager").fit(X, Y)


def test_a_frozen_tensor_is_a_constant():
    def keep(w):
        w.requires_grad = False
        return deque([w])

    trainer_of(Hidden(keep, lambda kept: kept[0]), engine="eager").fit(X, Y)


class OwnSlope(tl.Layer):
    """A layer that makes a leaf in each pass, to differentiate with respect to it."""

    def __init__(self):
        self.inner = linear()

    def forward(self, x):
        point = tl.Tensor(x, requires_grad=True)
        (slope,) = tl.grad((self.inner(point) ** 2).sum(), [point], create_graph=True)
        return slope[:, :1] + point[:, :1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_leaf_that_a_forward_pass_makes_is_allowed(engine):
    trainer_of(OwnSlope(), engine=engine).fit(X, Y)


class LossAtPoints(tl.HalfSquaredError):
    """A loss that makes points in each step, and keeps them."""

    def __init__(self, model):
        object.__setattr__(self, "kept", SimpleNamespace(model=model, points=None))

    def per_sample(self, prediction, target):
        self.kept.points = tl.Tensor(X, requires_grad=True)
        (slope,) = tl.grad((self.kept.model(self.kept.points) ** 2).sum(), [self.kept.points], create_graph=True)
        return super().per_sample(prediction, target) + (slope**2).mean()


@pytest.mark.parametrize("options", [{}, {"batch_size": None, "epochs": 1}])
def test_a_loss_may_keep_the_points_of_a_step(options):
    model = linear()
    trainer_of(model, LossAtPoints(model), engine="eager", **options).fit(X, Y)
