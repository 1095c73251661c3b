"""What builders do to the process that runs them. Workers that die are tested in tests/search/pool."""

import os
import signal
import subprocess
import sys

import pytest

from search import GridSearch, ParameterGrid, Store
from search.errors import LONGEST
from search.pool import open_pool
from search.testing import build_polynomial
from search.trials.running import run_fits
from tests.helpers import ROOT
from tests.helpers.faulty import collect, make_chunks, problem
from tests.helpers.searches import data


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Vanished(BaseException):
    pass


FAULTS = {
    "__str__": (UnspeakableError(), "UnspeakableError: its message cannot be shown (RuntimeError)"),
    "long": (ValueError("no " * 1_000_000), None),
    "controls": (ValueError("\x1b[31mred\x00\n\udc80\u202e"), "ValueError: \\x1b[31mred\\x00 \\udc80\\u202e"),
    "SystemExit": (SystemExit(3), "SystemExit: 3"),
    "GeneratorExit": (GeneratorExit("gone"), "GeneratorExit: gone"),
    "BaseException": (Vanished("away"), "Vanished: away"),
}


@pytest.mark.parametrize("progress", [False, True])
def test_whatever_a_builder_raises_is_one_short_line(progress, capsys):
    def build(configuration, rng):
        if configuration["fault"] != "none":
            raise FAULTS[configuration["fault"]][0]
        return build_polynomial({"degree": 1, "epochs": 2}, rng)

    grid = ParameterGrid(fault=["none", *FAULTS])
    result = GridSearch(build, grid, store=None, workers=1).run(*data(), progress=progress)
    capsys.readouterr()
    assert [row.status for row in result] == ["done"] + ["failed"] * len(FAULTS)
    reasons = {row.configuration["fault"]: row.reason.removeprefix("fold 0: ") for row in result}
    told = {name: reason for name, (_, reason) in FAULTS.items() if reason is not None}
    assert {name: reasons[name] for name in told} == told
    assert reasons["long"].startswith("ValueError: no no ")
    assert reasons["long"].endswith("... (cut, 3,000,000 characters)")
    assert len(reasons["long"]) < LONGEST + 50
    assert all(character.isprintable() or character == "\n" for character in str(result))


def test_a_keyboard_interrupt_is_a_fault_of_the_fit_only_where_ctrl_c_is_ignored():
    def build(*_):
        raise KeyboardInterrupt

    search = GridSearch(build, [{"n": 1}], store=None, workers=1)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match="a search keeps what had finished in its store, run it again"):
            search.run(*data(), progress=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a worker
        assert search.run(*data(), progress=False)[0].reason == "fold 0: KeyboardInterrupt:"
    finally:
        signal.signal(signal.SIGINT, handler)


def test_the_working_directory_is_restored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def build(configuration, rng):
        os.chdir("/")
        return build_polynomial(configuration, rng)

    search = GridSearch(build, [{"degree": 1, "epochs": 2}], store="search.sqlite", workers=1)
    search.run(*data(), progress=False).ranking.to_csv("ranking.csv")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ranking.csv", "search.sqlite"]


FORKING = """
import os, sys
from search import GridSearch, ParameterGrid
from search.testing import PolynomialTrainer, build_polynomial
from tests.helpers.searches import data

class Trainer(PolynomialTrainer):
    def fit(self, *given, **options):
        os.fork()
        return super().fit(*given, **options)

def build(configuration, rng):
    if configuration["forks in"] == "build":
        os.fork()
    trainer = build_polynomial(configuration, rng)
    return Trainer(trainer.model, trainer.lr, trainer.epochs) if configuration["forks in"] == "fit" else trainer

if __name__ == "__main__":
    grid = ParameterGrid(degree=[1, 2], epochs=[2], **{"forks in": ["none", "build", "fit"]})
    result = GridSearch(build, grid, store=sys.argv[1], workers=int(sys.argv[2])).run(*data(), progress=False)
    print(*(row.status for row in result), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_forked_copy_ends_where_it_returns(workers, tmp_path):
    (tmp_path / "forking.py").write_text(FORKING)
    store = tmp_path / "search.sqlite"
    done = subprocess.run(
        [sys.executable, tmp_path / "forking.py", store, str(workers)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "done done done done done done\n"
    assert done.stderr.count("forked and returned twice; the copy of the process ends here\n") == done.stderr.count("\n") == 16
    with Store(store) as kept:
        losses = {key: outcome.validation_loss for key, outcome in kept.outcomes().items()}
    assert len(losses) == 24
    assert len(set(losses.values())) == 24, "each fit has its own loss"


def test_a_worker_survives_a_builders_keyboard_interrupt(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_FOLDER", str(tmp_path))
    with open_pool(problem(), workers=1, time_limit=60.0) as pool:
        results = collect(pool, run_fits, make_chunks(["none", "interrupt", "none"]))
    assert results[1].reason == "KeyboardInterrupt: stop"
    assert results[0].validation_loss == results[2].validation_loss, "it is one process"
