"""Stored arrays come back as they were, in a format that the safetensors library reads."""

import enum
import os

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tests.helpers.stored import SMALL, SMALL_TEXTS, assert_same, load, refusal
from tinygrad_lab.storage.arrays import load_arrays, save_arrays

# Round trip ------------------------------------------------------------------------------------------------------------

DTYPES = [np.dtype(x) for x in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", ">f8", ">f4", ">i2")]
NAMES = st.text(max_size=12).filter(lambda name: name != "__metadata__")


@given(
    st.dictionaries(
        NAMES,
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
        ),
        max_size=4,
    ),
    st.dictionaries(st.text(max_size=12).filter(lambda name: name != "sha256"), st.text(max_size=20), max_size=4),
)
def test_round_trip(folder, given_arrays, given_texts):
    save_arrays(folder / "any", given_arrays, given_texts)
    loaded, texts = load_arrays(folder / "any")
    assert_same(loaded, given_arrays)
    assert texts == given_texts


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back_in_the_machines_byte_order(tmp_path, dtype):
    array = np.array([0, 1, 100]).astype(dtype)
    save_arrays(tmp_path / "file", {"x": array})
    assert_same(load_arrays(tmp_path / "file")[0], {"x": array})


@pytest.mark.parametrize(
    "array",
    [
        np.array(np.nan), np.array([np.inf, -np.inf, -0.0]), np.array(2**64 - 1, np.uint64), np.array(True),
        np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::-2], np.arange(24).reshape(2, 3, 4)[:, ::2, 1:],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.broadcast_to(np.array([1.0, 2.0]), (3, 2)),
        np.zeros((0, 3)), np.zeros((3, 0), np.float32), np.ones((1,) * 64), np.arange(200_000.0),
    ],
    ids=[
        "nan", "infinite", "integer", "boolean", "transposed", "strided", "sliced", "Fortran", "broadcast", "empty",
        "empty rows", "64 axes", "long",
    ],
)  # fmt: skip
def test_round_trip_of_unusual_arrays(tmp_path, array):
    before = array.copy()
    save_arrays(tmp_path / "file", {"x": array})
    loaded, _ = load_arrays(tmp_path / "file")
    assert_same(loaded, {"x": array})
    assert loaded["x"].tobytes() == array.tobytes()  # the sign of zero included
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    "text",
    ["", "é ∂ 漢 😀", "\"double\" 'single' \\back", "two\nlines\r\n\ttab", "\0\x1b\x7f\u2028", '{"a": [1]}', "x" * 10_000],
    ids=["empty", "unicode", "quotes", "newlines", "control", "JSON", "long"],
)
def test_texts_come_back(tmp_path, text):
    save_arrays(tmp_path / "file", {"x": np.ones(1)}, {"key": text, text: "value"})
    assert load_arrays(tmp_path / "file")[1] == {"key": text, text: "value"}


def test_without_texts_there_are_none(tmp_path):
    save_arrays(tmp_path / "file", {})
    assert load_arrays(tmp_path / "file") == ({}, {})


class Colour(str, enum.Enum):  # noqa: UP042 (its str() differs from its content, unlike a StrEnum's)
    RED = "red"


@pytest.mark.parametrize("red", [np.str_("red"), Colour.RED], ids=["np.str_", "enum"])
def test_names_and_texts_of_a_subclass_of_str(tmp_path, red):
    save_arrays(tmp_path / "file", {red: np.ones(1)}, {red: red})
    loaded, texts = load_arrays(tmp_path / "file")
    assert_same(loaded, {"red": np.ones(1)})
    assert texts == {"red": "red"}


def test_loaded_arrays_are_writable_and_independent_of_the_file(tmp_path):
    save_arrays(tmp_path / "file", {"x": np.ones(3)})
    x = load_arrays(tmp_path / "file")[0]["x"]
    x += 1
    with (tmp_path / "file").open("r+b") as file:
        file.seek(-24, os.SEEK_END)
        file.write(bytes(24))
    np.testing.assert_array_equal(x, [2.0, 2.0, 2.0])


def test_saving_changes_neither_arrays_nor_texts(tmp_path):
    given_arrays, texts = {"x": np.arange(3, dtype=">f8")}, {"a": "b"}
    save_arrays(tmp_path / "file", given_arrays, texts)
    assert texts == {"a": "b"}
    assert given_arrays["x"].dtype == ">f8"
    np.testing.assert_array_equal(given_arrays["x"], [0, 1, 2])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_networks_weights_come_back_to_the_bit(tmp_path, dtype):
    first, second = (TwoHiddenLayerNet(1, 5, 4, 1, rng=np.random.default_rng(seed), dtype=dtype) for seed in (0, 1))
    tl.save_weights(tmp_path / "net.safetensors", first)
    tl.load_weights(tmp_path / "net.safetensors", second)
    assert_same(second.state_dict(), first.state_dict())


# The format ------------------------------------------------------------------------------------------------------------


def test_the_safetensors_library_reads_the_file(tmp_path):
    save_arrays(tmp_path / "file", SMALL, SMALL_TEXTS)
    assert_same(safetensors.numpy.load_file(tmp_path / "file"), SMALL)
    assert_same(safetensors.numpy.load((tmp_path / "file").read_bytes()), SMALL)
    with safetensors.safe_open(tmp_path / "file", framework="numpy") as file:
        texts = file.metadata()
    assert len(bytes.fromhex(texts.pop("sha256"))) == 32
    assert texts == SMALL_TEXTS


GOLDEN = (
    b'\xd0\0\0\0\0\0\0\0{"__metadata__":{"sha256":"a0f9a60ae875bd7716fdf899953b41d015c84bb4a3ac18f4e1cbf27841f51723"},'
    b'"w":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[],"data_offsets":[16,20]}}    '
    b"\0\0\0\0\0\0\xf8?\0\0\0\0\0\0\0\xc0\0\0\x80>"
)


def test_a_file_of_the_past_can_be_read(folder):
    """If the checksum changes, the files that users have can no longer be read."""
    loaded, texts = load(folder, GOLDEN)
    assert_same(loaded, {"w": np.array([[1.5, -2.0]]), "b": np.array(0.25, np.float32)})
    assert texts == {}


@pytest.mark.parametrize("texts", [None, {"format": "pt"}], ids=["no metadata", "metadata"])
def test_a_file_of_the_safetensors_library_without_a_checksum_is_refused(tmp_path, texts):
    path = tmp_path / "file"
    safetensors.numpy.save_file(SMALL, path, metadata=texts)
    assert refusal(lambda: load_arrays(path)) == f"{path}: has no checksum; expected a file by save_arrays"
    assert_same(load_arrays(path, foreign=True)[0], SMALL)


@pytest.mark.parametrize("checksum", ["", "0" * 64, "é", "\n"])
def test_a_wrong_checksum_is_refused(tmp_path, checksum):
    safetensors.numpy.save_file(SMALL, tmp_path / "file", metadata={"sha256": checksum})
    assert "the content does not fit its checksum" in refusal(lambda: load_arrays(tmp_path / "file"))


def test_the_checksum_covers_names_shapes_dtypes_and_texts(tmp_path):
    """Contents that differ from the first in one thing have different checksums."""
    base = {"x": np.zeros((2, 3)), "y": np.zeros(1)}
    contents = [
        (base, {"a": "b"}),
        ({"x": base["x"], "z": base["y"]}, {"a": "b"}),
        ({"x": np.zeros((3, 2)), "y": base["y"]}, {"a": "b"}),
        ({"x": np.zeros((2, 3), np.int64), "y": base["y"]}, {"a": "b"}),
        ({"x": np.zeros((2, 3)), "y": np.zeros(1), "e": np.zeros(0)}, {"a": "b"}),
        (base, {"a": "c"}),
        (base, {"c": "b"}),
        (base, {}),
    ]
    checksums = []
    for given_arrays, texts in contents:
        save_arrays(tmp_path / "file", given_arrays, texts)
        with safetensors.safe_open(tmp_path / "file", framework="numpy") as file:
            checksums.append(file.metadata()["sha256"])
    assert len(set(checksums)) == len(contents)


# What is not written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        np.array([None]), np.array(["text"]), np.array([b"bytes"]), np.array([1j]), np.array([1j], np.complex64),
        np.array([1], "m8[s]"), np.array([1], "M8[s]"), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.array([b"ab"], "V2"), ["a", "list"],
    ],
    ids=lambda bad: str(getattr(bad, "dtype", "list")),
)  # fmt: skip
def test_what_is_no_real_number_is_not_written(tmp_path, bad):
    with pytest.raises(TypeError, match=r"\Asave_arrays: weird has dtype .*, expected real numbers .*\Z"):
        save_arrays(tmp_path / "file", {"fine": np.ones(1), "weird": bad})
    assert list(tmp_path.iterdir()) == []


def test_a_refused_name_of_several_lines_stands_on_one(tmp_path):
    with pytest.raises(TypeError, match=r"\Asave_arrays: two lines has dtype object, .*\Z"):
        save_arrays(tmp_path / "file", {"two\nlines": np.array([None])})


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here")
def test_long_doubles_are_not_written(tmp_path):
    with pytest.raises(TypeError, match=r"x has dtype float\d+, expected real numbers of at most 64 bits"):
        save_arrays(tmp_path / "file", {"x": np.ones(1, np.longdouble)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given_arrays", "texts"),
    [({"__metadata__": np.ones(1)}, {}), ({"x": np.ones(1)}, {"sha256": "mine"})],
    ids=["array", "text"],
)
def test_names_that_the_format_needs_are_refused_on_saving(tmp_path, given_arrays, texts):
    """Otherwise the file could never be read."""
    with pytest.raises(ValueError, match=r"\Asave_arrays: .*choose another name\Z"):
        save_arrays(tmp_path / "file", given_arrays, texts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given_arrays", "texts", "error"),
    [
        ({"x": np.ones(1)}, {"a": 1}, TypeError),
        ({"x": np.ones(1)}, {"a": "\ud800"}, UnicodeEncodeError),
        ({"\ud800": np.ones(1)}, {}, UnicodeEncodeError),
        ({1: np.ones(1)}, {}, TypeError),
    ],
    ids=["number as text", "half a character", "half a character as name", "number as name"],
)
def test_texts_and_names_that_are_no_unicode_leave_no_file(tmp_path, given_arrays, texts, error):
    with pytest.raises(error):
        save_arrays(tmp_path / "file", given_arrays, texts)
    assert list(tmp_path.iterdir()) == []
