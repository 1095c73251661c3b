"""From the options of a command to the search that they mean.

options: STORE, TOML --settings_of--> Settings --run_search--> SearchResult
                                               --finished--> the same, only if no fit is missing and one succeeded
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

from search.command.settings import PlainTable, Settings, check_builder, parse_settings, read_settings
from search.command.terminal import notes_of_warnings, program
from search.command.trust import is_own, seal
from search.errors import SearchError
from search.ranking.stored import StoredSearch
from search.result import SearchResult
from search.search import Search

# Keys of a store's metadata: the text of the TOML file, the folder that it was in, and the seal of the user who ran it.
SETTINGS_KEY = "settings"
FOLDER_KEY = "settings folder"
SEAL_KEY = "settings seal"


def settings_of(options: argparse.Namespace, advice: str) -> Settings:
    """Return the settings of the given file, or else those in the store.

    Raises
    ------
    SearchError
        If the store has none, or they would import a builder although they are not of this user's own run.
    """
    if options.settings is not None:
        return read_settings(options.settings)
    meta = StoredSearch(options.store).meta
    if SETTINGS_KEY not in meta:
        raise SearchError(f"store {options.store} was made by a Python program: {advice}")
    settings = parse_settings(meta[SETTINGS_KEY], Path(meta[FOLDER_KEY]), f"the settings in {options.store}")
    if settings.imports_code and not options.trust and not is_own(settings, meta.get(SEAL_KEY, "")):
        raise SearchError(
            f'store {options.store} would import build = "{settings.build}", also from the folder {settings.folder}, '
            "but its settings are not of a run by you; look at that code, then give --trust, or the TOML file"
        )
    return settings


def run_search(settings: Settings, options: argparse.Namespace, progress: bool, fork: Path | None = None) -> SearchResult:
    """Fit what is not yet in the store, after everything that the settings name has been read and checked."""
    train, _ = settings.tables
    folds, outer = settings.splitters()
    build = settings.builder()
    chosen: dict[str, Any] = {"scoring": settings.scoring, "baselines": settings.baselines}
    search = Search(
        build,
        settings.strategy,
        folds,
        store=options.store,
        seed=settings.seed,
        workers=options.workers or settings.workers,
        time_limit=settings.time_limit,
        repeats=settings.repeats,
        fork=fork,
        notes={SETTINGS_KEY: settings.text, FOLDER_KEY: str(settings.folder), SEAL_KEY: seal(settings)},
        **{name: value for name, value in chosen.items() if value is not None},
    )
    check_builder(build, settings.build, search.strategy, settings.seed)
    data = {"x": train.x, "y": train.y} if isinstance(train, PlainTable) else {"x": train}
    with notes_of_warnings():
        return search.run(**data, outer=outer, progress=progress)


def finished(options: argparse.Namespace) -> tuple[Settings, SearchResult]:
    """Return the settings and the result of a finished search, of which some fit succeeded. Nothing is fitted for it."""
    settings = settings_of(options, f"call result.{options.command} there")
    stored = StoredSearch(options.store)
    if not stored.is_complete:
        raise SearchError(
            f"store {options.store}: {stored.done:,} of {stored.total:,} fits are done, expected all; "
            f"{command('run', options.store)}"
        )
    result = run_search(settings, options, progress=False)
    check_success(result, options.store)
    return settings, result


def check_success(result: SearchResult, store: Path) -> None:
    """Raise a SearchError if no configuration could be fitted, with the most frequent reason."""
    if failure := result.ranking.failure:
        raise SearchError(
            f"store {store}: {failure}; correct the cause, and begin a new store, or run with --fork {shlex.quote(str(store))}"
        )


def command(name: str, store: Path) -> str:
    """Return the beginning of a command line that a user can copy."""
    return f"{program()} {name} {shlex.quote(str(store))}"


def check_output(path: Path | None, given: Path, what: str = "the store") -> None:
    """Refuse an output file before the work begins: one that cannot be written, or a file that was given to be read."""
    if path is None:
        return
    if path.exists() and given.exists() and path.samefile(given):
        raise SearchError(f"{path} is {what} itself, which would be lost; give another path")
    if path.is_dir() or not path.parent.is_dir():
        raise SearchError(f"{path} cannot be written, expected a file in a folder that exists; give another path")
