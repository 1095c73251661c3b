"""The commands, each a function of its options.

run: settings --> Search --> STORE          status, rank, export: STORE --> StoredSearch, finished or not
                                            retrain, report: STORE --> the finished search --> SearchResult
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

from search.command.settings import PlainTable, Settings, check_builder, parse_settings, read_settings
from search.command.stored import StoredSearch
from search.command.terminal import program, say
from search.command.trust import is_own, seal
from search.errors import SearchError
from search.output import naming_write_errors, write_csv
from search.ranking.comparison import compare
from search.result import SearchResult
from search.run.retraining import RetrainedConfiguration
from search.search import Search
from search.space.configuration import as_columns
from tinygrad_lab.storage.arrays import save_arrays

# Keys of a store's metadata: the text of the TOML file, the folder that it was in, and the seal of the user who ran it.
SETTINGS_KEY = "settings"
FOLDER_KEY = "settings folder"
SEAL_KEY = "settings seal"


def run(options: argparse.Namespace) -> None:
    """Begin or continue a search, and print its ranking."""
    if options.settings is None and not options.store.exists():
        raise SearchError(f"store {options.store}: there is none to go on with, expected a TOML file after it, to begin one")
    settings = _settings(options, "go on with it there, or give the TOML file of the same search")
    train, _ = settings.tables
    if not isinstance(train, PlainTable):
        say("\n  ".join([train.summary(), *train.notes]))
    result = _run(settings, options, progress=not options.quiet, fork=options.fork)
    say(result.ranking)
    _check_success(result, options.store)
    say(f"\n{result.comparison()}")
    if result.nested is not None:
        say(f"\n{result.nested}")
    say(f"\nthe results are in {options.store}; next: {_command('report', options.store)} FOLDER")


def status(options: argparse.Namespace) -> None:
    """Print the progress of a search."""
    stored = StoredSearch(options.store)
    say(f"{stored.done:,} of {stored.total:,} fits are done" if stored.total else f"{stored.done:,} fits are done")
    if bad := {status: count for status, count in stored.counts.items() if status != "done"}:
        say("of these " + ", ".join(f"{count} {status}" for status, count in sorted(bad.items())))
    say(f"they took {stored.seconds:.3g} seconds of work")
    if origin := stored.meta.get("forked from"):
        say(f"forked from {origin}")
    ranking = stored.ranking()
    if len(ranking) and ranking[0].status == "done":
        say(f"best so far: {ranking[0].mean:.6g}, {ranking[0].configuration}")
    say("nobody is at work on it" if stored.owner is None else f"at work on it: {stored.owner}")


def rank(options: argparse.Namespace) -> None:
    """Print the ranking of the configurations whose fits have all ended, and write it to a file if one is given."""
    _check_output(options.csv, options.store)
    stored = StoredSearch(options.store)
    ranking = stored.ranking()
    if not len(ranking):
        raise SearchError(f"store {options.store}: no configuration is finished yet; wait, or run the search")
    say(ranking.table(options.top))
    if stored.total > stored.done:
        say(f"{stored.total - stored.done:,} of {stored.total:,} fits are not done yet: their configurations are not ranked")
    if any(row.status == "done" for row in ranking) and stored.folds:
        say(f"\n{compare(ranking, folds=stored.folds, repeats=stored.repeats).table(options.top)}")
    if options.csv is not None:
        ranking.to_csv(options.csv)


def export(options: argparse.Namespace) -> None:
    """Write every fit to a CSV file, completely or not at all. Floats can be read back to the bit.

    The row of a fit that stopped early, as most fits of a halving, has the number of its epochs.
    """
    _check_output(options.file, options.store)
    fits = StoredSearch(options.store).fits()
    names, values = as_columns([configuration for configuration, *_ in fits])
    header = [*names, "fold", "stopped_after", "status", "validation_loss", "train_loss", "seconds", "reason"]
    body = [
        [*cells, fold, epochs, x.status, x.validation_loss, x.train_loss, x.seconds, x.reason]
        for cells, (_, fold, epochs, x) in zip(values, fits, strict=True)
    ]
    write_csv(options.file, header, body)
    say(f"{len(fits):,} fits are in {options.file}")


def retrain(options: argparse.Namespace) -> None:
    """Train the best again on the whole training set, test them, and name the winners."""
    _check_output(options.weights, options.store)
    settings, result = _finished(options)
    train, test = _pairs(settings)
    if test is None:
        raise SearchError('the settings name no test set, expected one: test = "test.csv" under [data]')
    retrained = result.retrain(options.top, train=train, test=test, progress=not options.quiet)
    say(retrained)
    say(f"\nchosen by cross-validation: {_describe(retrained.best_by_cv)}")
    say(f"lowest test loss, which flatters: {_describe(retrained.best_by_test)}")
    if options.weights is not None:
        winner = retrained.best_by_cv
        with naming_write_errors(options.weights):
            save_arrays(options.weights, winner.state_dict, {"configuration": repr(winner.configuration)})
        say(f"the weights of the first are in {options.weights}")


def report(options: argparse.Namespace) -> None:
    """Write a page about a finished search."""
    settings, result = _finished(options)
    with naming_write_errors(options.folder, kind="folder"):  # an error here comes before the work
        options.folder.mkdir(parents=True, exist_ok=True)
    _check_output(options.folder / "index.html", options.store)
    train, test = _pairs(settings)
    page = result.report(
        options.folder,
        train=train,
        test=test,
        top=options.top,
        progress=not options.quiet,
        commands=[f"{_command('run', options.store)}  # with the settings below", *settings.text.splitlines()],
    )
    say(f"the report is {page}")


def _run(settings: Settings, options: argparse.Namespace, progress: bool, fork: Path | None = None) -> SearchResult:
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
    return search.run(**data, outer=outer, progress=progress)


def _finished(options: argparse.Namespace) -> tuple[Settings, SearchResult]:
    """Return the settings and the result of a finished search, of which some fit succeeded. Nothing is fitted for it."""
    settings = _settings(options, f"call result.{options.command} there")
    stored = StoredSearch(options.store)
    if not stored.is_complete:
        raise SearchError(
            f"store {options.store}: {stored.done:,} of {stored.total:,} fits are done, expected all; "
            f"{_command('run', options.store)}"
        )
    result = _run(settings, options, progress=False)
    _check_success(result, options.store)
    return settings, result


def _check_success(result: SearchResult, store: Path) -> None:
    """Raise a SearchError if no configuration could be fitted, with the reason of the first."""
    if not any(row.status == "done" for row in result):
        first = result[0]
        raise SearchError(
            f"store {store}: no configuration succeeded, of {len(result):,}; {first.configuration} {first.status} "
            f"({first.reason}); correct the cause, and begin a new store, or run with --fork {shlex.quote(str(store))}"
        )


def _settings(options: argparse.Namespace, advice: str) -> Settings:
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


def _pairs(settings: Settings) -> tuple[Any, Any]:
    """Return x and y of the training table, and those of the test table or None."""
    train, test = settings.tables
    return (train.x, train.y), None if test is None else (test.x, test.y)


def _describe(row: RetrainedConfiguration) -> str:
    return f"test loss {row.test_loss:.4f}, cross-validation {row.mean:.4f} (rank {row.rank}), {row.configuration}"


def _command(name: str, store: Path) -> str:
    """Return the beginning of a command line that a user can copy."""
    return f"{program()} {name} {shlex.quote(str(store))}"


def _check_output(path: Path | None, store: Path) -> None:
    """Refuse an output file before the work begins: one that cannot be written, or the store itself."""
    if path is None:
        return
    if path.exists() and store.exists() and path.samefile(store):
        raise SearchError(f"{path} is the store itself, which would be lost; give another path")
    if path.is_dir() or not path.parent.is_dir():
        raise SearchError(f"{path} cannot be written, expected a file in a folder that exists; give another path")
