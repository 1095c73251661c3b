"""How the samples are split: [folds] for the search, [outer] for a nested cross-validation around it.

[folds]
kind = "time"       # "kfold", "stratified", "group" or "time"; the default suits the data
n_splits = 5
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.command.settings.keys import SettingsError, checked, expect_one_of
from search.trials.folds import KFold, Splitter
from tinygrad_lab.checks import install_hint

KINDS = ("kfold", "stratified", "group", "time")


@dataclass(frozen=True)
class FoldSettings:
    """One of the tables [folds] and [outer], checked.

    Attributes
    ----------
    kind : str or None
        One of KINDS. None chooses by the data: folds that keep groups together, and have all classes, if there are such.
    n_splits, gap : int
        The number of folds, and of the samples to leave out before each validation part of a time series.
    shuffle : bool
    seed : int
    """

    kind: str | None
    n_splits: int
    shuffle: bool
    seed: int
    gap: int

    def splitter(self, *, has_groups: bool, has_classes: bool) -> Splitter:
        """Return the splitter for data with or without groups and classes.

        Raises
        ------
        ImportError
            If it is one of scikit-learn's, which is not installed.

        Examples
        --------
        >>> read_folds({"n_splits": 3}, "folds.").splitter(has_groups=False, has_classes=False)
        KFold(3, shuffle=True, seed=0)
        >>> read_folds({"n_splits": 3}, "folds.").splitter(has_groups=False, has_classes=True)
        StratifiedKFold(n_splits=3, random_state=0, shuffle=True)
        """
        kind = self.kind or ("group" if has_groups else "stratified" if has_classes else "kfold")
        seed = self.seed if self.shuffle else None
        if kind == "kfold":
            return KFold(self.n_splits, self.shuffle, seed)
        try:
            from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit
        except ImportError:
            raise ImportError(f'folds of kind "{kind}" need scikit-learn: {install_hint("sklearn")}') from None
        if kind == "time":
            return TimeSeriesSplit(self.n_splits, gap=self.gap)
        by_group = StratifiedGroupKFold if self.kind is None and has_classes else GroupKFold
        made: Splitter = (by_group if kind == "group" else StratifiedKFold)(
            self.n_splits, shuffle=self.shuffle, random_state=seed
        )
        return made


def read_folds(given: Mapping[str, Any], prefix: str) -> FoldSettings:
    """Read [folds] or [outer].

    Raises
    ------
    SettingsError
        If a key is unknown, has a wrong value, or has no effect.

    Examples
    --------
    >>> read_folds({"kind": "time", "shuffle": True}, "folds.")
    Traceback (most recent call last):
    search.command.settings.keys.SettingsError: folds.shuffle has no effect on a time series, whose order is kept; leave it out
    """
    checked(given, prefix)
    kind = given.get("kind")
    if kind is not None:
        expect_one_of(f"{prefix}kind", kind, KINDS)
    for key in ("shuffle", "seed") if kind == "time" else ("gap",):
        if key in given:
            why = "a time series, whose order is kept" if kind == "time" else 'folds of another kind than "time"'
            raise SettingsError(f"{prefix}{key} has no effect on {why}; leave it out")
    for key, least in (("n_splits", 2), ("seed", 0), ("gap", 0)):
        if given.get(key, least) < least:
            raise SettingsError(f"{prefix}{key} = {given[key]}, expected at least {least}")
    if given.get("seed", 0) >= 2**32:  # scikit-learn's limit
        raise SettingsError(f"{prefix}seed = {given['seed']}, expected less than 2**32")
    options: dict[str, Any] = {"kind": None, "n_splits": 4, "shuffle": kind != "time", "seed": 0, "gap": 0, **given}
    return FoldSettings(**options)
