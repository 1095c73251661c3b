"""Stored arrays in tests: a small file, and what loading does with it."""

import json
import struct
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

from tinygrad_lab.storage.arrays import WeightsError, load_arrays

SMALL = {"w": np.array([[1.5, -2.0]]), "b": np.array(0.25, np.float32), "m": np.array([True, False])}
SMALL_TEXTS = {"note": "é 'quoted'"}


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


def with_header(header, body=b""):
    """Return a file with this header, which is bytes or an object to be written as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def declaring(shape, offsets=(0, 8), dtype="F64", body=bytes(8)):
    return with_header({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, body)


def places(value, path=()):
    """Yield the paths to all values in a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


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
