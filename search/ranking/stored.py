"""A search as read from its store, finished or not. Another process may be writing to the store."""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.frames import data_frame
from search.ranking.ranking import Ranking, rank
from search.space.configuration import Configuration, as_columns
from search.store import Store, owner_of
from search.trials.fits import Outcome

if TYPE_CHECKING:
    import pandas as pd


class StoredSearch:
    """The contents of a store.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    meta : dict of str to str
        The metadata of the store.
    outcomes : dict of (str, int) to Outcome
        The outcomes of trainings to the end, by the configuration's text and the number of the fold.
    owner : str or None
        The process that writes to the store now.
    counts : dict of str to int
        The number of fits with each status.
    seconds : float
        The sum of the seconds of all fits.
    total : int
        The number of fits of the whole search. It is 0 if it depends on losses, until the search is complete.
    folds : list of (range, range)
        The sizes of each fold's training and validation set, as ranges of these lengths. Empty if the store does not have
        them.
    repeats : int
        The number of fits of each fold.

    Raises
    ------
    StoreError
        If the path is no store, or a damaged one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "search.sqlite")
    ...     _ = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=path, workers=1).run(x, x**2, progress=False)
    ...     stored = StoredSearch(path)
    >>> stored.is_complete, stored.ranking()[0].configuration
    (True, {'degree': 2})
    >>> stored.to_frame()[["degree", "fold", "status"]].head(2)
       degree  fold status
    0       1     0   done
    1       1     1   done
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with Store(path) as store:
            self.meta = dict(store.meta)
            progress = store.progress()
            self._all_outcomes = store.all_outcomes()
        self.outcomes = {(text, fold): x for (text, fold, epochs), x in self._all_outcomes.items() if epochs == 0}
        self.owner = owner_of(Path(path))
        self.counts = progress.counts
        self.seconds = progress.seconds
        plan = json.loads(self.meta.get("plan", "{}"))
        self.total: int = plan.get("fits", 0) or int(self.meta.get("complete", 0))
        self.folds = [(range(train), range(validation)) for train, validation in plan.get("fold sizes", [])]
        self.repeats: int = plan.get("repeats", 1)

    @property
    def done(self) -> int:
        """The number of fits that have ended."""
        return sum(self.counts.values())

    @property
    def is_complete(self) -> bool:
        """Whether all fits have ended."""
        return self.total > 0 and self.done >= self.total

    def fits(self) -> list[tuple[Configuration, int, int | None, Outcome]]:
        """Return every fit as configuration, number of the fold, epochs after which it stopped early or None, outcome."""
        keys = sorted(self._all_outcomes, key=lambda key: (key[0], key[1], key[2] or math.inf))
        return [(Configuration.from_text(key[0]), key[1], key[2] or None, self._all_outcomes[key]) for key in keys]

    def to_frame(self) -> "pd.DataFrame":
        """Return every fit as a row of a pandas data frame, in the order of `fits`; see `search.frames.data_frame`.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        parameters, configurations = as_columns([configuration for configuration, *_ in self.fits()], missing=None)
        return data_frame(parameters, configurations, *self.results())

    def results(self) -> tuple[list[str], list[list[Any]]]:
        """Return what is known of every fit besides its configuration, in the order of `fits`: names, and a row for each."""
        fits = self.fits()
        scores = list(dict.fromkeys(name for *_, outcome in fits for name in outcome.scores))
        names = ["fold", "stopped_after", "status", *scores, "validation_loss", "train_loss", "seconds", "reason"]
        rows = [
            [fold, epochs, x.status, *map(x.scores.get, scores), x.validation_loss, x.train_loss, x.seconds, x.reason]
            for _, fold, epochs, x in fits
        ]
        return names, rows

    def ranking(self) -> Ranking:
        """Rank the configurations whose fits have all ended."""
        configurations = map(Configuration.from_text, self._finished())
        return rank(configurations, self.outcomes, max(1, len(self.folds)), self.repeats)

    def _finished(self) -> set[str]:
        numbers = range(max(1, len(self.folds)) * self.repeats)
        return {text for text, _ in self.outcomes if all((text, number) in self.outcomes for number in numbers)}
