"""Estimators save what they have learnt, and a process that knows only `models` predicts with it."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx.reference import ReferenceEvaluator
from sklearn.exceptions import NotFittedError

import tinygrad_lab as tl
from models import (
    MLPClassifier,
    MLPRegressor,
    MultilayerPerceptron,
    TwoHiddenLayerNet,
    TwoHiddenLayerRegressor,
    load_model,
    read_table,
)
from tests.helpers import ROOT
from tests.helpers.stored import at_most_a_megabyte, places, refusal
from tinygrad_lab.prediction.files import TEXT
from tinygrad_lab.storage.arrays import arrays_to_bytes, load_arrays, save_arrays

X = np.random.default_rng(0).normal(5.0, 3.0, (30, 2))
Y = X[:, 0] ** 2 - X[:, 1]
LABELS = np.where(Y > 10, "high", np.where(Y > 0, "middle", "low"))

FITTED = {
    "plain": MLPRegressor((4,), epochs=2, random_state=0).fit(X, Y),
    "scaled": MLPRegressor((4, 3), ["tanh", tl.ELU(0.5)], epochs=2, standardize=True, standardize_y=True).fit(X, Y),
    "column": MLPRegressor((4,), epochs=2, standardize_y=True, random_state=0).fit(X, Y[:, None]),
    "two outputs": MLPRegressor((), epochs=2, standardize_y=True, random_state=0).fit(X, X[:, ::-1]),
    "report": TwoHiddenLayerRegressor((4, 3), tl.LeakyReLU(0.2), epochs=1, standardize=True, random_state=0).fit(X, Y),
    "labels": MLPClassifier((4,), epochs=2, standardize=True, random_state=0).fit(X, LABELS),
    "numbers": MLPClassifier((4,), epochs=2, random_state=0).fit(X, np.where(Y > 3, 7, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", FITTED)
def test_a_loaded_model_predicts_what_the_estimator_does_to_the_bit(tmp_path, kind):
    estimator = FITTED[kind]
    estimator.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.predict(X).dtype == estimator.predict(X).dtype
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X), strict=True)
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X), strict=True)
    assert loaded.details["estimator"] == type(estimator).__name__


def test_another_process_loads_it_without_what_only_trainings_need(tmp_path):
    FITTED["scaled"].save(tmp_path / "model")
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy as np; sys.modules |= dict.fromkeys(['search', 'sklearn', 'pandas', 'onnx']); "
        "from models import load_model; "
        "print(load_model(sys.argv[1]).predict(np.load(sys.argv[2])).tobytes().hex())"
    )
    command = [sys.executable, "-W", "error", "-c", code, tmp_path / "model", tmp_path / "x.npy"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert bytes.fromhex(printed) == FITTED["scaled"].predict(X).tobytes()


def test_what_was_not_trained_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        MLPRegressor().save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def table_model(target, **configuration):
    """A model of a table with gaps, categories and dates, and its matrix with more gaps and unseen categories."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=40),
            "color": rng.choice(["red", "green", "blue"], 40),
            "when": pd.date_range("2020-01-01", periods=40, freq="11D").astype(str),
            "price": rng.normal(size=40),
        }
    )
    frame.loc[3, "size"] = frame.loc[5, "when"] = None
    table = read_table(frame, target=target)
    trainer = table.builder(epochs=2)(configuration, rng)
    trainer.fit(table.x, table.y)
    x = table.x.copy()
    x[0], x[1, 1] = np.nan, -1.0
    return table.model(tl.Predictor.from_trainer(trainer, classes=table.classes)), x


TABLES = {
    "numbers": ("price", {}),
    "embedding": ("price", {"embedding": 2, "dropout": 0.2, "hidden": (8, 4)}),
    "labels": ("color", {}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_models_of_tables_are_exported_to_onnx(tmp_path, kind):
    target, configuration = TABLES[kind]
    model, x = table_model(target, **configuration)
    model.to_onnx(tmp_path / "model.onnx")
    [output] = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"x": x})
    expected = model.predict_proba(x) if target == "color" else model.predict(x)[:, None]
    np.testing.assert_allclose(output, expected, rtol=1e-12)
    notes = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(notes["table"]) == model.description.to_json()


def test_layers_that_do_not_fit_each_other_are_refused_before_they_are_made(tmp_path):
    """Sizes of 2,000 inputs and 2,000 outputs would make a matrix of 32 MB."""
    tl.Predictor(MultilayerPerceptron(1, (2, 2), 1, rng=np.random.default_rng(0))).save(tmp_path / "model")
    arrays, texts = load_arrays(tmp_path / "model")
    arrays |= {f"network0.hidden{i}.weight": np.zeros((2000, 1), np.float32) for i in (1, 2)}
    save_arrays(tmp_path / "model", arrays, texts)
    with at_most_a_megabyte():
        message = refusal(lambda: load_model(tmp_path / "model"))
    assert "a weight has shape (2000, 1), expected 2000 columns as of the layer before" in message


OTHER_VALUES = (None, True, -1, 10**12, 1e308, float("nan"), "x", [], {}, [{}], {"class": "Linear"})


def test_a_changed_file_of_a_table_loads_or_is_refused_in_one_line(tmp_path):
    """Each value of the description is replaced by some of the values of other types."""
    model, _ = table_model("color", embedding=2, dropout=0.2)
    model.save(tmp_path / "model")
    arrays, texts = load_arrays(tmp_path / "model")
    refused = 0
    for i, path in enumerate(path for path in places(json.loads(texts[TEXT])) if path):
        for value in OTHER_VALUES[i % 3 :: 3]:
            content = json.loads(texts[TEXT])
            place = content
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            (tmp_path / "changed").write_bytes(arrays_to_bytes(arrays, {TEXT: json.dumps(content)}))
            try:
                load_model(tmp_path / "changed")
            except tl.WeightsError as error:
                assert len(str(error).splitlines()) == 1, (path, value)  # noqa: PT017
                refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "network",
    [
        MultilayerPerceptron(2, (3, 4), 2, activation=("tanh", tl.LeakyReLU(0.3)), rng=np.random.default_rng(0), dtype="f4"),
        MultilayerPerceptron(2, (), 1, rng=np.random.default_rng(0)),
        TwoHiddenLayerNet(2, 3, 4, 1, activation=tl.ELU(0.7), rng=np.random.default_rng(0)),
    ],
)  # fmt: skip
def test_networks_come_back(tmp_path, network):
    tl.Predictor(network).save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded.models[0]) is type(network)
    assert repr(loaded.models[0]) == repr(network)
    np.testing.assert_array_equal(loaded.predict(X), tl.Predictor(network).predict(X), strict=True)
