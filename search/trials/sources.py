"""The source of a function or class: its digest, what it changes, what it imports, and whether it is the user's own."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tinygrad_lab.training.snapshots.users_code import INSTALLED_FOLDERS, STANDARD_LIBRARY, own_attributes

MAIN_NAMES = ("__main__", "__mp_main__")  # the second one is that of a spawned worker
OWN_FOLDERS = {Path(__file__).parents[2] / name for name in ("models", "search", "tinygrad_lab")}
CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}


def code_digest(x: FunctionType | type) -> str:
    """Return a digest of the source without comments and formatting; without a source, and of a lambda, of its bytecode."""
    tree = None if x.__name__ == "<lambda>" else tree_of(x)
    if tree is not None:
        kind, text = "source", ast.unparse(tree)
    else:
        functions = [x] if isinstance(x, FunctionType) else filter(None, map(function_of, own_attributes(x).values()))
        kind, text = "bytecode", "".join(_text_of_code(function.__code__) for function in functions)
    return f"{kind} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _text_of_code(code: CodeType) -> str:
    def text_of(constant: Any) -> str:
        if isinstance(constant, CodeType):
            return _text_of_code(constant)
        return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)

    return repr((code.co_code.hex(), code.co_names, code.co_varnames, [*map(text_of, code.co_consts)]))


def tree_of(x: FunctionType | type) -> ast.AST | None:
    """Return the syntax tree of the source; None if there is none."""
    with suppress(OSError, TypeError, SyntaxError, ValueError):
        return ast.parse(textwrap.dedent(inspect.getsource(x)))
    return None


def function_of(attribute: Any) -> FunctionType | None:
    """Return the function of a method or a property; None if it is something else, or was generated as in a dataclass."""
    inner = next((getattr(attribute, name) for name in ("__func__", "fget", "func") if hasattr(attribute, name)), attribute)
    return inner if isinstance(inner, FunctionType) and inner.__code__.co_filename != "<string>" else None


def changed_in(tree: ast.AST | None) -> Iterator[tuple[str, ...]]:
    """Yield what code changes, as a variable and attributes: ("cache",) for ``cache[key] = 1`` or ``cache.clear()``."""
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from ((name,) for name in node.names)
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield from _path(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
            yield from _path(node.func.value)


def _path(node: ast.AST) -> Iterator[tuple[str, ...]]:
    attributes: list[str] = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        attributes = [node.attr, *attributes] if isinstance(node, ast.Attribute) else []
        node = node.value
    if isinstance(node, ast.Name):
        yield (node.id, *attributes)


def imported_in(tree: ast.AST | None) -> Iterator[tuple[str, ModuleType | None]]:
    """Yield the names of the modules that code imports when it runs, and those that are the user's, imported now."""
    for node in ast.walk(tree) if tree else ():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            with suppress(Exception):  # then the builder may fail, or does not come to this line
                found = importlib.util.find_spec(name.partition(".")[0])
                yield name, importlib.import_module(name) if found and is_users_file(found.origin) else None


def closure_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables of the functions around this one that it reads, with their values."""
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty
            yield variable, cell.cell_contents


def names_around(x: FunctionType | type) -> Mapping[str, Any]:
    """Return the name and the file of the module in which a function or class was defined, among other names."""
    if isinstance(x, FunctionType):
        return x.__globals__
    return {"__name__": x.__module__, "__file__": getattr(sys.modules.get(x.__module__), "__file__", None)}


def is_users(x: FunctionType | type) -> bool:
    """Whether a function or class was defined in a module of the user."""
    names = names_around(x)
    return names.get("__name__") in MAIN_NAMES or is_users_file(names.get("__file__"))


def is_users_file(file: str | None) -> bool:
    """Whether a file is neither this package's, nor the standard library's, nor installed."""
    if file is None or file.startswith(STANDARD_LIBRARY):
        return False
    path = Path(file)
    return INSTALLED_FOLDERS.isdisjoint(path.parts) and OWN_FOLDERS.isdisjoint(path.parents)
