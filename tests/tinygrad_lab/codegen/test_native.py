"""The cache of machine code: what is kept, what is trusted, and what happens if it fails.

A module of two small functions stands for generated source: its machine code is made in half a second.
"""

import importlib.util
import os
import pickle
import py_compile
import shutil
import subprocess
import sys
import textwrap
import types
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.codegen import NoLoopFormError, Source, native, write_source
from tinygrad_lab.program import capture
from tinygrad_lab.training.engines import choice

SOURCE = textwrap.dedent(
    """
    from numba import njit

    compiled = njit(error_model="numpy")


    @compiled
    def step(x):
        return x + 1.0


    @compiled
    def updates(x):
        return step(x) * 2.0
    """
)

needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="the compiled engine needs Numba")
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes and owners")
needs_root = pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="only root can give files away")


def new_process():
    """Forget what this process has loaded."""
    native.load_module.cache_clear()
    native._cache_folder.cache_clear()
    native._warn.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, as a new process would find it."""
    monkeypatch.setenv("TINYGRAD_LAB_CACHE", str(tmp_path / "cache"))
    new_process()
    yield tmp_path / "cache"
    new_process()


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory):
    if importlib.util.find_spec("numba") is None:
        pytest.skip("the compiled engine needs Numba")
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("compiled") / "cache"
        patch.setenv("TINYGRAD_LAB_CACHE", str(cache))
        new_process()
        assert native.load_module(SOURCE).updates(1.0) == 4.0
    new_process()
    return cache


@pytest.fixture
def kept(folder, compiled_once):
    """A cache folder with machine code in it."""
    shutil.copytree(compiled_once, folder)
    return folder


def hits(module):
    """How many functions `updates` has loaded from the cache, and how many it has compiled."""
    stats = module.updates.__wrapped__.stats
    return sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


FOUND, MADE = (1, 0), (0, 1)


def load():
    """Load and call the module as a new process would; return what `hits` says."""
    new_process()
    module = native.load_module(SOURCE)
    assert module.updates(1.0) == 4.0
    return hits(module)


def load_without_cache(reason):
    new_process()
    with pytest.warns(UserWarning, match=f"compiled programs are not kept, .*{reason}") as caught:
        module = native.load_module(SOURCE)
    assert len(caught) == 1
    assert module.updates(1.0) == 4.0
    assert module.updates.stats.cache_path is None


def files(folder, pattern="*"):
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob(pattern) if file.is_file()}


class Evil:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def plant(file, mark):
    """Replace a kept file by a pickle that leaves a mark when it is loaded."""
    file.write_bytes(pickle.dumps(Evil(mark)))
    file.chmod(0o600)


# Kept


PROGRAM = f"""
from tinygrad_lab.codegen import native
source = {SOURCE!r}
module = native.load_module(source)
assert module.updates(1.0) == 4.0
stats = module.updates.__wrapped__.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


@needs_numba
def test_another_process_compiles_nothing(kept):
    before = files(kept)
    assert subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout == "1 0\n"
    assert files(kept) == before
    assert load() == FOUND
    assert files(kept) == before


@needs_numba
def test_processes_that_compile_the_same_program_at_once(folder):
    processes = [subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 3
    assert load() == FOUND
    assert list(folder.rglob("*.tmp*")) == list(folder.glob(".*")) == []


@needs_numba
def test_two_programs_at_once(kept):
    other = SOURCE.replace("1.0", "2.0")
    first, second = native.load_module(SOURCE), native.load_module(other)
    assert (first.updates(1.0), second.updates(1.0)) == (4.0, 6.0)
    assert native.load_module(SOURCE) is first
    new_process()
    assert (native.load_module(other).updates(1.0), native.load_module(SOURCE).updates(1.0)) == (6.0, 4.0)
    assert hits(native.load_module(other)) == FOUND


@needs_numba
@needs_posix
@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_the_cache_is_the_users_own_whatever_the_umask(folder, umask):
    old = os.umask(umask)
    try:
        assert load() == MADE
        assert load() == FOUND
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "__pycache__")} == {0o700}
    assert {file.stat().st_mode & 0o777 for file in (folder / "__pycache__").iterdir()} == {0o600}


def test_the_cache_is_in_the_users_cache_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("TINYGRAD_LAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native._cache_folder.cache_clear()
    assert native._cache_folder() == (tmp_path / "tinygrad-lab").resolve()
    native._cache_folder.cache_clear()


# Versions


@needs_numba
@pytest.mark.parametrize("package", ["numba", "numpy", "tinygrad-lab"])
def test_machine_code_of_other_versions_is_not_used(kept, monkeypatch, package):
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version(name) + "1" * (name == package))
    before = files(kept)
    assert load() == MADE
    assert files(kept).items() > before.items()


@needs_numba
def test_machine_code_of_another_python_is_not_used(kept, monkeypatch):
    key = native._key(SOURCE)
    monkeypatch.setattr(sys, "version", sys.version.replace("3.", "3.9"))
    assert native._key(SOURCE) != key


# Broken


@needs_numba
@pytest.mark.parametrize("content", ["", "def", SOURCE + "raise SystemExit('run from the disk')\n"])
def test_a_module_file_that_was_truncated_or_altered_is_rewritten(kept, content):
    (path,) = kept.glob("*.py")
    path.write_text(content)
    load()
    assert path.read_text() == SOURCE


@needs_numba
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc", "*updates*", "*step-*"])
def test_machine_code_that_was_truncated_is_made_again(kept, pattern, share):
    broken = list((kept / "__pycache__").glob(pattern))
    assert broken
    for file in broken:
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
    load()
    load()
    assert load() == FOUND


@needs_numba
def test_a_folder_that_disappears_does_no_harm(kept):
    module = native.load_module(SOURCE.replace("1.0", "3.0"))
    shutil.rmtree(kept)
    assert module.updates(1.0) == 8.0


@needs_numba
def test_a_disk_that_is_full_does_no_harm(folder, monkeypatch):
    from numba.core.caching import IndexDataCacheFile

    def save(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", save)
    load()
    assert list(folder.rglob("*.nb?")) == []


@needs_numba
def test_an_error_of_the_program_itself_is_raised(folder):
    module = native.load_module(SOURCE)
    with pytest.raises(Exception, match="Cannot unify|No implementation of function"):
        module.updates("text")


@needs_numba
def test_a_file_in_the_place_of_the_folder_is_said_once(folder):
    folder.write_text("a file")
    load_without_cache("File exists")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.load_module(SOURCE.replace("1.0", "2.0")).updates(1.0) == 6.0
    assert folder.read_text() == "a file"


@needs_numba
@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said_once(kept):
    kept.chmod(0o500)
    load_without_cache("Permission denied")
    kept.chmod(0o700)


# Ahead of the first call


def as_source(text):
    return Source(text, samples=[], per_update=[], arrays=[], lines=[])


@needs_numba
def test_updates_are_compiled_before_their_first_call(folder):
    module = native.load_module(SOURCE)
    native.compile_updates(module, as_source(SOURCE), 1.0)
    assert hits(module) == MADE
    assert {file.stat().st_mode & 0o777 for file in (folder / "__pycache__").iterdir()} == {0o600} or sys.platform == "win32"
    assert module.updates(1.0) == 4.0
    assert hits(module) == MADE
    new_process()
    module = native.load_module(SOURCE)
    native.compile_updates(module, as_source(SOURCE), 2.0)
    assert hits(module) == FOUND


@needs_numba
@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_machine_code_that_was_truncated_is_made_again_before_the_first_call(kept, pattern):
    for file in (kept / "__pycache__").glob(pattern):
        file.write_bytes(file.read_bytes()[:100])
    module = native.load_module(SOURCE)
    native.compile_updates(module, as_source(SOURCE), 1.0)
    assert module.updates(1.0) == 4.0
    assert load() == MADE  # the process that recovered has kept nothing
    assert load() == FOUND


@needs_numba
def test_updates_are_compiled_where_nothing_is_kept(folder):
    folder.write_text("a file")
    with pytest.warns(UserWarning, match="compiled programs are not kept"):
        module = native.load_module(SOURCE)
    native.compile_updates(module, as_source(SOURCE), 1.0)
    assert len(module.updates.signatures) == 1
    assert module.updates(1.0) == 4.0
    assert len(module.updates.signatures) == 1


def program_with(expression):
    """The source of a program, one line of which has an op with this expression, and arguments for its updates."""
    x = Tensor(np.linspace(0.1, 0.9, 4))
    program = capture(lambda: ({"loss": (x.exp() * x.sin() + (x > 0.5).astype(float)).sum()}, {}), {"x": x}, {})
    own = replace(ops.sin, name="own", loop=expression)
    del ops.OP_TABLE["own"]
    program.lines = [replace(line, op=own) if line.op is ops.sin else line for line in program.lines]
    source = write_source(program)
    return source, [np.arange(1), np.empty(1), *[x.array for x in source.arrays]]


@needs_numba
@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("cbrt({0})", "Untyped global name 'cbrt'"),
        ("remainder({0}, 2.0)", "Untyped global name 'remainder'"),
        ("no_such_function({0})", "NameError: name 'no_such_function' is not defined"),
        ("{0}.sort()", "Unknown attribute 'sort' of type float64"),
        ("np.linalg.norm({0})", "No implementation of function"),
    ],
)
def test_an_expression_that_numba_does_not_know_is_named(folder, expression, reason):
    source, arguments = program_with(expression)
    module = native.load_module(source.text)
    message = rf"^own has no loop form that Numba compiles: v1 = own\(x\) \(.*{reason}.*\)$"
    with pytest.raises(NoLoopFormError, match=message) as caught:
        native.compile_updates(module, source, *arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@needs_numba
def test_every_line_is_tried_until_one_is_refused(folder):
    source, _ = program_with("no_such_function({0})")
    module = native.load_module(source.text)
    exp, own = (line for line in source.lines if line.op.name in ("exp", "own"))
    assert native._refused_line(module, [exp, exp]) == ""
    for lines in ([exp, exp, own], [line for line in source.lines if line.op.loop is None] + [own]):
        assert native._refused_line(module, lines).startswith("own has no loop form that Numba compiles")


@needs_numba
def test_a_refusal_that_is_of_no_expression_gives_numbas_reason(folder):
    source, (rows, losses, *arrays) = program_with("sin({0})")
    module = native.load_module(source.text)
    native.compile_updates(module, source, rows, losses, *arrays)
    with pytest.raises(NoLoopFormError, match="^Numba: .+$"):
        native.compile_updates(module, source, rows, "text", *arrays)


# Trust: what another user could have written is never executed


def index_of(kept):
    (index,) = (kept / "__pycache__").glob("*updates*.nbi")
    return index


@needs_numba
def test_the_planted_pickle_works(kept, tmp_path):
    plant(index_of(kept), tmp_path / "mark")
    load()
    assert (tmp_path / "mark").exists()  # so the tests below can fail


@needs_posix
def test_private_is_what_belongs_to_the_user_and_no_one_else_may_write_to(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1234)

    def is_private(owner, mode, **options):
        return native._is_private(types.SimpleNamespace(st_uid=owner, st_mode=mode), **options)

    assert all(is_private(1234, mode) for mode in (0o600, 0o644, 0o755))
    assert not any(is_private(1234, mode) for mode in (0o620, 0o602, 0o666, 0o777))
    assert not is_private(0, 0o755)
    assert is_private(0, 0o755, owners=(0,))
    assert is_private(1234, 0o755, owners=(0,))
    assert not is_private(0, 0o775, owners=(0,))
    monkeypatch.setattr(sys, "platform", "win32")  # which closes a user's folders to other users by other means
    assert is_private(0, 0o777)
    assert native._user() == 0


@needs_posix
@pytest.mark.parametrize(
    ("mode", "is_used"),
    [(0o700, True), (0o755, True), (0o770, False), (0o702, False), (0o777, False), (0o1777, True), (0o1770, True)],
)
def test_a_folder_is_used_if_no_one_else_may_rename_it(tmp_path, mode, is_used):
    folder = tmp_path / "parent" / "cache"
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(mode)
    if is_used:
        native._check_folder(folder)
    else:
        with pytest.raises(PermissionError, match="others may rename what lies in"):
            native._check_folder(folder)


@needs_root
def test_a_folder_in_a_folder_of_root_is_used(tmp_path, monkeypatch):
    folder = tmp_path / "parent" / "cache"
    folder.mkdir(mode=0o755, parents=True)
    os.chown(folder, 1234, 1234)
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    native._check_folder(folder)
    folder.parent.chmod(0o1777)  # as /tmp
    native._check_folder(folder)
    monkeypatch.setattr(os, "getuid", lambda: 1235)
    with pytest.raises(PermissionError, match="it belongs to another user"):
        native._check_folder(folder)


@needs_root
def test_a_folder_in_a_sticky_folder_of_another_user_is_not_used(tmp_path):
    folder = tmp_path / "parent" / "cache"
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(0o1777)
    os.chown(folder.parent, 1234, 1234)
    with pytest.raises(PermissionError, match="others may rename what lies in"):
        native._check_folder(folder)


@needs_numba
@needs_posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_is_removed(kept, tmp_path, mode):
    plant(index_of(kept), tmp_path / "mark")
    index_of(kept).chmod(mode)
    assert load() == MADE
    assert not (tmp_path / "mark").exists()
    assert load() == FOUND


@needs_numba
@needs_root
def test_a_file_of_another_user_is_removed(kept, tmp_path):
    plant(index_of(kept), tmp_path / "mark")
    os.chown(index_of(kept), 12345, 12345)
    assert load() == MADE
    assert not (tmp_path / "mark").exists()


@needs_numba
@needs_posix
def test_a_link_is_removed(kept, tmp_path):
    plant(tmp_path / "elsewhere", tmp_path / "mark")
    index = index_of(kept)
    index.unlink()
    index.symlink_to(tmp_path / "elsewhere")
    assert index_of(kept).is_symlink()
    assert load() == MADE
    assert not (tmp_path / "mark").exists()


@needs_numba
@needs_posix
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("place", [".", "__pycache__"])
def test_a_folder_that_others_may_write_to_is_not_used(kept, tmp_path, place, mode):
    plant(index_of(kept), tmp_path / "mark")
    (kept / place).chmod(mode)
    load_without_cache("others may write to it; chmod go-w")
    assert not (tmp_path / "mark").exists()


@needs_numba
@needs_root
@pytest.mark.parametrize("place", [".", "__pycache__"])
def test_a_folder_of_another_user_is_not_used(kept, tmp_path, place):
    plant(index_of(kept), tmp_path / "mark")
    os.chown(kept / place, 12345, 12345)
    load_without_cache("belongs to another user")
    assert not (tmp_path / "mark").exists()


@needs_numba
@needs_posix
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_may_rename_is_not_used(kept, tmp_path, mode):
    plant(index_of(kept), tmp_path / "mark")
    tmp_path.chmod(mode)
    load_without_cache("others may rename what lies in")
    assert not (tmp_path / "mark").exists()


@needs_numba
@needs_root
def test_a_folder_in_a_folder_of_another_user_is_not_used(kept, tmp_path):
    plant(index_of(kept), tmp_path / "mark")
    os.chown(tmp_path, 12345, 12345)
    load_without_cache("others may rename what lies in")
    assert not (tmp_path / "mark").exists()


@needs_numba
@needs_posix
def test_a_link_to_a_folder_is_followed_before_it_is_checked(kept, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(kept)
    monkeypatch.setenv("TINYGRAD_LAB_CACHE", str(tmp_path / "link"))
    assert load() == FOUND
    kept.chmod(0o777)
    load_without_cache("others may write to it")


@needs_numba
def test_python_code_on_the_disk_is_never_executed(kept, tmp_path):
    (path,) = kept.glob("*.py")
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('run from the disk')\n")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH  # Python would run it without comparing it with the source
    py_compile.compile(str(evil), importlib.util.cache_from_source(str(path)), invalidation_mode=unchecked)
    assert load() == FOUND


@needs_numba
@needs_posix
def test_a_folder_that_numba_was_told_to_use_is_checked_as_well(kept, tmp_path, monkeypatch):
    import numba

    (tmp_path / "numba").mkdir(mode=0o700)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    old = os.umask(0o077)
    try:
        assert load() == MADE
    finally:
        os.umask(old)
    assert load() == FOUND
    (index,) = (tmp_path / "numba").rglob("*updates*.nbi")
    plant(index, tmp_path / "mark")
    (tmp_path / "numba").chmod(0o777)
    load_without_cache("others may rename what lies in")
    assert not (tmp_path / "mark").exists()


# Without Numba


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    native.load_module.cache_clear()


def trained(engine):
    net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=3, engine=engine)
    trainer.fit(np.arange(4.0), np.arange(4.0))
    return net.state_dict()["weight"]


def test_without_numba_the_compiled_engine_says_how_to_install_it(without_numba):
    assert not native.is_available()
    with pytest.raises(ImportError, match=r"the compiled engine needs Numba: pip install \"\.\[fast\]\" in a"):
        trained("compiled")


def test_without_numba_auto_replays_in_silence(without_numba, monkeypatch):
    monkeypatch.setattr(choice, "COMPILE_FROM_UPDATES", 1)
    np.testing.assert_array_equal(trained("auto"), trained("replay"))


def test_a_numba_that_does_not_fit_numpy_counts_as_missing(tmp_path, monkeypatch):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.0 or less')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "numba"]:
        monkeypatch.delitem(sys.modules, name)
    assert not native.is_available()
