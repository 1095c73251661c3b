import copy
import importlib.util
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from search import GridSearch, KFold, Outcome, ParameterGrid, Store, StoreError
from search.store import owner_of
from search.store.differences import differences
from search.store.fingerprint import fingerprint
from search.store.rows import checksum
from search.testing import build_polynomial
from search.trials.folds import Layout
from tests.helpers.searches import build_scored
from tests.search.store.test_store import CONFIGURATION, FINGERPRINT, ROOT, make, path  # noqa: F401 (a fixture)

# ---- what differs --------------------------------------------------------------------------------------------------

X = np.linspace(0, 1, 6).reshape(6, 1)
FOLDS = ((np.arange(4), np.arange(4, 6)), (np.arange(2, 6), np.arange(2)))
GRID = ParameterGrid(lr=[0.1, 0.05], degree=[1, 2])
LIST = [{"lr": 0.1, "degree": 1}, {"lr": 0.05, "degree": 2}, {"lr": 0.2, "degree": 2}]


def made_from(x=X, y=X, grid=GRID, folds=FOLDS, seed=0, build=build_polynomial):
    return fingerprint(x, y, grid, Layout(folds, len(folds), repeats=1), seed, build)


@pytest.mark.parametrize(
    ("there", "here", "difference"),
    [
        ({}, {"seed": 1}, {"seed": "0 there, 1 here"}),
        ({}, {"x": np.nextafter(X, 2)}, {"data": "the same shapes, other values"}),
        (
            {},
            {"x": X[:5], "y": X[:5]},
            {
                "data": "6 samples of 1 feature in float64 and 1 target in float64 there, "
                "5 samples of 1 feature in float64 and 1 target in float64 here"
            },
        ),
        (
            {},
            {"x": np.hstack([X, X]), "y": np.arange(6)},
            {
                "data": "6 samples of 1 feature in float64 and 1 target in float64 there, "
                "6 samples of 2 features in float64 and labels in int64 here"
            },
        ),
        ({}, {"folds": FOLDS[::-1]}, {"folds": "the same sizes, other samples"}),
        ({}, {"folds": FOLDS[:1]}, {"folds": "2 folds of 4 + 2 samples there, 1 fold of 4 + 2 samples here"}),
        ({}, {"grid": ParameterGrid(degree=[2, 1], lr=[0.05, 0.1])}, {}),
        ({}, {"grid": list(GRID)[::-1]}, {}),
        ({}, {"grid": ParameterGrid(lr=[0.1], degree=[1, 2])}, {"grid": "lr has 0.05, 0.1 there and 0.1 here"}),
        ({}, {"grid": ParameterGrid(lr=[0.1, 0.05], degree=[1, 2.0])}, {"grid": "degree has 1, 2 there and 1, 2.0 here"}),
        (
            {},
            {"grid": ParameterGrid(lr=[0.1, 0.05], size=[(1, 2)])},
            {"grid": "degree has 1, 2 there and no value here, size has no value there and [1, 2] here"},
        ),
        ({}, {"grid": LIST}, {"grid": "4 configurations in a grid there, 3 configurations in a list here"}),
        ({"grid": LIST}, {"grid": LIST[::-1]}, {}),
        (
            {"grid": LIST},
            {"grid": [LIST[0], LIST[2], {"lr": 1.0, "degree": 1}, {"lr": 1.0, "degree": 4}]},
            {"grid": "1 of 3 configurations there are not here, 2 of 4 here are not there"},
        ),
        (
            {},
            {"build": build_scored},
            {
                "builder": "testing.build_polynomial there, searches.build_scored here",
                "code": "searches.ScoredTrainer is not used there",
            },
        ),
    ],
)
def test_differences_are_named(there, here, difference):
    assert differences(made_from(**there), made_from(**here)) == difference


def from_code(code, folder):
    """Return the fingerprint of a builder with some code, in a new module."""
    file = folder / f"{len(list(folder.iterdir()))}" / "builders.py"
    file.parent.mkdir()
    file.write_text(code)
    specification = importlib.util.spec_from_file_location("builders", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return made_from(build=module.build)


def test_code_of_a_builder_counts_and_its_comments_do_not(tmp_path):
    first = from_code("def build(configuration, rng):\n    return configuration['lr']\n", tmp_path)
    same = from_code('def build(configuration,  rng):  # why\n\n    return configuration["lr"]\n', tmp_path)
    other = from_code("def build(configuration, rng):\n    return configuration['lr'] * 2\n", tmp_path)
    assert first["builder"].startswith("builders.build sha256:")
    assert differences(first, same) == {}
    assert differences(first, other) == {"builder": "the same name, other code"}


class Builder:
    def __init__(self, weight=1.0):
        self.weight = weight

    def __call__(self, configuration, rng):
        raise NotImplementedError

    def method(self, configuration, rng):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (
            partial(build_scored, executor=Builder()),
            "searches.build_scored, build_scored with executor=Builder{'weight': 1.0} sha256:*",
        ),
        (partial(partial(build_scored, 1), b="é"), "searches.build_scored, build_scored with 1, b='é' sha256:*"),
        (Builder(), "test_store_refusals.Builder, Builder{'weight': 1.0} sha256:*"),
        (
            Builder().method,
            "test_store_refusals.Builder.method, Builder.method of Builder{'weight': 1.0} sha256:*",
        ),
        (print, "builtins.print, no source"),
    ],
)
def test_other_builders_than_functions(build, text):
    beginning, _, end = text.partition("*")
    found = made_from(build=build)["builder"]
    assert found.startswith(beginning)
    assert end.strip("*") in found
    assert " at 0x" not in found


LONG = np.zeros(2000)


@pytest.mark.parametrize(
    ("build", "other"),
    [
        (partial(build_scored, start=LONG), partial(build_scored, start=np.where(np.arange(2000) == 500, 1.0, LONG))),
        (partial(build_scored, part=Builder(1.0)), partial(build_scored, part=Builder(2.0))),
        (Builder(1.0), Builder(2.0)),
        (Builder(1.0).method, Builder(2.0).method),
    ],
)
def test_builders_that_hold_something_else_are_others(build, other):
    assert differences(made_from(build=build), made_from(build=copy.deepcopy(build))) == {}
    assert list(differences(made_from(build=build), made_from(build=other))) == ["builder"]


def test_a_builder_is_the_same_where_its_file_is_run_as_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np; from search.store.fingerprint import fingerprint; from search.trials.folds import Layout\n"
        "def build(configuration, rng): ...\n"
        "x = np.zeros((1, 1)); print(fingerprint(x, x, [], Layout((), 0, 1), 0, build)['builder'])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    as_script, as_module = (
        subprocess.run([sys.executable, *way], check=True, env=environment, capture_output=True, text=True).stdout
        for way in ([script], ["-c", "import script"])
    )
    assert as_script == as_module
    assert as_script.startswith("script.build sha256:")


def test_another_search_is_refused_by_what_differs(path):  # noqa: F811
    make(path)
    before = path.read_bytes()
    change = {"seed": "7", "folds": "4 of 2 + 1 samples sha256:aa"}
    message = (
        r"belongs to another search, with other folds \(the same sizes, other samples\), seed \(0 there, 7 here\): "
        "give what it was made with, or another store"
    )
    with pytest.raises(StoreError, match=message) as caught:
        Store(path, FINGERPRINT | change)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


X12 = np.linspace(-1, 1, 12)


def run(store, losses=(1.0, 2.0), fork=None, repeats=1, outer=None):
    """A search on four folds that takes almost no time."""
    search = GridSearch(build_scored, ParameterGrid(loss=losses), store=store, fork=fork, repeats=repeats, workers=1)
    return search.run(X12, X12, outer=outer, progress=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repeats": 2}, "4 folds of 9 + 3 samples, 2 repeats here"),
        ({"outer": KFold(3)}, "4 folds of 9 + 3 samples, 3 outer folds here"),
        ({"repeats": 2, "outer": KFold(3)}, "4 folds of 9 + 3 samples, 2 repeats, 3 outer folds here"),
    ],
)
def test_repeats_and_outer_folds_are_named(change, words, path):  # noqa: F811
    run(path)
    with pytest.raises(StoreError, match=rf"with other folds \(4 folds of 9 \+ 3 samples there, {re.escape(words)}\)"):
        run(path, **change)


@pytest.mark.parametrize("outer", [None, KFold(3)])
def test_a_store_whose_folds_an_earlier_version_described_goes_on(outer, path):  # noqa: F811
    result = run(path, outer=outer)
    with Store(path) as store:
        key, text = "folds", "11 of 9 + 3, 4 + 2 samples sha256:" + store.meta["folds"].split(" sha256:")[-1]
    alter(path, "UPDATE meta SET value = ?, checksum = ? WHERE key = ?", text, checksum((key, text)), key)
    assert list(run(path, outer=outer)) == list(result)
    with pytest.raises(StoreError, match="with other folds "):
        run(path, outer=outer, repeats=2)


# ---- forks ---------------------------------------------------------------------------------------------------------


def test_a_fork_begins_with_the_results_of_its_source(path):  # noqa: F811
    make(path, results=3)
    before = path.read_bytes()
    target = path.with_name("fork.sqlite")
    here = FINGERPRINT | {"grid": '{"lr":[0.1,0.2]}'}
    for results in (3, 4):  # if it exists, the source is not read
        with Store(target, here, fork=path) as store:
            assert len(store.outcomes()) == results
            assert store.meta["forked from"] == f"{path}, with other grid (lr has 0.1 there and 0.1, 0.2 here)"
            store.add(CONFIGURATION, results, Outcome("done", 0.25))
    assert path.read_bytes() == before
    with Store(None, FINGERPRINT, fork=path) as store:
        assert len(store.outcomes()) == 3
        assert store.meta["forked from"] == str(path)


def test_a_fork_of_other_data_is_refused(path):  # noqa: F811
    make(path, results=3)
    target = path.with_name("fork.sqlite")
    message = (
        r"search.sqlite cannot be forked by a search with other data \(3 samples there, 4 samples here\), "
        r"seed \(0 there, 1 here\): give what it was made with, or begin a new store"
    )
    with pytest.raises(StoreError, match=message):
        Store(target, FINGERPRINT | {"data": "4 samples sha256:dd", "seed": "1", "grid": "{}"}, fork=path)
    with pytest.raises(StoreError, match="none.sqlite: there is none, expected the file of a search"):
        Store(target, FINGERPRINT, fork=path.with_name("none.sqlite"))
    assert not target.exists()


def outcomes_in(file):
    with Store(file) as store:
        return store.outcomes()


def test_a_search_that_is_forked_fits_what_is_new(path):  # noqa: F811
    run(path)
    first = outcomes_in(path)
    target = path.with_name("fork.sqlite")
    result = run(target, [1.0, 2.0, 3.0], fork=path)
    assert [row.configuration["loss"] for row in result] == [1.0, 2.0, 3.0]
    outcomes = outcomes_in(target)
    assert len(outcomes) == 12
    assert {key: outcomes[key] for key in first} == first, "the seconds that they took, too"


def test_a_search_that_is_forked_takes_over_what_it_asks_for(path):  # noqa: F811
    run(path, [1.0, 2.0, 3.0])
    target = path.with_name("fork.sqlite")
    run(target, [2.0, 4.0], fork=path)
    first, outcomes = outcomes_in(path), outcomes_in(target)
    assert {text for text, _ in outcomes} == {'{"loss":2.0}', '{"loss":4.0}'}
    kept = {key: outcome for key, outcome in outcomes.items() if key in first}
    assert kept == {key: outcome for key, outcome in first.items() if key[0] == '{"loss":2.0}'}


def test_a_fork_tries_again_what_failed_or_crashed(path):  # noqa: F811
    with Store(path, FINGERPRINT) as store:
        for fold, status in enumerate(["done", "failed", "diverged", "crashed"]):
            for epochs in (0, 10):
                store.add(CONFIGURATION, fold, Outcome(status), epochs=epochs)
    with Store(path.with_name("fork.sqlite"), FINGERPRINT, fork=path) as store:
        assert [(fold, epochs, x.status) for (_, fold, epochs), x in store.all_outcomes().items()] == [
            (0, 0, "done"),
            (0, 10, "done"),
            (2, 0, "diverged"),
            (2, 10, "diverged"),
        ]


@pytest.mark.parametrize(
    ("before", "after", "n_shared"),
    [
        ({}, {"repeats": 2}, 4),
        ({}, {"outer": KFold(3)}, 4),
        ({"repeats": 2}, {"repeats": 3, "outer": KFold(2)}, 8),
        ({"outer": KFold(3)}, {"outer": KFold(2)}, 4),
        ({"outer": KFold(3)}, {"repeats": 2}, 4),
        ({"outer": KFold(3)}, {}, 4),
        ({"outer": KFold(3)}, {"outer": KFold(3)}, 19),
    ],
)
def test_a_fork_may_add_repeats_and_outer_folds(before, after, n_shared, path):  # noqa: F811
    run(path, [1.0], **before)
    first = outcomes_in(path)
    target = path.with_name("fork.sqlite")
    result = run(target, [1.0], fork=path, **after)
    outcomes = outcomes_in(target)
    same = {fold for text, fold in outcomes if outcomes[text, fold].seconds == first.get((text, fold), Outcome("")).seconds}
    assert same >= {*range(n_shared)}
    # The others are fitted again. One of them may take as long as before, to the resolution of the clock.
    assert len(same) <= n_shared + 1
    assert list(result) == list(run(path.with_name("alone.sqlite"), [1.0], **after))


def test_a_fork_with_fewer_repeats_is_refused(path):  # noqa: F811
    run(path, repeats=2)
    with pytest.raises(StoreError, match=r"cannot be forked by a search with other folds \(.*, 2 repeats there, "):
        run(path.with_name("fork.sqlite"), fork=path)


# ---- bad files -----------------------------------------------------------------------------------------------------


def make_empty(file):
    file.touch()


def make_text(file):
    file.write_text("rank,lr\n1,0.1\n" * 20)


def make_zeros(file):
    file.write_bytes(bytes(8192))


def make_short(file):
    file.write_bytes(b"SQLite format 3\0")


def make_other_database(file):
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE fits (a)")
    connection.close()


def make_format(number):
    def make_other_format(file):
        make(file)
        connection = sqlite3.connect(file)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.close()

    return make_other_format


@pytest.mark.parametrize(
    ("make_file", "message"),
    [
        (make_empty, "is empty, expected the file of a search; delete it, or give another path"),
        (make_text, "is not an SQLite file, expected the file of a search; give another path"),
        (make_zeros, "is not an SQLite file"),
        (make_short, "is not an SQLite file"),
        (make_other_database, "is another program's database, expected a search's; give another path"),
        (make_format(4), "has format 4, this version reads format 3; use a newer tinygrad-lab"),
        (
            make_format(1),
            "has format 1, made by an older tinygrad-lab, this version reads format 3; use that one, or give another store",
        ),
    ],
)
def test_another_file_is_refused_and_not_altered(path, make_file, message):  # noqa: F811
    make_file(path)
    before = path.read_bytes()
    for given in (FINGERPRINT, None):
        with pytest.raises(StoreError, match=f"search.sqlite {message}") as caught:
            Store(path, given)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["search.sqlite"]


def test_other_paths_are_refused(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(StoreError, match=r"is a directory, expected a file; give another path"):
        Store(tmp_path, FINGERPRINT)
    with pytest.raises(StoreError, match=r"folder .*none does not exist, expected one; make it first"):
        Store(tmp_path / "none" / "search.sqlite", FINGERPRINT)
    with pytest.raises(StoreError, match=r"folder .*file does not exist"):
        Store(tmp_path / "file" / "search.sqlite", FINGERPRINT)
    for missing in (tmp_path / "search.sqlite", None):
        with pytest.raises(StoreError, match="there is none, expected the file of a search"):
            Store(missing)
    with pytest.raises(StoreError, match="cannot be opened: embedded null byte; free or repair it, or give another store"):
        Store("search\0sqlite", FINGERPRINT)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def powerless():
    """A folder, as a user who is not root, since root may write everything."""
    nobody = 65534
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() != 0:
        yield folder
    else:
        os.chown(folder, nobody, nobody)
        os.setresgid(nobody, nobody, 0)
        os.setresuid(nobody, nobody, 0)
        try:
            yield folder
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="takes the right to write from a file and its folder")
@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_what_is_read_only_can_be_read_and_is_not_written(read_only, powerless):
    file = powerless / "search.sqlite"
    make(file, results=3)
    before = file.read_bytes()
    if read_only == "file":
        file.chmod(0o444)
    else:
        powerless.chmod(0o555)
    with Store(file) as store:
        assert len(store.outcomes()) == 3
    with pytest.raises(
        StoreError, match=r"search.sqlite cannot be (locked|written): .*; free or repair it, or give another store"
    ) as caught:
        Store(file, FINGERPRINT)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before


def add_to_the_log(file, ready):
    """Own a store, add results that a reader keeps in the log, print a line, and wait to be killed."""
    with Store(file, FINGERPRINT) as store, Store(file) as reader:
        reader._connection.execute("BEGIN")
        reader._connection.execute("SELECT * FROM fits").fetchall()
        store._connection.execute("PRAGMA busy_timeout = 0")
        for fold in range(40):
            store.add(CONFIGURATION, fold, Outcome("done", 0.5))
        os.write(ready, b"ready")
        signal.pause()


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="takes the right to write from a folder")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # about threads and fork
@pytest.mark.parametrize("is_killed", [False, True])
def test_who_may_only_read_reads_the_log_of_another_process_too(is_killed, powerless):
    file = powerless / "search.sqlite"
    ready, theirs = os.pipe()
    process = os.fork()  # other users may not run this interpreter
    if process == 0:
        try:
            add_to_the_log(file, theirs)
        finally:
            os._exit(1)
    try:
        os.close(theirs)
        assert os.read(ready, 5) == b"ready"
        if is_killed:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        for name in powerless.iterdir():
            name.chmod(0o444)
        powerless.chmod(0o555)
        with Store(file) as store:
            assert len(store.outcomes()) == 40
        assert owner_of(file).startswith(f"perhaps process {process} on ")
    finally:
        os.close(ready)
        if not is_killed:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def test_what_may_not_be_read_is_refused(powerless):
    file = powerless / "search.sqlite"
    make(file)
    file.chmod(0)
    with pytest.raises(
        StoreError, match="search.sqlite cannot be read: unable to open database file; repair it, or give another"
    ):
        Store(file)


# ---- damage --------------------------------------------------------------------------------------------------------


def alter(file, statement, *values):
    connection = sqlite3.connect(file)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE fits SET validation_loss = '0.25' WHERE fold = 1",
            r"the row of configuration .*, fold 1 is damaged, its checksum",
        ),
        ("UPDATE fits SET state = x'00' WHERE fold = 2", r"the row of configuration .*, fold 2 is damaged"),
        ("UPDATE fits SET fold = 7 WHERE fold = 0", r"the row of configuration .*, fold 7 is damaged"),
        ("DELETE FROM fits WHERE fold = 2", "it is damaged, it has 2 results of 3"),
        ("UPDATE meta SET value = '1' WHERE key = 'seed'", "its entry 'seed' is damaged, its checksum is that of another"),
        ("CREATE INDEX folds ON fits (fold)", "it is damaged, its tables are not those of format 3"),
        ("DELETE FROM meta WHERE key = 'rows'", "it is damaged, its entry 'rows' is missing"),
    ],
)
def test_damage_is_named(path, statement, message):  # noqa: F811
    make(path, results=3)
    alter(path, statement)
    with pytest.raises(StoreError, match=f"search.sqlite cannot be read: {message}") as caught, Store(path) as store:
        store.outcomes()
    assert "\n" not in str(caught.value)


def test_damaged_pages_are_named(path):  # noqa: F811
    make(path, results=100)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    for given in (FINGERPRINT, None):
        with pytest.raises(
            StoreError, match="search.sqlite cannot be (read|opened): .*; free or repair it, or give another store"
        ):
            Store(path, given)
