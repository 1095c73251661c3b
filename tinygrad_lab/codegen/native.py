"""Compiled modules: generated source, imported, compiled by Numba, and its machine code kept between processes and sessions.

    source --> <cache folder>/step_<hash>.py     where Numba looks whether its machine code is still that of the source
           --import--> step, updates             from memory: what lies in the folder is never executed as Python
           --first call--> machine code, kept in <cache folder>/__pycache__/step_<hash>.*

Numba keeps machine code in pickles, and to load one is to trust it. So a folder is only used if nobody but the user can
have written to it, and a file in it as well. Elsewhere, nothing is kept. A file that turns out to be broken is removed, and
the source compiled anew.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygrad_lab.storage.files import replacing


def is_available() -> bool:
    """Whether Numba is installed, and fits the NumPy beside it."""
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


@functools.cache
def load_module(source: str) -> ModuleType:
    """Import generated source as a module, with the machine code of an earlier process where there is any.

    Parameters
    ----------
    source : str
        As `codegen.write_source` returns it.

    Returns
    -------
    module
        Its function `updates` is compiled, or loaded, at its first call.

    Raises
    ------
    ImportError
        Where Numba is not installed.
    """
    if not is_available():
        raise ImportError("the compiled engine needs Numba: pip install 'tinygrad-lab[fast]'")
    name = f"step_{_key(source)}"
    folder = _cache_folder()
    if folder is None:
        return _import(name, source, Path(f"<{name}>"))
    path = folder / f"{name}.py"
    try:
        _write(path, source)
        module = _import(name, source, path)
        kept = _keep_machine_code(module)
    except (OSError, RuntimeError) as error:  # the latter where Numba finds no place to keep anything
        _warn(folder, str(error))
        return _import(name, source, path)
    vars(module)["updates"] = _recovering(module.updates, kept, lambda: _import(name, source, path).updates)
    return module


def _key(source: str) -> str:
    """Return a hash of the source and of all versions that its machine code depends on."""
    versions = [sys.version, *map(importlib.metadata.version, ("numba", "numpy", "tinygrad-lab"))]
    return hashlib.sha256("\n".join([*versions, source]).encode()).hexdigest()[:24]


class _SourceLoader(importlib.abc.ExecutionLoader):
    """Imports a module from its source in memory; `path` is where Numba and tracebacks look for it."""

    def __init__(self, source: str, path: Path) -> None:
        self._source = source
        self._path = path

    def get_source(self, fullname: str) -> str:  # noqa: ARG002
        return self._source

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002
        return str(self._path)


def _import(name: str, source: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, _SourceLoader(source, path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba looks it up by name when it loads machine code
    spec.loader.exec_module(module)
    return module


# What is kept ----------------------------------------------------------------------------------------------------------


@functools.cache
def _cache_folder() -> Path | None:
    """Return $TINYGRAD_LAB_CACHE, or tinygrad-lab in the user's cache folder; None where it cannot be used, with a warning."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad-lab"
    folder = Path(os.environ.get("TINYGRAD_LAB_CACHE") or default).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        _check_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _warn(folder, str(error))
        return None
    return folder


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    warnings.warn(f"compiled programs are not kept, {folder} cannot be used as a cache: {reason}", stacklevel=2)


def _check_folder(folder: Path) -> None:
    """Raise PermissionError where others could have put something into `folder`, or could put another in its place."""
    if not _is_private(folder.lstat()):
        raise PermissionError(f"it belongs to another user, or others may write to it; chmod go-w {folder}")
    for parent in folder.parents:
        status = parent.stat()
        sticky = status.st_mode & stat.S_ISVTX  # as /tmp: others may write to it, but not rename what is ours
        if not (_is_private(status, owners=(0,)) or (sticky and status.st_uid in (0, _user()))):
            raise PermissionError(f"others may rename what lies in {parent}; chmod go-w {parent}")


def _is_private(status: os.stat_result, owners: tuple[int, ...] = ()) -> bool:
    """Whether a file or folder belongs to the user, or one of `owners`, and nobody else may write to it."""
    if sys.platform == "win32":  # there, a user's folders are closed to other users by other means
        return True
    return status.st_uid in (_user(), *owners) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _user() -> int:
    return os.getuid() if sys.platform != "win32" else 0


def _write(path: Path, source: str) -> None:
    """Write the source unless it is there."""
    with suppress(OSError):
        if path.read_bytes() == source.encode():
            return
    with replacing(path) as file:
        file.write(source.encode())


def _keep_machine_code(module: ModuleType) -> Path:
    """Let Numba keep a module's machine code, and return where it does, cleared of what others could have written."""
    folder = Path(str(module.__file__)).with_name("__pycache__")
    folder.mkdir(mode=0o700, exist_ok=True)
    functions = [function for function in vars(module).values() if hasattr(function, "enable_caching")]
    for function in functions:
        function.enable_caching()
        folder = Path(function.stats.cache_path).resolve()  # elsewhere where the user has told Numba so
        _check_folder(folder)
    for file in _kept_files(folder, module.__name__):
        with suppress(FileNotFoundError):  # another process has removed or replaced it
            if not _is_private(file.lstat()):
                file.unlink()
    return folder


def _kept_files(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}.*"))


def _recovering(function: Callable[..., Any], folder: Path, reload: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """Return `function`, which, where it fails, is tried again without what was kept: that may be truncated, the disk full."""
    name = function.__module__
    closed = False

    @functools.wraps(function, updated=())
    def recovering(*args: Any) -> Any:
        nonlocal function, closed
        try:
            result = function(*args)
        except Exception:
            _for_each(_kept_files(folder, name), Path.unlink)
            function = reload()
            result = function(*args)
        if not closed:  # Numba has written its files as the umask says, perhaps for the user's group to change
            _for_each(_kept_files(folder, name), lambda file: file.chmod(0o600))
            closed = True
        return result

    return recovering


def _for_each(files: Iterable[Path], act: Callable[[Path], None]) -> None:
    for file in files:
        with suppress(OSError):  # another process may have been here first
            act(file)
