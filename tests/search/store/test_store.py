import math
import os
import sqlite3
import struct
import subprocess
import sys

import pytest

from search import Outcome, Store, StoreError, canonical_text
from search.store import owner as owner_module
from search.store.file import APPLICATION_ID, FORMAT
from tests.helpers import ROOT

FINGERPRINT = {"data": "3 samples sha256:dd", "grid": '{"lr":[0.1]}', "folds": "4 of 2 + 1 samples sha256:ff", "seed": "0"}
CONFIGURATION = {"hidden": (75, 50), "lr": 0.1}


def bits(number):
    return struct.pack(">d", number)


def from_bits(text):
    (number,) = struct.unpack(">d", bytes.fromhex(text))
    return number


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.sqlite"


def make(path, results=0):
    with Store(path, FINGERPRINT) as store:
        for fold in range(results):
            store.add(CONFIGURATION, fold, Outcome("done", 0.5))


# ---- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 0.0, -0.0, 1.0, math.inf, -math.inf, 2**53 + 2.0]
    + [from_bits(text) for text in ("7ff8000000000000", "fff8000000000000", "7ff8000000000007", "ffffffffffffffff")],
)
def test_results_round_trip_to_the_bit(path, number):
    given = Outcome("done", number, -number, number, "why\x00 'é\n", state=b"\0\xffstate")
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 3, given)
    with Store(path) as store:
        [(key, outcome)] = store.outcomes().items()
    assert key == (canonical_text(CONFIGURATION), 3)
    for name in ("validation_loss", "train_loss", "seconds"):
        assert bits(getattr(outcome, name)) == bits(getattr(given, name))
    assert (outcome.status, outcome.reason, outcome.state) == ("done", "why\x00 'é\n", b"\0\xffstate")


def test_a_result_belongs_to_a_configuration_a_fold_and_a_number_of_epochs(path):
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 0, Outcome("done", 0.5, state=b""), epochs=10)
        store.add(CONFIGURATION, 0, Outcome("crashed", reason="killed"), epochs=20)
        store.add(CONFIGURATION, 0, Outcome("done", 0.25))
        store.add(CONFIGURATION, 1, Outcome("done", 0.75))
        of_configuration = {
            epochs: [(fold, outcome.status, outcome.state) for (_, fold), outcome in store.outcomes(epochs).items()]
            for epochs in (0, 10, 20, 30)
        }
    assert of_configuration == {
        0: [(0, "done", None), (1, "done", None)],
        10: [(0, "done", b"")],
        20: [(0, "crashed", None)],
        30: [],
    }


def test_first_result_of_a_fit_stays(path):
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 0, Outcome("done", 0.5))
        store.add(CONFIGURATION, 0, Outcome("done", 0.75))
        assert [outcome.validation_loss for outcome in store.outcomes().values()] == [0.5]


def test_progress(path):
    with Store(path, FINGERPRINT) as store:
        assert store.progress().counts == {}
        for fold, status in enumerate(["done", "failed", "done", "crashed"]):
            store.add(CONFIGURATION, fold, Outcome(status, seconds=0.25), epochs=fold)
    with Store(path) as store:
        assert store.progress().counts == {"done": 2, "failed": 1, "crashed": 1}
        assert store.progress().seconds == 1.0


def test_notes(path):
    with Store(path, FINGERPRINT) as store:
        store.note("settings", "[search]\nseed = 0\n")
        store.note("settings", "[search]\nseed = 0  # é\n")
        assert store.meta["settings"] == "[search]\nseed = 0  # é\n"
    with Store(path, FINGERPRINT) as store:
        assert store.meta["settings"] == "[search]\nseed = 0  # é\n"


@pytest.mark.parametrize("key", ["seed", "rows", "forked from"])
def test_what_the_store_says_itself_is_not_noted_over(path, key):
    with Store(path, FINGERPRINT) as store, pytest.raises(ValueError, match=f"note '{key}': .* expected another name"):
        store.note(key, "7")


def test_in_memory():
    with Store(None, FINGERPRINT) as store:
        store.add(CONFIGURATION, 0, Outcome("done", 0.5))
        assert len(store.outcomes()) == 1
        assert repr(store) == "Store('in memory')"


# ---- the file ------------------------------------------------------------------------------------------------------


def test_a_result_is_in_the_file_itself_when_it_is_acknowledged(path, tmp_path):
    """It is not only in the log: a copy of the one file has it."""
    copy = tmp_path / "copy.sqlite"
    with Store(path, FINGERPRINT) as store:
        for fold in range(3):
            store.add(CONFIGURATION, fold, Outcome("done", 0.5))
            copy.write_bytes(path.read_bytes())
            with Store(copy) as copied:
                assert len(copied.outcomes()) == fold + 1


def test_others_read_while_one_writes(path):
    with Store(path, FINGERPRINT) as writer:
        with Store(path) as reader:
            assert reader.outcomes() == {}
            writer.add(CONFIGURATION, 0, Outcome("done", 0.5))
            assert list(reader.outcomes()) == [(canonical_text(CONFIGURATION), 0)]
            with pytest.raises(StoreError, match="cannot be written: attempt to write a readonly database"):
                reader.add(CONFIGURATION, 1, Outcome("done", 0.5))
        writer.add(CONFIGURATION, 1, Outcome("done", 0.25))
        assert len(writer.outcomes()) == 2


def test_settings_of_the_file(path):
    with Store(path, FINGERPRINT) as store:
        assert {key: store.meta[key] for key in FINGERPRINT} == FINGERPRINT
        connection = store._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert [file.name for file in path.parent.iterdir()] == ["search.sqlite"]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    connection.close()


def test_the_log_of_a_file_that_was_deleted_is_not_played_into_the_next(path):
    with Store(path, FINGERPRINT) as store, Store(path) as reader:
        reader._connection.execute("BEGIN")
        reader._connection.execute("SELECT * FROM fits").fetchall()
        store._connection.execute("PRAGMA busy_timeout = 0")
        store.add(CONFIGURATION, 0, Outcome("done", 0.5))  # the reader keeps it in the log
        log = path.with_name("search.sqlite-wal").read_bytes()
    assert log
    path.unlink()
    path.with_name("search.sqlite-wal").write_bytes(log)
    with Store(path, FINGERPRINT) as store:
        assert store.outcomes() == {}


def test_a_checkpoint_that_was_interrupted_is_made_up_for(path):
    """A checkpoint writes the new size into the file before the file has this size; the log has the rest."""
    make(path, results=1)
    before = path.read_bytes()
    with Store(path, FINGERPRINT) as store, Store(path) as reader:
        reader._connection.execute("BEGIN")
        reader._connection.execute("SELECT * FROM fits").fetchall()
        store._connection.execute("PRAGMA busy_timeout = 0")
        for fold in range(1, 40):
            store.add(CONFIGURATION, fold, Outcome("done", 0.5))  # the reader keeps it in the log
        log = path.with_name("search.sqlite-wal").read_bytes()
    after = path.read_bytes()
    assert len(after) > len(before)
    for given in (None, FINGERPRINT):
        path.write_bytes(after[:4096] + before[4096:])
        path.with_name("search.sqlite-wal").write_bytes(log)
        with Store(path, given) as store:
            assert len(store.outcomes()) == 40


def test_a_store_is_made_whole_or_not_at_all(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="search.sqlite cannot be opened: No space left on device; free or repair it"):
        Store(path, FINGERPRINT)
    assert list(path.parent.iterdir()) == []


# ---- one owner -----------------------------------------------------------------------------------------------------

OWNING = (
    "import sys; from search import Store\n"
    "with Store(sys.argv[1], {'seed': '0'}):\n"
    "    print('owning', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def owner(path):
    """Another process that owns the store."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OWNING, path]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "owning\n"
        yield process
        process.kill()


def test_a_second_owner_is_refused_and_told_who_the_first_is(path, owner):
    message = rf"is in use by process {owner.pid} on .* \(since \d{{4}}-.*\); wait for it or give another store"
    with pytest.raises(StoreError, match=message) as caught:
        Store(path, {"seed": "0"})
    assert "\n" not in str(caught.value)
    with Store(path) as reader:
        assert reader.outcomes() == {}


def test_the_lock_dies_with_its_process(path, owner):
    owner.kill()
    owner.wait()
    with Store(path, {"seed": "0"}) as store:
        store.add(CONFIGURATION, 0, Outcome("done", 0.5))
        with pytest.raises(StoreError, match=f"is in use by process {os.getpid()} on "):
            Store(path, {"seed": "0"})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # about threads and fork; the child only waits
def test_a_forked_process_does_not_keep_the_lock(path):
    """As a worker of a user's executor, which may outlive a killed search."""
    script = (
        "import os, sys, time; from search import Store\n"
        "store = Store(sys.argv[1], {'seed': '0'})\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(600)\n"
        "print(child, flush=True); os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, path]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.wait()
        try:
            with Store(path, {"seed": "0"}) as store:
                assert store.outcomes() == {}
        finally:
            os.kill(child, 9)


def test_a_second_owner_in_the_same_process_is_refused(path):
    with Store(path, FINGERPRINT):
        with pytest.raises(StoreError, match=f"is in use by process {os.getpid()} on "):
            Store(path, FINGERPRINT)
        link = path.with_name("link.sqlite")
        link.symlink_to(path)
        with pytest.raises(StoreError, match="link.sqlite is in use by "):
            Store(link, FINGERPRINT)
    Store(path, FINGERPRINT).close()


def test_a_search_that_adds_nothing_leaves_the_file_as_it_was(path):
    make(path, results=2)
    before = path.read_bytes()
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 1, Outcome("done", 0.75))  # there is one
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open is not removed there")
@pytest.mark.parametrize("moment", [0, 1])
@pytest.mark.parametrize("is_left_over", [False, True])
def test_a_lock_that_its_last_owner_removes_meanwhile_is_made_again(moment, is_left_over, path, monkeypatch):
    file = path.with_name("search.sqlite.lock")
    if is_left_over:  # the lock file of an owner that was killed
        with owner_module.owning(path):
            content = file.read_bytes()
        file.write_bytes(content)
    lock, calls = owner_module._lock, []

    def lock_late(connection):
        lock(connection)
        if len(calls) == moment:
            file.unlink()
        calls.append(connection)

    monkeypatch.setattr(owner_module, "_lock", lock_late)
    with Store(path, FINGERPRINT), pytest.raises(StoreError, match=f"is in use by process {os.getpid()} on "):
        Store(path, FINGERPRINT)
    assert len(calls) == moment + 3
    assert [file.name for file in path.parent.iterdir()] == ["search.sqlite"]


def test_a_store_that_was_refused_is_free(path):
    make(path)
    with pytest.raises(StoreError, match="belongs to another search"):
        Store(path, FINGERPRINT | {"seed": "1"})
    Store(path, FINGERPRINT).close()
