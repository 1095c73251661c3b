import math
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from search import Outcome, Store, StoreError, canonical_text
from search.fingerprint import package_version

FINGERPRINT = {"data": "d" * 64, "grid": "e" * 64, "folds": "f" * 64, "seed": "0"}
CONFIGURATION = {"hidden": (75, 50), "lr": 0.1}


def bits(number):
    return struct.pack(">d", number)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.sqlite"


@pytest.mark.parametrize(
    "loss", [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 2**53 + 2.0]
)
def test_losses_round_trip_to_the_bit(path, loss):
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 3, Outcome("done", loss, -loss, 0.125, "why\x00 'é\n"))
    with Store(path) as store:
        [(key, outcome)] = store.outcomes().items()
    assert key == (canonical_text(CONFIGURATION), 3)
    assert bits(outcome.validation_loss) == bits(loss)
    assert bits(outcome.train_loss) == bits(-loss) or math.isnan(loss)
    assert (outcome.status, outcome.seconds, outcome.reason) == ("done", 0.125, "why\x00 'é\n")


def test_every_nan_is_stored_as_one(path):
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 0, Outcome("diverged", -math.nan, struct.unpack(">d", b"\x7f\xf8\0\0\0\0\0\7")[0]))
        [outcome] = store.outcomes().values()
    assert math.isnan(outcome.validation_loss)
    assert math.isnan(outcome.train_loss)


def test_result_is_in_the_file_before_close(path):
    with Store(path, FINGERPRINT) as writer:
        with Store(path) as reader:
            assert reader.outcomes() == {}
            writer.add(CONFIGURATION, 0, Outcome("done", 0.5))
            assert list(reader.outcomes()) == [(canonical_text(CONFIGURATION), 0)]
            with pytest.raises(StoreError, match="cannot be written: attempt to write a readonly database"):
                reader.add(CONFIGURATION, 1, Outcome("done", 0.5))
        writer.add(CONFIGURATION, 1, Outcome("done", 0.25))
        assert len(writer.outcomes()) == 2


def test_first_result_of_a_fit_stays(path):
    with Store(path, FINGERPRINT) as store:
        store.add(CONFIGURATION, 0, Outcome("done", 0.5))
        store.add(CONFIGURATION, 0, Outcome("done", 0.75))
        assert [outcome.validation_loss for outcome in store.outcomes().values()] == [0.5]


def test_settings_of_the_file(path):
    with Store(path, FINGERPRINT) as store:
        assert store.meta == {**FINGERPRINT, "version": package_version()}
        connection = store._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert sorted(file.name for file in path.parent.iterdir()) == ["search.sqlite"]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    with Store(path, FINGERPRINT):
        pass
    assert path.stat().st_size > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "a" * 64}, r"with other data \(dddddddd there, aaaaaaaa here\): give"),
        ({"grid": "a" * 64}, r"with other grid \(eeeeeeee there, aaaaaaaa here\)"),
        ({"folds": "a" * 64}, r"with other folds \(ffffffff there, aaaaaaaa here\)"),
        ({"seed": "7"}, r"with other seed \(0 there, 7 here\): give what it was made with, or another store"),
        ({"data": "b" * 64, "seed": "7"}, r"with other data \(.*\), seed \(0 there, 7 here\)"),
    ],
)
def test_another_search_is_refused_by_what_differs(path, change, message):
    with Store(path, FINGERPRINT):
        pass
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"belongs to another search, {message}") as caught:
        Store(path, FINGERPRINT | change)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def make_text(path):
    path.write_text("rank,lr\n1,0.1\n" * 20)


def make_zeros(path):
    path.write_bytes(bytes(8192))


def make_short(path):
    path.write_bytes(b"SQLite format 3\0")


def make_other_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE fits (a)")
    connection.close()


def make_newer(path):
    with Store(path, FINGERPRINT):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_text, "is not an SQLite file, expected the file of a search; give another path"),
        (make_zeros, "cannot be .*: file is not a database|there is none, expected the file of a search"),
        (make_short, "is not an SQLite file"),
        (make_other_database, "is another program's database, expected a search's; give another path"),
        (make_newer, "has format 2, this version reads up to 1; use a newer tinygrad-lab"),
    ],
)
def test_foreign_file_is_refused_and_not_altered(path, make, message):
    make(path)
    before = path.read_bytes()
    for fingerprint in (FINGERPRINT, None):
        with pytest.raises(StoreError, match=message) as caught:
            Store(path, fingerprint)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["search.sqlite"]


def test_other_paths_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"is a directory, expected a file; give another path"):
        Store(tmp_path, FINGERPRINT)
    with pytest.raises(StoreError, match=r"folder .*none does not exist, expected one; make it first"):
        Store(tmp_path / "none" / "search.sqlite", FINGERPRINT)
    with pytest.raises(StoreError, match=r"folder .*file does not exist"):
        Store(tmp_path / "file" / "search.sqlite", FINGERPRINT)
    with pytest.raises(StoreError, match="there is none, expected the file of a search"):
        Store(tmp_path / "search.sqlite")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which even root cannot write")
def test_unwritable_folder():
    with pytest.raises(StoreError, match=r"store /proc/search.sqlite cannot be .*give another store"):
        Store("/proc/search.sqlite", FINGERPRINT)


def test_damage_is_named(path):
    with Store(path, FINGERPRINT) as store:
        for fold in range(500):
            store.add(CONFIGURATION, fold, Outcome("done", 0.5))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with (
        pytest.raises(StoreError, match=r"search.sqlite cannot be .*: database disk image is malformed"),
        Store(path) as store,
    ):
        store.outcomes()


def test_a_creation_cut_short_is_undone_by_the_next(path):
    """The process dies inside the transaction that lays the file out, with a part of it already in the file."""
    script = (
        "import os, sqlite3, sys; from search.store import SCHEMA\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA cache_size = 1'); connection.execute('BEGIN IMMEDIATE')\n"
        "for statement in SCHEMA: connection.execute(statement)\n"
        "connection.execute('PRAGMA cache_spill = 1')\n"
        "connection.executemany('INSERT INTO meta VALUES (?, ?)', [(str(i), 'x' * 500) for i in range(1000)])\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True, cwd=Path(__file__).parents[1])
    assert path.stat().st_size > 0
    assert path.with_name("search.sqlite-journal").exists()
    with Store(path, FINGERPRINT) as store:
        assert store.meta["seed"] == "0"
        assert store.outcomes() == {}
