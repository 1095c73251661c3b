"""Compiled modules: generated source on disk, imported, compiled by Numba, and cached between processes and sessions.

    source --> <cache folder>/step_<hash>.py --import--> step, epoch --first call--> machine code, cached beside it

The cache is only used where nobody but the user can have written it: Numba's cache files are pickles, and to load one is to
trust it. Elsewhere, a temporary folder takes its place for the length of the process.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

from tinygrad_lab.files import replacing


def is_available() -> bool:
    """Whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


@functools.cache
def load_module(source: str) -> ModuleType:
    """Import generated source as a module, from the cache folder where that is safe.

    Parameters
    ----------
    source : str
        As `codegen.write_source` returns it.

    Raises
    ------
    ImportError
        Where Numba is not installed.
    """
    if not is_available():
        raise ImportError("the compiled engine needs Numba: pip install 'tinygrad-lab[fast]'")
    key = f"{sys.version} {importlib.metadata.version('numba')} {source}"
    name = f"step_{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    path = _folder() / f"{name}.py"
    if not _is_safe(path) or path.read_text(encoding="utf-8") != source:
        with replacing(path) as file:
            file.write(source.encode())
        path.chmod(0o600)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba looks it up by name when it loads machine code from the cache
    spec.loader.exec_module(module)
    return module


@functools.cache
def _folder() -> Path:
    """Return the cache folder: $TINYGRAD_LAB_CACHE, or tinygrad-lab in the user's cache folder, or a temporary one."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad-lab"
    folder = Path(os.environ.get("TINYGRAD_LAB_CACHE") or default)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if _is_safe(folder):
            return folder
        reason = "others may write to it"
    except OSError as error:
        reason = str(error.strerror)
    warnings.warn(f"compiled programs are not kept: {folder} cannot be used as a cache ({reason})", stacklevel=4)
    return Path(tempfile.mkdtemp(prefix="tinygrad-lab-"))


def _is_safe(path: Path) -> bool:
    """Whether `path` exists, belongs to the user and is writable by nobody else."""
    try:
        status = path.stat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):  # Windows keeps a user's folders to that user
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
