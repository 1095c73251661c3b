"""The pool: workers that die or are slow, executors, builders that cannot be sent. tests/search/faults has hanging workers."""

import os
import signal
import subprocess
import sys
import threading
import types
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from search import GridSearch, Outcome, ParameterGrid, SearchError
from search.pool import check_build, open_pool
from search.pool.interrupts import interrupts_held_back
from search.pool.tasks import Tasks
from search.trials.fits import Problem
from search.trials.running import run_fits
from tests.helpers import faulty
from tests.helpers.faulty import collect, make_chunks, problem, starts
from tests.helpers.searches import SEARCH_GRID, build_process_id, build_scored, data

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder for the files of builders."""
    monkeypatch.setenv("FAULTY_FOLDER", str(tmp_path))
    return tmp_path


# ---- deaths ----------------------------------------------------------------------------------------------------------


def test_a_fault_costs_its_fit_three_tries_and_the_others_none():
    faults = {
        "SIGKILL": "killed by signal 9 (SIGKILL)",
        "segfault": "killed by signal 11 (SIGSEGV)",
        "exit": "exit code 7",
        "hang": "no result within 1 s",
    }
    chunks = make_chunks(*[("none", fault, "none") for fault in faults], ("none",) * 3)
    with open_pool(problem(), workers=2, time_limit=1.0) as pool:
        results = collect(pool, run_fits, chunks)
    assert len(results) == sum(map(len, chunks))
    crashed = {number: result.reason for number, result in results.items() if result.status != "done"}
    assert crashed == {3 * i + 1: f"its worker died 3 times: {cause}" for i, cause in enumerate(faults.values())}
    assert all(results[number].status == "crashed" for number in crashed)
    repeated = {number: starts(number) for number in results if starts(number) > 1}
    # All Trainers of a chunk are built before the first training, so a fit after a fault is built twice and trained once.
    assert repeated == {3 * i + 1: 3 for i in range(4)} | {3 * i + 2: 2 for i in range(4)}


def test_a_worker_that_dies_for_good_is_replaced_and_no_other():
    with open_pool(problem(), workers=1, time_limit=60.0) as pool:
        before = collect(pool, run_fits, make_chunks(("none", "none")))
        during = collect(pool, run_fits, make_chunks(("none", "exit")))
        after = collect(pool, run_fits, make_chunks(("none",), ("none",)))
    first, second, last = ({result.validation_loss for result in results.values()} for results in (before, during, after))
    assert len(first) == 1
    assert {loss for loss in second if loss == loss} == first
    assert len(last) == 1
    assert last != first


def test_exceptions_end_no_worker():
    faults = ["none", "out of memory", "exception with a lock", "leave", "none"]
    with open_pool(problem(), workers=1, time_limit=60.0) as pool:
        results = collect(pool, run_fits, make_chunks(faults, ["none"]))
    assert [results[number].status for number in range(6)] == ["done", "failed", "failed", "failed", "done", "done"]
    assert results[1].reason == "MemoryError: cannot allocate 64 GiB"
    assert results[2].reason.startswith("LockedError: ('stumbled', <unlocked _thread.lock object")
    assert results[3].reason == "SystemExit: no licence"
    assert len({results[number].validation_loss for number in (0, 4, 5)}) == 1, "it is one process"
    assert [starts(number) for number in range(6)] == [1] * 6


@pytest.mark.parametrize("elsewhere", [False, True], ids=["pool", "executor"])
def test_results_that_cannot_be_sent(elsewhere):
    faults = ["weights that cannot be sent", "weights that cannot be read", "none"]
    executor = ThreadPoolExecutor(1) if elsewhere else None
    with open_pool(problem(), workers=2, executor=executor) as pool:
        results = collect(pool, run_fits, make_chunks(faults, keep=True))
    assert [results[number].status for number in range(3)] == ["failed", "failed", "done"]
    told = "its result cannot be sent from a worker process: "
    assert results[0].reason == f"{told}TypeError: cannot pickle '_thread.lock' object"
    assert results[1].reason == f"{told}ValueError: invalid literal for int() with base 10: 'no number'"
    assert results[2].trained.state_dict == {"weight": 0.0}


def test_work_that_looks_ahead_is_not_tried_again():
    with open_pool(problem(), workers=2) as pool:
        results = collect(pool, faulty.die, make_chunks(("none", "none"), ("none", "none", "none")), retry=False)
    assert results == {0: Outcome("done", 1.0, 1.0), 2: Outcome("done", 1.0, 1.0)}


def test_ranking_does_not_depend_on_deaths(folder):
    x, y = data()
    grid = ParameterGrid(degree=[1, 2, 3], lr=[0.5], epochs=[20])

    def ranking(workers, build):
        result = GridSearch(build, grid, store=None, workers=workers).run(x, y, progress=False)
        result.ranking.to_csv(folder / "ranking.csv")
        return (folder / "ranking.csv").read_bytes()

    deadly = ranking(2, faulty.build_that_dies_once)
    assert len(list(folder.glob("degree *"))) == len(grid), "each has died once"
    assert deadly == ranking(1, faulty.build_that_dies_once)


@pytest.mark.parametrize("is_certain", [False, True])
def test_the_last_try_has_the_machine_to_itself_unless_the_blame_is_certain(is_certain):
    chunks = make_chunks(("none", "none"), ("none",))
    tasks = Tasks(chunks, lambda *_: None)
    first = tasks.next(n_running=0)
    for fit in first:
        tasks.lost([fit], "SIGKILL")
    for fit in first:
        assert tasks.next(n_running=1) == (fit,)
        tasks.lost([fit], "SIGKILL", is_certain=is_certain)
    again = [(fit,) for fit in first]
    others = [chunks[1], None]
    assert [tasks.next(n_running=1) for _ in range(4)] == (again + others if is_certain else [*others, None, None])
    assert [tasks.next(n_running=0) for _ in range(3)] == ([None] * 3 if is_certain else [*again, None])


# ---- the start of a worker -------------------------------------------------------------------------------------------


def problem_of_module(folder, monkeypatch, source):
    """A problem whose builder is in a module that does something when a worker imports it."""
    (folder / "of_a_user.py").write_text(
        f"import os\n{source}\nfrom tests.helpers.faulty import build as inner\nbuild = inner\n"
    )
    module = types.ModuleType("of_a_user")
    module.build = lambda *_: None
    module.build.__module__, module.build.__qualname__ = "of_a_user", "build"
    monkeypatch.setitem(sys.modules, "of_a_user", module)
    monkeypatch.syspath_prepend(folder)
    known = problem()
    return Problem(module.build, known.x, known.y, known.folds)


@pytest.mark.parametrize(
    ("source", "message", "imports"),
    [
        ("import nowhere", "cannot load the search: ModuleNotFoundError: No module named 'nowhere'", 1),
        ("os._exit(3)", "died at its start: exit code 3 .the script runs the search outside `if __name__ ==", 1),
        ("os.kill(os.getpid(), 9)", r"died at its start: killed by signal 9 \(SIGKILL\)", 3),
    ],
)
def test_a_worker_that_cannot_start(source, message, imports, folder, monkeypatch):
    source = f"open({str(folder / 'log')!r}, 'a').write('imported ')\n{source}"
    with (
        pytest.raises(SearchError, match=f"a worker process {message}") as caught,
        open_pool(problem_of_module(folder, monkeypatch, source), workers=1, time_limit=60.0) as pool,
    ):
        collect(pool, run_fits, make_chunks(("none",)))
    assert "\n" not in str(caught.value)
    assert (folder / "log").read_text().count("imported") == imports


def test_a_worker_that_is_killed_once_while_it_starts(folder, monkeypatch):
    source = f"name = {str(folder / 'marker')!r}\nif not os.path.exists(name): open(name, 'w'); os.kill(os.getpid(), 9)"
    with open_pool(problem_of_module(folder, monkeypatch, source), workers=1, time_limit=60.0) as pool:
        results = collect(pool, run_fits, make_chunks(("none",)))
    assert results[0].status == "done"
    assert starts(0) == 1


def test_no_more_workers_are_started_than_there_are_chunks():
    with open_pool(problem(), workers=3) as pool:
        results = collect(pool, run_fits, make_chunks(("none",) * 4))
        assert len(pool._workers) == 1
    assert len({result.validation_loss for result in results.values()}) == 1


# ---- time limit ------------------------------------------------------------------------------------------------------


def test_with_a_time_limit_one_worker_is_a_process_of_its_own():
    rows = GridSearch(build_process_id, [{"n": 1}], store=None, workers=1, time_limit=60.0).run(*data(), progress=False)
    assert os.getpid() not in rows[0].losses


@pytest.mark.parametrize("time_limit", [0, -1.0, float("nan"), float("inf"), True, "2"])
def test_bad_time_limit(time_limit):
    with pytest.raises(ValueError, match=f"time_limit={time_limit!r}, expected a number of seconds above 0"):
        GridSearch(build_scored, SEARCH_GRID, time_limit=time_limit)


def test_time_limit_of_an_executor():
    with pytest.raises(ValueError, match="time_limit=2 with an executor, whose workers cannot be stopped from here"):
        GridSearch(build_scored, SEARCH_GRID, executor=Executor(), time_limit=2)


# ---- executors -------------------------------------------------------------------------------------------------------


class KilledWorker(Exception):  # noqa: N818
    """It has the name of Dask's error."""


class MortalExecutor(Executor):
    """Runs chunks in this process; the fit of one number kills its worker."""

    def __init__(self, deadly, error):
        self.deadly = deadly
        self.error = error
        self.submitted = []
        self.calls = []

    def submit(self, function, work, problem, chunk, /):
        numbers = [fit.configuration["number"] for fit in chunk]
        self.submitted.append(numbers)
        self.calls.append(function.args)
        future = Future()
        if self.deadly in numbers:
            future.set_exception(self.error)
        else:
            future.set_result(function(work, problem, chunk))
        return future


def error_of_dask():
    """What Dask's executor raises if its worker is killed at an unlucky moment: it reads an outcome that is not there."""
    try:
        exec("typ, exc, tb = ('cancelled',)", {"__name__": "distributed.cfexecutor"})
    except ValueError as error:
        return error


@pytest.mark.parametrize("error", [KilledWorker("of chunk-1"), BrokenProcessPool("of chunk-1"), error_of_dask()])
def test_a_worker_of_an_executor_that_dies(error):
    executor = MortalExecutor(1, error)
    with open_pool(problem(), workers=2, executor=executor) as pool:
        results = collect(pool, run_fits, make_chunks(("none",) * 3, ("none",) * 2))
    assert executor.submitted == [[0, 1, 2], [3, 4], [0], [1], [2], [1]]
    assert {number: result.status for number, result in results.items()} == {0: "done", 1: "crashed"} | dict.fromkeys(
        (2, 3, 4), "done"
    )
    assert results[1].reason == f"its worker died 3 times: {type(error).__name__}: {error}"
    assert len(set(executor.calls)) == len(executor.calls), "a call that equals another is not made by Dask"


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'search'"), ValueError("of the user")])
def test_an_executor_that_fails(error):
    executor = MortalExecutor(2, error)
    done = []
    with (
        pytest.raises(SearchError, match=f"could not run a chunk of fits: {type(error).__name__}: {error}; a"),
        open_pool(problem(), workers=2, executor=executor) as pool,
    ):
        pool.run(run_fits, make_chunks(("none",), ("none", "none")), lambda fit, _: done.append(fit.configuration["number"]))
    assert done == [0]


def test_an_executor_that_is_broken():
    with (
        pytest.raises(SearchError, match=r"the executor is broken, since a worker process died .*: BrokenProcessPool; a"),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        open_pool(problem(), executor=executor) as pool,
    ):
        collect(pool, run_fits, make_chunks(("exit",)))


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


@linux
def test_ctrl_c_waits_while_a_worker_is_started_and_does_not_reach_it():
    statuses = []

    def interrupted():
        with interrupts_held_back():
            # The system may choose any thread.
            other_thread = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
            other_thread.start()
            other_thread.join()
            signal.raise_signal(signal.SIGINT)
            statuses.append(subprocess.run(["cat", "/proc/self/status"], check=True, capture_output=True, text=True).stdout)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGINT, handler)
    [status] = statuses
    [blocked] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk")]
    assert blocked >> (signal.SIGINT - 1) & 1


# ---- builders --------------------------------------------------------------------------------------------------------


class Factory:
    """A builder with state."""

    def __init__(self, **parts):
        self.__dict__.update(parts)

    def __call__(self, configuration, rng):
        raise NotImplementedError

    def make(self, configuration, rng):
        raise NotImplementedError


class Slotted(Factory):
    __slots__ = ("lock",)

    def __init__(self, lock):
        self.lock = lock


class WithoutItsLock(Factory):
    """Does not pickle its lock, but all its other attributes."""

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "lock"}


def cyclic():
    outer = Factory(lock=None)
    outer.inner = Factory(outer=outer, lock=threading.Lock())
    return outer


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (Factory(model=Factory(lock=LOCK)), ".model.lock"),
        (Factory(good=1, models={"a": [1, LOCK]}), ".models['a'][1]"),
        (Factory(model=Factory(lock=LOCK)).make, ".__self__.model.lock"),
        (partial(build_scored, 1, model=Factory(lock=LOCK)), ".keywords['model'].lock"),
        (partial(build_scored, LOCK), ".args[0]"),
        (Slotted(LOCK), ".lock"),
        (WithoutItsLock(lock=LOCK, other=LOCK), ".other"),
        (cyclic(), ".inner.lock"),
        (Factory(activation=lambda x: x), ".activation"),
    ],
)
def test_the_part_of_a_builder_that_cannot_be_sent_is_named(build, part):
    with pytest.raises(TypeError) as caught:
        check_build(build)
    why = "can't pickle|cannot pickle '_thread.lock' object" if part != ".activation" else "Can't .* <function <lambda>"
    assert caught.match(f"cannot be sent to a worker process because of build{part}: ".translate(ESCAPES) + f".*({why})")
    assert "\n" not in str(caught.value)


ESCAPES = str.maketrans({character: f"\\{character}" for character in ".[]'"})


def test_a_builder_that_leaves_its_lock_behind_is_good():
    check_build(WithoutItsLock(lock=LOCK))
