"""The structure of a Trainer: equal only if two steps are one program.

A false equality would silently train one of two networks by the other's step. So the structures of all pairs are also
compared with the captured programs.
"""

import functools
import gc
import itertools
import threading
from dataclasses import dataclass

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.training.captured import CapturedStep
from tinygrad_lab.training.lanes import structure_of

RNG = np.random.default_rng(0)


def network(width=3, depth=1, activation="tanh", dtype=np.float64, bias=True, ends=(2, 2)):
    sizes = [ends[0], *[width] * depth, ends[1]]
    layers = []
    for ins, outs in itertools.pairwise(sizes):
        layers += [tl.Linear(ins, outs, bias, rng=RNG, dtype=dtype), tl.get_activation(activation)]
    return tl.Sequential(*layers[:-1])


def make(net=None, loss=None, optimizer=tl.SGD, penalty=None, hooks=(), parameters=None, kind=tl.Trainer, **options):
    net = network() if net is None else net
    parameters = net.parameters() if parameters is None else parameters
    return kind(
        net, loss or tl.HalfSquaredError(), optimizer=optimizer(parameters, hooks=list(hooks)), penalty=penalty, **options
    )


def program_of(trainer, batch=4):
    """The program of a step, and the numbers of its constants."""
    dtype = trainer.optimizer.parameters[0].dtype
    program = CapturedStep(trainer).program([np.ones((batch, 2), dtype)] * 2)
    constants = {x.array.tobytes() + str(x.array.dtype).encode() for line in program.lines for x in line.operands
                 if x.kind == "constant"}  # fmt: skip
    return str(program), constants


def check_equal(*trainers):
    assert len({structure_of(trainer) for trainer in trainers}) == 1
    programs = [program_of(trainer) for trainer in trainers]
    assert all(program == programs[0] for program in programs)


def check_different(*trainers):
    assert len({structure_of(trainer) for trainer in trainers}) == len(trainers)


NUMBERS_ONLY = {
    "weights": lambda i: make(),
    "learning rate": lambda i: make(optimizer=lambda p, hooks: tl.SGD(p, lr=0.1 + i, hooks=hooks)),
    "momentum": lambda i: make(optimizer=lambda p, hooks: tl.SGD(p, momentum=0.5 + 0.1 * i, hooks=hooks)),
    "betas and eps": lambda i: make(optimizer=lambda p, hooks: tl.Adam(p, betas=(0.1 * i, 0.2), eps=0.1 * i, hooks=hooks)),
    "weight decay": lambda i: make(optimizer=lambda p, hooks: tl.AdamW(p, weight_decay=0.1 * i, hooks=hooks)),
    "penalty": lambda i: make(penalty=tl.ElasticNetPenalty(0.1 * i, 0.2 * i, proximal=True)),
    "clipping": lambda i: make(hooks=[tl.ClipGradValue(1.0 + i), tl.ClipGradNorm(2.0 + i)]),
    "what is outside the step": lambda i: make(
        scheduler=[None, tl.ConstantLR(0.1), tl.StepDecay(0.1, 0.5, every=3)][i],
        epochs=3 + i, shuffle=i > 1, seed=i, engine=["auto", "replay", "eager"][i],
    ),
    "a shared hook or its equal": lambda i: make(hooks=[HOOK if i == 1 else tl.ClipGradNorm(1.0)]),
    "a layer's constant": lambda i: make(WithAttribute(tl.Tensor(np.full(2, 1.0 + i)))),
    "a layer's equal attributes": lambda i: make(WithAttribute([1.0, {"a": (2, "b", None)}, np.arange(3.0), np.float32(2)])),
}  # fmt: skip
HOOK = tl.ClipGradNorm(2.0)


class WithAttribute(tl.Layer):
    """A layer with an attribute, which it reads if it is a number or a Tensor."""

    def __init__(self, value):
        self.value = value
        self.inner = network()

    def forward(self, x):
        return self.inner(x * self.value if isinstance(self.value, (int, float, np.generic, tl.Tensor)) else x)


@pytest.mark.parametrize("name", NUMBERS_ONLY)
def test_equal_where_only_numbers_differ(name):
    check_equal(*map(NUMBERS_ONLY[name], range(3)))


def test_equal_after_training_and_with_other_data():
    trainers = [make(), make()]
    trainers[0].fit(np.ones((5, 2)), np.ones((5, 2)), epochs=3)
    check_equal(*trainers)


class Custom(tl.Trainer):
    """A Trainer whose step reads an attribute that the step of a Trainer does not read."""

    def training_step(self, x, y, sample_weight=None):
        loss, parameters, state = super().training_step(x, y, sample_weight)
        return loss * float(self.seed), parameters, state


def tied(share):
    net = network(2)
    if share:
        net[2].weight = net[0].weight
    else:
        net[2].weight = tl.Tensor(net[0].weight.numpy(), requires_grad=True)
    return net


def frozen(*names):
    net = network()
    for name in names:
        getattr(net[0], name).requires_grad = False
    return net


DIFFERENT = {
    "width": [lambda: make(network(3)), lambda: make(network(4))],
    "depth": [lambda: make(network(3, 1)), lambda: make(network(3, 2))],
    "activation": [lambda name=name: make(network(activation=name)) for name in tl.ACTIVATIONS],
    "slope": [lambda slope=slope: make(tl.Sequential(tl.Linear(2, 2, rng=RNG), tl.LeakyReLU(slope))) for slope in (0.05, 0.1)],
    "loss": [lambda x=x: make(loss=x) for x in (tl.HalfSquaredError(), tl.MeanSquaredError(), tl.Huber(1.0), tl.Huber(0.5))],
    "optimizer": [lambda kind=kind: make(optimizer=kind) for kind in (tl.SGD, tl.RMSprop, tl.Adam, tl.AdamW)],
    "momentum or none": [
        lambda m=m: make(optimizer=lambda p, hooks: tl.SGD(p, momentum=m, hooks=hooks)) for m in (0.0, 0.5)
    ],
    "nesterov": [
        lambda n=n: make(optimizer=lambda p, hooks: tl.SGD(p, momentum=0.5, nesterov=n, hooks=hooks)) for n in (False, True)
    ],
    "hooks": [
        lambda hooks=hooks: make(hooks=[kind(1.0) for kind in hooks])
        for n in range(3) for hooks in itertools.permutations((tl.ClipGradNorm, tl.ClipGradValue), n)
    ],
    "penalty": [lambda: make()] + [
        lambda kind=kind, where=where: make(penalty=kind(0.1, **where))
        for kind in (tl.L1Penalty, tl.L2Penalty, tl.ElasticNetPenalty)
        for where in ({}, {"decoupled": True}, {"proximal": True})
    ],
    "batch size": [lambda size=size: make(batch_size=size) for size in (1, 2, None)],
    "dtype": [lambda dtype=dtype: make(network(dtype=dtype)) for dtype in (np.float64, np.float32)],
    "bias": [lambda bias=bias: make(network(bias=bias)) for bias in (True, False)],
    "tied weights": [lambda share=share: make(tied(share)) for share in (True, False)],
    "frozen parameters": [lambda names=names: make(frozen(*names)) for names in ((), ("bias",), ("weight",))],
    "parameters of the optimizer": [
        lambda order=order: (lambda net: make(net, parameters=[net.parameters()[i] for i in order]))(network())
        for order in ((0, 1, 2, 3), (0, 1), (2, 3), (3, 2, 1, 0))
    ],
    "subclasses of a Trainer": [lambda: make(), lambda: make(kind=Custom), lambda: make(kind=Custom)],
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_where_the_step_differs(name):
    check_different(*[build() for build in DIFFERENT[name]])


def test_no_two_programs_have_one_structure():
    """Over all pairs of the Trainers above."""
    trainers = [build() for builds in DIFFERENT.values() for build in builds]
    trainers = [trainer for trainer in trainers if type(trainer) is tl.Trainer]
    trainers += [build(i) for build in NUMBERS_ONLY.values() for i in range(3)]
    described = [(structure_of(trainer), program_of(trainer), trainer.batch_size) for trainer in trainers]
    equal = 0
    for (one, program, size), (other, its_program, its_size) in itertools.combinations(described, 2):
        if one == other:
            equal += 1
            assert hash(one) == hash(other)
            assert (program, size) == (its_program, its_size)
    assert equal > 30


# Attributes of a user's layers


class Slots:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


class Listed(list):
    def __init__(self, items, factor):
        super().__init__(items)
        self.factor = factor


class Mapped(dict):
    factor = 0.0


class Number(float):
    factor = 0.0


class Array(np.ndarray):
    pass


class Equal:
    """Equal to everything."""

    def __init__(self, factor):
        self.factor = factor

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


class Reduced(Equal):
    def __reduce__(self):
        return Reduced, (1.0,)


class Forgetful(Equal):
    def __getstate__(self):
        return {}


class Fresh(Equal):
    """Each call makes a new state, so that an id may be used twice."""

    def __getstate__(self):
        return {"factor": [float(self.factor)], "more": [1.0]}


class Property:
    def __init__(self, factor):
        self._factor = factor

    @property
    def factor(self):
        return 2.0 * self._factor


class Dynamic:
    def __init__(self, factor):
        vars(self)["hidden"] = factor

    def __getattr__(self, name):
        if name == "factor":
            return self.hidden
        raise AttributeError(name)


class Everything:
    """Has every attribute."""

    def __init__(self, factor):
        self.factor = factor

    def __getattr__(self, name):
        return lambda *_: 1


@dataclass(frozen=True)
class Data:
    factor: float


class Nested:
    """A Tensor where the engines do not look for it, so that a step that reads its number records a constant."""

    def __init__(self, factor):
        self.tensor = tl.Tensor(factor)


class Mode:
    pass


def with_attribute(cls, *args):
    """An object of a class with an attribute that is set afterwards."""
    value = cls(*args[1:])
    value.factor = args[0]
    return value


def in_module(factor):
    """A function of a module with a global variable."""
    scope = {"__name__": "a_module_of_a_user", "factor": factor}
    exec("def scale(x): return x * factor", scope)
    return scope["scale"]


def array(values, order="C", kind=None):
    x = np.array(values, order=order)
    return x if kind is None else x.view(kind)


VALUES = {
    "int": [1, 2, True, 1.0, "1", b"1", None],
    "large int": [10**5000, 10**5000 + 1],
    "zero": [0.0, -0.0, 0, False, np.float64(0.0), np.float64(-0.0), np.float32(0.0), 0j, -0j],
    "nan": [float("nan"), np.float32("nan"), float("inf"), -float("inf")],
    "str": ["a", "b", np.str_("a"), ""],
    "dtype": [np.dtype("f8"), np.dtype("f4"), np.float64, np.float32],
    "time": [np.timedelta64(1, "s"), np.timedelta64(1, "m"), np.datetime64(1, "s")],
    "sequence": [[1, 2], (1, 2), [2, 1], [1, [2]], [1, 2, 3], [], (), {}],
    "dict": [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {1: "a"}],
    "array": [
        array([1.0, 2.0]), array([1.0, 3.0]), array([[1.0, 2.0]]), array([1, 2]), array([1.0, 2.0]).astype("f4"),
        array([1.0, 2.0]).astype(">f8"), array([[1.0, 2.0], [3.0, 4.0]]), array([[1.0, 2.0], [3.0, 4.0]], "F"),
        array([0.0, 2.0]), array([-0.0, 2.0]),
    ],
    "object array": [np.array([[1], None], object), np.array([[2], None], object)],
    "masked array": [np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([1.0, 2.0], mask=[1, 0])],
    "array of a class": [array([1.0], kind=Array), array([1.0]), with_attribute(lambda: array([1.0], kind=Array), 1)],
    "list with attributes": [Listed([1], 1.0), Listed([1], 2.0), [1]],
    "dict with attributes": [with_attribute(Mapped, 1.0), with_attribute(Mapped, 2.0), {}],
    "number with attributes": [with_attribute(Number, 1.0, 3.0), with_attribute(Number, 2.0, 3.0), 3.0],
    "slots": [Slots(1.0), Slots(2.0)],
    "equal to everything": [Equal(1.0), Equal(2.0)],
    "reduced to one thing": [Reduced(1.0), Reduced(2.0)],
    "forgetful": [Forgetful(1.0), Forgetful(2.0)],
    "made anew": [Fresh(1.0), Fresh(2.0)],
    "property": [Property(1.0), Property(2.0)],
    "dynamic": [Dynamic(1.0), Dynamic(2.0)],
    "has everything": [Everything(1.0), Everything(2.0)],
    "frozen dataclass": [Data(1.0), Data(2.0), Property(1.0)],
    "sentinel": [object(), object()],
    "told apart by identity": [Mode(), Mode()],
    "nested": [Property([Property(1.0)]), Property([Property(2.0)]), Property((Property(1.0),))],
    "a Tensor that is no input": [Nested(1.0), Nested(2.0), Nested([1.0])],
    "lambda": [lambda x: x, lambda x: -x, lambda x, y=1: x, lambda x, y=2: x, lambda x, *, y=1: x, lambda x, *, y=2: x],
    "closure": [(lambda a: lambda x: a)(1), (lambda a: lambda x: a)(2), (lambda a: lambda x: a)(1.0)],
    "global": [in_module(1.0), in_module(2.0)],
    "attribute of a function": [with_attribute(lambda: lambda x: x, 1), with_attribute(lambda: lambda x: x, 2)],
    "partial": [functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)],
    "bound method": [Data(1.0).__hash__, Data(2.0).__hash__],
    "generator": [np.random.default_rng(0), np.random.default_rng(1), np.random.Generator(np.random.MT19937(0))],
    "iterator": [itertools.count(), itertools.count(1), itertools.count(0, 2), iter([1])],
    "generator function": [(x for x in ()), (x for x in ())],
    "set": [{1, 2}, {1, 3}],
    "lock, module": [threading.Lock(), threading, gc],
    "class": [Data, Property, tl.ReLU, tl.ReLU()],
    "ufunc": [np.add, np.multiply],
    "ellipsis": [..., NotImplemented, slice(1), slice(2), range(1), range(2)],
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_different_where_an_attribute_of_a_layer_differs(name):
    check_different(*[make(WithAttribute(value)) for value in VALUES[name]])


@pytest.mark.parametrize("name", VALUES)
def test_equal_where_an_attribute_is_one_object(name):
    for value in VALUES[name]:
        one, other = make(WithAttribute(value)), make(WithAttribute(value))
        assert structure_of(one) == structure_of(other)


@pytest.mark.parametrize(
    "attribute",
    [
        lambda: [1, 2.0, "a", None, (True, {"b": b"c", 1: [float("nan"), -0.0, 1j]})],
        lambda: np.arange(6.0).reshape(2, 3),
        lambda: np.float32(1.5),
        lambda: Data(1.0),
        lambda: Property([Equal({"a": 1.0})]),
        lambda: tl.LeakyReLU(0.1),
        lambda: network(5),
        lambda: np.random.default_rng,
        lambda: threading,
        lambda: np.random.default_rng(0),
        lambda: (lambda a: lambda x, y=(1, [2.0]): a)({"a": 1.0}),
        lambda: in_module(1.0),
        lambda: Data(2.0).__hash__,
        lambda: functools.partial(max, [1.0], key=len),
        lambda: tl.Tensor([1.0, 2.0]),
        lambda: Nested(1.0),
    ],
)
def test_equal_where_attributes_are_equal_in_all_that_they_are(attribute):
    assert structure_of(make(WithAttribute(attribute()))) == structure_of(make(WithAttribute(attribute())))


def test_a_number_of_a_tensor_that_a_step_has_frozen_is_no_lane_of_another():
    """The engines do not declare the Tensor of `Nested`, so its number becomes a constant of the program."""

    class Frozen(tl.Layer):
        def __init__(self, factor):
            self.nested = Nested(factor)
            self.inner = network()

        def forward(self, x):
            return self.inner(x) * self.nested.tensor.item()

    def trainers():
        rng = np.random.default_rng(1)
        made = [make(Frozen(factor), engine="replay", epochs=2) for factor in (1.0, 2.0)]
        for trainer in made:
            for parameter in trainer.optimizer.parameters:
                parameter.assign(rng.normal(size=parameter.shape))
        return made

    alone, together = trainers(), trainers()
    data = [(np.ones((3, 2)), np.ones((3, 2)))] * 2
    tl.fit_lanes(together, data)
    for one, other, (x, y) in zip(alone, together, data, strict=True):
        one.fit(x, y)
        for name, value in one.model.state_dict().items():
            assert (other.model.state_dict()[name] == value).all()


def test_a_tensor_that_was_computed_from_another_is_equal_only_to_itself():
    def built(linked):
        net = WithAttribute(None)
        weight = net.inner[0].weight
        net.value = weight * 1.0 if linked else tl.Tensor(weight.numpy(), requires_grad=True)
        return make(net, parameters=net.inner.parameters())

    check_different(built(True), built(True), built(False))
    assert structure_of(built(False)) == structure_of(built(False))


def test_a_step_that_is_replaced_on_one_trainer_makes_it_different():
    one, other = make(), make()
    other.training_step = functools.partial(tl.Trainer.training_step, other)
    check_different(one, other, make(network(4)))


def test_names_and_the_order_of_attributes_count():
    class Named(tl.Layer):
        def __init__(self, **attributes):
            vars(self).update(attributes)
            self.inner = network()

        def forward(self, x):
            return self.inner(x)

    check_different(
        make(Named(a=1, b=2)), make(Named(b=2, a=1)), make(Named(a=2, b=1)), make(Named(a=1)), make(Named(a=1, c=2))
    )


def test_classes_of_one_name_are_told_apart():
    def kind(factor):
        class Same(tl.Layer):
            scale = factor

            def __init__(self):
                self.inner = network()

            def forward(self, x):
                return self.inner(x) * self.scale

        return Same

    doubling, halving = kind(2.0), kind(0.5)
    check_different(make(doubling()), make(halving()))
    check_equal(make(doubling()), make(doubling()))
    assert program_of(make(doubling())) != program_of(make(halving()))


def test_which_objects_are_shared_counts():
    class Pair(tl.Layer):
        def __init__(self, first, second):
            self.first, self.second = first, second

        def forward(self, x):
            return self.second(self.first(x))

    def linear():
        return tl.Linear(2, 2, rng=RNG)

    one = linear()
    check_different(make(Pair(one, one)), make(Pair(linear(), linear())))
    constant = tl.Tensor([1.0, 2.0])
    options = [[constant, constant, tl.Tensor([1.0, 2.0])], [constant, tl.Tensor([1.0, 2.0]), constant]]
    check_different(*[make(WithAttribute(option)) for option in options])


def test_cycles_end():
    class Friend:
        def __init__(self, factor):
            self.factor = factor
            self.friends = [self]

    def circle(n, factor=1.0):
        friends = [Friend(factor) for _ in range(n)]
        for one, other in zip(friends, friends[1:] + friends[:1], strict=True):
            one.friends.append(other)
        return friends[0]

    check_different(*[make(WithAttribute(value)) for value in (circle(1), circle(2), circle(3), circle(2, 2.0))])
    assert structure_of(make(WithAttribute(circle(2)))) == structure_of(make(WithAttribute(circle(2))))


def test_what_is_nested_deeply_is_read_in_full():
    def chain(n):
        value = None
        for _ in range(n):
            value = Property(value)
        return value

    check_different(*[make(WithAttribute(chain(n))) for n in (10_000, 10_001, 50, 51)])
    assert structure_of(make(WithAttribute(chain(10_000)))) == structure_of(make(WithAttribute(chain(10_000))))


def test_descriptions_keep_alive_what_they_name():
    """Otherwise another object with the same id would equal it."""
    descriptions = [structure_of(make(WithAttribute(object()))) for i in range(50)]
    gc.collect()
    descriptions += [structure_of(make(WithAttribute(object()))) for i in range(50)]
    assert len(set(descriptions)) == 100


def test_a_step_that_cannot_be_captured_has_a_structure():

    class Branching(tl.Layer):
        def __init__(self):
            self.inner = network()

        def forward(self, x):
            return self.inner(x) if x.sum().item() > 0.0 else x

    with pytest.raises(CaptureError):
        program_of(make(Branching()))
    assert structure_of(make(Branching())) == structure_of(make(Branching()))
