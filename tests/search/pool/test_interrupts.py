"""Ctrl-C and signals during a native call: it ends soon, and leaves neither partial results nor a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from search import Store
from tests.helpers import ROOT, interrupted
from tests.helpers.compilation import compiling
from tests.helpers.searches import data

DEADLINE = 20.0  # seconds; long, so that no test fails on a slow machine

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")


@pytest.fixture
def start(tmp_path):
    """Start the script, wait until its trainings run, and yield it with its processes and their folder."""
    processes = []

    def start_script(*arguments, trainings):
        folder = tmp_path / "under way"
        folder.mkdir()
        command = [sys.executable, interrupted.__file__, *map(str, arguments), str(folder)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        processes.append(process)
        wait_for(lambda: len(list(folder.iterdir())) == trainings, process)
        time.sleep(0.1)  # the native call has begun
        return process, folder

    yield start_script
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition, process=None, deadline=60.0):
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def is_running(process_id):
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@compiling
@pytest.mark.parametrize("what", ["epochs", "samples"])
def test_ctrl_c_ends_a_fit_and_leaves_its_weights_and_its_history(what, start):
    process, folder = start("fit", what, trainings=1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE)
    print(f"ended in {time.monotonic() - begin:.2f} s")
    assert process.returncode == -signal.SIGINT or process.returncode == 130, errors
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    with np.load(folder / "history.npz") as history, np.load(folder / "weights.npz") as weights:
        assert len(history["train_loss"]) == len(history["lr"]) >= {"epochs": 2000, "samples": 2}[what]
        assert np.isfinite(history["train_loss"]).all()
        assert len(weights) == 6
        assert all(np.isfinite(weight).all() for weight in weights.values())


@linux
@compiling
@pytest.mark.parametrize(
    ("command", "ending"), [("search", signal.SIGINT), ("search", signal.SIGKILL), ("deaf-search", signal.SIGINT)]
)
def test_an_ended_search_leaves_no_worker_in_a_native_call_and_can_be_resumed(command, ending, start, tmp_path):
    store = tmp_path / "search.sqlite"
    process, folder = start(command, store, trainings=2)
    workers = [int(file.name) for file in folder.iterdir()]
    assert all(map(is_running, workers))
    begin = time.monotonic()
    process.send_signal(ending)
    _, errors = process.communicate(timeout=DEADLINE)
    wait_for(lambda: not any(map(is_running, workers)), deadline=DEADLINE)
    print(f"ended in {time.monotonic() - begin:.2f} s")
    assert process.returncode in ((-signal.SIGINT, 130) if ending == signal.SIGINT else (-signal.SIGKILL,)), errors
    with Store(store) as kept:
        finished = kept.outcomes()
    assert {outcome.status for outcome in finished.values()} == {"done"}
    assert len(finished) == 4, "the short fits"

    resumed = interrupted.make_search(store, workers=1).run(*data(), progress=False)
    whole = interrupted.make_search(None, workers=1).run(*data(), progress=False)
    assert [row.status for row in resumed] == ["done"] * 4
    for row, same in zip(resumed, whole, strict=True):
        assert row.configuration == same.configuration
        np.testing.assert_allclose(row.losses, same.losses, rtol=1e-9)
