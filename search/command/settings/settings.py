"""All settings of a search together, which are checked completely before anything runs.

search.toml --read_toml--> tables --read_data, make_strategy, read_folds--> Settings --tables, builder--> Search
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from search.command.settings.builders import DEFAULT_BUILD, default_builder, import_builder
from search.command.settings.data import DataSettings, PlainTable, read_data
from search.command.settings.keys import EARLY_STOPPING, SettingsError, checked, read_toml, shown
from search.command.settings.splitters import FoldSettings, read_folds
from search.command.settings.strategies import make_strategy
from search.errors import message_line, one_line
from search.space.configuration import Configuration
from search.space.rounds import Strategy
from search.trials.fits import Build, build_trainer
from search.trials.folds import Splitter

LARGEST_FILE = 1_000_000  # bytes of a settings file
MOST_CHECKED = 1_000  # configurations of a grid whose names are looked at before the search


@dataclass(frozen=True)
class Settings:
    """The contents of a file.

    Attributes
    ----------
    text : str
        The text of the file.
    folder : Path
        The folder of the file. Relative paths in the file start there.
    build : str or None
        ``"module:function"``. None takes the builder that suits the data.
    data : DataSettings
    strategy : Strategy
    folds, outer : FoldSettings or None
        The folds of the search, by default those of `search.Search`, and the outer folds of a nested cross-validation.
    seed, repeats : int
    workers, time_limit, scoring, baselines : optional
        As in `search.Search`.
    early_stopping : dict
        Options of the builder for tables.
    """

    text: str
    folder: Path
    build: str | None
    data: DataSettings
    strategy: Strategy
    folds: FoldSettings | None
    outer: FoldSettings | None
    seed: int
    repeats: int
    workers: int | None
    time_limit: float | None
    scoring: str | list[str] | None
    baselines: bool | None
    early_stopping: Mapping[str, Any]

    @property
    def imports_code(self) -> bool:
        """Whether the builder is imported from outside of this distribution."""
        return self.build not in (None, DEFAULT_BUILD)

    @cached_property
    def tables(self) -> tuple[Any, Any]:
        """The training table and the test table, or None if the file names no test table. They are read once."""
        return self.data.read()

    def splitters(self) -> tuple[Splitter | None, Splitter | None]:
        """Return the splitters of the search and of the nested cross-validation around it. None is the search's default."""
        train, _ = self.tables
        known = {
            "has_groups": getattr(train, "groups", None) is not None,
            "has_classes": getattr(train, "task", "regression") == "classification",
        }
        own, outer = (None if folds is None else folds.splitter(**known) for folds in (self.folds, self.outer))
        return own, outer

    def builder(self) -> Build:
        """Return the function that builds a Trainer: the one that `build` names, or the one that suits the table."""
        train, _ = self.tables
        if self.build is not None and self.imports_code:
            return import_builder(self.build, self.folder)
        if isinstance(train, PlainTable) or self.build == DEFAULT_BUILD:
            return default_builder(train.x.shape[1], train.y.shape[1] if train.y.ndim == 2 else 1)
        return train.builder(**self.early_stopping)


def check_builder(build: Build, name: str | None, strategy: Strategy, seed: int) -> None:
    """Build a Trainer for each set of names that configurations have, so that the errors of a builder show before all fits.

    Parameters
    ----------
    build : callable
    name : str or None
        The name in the file, if there is one.
    strategy : Strategy
    seed : int
        Of the search.

    Raises
    ------
    SettingsError
        If the builder fails.
    """
    configurations = next(strategy.rounds(seed)).configurations
    firsts: dict[frozenset[str], Configuration] = {}
    for part in getattr(configurations, "grids", [configurations]):
        for configuration in islice(part, MOST_CHECKED):
            firsts.setdefault(frozenset(configuration), configuration)
    for first in firsts.values():
        try:
            build_trainer(build, first, seed=0)
        except Exception as error:
            what = "the default builder" if name is None else f'build = "{name}"'
            raise SettingsError(f"{what} fails with {first}: {one_line(error)}") from error


def read_settings(path: Path) -> Settings:
    """Read the file of a search.

    Raises
    ------
    SettingsError
        If it cannot be read, is not TOML, or does not describe a search: an unknown key, a value of the wrong type, no data,
        or an empty grid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); give the TOML file of a search") from None
    if len(content) > LARGEST_FILE:
        raise SettingsError(f"{path} is larger than {LARGEST_FILE:,} bytes; give the TOML file of a search")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
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
    >>> settings.strategy, settings.data.train
    (ParameterGrid(lr=[0.1, 0.2]), PosixPath('/data/t.csv'))
    >>> parse_settings("[grid]\nlr = [0.1]\n[dta]", Path(), "search.toml")
    Traceback (most recent call last):
    search.command.settings.keys.SettingsError: search.toml: unknown key 'dta', did you mean 'data'?
    """
    given = read_toml(text, name)
    try:
        top = checked(given, "")
        data = read_data(top.get("data", {}), folder)
        return Settings(
            text=text,
            folder=folder,
            build=top.get("build"),
            data=data,
            strategy=make_strategy(top.get("grid", {}), checked(top.get("search", {}), "search.")),
            folds=_folds(top["folds"], "folds.", data) if "folds" in top else None,
            outer=_folds(top["outer"], "outer.", data) if "outer" in top else None,
            seed=top.get("seed", 0),
            repeats=_at_least("repeats", top.get("repeats", 1), 1),
            workers=_at_least("workers", top.get("workers"), 1),
            time_limit=top.get("time_limit"),
            scoring=_scoring(top.get("scoring")),
            baselines=top.get("baselines"),
            early_stopping=_early_stopping(top, data),
        )
    except (TypeError, ValueError, ImportError, SettingsError) as error:
        raise SettingsError(f"{name}: {message_line(error)}") from None


def _at_least(key: str, value: Any, least: int) -> Any:
    if value is not None and value < least:
        raise SettingsError(f"{key} = {value}, expected at least {least}")
    return value


def _folds(given: Mapping[str, Any], prefix: str, data: DataSettings) -> FoldSettings:
    folds = read_folds(given, prefix)
    if folds.kind == "group" and "groups" not in data.options:
        raise SettingsError(
            f'{prefix}kind = "group" without data.groups, expected the column that has the group of each sample'
        )
    return folds


def _scoring(given: Any) -> Any:
    names = [given] if isinstance(given, str) else given
    if names is not None and (not names or not all(isinstance(name, str) and name for name in names)):
        raise SettingsError(f'scoring = {shown(given)}, expected a name or a list of names, such as "r2"')
    return given


def _early_stopping(top: Mapping[str, Any], data: DataSettings) -> Mapping[str, Any]:
    given = checked(top.get("early_stopping", {}), "early_stopping.")
    if given and ("build" in top or data.is_plain):
        raise SettingsError(
            "early_stopping has an effect only on a table with data.target and without build, "
            f"expected none of {', '.join(EARLY_STOPPING)}; let your own builder set them"
        )
    return given
