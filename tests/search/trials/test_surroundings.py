"""Values and code outside of a builder: which are noted, and that a worker and a store with others are refused by name."""

import dataclasses
import importlib
import json
import linecache
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import nullcontext

import numpy as np
import pytest

from search import GridSearch, KFold, Outcome, SearchError, Store, StoreError
from search.store.fingerprint import fingerprint
from search.trials import surroundings
from search.trials.folds import make_layout
from search.trials.surroundings import surroundings_of
from tests.helpers import ROOT
from tests.helpers.searches import ScoredTrainer, data

HEADER = "import argparse, collections, dataclasses, enum, functools, re\nimport numpy as np\nimport pandas as pd\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that imports the text of a module anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(text, name="users_module"):
        (tmp_path / f"{name}.py").write_text(HEADER + textwrap.dedent(text))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.checkcache()
        return importlib.import_module(name)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield load
    for name in ("users_module", "settings"):
        sys.modules.pop(name, None)


MODULE = """
    LR = 0.1
    SIZES = {"hidden": [3, (2,)]}
    MEANS = np.zeros(20)
    args = argparse.Namespace(lr=0.1)
    Shade = enum.Enum("Shade", ["LIGHT", "DARK"])
    SHADE = Shade.LIGHT
    ACTIVATION = np.tanh
    UNREAD = 1
    FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    PATTERN, QUEUE = re.compile("a"), collections.deque([1])
    NESTED = []
    NESTED.append(NESTED)

    class Settings:
        lr = 0.1
        @property
        def rate(self):
            return LR

    @dataclasses.dataclass
    class Options:
        lr: float = 0.1

    OPTIONS = Options()

    def helper(x, scale=1.0):
        return [SIZES for _ in range(x)]

    ACTIVATIONS = {"helper": helper}

    @functools.cache
    def cached():
        return MEANS

    def build(configuration, rng):
        return lambda: (ACTIVATIONS, args, Settings().rate, OPTIONS, SHADE, ACTIVATION, cached(), FRAME, PATTERN, QUEUE, NESTED)
"""


def change_of(before, after):
    """The values and the code that differ."""
    found = {}
    for one, other in ((before.values, after.values), (before.code, after.code)):
        found |= {name: (one.get(name), other.get(name)) for name in one | other if one.get(name) != other.get(name)}
    return found


@pytest.mark.parametrize(
    ("change", "name", "there", "here"),
    [
        ("LR = 0.2", "LR", "0.1", "0.2"),
        ("LR = np.float32(0.1)", "LR", "0.1", "np.float32(0.1)"),
        ("SIZES['hidden'][1] = (4,)", "SIZES", "{'hidden': [3, (2)]}", "{'hidden': [3, (4)]}"),
        ("MEANS = np.zeros(3)", "MEANS", None, "float64 array [0.0, 0.0, 0.0]"),
        ("MEANS[19] = 1e-300", "MEANS", None, None),
        ("args.lr = 0.2", "args", "Namespace(lr=0.1)", "Namespace(lr=0.2)"),
        ("Settings.lr = 0.2", "Settings.lr", "0.1", "0.2"),
        ("OPTIONS.lr = 0.2", "OPTIONS", "Options(lr=0.1)", "Options(lr=0.2)"),
        ("SHADE = Shade.DARK", "SHADE", "Shade.LIGHT", "Shade.DARK"),
        ("ACTIVATION = np.sin", "ACTIVATION", "tanh", "sin"),
        ("helper.__defaults__ = (2.0,)", "helper.scale", "1.0", "2.0"),
        ("FRAME.loc[1, 'b'] = 'z'", "FRAME", None, None),
        ("FRAME.columns = ['a', 'c']", "FRAME", None, None),
        ("PATTERN = re.compile('b')", "PATTERN", "re.compile('a')", "re.compile('b')"),
        ("QUEUE.append(2)", "QUEUE", "(1)", "(1, 2)"),
        ("NESTED.append(2)", "NESTED", "[list...]", "[list..., 2]"),
        ("del LR", "LR", "0.1", None),
    ],
)
def test_values_are_followed_through_functions_and_classes(change, name, there, here, load):
    module = load(MODULE)
    before = surroundings_of([module.build])
    exec(change, vars(module))
    [(found, (one, other))] = change_of(before, surroundings_of([module.build])).items()
    assert found == f"users_module.{name}"
    assert one == (there or before.values[found])
    assert here is None or other == here


def test_what_is_not_read_and_what_the_code_itself_changes_is_not_noted(load):
    module = load("""
        import threading
        LOCK, COUNT, CACHE, SEEN, UNREAD, LIMIT = threading.Lock(), 0, {}, [], 1, 10

        class Net:
            count = 0

        def build(configuration, rng, memo=[]):
            global COUNT
            COUNT += 1
            CACHE[configuration["n"]] = COUNT
            SEEN.append(memo.append(1))
            Net.count += 1
            UNREAD = []
            UNREAD.append(LIMIT)
            with LOCK:
                return UNREAD
    """)
    before = surroundings_of([module.build])
    module.build({"n": 1}, None)
    module.UNREAD = 2
    assert change_of(before, surroundings_of([module.build])) == {}
    assert before.values == {"users_module.LIMIT": "10", "users_module.LOCK": "a lock"}


@pytest.mark.parametrize(
    "text",
    [
        "import settings\ndef build(*_): return settings.LR",
        "from settings import LR\ndef build(*_): return LR",
        "def build(*_):\n    import settings\n    return settings.LR",
        "def build(*_):\n    from settings import LR\n    return LR",
    ],
)
def test_values_of_another_module(text, load):
    load("LR = 0.1\nOTHER = 2", "settings")
    build = load(text).build
    sys.modules.pop("settings")  # a fresh process has not imported it yet
    [(name, value)] = surroundings_of([build]).values.items()
    assert (name.rpartition(".")[2], value) == ("LR", "0.1")


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("def helper(): return 1", "def helper(): return 2", ["helper"]),
        ("def helper(): return 1", "def helper():\n        return 1  # the same", []),
        ("helper = lambda: 1", "helper = lambda: 2", ["<lambda>"]),
        ("helper = (lambda: 1)", "helper = (lambda:\n        1)", []),
        ("class helper:\n        def f(self): return 1", "class helper:\n        def f(self): return 2", ["helper"]),
        ("helper = functools.cache(lambda: 1)", "helper = functools.cache(lambda: 2)", ["<lambda>"]),
    ],
)
def test_code_that_the_builder_uses_is_compared_without_formatting(before, after, changed, load):
    build = "\n    def build(configuration, rng): return helper\n"
    there = surroundings_of([load(f"\n    {before}{build}").build])
    here = surroundings_of([load(f"\n    {after}{build}").build])
    assert list(change_of(there, here)) == [f"users_module.{name}" for name in changed]


def test_what_scores_read_and_which_packages_are_used(load):
    module = load("""
        from sklearn.linear_model import Ridge
        SCALE = 2.0

        def build(configuration, rng):
            import pandas, json
            return Ridge()

        def score(model, x, y):
            return SCALE
    """)
    x = np.zeros((4, 1))
    layout = make_layout(KFold(2), x, x)
    found = fingerprint(x, x, [{"n": 1}], layout, 0, module.build, scores=[module.score], packages=["onnx"])
    assert json.loads(found["values"]) == {"users_module.SCALE": "2.0"}
    assert re.search(r"processor .*, onnx \S+, pandas \S+, scikit-learn \S+$", found["engine"])
    assert "json" not in found["engine"]


# ---- stores --------------------------------------------------------------------------------------------------------


def builder_of(loss, bias=0.0):
    def build(configuration, rng):
        if configuration["n"] == 2 and "INTERRUPTED" in os.environ:
            raise KeyboardInterrupt
        return ScoredTrainer(loss + bias)

    return build


def run(store, build, **options):
    return GridSearch(build, [{"n": 1}, {"n": 2}], store=store, workers=1, **options).run(*data(), progress=False)


def test_a_store_of_other_values_is_refused_and_can_be_forked(tmp_path):
    store = tmp_path / "search.sqlite"
    run(store, builder_of(0.5))
    assert run(store, builder_of(0.5))[0].mean == 0.5
    named = r"test_surroundings.builder_of.<locals>.build.loss is 0.5 there and 0.25 here"
    with pytest.raises(StoreError, match=rf"belongs to another search, with other values \({named}\): give what") as caught:
        run(store, builder_of(0.25))
    assert "\n" not in str(caught.value)
    assert run(tmp_path / "fork.sqlite", builder_of(0.25), fork=store)[0].mean == 0.5, "taken over on purpose"


def test_a_store_without_these_entries_is_refused_in_one_line(tmp_path):
    """As earlier versions made it."""
    store = tmp_path / "search.sqlite"
    run(store, builder_of(0.5))
    connection = sqlite3.connect(store)
    connection.execute("DELETE FROM meta WHERE key IN ('values', 'code', 'engine')")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"with other values \(.*loss is not used there\), code \(.*ScoredTrainer is not used"):
        run(store, builder_of(0.5))


def test_a_store_of_another_engine_is_read_but_never_added_to(tmp_path, monkeypatch):
    store, complete = tmp_path / "search.sqlite", tmp_path / "complete.sqlite"
    monkeypatch.setattr("search.store.fingerprint.engine", lambda _: "Numba 0.1, NumPy 2.0, processor a")
    run(complete, builder_of(0.5))
    monkeypatch.setenv("INTERRUPTED", "1")
    with pytest.raises(KeyboardInterrupt):
        run(store, builder_of(0.5))
    monkeypatch.delenv("INTERRUPTED")
    monkeypatch.setattr("search.store.fingerprint.engine", lambda _: "no Numba, NumPy 2.0, processor a")
    assert run(complete, builder_of(0.5))[0].mean == 0.5
    message = r"search.sqlite has results of another engine \(Numba 0.1 there, no Numba here\), whose last digits may differ, "
    with pytest.raises(StoreError, match=message) as caught:
        run(store, builder_of(0.5))
    assert "\n" not in str(caught.value)
    fork = tmp_path / "fork.sqlite"
    assert len(run(fork, builder_of(0.5), fork=store)) == 2
    with Store(fork) as kept:
        assert kept.meta["engine"] == "no Numba, NumPy 2.0, processor a"
        assert kept.meta["forked from"].endswith("with other engine (Numba 0.1 there, no Numba here)")


def test_a_store_without_results_takes_the_engine_of_the_first(tmp_path):
    path = tmp_path / "search.sqlite"
    for engine, folds in (("a", []), ("b", [0]), ("b", [1])):
        with Store(path, {"seed": "0", "engine": engine}) as store:
            for fold in folds:
                store.add({"n": 1}, fold, Outcome("done", 0.5))
    with (
        Store(path, {"seed": "0", "engine": "a"}) as store,
        pytest.raises(StoreError, match=r"another engine \(b there, a here"),
    ):
        store.add({"n": 1}, 2, Outcome("done", 0.5))


def test_a_store_notes_further_packages_and_keeps_those_that_are_not_used_now(tmp_path):
    path = tmp_path / "search.sqlite"
    for fold, engine in enumerate(["NumPy 2.0", "NumPy 2.0, scikit-learn 1.9", "NumPy 2.0"]):
        with Store(path, {"seed": "0", "engine": engine}) as store:
            store.add({"n": 1}, fold, Outcome("done", 0.5))
    with (
        Store(path, {"seed": "0", "engine": "NumPy 2.0, scikit-learn 2.0"}) as store,
        pytest.raises(StoreError, match=r"another engine \(scikit-learn 1.9 there, scikit-learn 2.0 here"),
    ):
        store.add({"n": 1}, 3, Outcome("done", 0.5))


# ---- workers -------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from search import GridSearch, SearchError
from tests.helpers.searches import ScoredTrainer, data

LOSS = 0.5

def build(configuration, rng):
    return ScoredTrainer(LOSS)

if __name__ == "__main__":
    LOSS = 0.25
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        for options in ({"workers": 1}, {"workers": 2}, {"executor": executor}):
            try:
                print(GridSearch(build, [{"n": 1}], store=None, **options).run(*data(), progress=False)[0].mean)
            except SearchError as error:
                print(error)
"""


def test_a_value_that_is_set_under_the_main_guard_is_refused_by_workers(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = (
        "script.LOSS is 0.25 where the search was started and 0.5 in its worker process, expected the same; "
        'set it outside of `if __name__ == "__main__":`, or give it to the builder with functools.partial'
    )
    assert done.stdout.splitlines() == ["0.25", told, told]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code": {"a.f": "source 1"}}, "a.f is other code where the search was started than in its worker process"),
        ({"versions": "NumPy 1"}, "a worker has .*, and the search was started with NumPy 1, expected the same; install"),
        ({"code": {"a.f": "bytecode 1"}}, None),  # cannot be compared
    ],
)
def test_other_code_and_other_versions_are_refused_by_workers(change, told, monkeypatch):
    here = surroundings_of([builder_of(0.5)])
    there = dataclasses.replace(here, **change)
    here.code["a.f"] = "source 2"
    monkeypatch.setattr(surroundings, "surroundings_of", lambda *_: here)
    with pytest.raises(SearchError, match=told) if told else nullcontext():
        there.check_in_worker([])
