"""Names, shapes and dtypes that a layer expects of a file."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tests.helpers.stored import SMALL, SMALL_TEXTS, assert_same, at_most_a_megabyte, refusal
from tinygrad_lab.storage.arrays import load_arrays, save_arrays


def test_wrong_names_and_shapes_are_all_named(tmp_path):
    save_arrays(tmp_path / "file", {"a": np.zeros(2), "b": np.zeros(3), "c": np.zeros(())})
    message = refusal(lambda: load_arrays(tmp_path / "file", {"a": (2,), "b": (3, 1), "d": (1,)}))
    assert message == f"{tmp_path / 'file'}: d is missing; c is unknown; b has shape (3,), expected (3, 1)"


def test_expected_names_and_shapes_are_read(tmp_path):
    save_arrays(tmp_path / "file", SMALL, SMALL_TEXTS)
    loaded, texts = load_arrays(tmp_path / "file", {"w": (1, 2), "b": (), "m": (2,)})
    assert_same(loaded, SMALL)
    assert texts == SMALL_TEXTS


def test_other_shapes_are_refused_before_any_array_is_read(tmp_path):
    save_arrays(tmp_path / "file", {"x": np.zeros(1_000_000)})
    with at_most_a_megabyte():
        assert "x has shape (1000000,), expected (1,)" in refusal(lambda: load_arrays(tmp_path / "file", {"x": (1,)}))


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({"bias": None}, "bias is missing"),
        ({"gain": np.ones(1)}, "gain is unknown"),
        ({"bias": np.ones(2)}, "bias has shape (2,), expected (1,)"),
        ({"bias": np.array(1.0)}, "bias has shape (), expected (1,)"),
        ({"weight": np.ones((2, 1))}, "weight has shape (2, 1), expected (1, 2)"),
        (
            {"weight": np.ones(2), "bias": None, "gain": np.ones(1), "shift": np.ones(1)},
            "bias is missing; gain is unknown; shift is unknown; weight has shape (2,), expected (1, 2)",
        ),
    ],
)
def test_weights_of_another_layer_are_refused_and_nothing_changes(tmp_path, change, problems):
    layer = tl.Linear(2, 1, rng=np.random.default_rng(0))
    before = layer.state_dict()
    state = {"weight": np.zeros((1, 2)), "bias": np.zeros(1)} | change
    save_arrays(tmp_path / "file", {name: array for name, array in state.items() if array is not None})
    message = refusal(lambda: tl.load_weights(tmp_path / "file", layer))
    start, *found = message.removeprefix(f"{tmp_path / 'file'}: ").split("; ")
    assert sorted([start, *found]) == sorted(problems.split("; "))
    assert_same(layer.state_dict(), before)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32, np.uint64])
def test_dtypes_that_the_layer_would_round_are_all_named_and_nothing_changes(tmp_path, dtype):
    layer = tl.Linear(2, 1, rng=np.random.default_rng(0), dtype=np.float32)
    before = layer.state_dict()
    save_arrays(tmp_path / "file", {"weight": np.zeros((1, 2), dtype), "bias": np.zeros(1, dtype)})
    message = refusal(lambda: tl.load_weights(tmp_path / "file", layer))
    assert message.startswith(f"{tmp_path / 'file'}: ")
    for name in ("weight", "bias"):
        assert f"{name} has dtype {np.dtype(dtype)}, expected float32" in message
    assert_same(layer.state_dict(), before)


def test_one_wrong_dtype_leaves_the_other_parameter_as_it_was(tmp_path):
    layer = tl.Linear(2, 1, rng=np.random.default_rng(0), dtype=np.float32)
    before = layer.state_dict()
    save_arrays(tmp_path / "file", {"weight": np.zeros((1, 2), np.float32), "bias": np.zeros(1)})
    assert "bias has dtype float64, expected float32" in refusal(lambda: tl.load_weights(tmp_path / "file", layer))
    assert_same(layer.state_dict(), before)


def test_a_damaged_file_leaves_the_layer_as_it_was(tmp_path):
    layer = tl.Linear(2, 1, rng=np.random.default_rng(0))
    before = layer.state_dict()
    save_arrays(tmp_path / "file", {"weight": np.zeros((1, 2)), "bias": np.zeros(1)})
    data = bytearray((tmp_path / "file").read_bytes())
    data[-1] ^= 1
    (tmp_path / "file").write_bytes(data)
    assert "does not fit its checksum" in refusal(lambda: tl.load_weights(tmp_path / "file", layer))
    assert_same(layer.state_dict(), before)


def test_frozen_weights_are_saved_and_loaded(tmp_path):
    first, second = (tl.Linear(2, 1, rng=np.random.default_rng(seed)) for seed in (0, 1))
    tl.save_weights(tmp_path / "trainable", first)
    first.weight.requires_grad = False
    tl.save_weights(tmp_path / "frozen", first)
    assert (tmp_path / "frozen").read_bytes() == (tmp_path / "trainable").read_bytes()
    second.weight.requires_grad = False
    tl.load_weights(tmp_path / "frozen", second)
    np.testing.assert_array_equal(second.weight.numpy(), first.weight.numpy())
