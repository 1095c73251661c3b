"""examples/reproduce_report.py: what it writes, what it refuses, and what happens if it is interrupted.

Most tests call its `main` in this process, on a tiny grid; those of signals and pipes need a process of its own.
"""

import csv
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lab as tl
from examples import reproduce_report
from models import TwoHiddenLayerNet
from search import Optimism, SearchResult
from tests.helpers import ROOT, tiny_report
from tests.helpers.tiny_report import TINY, blank_report

FIGURES = ["data.png", "function.png", "losses.png", "seeds.png"]
WRITTEN = sorted([*FIGURES, "index.html", "ranking.csv", "search.sqlite", "winner.safetensors"])
WRITE_REPORT = SearchResult.report
TRAIN = "".join(f"{x / 4},{x**2 / 16}\n" for x in range(-8, 9))
TEST = "-1.3,1.7\n0.1,0.0\n1.1,1.2\n"


def make_files(folder):
    (folder / "train.csv").write_text(TRAIN)
    (folder / "test.csv").write_text(TEST)
    return ["--train", str(folder / "train.csv"), "--test", str(folder / "test.csv")]


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setitem(reproduce_report.GRIDS, "report", TINY)
    monkeypatch.setattr(reproduce_report, "SEEDS", 3)
    monkeypatch.setattr(SearchResult, "report", blank_report)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A folder that one process has written without an interruption."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(reproduce_report.GRIDS, "report", TINY)
        patch.setattr(SearchResult, "report", blank_report)
        reproduce_report.main([*make_files(folder), "--workers", "1", "--out", str(folder / "out")])
    return folder / "out"


def fails(capsys, arguments):
    """Run the program. Return its exit status and the one line of its error, without progress bars."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        reproduce_report.main(arguments)
    [line] = complaints(capsys.readouterr().err)
    assert line.startswith("reproduce_report.py: error: ")
    return ended.value.code, line


def ranking_rows():
    with Path("out", "ranking.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def complaints(errors):
    return [line for line in re.split(r"[\r\n]", errors) if line.strip() and not re.match(r" *\d+%\||\d+ fits to do", line)]


# ---- what it writes ------------------------------------------------------------------------------------------------


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(SearchResult, "report", WRITE_REPORT)
    reproduce_report.main([*make_files(tmp_path), "--workers", "1", "--seed", "1"])
    page = Path("out", "index.html").read_text(encoding="utf-8")
    assert "<h1>The report of 2019, reproduced</h1>" in page
    for part in (
        "Training and test points",
        "The function that it estimates",
        "Best by cross-validation",
        "Lowest test loss",
        "The lowest of 4 test losses",
        "just over 10 hours",
    ):
        assert part in page
    repeat = f"python examples/reproduce_report.py --train {tmp_path}/train.csv --test {tmp_path}/test.csv "
    assert f"{repeat}--grid report --decay geometric --seed 1" in page


def test_tables_and_files(tmp_path, capsys):
    reproduce_report.main([*make_files(tmp_path), "--workers", "1"])
    output = capsys.readouterr().out
    assert sorted(os.listdir("out")) == WRITTEN
    assert "4 configurations x 4 folds, 408 updates" in output  # 4 configurations, 2 epochs, 3 times each of 17 points
    assert "Winner by cross-validation alone: " in output
    assert "Winner the report's way, lowest test loss: " in output
    assert "The second configuration from 3 other seeds: test loss" in output
    assert "diverged" not in output
    for name in FIGURES:
        assert Path("out", name).read_bytes().startswith(b"\x89PNG")
    rows = ranking_rows()
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {(row["hidden"], row["activation"]) for row in rows} == {
        (str(hidden), activation) for hidden in TINY["hidden"] for activation in TINY["activation"]
    }
    assert {row["status"] for row in rows} == {"done"}

    line = next(line for line in output.splitlines() if "the report's way" in line)
    hidden, activation, *_ = line.split(":", 1)[1].split(", ")
    net = TwoHiddenLayerNet(1, *map(int, hidden.split(" x ")), 1, activation=activation, rng=np.random.default_rng(0))
    tl.load_weights(Path("out", "winner.safetensors"), net)
    x, y = np.loadtxt(tmp_path / "test.csv", delimiter=",").T
    loss = np.mean((net(x[:, None]).numpy()[:, 0] - y) ** 2) / 2
    assert f"test loss {loss:.4f}" in line


def test_run_again_it_prints_and_writes_the_same(tmp_path, capsys):
    arguments = [*make_files(tmp_path), "--workers", "1"]
    reproduce_report.main(arguments)
    first = capsys.readouterr().out.splitlines()[:-2]  # the last two lines have the time
    lasting = {*WRITTEN} - {"search.sqlite"}  # it contains its owner
    before = {name: Path("out", name).read_bytes() for name in lasting}
    reproduce_report.main(arguments)
    assert capsys.readouterr().out.splitlines()[:-2] == first
    assert {name: Path("out", name).read_bytes() for name in lasting} == before


def test_the_stand_in_and_the_linear_decay(monkeypatch, capsys):
    monkeypatch.setitem(reproduce_report.GRIDS, "report", TINY | {"hidden": [(2, 2)], "activation": ["relu"], "epochs": [1]})
    reproduce_report.main(["--workers", "1", "--decay", "linear", "--seed", "3", "--out", "new/folder"])
    output = capsys.readouterr().out
    assert output.startswith("points: the stand-in that this project generates")
    assert "re-trained on all 120 points and tested on 25" in output
    assert "linear" in output
    assert sorted(os.listdir("new/folder")) == WRITTEN


# ---- configurations that fail or diverge ---------------------------------------------------------------------------


def test_some_configurations_fail_and_others_diverge(tmp_path, monkeypatch, capsys):
    axes = TINY | {"activation": ["leaky_relu", "no_such"], "lr": [0.05, 1e300]}
    monkeypatch.setitem(reproduce_report.GRIDS, "report", axes)
    reproduce_report.main([*make_files(tmp_path), "--workers", "1"])
    assert "6 configurations failed or diverged and rank last; ranking.csv gives the reasons" in capsys.readouterr().out
    rows = ranking_rows()
    assert [row["status"] for row in rows[:2]] == ["done", "done"]
    assert {row["status"] for row in rows[2:]} == {"failed", "diverged"}
    for row in rows[2:]:
        known = "activation 'no_such' is unknown" if row["activation"] == "no_such" else "the loss is not finite"
        assert known in row["reason"]
    assert sorted(os.listdir("out")) == WRITTEN


def test_every_configuration_diverges(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(reproduce_report.GRIDS, "report", TINY | {"activation": ["leaky_relu"], "lr": [1e300]})
    status, line = fails(capsys, [*make_files(tmp_path), "--workers", "1"])
    assert status == 1
    assert "every configuration failed or diverged, " in line
    assert "the loss is not finite" in line
    assert sorted(os.listdir("out")) == ["data.png", "ranking.csv", "search.sqlite"]


def test_some_or_all_retrained_networks_diverge(tmp_path, monkeypatch, capsys):
    """A test point so far away that the leaky ReLU overflows on it, but the sigmoid does not."""
    arguments = [*make_files(tmp_path), "--workers", "1"]
    (tmp_path / "test.csv").write_text("1e200,1\n")
    monkeypatch.setitem(reproduce_report.GRIDS, "report", TINY | {"activation": ["sigmoid", "leaky_relu"]})
    reproduce_report.main(arguments)
    output = capsys.readouterr().out
    assert output.count("NonFiniteLossError") == 2
    assert "The second has the smallest of 2 test losses" in output
    assert sorted(os.listdir("out")) == WRITTEN
    monkeypatch.setitem(reproduce_report.GRIDS, "report", TINY | {"activation": ["leaky_relu"]})
    status, line = fails(capsys, [*arguments, "--out", "none"])
    assert status == 1
    assert line.endswith("no configuration could be re-trained; the table gives the reasons")


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        (
            [0.5, np.nan, 0.7],
            "test loss 0.6000 on average, median 0.6000, from 0.5000 to 0.7000, standard deviation 0.1414, "
            "1 failed or diverged",
        ),
        ([np.nan] * 3, "3 failed or diverged"),
    ],
)
def test_some_or_all_seeds_diverge(losses, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SearchResult, "optimism", lambda *_, **__: Optimism(np.array([losses] * 4)))
    reproduce_report.main([*make_files(tmp_path), "--workers", "1"])
    assert f"The second configuration from 3 other seeds: {sentence}.\n" in capsys.readouterr().out
    assert Path("out", "seeds.png").exists() == np.isfinite(losses).any()


# ---- what it refuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--workers 0", "argument --workers: '0' given, expected an integer of at least 1"),
        ("--workers two", "argument --workers: 'two' given, expected an integer of at least 1"),
        ("--seed -1", "argument --seed: '-1' given, expected an integer of at least 0"),
        ("--seed abc", "argument --seed: 'abc' given, expected an integer of at least 0"),
        ("--grid big", "argument --grid: invalid choice: 'big'"),
        ("--decay none", "argument --decay: invalid choice: 'none'"),
        ("--train train.csv", "--train given without --test, expected both or neither"),
        ("--test test.csv", "--test given without --train, expected both or neither"),
        ("more", "unrecognized arguments: more"),
    ],
)
def test_options(arguments, message, capsys):
    status, line = fails(capsys, arguments.split())
    assert status == 2
    assert message in line
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.csv", "1,2\n3,nan\n", "bad.csv, line 2: 'nan' is not finite, expected x,y"),
        ("bad.csv", "1,2\n3,\n", "bad.csv, line 2: '3,' is not two numbers, expected x,y"),
        ("bad.csv", "x,y\n1,2\n", "bad.csv, line 1: 'x' is no number, expected x,y"),
        ("bad.csv", "", "bad.csv: has no points, expected lines of x,y"),
        ("bad.csv", "1,2\n" * 3, "KFold(4): 3 samples given, expected at least 4"),
        (
            "none.csv",
            None,
            "--train none.csv cannot be read (No such file or directory); expected a file with x,y in each line",
        ),
        (".", None, "--train . cannot be read (Is a directory); expected a file with x,y in each line"),
    ],
)
def test_points(name, text, message, tmp_path, capsys):
    make_files(tmp_path)
    if text is not None:
        Path(name).write_text(text)
    status, line = fails(capsys, ["--train", name, "--test", "test.csv"])
    assert (status, line) == (1, f"reproduce_report.py: error: {message}")
    assert not Path("out").exists()
    if "KFold" not in message:  # a test set may be of any size
        _, line = fails(capsys, ["--train", "train.csv", "--test", name])
        assert line == f"reproduce_report.py: error: {message.replace('--train', '--test')}"
        assert not Path("out").exists()


@pytest.mark.parametrize("out", ["file", "file/folder", "/proc/none"])
def test_out_that_is_no_folder(out, tmp_path, capsys):
    Path("file").touch()
    status, line = fails(capsys, [*make_files(tmp_path), "--out", out])
    assert status == 1
    assert f"--out {out} cannot be made (" in line
    assert line.endswith("expected a folder, or the name of a new one")


@pytest.mark.parametrize(
    ("arguments", "other"),
    [
        (["--seed", "1"], "other folds .*, seed "),
        (["--decay", "linear"], "other grid "),
        (["--grid", "quick"], "other grid "),
        (["--train", "test.csv"], "other data .*, folds "),
    ],
)
def test_the_store_of_another_search(arguments, other, reference, tmp_path, capsys):
    files = make_files(tmp_path)
    (tmp_path / "test.csv").write_text(TEST * 2)
    before = {path.name: path.read_bytes() for path in reference.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        status, line = fails(capsys, [*files, "--out", str(reference), *arguments])
    assert status == 1
    assert f"{reference}/search.sqlite belongs to another search, with other" in line
    assert {path.name: path.read_bytes() for path in reference.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rank,lr\n", "is not an SQLite file, expected the file of a search; give another path"),
        (None, "is a directory, expected a file; give another path"),
    ],
)
def test_a_foreign_store(content, message, tmp_path, capsys):
    Path("out").mkdir()
    store = Path("out", "search.sqlite")
    store.mkdir() if content is None else store.write_bytes(content)
    status, line = fails(capsys, make_files(tmp_path))
    assert status == 1
    assert line.endswith(f"store out/search.sqlite {message}")
    assert os.listdir("out") == ["search.sqlite"]


def test_a_truncated_store(reference, tmp_path, capsys):
    Path("out").mkdir()
    Path("out", "search.sqlite").write_bytes((reference / "search.sqlite").read_bytes()[:6000])
    status, line = fails(capsys, make_files(tmp_path))
    assert status == 1
    assert "store out/search.sqlite cannot be" in line
    assert os.listdir("out") == ["search.sqlite"]


@pytest.mark.parametrize("name", ["winner.safetensors", "losses.png"])
def test_a_disk_that_is_full_leaves_no_part_of_a_file(name, tmp_path, monkeypatch, capsys):
    replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    status, line = fails(capsys, [*make_files(tmp_path), "--workers", "1"])
    assert status == 1
    assert line.endswith(f"out/{name} cannot be written (No space left on device); give another --out")
    assert set(os.listdir("out")) < set(WRITTEN) - {name}


# ---- interruptions -------------------------------------------------------------------------------------------------


def start(arguments, **streams):
    return subprocess.Popen(
        [sys.executable, tiny_report.__file__, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **streams,
    )


def wait_for(process, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def session_of(process):
    """The ids of the processes that a process has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # the process has ended meanwhile
            continue
        if session == str(process.pid) and state not in "ZX":
            found.append(stat.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")
def test_interrupted_while_the_workers_of_the_search_and_of_the_retraining_start(reference, tmp_path):
    """Ctrl-C in a terminal goes to the program, its two workers and Python's tracker. A user may press it twice."""
    arguments = [*make_files(tmp_path), "--workers", "2"]
    for moment in ("search.sqlite", "ranking.csv"):
        process = start(arguments, stdout=subprocess.DEVNULL)
        wait_for(process, lambda: Path("out", moment).exists() and len(session_of(process)) == 4)  # noqa: B023
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        message = "interrupted; finished fits of the search are kept, the same command goes on from them"
        assert complaints(errors) == [message], errors
        assert process.returncode in (130, -signal.SIGINT)  # -SIGINT if the second Ctrl-C came while the interpreter was ending
        deadline = time.monotonic() + 60
        while session_of(process):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.01)
        assert not Path("out", "winner.safetensors").exists()
    reproduce_report.main([*arguments[:-1], "1"])
    for name in ("ranking.csv", "winner.safetensors", "data.png", "losses.png", "function.png"):
        assert Path("out", name).read_bytes() == (reference / name).read_bytes()


def test_two_at_once_in_one_folder(reference, tmp_path):
    processes = [start([*make_files(tmp_path), "--workers", "1"], stdout=subprocess.DEVNULL) for _ in range(2)]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    for errors, status in ended:
        if status:  # the store has one owner at a time
            assert status == 1
            [line] = complaints(errors)
            assert line.startswith("reproduce_report.py: error: store out/search.sqlite is in use by ")
    assert sorted(status for _, status in ended)[0] == 0
    assert sorted(os.listdir("out")) == WRITTEN
    assert Path("out", "ranking.csv").read_bytes() == (reference / "ranking.csv").read_bytes()
    with sqlite3.connect(Path("out", "search.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM fits").fetchone() == (16,)
    connection.close()


def test_nobody_reads_the_output(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    process = start([*make_files(tmp_path), "--workers", "1"], stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    expected = "reproduce_report.py: error: nobody reads the output any more; finished fits of the search are kept"
    assert (process.returncode, complaints(errors)) == (1, [expected])
