"""What others do to the files of a store: it is moved, removed or replaced, or its lock is another program's file."""

import os
import sqlite3
import tempfile

import pytest

from search import Outcome, Store, StoreError
from search.store import owner_of
from tests.search.store.test_store import CONFIGURATION, FINGERPRINT, make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.sqlite"


def remove(path):
    path.unlink()


def remove_all(path):
    for file in path.parent.iterdir():
        file.unlink()


def move(path):
    path.rename(path.with_name("moved.sqlite"))


def replace(path):
    path.with_name("other").write_text("another's")
    path.with_name("other").rename(path)


def replace_by_a_link(path):
    move(path)
    path.symlink_to("/etc/hostname")


def replace_by_another_store(path):
    path.unlink()
    other = path.with_name("other.sqlite")
    with Store(other, FINGERPRINT) as store:
        store.add(CONFIGURATION, 7, Outcome("done", 7.0))
    other.rename(path)


def remove_the_folder(path):
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()


linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="an open file can neither be moved nor found")


@linux
@pytest.mark.parametrize("moment", ["before a result", "at the end"])
@pytest.mark.parametrize(
    ("happen", "what", "where"),
    [
        (remove, "was moved or removed", "search.sqlite"),
        (remove_all, "was moved or removed", "search.sqlite"),
        (move, "was moved or removed", "moved.sqlite"),
        (replace, "was replaced by another file or link", "search.sqlite.rescued"),
        (replace_by_a_link, "was replaced by another file or link", "moved.sqlite"),
        (replace_by_another_store, "was replaced by another file or link", "search.sqlite.rescued"),
        (remove_the_folder, "was moved or removed", "temporary/search.sqlite.rescued"),
    ],
)
def test_what_happens_to_the_file_is_told_and_its_results_are_kept(happen, what, where, moment, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    path = tmp_path / "folder" / "search.sqlite"
    kept = tmp_path / where if "/" in where else path.with_name(where)
    found = None

    def search():
        nonlocal found
        with Store(path, FINGERPRINT) as store:
            store.add(CONFIGURATION, 0, Outcome("done", 0.5))
            happen(path)
            found = path.read_bytes() if path.exists() else None
            if moment == "before a result":
                store.add(CONFIGURATION, 1, Outcome("done", 0.25))

    with pytest.raises(StoreError, match=f"search.sqlite {what} while the search ran[;,] .*{kept}: ") as caught:
        search()
    assert "\n" not in str(caught.value)
    n_results = 2 if moment == "before a result" else 1
    if kept.name != "moved.sqlite":
        assert f"its {n_results} results were written to " in str(caught.value)
    if found is not None:
        assert path.read_bytes() == found, "another's file is not touched"
    with Store(kept, FINGERPRINT) as store:
        assert [outcome.validation_loss for outcome in store.outcomes().values()] == [0.5, 0.25][:n_results]


def test_a_link_to_a_store_that_leads_elsewhere_is_noticed(path):
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with Store(link, FINGERPRINT) as store:
        link.unlink()
        link.symlink_to(path.with_name("elsewhere"))
        with pytest.raises(StoreError, match=f"link.sqlite was replaced by .*; all results are in {path}: give"):
            store.add(CONFIGURATION, 0, Outcome("done", 0.5))
    with Store(path) as store:
        assert len(store.outcomes()) == 1


def test_texts_that_are_not_unicode_are_kept(path):
    folder = os.fsdecode(b"/home/m\xfcller")
    with Store(path, FINGERPRINT) as store:
        store.note("settings folder", folder)
    with Store(path) as store:
        assert store.meta["settings folder"] == folder


def test_a_folder_whose_name_is_not_unicode(tmp_path):
    folder = tmp_path / os.fsdecode(b"m\xfcller")
    folder.mkdir()
    with Store(folder / "search.sqlite", FINGERPRINT) as store:
        store.add(CONFIGURATION, 0, Outcome("done", 0.5))
        with pytest.raises(StoreError) as caught:
            Store(folder / "search.sqlite", FINGERPRINT)
    assert str(caught.value).encode()
    assert "m\\udcfcller" in str(caught.value)


def lock_is_text(lock):
    lock.write_text("of another program")


def lock_is_empty(lock):
    lock.touch()


def lock_is_a_database(lock):
    connection = sqlite3.connect(lock)
    connection.execute("CREATE TABLE precious (a)")
    connection.close()


def lock_is_a_link(lock):
    precious = lock.with_name("precious.sqlite")
    lock_is_a_database(precious)
    lock.symlink_to(precious)


def lock_is_a_link_to_nothing(lock):
    lock.symlink_to(lock.with_name("nothing"))


def lock_is_a_folder(lock):
    lock.mkdir()


@pytest.mark.parametrize(
    "make_lock",
    [lock_is_text, lock_is_empty, lock_is_a_database, lock_is_a_link, lock_is_a_link_to_nothing, lock_is_a_folder],
)
def test_what_is_not_a_lock_is_neither_written_nor_removed(make_lock, path):
    make(path)
    make_lock(path.with_name("search.sqlite.lock"))

    def state():
        return {
            file.name: (file.lstat().st_mtime_ns, file.lstat().st_ino, file.read_bytes() if file.is_file() else None)
            for file in path.parent.iterdir()
        }

    before = state()
    with pytest.raises(StoreError, match="cannot be locked: search.sqlite.lock beside it is not the lock of a search; "):
        Store(path, FINGERPRINT)
    assert owner_of(path) is None
    assert state() == before


def test_a_lock_that_is_replaced_is_not_removed(path):
    lock = path.with_name("search.sqlite.lock")
    with Store(path, FINGERPRINT):
        lock.unlink()
        lock_is_text(lock)
    assert lock.read_text() == "of another program"


def test_the_owner_is_found_through_a_link(path):
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with Store(link, FINGERPRINT):
        assert owner_of(link) == owner_of(path) != None  # noqa: E711
