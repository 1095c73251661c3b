"""The surroundings of a builder: the values and the code outside of it that its Trainers depend on.

    build --names in its code--> globals, closures, defaults --functions and classes among them--> names in their code ...
      '--> values: {"script.LR": "0.1"}, code: {"script.make_network": "source 2c26b46b68ffc68f"}

Question: a script sets LR under its main guard. Its workers import the script without that, so they train with another LR. And
when LR is changed, the script finds the store of before. Answer: a search notes these values. It compares them in each worker
and with those in the store, and refuses a difference by name.

Only the user's own modules are read. Not noted are: what the noted code itself changes, such as a counter or a cache; the
contents of most objects whose classes are installed, such as a model of another package; files and environment variables.
"""

import enum
import hashlib
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from search.errors import SearchError, printable
from search.trials.engine import versions
from search.trials.sources import (
    MAIN_NAMES,
    changed_in,
    closure_of,
    code_digest,
    function_of,
    imported_in,
    is_users,
    is_users_file,
    names_around,
    tree_of,
)
from tinygrad_lab.contents import children
from tinygrad_lab.storage.digests import digest_arrays
from tinygrad_lab.training.snapshots.users_code import names_read, own_attributes

OWN_PACKAGES = {"models", "search", "tinygrad_lab"}
WITH_EXACT_REPR = {"datetime", "decimal", "fractions", "re", "uuid", "zoneinfo"}
LONGEST_VALUE = 100  # characters; of a longer text the beginning and a digest are kept
LARGEST_ARRAY = 16  # elements; a larger array is described by its digest


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a builder depends on besides its arguments, by names such as ``"script.LR"``.

    Attributes
    ----------
    values : dict of str to str
        Global variables, attributes of modules and classes, variables of closures and default arguments, as texts.
    code : dict of str to str
        The builder and the functions and classes that it uses, as digests of their sources, or of their bytecode.
    main : str
        The name of the main program.
    versions : str
        Of the installed packages that all results depend on.
    packages : tuple of str
        The names of further installed packages that it uses.
    """

    values: dict[str, str]
    code: dict[str, str]
    main: str
    versions: str
    packages: tuple[str, ...] = ()

    def check_in_worker(self, functions: Sequence[Callable[..., Any]]) -> None:
        """Raise a SearchError if these, as a worker process has them, depend on something else than this."""
        here = surroundings_of(functions, self.main)
        if self.versions != here.versions:
            raise SearchError(
                f"a worker has {here.versions}, and the search was started with {self.versions}, expected the same; "
                "install the same versions, as others give results that differ in the last digits"
            )
        for name, value in self.values.items():
            found = here.values.get(name, "not set")
            if found != value:
                raise SearchError(
                    f"{name} is {value} where the search was started and {found} in its worker process, expected the same; "
                    'set it outside of `if __name__ == "__main__":`, or give it to the builder with functools.partial'
                )
        for name in self.code.keys() & here.code.keys():
            kind, found_kind = self.code[name].split()[0], here.code[name].split()[0]
            if kind == found_kind and self.code[name] != here.code[name]:
                raise SearchError(
                    f"{name} is other code where the search was started than in its worker process, expected the same; "
                    'define it outside of `if __name__ == "__main__":`, and do not edit its file during a search'
                )


def surroundings_of(functions: Sequence[Callable[..., Any]], main: str | None = None) -> Surroundings:
    """Return what a builder, and the functions that score what it builds, depend on besides their arguments.

    Parameters
    ----------
    functions : sequence of callable
    main : str, optional
        The name of the main program, by default that of this process.

    Examples
    --------
    >>> names = {"__name__": "__main__", "LR": 0.1}
    >>> exec("def build(configuration, rng): return LR", names)
    >>> surroundings_of([names["build"]], main="script").values
    {'script.LR': '0.1'}
    """
    reader = _Reader(main_name() if main is None else main)
    reader.text_of(tuple(functions))
    values = {name: text for name, text in reader.values.items() if name not in reader.changed}
    values, code = (dict(sorted(found.items())) for found in (values, reader.code))
    return Surroundings(values, code, reader.main, versions(), tuple(sorted(reader.packages)))


def main_name() -> str:
    """Return the name that the main program has as a module: that of its file, if it has one."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return "__main__" if file is None else Path(file).stem


class _Reader:
    """Follows the names in code from function to function, each once."""

    def __init__(self, main: str) -> None:
        self.main = main
        self.values: dict[str, str] = {}
        self.code: dict[str, str] = {}
        self.changed: set[str] = set()  # names of values that the code changes
        self.packages: set[str] = set()  # installed packages that the code names
        self._followed: dict[int, Any] = {}  # functions and classes, kept alive so that no other object gets an id of theirs
        self._open: set[int] = set()  # objects whose texts are being made

    def text_of(self, x: Any) -> str:
        """Describe a value, the same in every process, and follow the functions and classes in it."""
        if isinstance(x, (FunctionType, type)):
            self._follow(x)
            return x.__qualname__
        if isinstance(x, ModuleType):
            return x.__name__
        if isinstance(x, enum.Enum):
            return f"{type(x).__name__}.{x.name}"
        if x is None or isinstance(x, (bool, int, float, complex, str, bytes, range, PurePath, np.generic)):
            return repr(x)
        if isinstance(x, np.ndarray) and not x.dtype.hasobject:
            return f"{x.dtype} array {x.tolist() if x.size <= LARGEST_ARRAY else f'{x.shape} #{digest_arrays([x])[:16]}'}"
        if id(x) in self._open:
            return f"{type(x).__name__}..."
        self._open.add(id(x))
        try:
            return self._text_of_parts(x)
        except Exception:  # a user's method raised, or it is nested too deeply
            return f"a {type(x).__name__}"
        finally:
            self._open.discard(id(x))

    def _text_of_parts(self, x: Any) -> str:
        kind = type(x)
        module = kind.__module__.partition(".")[0]
        if module in WITH_EXACT_REPR or isinstance(x, (np.dtype, bytearray)):
            return repr(x)
        if module == "pandas" and hasattr(x, "shape"):
            rows = sys.modules["pandas"].util.hash_pandas_object(x).to_numpy()
            names = f" of {x.columns.tolist()}" if hasattr(x, "columns") else ""
            return f"{kind.__name__} {x.shape} #{digest_arrays([rows])[:16]}{names}"
        if isinstance(x, Set):
            return f"{kind.__name__} {{{', '.join(sorted(map(self.text_of, x)))}}}"
        if isinstance(x, Mapping):
            return f"{{{', '.join(f'{self.text_of(key)}: {self.text_of(value)}' for key, value in x.items())}}}"
        if isinstance(x, (list, tuple, deque)):
            brackets = "[]" if isinstance(x, list) else "()"
            return f"{brackets[0]}{', '.join(map(self.text_of, x))}{brackets[1]}"
        if isinstance(x, MethodType):
            return f"{self.text_of(x.__func__)} of {self.text_of(x.__self__)}"
        is_readable = issubclass(kind, (partial, Namespace, SimpleNamespace)) or module in OWN_PACKAGES
        if is_readable or is_users(kind):
            self._follow(kind)
            return f"{kind.__name__}({', '.join(f'{key}={self.text_of(part)}' for key, part in children(x))})"
        if "__wrapped__" in getattr(x, "__dict__", {}):  # such as what functools.cache returns
            return self.text_of(x.__wrapped__)
        name = getattr(x, "__name__", None) if callable(x) else None
        return name if isinstance(name, str) else f"a {kind.__name__}"

    def _add(self, name: str, x: Any, names: Set[str] = frozenset()) -> None:
        """Add the value of a name or, if it is a module, the values of those of some names that it has."""
        if isinstance(x, ModuleType):
            if not is_users_file(getattr(x, "__file__", None)):
                self._use(x.__name__)
            else:
                for attribute in sorted(names & vars(x).keys()):
                    self._add(f"{self._module(x.__name__)}.{attribute}", vars(x)[attribute], names - {attribute})
            return
        text = printable(self.text_of(x))
        if callable(x) and text.rpartition(".")[2] == name.rpartition(".")[2]:
            return  # a definition, not a value
        is_long = len(text) > LONGEST_VALUE
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.values[name] = f"{text[:LONGEST_VALUE]}... #{digest}" if is_long else text

    def _follow(self, x: FunctionType | type) -> None:
        """Add the code of a function or class of the user, and what it reads."""
        if id(x) in self._followed:
            return
        self._followed[id(x)] = x
        if not is_users(x):
            self._use(x.__module__)
            if isinstance(x, FunctionType):  # it may be an installed decorator around the user's function
                for inner in (value for _, value in closure_of(x) if isinstance(value, FunctionType)):
                    self._follow(inner)
            return
        name = f"{self._module(names_around(x).get('__name__'))}.{x.__qualname__}"
        while name in self.code:  # such as a second lambda
            name += "'"
        self.code[name] = code_digest(x)
        if isinstance(x, FunctionType):
            self._read_function(name, x)
            return
        for base in x.__bases__:
            self._follow(base)
        for attribute, value in own_attributes(x).items():
            function = function_of(value)
            if function and is_users(function):
                self._read_function(f"{name}.{attribute}", function)
            elif not hasattr(value, "__get__") and not issubclass(x, enum.Enum):
                self._add(f"{name}.{attribute}", value)

    def _read_function(self, name: str, function: FunctionType) -> None:
        """Add what a function of the user reads."""
        code, module, tree = function.__code__, function.__globals__, tree_of(function)
        label = self._module(module.get("__name__"))
        variables, names = names_read(code)
        for variable in variables:
            if variable in module:
                self._add(f"{label}.{variable}", module[variable], names)
        for name_of_module, imported in imported_in(tree):
            if imported is None:
                self._use(name_of_module)
            else:
                self._add("", imported, names)
        for variable, value in closure_of(function):
            self._add(f"{name}.{variable}", value, names)
        arguments = reversed(code.co_varnames[: code.co_argcount])
        defaults = dict(zip(arguments, reversed(function.__defaults__ or ()), strict=False))
        for variable, value in {**defaults, **(function.__kwdefaults__ or {})}.items():
            self._add(f"{name}.{variable}", value)
        for variable, *attributes in changed_in(tree):
            self.changed.add(f"{name}.{variable}")
            if variable in variables:
                value = module.get(variable)
                if isinstance(value, ModuleType) and attributes:
                    self.changed.add(f"{self._module(value.__name__)}.{attributes[0]}")
                elif isinstance(value, type) and attributes:
                    self.changed.add(f"{self._module(value.__module__)}.{value.__qualname__}.{attributes[0]}")
                else:
                    self.changed.add(f"{label}.{variable}")

    def _use(self, module: Any) -> None:
        """Take note of the package of an installed module."""
        package = str(module).partition(".")[0]
        if package not in sys.stdlib_module_names | OWN_PACKAGES:
            self.packages.add(package)

    def _module(self, name: Any) -> str:
        """Return the last part of a module's name, which is the same if its file runs as a script."""
        return self.main if name in MAIN_NAMES else str(name).rpartition(".")[2]
