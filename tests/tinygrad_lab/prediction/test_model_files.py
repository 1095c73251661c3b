"""A model comes back from its file to the bit, and a file that is not one is refused in one line."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lab as tl
from tests.helpers.stored import at_most_a_megabyte, places, refusal
from tinygrad_lab.nn.activations import ACTIVATIONS
from tinygrad_lab.prediction import architecture
from tinygrad_lab.prediction.files import TEXT
from tinygrad_lab.storage.arrays import arrays_from_bytes, arrays_to_bytes, save_arrays

X = np.random.default_rng(0).normal(size=(5, 3))


def rng(seed=0):
    return np.random.default_rng(seed)


def standardize(features):
    layer = tl.Standardize(features)
    layer.learn(np.random.default_rng(7).normal(3.0, 2.0, (9, features)))
    return layer


def every_layer():
    """A network with all layers and activations that a file knows, with settings other than the default ones."""
    norm = tl.BatchNorm(4, momentum=0.3, eps=1e-3)
    norm.load_state_dict({k: v + 0.5 for k, v in norm.state_dict().items()})
    network = tl.Sequential(
        tl.Linear(3, 4, rng=rng()),
        tl.Sequential(*(kind() for kind in ACTIVATIONS.values()), tl.LeakyReLU(0.3), tl.ELU(0.7)),
        norm,
        tl.Dropout(0.25),
        tl.GaussianNoise(0.1),
        tl.LayerNorm(4, eps=1e-2),
        tl.Linear(4, 2, bias=False, rng=rng()),
    )
    return tl.PreparedNetwork(standardize(3), network, standardize(2))


def saved(folder, predictor):
    predictor.save(folder / "model.safetensors")
    return tl.load_predictor(folder / "model.safetensors")


# Round trip ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_known_layer_comes_back(tmp_path, dtype):
    network = (
        every_layer()
        if dtype == np.float64
        else tl.Sequential(tl.Linear(3, 2, rng=rng(), dtype=dtype), tl.BatchNorm(2, dtype=dtype))
    )
    loaded = saved(tmp_path, tl.Predictor(network))
    np.testing.assert_array_equal(loaded.predict(X), tl.Predictor(network).predict(X))
    assert loaded.predict(X).dtype == dtype
    assert repr(loaded.models[0]) == repr(network)
    assert architecture.describe_network(loaded.models[0]) == architecture.describe_network(network)


def test_no_layer_of_the_package_is_missing():
    public = [getattr(tl, name) for name in tl.__all__]
    layers = {x for x in public if isinstance(x, type) and issubclass(x, (tl.Layer, tl.Activation))}
    known = {rule.kind for rule in architecture._rules.values()}
    assert layers - known == {tl.Layer, tl.Activation, tl.Preprocessor}  # the abstract ones


def test_shared_layers_come_back_as_equal_ones(tmp_path):
    layer = tl.Linear(3, 3, rng=rng())
    network = tl.Sequential(layer, tl.Tanh(), layer)
    np.testing.assert_array_equal(saved(tmp_path, tl.Predictor(network)).predict(X), tl.Predictor(network).predict(X))


def test_classes_members_folds_and_details_come_back(tmp_path):
    networks = [tl.Linear(3, 2, rng=rng(seed)) for seed in range(5)]
    predictor = tl.Predictor(
        networks[0], "classification", ["no", "yes"], members=[networks[1]], details={"scores": {"r2": float("nan")}}
    )
    predictor.calibrate([networks[2:4], networks[4]], [[0, 1], [4, 2, 3]], X, ["no", "yes", "no", "no", "yes"])
    loaded = saved(tmp_path, predictor)
    np.testing.assert_array_equal(loaded.predict(X), predictor.predict(X))
    np.testing.assert_array_equal(loaded.predict_proba(X), predictor.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict_set(X, 0.6), predictor.predict_set(X, 0.6))
    assert np.isnan(loaded.details["scores"]["r2"])
    assert loaded.details["versions"]["tinygrad_lab"] == tl.__version__


@pytest.mark.parametrize("classes", [[3, 7], [-0.5, 0.5], [False, True], ["no", "yes"], [1, "one"]])
def test_labels_come_back_with_their_type(tmp_path, classes):
    loaded = saved(tmp_path, tl.Predictor(tl.Linear(3, 2, rng=rng()), "classification", classes))
    assert [(type(x), x) for x in loaded.classes_.tolist()] == [(type(x), x) for x in classes]


# What cannot be saved --------------------------------------------------------------------------------------------------


class Unknown(tl.Layer):
    def forward(self, x):
        return x


class Linear(tl.Linear):
    """A subclass of the same name, which may compute something else."""


@pytest.mark.parametrize(
    ("network", "details", "message"),
    [
        (tl.Sequential(tl.Tanh(), Unknown()), {}, "Unknown: no file can hold this class; make it known with"),
        (Linear(3, 1, rng=rng()), {}, "Linear: no file can hold this class"),
        (tl.Linear(3, 1, rng=rng()), {"when": {1, 2}}, "save: .*set.*; expected details of numbers, texts, lists and dicts"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_refused_in_one_line_and_leaves_no_file(tmp_path, network, details, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        tl.Predictor(network, details=details).save(tmp_path / "model")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_layer_with_a_further_parameter_is_not_saved_without_it(tmp_path):
    layer = tl.Linear(3, 1, rng=rng())
    layer.gain = tl.Tensor(np.ones(1), requires_grad=True)
    with pytest.raises(ValueError, match="gain is unknown"):
        tl.Predictor(layer).save(tmp_path / "model")


def test_a_second_class_of_a_known_name_is_refused():
    with pytest.raises(ValueError, match="has the name of a class of tinygrad_lab"):
        tl.register_layer(Linear, lambda arrays: None)


# Files that are no models ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content():
    """The arrays and the description of a small model."""
    import tempfile
    from pathlib import Path

    network = tl.PreparedNetwork(None, tl.Sequential(tl.Linear(3, 2, rng=rng()), tl.LeakyReLU(), tl.BatchNorm(2)), None)
    predictor = tl.Predictor(network, "classification")
    predictor.calibrate([network] * 2, [[0, 1], [2, 3, 4]], X, [0, 1, 0, 1, 1])
    with tempfile.TemporaryDirectory() as folder:
        predictor.save(Path(folder, "model"))
        arrays, texts = arrays_from_bytes(Path(folder, "model").read_bytes())
    return arrays, json.loads(texts[TEXT])


def refused(path, arrays, description):
    text = description if isinstance(description, str) else json.dumps(description)
    save_arrays(path, arrays, {TEXT: text})
    message = refusal(lambda: tl.load_predictor(path))
    assert message.startswith(f"{path}: ")
    assert len(message) < len(str(path)) + 600
    return message


def test_files_of_another_kind_are_refused(tmp_path):
    layer = tl.Linear(2, 1, rng=rng())
    tl.save_weights(tmp_path / "weights", layer)
    assert "holds arrays but no model; expected a saved model" in refusal(lambda: tl.load_predictor(tmp_path / "weights"))
    (tmp_path / "text").write_text("no model")
    assert refusal(lambda: tl.load_predictor(tmp_path / "text")).endswith("; expected a saved model")
    with pytest.raises(FileNotFoundError):
        tl.load_predictor(tmp_path / "missing")


def test_truncated_and_changed_files_are_refused(tmp_path, content):
    save_arrays(tmp_path / "model", content[0], {TEXT: json.dumps(content[1])})
    tl.load_predictor(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    for position in range(0, len(data), 61):
        (tmp_path / "model").write_bytes(data[:position])
        refusal(lambda: tl.load_predictor(tmp_path / "model"))
        (tmp_path / "model").write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        refusal(lambda: tl.load_predictor(tmp_path / "model"))


def test_a_newer_version_is_refused_with_the_cure(tmp_path, content):
    message = refused(tmp_path / "model", content[0], content[1] | {"version": 2})
    assert message.endswith("is of version 2, this tinygrad-lab reads up to 1; install a newer one")


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", "1" * 5000, '{"version": 1}', "[" * 100_000, '{"version":' * 100_000, '{"version": true}'],
    ids=["empty", "null", "list", "open", "digits", "bare", "deep lists", "deep objects", "true"],
)  # fmt: skip
def test_descriptions_that_are_none_are_refused(tmp_path, content, text):
    refused(tmp_path / "model", content[0], text)


def network_of(description):
    return description["networks"]["network0"]


HOSTILE = {
    "unknown class": lambda d: network_of(d).update({"class": "Oracle"}),
    "a class with a long name": lambda d: network_of(d).update({"class": "x" * 100_000}),
    "a class that is a module": lambda d: network_of(d).update({"class": "os.system"}),
    "an activation as network": lambda d: d["networks"].update(network0={"class": "Tanh"}),
    "no class": lambda d: network_of(d).pop("class"),
    "a list as class": lambda d: network_of(d).update({"class": ["Linear"]}),
    "a setting too many": lambda d: network_of(d)["model"]["0"].update(gain=1),
    "a setting too few": lambda d: network_of(d)["model"]["2"].pop("eps"),
    "a field too few": lambda d: network_of(d)["model"]["1"].pop("slope"),
    "a text as number": lambda d: network_of(d)["model"]["1"].update(slope="0.1"),
    "nan as number": lambda d: network_of(d)["model"]["1"].update(slope=float("nan")),
    "a huge number": lambda d: network_of(d)["model"]["2"].update(momentum=10**400),
    "a declared size": lambda d: network_of(d)["model"]["0"].update(in_features=10**12),
    "other positions": lambda d: network_of(d)["model"].update({"7": {"class": "Tanh"}}),
    "no model": lambda d: network_of(d).update(model=None),
    "an activation as inputs": lambda d: network_of(d).update(inputs={"class": "Tanh"}),
    "one network more": lambda d: d["networks"].update(network1=network_of(d)),
    "an unknown task": lambda d: d["facts"].update(task="ranking"),
    "a list as task": lambda d: d["facts"].update(task=[]),
    "classes of lists": lambda d: d["facts"].update(classes=[[0], [1]]),
    "a number as classes": lambda d: d["facts"].update(classes=3),
    "a huge number of networks": lambda d: d["facts"].update(networks=10**12),
    "huge folds": lambda d: d["facts"].update(fold_networks=[10**12, -(10**12)]),
    "a fold too few": lambda d: (d["facts"].update(fold_networks=[1]), d["networks"].pop("fold1_0")),
    "no facts": lambda d: d.update(facts=[]),
    "a list as details": lambda d: d["facts"].update(details=[]),
    "no networks": lambda d: d.update(networks={}),
    "a text as networks": lambda d: d.update(networks="network0"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_descriptions_are_refused(tmp_path, content, kind):
    arrays, description = content[0], json.loads(json.dumps(content[1]))
    HOSTILE[kind](description)
    refused(tmp_path / "model", arrays, description)


@pytest.mark.parametrize("levels", [110, 900])
def test_very_many_levels_of_layers_are_refused(tmp_path, content, levels):
    description = {"class": "Tanh"}
    for _ in range(levels):
        description = {"class": "Sequential", "0": description}
    refused(tmp_path / "model", {}, content[1] | {"networks": {"network0": description}})


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("network0.model.0.weight", np.zeros((10**6, 0))), ("network0.model.0.weight", np.zeros((4, 2))),
        ("network0.model.0.weight", np.zeros(6)), ("network0.model.0.weight", np.zeros((2, 3), np.int64)),
        ("network0.model.0.bias", np.zeros(3)), ("network0.model.0", np.zeros(1)), ("network0", np.zeros(1)),
        ("network0.model.0.weight.x", np.zeros(1)), ("network0.model.9.weight", np.zeros(1)),
        ("folds", np.zeros(5)), ("folds", np.full(5, 2)), ("folds", np.zeros(4, np.int64)), ("scores", np.full((5, 1), np.nan)),
        ("scores", np.zeros(5)), ("more", np.zeros(1)),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(tmp_path, content, name, array):
    with at_most_a_megabyte():
        refused(tmp_path / "model", content[0] | {name: array}, content[1])


@pytest.mark.parametrize("name", ["network0.model.0.weight", "network0.model.2.running_mean", "fold1_0.model.0.bias", "scores"])
def test_a_missing_array_is_refused(tmp_path, content, name):
    refused(tmp_path / "model", {key: array for key, array in content[0].items() if key != name}, content[1])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Linear", "Tanh", "class", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["class", "0", "model", "p"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.data())
def test_a_model_with_any_other_value_somewhere_loads_or_is_refused_in_one_line(tmp_path_factory, content, data):
    description = json.loads(json.dumps(content[1]))
    path = data.draw(st.sampled_from([path for path in places(description) if path]))
    place = description
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(JSON_VALUES)
    file = tmp_path_factory.getbasetemp() / "fuzzed"
    file.write_bytes(arrays_to_bytes(content[0], {TEXT: json.dumps(description)}))
    try:
        tl.load_predictor(file)
    except tl.WeightsError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
