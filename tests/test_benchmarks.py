"""benchmarks/: a wrong row is found before anything is timed, and the page of tables is made from the results alone.

Nothing here asserts a time, and none of the peers is needed.
"""

import argparse
import json
from functools import partial

import numpy as np
import pytest

from tests.helpers import ROOT

FOLDER = ROOT / "benchmarks"

OPTIONS = argparse.Namespace(seconds=1e-4, rounds=2, only="")


@pytest.fixture
def modules(monkeypatch):
    """The modules of the folder, which scripts import by name; the environment of this process is restored."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("TINYGRAD_LAB_CACHE", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    import harness
    import problems
    import report
    import tables
    from peers import numpy_

    return argparse.Namespace(harness=harness, problems=problems, report=report, tables=tables, numpy_=numpy_)


@pytest.fixture(autouse=True)
def loaded_libraries_may_have_threads(modules, monkeypatch):
    monkeypatch.setattr(modules.harness, "_check_threads", lambda: None)


@pytest.fixture
def problem(modules):
    return partial(modules.problems.report_problem, widths=(1, 5, 4, 1))


def spoiled(base, change):
    """A runner that is right but for what `change` does to its weights after an epoch."""

    class Spoiled(base):
        def run(self, epochs):
            super().run(epochs)
            change(self.weights()[0])

    return Spoiled


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_row_is_timed(modules, problem, dtype):
    row = modules.harness.Row("right", modules.numpy_.Handwritten, partial(problem, dtype=dtype))
    [timing], notes = modules.harness.measure([row], OPTIONS)
    assert timing.error < (1e-12 if dtype == "float64" else 1e-5)
    assert len(timing.seconds) == 2
    assert timing.model_updates == 90 * timing.epochs
    assert not [note for note in notes if "skipped" in note]


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights[2].__imul__(1.001),
        lambda weights: weights[5].__iadd__(1e-3),
        lambda weights: weights[0].fill(np.nan),
    ],
)
def test_a_wrong_row_ends_the_script_by_name(modules, problem, change):
    row = modules.harness.Row("wrong", spoiled(modules.numpy_.Handwritten, change), problem)
    with pytest.raises(SystemExit, match=r"error: wrong \(float64\): after 10 updates .* nothing was timed"):
        modules.harness.measure([row], OPTIONS)


def test_a_wrong_loss_is_found_too(modules, problem):
    class WrongLoss(modules.numpy_.Handwritten):
        def loss(self):
            return [1.001 * super().loss()[0]]

    with pytest.raises(SystemExit, match="wrong loss"):
        modules.harness.measure([modules.harness.Row("wrong loss", WrongLoss, problem)], OPTIONS)


def test_the_checked_updates_exercise_the_clipping(modules):
    problem = modules.problems.report_problem(modules.harness.CHECKED_UPDATES)
    unclipped = modules.problems.replace(problem, clip=None)
    clipped, other = (modules.harness.reference.train(p, 0)[0] for p in (problem, unclipped))
    assert max(np.abs(a - b).max() for a, b in zip(clipped, other, strict=True)) > 1e-2


def test_a_missing_peer_is_skipped_with_advice(modules, problem):
    row = modules.harness.Row("absent", modules.harness.peer("no_such_peer", "Row"), problem, install="pip install absent")
    timings, [note] = modules.harness.measure([row], OPTIONS)
    assert timings == []
    assert note.startswith("skipped: absent (float64): ")
    assert note.endswith("; pip install absent")


def test_the_page_is_made_from_results(modules, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(modules.report, "RESULTS", tmp_path)
    result = modules.report.Result("updates")
    result.add_table("Times", ["", "µs"], [["ours", "2.00"], ["theirs", "5.00"]])
    result.add_bar("ours against theirs", 2.0, [2.4, 2.5, 2.6])
    result.add_bar("memory", 400, [500.0], "MB", at_least=False)
    result.add_bar("lanes", 20, None)
    result.finish(keep=True)
    assert "ours    2.00" in capsys.readouterr().out

    written = json.loads((tmp_path / "updates.json").read_text(encoding="utf-8"))
    page = (
        "<!-- bars -->\nold\n<!-- end of bars -->\n\n<!-- updates --><!-- end of updates -->\n\n<!-- x --><!-- end of x -->\n"
    )
    filled = modules.tables.fill(page, {"updates": written})
    assert "| ours against theirs | at least 2 times faster | 2.5 (2.45 to 2.55) | met |" in filled
    assert "| memory | at most 400 MB | 500 | not met |" in filled
    assert "| lanes | at least 20 times faster | not measured |  |" in filled
    assert "| ours | 2.00 |" in filled
    assert "old" not in filled
    assert "<!-- x -->\n\nNot measured yet.\n\n<!-- end of x -->" in filled
    assert modules.tables.fill(filled, {"updates": written}) == filled


def test_the_page_has_the_lines_of_code_that_the_script_counts(modules):
    from lines_of_code import NAMES, SCRIPTS, code_lines

    page = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    ours, sklearn, optuna, skorch = (code_lines(SCRIPTS / f"{name}.py") for name in NAMES)
    counts = f"{ours} with tinygrad-lab, {sklearn} with scikit-learn, {optuna} with Optuna and {skorch} with skorch"
    assert counts in page
