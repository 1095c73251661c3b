"""A fork: a new store that copies results from the store of another search.

rows of the other store --same data, folds, seed and scoring; configurations asked for; not failed--> rows of the new store
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.errors import StoreError
from search.store.differences import differences, name_differences
from search.store.fingerprint import shared_folds
from search.store.rows import StoredRow
from search.trials.folds import Fold

# What may not differ in a fork. The grid, the builder with what it reads, the engine and the version may.
SAME_IN_A_FORK = ("data", "folds", "seed", "scoring")

# The cause may have been the builder or the machine, and may be fixed by now.
TRIED_AGAIN = ("failed", "crashed")


@dataclass(frozen=True)
class Fork:
    """What a new store copies from another.

    Attributes
    ----------
    path : path-like
        The other store.
    configurations : iterable of str, optional
        The canonical texts of the configurations to copy; None for all.
    folds : sequence of pair of ndarray
        Of the new search. It may have more folds than the other search (`repeats`, `outer`), if its first folds are those of
        the other search.
    """

    path: str | os.PathLike[str]
    configurations: Iterable[str] | None = None
    folds: Sequence[Fold] = ()

    def content(
        self, name: str, meta: Mapping[str, str], rows: Iterable[StoredRow], fingerprint: Mapping[str, str]
    ) -> tuple[dict[str, str], list[StoredRow]]:
        """Return the first content of the new store: its fingerprint with a note of the origin, and its rows.

        Parameters
        ----------
        name : str
            Of the other store, as are `meta` and `rows`.
        meta : mapping of str to str
        rows : iterable of tuple
        fingerprint : mapping of str to str
            Of the new search.

        Raises
        ------
        StoreError
            If the results of the other search do not apply to the new one.
        """
        different = differences(meta, fingerprint)
        unfit = {key: different[key] for key in SAME_IN_A_FORK if key in different}
        n_shared = shared_folds(meta.get("folds", ""), self.folds) if "folds" in unfit else None
        if n_shared:
            del unfit["folds"]
        if unfit:
            raise StoreError(
                f"store {name} cannot be forked by a search with other {name_differences(unfit)}: "
                "give what it was made with, or begin a new store"
            )
        asked = None if self.configurations is None else set(self.configurations)

        def is_taken(row: StoredRow) -> bool:
            configuration, fold, _, status, *_ = row
            is_here = (asked is None or configuration in asked) and (n_shared is None or fold < n_shared)
            return is_here and status not in TRIED_AGAIN

        origin = f"{name}, with other {name_differences(different)}" if different else name
        return {**fingerprint, "forked from": origin}, [*filter(is_taken, rows)]
