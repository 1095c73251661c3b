"""Export to Optuna: the ranking of a search as a study, which optuna-dashboard and Optuna's plots can open.

a configuration of the ranking --> a trial: parameters, distributions, value, state, the losses of its folds as user attributes
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import SearchError, StoreError, one_line
from search.ranking.ranking import RankedConfiguration, Ranking, in_order, mean_and_std
from search.ranking.stored import StoredSearch
from search.space.configuration import as_columns, value_text
from search.space.optuna import quiet
from search.store.file import is_store
from tinygrad_lab.checks import install_hint

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

WIDE = 100.0  # a positive parameter whose largest value is so many times its smallest is on a logarithmic scale

Axis = tuple["BaseDistribution", Callable[[Any], Any]]


def export_optuna(
    source: Ranking | StoredSearch, storage: "str | os.PathLike[str] | BaseStorage", study_name: str = "search"
) -> "Study":
    """Write a ranking as a study of Optuna. Needs Optuna, the extra `optuna`.

    Each configuration is a trial, in the order of the ranking. Its value is the mean loss, or the mean of the score that
    decides, which is then maximized. Its state is COMPLETE if it is done, PRUNED if a strategy stopped it early, and FAIL
    otherwise. Its user attributes have the rank, the status, the reason, the configuration as JSON, what decides on each fold,
    and the mean of each score. Baselines are not written.

    A parameter whose values are all finite numbers has the range of these values as its distribution, on a logarithmic scale
    if it is wide. Any other parameter is categorical. If it has values that Optuna does not know, such as tuples, they are
    written as JSON.

    Parameters
    ----------
    source : Ranking or StoredSearch
        What to write: ``result.ranking``, or a store that was opened.
    storage : str, path-like or optuna.storages.BaseStorage
        An URL such as ``"sqlite:///study.db"``, or the path of a file for SQLite, or a storage of Optuna.
    study_name : str, default="search"
        A name that the storage does not have yet.

    Returns
    -------
    optuna.Study
        As `optuna.load_study` returns it.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    SearchError
        If the ranking is empty, the storage has a study of this name, is the store of a search, or cannot be written. Then no
        study is added.

    Examples
    --------
    >>> from search import Outcome
    >>> from search.ranking.ranking import rank
    >>> ranking = rank([{"lr": 0.1}, {"lr": 0.2}], {('{"lr":0.1}', 0): Outcome("done", 0.75, 0.5),
    ...                                             ('{"lr":0.2}', 0): Outcome("done", 0.25, 0.5)}, n_folds=1)
    >>> import optuna
    >>> study = export_optuna(ranking, optuna.storages.InMemoryStorage())
    >>> study.best_params, study.best_value
    ({'lr': 0.2}, 0.25)
    """
    try:
        import optuna
    except ImportError:
        raise ImportError(f"export_optuna needs Optuna: {install_hint('optuna')}") from None
    ranking = source.ranking() if isinstance(source, StoredSearch) else source
    if not len(ranking):
        raise SearchError("export_optuna: no configuration is finished yet; wait, or run the search")
    trials = _trials(ranking)
    if not isinstance(storage, optuna.storages.BaseStorage):
        text = os.fspath(storage)
        storage = text if "://" in text else f"sqlite:///{text}"
        if _is_search_store(storage.removeprefix("sqlite:///")):
            raise SearchError(f"{text} is the store of a search, which other tables would damage; give another path")
    name = getattr(storage, "url", storage)
    try:
        with quiet():
            study = optuna.create_study(
                storage=storage,
                study_name=study_name,
                direction="maximize" if ranking.measure.is_score else "minimize",
            )
    except optuna.exceptions.DuplicatedStudyError:
        raise SearchError(f"{name} has a study {study_name!r} already; give another name or file") from None
    except Exception as error:  # each database has its own errors
        raise SearchError(f"{name} cannot be written: {one_line(error)}; give another storage") from error
    try:
        study.add_trials(trials)
    except BaseException as error:
        optuna.delete_study(study_name=study_name, storage=storage)
        if not isinstance(error, Exception):
            raise
        raise SearchError(f"{name} cannot be written: {one_line(error)}; give another storage") from error
    return study


def _is_search_store(path: str) -> bool:
    try:
        return is_store(Path(path).absolute(), path)
    except StoreError:
        return False


def _trials(ranking: Ranking) -> "list[FrozenTrial]":
    missing = object()
    names, values = as_columns([row.configuration for row in ranking], missing)
    axes = {
        name: _axis([value for value in column if value is not missing])
        for name, column in zip(names, zip(*values, strict=True), strict=True)
    }
    return [_trial(row, axes, ranking) for row in ranking]


def _trial(row: RankedConfiguration, axes: "dict[str, Axis]", ranking: Ranking) -> "FrozenTrial":
    import optuna

    states = {"done": optuna.trial.TrialState.COMPLETE, "stopped": optuna.trial.TrialState.PRUNED}
    shown = map(ranking.measure.shown, row.objectives)
    scores = {name: score for name, score in zip(ranking.fold_names, shown, strict=True) if math.isfinite(score)}
    means = {f"mean {name}": mean for name, x in row.scores.items() if math.isfinite(mean := mean_and_std(x)[0])}
    return optuna.trial.create_trial(
        state=states.get(row.status, optuna.trial.TrialState.FAIL),
        value=ranking.measure.shown(row.objective) if row.status == "done" else None,
        params={name: axes[name][1](value) for name, value in row.configuration.items()},
        distributions={name: axes[name][0] for name in row.configuration},
        user_attrs={
            "rank": row.rank,
            "status": row.status,
            "reason": row.reason,
            "configuration": row.configuration.text,
            **scores,
            **means,
        },
    )


def _axis(values: Sequence[Any]) -> "Axis":
    """Return the distribution of a parameter, and a function that writes a value for it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kinds = set(map(type, values))
    if kinds <= {int, float} and all(map(math.isfinite, values)):
        low, high = min(values), max(values)
        is_wide = low > 0 and high >= WIDE * low
        return (FloatDistribution if float in kinds else IntDistribution)(low, high, log=is_wide), lambda value: value
    write: Callable[[Any], Any] = value_text
    if kinds <= {str, bool, type(None)}:  # otherwise 1 and True, or 1 and "1", would be one category
        write = lambda value: value  # noqa: E731
    return CategoricalDistribution(list(dict.fromkeys(map(write, in_order(values))))), write
