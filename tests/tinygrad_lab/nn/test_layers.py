import copy
import pickle

import numpy as np
import pytest

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab import Tensor


def rng(seed=0):
    return np.random.default_rng(seed)


def names(layer):
    return [name for name, _ in layer.named_parameters()]


def leaf(*shape):
    return Tensor(np.ones(shape), requires_grad=True)


class Container(tl.Layer):
    """A layer with any fields, in the given order."""

    def __init__(self, **fields):
        for name, value in fields.items():
            setattr(self, name, value)

    def forward(self, x):
        return x


def refusal(call):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


# Parameters ------------------------------------------------------------------------------------------------------------


def test_parameters_come_in_definition_order():
    layer = Container(z=leaf(1), a=tl.Linear(1, 2, rng=rng()), m=leaf(3))
    assert names(layer) == ["z", "a.weight", "a.bias", "m"]
    assert [x.shape for x in layer.parameters()] == [(1,), (2, 1), (2,), (3,)]
    assert layer.parameters()[0] is layer.z


def test_a_field_set_again_keeps_its_place():
    layer = Container(first=leaf(1), second=leaf(1))
    layer.first = leaf(4)
    assert [(name, x.shape) for name, x in layer.named_parameters()] == [("first", (4,)), ("second", (1,))]


def test_lists_tuples_and_dicts_of_layers_are_searched():
    linear = [tl.Linear(1, 1, bias=False, rng=rng()) for _ in range(4)]
    layer = Container(
        blocks=[linear[0], (linear[1], [leaf(2)])], heads={"left": linear[2], "right": {"deep": linear[3]}}, plain=[leaf(1)]
    )
    assert names(layer) == [
        "blocks.0.weight", "blocks.1.0.weight", "blocks.1.1.0", "heads.left.weight", "heads.right.deep.weight", "plain.0"
    ]  # fmt: skip


def linear():
    return tl.Linear(1, 1, bias=False, rng=rng())


@pytest.mark.parametrize(
    ("fields", "name", "first", "second"),
    [
        ({"blocks": {1: linear(), "1": linear()}}, "blocks.1.weight", "('blocks', 1, 'weight')", "('blocks', '1', 'weight')"),
        ({"a": {"b": linear()}, "a.b": linear()}, "a.b.weight", "('a', 'b', 'weight')", "('a.b', 'weight')"),
        ({"a.0": linear(), "a": tl.Sequential(linear())}, "a.0.weight", "('a.0', 'weight')", "('a', '0', 'weight')"),
        ({"a": {None: linear(), "None": linear()}}, "a.None.weight", "('a', None, 'weight')", "('a', 'None', 'weight')"),
    ],
)
def test_two_parameters_of_one_name_are_refused(fields, name, first, second):
    net = Container(first=linear(), **fields)
    for call in (net.parameters, net.named_parameters, net.state_dict, net.summary, lambda: net.load_state_dict({})):
        assert refusal(call) == (
            f"Container: {name!r} names two Tensors, {first} of Linear and {second} of Linear, expected one; "
            "rename a key or an attribute"
        )
    with pytest.raises(ValueError, match="names two Tensors"):
        tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD([net.first.weight]))


def test_parameters_of_the_layer_itself_have_its_name():
    message = refusal(Container(**{"a": {"b": leaf(1)}, "a.b": leaf(1)}).parameters)
    assert "('a', 'b') of Container and ('a.b',) of Container" in message


def test_one_parameter_at_two_places_is_no_collision():
    shared = linear()
    net = Container(blocks={1: shared, "1": shared}, again=shared)
    assert names(net) == ["blocks.1.weight"]


def test_a_layer_that_contains_itself_is_refused_and_named():
    inner = Container(weight=leaf(1))
    outer = Container(blocks=[inner])
    inner.parent = outer
    for call in (outer.parameters, outer.state_dict):
        assert refusal(call) == "Container: blocks.0.parent contains itself, expected no circle; remove that reference"
    assert "..." in repr(outer)
    with pytest.raises(ValueError, match=r"Container: blocks.0.parent contains itself"):
        tl.Trainer(outer, tl.HalfSquaredError(), optimizer=tl.SGD([inner.weight]))
    itself = Container()
    itself.me = itself
    assert refusal(itself.parameters).startswith("Container: me contains itself")
    items = [linear()]
    items.append(items)
    assert refusal(Container(items=items).parameters).startswith("list: items.1 contains itself")


def test_layers_nested_too_deeply_are_refused_and_others_work():
    net = linear()
    for _ in range(100):
        net = tl.Sequential(net)
    assert net(np.ones((1, 1))).shape == (1, 1)
    assert len(net.parameters()) == 1
    for levels in (1, 5000):
        for _ in range(levels):
            net = tl.Sequential(net)
        assert refusal(net.parameters).endswith(
            ": 0.0.0... has 101 levels of layers, expected at most 100; give Sequential all layers in one call"
        )


def test_constants_numbers_and_activations_are_no_parameters():
    layer = Container(
        constant=Tensor([1.0]), number=3.0, text="x", array=np.ones(2), act=tl.ReLU(), nothing=None, things=[1, "a", None]
    )
    assert names(layer) == []
    assert layer.state_dict() == {}


def test_a_result_that_forward_keeps_is_no_parameter():
    class Keeps(tl.Layer):
        def __init__(self):
            self.factor = leaf(1)

        def forward(self, x):
            self.last = self.factor * x
            return self.last

    layer = Keeps()
    layer([2.0])
    assert names(layer) == ["factor"]


def test_a_shared_parameter_appears_once_under_its_first_name():
    inner = tl.Linear(2, 2, rng=rng())
    layer = Container(first=inner, second=inner, third=inner.bias)
    assert names(layer) == ["first.weight", "first.bias"]
    assert set(layer.state_dict()) == {"first.weight", "first.bias"}


def test_a_shared_layer_accumulates_the_gradients_of_all_its_uses():
    inner = tl.Linear(1, 1, bias=False, rng=rng())
    inner.load_state_dict({"weight": [[3.0]]})
    tl.Sequential(inner, inner)([[1.0]]).sum().backward()  # 3 * 3 * 1, derivative 2 * 3
    assert inner.weight.grad.numpy().tolist() == [[6.0]]


# state_dict ------------------------------------------------------------------------------------------------------------


def test_state_dict_returns_copies():
    layer = tl.Linear(2, 1, rng=rng())
    before = layer.weight.numpy()
    layer.state_dict()["weight"][...] = 7.0
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_load_state_dict_copies():
    layer = tl.Linear(2, 1, rng=rng())
    state = {"weight": np.ones((1, 2)), "bias": np.ones(1)}
    layer.load_state_dict(state)
    state["weight"][...] = 7.0
    assert layer.weight.numpy().tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_state_moves_between_layers(dtype):
    source, target = (TwoHiddenLayerNet(2, 4, 3, 2, rng=rng(seed), dtype=dtype) for seed in (0, 1))
    target.load_state_dict(source.state_dict())
    x = np.ones((5, 2), dtype)
    np.testing.assert_array_equal(target(x).numpy(), source(x).numpy())


@pytest.mark.parametrize("values", [np.float32, np.float16, np.int32, bool, list])
def test_values_that_the_dtype_holds_are_taken(values):
    layer = tl.Linear(2, 1, rng=rng())
    weight = [[1, 0]] if values is list else np.array([[1, 0]], values)
    layer.load_state_dict({"weight": weight, "bias": [0.5]})
    assert layer.weight.dtype == np.float64
    assert layer.weight.numpy().tolist() == [[1.0, 0.0]]


def test_load_state_dict_names_every_problem_and_changes_nothing():
    net = TwoHiddenLayerNet(1, 3, 2, 1, rng=rng())
    before = net.state_dict()
    bad = {name: value + 1.0 for name, value in before.items()}
    del bad["output.bias"]
    bad |= {"extra": np.zeros(1), "hidden1.bias": np.zeros(4), "hidden2.bias": np.zeros(2, complex)}
    assert refusal(lambda: net.load_state_dict(bad)) == (
        "load_state_dict: output.bias is missing; extra is unknown; hidden1.bias has shape (4,), expected (3,); "
        "hidden2.bias has dtype complex128, expected float64"
    )
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


BAD_VALUES = {
    "text": np.array(["1.5"]),
    "object": np.array([None]),
    "complex": np.array([1j]),
    "long double": np.array([1.0], np.longdouble),
    "date": np.array(["2020-01-01"], "M8[D]"),
    "duration": np.array([1], "m8[s]"),
    "record": np.array([(1.0,)], [("a", "f8")]),
    "bytes": np.array([b"1"]),
    "ragged": [[1.0], [1.0, 2.0]],
    "not a number": "x",
    "nothing": None,
}


@pytest.mark.parametrize("kind", BAD_VALUES)
def test_a_bad_value_is_refused_and_named_and_nothing_changes(kind):
    layer = tl.Linear(2, 1, rng=rng())
    before = layer.weight.numpy()
    message = refusal(lambda: layer.load_state_dict({"weight": np.zeros((1, 2)), "bias": BAD_VALUES[kind]}))
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    assert "bias" in message


def test_double_precision_is_not_rounded_silently():
    layer = tl.Linear(1, 1, bias=False, rng=rng(), dtype=np.float32)
    assert "weight has dtype float64, expected float32" in refusal(lambda: layer.load_state_dict({"weight": np.ones((1, 1))}))


def test_frozen_parameters_remain_in_the_state():
    layer, other = (Container(inner=[tl.Linear(2, 1, rng=rng(seed))], constant=Tensor([1.0])) for seed in (0, 1))
    state = layer.state_dict()
    for frozen in (layer, other):
        frozen.inner[0].weight.requires_grad = False
    assert names(layer) == ["inner.0.bias"]
    assert list(layer.state_dict()) == list(state) == ["inner.0.weight", "inner.0.bias"]
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other.inner[0].weight.numpy(), state["inner.0.weight"])
    assert names(other) == ["inner.0.bias"]
    other.inner[0].weight.requires_grad = True
    assert names(other) == ["inner.0.weight", "inner.0.bias"]


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_frozen_layer_is_frozen_and_has_its_state(twin):
    layer = tl.Linear(2, 1, rng=rng())
    layer.weight.requires_grad = False
    again = twin(layer)
    assert names(again) == ["bias"]
    assert list(again.state_dict()) == ["weight", "bias"]


def test_a_forward_that_returns_nothing_is_named():
    class Forgot(tl.Layer):
        def forward(self, x):
            x.exp()

    assert refusal(lambda: tl.Sequential(Forgot(), tl.Tanh())([1.0])) == (
        "Forgot: forward returned None, expected a Tensor; is a return missing?"
    )


# Summary ---------------------------------------------------------------------------------------------------------------


def test_summary_counts_every_parameter_once():
    inner = tl.Linear(10, 3, rng=rng())
    assert Container(a_long_name=inner, again=inner, scale=leaf()).summary().splitlines() == [
        "parameter           shape    elements",
        "a_long_name.weight  (3, 10)        30",
        "a_long_name.bias    (3,)            3",
        "scale               ()              1",
        "total                              34",
    ]


def test_summary_without_parameters():
    assert Container().summary().splitlines()[-1].split() == ["total", "0"]


# Linear ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (2, 5, 3), (0, 3)])
def test_linear_is_the_affine_map(shape):
    layer = tl.Linear(3, 2, rng=rng(), bias_init=tl.Constant(0.5))
    x = rng(1).normal(size=shape)
    np.testing.assert_allclose(layer(x).numpy(), np.inner(x, layer.weight.numpy()) + 0.5, rtol=1e-13)


def test_linear_without_bias():
    layer = tl.Linear(3, 2, bias=False, rng=rng())
    assert (names(layer), layer.bias, repr(layer)) == (["weight"], None, "Linear(3, 2, bias=False)")
    np.testing.assert_array_equal(layer(np.eye(3)).numpy(), layer.weight.numpy().T)


def test_linear_takes_lists_integers_and_tensors():
    layer = tl.Linear(2, 1, rng=rng())
    expected = layer(np.array([[1.0, 2.0]])).numpy()
    for x in ([[1, 2]], [[1.0, 2.0]], Tensor([[1.0, 2.0]]), np.array([[1, 2]], np.int8)):
        np.testing.assert_array_equal(layer(x).numpy(), expected)


@pytest.mark.parametrize(
    ("x", "given"), [(np.ones((4, 60)), "60 features"), (np.ones(60), "60 features"), (1.0, "no axis of features")]
)
def test_wrong_features_are_named(x, given):
    layer = tl.Linear(75, 50, rng=rng())
    assert refusal(lambda: layer(x)) == f"Linear(75, 50): input has {given}, expected 75"


def test_wrong_features_are_named_within_a_network():
    net = TwoHiddenLayerNet(1, 75, 50, 1, rng=rng())
    assert refusal(lambda: net(np.ones((4, 2)))) == "Linear(1, 75): input has 2 features, expected 1"


@pytest.mark.parametrize("bad", [["a", "b"], [1j, 2.0], [[1.0], [1.0, 2.0]], None], ids=["text", "complex", "ragged", "None"])
def test_input_that_is_no_array_of_numbers_is_refused(bad):
    refusal(lambda: tl.Linear(2, 1, rng=rng())(bad))


SIZES = [0, -1, 2.5, 2.0, True, "3", None, (3,)]


@pytest.mark.parametrize("bad", SIZES, ids=repr)
def test_bad_sizes_are_refused_and_named(bad):
    assert refusal(lambda: tl.Linear(bad, 2, rng=rng())) == f"Linear: in_features is {bad!r}, expected a positive integer"
    assert refusal(lambda: tl.Linear(2, bad, rng=rng())) == f"Linear: out_features is {bad!r}, expected a positive integer"


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("bad", [0, -1, 2.5], ids=repr)
def test_bad_sizes_of_the_network_are_refused(position, bad):
    sizes = [1, 4, 3, 1]
    sizes[position] = bad
    assert f"is {bad!r}, expected a positive integer" in refusal(lambda: TwoHiddenLayerNet(*sizes, rng=rng()))


def test_numpy_integers_are_sizes():
    assert tl.Linear(np.int64(3), np.int32(2), rng=rng()).weight.shape == (2, 3)


@pytest.mark.parametrize(
    "bad", [0, None, np.random.RandomState(0), np.random.default_rng], ids=["int", "None", "RandomState", "function"]
)
@pytest.mark.parametrize(
    "make", [lambda source: tl.Linear(2, 1, rng=source), lambda source: TwoHiddenLayerNet(1, 2, 2, 1, rng=source)]
)
def test_what_is_no_generator_is_refused(make, bad):
    message = refusal(lambda: make(bad))
    assert message.startswith("Linear: rng is ")
    assert message.endswith("expected a numpy Generator such as numpy.random.default_rng(0)")


@pytest.mark.parametrize("make", [lambda: tl.Linear(2, 1), lambda: TwoHiddenLayerNet(1, 2, 2, 1)])
def test_a_missing_generator_is_named(make):
    assert "'rng'" in refusal(make)


@pytest.mark.parametrize("bad", [np.float16, np.int64, complex, str], ids=lambda bad: np.dtype(bad).name)
def test_dtypes_without_gradients_are_refused(bad):
    with pytest.raises(TypeError):
        tl.Linear(2, 1, rng=rng(), dtype=bad)


@pytest.mark.parametrize("name", ["weight_init", "bias_init"])
def test_what_is_no_initializer_is_refused_and_named(name):
    assert name in refusal(lambda: tl.Linear(2, 1, rng=rng(), **{name: "xavier"}))


# Sequential and the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "activation"), [(name, kind()) for name, kind in tl.ACTIVATIONS.items()])
def test_sequential_equals_the_network_with_the_same_generator(name, activation):
    net = TwoHiddenLayerNet(1, 7, 5, 2, activation=name, rng=rng(3))
    source = rng(3)
    composed = tl.Sequential(
        tl.Linear(1, 7, rng=source), activation, tl.Linear(7, 5, rng=source), activation, tl.Linear(5, 2, rng=source)
    )
    x = np.linspace(-4, 2, 30)[:, None]
    np.testing.assert_array_equal(composed(x).numpy(), net(x).numpy())
    assert names(composed) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    for ours, theirs in zip(composed.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_state_dict_of_the_network_is_the_contracts():
    state = TwoHiddenLayerNet(2, 7, 5, 3, rng=rng()).state_dict()
    assert {name: value.shape for name, value in state.items()} == {
        "hidden1.weight": (7, 2), "hidden1.bias": (7,),
        "hidden2.weight": (5, 7), "hidden2.bias": (5,),
        "output.weight": (3, 5), "output.bias": (3,),
    }  # fmt: skip
    assert list(state) == ["hidden1.weight", "hidden1.bias", "hidden2.weight", "hidden2.bias", "output.weight", "output.bias"]


def test_the_networks_leaky_relu_has_the_reports_slope():
    net = TwoHiddenLayerNet(1, 1, 1, 1, activation="leaky_relu", rng=rng())
    net.load_state_dict({name: np.full(x.shape, float("weight" in name)) for name, x in net.named_parameters()})
    assert net([[-1.0]]).item() == pytest.approx(-0.05 * 0.05, rel=1e-15)


@pytest.mark.parametrize("bad", ["leaky-relu", "ReLU", "", "__import__('os')", None, 3], ids=repr)
def test_an_unknown_activation_is_refused_with_the_known_ones(bad):
    message = refusal(lambda: TwoHiddenLayerNet(1, 2, 2, 1, activation=bad, rng=rng()))
    assert f"activation {bad!r} is unknown" in message
    assert all(name in message for name in tl.ACTIVATIONS)


def test_the_class_of_an_activation_is_no_activation():
    assert refusal(lambda: tl.get_activation(tl.ReLU)) == "activation is the class ReLU, expected an object of it: ReLU()"


def test_sequential_nests():
    inner = tl.Sequential(tl.Linear(2, 2, rng=rng()), tl.Tanh())
    outer = tl.Sequential(inner, tl.Linear(2, 1, rng=rng()))
    assert names(outer) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]
    assert repr(outer) == "Sequential(Sequential(Linear(2, 2), Tanh()), Linear(2, 1))"


def test_sequential_of_nothing_is_the_identity():
    assert tl.Sequential()([1.0, 2.0]).numpy().tolist() == [1.0, 2.0]


def test_sequential_runs_its_layers_only():
    net = tl.Sequential(tl.Linear(1, 1, rng=rng()))
    before = net([[1.0]]).item()
    net.title = "winner"
    assert net([[1.0]]).item() == before


@pytest.mark.parametrize("bad", [np.tanh, "relu", None, tl.ReLU, [tl.ReLU()]], ids=["function", "str", "None", "class", "list"])
def test_what_is_no_layer_is_refused_with_its_position(bad):
    message = refusal(lambda: tl.Sequential(tl.ReLU(), bad))
    assert message.startswith("Sequential: argument 1 is ")
    assert message.endswith("expected a Layer or an Activation")
