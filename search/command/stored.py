"""A search as read from its store, finished or not. Another process may be writing to the store."""

import json
import math
from pathlib import Path

from search.ranking.ranking import Ranking, rank
from search.space.configuration import Configuration
from search.store import Store, owner_of
from search.trials.fits import Outcome


class StoredSearch:
    """The contents of a store.

    Parameters
    ----------
    path : Path

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
    """

    def __init__(self, path: Path) -> None:
        with Store(path) as store:
            self.meta = dict(store.meta)
            progress = store.progress()
            self._all_outcomes = store.all_outcomes()
        self.outcomes = {(text, fold): x for (text, fold, epochs), x in self._all_outcomes.items() if epochs == 0}
        self.owner = owner_of(path)
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

    def ranking(self) -> Ranking:
        """Rank the configurations whose fits have all ended."""
        configurations = map(Configuration.from_text, self._finished())
        return rank(configurations, self.outcomes, max(1, len(self.folds)), self.repeats)

    def _finished(self) -> set[str]:
        numbers = range(max(1, len(self.folds)) * self.repeats)
        return {text for text, _ in self.outcomes if all((text, number) in self.outcomes for number in numbers)}
