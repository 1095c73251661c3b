"""What a settings file names in Python: the function that builds a Trainer, and the package `models` of this distribution.

`search` does not import `models`. Only the command line does, when it runs, because its default builders are there.
"""

import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import extend_path
from types import ModuleType
from typing import Any

from search.command.settings.keys import SettingsError
from search.errors import one_line
from search.trials.containment import contained
from search.trials.fits import Build

DEFAULT_BUILD = "models:build_perceptron"

ROOT = Path(__file__).absolute().parents[3]  # the folder of all three packages


def own_models() -> ModuleType:
    """Return the package `models` of this distribution, even if the current folder has another module of this name.

    The folder of the packages becomes the first of `sys.path`, so that worker processes find the same package. A folder
    `models` of the user adds its modules to the package, because the package extends its path.

    Raises
    ------
    SettingsError
        If another package `models` has been imported already.

    Examples
    --------
    >>> own_models().build_perceptron.__module__
    'models.builders'
    """
    if "models" not in sys.modules:
        spec = find_spec("models")
        if spec is None or not _is_own(spec.origin):
            sys.path.insert(0, str(ROOT))
    module = import_module("models")
    if not _is_own(module.__file__):
        where = module.__file__ or "a folder without __init__.py"
        raise SettingsError(f"the package models was imported from {where}, expected {ROOT / 'models'}; rename the other one")
    return module


def _is_own(file: str | None) -> bool:
    return file is not None and Path(file).parent.samefile(ROOT / "models")


def default_builder(in_features: int, out_features: int) -> Build:
    """Return the builder for plain tables of numbers, `models.build_perceptron`, of a network with these sizes."""
    sizes: dict[str, Any] = {"in_features": in_features, "out_features": out_features}
    return partial(own_models().build_perceptron, **sizes)


def import_builder(name: str, folder: Path) -> Build:
    """Import ``"module:function"``. The module may be in a folder, that of the TOML file.

    Raises
    ------
    SettingsError
        If it cannot be imported, or is no function.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise SettingsError(f'build = "{name}", expected "module:function", such as "{DEFAULT_BUILD}"')
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # worker processes get sys.path from their parent
        for package in [sys.modules[name] for name in ("models", "search") if name in sys.modules]:
            package.__path__ = extend_path(package.__path__, package.__name__)  # the folder may add modules to it
    try:
        with contained():
            imported = import_module(module)
    except Exception as error:  # the user's module may raise anything
        raise SettingsError(
            f'build = "{name}" cannot be imported ({one_line(error)}); the module is looked for in {folder} too'
        ) from error
    build: Build | None = getattr(imported, function, None)
    if not callable(build):
        where = getattr(imported, "__file__", None) or "no file"
        raise SettingsError(f'build = "{name}": module {module}, read from {where}, has no function {function}')
    return build
