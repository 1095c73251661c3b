"""Fixtures of stored arrays."""

import pytest

from tests.helpers.stored import SMALL, SMALL_TEXTS
from tinygrad_lab.storage.arrays import save_arrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the tests whose examples overwrite one file."""
    return tmp_path_factory.mktemp("arrays")


@pytest.fixture(scope="module")
def small(folder):
    """The bytes of a small file."""
    save_arrays(folder / "small", SMALL, SMALL_TEXTS)
    return (folder / "small").read_bytes()
