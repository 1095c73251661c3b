import enum
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab.storage import arrays as stored_arrays
from tinygrad_lab.storage.arrays import WeightsError, load_arrays, save_arrays
from tinygrad_lab.storage.files import replacing

SMALL = {"w": np.array([[1.5, -2.0]]), "b": np.array(0.25, np.float32), "m": np.array([True, False])}
SMALL_TEXTS = {"note": "é 'quoted'"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the tests whose examples overwrite one file."""
    return tmp_path_factory.mktemp("arrays")


@pytest.fixture(scope="module")
def small(folder):
    """The bytes of a small file."""
    save_arrays(folder / "small", SMALL, SMALL_TEXTS)
    return (folder / "small").read_bytes()


def load(folder, data):
    path = folder / "damaged"
    path.touch()
    with path.open("r+b") as file:  # in place: a new file each time would take longer than all the rest
        file.write(data)
        file.truncate()
    return load_arrays(path)


def assert_same(loaded, arrays):
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype.newbyteorder("="), array.shape), name
        np.testing.assert_array_equal(loaded[name], array)


def refusal(call):
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


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


# A file is there in full or as it was ----------------------------------------------------------------------------------


def contents(folder):
    return {entry: entry.read_bytes() for entry in folder.iterdir()}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["OSError", "KeyboardInterrupt"])
@pytest.mark.parametrize(("module", "function"), [(stored_arrays, "save"), (os, "fsync"), (os, "replace")])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failing_write_leaves_everything_as_it_was(tmp_path, monkeypatch, module, function, error, existed):
    path = tmp_path / "file"
    if existed:
        save_arrays(path, SMALL)
    before = contents(tmp_path)
    calls = []

    def failing(*args, **kwargs):
        calls.append(function)
        raise error

    monkeypatch.setattr(module, function, failing)
    with pytest.raises(type(error)):
        save_arrays(path, {"w": np.zeros(3)})
    assert calls
    assert contents(tmp_path) == before


@pytest.mark.parametrize("existed", [True, False])
def test_a_file_that_outgrows_its_limit_leaves_everything_as_it_was(tmp_path, existed):
    """The write itself fails after it has written a part."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    if existed:
        save_arrays(path, SMALL)
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            save_arrays(path, {"w": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_everything_as_it_was(tmp_path, error):
    def fail(path):
        with replacing(path) as file:
            file.write(b"half of the ne")
            file.flush()
            raise error

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(error):
        fail(tmp_path / "file")
    assert contents(tmp_path) == {tmp_path / "file": b"old"}


def test_the_bytes_are_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    for function in ("fsync", "replace"):
        original = getattr(os, function)
        monkeypatch.setattr(os, function, lambda *a, f=function, o=original: (order.append(f), o(*a))[1])
    save_arrays(tmp_path / "file", SMALL)
    assert order[:2] == ["fsync", "replace"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_two_writers_of_one_path_do_not_meet(tmp_path):
    """For example two threads, one of which starts and ends while the other one writes."""
    path = tmp_path / "file"
    with replacing(path) as slow:
        slow.write(b"slow")
        with replacing(path) as quick:
            quick.write(b"quick")
        assert path.read_bytes() == b"quick"
    assert path.read_bytes() == b"slow"
    assert list(tmp_path.iterdir()) == [path]


def test_many_threads_that_write_and_read_one_path_see_whole_files_only(tmp_path):
    path = tmp_path / "file"
    save_arrays(path, {"x": np.zeros(1)}, {"writer": "0"})

    def write(writer):
        save_arrays(path, {"x": np.full(1 + 500 * writer, float(writer))}, {"writer": str(writer)})

    def read(_):
        loaded, texts = load_arrays(path)
        writer = int(texts["writer"])
        assert_same(loaded, {"x": np.full(1 + 500 * writer, float(writer))})

    with ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(job, i % 8) for i in range(64) for job in (write, read)]
        for job in jobs:
            job.result()
    read(None)
    assert list(tmp_path.iterdir()) == [path]


def test_saving_replaces_the_old_file(tmp_path):
    save_arrays(tmp_path / "file", {"old": np.zeros(1000)}, {"old": "text"})
    save_arrays(tmp_path / "file", SMALL)
    loaded, texts = load_arrays(tmp_path / "file")
    assert_same(loaded, SMALL)
    assert texts == {}


@pytest.mark.parametrize("make", [lambda folder: folder / "missing", lambda folder: folder / "file"], ids=["missing", "a file"])
def test_an_unwritable_folder_is_an_os_error_that_names_it(tmp_path, make):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="missing|file"):
        save_arrays(make(tmp_path) / "weights", SMALL)
    assert contents(tmp_path) == {tmp_path / "file": b"mine"}


def test_saving_over_a_folder_is_an_os_error(tmp_path):
    (tmp_path / "weights").mkdir()
    with pytest.raises(OSError, match="weights"):
        save_arrays(tmp_path / "weights", SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]


def test_a_new_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        (tmp_path / "usual").write_bytes(b"")
        save_arrays(tmp_path / "ours", SMALL)
    finally:
        os.umask(before)
    assert oct((tmp_path / "ours").stat().st_mode) == oct((tmp_path / "usual").stat().st_mode)


# Damage ----------------------------------------------------------------------------------------------------------------


def what_becomes_of(folder, data, unharmed=None):
    """Return "" if damaged bytes are refused as they should be, or load as `unharmed`. Else return what happens."""
    try:
        loaded = load(folder, data)
    except WeightsError as error:
        return "" if len(str(error).splitlines()) == 1 else "a message of several lines"
    except BaseException as error:  # a panic of Rust code is no Exception
        return repr(error)
    if unharmed is None:
        return "it loads"
    try:
        assert_same(loaded[0], unharmed[0])
        assert loaded[1] == unharmed[1]
    except AssertionError:
        return "other values, silently"
    return ""


def wrongs(folder, damaged, unharmed=None):
    found = {place: what_becomes_of(folder, data, unharmed) for place, data in damaged}
    assert found
    return {place: wrong for place, wrong in found.items() if wrong}


def flipped(data, positions, masks):
    """Yield the bytes with one of them changed: each position with each mask."""
    for position in positions:
        for mask in masks:
            damaged = bytearray(data)
            damaged[position] ^= mask
            yield (position, mask), damaged


BITS = [1 << bit for bit in range(8)]


def test_the_undamaged_file_loads(folder, small):
    loaded, texts = load(folder, small)
    assert_same(loaded, SMALL)
    assert texts == SMALL_TEXTS


def test_a_file_cut_at_any_length_is_refused(folder, small):
    assert wrongs(folder, ((length, small[:length]) for length in range(len(small)))) == {}
    assert "damaged: no readable file of arrays" in refusal(lambda: load(folder, small[:-1]))


@pytest.mark.parametrize("more", [b"\0", b" ", b"}", bytes(1000)])
def test_a_longer_file_is_refused(folder, small, more):
    assert wrongs(folder, [("behind", small + more), ("before", more + small)]) == {}
    assert wrongs(folder, [("twice", small + small)]) == {}


def test_a_flipped_bit_anywhere_is_refused(folder, small):
    assert wrongs(folder, flipped(small, range(len(small)), BITS)) == {}


def test_a_changed_byte_anywhere_is_refused(folder, small):
    assert wrongs(folder, flipped(small, range(len(small)), [0x55, 0xAA, 0x0F, 0xFF])) == {}


def test_a_flipped_bit_of_a_long_array_is_refused(folder):
    save_arrays(folder / "long", {"w": np.arange(2000.0)})
    data = (folder / "long").read_bytes()
    assert wrongs(folder, flipped(data, range(0, len(data), 97), BITS)) == {}


def test_a_flipped_bit_of_an_escape_is_refused_or_harmless(folder):
    r"""JSON writes the control character 31 as \u001f; \u001F is the same."""
    content = (SMALL, {"key": '\x1f\x0b\n"\\'})
    save_arrays(folder / "escapes", *content)
    data = (folder / "escapes").read_bytes()
    assert wrongs(folder, flipped(data, range(len(data)), BITS), content) == {}
    assert len(wrongs(folder, flipped(data, range(len(data)), BITS))) == 2


def test_exchanged_bytes_are_refused_or_harmless(folder, small):
    """For example, if a brace and the space behind it are swapped."""
    damaged = ((i, small[:i] + small[i : i + 2][::-1] + small[i + 2 :]) for i in range(len(small) - 1))
    assert wrongs(folder, damaged, (SMALL, SMALL_TEXTS)) == {}


@given(st.data())
def test_random_damage_is_refused_or_harmless(folder, small, data):
    damaged = bytearray(small)
    for position in data.draw(st.lists(st.integers(0, len(small) - 1), min_size=2, max_size=6)):
        damaged[position] = data.draw(st.integers(0, 255))
    assert what_becomes_of(folder, damaged, (SMALL, SMALL_TEXTS)) == ""


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(8))
@example(b"\xff" * 8)
@example(struct.pack("<Q", 2) + b"{}")
def test_any_other_bytes_are_refused(folder, data):
    assert "by save_arrays" in refusal(lambda: load(folder, data))


# Foreign and hostile files ---------------------------------------------------------------------------------------------


class Bomb:
    """An object that leaves a trace if it is unpickled."""

    exploded = False

    def __reduce__(self):
        return (exec, (f"import {__name__} as module; module.Bomb.exploded = True",))


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_the_bomb_explodes(monkeypatch):
    monkeypatch.setattr(Bomb, "exploded", False)
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.exploded


def test_pickles_are_refused_and_not_run(tmp_path):
    bomb = io.BytesIO()
    np.save(bomb, np.array([Bomb()]), allow_pickle=True)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / f"pickle {protocol}").write_bytes(pickle.dumps(Bomb(), protocol))
    (tmp_path / "object array").write_bytes(bomb.getvalue())
    write_zip(tmp_path / "object array in zip", {"w.npy": bomb.getvalue()})
    write_zip(tmp_path / "as of PyTorch", {"archive/data.pkl": pickle.dumps(Bomb())})
    for path in list(tmp_path.iterdir()):
        assert "no readable file of arrays" in refusal(lambda path=path: load_arrays(path))
    assert not Bomb.exploded


def test_the_formats_of_numpy_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    np.savez_compressed(tmp_path / "compressed.npz", w=np.ones(2))
    np.savez(tmp_path / "empty.npz")
    np.save(tmp_path / "w.npy", np.ones(2))
    np.savetxt(tmp_path / "w.txt", np.ones(2))
    for path in list(tmp_path.iterdir()):
        message = refusal(lambda path=path: load_arrays(path))
        assert message.startswith(f"{path}: no readable file of arrays")
        assert message.endswith("expected one by save_arrays")


def with_header(header, body=b""):
    """Return a file with this header, which is bytes or an object to be written as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def declaring(shape, offsets=(0, 8), dtype="F64", body=bytes(8)):
    return with_header({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, body)


def pair(first, second, body=bytes(16)):
    """Two arrays of one number each, at these offsets."""
    return with_header({k: {"dtype": "F64", "shape": [1], "data_offsets": v} for k, v in (("x", first), ("y", second))}, body)


X = b'"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}'

HOSTILE = {
    "giant": declaring([10**15]),
    "giant with offsets": declaring([10**15], (0, 8 * 10**15)),
    "giant in two axes": declaring([10**6, 10**9]),
    "beyond an index": declaring([10**30]),
    "beyond any float": declaring([10**400]),
    "overflowing to little": declaring([2**61, 8], (0, 0), body=b""),
    "overflowing to one": declaring([2**32 + 1, 2**32 - 1, 2**32 + 1]),
    "giant and empty": declaring([0, 10**30], (0, 0), body=b""),
    "empty beyond NumPy's index": declaring([2**63, 0], (0, 0), body=b""),
    "empty beyond any index": declaring([0, 2**64 - 1], (0, 0), body=b""),
    "empty beyond the address space": declaring([2**40, 0, 2**22], (0, 0), body=b""),
    "empty and long": declaring([2**40, 0], (0, 0), body=b""),
    "too many axes": declaring([1] * 65),
    "ten thousand axes": declaring([1] * 10_000),
    "negative": declaring([-1]),
    "twice negative": declaring([-1, -1]),
    "minus zero": declaring([-0.0], (0, 0), body=b""),
    "fractional": declaring([1.5]),
    "a float": declaring([1.0]),
    "boolean": declaring([True]),
    "a text": declaring(["1"]),
    "no shape": declaring(None),
    "a number as shape": declaring(1),
    "not a number": declaring([float("nan")]),
    "too short": declaring([2], (0, 16), body=bytes(15)),
    "too long": declaring([2], (0, 16), body=bytes(17)),
    "offsets of another length": declaring([2], (0, 8)),
    "negative offset": declaring([1], (-8, 0)),
    "offsets in reverse": declaring([1], (8, 0)),
    "offsets beyond the file": declaring([1], (8, 16)),
    "offsets beyond an index": declaring([1], (0, 2**64 - 1)),
    "offsets that wrap": declaring([1], (2**64 - 8, 2**64)),
    "one offset": declaring([1], (0,)),
    "three offsets": declaring([1], (0, 8, 16)),
    "the same offsets": pair([0, 8], [0, 8]),
    "overlapping": pair([0, 8], [4, 12]),
    "a gap": pair([0, 8], [16, 24], bytes(24)),
    "not from the beginning": pair([8, 16], [16, 24], bytes(24)),
    "the header as data": declaring([1], (-70, -62)),
    "unknown dtype": declaring([1], dtype="nonsense"),
    "dtype of several lines": declaring([1], dtype="F\n6\r4\u2028"),
    "dtype of a number": declaring([1], dtype=8),
    "object": declaring([1], dtype="O"),
    "complex": declaring([1], dtype="C64"),
    "bfloat16": declaring([4], dtype="BF16"),
    "8 bits": declaring([8], dtype="F8_E4M3"),
    "6 bits": declaring([8], (0, 6), dtype="F6_E2M3", body=bytes(6)),
    "4 bits": declaring([16], dtype="F4"),
    "an array twice": with_header(b"{" + X + b"," + X + b"}", bytes(8)),
    "a field twice": with_header(b"{" + X.replace(b'"dtype"', b'"dtype":"F64","dtype"') + b"}", bytes(8)),
    "a field too few": with_header({"x": {"dtype": "F64", "shape": [1]}}, bytes(8)),
    "an array of null": with_header({"x": None}),
    "an array of a list": with_header({"x": []}),
    "metadata of numbers": with_header({"__metadata__": {"sha256": 1}}),
    "metadata of a list": with_header({"__metadata__": ["sha256"]}),
    "metadata of null": with_header({"__metadata__": None}),
    "nested metadata": with_header({"__metadata__": {"sha256": {"sha256": ""}}}),
    "metadata twice": with_header(b'{"__metadata__":{},"__metadata__":{}}'),
    "no arrays": with_header({}),
    "a list": with_header([]),
    "a text as header": with_header("{}"),
    "null": with_header(None),
    "unclosed": with_header(b"{" + X, bytes(8)),
    "unclosed text": with_header(b'{"x'),
    "a comma too many": with_header(b"{" + X + b",}", bytes(8)),
    "two objects": with_header(b"{" + X + b"}{}", bytes(8)),
    "a null byte": with_header(b"{" + X + b"}\0", bytes(8)),
    "a byte order mark": with_header(b"\xef\xbb\xbf{" + X + b"}", bytes(8)),
    "UTF-16": with_header(("{" + X.decode() + "}").encode("utf-16"), bytes(8)),
    "a comment": with_header(b"{" + X + b"/* */}", bytes(8)),
    "a call": with_header(b"__import__('os').getpid()"),
    "invalid UTF-8": with_header(b'{"\xff":1}'),
    "overlong UTF-8": with_header(b'{"\xc0\xaf":1}'),
    "half a character": with_header(b'{"\\ud800":' + X[4:] + b"}", bytes(8)),
    "deep lists": with_header(b"[" * 100_000),
    "deep objects": with_header(b'{"x":' * 100_000),
    "deep shape": with_header(b'{"x":{"dtype":"F64","shape":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
    "deep unknown field": with_header(b'{"x":{"y":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
    "white space": with_header(b" " * 60_000),
    "an empty header": with_header(b""),
    "no header": struct.pack("<Q", 8),
    "half a length": b"\x08\0\0\0",
    "a header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "a giant header": struct.pack("<Q", 2**40) + b"{}",
    "a header beyond an index": struct.pack("<Q", 2**64 - 1) + b"{}",
    "a header that wraps": struct.pack("<Q", 2**64 - 8) + b"{}",
    "nothing": b"",
}


@contextmanager
def at_most_a_megabyte():
    """Fail if the block allocates more, even if it never uses the memory."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("expected", [None, {"x": (1,)}, {"x": (2**40, 0, 2**22)}], ids=["any", "one number", "empty giant"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_refused_before_anything_is_allocated(tmp_path, kind, expected):
    (tmp_path / "file").write_bytes(HOSTILE[kind])
    with at_most_a_megabyte():
        message = refusal(lambda: load_arrays(tmp_path / "file", expected))
    assert message.startswith(f"{tmp_path / 'file'}: ")


def test_a_header_that_is_not_hostile_reaches_the_checksum(folder):
    """This shows that the hostile headers are not refused because of a mistake in these tests."""
    for data in (declaring([1]), pair([0, 8], [8, 16]), with_header(b"{" + X + b"}", bytes(8))):
        assert "has no checksum" in refusal(lambda data=data: load(folder, data))


@pytest.mark.parametrize("name", ["two\nlines", "a\u2028b", "\r", "a\x85b"])
def test_names_of_several_lines_stand_on_one(tmp_path, name):
    save_arrays(tmp_path / "file", {name: np.ones(1)})
    assert "x is missing" in refusal(lambda: load_arrays(tmp_path / "file", {"x": (1,)}))
    refusal(lambda: load_arrays(tmp_path / "file", {name: (2,)}))


@given(st.text('{}[]":,-+.eE019 \n\\u\0truefalsnxF64dypdtaof_', max_size=80))
@example('{"x":{"dtype":"F64","shape":[')
@example('{"__metadata__":{"sha256":""}}')
@example("\\")
def test_a_garbled_header_is_refused(folder, text):
    refusal(lambda: load(folder, with_header(text.encode())))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "no readable file of arrays" in refusal(lambda: load_arrays(tmp_path / "file"))


@pytest.mark.parametrize("kind", [lambda path: path, str], ids=["Path", "str"])
def test_a_folder_is_refused(tmp_path, kind):
    assert refusal(lambda: load_arrays(kind(tmp_path))) == f"{tmp_path}: is a directory, expected a file of arrays"


@pytest.mark.parametrize("kind", [lambda path: path, str], ids=["Path", "str"])
def test_a_missing_file_is_a_file_not_found_error_that_names_it(tmp_path, kind):
    layer = tl.Linear(2, 1, rng=np.random.default_rng(0))
    for call in (load_arrays, lambda path: tl.load_weights(path, layer)):
        with pytest.raises(FileNotFoundError, match="weights"):
            call(kind(tmp_path / "weights"))


def test_a_link_to_nowhere_is_a_file_not_found_error(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "link")


# Names, shapes and dtypes ----------------------------------------------------------------------------------------------


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
