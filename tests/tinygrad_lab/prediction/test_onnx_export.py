"""An ONNX file computes, for any number of samples, what the Predictor does: by the reference evaluator of ONNX."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import tinygrad_lab as tl
from models import MultilayerPerceptron, TwoHiddenLayerNet
from tests.tinygrad_lab.prediction.test_model_files import every_layer
from tinygrad_lab.checks import install_hint
from tinygrad_lab.nn.activations import ACTIVATIONS

X = np.random.default_rng(0).normal(size=(7, 3))


OF_ERF = 1e-6
"""Erf is exported in single precision."""


def run(folder, predictor, x, **options):
    predictor.to_onnx(folder / "model.onnx", **options)
    with np.errstate(all="ignore"):  # in the sigmoid of the evaluator
        [output] = ReferenceEvaluator(str(folder / "model.onnx")).run(None, {"x": x})
    return output


class Function(tl.Layer):
    """A layer that computes what it is given."""

    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


# Layers ----------------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(1)
NETWORKS = {
    "all layers": every_layer(),
    "perceptron": MultilayerPerceptron(3, (4, 5), 2, activation=("tanh", tl.ELU(0.5)), rng=RNG),
    "report": TwoHiddenLayerNet(3, 4, 5, 1, rng=RNG),
    "single precision": MultilayerPerceptron(3, (4,), 2, activation="gelu", rng=RNG, dtype=np.float32),
}


@pytest.mark.parametrize("samples", [1, 7])
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_are_exported(tmp_path, kind, samples):
    predictor = tl.Predictor(NETWORKS[kind], flat=False)
    dtype = np.float32 if kind == "single precision" else np.float64
    output = run(tmp_path, predictor, X[:samples].astype(dtype))
    expected = predictor.predict(X[:samples])
    assert output.dtype == expected.dtype == dtype
    np.testing.assert_allclose(output, expected, rtol=1e-12 if kind in ("perceptron", "report") else OF_ERF)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_exported_where_they_saturate(tmp_path, name):
    x = np.array([[-800.0, -20.0, -1.0], [-0.0, 1e-9, 1.0], [20.0, 700.0, 800.0]])
    predictor = tl.Predictor(tl.Sequential(ACTIVATIONS[name]()))
    np.testing.assert_allclose(
        run(tmp_path, predictor, x, in_features=3), predictor.predict(x), rtol=OF_ERF if name == "gelu" else 1e-12, atol=1e-15
    )


def mixed(x):
    """What an encoder of a table does: gaps, categories, dates."""
    numbers = x[:, :2]
    filled = tl.where(np.not_equal(numbers, numbers), np.array([5.0, 6.0]), numbers)
    codes = np.broadcast_to(np.array([0.0, 1.0]), (len(x), 2))
    category = np.equal(x[:, [2, 2]], codes).astype(x.dtype)
    return tl.concatenate([filled, category, np.sin(x[:, :1]) * 0.0 + 1.0], axis=1)


class Gaps(tl.Preprocessor):
    takes_missing = True

    def learn(self, data, weight=None):
        pass

    def forward(self, x):
        return mixed(tl.where(np.not_equal(x, x), 9.0, x))


def test_missing_values_and_categories_are_exported(tmp_path):
    network = tl.PreparedNetwork(Gaps(), tl.Linear(5, 2, rng=RNG), None)
    x = X.copy()
    x[:, 2] = [0.0, 1.0, 2.0, 0.0, 1.0, -1.0, np.nan]
    x[1, 0] = x[2, 1] = np.nan
    predictor = tl.Predictor(network)
    output = run(tmp_path, predictor, x, in_features=3)
    assert np.isfinite(output).all()
    np.testing.assert_allclose(output, predictor.predict(x), rtol=1e-12)


OPS = {
    "reshape": lambda x: (x.reshape(len(x), 3, 1) * np.ones((1, 1, 2))).reshape(len(x), 6),
    "transposed": lambda x: x.reshape(len(x), 1, 3).transpose(0, 2, 1).reshape(len(x), 3) @ np.arange(6.0).reshape(3, 2),
    "extrema": lambda x: tl.maximum(x, 0.5) - tl.minimum(x, x.max(axis=1, keepdims=True)) + x.min(axis=1, keepdims=True),
    "integer index": lambda x: tl.stack([x[:, 0], x[:, -1]], axis=1),
    "steps": lambda x: tl.concatenate([x[:, ::-1], x[:, 1::2], x[:, -2:]], axis=1),
    "index array": lambda x: x[:, np.array([2, 0, 2, 1, 0])],
    "logic": lambda x: tl.where(np.logical_and(x > 0.0, np.logical_not(x >= 1.0)), x, -x),
    "powers": lambda x: abs(x) ** 1.5 + np.log1p(x * x) + np.expm1(x) + np.sign(x) * np.sqrt(abs(x)),
    "softmax": lambda x: tl.softmax(x, axis=1) + tl.log_softmax(x, axis=1) + tl.logsumexp(x, axis=1, keepdims=True),
    "statistics": lambda x: x - x.mean(axis=1, keepdims=True) + x.std(axis=1, keepdims=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPS)
def test_ops_of_own_layers_are_exported(tmp_path, kind):
    predictor = tl.Predictor(Function(OPS[kind]))
    for samples in (1, 7):
        output = run(tmp_path, predictor, X[:samples], in_features=3)
        np.testing.assert_allclose(output, predictor.predict(X[:samples]).reshape(output.shape), rtol=1e-12, atol=1e-14)


# Tasks and several networks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "outputs", "classes"), [("classification", 3, "abc"), ("classification", 1, "ab"), ("multilabel", 2, None)]
)
def test_probabilities_are_exported(tmp_path, task, outputs, classes):
    networks = [tl.Linear(3, outputs, rng=np.random.default_rng(seed)) for seed in range(3)]
    predictor = tl.Predictor(networks[0], task, classes and list(classes), members=networks[1:])
    np.testing.assert_allclose(run(tmp_path, predictor, X), predictor.predict_proba(X), rtol=1e-12)
    model = onnx.load(tmp_path / "model.onnx")
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["task"] == task
    assert json.loads(notes["classes"]) == predictor.classes_.tolist()
    assert [output.name for output in model.graph.output] == ["probabilities"]


# Refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.cumsum(axis=1), ValueError, "test_onnx_export.py, line .*: the op accumulate has no rule for ONNX"),
        (lambda x: x * (1.0 / len(x)), ValueError, "line .*: a constant depends on the number of samples"),
        (lambda x: x - x.mean(axis=0, keepdims=True), ValueError, "line .*: a constant depends on the number of samples"),
        (lambda x: x - x[len(x) - 1], ValueError, "line .*: getitem has parameters that depend on the number of samples"),
        (lambda x: x if len(x) == 2 else x + 1.0, ValueError, "it runs other ops for another number of samples"),
        (lambda x: x if x.sum().item() > 0 else -x, tl.CaptureError, "line .*: the number of a Tensor that changes"),
        (lambda x: tl.Tensor(np.ones((len(x), 1))), ValueError, "its result does not depend on its input"),
    ],
)  # fmt: skip
def test_what_an_export_would_get_wrong_is_refused_in_one_line(tmp_path, function, error, message):
    with pytest.raises(error, match=message) as caught:
        tl.Predictor(Function(function)).to_onnx(tmp_path / "model.onnx", in_features=3)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_features_is_refused(tmp_path):
    with pytest.raises(ValueError, match="input has 2 features, expected 3"):
        tl.Predictor(tl.Linear(3, 1, rng=RNG)).to_onnx(tmp_path / "model.onnx", in_features=2)


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError) as caught:
        tl.Predictor(tl.Linear(3, 1, rng=RNG)).to_onnx(tmp_path / "model.onnx")
    assert str(caught.value) == f"to_onnx needs onnx, which is not installed: {install_hint('onnx')}"
