"""Foreign and hostile files are refused, and nothing of them runs."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_lab as tl
from tests.helpers.stored import at_most_a_megabyte, declaring, load, refusal, with_header
from tinygrad_lab.storage.arrays import load_arrays, save_arrays


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
        assert message.endswith("expected a file by save_arrays")


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
    assert refusal(lambda: load_arrays(kind(tmp_path))) == f"{tmp_path}: is a directory, expected a file by save_arrays"


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
