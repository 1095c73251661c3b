"""A file is there in full or as it was, whatever fails while it is written."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.helpers.stored import SMALL, assert_same
from tinygrad_lab.storage import arrays as stored_arrays
from tinygrad_lab.storage.arrays import load_arrays, save_arrays
from tinygrad_lab.storage.files import replacing


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
