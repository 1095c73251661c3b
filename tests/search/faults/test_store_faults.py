"""The promise of a store under faults: kills at any time, writes that fail, flipped bits, truncated files.

The default run has a few faults of each kind, `pytest -m faults` has all. Their numbers are shown at the end.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from search import GridSearch, KFold, Outcome, Store, StoreError
from search.testing import build_polynomial
from tests.helpers import ROOT
from tests.helpers.searches import SEARCH_GRID, data
from tests.search.faults import store_process

full = pytest.mark.faults
unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes that it kills")


@pytest.fixture
def folder():
    """A folder in memory if there is one: on a disk, syncing would take ten times as long."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def run_script(*arguments, **environment):
    ended = subprocess.run(
        [sys.executable, store_process.__file__, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@unix
@pytest.mark.parametrize(
    ("kills", "workers"),
    [(8, 1), pytest.param(450, 1, marks=full), pytest.param(50, 2, marks=full)],
)
def test_kills_of_the_parent(kills, workers, folder, count):
    found = run_script("kill", folder, kills, kills, workers)
    assert found["kills"] == kills
    assert set(found["rankings"]) == {found["reference"]}
    count(
        f"{kills} kills of a parent of {workers} worker(s), {len(found['rankings'])} searches completed, "
        f"{found['acknowledged']} results acknowledged, {len(set(found['rankings']))} ranking"
    )


@pytest.fixture
def shim(tmp_path):
    """The library that is preloaded to let the writes of a process fail."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler, cc, to let writes fail")
    library = tmp_path / "failing_writes.so"
    source = Path(__file__).with_name("failing_writes.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


@unix
@pytest.mark.parametrize("every", [29, pytest.param(1, marks=full)])
def test_writes_that_fail(every, folder, shim, count):
    found = run_script("fail", folder, every, LD_PRELOAD=shim)
    assert found["failures"] > 0
    assert set(found["rankings"]) == {found["reference"]}
    assert found["messages"]
    for message in found["messages"]:
        assert message.startswith("store PATH cannot be "), message
        assert "\n" not in message
    count(
        f"{found['failures']} writes failed (ENOSPC, EIO; once, for ever; torn, whole), {found['reported']} reported as a "
        f"StoreError, all resumed to {len(set(found['rankings']))} ranking"
    )


@unix
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=full)])
def test_writes_that_fail_while_the_file_grows(every, folder, shim, count):
    """A checkpoint writes the new size into the file before the file has this size."""
    found = run_script("grow", folder, every, LD_PRELOAD=shim)
    assert found["failures"] > 0
    assert found["kills"] > 0
    assert found["cut short"] > 0
    count(
        f"{found['failures']} writes failed (ENOSPC, EIO; once, for ever; torn, whole), {found['kills']} were the last before "
        f"a kill, {found['cut short']} files were left shorter than they say, all reopened with what was acknowledged"
    )


# ---- damage --------------------------------------------------------------------------------------------------------

FINGERPRINT = {"data": "3 samples", "grid": '{"lr":[0.1]}', "folds": "2 of 2 + 1 samples", "seed": "0"}
RESULTS = [Outcome("done", 0.1 * i, -0.2 * i, 0.3, "why" * i, state=b"state" * 20 if i % 2 else None) for i in range(14)]


def configuration(i):
    return {"lr": 0.1, "number": i}


def add(store, i):
    store.add(configuration(i), i % 3, RESULTS[i])


def content(store):
    """Everything that a store holds, to the bit."""
    return {
        key: (outcome.status, outcome.validation_loss, outcome.train_loss, outcome.seconds, outcome.reason, outcome.state)
        for key, outcome in store.outcomes().items()
    }


class Damaged:
    """The file and the log of a small store as they are after a kill, to be damaged."""

    def __init__(self, folder, in_file, in_log=0):
        self.path = folder / "search.sqlite"
        with Store(self.path, FINGERPRINT) as store:
            for i in range(in_file):
                add(store, i)
            self.next = in_file + in_log
            self.states = [content(store)]
            reader = Store(self.path)
            if in_log:  # a reader with an open transaction keeps them in the log
                reader._connection.execute("BEGIN")
                reader._connection.execute("SELECT * FROM fits").fetchall()
                store._connection.execute("PRAGMA busy_timeout = 0")
            for i in range(in_file, self.next):
                add(store, i)
                self.states.append(content(store))
            names = [self.path.name] + [self.path.name + "-wal"] * bool(in_log)
            self.files = {name: self.path.with_name(name).read_bytes() for name in names}
            reader.close()

    def becomes(self, files):
        """Write the damaged files, open the store and continue with it; return what happened."""
        for file in self.path.parent.iterdir():
            file.unlink()
        for name, damaged in files.items():
            self.path.with_name(name).write_bytes(damaged)
        try:
            with Store(self.path, FINGERPRINT) as store:
                found = content(store)
                assert found in self.states, "a damaged store was accepted"
                missing = len(self.states) - 1 - self.states.index(found)
                for i in range(self.next - missing, self.next + 1):
                    add(store, i)
            with Store(self.path) as store:
                assert len(content(store)) == self.next + 1
                assert content(store).items() >= self.states[-1].items(), "a damaged store changed as it was used"
        except StoreError as error:
            is_named = str(error).startswith(f"store {self.path} ") and "\n" not in str(error)
            return "refused by name" if is_named else f"refused as {error}"
        return f"recovered with {missing} to fit again" if missing else "recovered whole"

    def tally(self, damages):
        """Return how often each result happened."""
        counts = Counter(self.becomes(self.files | damage) for damage in damages)
        assert counts.keys() <= {
            "refused by name",
            "recovered whole",
            "recovered with 1 to fit again",
            "recovered with 2 to fit again",
        }
        return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))

    def flips(self, name, share):
        """Yield the file with one bit flipped, for every bit or a random share of them."""
        for bit in random.Random(0).sample(range(8 * len(self.files[name])), int(8 * len(self.files[name]) * share)):
            damaged = bytearray(self.files[name])
            damaged[bit // 8] ^= 1 << bit % 8
            yield {name: bytes(damaged)}

    def truncations(self, name, share):
        """Yield the file truncated at every length, or at a random share of them, and always at the ends of pages."""
        size = len(self.files[name])
        for length in {*random.Random(0).sample(range(size), int(size * share)), *range(0, size, 512)}:
            yield {name: self.files[name][:length]}


@pytest.mark.parametrize("share", [0.003, pytest.param(1.0, marks=full)])
def test_flipped_bits_of_the_file(share, folder, count):
    damaged = Damaged(folder, in_file=12)
    counts = damaged.tally(damaged.flips("search.sqlite", share))
    assert "refused" in counts
    assert "to fit again" not in counts
    count(f"{counts} of {8 * len(damaged.files['search.sqlite'])} bits")


@pytest.mark.parametrize("share", [0.003, pytest.param(1.0, marks=full)])
def test_flipped_bits_of_the_log(share, folder, count):
    """A truncated log just ends earlier: results that a reader kept in the log are fitted again."""
    damaged = Damaged(folder, in_file=2, in_log=2)
    counts = damaged.tally(damaged.flips("search.sqlite-wal", share))
    assert "refused" not in counts
    count(f"{counts} of {8 * len(damaged.files['search.sqlite-wal'])} bits")


@pytest.mark.parametrize("share", [0.01, pytest.param(1.0, marks=full)])
def test_a_file_cut_short(share, folder, count):
    damaged = Damaged(folder, in_file=12)
    counts = damaged.tally(damaged.truncations("search.sqlite", share))
    assert "recovered" not in counts
    count(counts)


@pytest.mark.parametrize("share", [0.01, pytest.param(1.0, marks=full)])
def test_a_log_cut_short(share, folder, count):
    damaged = Damaged(folder, in_file=2, in_log=2)
    counts = damaged.tally(damaged.truncations("search.sqlite-wal", share))
    assert "recovered" in counts
    count(counts)


# ---- one ranking ---------------------------------------------------------------------------------------------------


def run(grid=SEARCH_GRID, **arguments):
    return GridSearch(build_polynomial, grid, KFold(4), **arguments).run(*data(), progress=False)


@pytest.mark.parametrize("workers", [[1, 1, 2], pytest.param([1, 2, 4, 8] * 12 + [1, 2], marks=full)])
def test_one_ranking(workers, folder, count):
    """For any number of workers, any order of the grid, and any fits that were done before."""
    generator = random.Random(0)
    done = run(store=folder / "whole.sqlite", workers=1)
    with Store(folder / "whole.sqlite") as whole:
        meta, outcomes = whole.meta, whole.outcomes()
    fingerprint = {key: text for key, text in meta.items() if key != "rows"}
    digests, resumed = set(), 0
    for number, n_workers in enumerate(workers):
        path = folder / f"{number}.sqlite"
        with Store(path, fingerprint) as store:
            for text, fold in generator.sample(sorted(outcomes), number % len(outcomes)):
                store.add(json.loads(text), fold, outcomes[text, fold])
                resumed += 1
        shuffled = generator.sample(list(SEARCH_GRID), len(SEARCH_GRID))
        run(shuffled, store=path, workers=n_workers).ranking.to_csv(folder / "ranking.csv")
        digests.add(hashlib.sha256((folder / "ranking.csv").read_bytes()).hexdigest())
    done.ranking.to_csv(folder / "ranking.csv")
    assert digests == {hashlib.sha256((folder / "ranking.csv").read_bytes()).hexdigest()}
    count(f"{len(workers)} runs, {resumed} results of theirs from before, {len(digests)} sha256 of the ranking")
