"""Digests that are in files: their values must not change, or files of earlier versions are refused."""

import numpy as np
import pytest

from tinygrad_lab.storage.arrays import CHECKSUM, arrays_to_bytes
from tinygrad_lab.storage.description import describe
from tinygrad_lab.storage.digests import digest_arrays

ARRAYS = [np.arange(6.0).reshape(2, 3).T, np.array([True, False]), np.array(2, "u2"), np.zeros((0, 3), "f4")]


def test_the_digest_of_arrays_in_a_checkpoint_is_that_of_earlier_versions():
    assert digest_arrays(ARRAYS) == "6d2fe0ae412e5f543ee613312a3a3fcb04058eed5fcd4fc22adc2786cfb7ac6b"
    assert describe(ARRAYS[0]) == "array ecff58bfd277608e1820cd438f766a4e1a05d38261ecd4a596c388aa17fd3642"


def test_the_checksum_of_a_file_is_that_of_earlier_versions():
    data = arrays_to_bytes({"b": ARRAYS[0], "a": ARRAYS[1], "c": np.arange(3, dtype=">f4")}, {"author": "Ada"})
    assert f'"{CHECKSUM}":"c2a3a9f8b6d14ee97b0a26dab4e00820013c21d271f601d52aa637ec2cc593ca"'.encode() in data


@pytest.mark.parametrize("array", ARRAYS, ids=lambda x: str(x.dtype))
def test_the_byte_order_and_the_layout_in_memory_do_not_count(array):
    assert digest_arrays([array.astype(array.dtype.newbyteorder(">"))]) == digest_arrays([np.array(array, order="F")])


def test_shapes_dtypes_elements_and_the_order_of_arrays_count():
    x = np.array([1.0, 2.0])
    others = [[x], [x[None]], [x.astype("f4")], [x.astype("i8")], [x + 1.0], [x, x], [x[:1], x[1:]], [x[1:], x[:1]], []]
    assert len({digest_arrays(arrays) for arrays in others}) == len(others)
