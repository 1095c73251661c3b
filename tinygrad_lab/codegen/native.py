"""Compiled modules: generated source is imported, compiled by Numba, and its machine code is kept for later processes.

    source --> <cache folder>/step_<hash>.py     Numba checks by this file that its machine code is up to date
           --import--> step, updates             from memory: no file of the folder is ever executed as Python
           --first call--> machine code, kept in <cache folder>/__pycache__/step_<hash>.*

Numba keeps machine code in pickles, and loading a pickle can run any code. So a folder or file is used only if no other user
can have written to it. Otherwise nothing is kept. A broken file is removed, and the source is compiled again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.abc
import importlib.util
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygrad_lab.checks import install_hint
from tinygrad_lab.codegen.kinds import CompilerError
from tinygrad_lab.codegen.source import Source
from tinygrad_lab.program import Line
from tinygrad_lab.storage.files import replacing


def is_available() -> bool:
    """Whether Numba is installed and supports the installed NumPy."""
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


@functools.cache
def load_module(source: str) -> ModuleType:
    """Import generated source as a module, with the machine code that an earlier process has kept, if any.

    Parameters
    ----------
    source : str
        The text that `codegen.write_source` returns.

    Returns
    -------
    module
        Its function `updates` is compiled, or loaded from the cache, at its first call or by `compile_updates`.

    Raises
    ------
    ImportError
        If Numba is not installed.
    """
    if not is_available():
        raise ImportError(f"the compiled engine needs Numba: {install_hint('fast')}")
    name = f"step_{_key(source)}"
    folder = _cache_folder()
    if folder is None:
        return _import(name, source, Path(f"<{name}>"))
    path = folder / f"{name}.py"
    try:
        _write(path, source)
        module = _import(name, source, path)
        kept = _keep_machine_code(module)
    except (OSError, RuntimeError) as error:  # RuntimeError if Numba finds no place for its files
        _warn(folder, str(error))
        return _import(name, source, path)
    vars(module)["updates"] = _Kept(module.updates, kept, lambda: _import(name, source, path).updates)
    return module


def compile_updates(module: ModuleType, source: Source, *arguments: Any) -> None:
    """Compile the function `updates` of a module, or load it from the cache, before its first call.

    Parameters
    ----------
    module : module
        The one that `load_module` returns for ``source.text``.
    source : Source
    *arguments : ndarray
        The arguments of `updates`. Only their types matter: dtype, number of axes, memory layout, whether they are writable.

    Raises
    ------
    CompilerError
        If Numba cannot compile the function. The message names the first line of the program whose expression Numba
        refuses, or gives Numba's reason if it accepts each expression by itself.
    """
    numba = importlib.import_module("numba")
    try:
        module.updates.compile(tuple(numba.typeof(argument) for argument in arguments))
    except Exception as error:
        raise CompilerError(_refused_line(module, source.lines) or f"Numba: {_reason(error)}") from error


def _refused_line(module: ModuleType, lines: Iterable[Line]) -> str:
    """Compile the expression of each line by itself, and describe the first that Numba refuses; "" if it accepts all."""
    numba = importlib.import_module("numba")
    accepted: set[tuple[Any, ...]] = set()
    for line in lines:
        dtypes = [x.array.dtype for x in line.operands]
        if line.op.loop is None or (line.op, *dtypes) in accepted:
            continue
        names = [f"x{i}" for i in range(len(dtypes))]
        function = eval(f"lambda {', '.join(names)}: {line.op.loop.format(*names)}", vars(module))
        try:
            module.compiled(function).compile(tuple(map(numba.from_dtype, dtypes)))
        except Exception as error:
            return f"{line.op.name} has no loop form that Numba compiles: {line} ({_reason(error)})"
        accepted.add((line.op, *dtypes))
    return ""


def _reason(error: Exception) -> str:
    """Return the first line of an error of Numba that says what is wrong; the line above it names a step of the compiler."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Failed in ")]
    return lines[0].strip() if lines else type(error).__name__


def _key(source: str) -> str:
    """Return a hash of the source and of all versions on which its machine code depends."""
    from importlib.metadata import version  # imported here, because it loads a parser of e-mails

    versions = [sys.version, *map(version, ("numba", "numpy", "tinygrad-lab"))]
    return hashlib.sha256("\n".join([*versions, source]).encode()).hexdigest()[:24]


class _SourceLoader(importlib.abc.ExecutionLoader):
    """Imports a module from source in memory. Numba and tracebacks look for the source in `path`."""

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
    """Return $TINYGRAD_LAB_CACHE, or tinygrad-lab in the user's cache folder; warn and return None if it cannot be used."""
    from tempfile import TemporaryFile  # imported here, as few programs compile

    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad-lab"
    folder = Path(os.environ.get("TINYGRAD_LAB_CACHE") or default).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        _check_folder(folder)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _warn(folder, str(error))
        return None
    return folder


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    warnings.warn(f"compiled programs are not kept, {folder} cannot be used as a cache: {reason}", stacklevel=2)


def _check_folder(folder: Path) -> None:
    """Raise PermissionError if another user could have written to `folder`, or could replace it."""
    if not _is_private(folder.lstat()):
        raise PermissionError(f"it belongs to another user, or others may write to it; chmod go-w {folder}")
    for parent in folder.parents:
        status = parent.stat()
        sticky = status.st_mode & stat.S_ISVTX  # as /tmp has: others may write to it, but not rename our files
        if not (_is_private(status, owners=(0,)) or (sticky and status.st_uid in (0, _user()))):
            raise PermissionError(f"others may rename what lies in {parent}; chmod go-w {parent}")


def _is_private(status: os.stat_result, owners: tuple[int, ...] = ()) -> bool:
    """Whether a file or folder belongs to the user or one of `owners`, and no one else may write to it."""
    if sys.platform == "win32":  # Windows has no modes; it closes a user's folders to other users by access lists
        return True
    return status.st_uid in (_user(), *owners) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _user() -> int:
    return os.getuid() if sys.platform != "win32" else 0


def _write(path: Path, source: str) -> None:
    """Write the source, unless the file has it already."""
    with suppress(OSError):
        if path.read_bytes() == source.encode():
            return
    with replacing(path) as file:
        file.write(source.encode())


def _keep_machine_code(module: ModuleType) -> Path:
    """Let Numba keep a module's machine code. Return the folder, after removing files that others could have written."""
    folder = Path(str(module.__file__)).with_name("__pycache__")
    folder.mkdir(mode=0o700, exist_ok=True)
    functions = [function for function in vars(module).values() if hasattr(function, "enable_caching")]
    for function in functions:
        function.enable_caching()
        folder = Path(function.stats.cache_path).resolve()  # another folder if NUMBA_CACHE_DIR is set
        _check_folder(folder)
    for file in _kept_files(folder, module.__name__):
        with suppress(FileNotFoundError):  # another process has removed or replaced it
            if not _is_private(file.lstat()):
                file.unlink()
    return folder


def _kept_files(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}.*"))


class _Kept:
    """A compiled function whose machine code is kept.

    If it fails, it is tried once more without the kept machine code: a file may be truncated, or the disk full.

    Parameters
    ----------
    function : callable
    folder : Path
        The folder of its machine code.
    reload : callable
        Returns the function as it was before anything was compiled or loaded.
    """

    def __init__(self, function: Callable[..., Any], folder: Path, reload: Callable[[], Callable[..., Any]]) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function: Any = function
        self._module = function.__module__
        self._folder = folder
        self._reload = reload
        self._is_private = False

    def __call__(self, *args: Any) -> Any:
        return self._tried_twice(lambda function: function(*args))

    def compile(self, signature: tuple[Any, ...]) -> None:
        """Compile the function for arguments of these Numba types, or load its machine code."""
        self._tried_twice(lambda function: function.compile(signature))

    def _tried_twice(self, use: Callable[[Any], Any]) -> Any:
        try:
            result = use(self._function)
        except Exception:
            _for_each(_kept_files(self._folder, self._module), Path.unlink)
            self._function = self._reload()
            result = use(self._function)
        if not self._is_private:  # Numba's files follow the umask, which may let the user's group write to them
            _for_each(_kept_files(self._folder, self._module), lambda file: file.chmod(0o600))
            self._is_private = True
        return result


def _for_each(files: Iterable[Path], act: Callable[[Path], None]) -> None:
    for file in files:
        with suppress(OSError):  # another process may have removed it
            act(file)
