"""A script that kills searches, or lets their writes fail, in processes that it forks. It prints the results as JSON.

    python store_process.py kill FOLDER KILLS SEED WORKERS      kills them at random moments
    python store_process.py fail FOLDER EVERY                   lets their writes fail, every EVERY-th; preload failing_writes.c
    python store_process.py grow FOLDER EVERY                   lets them fail, or kills the search there, while the file grows

Each search writes the results that the store has acknowledged to a separate file. After each death, the store must have them.
When a search is complete, its ranking must be that of a search without faults.
"""

import ctypes
import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

from search import GridSearch, KFold, Outcome, ParameterGrid, Store, StoreError, canonical_text
from search.testing import build_polynomial
from tests.helpers.searches import data

GRIDS = {
    "kill": ParameterGrid(degree=[1, 2, 3, 4], lr=[0.1, 0.2, 0.5], epochs=[20]),
    "fail": ParameterGrid(degree=[1, 2], epochs=[3]),
}


class Trial:
    """A search whose process may die at any time, and the results that it acknowledged."""

    def __init__(self, folder, grid, workers=1):
        self.grid = grid
        self.workers = workers
        self.folder = folder
        self.store = folder / "store" / "search.sqlite"
        self.store.parent.mkdir(parents=True)
        self.acknowledged = folder / "acknowledged"
        self.acknowledged.touch()
        self.ranking = folder / "ranking.csv"
        self.message = folder / "message"

    def search(self):
        """Run the search, in a forked process."""
        file = os.open(self.acknowledged, os.O_WRONLY | os.O_APPEND)
        add = Store.add

        def add_and_note(store, configuration, fold, outcome, *epochs):
            add(store, configuration, fold, outcome, *epochs)
            note = [canonical_text(configuration), fold, outcome.validation_loss.hex()]
            os.write(file, json.dumps(note).encode() + b"\n")

        Store.add = add_and_note
        result = run(self.grid, self.store, self.workers)
        result.ranking.to_csv(self.ranking)

    def start(self, before=lambda: None, after=lambda: None):
        """Fork a process that runs the search between two calls, and return its id."""
        process = os.fork()
        if process == 0:
            status = 1
            try:
                before()
                self.search()
                status = 0
            except StoreError as error:
                self.message.write_text(str(error))
                status = 3
            except BaseException as error:
                self.message.write_text(repr(error))
            finally:
                after()
                os._exit(status)
        return process

    def check(self):
        """Check that all acknowledged results are there to the bit, and return their number."""
        noted = [json.loads(line) for line in self.acknowledged.read_text().splitlines()]
        if noted:
            with Store(self.store) as store:
                outcomes = store.outcomes()
            for text, fold, loss in noted:
                assert outcomes[text, fold].validation_loss.hex() == loss, (text, fold)
        return len(noted)

    def digest(self):
        return hashlib.sha256(self.ranking.read_bytes()).hexdigest()


def run(grid, store, workers=1):
    return GridSearch(build_polynomial, grid, KFold(2), store=store, workers=workers).run(*data(), progress=False)


def undisturbed(folder, grid, workers=1):
    """Return the ranking of a search without faults, and how long it took."""
    trial = Trial(folder, grid, workers)
    begin = time.monotonic()
    assert os.waitpid(trial.start(), 0)[1] == 0, trial.message.read_text()
    return trial.digest(), time.monotonic() - begin


def kill(folder, kills, seed, workers):
    """Kill searches so often. Each continues where the one before was killed, until it is complete."""
    generator = random.Random(seed)
    reference, duration = undisturbed(folder / "reference", GRIDS["kill"], workers)
    killed, acknowledged, rankings = 0, 0, []
    while killed < kills:
        trial = Trial(folder / str(len(rankings)), GRIDS["kill"], workers)
        while True:
            process = trial.start()
            if killed < kills:
                time.sleep(generator.uniform(0, 0.6 * duration if workers == 1 else 1.2 * duration))
                os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
            seen = trial.check()
            if not os.WIFSIGNALED(status):
                break
            killed += 1
        assert status == 0, trial.message.read_text()
        acknowledged += seen
        rankings.append(trial.digest())
        shutil.rmtree(trial.folder)
    return {"kills": killed, "acknowledged": acknowledged, "rankings": rankings, "reference": reference}


def count_calls(shim, folder):
    (folder / "calls").write_text(str(shim.calls_since_armed()))


def fail(folder, every):
    """Let the n-th write fail, for n = 1, 2, ... until a search has fewer writes; then run it again without faults."""
    shim = ctypes.CDLL(None)
    reference, _ = undisturbed(folder / "reference", GRIDS["fail"])
    failures, reported, rankings, messages = 0, 0, [], set()
    for number, stays_broken, is_torn in itertools.product((errno.ENOSPC, errno.EIO), (False, True), (False, True)):
        for call in itertools.count(1 + failures % every, every):
            trial = Trial(folder / "trial", GRIDS["fail"])
            arguments = os.fsencode(trial.store.parent), ctypes.c_long(call), number, stays_broken, is_torn
            process = trial.start(partial(shim.arm, *arguments), partial(count_calls, shim, folder))
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if int((folder / "calls").read_text()) < call:
                assert status == 0, trial.message.read_text()
                shutil.rmtree(trial.folder)
                break
            failures += 1
            trial.check()
            # A search need not report a failed write when the store is closed, or one to the index of the log.
            assert status in (0, 3), trial.message.read_text()
            if status == 3:
                reported += 1
                messages.add(trial.message.read_text().replace(str(trial.store), "PATH"))
            assert os.waitpid(trial.start(), 0)[1] == 0, trial.message.read_text()
            trial.check()
            rankings.append(trial.digest())
            shutil.rmtree(trial.folder)
    return {
        "failures": failures,
        "reported": reported,
        "rankings": rankings,
        "reference": reference,
        "messages": sorted(messages),
    }


def configuration(number):
    return {"number": number}


def about_to_grow(file):
    """Make a store whose file grows with the next result; return its number of results."""
    with Store(file, {"seed": "0"}) as store:
        for number in itertools.count():
            before = file.read_bytes()
            store.add(configuration(number), 0, Outcome("done", float(number)))
            if number >= 70 and file.stat().st_size > len(before):
                break
    file.write_bytes(before)
    return number


def is_cut_short(file):
    """Whether the file has fewer pages than its header says, as during a checkpoint."""
    content = file.read_bytes()
    return len(content) < int.from_bytes(content[16:18]) * int.from_bytes(content[28:32])


def grow(folder, every):
    """While two results are added and the file grows, let the n-th write fail or kill the process there, for n = 1, 2, ..."""
    shim = ctypes.CDLL(None)
    made, file, noted = folder / "made.sqlite", folder / "store" / "search.sqlite", folder / "noted"
    n_before = about_to_grow(made)
    n_after = n_before + 2

    def add():
        with Store(file, {"seed": "0"}) as store:
            for number in range(n_before, n_after):
                store.add(configuration(number), 0, Outcome("done", float(number)))
                noted.write_text(str(number + 1))

    def add_and_exit(*arguments):
        status = 1
        try:
            shim.arm(os.fsencode(file.parent), *arguments)
            add()
            status = 0
        except StoreError:
            status = 3
        finally:
            count_calls(shim, folder)
            os._exit(status)

    counts = {"failures": 0, "kills": 0, "cut short": 0}
    failures = [(number, *how) for number in (errno.ENOSPC, errno.EIO) for how in itertools.product((False, True), repeat=2)]
    for place, (with_errno, stays_broken, is_torn) in enumerate([*failures, (0, False, False), (0, False, True)]):
        for call in itertools.count(1 + place % every, every):
            shutil.rmtree(file.parent, ignore_errors=True)
            file.parent.mkdir()
            shutil.copy(made, file)
            noted.write_text(str(n_before))
            process = os.fork()
            if process == 0:
                add_and_exit(ctypes.c_long(call), with_errno, stays_broken, is_torn)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if status == 0 and int((folder / "calls").read_text()) < call:
                break
            assert status in (0, 3, -signal.SIGKILL)
            counts["kills" if with_errno == 0 else "failures"] += 1
            counts["cut short"] += is_cut_short(file)
            with Store(file) as store:
                found = {text: outcome.validation_loss for (text, _), outcome in store.outcomes().items()}
            assert len(found) >= int(noted.read_text()), "an acknowledged result is lost"
            assert found == {canonical_text(configuration(i)): float(i) for i in range(len(found))}
            add()
            with Store(file) as store:
                assert len(store.outcomes()) == n_after
    return counts


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    print(json.dumps({"kill": kill, "fail": fail, "grow": grow}[command](Path(folder), *map(int, numbers))))
