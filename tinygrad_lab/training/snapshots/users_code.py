"""What functions and classes read besides their arguments: module globals, closures, class attributes.

    code --names_read--> names of global variables          class --own_attributes--> methods, class attributes

Only the user's own code is read. This package, the standard library and installed packages keep no state of a training,
unless a part of the training, such as a layer, comes from there.
"""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

STANDARD_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
INSTALLED_FOLDERS = {"site-packages", "dist-packages"}
ACCESS_TO_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"}


class UsersCode:
    """Tells the user's own modules from those that are installed."""

    def __init__(self) -> None:
        self._packages: set[str] = set()

    def add(self, kind: type) -> None:
        """Count the package of a class as the user's, wherever it is installed."""
        if not is_of_this_package(kind.__module__):
            self._packages.add(kind.__module__.partition(".")[0])

    def has(self, module: Any) -> bool:
        """Whether a module is the user's, by its name. A native class may have something else than a name."""
        return isinstance(module, str) and (not _is_installed(module) or module.partition(".")[0] in self._packages)


def is_of_this_package(module: Any) -> bool:
    """Whether a module is one of this package, by its name."""
    return isinstance(module, str) and module.partition(".")[0] == __name__.partition(".")[0]


@cache
def _is_installed(module: str) -> bool:
    if module in sys.builtin_module_names or is_of_this_package(module):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and (file.startswith(STANDARD_LIBRARY) or not INSTALLED_FOLDERS.isdisjoint(Path(file).parts))


def module_of(function: FunctionType) -> str:
    """Return the name of the module whose globals a function reads."""
    return str(function.__globals__.get("__name__", ""))


@cache
def names_read(code: CodeType) -> tuple[list[str], set[str]]:
    """Return the names of the global variables that code reads or sets, and all names in it, such as attributes.

    Examples
    --------
    >>> def scale(x):
    ...     return [factor * y.real for y in x]
    >>> of_variables, all_names = names_read(scale.__code__)
    >>> of_variables, sorted(all_names)
    (['factor'], ['factor', 'real'])
    """
    codes = list(_nested(code))
    found = (step.argval for part in codes for step in dis.get_instructions(part) if step.opname in ACCESS_TO_GLOBALS)
    return list(dict.fromkeys(found)), {name for part in codes for name in part.co_names}


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def own_attributes(kind: type) -> dict[str, Any]:
    """Return the methods and attributes that a class defines itself."""
    return {
        name: x
        for name, x in vars(kind).items()
        if isinstance(x, FunctionType) or not name.startswith(("__", "_abc_impl"))  # Python gives those to every class
    }
