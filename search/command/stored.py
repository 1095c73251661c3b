"""A search as its store has it, finished or not: read only, while another process may be writing."""

import json
import math
from pathlib import Path

from search.ranking.ranking import Ranking, rank
from search.space.configuration import Configuration
from search.store import Store, owner_of
from search.trials.fits import Outcome


class StoredSearch:
    """What is in a store.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    meta : dict of str to str
        The store's own.
    owner : str or None
        Which process writes it now.
    counts : dict of str to int
        How many fits ended how.
    seconds : float
        Of work, together.
    total : int
        The number of fits of the whole search; 0 where that follows from losses.
    folds : list of (range, range)
        As many samples as train and validate, for each fold; empty where the store does not say.
    repeats : int
        How often each fold is fitted.

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
        self.total: int = plan.get("fits", 0)
        self.folds = [(range(train), range(validation)) for train, validation in plan.get("fold sizes", [])]
        self.repeats: int = plan.get("repeats", 1)

    @property
    def done(self) -> int:
        """The number of fits that have ended."""
        return sum(self.counts.values())

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to fit."""
        return self.total > 0 and self.done >= self.total

    def fits(self) -> list[tuple[Configuration, int, int | None, Outcome]]:
        """Return every fit: configuration, number of the fold, after how many epochs it stopped (None: its end), outcome."""
        keys = sorted(self._all_outcomes, key=lambda key: (key[0], key[1], key[2] or math.inf))
        return [(Configuration(json.loads(key[0])), key[1], key[2] or None, self._all_outcomes[key]) for key in keys]

    def ranking(self) -> Ranking:
        """Rank the configurations whose fits have all ended."""
        return rank(
            (Configuration(json.loads(text)) for text in self._finished()), self.outcomes, max(1, len(self.folds)), self.repeats
        )

    def _finished(self) -> set[str]:
        numbers = range(max(1, len(self.folds)) * self.repeats)
        return {text for text, _ in self.outcomes if all((text, number) in self.outcomes for number in numbers)}
