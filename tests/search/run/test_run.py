import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from inspect import signature
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from search import GridSearch, KFold, ParameterGrid, Search, Store, StoreError
from search.testing import build_polynomial
from tests.helpers import ROOT, searches
from tests.helpers.searches import (
    SEARCH_GRID,
    ScoredTrainer,
    build_process_id,
    build_scored,
    build_troubled,
    build_with_token,
    data,
)

N_FITS = 4 * len(SEARCH_GRID)


def ranking_bytes(result, folder):
    result.ranking.to_csv(folder / "ranking.csv")
    return (folder / "ranking.csv").read_bytes()


def run(grid=SEARCH_GRID, build=build_polynomial, store=None, workers=1, **arguments):
    return GridSearch(build, grid, store=store, workers=workers, **arguments).run(*data(), progress=False)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The ranking of a search in one process without interruption."""
    return ranking_bytes(run(), tmp_path_factory.mktemp("reference"))


class ShuffledExecutor(Executor):
    """Collects tasks and runs them in a random order, in this process."""

    def __init__(self, seed, size):
        self.random = random.Random(seed)
        self.size = size
        self.tasks = []

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self.tasks.append((future, function, args, kwargs))
        if len(self.tasks) == self.size:
            self.random.shuffle(self.tasks)
            for waiting, call, positional, named in self.tasks:
                waiting.set_result(call(*positional, **named))
            self.tasks = []
        return future


@pytest.mark.parametrize("workers", [2, 4])
def test_ranking_does_not_depend_on_the_number_of_workers(workers, reference, tmp_path):
    assert ranking_bytes(run(workers=workers), tmp_path) == reference


@pytest.mark.parametrize("seed", range(3))
def test_ranking_does_not_depend_on_the_order(seed, reference, tmp_path):
    executor = ShuffledExecutor(seed, size=N_FITS)
    assert ranking_bytes(run(workers=N_FITS // 2, executor=executor), tmp_path) == reference
    shuffled = random.Random(seed).sample(list(SEARCH_GRID), len(SEARCH_GRID))
    assert ranking_bytes(run(shuffled), tmp_path) == reference


def test_ranking_does_not_depend_on_the_executor(reference, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        assert ranking_bytes(run(executor=executor), tmp_path) == reference
        assert executor.submit(int, 3).result() == 3, "the executor is its owner's to shut down"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert ranking_bytes(run(executor=executor), tmp_path) == reference


def test_a_result_does_not_depend_on_other_configurations():
    alone = run(ParameterGrid(degree=[2], lr=[0.5], epochs=[20]))[0]
    among = next(row for row in run() if row.configuration == alone.configuration)
    assert (alone.losses, alone.mean, alone.std) == (among.losses, among.mean, among.std)


def test_scores_are_what_a_loop_finds():
    x, y = data()
    x, y = x[:, np.newaxis], y[:, np.newaxis]
    row = run(ParameterGrid(degree=[0], lr=[1.0], epochs=[1]))[0]
    losses = [np.mean((y[validation] - y[train].mean()) ** 2) / 2 for train, validation in KFold(4, True, 0).split(x)]
    np.testing.assert_allclose(row.losses, losses, rtol=1e-12)
    np.testing.assert_allclose((row.mean, row.std), (np.mean(losses), np.std(losses)), rtol=1e-12)


def test_fits_run_in_other_processes_unless_there_is_one_worker():
    grid = ParameterGrid(n=[1, 2, 3])
    here = {loss for row in run(grid, build_process_id) for loss in row.losses}
    elsewhere = {loss for row in run(grid, build_process_id, workers=2) for loss in row.losses}
    assert here == {os.getpid()}
    assert os.getpid() not in elsewhere


# ---- interruptions -------------------------------------------------------------------------------------------------


class Script:
    """A search in a separate process, whose fits hang after some of them."""

    def __init__(self, folder, name, limit):
        self.folder = folder
        self.store, self.csv = folder / "search.sqlite", folder / "ranking.csv"
        self.tokens = folder / f"tokens {name}"
        self.tokens.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, searches.__file__, self.store, self.csv, self.tokens, str(limit)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def finished_fits(self):
        try:
            with Store(self.store) as store:
                return len(store.outcomes())
        except StoreError:
            return 0

    def wait_for(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def worker_ids(self):
        return {int(text) for text in (token.read_text() for token in self.tokens.iterdir()) if text}

    def end(self):
        _, errors = self.process.communicate(timeout=60)
        deadline = time.monotonic() + 60
        while any(is_running(worker) for worker in self.worker_ids()):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.01)
        return errors


def is_running(process_id):
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")


@linux
def test_killed_at_three_moments_and_resumed(reference, tmp_path):
    finished = 0
    for name, limit in enumerate((0, 5, 11)):
        script = Script(tmp_path, name, limit)
        finished += limit
        script.wait_for(lambda script=script, finished=finished: script.finished_fits() == finished)
        if limit == 0:
            script.wait_for(lambda script=script: script.worker_ids())
        script.process.kill()
        script.end()
        assert script.process.returncode == -signal.SIGKILL
        assert not script.csv.exists()
        assert script.finished_fits() == finished
    last = Script(tmp_path, "last", 10**6)
    assert last.end() == ""
    assert last.csv.read_bytes() == reference
    assert len(list(last.tokens.iterdir())) == N_FITS - finished, "a finished fit was run again"


@linux
def test_ctrl_c_leaves_no_worker_and_keeps_what_finished(reference, tmp_path):
    script = Script(tmp_path, "first", 7)
    script.wait_for(lambda: script.finished_fits() == 7)
    script.process.send_signal(signal.SIGINT)
    errors = script.end()
    assert errors.count("Traceback") == 1, errors
    assert errors.endswith("its store, run it again to go on\n"), errors
    assert script.finished_fits() == 7
    last = Script(tmp_path, "last", 10**6)
    assert last.end() == ""
    assert last.csv.read_bytes() == reference


def test_finished_fits_are_not_run_again(tmp_path, monkeypatch):
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    monkeypatch.setenv("SEARCH_TOKENS", str(tokens))
    monkeypatch.setenv("SEARCH_LIMIT", "1000")
    first = run(build=build_with_token, store=tmp_path / "search.sqlite")
    assert len(list(tokens.iterdir())) == N_FITS
    second = run(build=build_with_token, store=tmp_path / "search.sqlite")
    assert len(list(tokens.iterdir())) == N_FITS
    assert list(first) == list(second)


def test_an_interrupted_thread_pool_cancels_what_waits():
    running, release, started = threading.Event(), threading.Event(), []

    class Interrupting(ThreadPoolExecutor):
        def submit(self, *_):
            started.append(super().submit(block))
            if len(started) == 4:
                running.wait(60)
                raise KeyboardInterrupt
            return started[-1]

    def block():
        running.set()
        release.wait(60)

    with Interrupting(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            run(workers=5, executor=executor)
        assert [future.cancelled() for future in started] == [False, True, True, False]
        release.set()


# ---- bad fits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_configurations_rank_last_with_their_reason(workers, tmp_path):
    grid = ParameterGrid(behaviour=["raises", "works", "leaves", "diverges", "changes its configuration"])
    result = run(grid, build_troubled, tmp_path / "search.sqlite", workers)
    found = [(row.rank, row.configuration["behaviour"], row.status, row.reason) for row in result]
    assert {row[1] for row in found[:2]} == {"works", "changes its configuration"}
    assert {row[2:] for row in found[:2]} == {("done", "")}
    assert found[2:] == [
        (3, "diverges", "diverged", "fold 0: NonFiniteLossError: loss is nan in epoch 3, batch 5"),
        (4, "leaves", "failed", "fold 0: SystemExit: no licence"),
        (5, "raises", "failed", r"fold 0: KeyError: 'no such\nactivation'"),
    ]
    assert np.isnan([row.mean for row in result][2:]).all()
    again = run(grid, build_troubled, tmp_path / "search.sqlite", workers)
    assert str(list(again)) == str(list(result))


def build_nothing(*_):
    pass


def build_class(*_):
    return ScoredTrainer


def build_model(*_):
    return object()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (build_nothing, "build returned None, expected a Trainer; is a return missing?"),
        (
            build_class,
            "build returned the class ScoredTrainer, expected a Trainer with fit and evaluate, or an estimator",
        ),
        (
            build_model,
            "build returned an object of type object, expected a Trainer with fit and evaluate, or an estimator",
        ),
    ],
)
def test_a_builder_that_returns_no_trainer(build, reason):
    [row] = run([{"lr": 0.1}], build)
    assert (row.status, row.reason) == ("failed", f"fold 0: TypeError: {reason}")


def test_losses_that_are_not_finite(tmp_path):
    grid = ParameterGrid(loss=[float("nan"), float("inf"), 2.0, -0.0, 1e308, float("-inf")])
    for _ in range(2):
        result = run(grid, build_scored, tmp_path / "search.sqlite")
        assert [repr(row.configuration["loss"]) for row in result] == ["-0.0", "2.0", "1e+308", "-inf", "inf", "nan"]
        assert [row.status for row in result] == ["done"] * 3 + ["diverged"] * 3
        assert [repr(row.losses[0]) for row in result] == ["-0.0", "2.0", "1e+308", "-inf", "inf", "nan"]
        assert result[5].reason == "fold 0: validation loss is nan"


def test_warnings_of_a_diverging_fit_do_not_change_its_outcome():
    """In this process warnings are errors, in a worker they are not."""
    grid = ParameterGrid(degree=[2], lr=[1e6], epochs=[200])
    [here], [elsewhere] = run(grid), run(grid, workers=2)
    assert here.status == "diverged"
    assert here.reason == elsewhere.reason
    assert here.reason.startswith("fold 0: FloatingPointError: loss is inf in epoch")


def test_a_dead_worker_keeps_what_finished(tmp_path):
    grid = ParameterGrid(behaviour=["works", "exits"])
    result = run(grid, build_troubled, tmp_path / "search.sqlite", workers=2)
    assert [(row.status, row.reason) for row in result] == [
        ("done", ""),
        ("crashed", "fold 0: its worker died 3 times: exit code 7"),
    ]


# ---- refusals ------------------------------------------------------------------------------------------------------


def local():
    def build(_configuration, _rng):
        return None

    return build


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda *_: None, r"build=<lambda> cannot be sent to a worker process, expected a function at"),
        (local(), r"build=local.<locals>.build cannot be sent to a worker process"),
        (partial(build_scored, executor=threading.Lock()), "build=functools.partial.* cannot be sent"),
        ("build", "build='build' is not callable, expected a function of a configuration and a generator"),
    ],
)
def test_bad_build(build, message):
    with pytest.raises(TypeError, match=message):
        GridSearch(build, SEARCH_GRID)


@pytest.mark.parametrize("arguments", [["-c", "SCRIPT"], ["-"]])
def test_build_of_an_interactive_session(arguments):
    script = (
        "from search import GridSearch, SearchError\n"
        "def build(configuration, rng): ...\n"
        "try: GridSearch(build, [{'lr': 1}], store=None, workers=2).run(range(8), range(8))\n"
        "except SearchError as error: print(error)\n"
    )
    command = [sys.executable, *(script if argument == "SCRIPT" else argument for argument in arguments)]
    ended = subprocess.run(command, input=script, check=True, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.startswith("build=build was typed into an interactive session")
    assert ended.stdout.count("\n") == 1


def test_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from search import GridSearch; from search.testing import build_polynomial\n"
        "GridSearch(build_polynomial, [{'degree': 1}], store=None, workers=2).run(range(8), range(8))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    # It need not be the last line: Python may still warn of resources that a killed worker left.
    [line] = [line for line in ended.stderr.splitlines() if "SearchError: a worker process died" in line]
    assert "the script runs the search outside `if __name__ == '__main__':`" in line


def test_bad_arguments():
    for workers in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match=f"workers={workers!r}, expected an integer of at least 1"):
            GridSearch(build_polynomial, SEARCH_GRID, workers=workers)
    with pytest.raises(ValueError, match="grid: no configuration given"):
        GridSearch(build_polynomial, [])
    with pytest.raises(ValueError, match=r'grid: configuration {"lr":0.1} is there twice, expected each once'):
        GridSearch(build_polynomial, [{"lr": 0.1}, {"lr": np.float64(0.1)}])
    with pytest.raises(TypeError, match="lr="):
        GridSearch(build_polynomial, [{"lr": object()}])
    with pytest.raises(TypeError, match=r"grid: {'lr': \[0.1\]} given, expected a ParameterGrid"):
        GridSearch(build_polynomial, {"lr": [0.1]})
    with pytest.raises(TypeError, match=r"folds=4 is no splitter, expected an object with split, such as KFold"):
        GridSearch(build_polynomial, SEARCH_GRID, folds=4)
    with pytest.raises(TypeError):
        GridSearch(build_polynomial, SEARCH_GRID, seed=0.5)


X = [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X, X[:3], ValueError, "x has 4 samples and y has 3 samples, expected the same number"),
        ([[1, 2], [3]], X[:2], ValueError, "x is ragged, expected rows of equal length"),
        (["a", "b"], X[:2], TypeError, "x holds 'a' at .0,., expected real numbers"),
        (X, [1, 2, 3, 1j], TypeError, "y has dtype complex128, expected real numbers"),
        (X, [1, 2, None, 3], ValueError, "y holds None at .2,., expected finite numbers"),
        (X, [1, 2, np.nan, 3], ValueError, r"y holds nan at \(2,\), expected finite numbers"),
        ([[1, 2], [np.inf, 3]], X[:2], ValueError, r"x holds inf at \(1, 0\), expected finite numbers"),
        (1.0, X, ValueError, r"x has shape \(\), expected"),
        ([], [], ValueError, r"x has shape \(0,\), expected at least one sample"),
        (X[:3], X[:3], ValueError, r"KFold\(4\): 3 samples given"),
    ],
)
def test_bad_data(x, y, error, message, tmp_path):
    with pytest.raises(error, match=message) as caught:
        GridSearch(build_polynomial, SEARCH_GRID, store=tmp_path / "search.sqlite").run(x, y)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "search.sqlite").exists()


def test_precision_and_shape_that_a_trainer_sees():
    seen = []

    class Executed(Executor):
        def submit(self, function, work, problem, chunk, /):
            seen.append((problem.x.dtype, problem.x.shape, problem.y.dtype, problem.y.shape))
            future = Future()
            future.set_result(function(work, problem, chunk))
            return future

    search = GridSearch(build_polynomial, [{"degree": 1}], store=None, executor=Executed())
    search.run(np.arange(8, dtype=np.float32), np.arange(8.0), progress=False)
    search.run(np.arange(8, dtype=np.float32), np.arange(8), progress=False)
    assert set(seen) == {
        (np.dtype(np.float32), (8, 1), np.dtype(np.float64), (8, 1)),
        (np.dtype(np.float32), (8, 1), np.dtype(np.int64), (8,)),  # these may be class labels
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"folds": KFold(4, shuffle=True, seed=1)}, "folds"),
        ({"folds": KFold(3)}, "folds"),
        ({"grid": ParameterGrid(degree=[1, 2], lr=[0.1], epochs=[20])}, "grid"),
    ],
)
def test_a_store_of_another_search(change, named, tmp_path):
    run(store=tmp_path / "search.sqlite")
    with pytest.raises(StoreError, match=f"belongs to another search, with other {named} "):
        run(**{"store": tmp_path / "search.sqlite"} | change)


def test_a_store_of_other_data(tmp_path):
    search = GridSearch(build_polynomial, SEARCH_GRID, store=tmp_path / "search.sqlite", workers=1)
    x, y = data()
    search.run(x, y, progress=False)
    search.run(x[:, np.newaxis].tolist(), y, progress=False)
    for other in (y.astype(np.float32), np.nextafter(y, 1), y[::-1]):
        with pytest.raises(StoreError, match="with other data "):
            search.run(x, other, progress=False)


def test_progress_bar(capsys):
    GridSearch(build_polynomial, SEARCH_GRID, store=None, workers=1).run(*data())
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{N_FITS}/{N_FITS}" in shown.err
    assert "best 0.0" in shown.err
    run()
    assert capsys.readouterr().err == ""


def test_default_folds_and_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = GridSearch(build_polynomial, SEARCH_GRID, workers=1)
    result = search.run(*data(), progress=False)
    for (_, validation), (_, expected) in zip(result.folds, KFold(4, shuffle=True, seed=0).split(data()[0]), strict=True):
        np.testing.assert_array_equal(validation, expected)
    assert os.listdir() == ["search.sqlite"]


def test_import_is_light():
    script = "import sys, search; print(sys.modules.keys() & {'matplotlib', 'pandas', 'sklearn', 'models'})"
    ended = subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "set()\n"


def test_a_grid_search_takes_what_a_search_takes_in_the_same_order(tmp_path):
    ours, theirs = signature(GridSearch).parameters, signature(Search).parameters
    assert [*ours] == ["grid" if name == "strategy" else name for name in theirs]
    assert all(ours[name] == theirs[name] for name in ours if name != "grid")
    search = GridSearch(build_polynomial, SEARCH_GRID, KFold(3), tmp_path / "store", 5, 1)
    assert (search.strategy, search.folds.n_splits, search.store) == (SEARCH_GRID, 3, tmp_path / "store")
    assert (search.seed, search.workers) == (5, 1)
    assert GridSearch(build=build_polynomial, grid=SEARCH_GRID).strategy is SEARCH_GRID
    with pytest.raises(TypeError, match="grid"):
        GridSearch(build_polynomial)
