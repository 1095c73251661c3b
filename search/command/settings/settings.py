"""The TOML file that describes a search to the command line. It is checked completely before anything runs.

    search.toml --parse--> Settings: data, grid, folds, seed, builder

A minimal one:

    [data]
    train = "train.csv"        # in the folder of this file; numbers, the last column is y

    [grid]
    hidden = [[10, 10], [75, 50]]
    lr = [0.1, 0.05]
"""

from __future__ import annotations

import sys
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import SearchError, one_line
from search.space.grid import ParameterGrid
from search.trials.data import as_samples
from search.trials.fits import Build, build_trainer
from search.trials.folds import KFold

DEFAULT_BUILD = "models:build_perceptron"

Kinds = Mapping[str, tuple[type, ...]]  # the keys of a table, each with the types that it may have

TOP: Kinds = {
    "build": (str,), "seed": (int,), "repeats": (int,), "workers": (int,), "time_limit": (int, float),
    "data": (dict,), "grid": (dict,), "folds": (dict,), "outer": (dict,),
}  # fmt: skip
DATA: Kinds = {"train": (str,), "test": (str,), "outputs": (int,), "header": (bool,), "delimiter": (str,)}
FOLDS: Kinds = {"n_splits": (int,), "shuffle": (bool,), "seed": (int,)}


class SettingsError(SearchError):
    """The file of a search cannot be read, or does not describe a search."""


@dataclass(frozen=True)
class Settings:
    """The contents of a file.

    Attributes
    ----------
    text : str
        The text of the file.
    folder : Path
        The folder of the file. Relative paths in the file start there.
    build : str
        ``"module:function"``.
    train, test : Path or None
        Tables of numbers.
    outputs, header, delimiter
        How to read the tables: the number of columns at the end that are y, whether the first line has names, and the
        character between columns.
    grid : ParameterGrid
    folds, outer : KFold or None
        The folds of the search, and the outer folds of a nested cross-validation.
    seed, repeats : int
    workers, time_limit : int, float or None
    """

    text: str
    folder: Path
    build: str
    train: Path
    test: Path | None
    outputs: int
    header: bool
    delimiter: str
    grid: ParameterGrid
    folds: KFold
    outer: KFold | None
    seed: int
    repeats: int
    workers: int | None
    time_limit: float | None

    def training_set(self) -> tuple[np.ndarray, np.ndarray]:
        """Read x and y of the training set."""
        return self._samples(self.train, "train")

    def test_set(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Read x and y of the test set. None if the file names no test set."""
        return None if self.test is None else self._samples(self.test, "test")

    def builder(self, x: np.ndarray, y: np.ndarray) -> Build:
        """Import the function that builds a Trainer, and call it once, so that its errors show before all fits.

        The default builder gets the numbers of features and outputs.
        """
        build = _import_function(self.build, self.folder)
        if self.build == DEFAULT_BUILD:
            sizes: dict[str, Any] = {"in_features": x.shape[1], "out_features": y.shape[1]}
            build = partial(build, **sizes)
        first = next(iter(self.grid))
        try:
            build_trainer(build, first, seed=0)
        except Exception as error:
            raise SettingsError(f'build = "{self.build}" fails with {first}: {one_line(error)}') from error
        return build

    def _samples(self, path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # loadtxt warns of a table without rows, which is refused below
                table = np.loadtxt(path, delimiter=self.delimiter, skiprows=int(self.header), ndmin=2, encoding="utf-8-sig")
        except OSError as error:
            reason = error.strerror or "there is none"
            raise SettingsError(f"data.{key}: {path} cannot be read ({reason}); give a table of numbers") from None
        except ValueError as error:
            reason = " ".join(str(error).partition(";")[0].split()).rstrip(".")  # the rest is advice on loadtxt
            raise SettingsError(f"data.{key}: {path} is no table of numbers ({reason}); is header = true missing?") from None
        if not table.size:
            raise SettingsError(f"data.{key}: {path} has no rows, expected a table of numbers")
        if table.shape[1] <= self.outputs:
            raise SettingsError(
                f"data.{key}: {path} has {table.shape[1]} columns, of which data.outputs = {self.outputs} are y; expected more"
            )
        try:
            return as_samples(table[:, : -self.outputs], table[:, -self.outputs :], label=f"{path}: ")
        except (TypeError, ValueError) as error:
            raise SettingsError(f"data.{key}: {error}") from None


def read_settings(path: Path) -> Settings:
    """Read the file of a search.

    Raises
    ------
    SettingsError
        If it cannot be read, is not TOML, or does not describe a search: an unknown key, a value of the wrong type, no data,
        or an empty grid. For an unknown key, the message suggests the nearest known one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); give the TOML file of a search") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text in UTF-8 ({error.reason}); give the TOML file of a search") from None
    return parse_settings(text, path.absolute().parent, str(path))


def parse_settings(text: str, folder: Path, name: str) -> Settings:
    r"""Read the text of the file of a search.

    Parameters
    ----------
    text : str
    folder : Path
        The folder in which relative paths start.
    name : str
        The name of the file, for error messages.

    Examples
    --------
    >>> settings = parse_settings('[data]\ntrain = "t.csv"\n[grid]\nlr = [0.1, 0.2]', Path("/data"), "search.toml")
    >>> settings.grid, settings.folds
    (ParameterGrid(lr=[0.1, 0.2]), KFold(4, shuffle=True, seed=0))
    >>> parse_settings("[grid]\nlr = [0.1]\n[dta]", Path(), "search.toml")
    Traceback (most recent call last):
    search.command.settings.SettingsError: search.toml: unknown key 'dta', did you mean 'data'?
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name} is no TOML: {error}") from None
    try:
        top = _checked(given, TOP, "")
        data = _checked(top.get("data", {}), DATA, "data.")
        if "train" not in data:
            raise SettingsError('no data.train, expected the name of a table of numbers, such as train = "train.csv"')
        if "outputs" in data and data["outputs"] < 1:
            raise SettingsError(f"data.outputs = {data['outputs']}, expected at least 1")
        if len(data.get("delimiter", ",")) != 1 or data.get("delimiter") in ("\n", "\r", "#"):
            raise SettingsError(f"data.delimiter = {data['delimiter']!r}, expected one character, such as ';'")
        return Settings(
            text=text,
            folder=folder,
            build=top.get("build", DEFAULT_BUILD),
            train=folder / data["train"],
            test=folder / data["test"] if "test" in data else None,
            outputs=data.get("outputs", 1),
            header=data.get("header", False),
            delimiter=data.get("delimiter", ","),
            grid=ParameterGrid(top.get("grid", {})),
            folds=_folds(top.get("folds", {}), "folds."),
            outer=_folds(top["outer"], "outer.") if "outer" in top else None,
            seed=top.get("seed", 0),
            repeats=top.get("repeats", 1),
            workers=top.get("workers"),
            time_limit=top.get("time_limit"),
        )
    except (TypeError, ValueError, SettingsError) as error:
        raise SettingsError(f"{name}: {error}") from None


def _folds(given: Mapping[str, Any], prefix: str) -> KFold:
    options: dict[str, Any] = {"n_splits": 4, "shuffle": True, "seed": 0, **_checked(given, FOLDS, prefix)}
    return KFold(options["n_splits"], options["shuffle"], options["seed"] if options["shuffle"] else None)


def _checked(given: Mapping[str, Any], known: Kinds, prefix: str) -> Mapping[str, Any]:
    """Check the keys of a table and the types of its values, and return it."""
    for key, value in given.items():
        if key not in known:
            [near] = get_close_matches(key, known, n=1, cutoff=0.0)
            raise SettingsError(f"unknown key {prefix + key!r}, did you mean {prefix + near!r}?")
        if type(value) not in known[key]:
            kinds = " or ".join("a table" if kind is dict else kind.__name__ for kind in known[key])
            raise SettingsError(f"{prefix}{key} = {value!r}, expected {kinds}")
    return given


def _import_function(name: str, folder: Path) -> Build:
    """Import ``"module:function"``. The module may be in the folder of the TOML file."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise SettingsError(f'build = "{name}", expected "module:function", such as "{DEFAULT_BUILD}"')
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # worker processes get sys.path from their parent
    try:
        imported = import_module(module)
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise SettingsError(
            f'build = "{name}" cannot be imported ({one_line(error)}); the module is looked for in {folder} too'
        ) from error
    build: Build | None = getattr(imported, function, None)
    if not callable(build):
        raise SettingsError(f'build = "{name}": module {module} has no function {function}')
    return build
