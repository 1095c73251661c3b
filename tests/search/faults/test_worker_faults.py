"""Workers that die, hang or are interrupted at many times: the search still ends with the right ranking.

Faults that take little time are in tests/search/pool/test_pool.py.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from search import GridSearch, ParameterGrid, Store, StoreError
from search.pool import open_pool
from search.testing import build_polynomial
from search.trials.running import run_fits
from tests.helpers import ROOT, searches
from tests.helpers.faulty import build_polynomial_slowly, collect, make_chunks, problem, starts
from tests.helpers.searches import SEARCH_GRID, data
from tests.search.pool.test_dask import cluster

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_FOLDER", str(tmp_path))
    return tmp_path


def ranking_bytes(result, folder):
    result.ranking.to_csv(folder / "ranking.csv")
    return (folder / "ranking.csv").read_bytes()


def running(condition):
    """The ids of processes that meet a condition on the fields of /proc/*/stat after the name."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] not in "ZX" and condition(fields):
            found.append(int(file.parent.name))
    return found


def workers():
    """The ids of the workers of this process, without the resource tracker, which is also a child."""
    children = running(lambda fields: int(fields[1]) == os.getpid())
    return [child for child in children if "spawn_main" in command_of(child)]


def command_of(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:  # it has just ended
        return ""


def test_a_worker_that_hangs_with_the_interpreter_locked(count):
    chunks = make_chunks(("none", "hang with the interpreter locked", "none"), ("none",))
    with open_pool(problem(), workers=2, time_limit=1.0) as pool:
        results = collect(pool, run_fits, chunks)
    count("3 workers")
    assert [results[number].status for number in range(4)] == ["done", "crashed", "done", "done"]
    assert results[1].reason == "its worker died 3 times: no result within 1 s"
    assert results[1].seconds >= 1.0
    assert [starts(number) for number in range(4)] == [1, 3, 2, 1]
    assert workers() == []


def test_a_worker_whose_pipe_outlives_it(folder, count):
    with open_pool(problem(), workers=2) as pool:
        results = collect(pool, run_fits, make_chunks(("die while a child holds the pipe",), ("none",)))
    (folder / "finished").touch()
    count("3 workers")
    assert results[0].reason == "its worker died 3 times: exit code 7"
    assert results[1].status == "done"
    assert not (folder / "child gave up").exists()


def test_a_worker_that_closes_its_pipe(count):
    with open_pool(problem(), workers=2) as pool:
        results = collect(pool, run_fits, make_chunks(("close all files",), ("none",)))
    count("3 workers")
    assert results[0].status == "crashed"
    assert results[0].reason.startswith("its worker died 3 times: ")
    assert results[1].status == "done"


def test_an_interpreter_locked_for_ever_does_not_outlive_an_error():

    def refuse(*_):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"), open_pool(problem(), workers=2) as pool:
        pool.run(run_fits, make_chunks(("hang with the interpreter locked",), ("none",)), refuse)
    assert workers() == []


@pytest.mark.parametrize("seed", range(3))
def test_ranking_of_a_search_whose_workers_are_killed_at_random(seed, folder, count):
    grid = ParameterGrid(degree=[1, 2, 3, 4], lr=[0.1, 0.2, 0.3, 0.5], epochs=[20])
    reference = ranking_bytes(GridSearch(build_polynomial, grid, store=None, workers=1).run(*data(), progress=False), folder)
    chosen = random.Random(seed)
    ended = threading.Event()
    killed = []

    def kill_workers():
        # A pause longer than three fits and a start: no fit is hit three times.
        while not ended.wait(chosen.uniform(1.0, 2.0)):
            if alive := workers():
                killed.append(chosen.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_workers)
    killer.start()
    try:
        search = GridSearch(build_polynomial_slowly, grid, store=folder / "search.sqlite", workers=2)
        result = search.run(*data(), progress=False)
    finally:
        ended.set()
        killer.join()
    count(f"{len(killed)} of them")
    assert killed
    assert ranking_bytes(result, folder) == reference


def test_a_fit_that_kills_workers_of_dask_is_recorded_as_crashed(folder, count):
    variables = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}  # Dask tries a task four times, in each of our tries
    with (
        cluster(folder, "--nanny", **variables) as (client, _),
        open_pool(problem(), executor=client.get_executor()) as pool,
    ):
        results = collect(pool, run_fits, make_chunks(("none", "segfault", "none"), ("none",)))
    count("3 workers")
    assert [results[number].status for number in range(4)] == ["done", "crashed", "done", "done"]
    assert results[1].reason.startswith("its worker died 3 times: KilledWorker: ")
    assert starts(1) == 3


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_ctrl_c_at_any_moment(times, folder, count):
    """No process is left, finished fits are kept, and the resumed search has the ranking of one without interruption."""
    reference = ranking_bytes(GridSearch(build_polynomial, SEARCH_GRID, store=None).run(*data(), progress=False), folder)
    store, csv, tokens = folder / "search.sqlite", folder / "csv", folder / "tokens"
    tokens.mkdir()

    def start(limit):
        return subprocess.Popen(
            [sys.executable, searches.__file__, store, csv, tokens, str(limit)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
        )

    finished = 0
    chosen = random.Random(times)
    moments = [chosen.uniform(0.3, 2.0) for _ in range(10)]
    for moment in moments:
        with start(limit=len(list(tokens.iterdir())) + 2) as process:
            try:
                time.sleep(moment)
                for _ in range(times):
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
                    time.sleep(0.01)
                process.wait(60)
            finally:
                process.kill()
        deadline = time.monotonic() + 10  # the resource tracker ends a moment later
        while left := running(lambda fields, session=process.pid: int(fields[3]) == session):
            assert time.monotonic() < deadline, f"{left} are left"
            time.sleep(0.01)
        assert finished_fits(store) >= finished
        finished = finished_fits(store)
    count(f"{len(moments)} searches, {times} times each, {finished} fits kept")
    assert not csv.exists()
    with start(limit=10**6) as process:
        assert process.wait(60) == 0
    assert csv.read_bytes() == reference


def finished_fits(path):
    try:
        with Store(path) as store:
            return len(store.outcomes())
    except StoreError:  # interrupted before there was a store
        return 0
