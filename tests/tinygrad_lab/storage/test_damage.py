"""A damaged file is refused, or the damage is harmless."""

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers.stored import SMALL, SMALL_TEXTS, assert_same, load, refusal
from tinygrad_lab.storage.arrays import WeightsError, save_arrays


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
