"""A search on Dask: a scheduler and two worker processes on this machine."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from distributed import Client

from search import GridSearch
from search.pool import open_pool
from search.testing import build_polynomial
from search.trials.running import run_fits
from tests.helpers import ROOT, faulty
from tests.helpers.faulty import collect, make_chunks, problem, starts
from tests.helpers.searches import SEARCH_GRID, data


@contextmanager
def cluster(folder, *options, **variables):
    """Start a scheduler and two workers, and yield a client and the workers."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FAULTY_FOLDER": str(folder)} | variables
    address = folder / "scheduler.json"
    local = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", address]
    commands = [["scheduler", "--port", "0"], *[["worker", "--nthreads", "1", *options]] * 2]
    with (folder / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command, *local], env=environment, cwd=folder, stdout=log, stderr=log
            )
            for command in commands
        ]
    try:
        deadline = time.monotonic() + 60
        while not address.exists():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)
        with Client(scheduler_file=str(address), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield client, processes[1:]
            client.shutdown()
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_FOLDER", str(tmp_path))
    return tmp_path


def ranking_bytes(search, folder):
    search.run(*data(), progress=False).ranking.to_csv(folder / "ranking.csv")
    return (folder / "ranking.csv").read_bytes()


def documented_search(address, store, **names):
    """Run the lines of docs/cluster.md, and return the client and the search."""
    blocks = re.findall("```python\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"), re.DOTALL)
    [lines] = [block for block in blocks if "SCHEDULER" in block]
    assert len([line for line in lines.splitlines() if line]) == 3
    for name, value in (("tcp://SCHEDULER:8786", address), ("search.sqlite", str(store))):
        assert name in lines
        lines = lines.replace(name, value)
    exec(lines, names)
    return names["client"], names["search"]


def test_ranking_is_the_local_one_though_a_worker_is_killed_half_way(folder):
    with cluster(folder, "--no-nanny") as (client, workers):
        address = client.scheduler.address
        found_client, search = documented_search(
            address, folder / "search.sqlite", GridSearch=GridSearch, build=faulty.build_that_dies_half_way, grid=SEARCH_GRID
        )
        with found_client:
            found = ranking_bytes(search, folder)
        died = int((folder / "died").read_text())
        [dead] = [worker for worker in workers if worker.pid == died]
        assert dead.wait(60) == -9
        [other] = [worker for worker in workers if worker.pid != died]
        assert other.poll() is None
    assert found == ranking_bytes(GridSearch(build_polynomial, SEARCH_GRID, store=None, workers=1), folder)


def test_a_chunk_that_equals_another_is_run_all_the_same(folder):
    with cluster(folder, "--no-nanny") as (client, _), open_pool(problem(), executor=client.get_executor()) as pool:
        chunks = make_chunks(("none", "none"))
        collect(pool, run_fits, chunks)
        collect(pool, run_fits, chunks)
    assert [starts(0), starts(1)] == [2, 2]
