"""The commands, each a function of its options.

run: settings --> Search --> STORE     status, rank, importance, compare, export: STORE --> StoredSearch, finished or not
                                       retrain, report: STORE --> the finished search --> SearchResult
"""

import argparse

from search.command.searching import check_output, check_success, command, finished, run_search, settings_of
from search.command.settings import PlainTable
from search.command.terminal import say
from search.errors import SearchError
from search.output import naming_write_errors, write_csv
from search.ranking.comparison import compare
from search.ranking.export import export_optuna
from search.ranking.importance import parameter_importance
from search.ranking.measure import measure_of
from search.ranking.stored import StoredSearch
from search.ranking.stores import compare_stores
from search.run.retraining import RetrainedConfiguration
from search.space.configuration import as_columns
from tinygrad_lab.storage.arrays import save_arrays
from tinygrad_lab.storage.files import replacing


def run(options: argparse.Namespace) -> None:
    """Begin or continue a search, and print its ranking."""
    if options.settings is None and not options.store.exists():
        raise SearchError(f"store {options.store}: there is none to go on with, expected a TOML file after it, to begin one")
    settings = settings_of(options, "go on with it there, or give the TOML file of the same search")
    train, _ = settings.tables
    if not isinstance(train, PlainTable):
        say("\n  ".join([train.summary(), *train.notes]))
    result = run_search(settings, options, progress=not options.quiet, fork=options.fork)
    say(result.ranking)
    check_success(result, options.store)
    say(f"\n{result.comparison()}")
    if result.nested is not None:
        say(f"\n{result.nested}")
    say(f"\nthe results are in {options.store}; next: {command('report', options.store)} FOLDER")


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
        best = ranking[0]
        measure = measure_of(best.scores)
        say(f"best so far: {measure.name} {measure.shown(best.objective):.6g}, {best.configuration}")
    say("nobody is at work on it" if stored.owner is None else f"at work on it: {stored.owner}")


def rank(options: argparse.Namespace) -> None:
    """Print the ranking of the configurations whose fits have all ended, and write it to a file if one is given."""
    check_output(options.csv, options.store)
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


def importance(options: argparse.Namespace) -> None:
    """Print how important each parameter is for the place in the ranking."""
    say(parameter_importance(StoredSearch(options.store).ranking()))


def compare_with(options: argparse.Namespace) -> None:
    """Print the differences between two stores on the same folds."""
    say(compare_stores(options.store, options.other))


def export(options: argparse.Namespace) -> None:
    """Write every fit to a CSV or Parquet file, or the ranking to a study of Optuna.

    A CSV file is written completely or not at all, and floats can be read back to the bit. The row of a fit that stopped early,
    as most fits of a halving, has the number of its epochs.
    """
    check_output(options.file, options.store)
    stored = StoredSearch(options.store)
    suffix = options.file.suffix.lower()
    if options.format == "optuna":
        study = export_optuna(stored, options.file)
        say(f'{len(study.trials):,} trials are in {options.file}, in the study "{study.study_name}"')
        return
    if options.format == "parquet" or (options.format is None and suffix == ".parquet"):
        frame = stored.to_frame()
        with naming_write_errors(options.file), replacing(options.file) as file:
            frame.to_parquet(file)
    else:
        parameters, configurations = as_columns([configuration for configuration, *_ in stored.fits()])
        names, results = stored.results()
        rows = [[*cells, *result] for cells, result in zip(configurations, results, strict=True)]
        write_csv(options.file, [*parameters, *names], rows)
    say(f"{len(stored.fits()):,} fits are in {options.file}")


def retrain(options: argparse.Namespace) -> None:
    """Train the best again on the whole training set, test them, and name the winners."""
    check_output(options.weights, options.store)
    settings, result = finished(options)
    train, test = settings.tables
    if test is None:
        raise SearchError('the settings name no test set, expected one: test = "test.csv" under [data]')
    retrained = result.retrain(options.top, train=train, test=test, progress=not options.quiet)
    say(retrained)
    say(f"\nchosen by cross-validation: {_describe(retrained.best_by_cv)}")
    measure = retrained.measure
    say(f"{measure.best} test {measure.name}, which flatters: {_describe(retrained.best_by_test)}")
    if options.weights is not None:
        winner = retrained.best_by_cv
        with naming_write_errors(options.weights):
            save_arrays(options.weights, winner.state_dict, {"configuration": repr(winner.configuration)})
        say(f"the weights of the first are in {options.weights}")


def report(options: argparse.Namespace) -> None:
    """Write a page about a finished search."""
    settings, result = finished(options)
    with naming_write_errors(options.folder, kind="folder"):  # an error here comes before the work
        options.folder.mkdir(parents=True, exist_ok=True)
    check_output(options.folder / "index.html", options.store)
    train, test = settings.tables
    page = result.report(
        options.folder,
        train=train,
        test=test,
        top=options.top,
        progress=not options.quiet,
        commands=[f"{command('run', options.store)}  # with the settings below", *settings.text.splitlines()],
    )
    say(f"the report is {page}")


def _describe(row: RetrainedConfiguration) -> str:
    name = measure_of(row.scores).name
    return f"test {name} {row.test_value:.4f}, cross-validation {row.mean:.4f} (rank {row.rank}), {row.configuration}"
