"""Names, shapes and dtypes that a layer expects of a file."""

from contextlib import suppress

import numpy as np
import pytest
import safetensors.numpy

import tinygrad_lab as tl
from tests.helpers.stored import SMALL, SMALL_TEXTS, assert_same, at_most_a_megabyte, refusal, with_header
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


# PyTorch ---------------------------------------------------------------------------------------------------------------


def network(seed=0):
    rng = np.random.default_rng(seed)
    net = tl.Sequential(
        tl.Linear(3, 4, rng=rng), tl.BatchNorm(4), tl.ReLU(), tl.LayerNorm(4), tl.Linear(4, 2, bias=False, rng=rng)
    )
    net.load_state_dict({name: abs(rng.normal(size=array.shape)) for name, array in net.state_dict().items()})
    return net


NAMES = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "3.weight", "3.bias", "4.weight"]
"""What torch.nn.Sequential(Linear, BatchNorm1d, ReLU, LayerNorm, Linear) has, and 1.num_batches_tracked of int64."""


def test_a_file_for_pytorch_has_its_names_and_comes_back(tmp_path):
    net, other = network(0), network(1)
    tl.save_weights(tmp_path / "file", net, pytorch=True)
    arrays = safetensors.numpy.load_file(tmp_path / "file")
    assert sorted(arrays) == sorted([*NAMES, "1.num_batches_tracked"])
    assert (arrays["1.num_batches_tracked"].dtype, arrays["1.num_batches_tracked"].shape) == (np.int64, ())
    tl.load_weights(tmp_path / "file", other, pytorch=True)
    assert_same(other.state_dict(), net.state_dict())


@pytest.mark.parametrize("counts", [{}, {"1.num_batches_tracked": np.array(7)}], ids=["without count", "with count"])
def test_a_file_of_pytorch_is_read_on_request_only(tmp_path, counts):
    net = network()
    arrays = {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(zip(NAMES, shapes(net), strict=True))}
    safetensors.numpy.save_file(arrays | counts, tmp_path / "file")
    message = refusal(lambda: tl.load_weights(tmp_path / "file", net))
    assert "1.running_variance is missing" in message
    assert "1.running_var is unknown" in message
    tl.load_weights(tmp_path / "file", net, pytorch=True)
    values = list(net.state_dict().values())
    assert_same(dict(zip(NAMES, values, strict=True)), {name: array.astype(float) for name, array in arrays.items()})


def test_a_file_of_pytorch_with_our_names_is_read_on_request_only(tmp_path):
    layer = tl.Linear(2, 1, rng=np.random.default_rng(0))
    arrays = {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])}
    safetensors.numpy.save_file(arrays, tmp_path / "file")
    assert "has no checksum" in refusal(lambda: tl.load_weights(tmp_path / "file", layer))
    tl.load_weights(tmp_path / "file", layer, pytorch=True)
    assert_same(layer.state_dict(), arrays)


def shapes(net):
    return [array.shape for array in net.state_dict().values()]


def test_a_batch_norm_by_itself_has_pytorchs_names(tmp_path):
    tl.save_weights(tmp_path / "file", tl.BatchNorm(2), pytorch=True)
    assert set(safetensors.numpy.load_file(tmp_path / "file")) == {
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip
    tl.load_weights(tmp_path / "file", tl.BatchNorm(2), pytorch=True)


def test_damage_to_our_own_file_is_noticed_for_pytorch_too(tmp_path):
    tl.save_weights(tmp_path / "file", network(), pytorch=True)
    data = bytearray((tmp_path / "file").read_bytes())
    data[-1] ^= 1
    (tmp_path / "file").write_bytes(data)
    assert "does not fit its checksum" in refusal(lambda: tl.load_weights(tmp_path / "file", network(), pytorch=True))


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("1.running_var", None, "1.running_var is missing"), ("7.weight", np.ones(1), "7.weight is unknown"),
        ("0.num_batches_tracked", np.array(1), "0.num_batches_tracked is unknown"),
        ("4.weight", np.ones((4, 2), np.float32), "4.weight has shape (4, 2), expected (2, 4)"),
    ],
)  # fmt: skip
def test_a_file_of_another_module_of_pytorch_is_refused(tmp_path, name, array, problem):
    net = network()
    before = net.state_dict()
    arrays = dict(zip(NAMES, before.values(), strict=True)) | {name: array}
    safetensors.numpy.save_file({key: value for key, value in arrays.items() if value is not None}, tmp_path / "file")
    assert problem in refusal(lambda: tl.load_weights(tmp_path / "file", net, pytorch=True))
    assert_same(net.state_dict(), before)


@pytest.mark.parametrize("function", [tl.save_weights, tl.load_weights])
def test_what_is_no_layer_is_named(function, tmp_path):
    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()))
    name = function.__name__
    for layer, kind in ((trainer, "Trainer"), (net.state_dict(), "dict")):
        with pytest.raises(TypeError, match=f"^{name}: layer is a {kind}, expected a Layer; give a network, as trainer.model$"):
            function(tmp_path / "file", layer)
    with pytest.raises(TypeError, match=rf"^{name}: layer is a str, expected a Layer; the order is {name}\(path, layer\)$"):
        function(net, "file")


BFLOAT16 = {
    name: {"dtype": "BF16", "shape": [2], "data_offsets": [start, start + 4]} for name, start in (("weight", 0), ("bias", 4))
}


@pytest.mark.parametrize(
    "content", [with_header(BFLOAT16, bytes(8)), b"PK\x03\x04 as of torch.save"], ids=["bfloat16", "pickle"]
)
def test_what_pytorch_writes_in_other_ways_is_refused_with_the_cure(tmp_path, content):
    with suppress(ImportError):
        import ml_dtypes  # noqa: F401 (onnx imports it; then NumPy knows bfloat16)
    (tmp_path / "file").write_bytes(content)
    message = refusal(lambda: tl.load_weights(tmp_path / "file", tl.LayerNorm(2), pytorch=True))
    assert message.endswith("expected a file by safetensors.torch.save_file(module.float().state_dict(), path)")
