"""The command line: from a TOML file to a page, and every error in one line."""

import csv
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models import build_perceptron
from search import KFold, ParameterGrid, Search, Store, SuccessiveHalving
from search.command.main import main
from tests.helpers import ROOT

TOML = """\
seed = 1
workers = 1
[data]
train = "train.csv"
test = "test.csv"
[grid]
hidden = [[3, 2], [2, 2]]
lr = [0.05, 0.1]
lr_final = [0.001]
epochs = [2]
[folds]
n_splits = 3
"""


def table(x):
    return "".join(f"{value},{value**2}\n" for value in x)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files of a search of 12 fits."""
    (tmp_path / "train.csv").write_text(table(np.linspace(-2, 2, 18).round(3)))
    (tmp_path / "test.csv").write_text(table([-1.3, 0.1, 1.1]))
    (tmp_path / "search.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finished(folder, capsys):
    """The same folder after the search."""
    assert main(["run", "s.sqlite", "search.toml", "--quiet"]) == 0
    capsys.readouterr()
    return folder


def said(capsys, *arguments, code=0):
    """Run a command, check its exit code, and return what it printed. If it failed, return the one line of its error."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    output, errors = capsys.readouterr()
    if code == 0:
        return output
    assert output == ""
    assert errors.count("\n") == 1
    assert errors.startswith(f"python -m search {arguments[0]}: error: ")
    return errors


# ---- from the file to the page -------------------------------------------------------------------------------------


def test_run_prints_the_ranking_and_goes_on_without_the_file(folder, capsys):
    first = said(capsys, "run", "s.sqlite", "search.toml", "--quiet")
    assert first.startswith("rank  hidden    lr  lr_final  epochs  ")
    assert "Not distinguishable from the best: " in first
    assert "python -m search report s.sqlite FOLDER" in first
    (folder / "search.toml").unlink()
    assert said(capsys, "run", "s.sqlite", "--quiet", "--workers", "2") == first


def test_run_shows_a_progress_bar_unless_asked_not_to(folder, capsys):
    main(["run", "s.sqlite", "search.toml"])
    assert "12 fits to do" in capsys.readouterr().err
    main(["run", "t.sqlite", "search.toml", "--quiet"])
    assert capsys.readouterr().err == ""


def test_status_of_a_finished_search(finished, capsys):
    output = said(capsys, "status", "s.sqlite")
    assert output.startswith("12 of 12 fits are done\n")
    assert "best so far: " in output
    assert output.endswith("nobody is at work on it\n")


def test_rank_and_its_csv_file(finished, capsys):
    output = said(capsys, "rank", "s.sqlite", "--top", "2", "--csv", "r.csv")
    assert output.splitlines()[1].split()[0] == "1"
    assert "\n   3 " not in output
    with open("r.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[0]["mean"]) == np.mean([float(rows[0][f"fold {i}"]) for i in range(3)])


def test_export_has_every_fit_to_the_bit(finished, capsys):
    assert said(capsys, "export", "s.sqlite", "all.csv") == "12 fits are in all.csv\n"
    with open("all.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with Store("s.sqlite") as store:
        losses = sorted(outcome.validation_loss for outcome in store.outcomes().values())
    assert sorted(float(row["validation_loss"]) for row in rows) == losses
    assert {row["fold"] for row in rows} == {"0", "1", "2"}
    assert {row["stopped_after"] for row in rows} == {""}


def test_export_to_parquet_and_to_optuna(finished, capsys):
    import optuna
    import pandas as pd

    assert said(capsys, "export", "s.sqlite", "all.parquet") == "12 fits are in all.parquet\n"
    frame = pd.read_parquet("all.parquet")
    with Store("s.sqlite") as store:
        assert sorted(frame["validation_loss"]) == sorted(x.validation_loss for x in store.outcomes().values())
    assert frame["hidden"].map(tuple).unique().tolist() == [(2, 2), (3, 2)]
    output = said(capsys, "export", "s.sqlite", "study.db", "--format", "optuna")
    assert output == '4 trials are in study.db, in the study "search"\n'
    study = optuna.load_study(study_name="search", storage="sqlite:///study.db")
    assert study.best_value == min(trial.value for trial in study.trials)
    assert "has a study 'search' already" in said(capsys, "export", "s.sqlite", "study.db", "--format", "optuna", code=1)


def test_two_stores_are_compared_and_importance_needs_more_configurations(finished, capsys):
    Path("other.toml").write_text(TOML.replace("seed = 1", "seed = 2"))
    assert main(["run", "t.sqlite", "other.toml", "--quiet"]) == 0
    output = said(capsys, "compare", "s.sqlite", "t.sqlite")
    assert "difference" in output
    assert "seed" in output
    assert "30" in said(capsys, "importance", "s.sqlite", code=1)


def test_export_of_a_halving_says_after_how_many_epochs_a_fit_stopped(folder, capsys):
    candidates = ParameterGrid(hidden=[(2, 2), (3, 2), (4, 2)], lr=[0.1], epochs=[4])
    strategy = SuccessiveHalving(candidates, epochs=4, min_epochs=1)
    x = np.linspace(-1, 1, 12)
    Search(build_perceptron, strategy, KFold(2), store="h.sqlite", workers=1).run(x, x**2, progress=False)
    assert said(capsys, "export", "h.sqlite", "all.csv") == "8 fits are in all.csv\n"
    with open("all.csv", newline="") as stream:
        rows = [(row["hidden"], row["fold"], row["stopped_after"]) for row in csv.DictReader(stream)]
    assert Counter(stop for *_, stop in rows) == {"1": 6, "": 2}
    [winner] = {hidden for hidden, _, stop in rows if not stop}
    assert [(fold, stop) for hidden, fold, stop in rows if hidden == winner] == [("0", "1"), ("0", ""), ("1", "1"), ("1", "")]


@pytest.mark.parametrize(
    ("search", "fits"),
    [
        ('strategy = "random"\nn = 3', "9 of 9"),
        ('strategy = "halving"\nepochs = 3\nn = 3', "12 of 12"),  # 9 for one epoch, and 3 of one of them to the end
        ('strategy = "optuna"\nn = 2\nbatch = 1', "6 of 6"),
    ],
)
def test_every_strategy_goes_from_the_file_to_the_end(search, fits, folder, capsys):
    axes = "[grid]\nhidden = [[2, 2], [3, 2]]\nlr = {loguniform = [0.01, 0.1]}\nepochs = [3]\n"
    data = TOML[: TOML.index("[grid]")].replace('test = "test.csv"\n', "")
    Path("search.toml").write_text(f"{data}{axes}[search]\n{search}\n[folds]\nn_splits = 3\n")
    assert "rank  hidden" in said(capsys, "run", "s.sqlite", "search.toml", "--quiet")
    assert said(capsys, "status", "s.sqlite").startswith(f"{fits} fits are done\n")
    assert "no test set" in said(capsys, "retrain", "s.sqlite", code=1)  # so it is known to be complete


def test_retrain_names_both_winners_and_writes_weights(finished, capsys):
    output = said(capsys, "retrain", "s.sqlite", "--top", "2", "--quiet", "--weights", "w.safetensors")
    assert output.splitlines()[0].startswith("cv rank  hidden")
    assert "chosen by cross-validation: test loss " in output
    assert "lowest test loss, which flatters: test loss " in output
    from safetensors.numpy import load_file

    assert {"hidden1.weight", "output.bias"} < {*load_file("w.safetensors")}


def test_report_writes_the_page(finished, capsys):
    assert said(capsys, "report", "s.sqlite", "page", "--top", "2", "--quiet") == "the report is page/index.html\n"
    page = Path("page/index.html").read_text(encoding="utf-8")
    assert "Lowest test loss" in page
    assert "hidden = [[3, 2], [2, 2]]" in page
    assert "python -m search run s.sqlite" in page


def test_a_search_without_a_test_set_has_a_page_but_cannot_retrain(folder, capsys):
    Path("search.toml").write_text(TOML.replace('test = "test.csv"\n', ""))
    said(capsys, "run", "s.sqlite", "search.toml", "--quiet")
    assert "the settings name no test set" in said(capsys, "retrain", "s.sqlite", code=1)
    said(capsys, "report", "s.sqlite", "page", "--quiet")
    assert "Lowest test loss" not in Path("page/index.html").read_text(encoding="utf-8")


def test_a_nested_search_prints_its_estimate(folder, capsys):
    Path("search.toml").write_text(TOML + "[outer]\nn_splits = 2\n")
    output = said(capsys, "run", "s.sqlite", "search.toml", "--quiet")
    assert 'The procedure "search, and take the best" has a test loss of' in output
    assert said(capsys, "status", "s.sqlite").startswith("38 of 38 fits are done\n")  # (1 + 2) x 4 x 3 and 2


def test_a_fork_begins_with_the_results_of_the_other_store(finished, capsys):
    Path("wider.toml").write_text(TOML.replace("[2, 2]]", "[2, 2], [4, 4]]"))
    main(["run", "t.sqlite", "wider.toml", "--fork", "s.sqlite"])
    assert "6 fits to do" in capsys.readouterr().err
    output = said(capsys, "status", "t.sqlite")
    assert output.startswith("18 of 18 fits are done\n")
    assert "\nforked from s.sqlite, with other grid (hidden has [2, 2], [3, 2] there and " in output


def test_a_fork_has_what_its_own_file_asks_for(finished, capsys):
    Path("narrower.toml").write_text(TOML.replace("[0.05, 0.1]", "[0.05, 0.2]"))
    main(["run", "t.sqlite", "narrower.toml", "--fork", "s.sqlite"])
    assert "6 fits to do" in capsys.readouterr().err
    assert said(capsys, "status", "t.sqlite").startswith("12 of 12 fits are done\n")
    assert " 0.1 " not in said(capsys, "rank", "t.sqlite")
    assert said(capsys, "export", "t.sqlite", "all.csv") == "12 fits are in all.csv\n"


# ---- a search that is not finished ---------------------------------------------------------------------------------

SLOW = """\
import time
from search.testing import build_polynomial

def build(configuration, rng):
    time.sleep(configuration["pause"])
    return build_polynomial({"degree": 1, "epochs": 2}, rng)
"""


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute in vain"
        time.sleep(0.02)


def count_fits(path):
    try:
        with Store(path) as store:
            return sum(store.progress().counts.values())
    except Exception:
        return 0


@pytest.fixture
def running(folder):
    """A search in a separate process, whose second configuration never ends."""
    (folder / "slow_builder_of_tests.py").write_text(SLOW)
    (folder / "search.toml").write_text(
        'build = "slow_builder_of_tests:build"\nworkers = 2\n[data]\ntrain = "train.csv"\n'
        "[grid]\npause = [0.0, 600.0]\n[folds]\nn_splits = 3\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "search", "run", "s.sqlite", "search.toml", "--quiet"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until(lambda: count_fits("s.sqlite") == 3)
    yield process
    process.kill()
    process.communicate()


def test_while_a_search_runs_others_may_look_but_not_write(running, capsys):
    output = said(capsys, "status", "s.sqlite")
    assert output.startswith("3 of 6 fits are done\n")
    assert f"at work on it: process {running.pid} on " in output
    output = said(capsys, "rank", "s.sqlite")
    assert "   1 " in output
    assert "\n3 of 6 fits are not done yet: their configurations are not ranked\n" in output
    assert "3 fits are in all.csv" in said(capsys, "export", "s.sqlite", "all.csv")
    assert f"s.sqlite is in use by process {running.pid}" in said(capsys, "run", "s.sqlite", "--quiet", code=1)
    for command in (["retrain", "s.sqlite"], ["report", "s.sqlite", "page"]):
        assert "3 of 6 fits are done, expected all; python -m search run s.sqlite" in said(capsys, *command, code=1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert errors.strip() == "interrupted; finished fits are in the store, the same command goes on from them"
    output = said(capsys, "status", "s.sqlite")
    assert output.startswith("3 of 6 fits are done\n")
    assert output.endswith("nobody is at work on it\n")


def test_a_command_to_copy_is_quoted_for_the_shell(folder, capsys):
    output = said(capsys, "run", "it's mine.sqlite", "search.toml", "--quiet")
    words = shlex.split(output.splitlines()[-1].partition("next: ")[2])
    assert words == ["python", "-m", "search", "report", "it's mine.sqlite", "FOLDER"]


def test_without_standard_error_a_search_runs_all_the_same(folder):
    command = f"exec {shlex.quote(sys.executable)} -m search run s.sqlite search.toml 2>&-"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("rank  hidden")


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_no_store(folder, capsys):
    assert "there is none to go on with, expected a TOML file" in said(capsys, "run", "none.sqlite", code=1)
    for command in (["status"], ["rank"], ["retrain"], ["export"], ["report"]):
        extra = ["x"] if command[0] in ("export", "report") else []
        assert "store none.sqlite: there is none" in said(capsys, *command, "none.sqlite", *extra, code=1)
    assert not Path("none.sqlite").exists()


def test_stores_that_are_none(folder, capsys):
    Path("folder").mkdir()
    Path("text").write_text("This is no store, but a text that is longer than the head of an SQLite file." * 2)
    with sqlite3.connect("other.sqlite") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    Path("empty").touch()
    for name, reason in (
        ("folder", "is a directory"),
        ("text", "is not an SQLite file"),
        ("other.sqlite", "is another program's database"),
        ("empty", "is empty"),
    ):
        assert reason in said(capsys, "status", name, code=1)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (TOML.replace("[folds]", "[fold]"), "search.toml: unknown key 'fold', did you mean 'folds'?"),
        (TOML.replace("hidden", "hiden"), "build_perceptron: unknown name 'hiden', did you mean 'hidden'?"),
        (TOML.replace("train.csv", "none.csv"), "none.csv cannot be read"),
        (TOML.replace("n_splits = 3", "n_splits = 30"), "KFold(30): 18 samples given, expected at least 30"),
        (TOML.replace("[0.05, 0.1]", "[]"), "ParameterGrid: lr=[] is empty"),
    ],
)
def test_a_search_that_cannot_begin_leaves_no_store(toml, message, folder, capsys):
    Path("search.toml").write_text(toml)
    assert message in said(capsys, "run", "s.sqlite", "search.toml", "--quiet", code=1)
    assert not Path("s.sqlite").exists()


def test_another_search_in_the_same_store(finished, capsys):
    Path("search.toml").write_text(TOML.replace("seed = 1", "seed = 2"))
    message = said(capsys, "run", "s.sqlite", "search.toml", "--quiet", code=1)
    assert "belongs to another search, with other " in message
    assert "seed (1 there, 2 here)" in message


def test_data_that_have_changed_since(finished, capsys):
    with open("train.csv", "a") as stream:
        stream.write("3,9\n")
    for command in (["run", "s.sqlite", "--quiet"], ["report", "s.sqlite", "page", "--quiet"]):
        assert "with other data (18 samples" in said(capsys, *command, code=1)
    assert not Path("page").exists()


@pytest.mark.parametrize(
    "command",
    [["rank", "s.sqlite", "--csv"], ["export", "s.sqlite"], ["retrain", "s.sqlite", "--quiet", "--weights"]],
)
def test_a_file_that_must_not_or_cannot_be_written_is_refused_before_the_work(command, finished, capsys, monkeypatch):
    before = Path("s.sqlite").read_bytes()
    Path("link").symlink_to("s.sqlite")
    monkeypatch.setattr("search.result.run_in_order", None)
    for name in ("s.sqlite", "link"):
        assert f"{name} is the store itself, which would be lost" in said(capsys, *command, name, code=1)
    assert Path("s.sqlite").read_bytes() == before
    for name in ("none/file", "."):
        assert f"{name} cannot be written, expected a file in a folder that exists" in said(capsys, *command, name, code=1)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(finished, capsys, monkeypatch):
    monkeypatch.setattr("search.result.run_in_order", None)
    Path("page/index.html").mkdir(parents=True)
    assert "page/index.html cannot be written, expected a file" in said(capsys, "report", "s.sqlite", "page", code=1)
    assert "train.csv cannot be written: File exists; give another folder" in said(
        capsys, "report", "s.sqlite", "train.csv", code=1
    )


def test_weights_that_a_full_disk_refuses_are_named(finished, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    capsys.readouterr()
    assert main(["retrain", "s.sqlite", "--top", "1", "--quiet", "--weights", "w.npz"]) == 1
    assert capsys.readouterr().err == (
        "python -m search retrain: error: w.npz cannot be written: No space left on device; give another path\n"
    )


def test_a_store_of_a_python_program(folder, capsys):
    from search import GridSearch
    from search.testing import build_polynomial

    x = np.linspace(-1, 1, 12)
    GridSearch(build_polynomial, [{"degree": 1}, {"degree": 2}], store="p.sqlite", workers=1).run(x, x**2, progress=False)
    assert said(capsys, "status", "p.sqlite").startswith("8 of 8 fits are done\n")
    assert "degree" in said(capsys, "rank", "p.sqlite")
    assert "8 fits are in all.csv" in said(capsys, "export", "p.sqlite", "all.csv")
    for command, advice in (
        (["run", "p.sqlite"], "go on with it there, or give the TOML file of the same search"),
        (["retrain", "p.sqlite"], "call result.retrain there"),
        (["report", "p.sqlite", "page"], "call result.report there"),
    ):
        assert said(capsys, *command, code=1).endswith(f"p.sqlite was made by a Python program: {advice}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rum", "s.sqlite"], "invalid choice: 'rum'"),
        (["run"], "the following arguments are required: STORE"),
        (["run", "s", "t", "--workers", "0"], "'0' given, expected an integer of at least 1"),
        (["rank", "s", "--top", "x"], "'x' given, expected an integer of at least 1"),
    ],
)
def test_misuse(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["", "run", "status", "rank", "importance", "compare", "retrain", "report", "save", "predict", "export"]
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*([command] if command else []), "--help"])
    assert ended.value.code == 0
    assert ("STORE" if command else "COMMAND") in capsys.readouterr().out


def test_the_example_in_the_help_is_a_search(folder, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    toml = "\n".join(line.strip() for line in text[text.index("# search.toml") :].splitlines())
    Path("search.toml").write_text(toml.replace("[grid]", "[grid]\nepochs = [1]\n"))
    assert "   4  " in said(capsys, "run", "s.sqlite", "search.toml", "--quiet", "--workers", "1")


def test_the_store_says_what_it_is(finished):
    with Store("s.sqlite") as store:
        assert store.meta["settings"] == TOML
        assert store.meta["settings folder"] == str(finished)
        assert json.loads(store.meta["plan"]) == {"fits": 12, "fold sizes": [[12, 6]] * 3, "repeats": 1}
