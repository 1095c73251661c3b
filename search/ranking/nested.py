"""Nested cross-validation: the expected loss, on new data, of the procedure "search, and take the best".

    for each outer fold: its training set --search on inner folds--> the best --trained on all of it--> outer test loss

The lowest of many mean losses is too optimistic, because the choice favours luck. The outer test sets are not used for any
choice, so the mean of their losses does not have this bias. It estimates the loss of a network that is trained on an outer
training set. If this set is smaller than the training sets of the search's own folds, that alone makes the network worse.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.ranking.measure import LOSS, Measure
from search.space.configuration import Configuration


@dataclass(frozen=True)
class NestedEstimate:
    """The test losses of a search that was repeated in each outer training set.

    Attributes
    ----------
    losses : tuple of float
        The loss on each outer test set, or the score if a score decides; NaN if no network could be trained.
    configurations : tuple of (dict or None)
        The configuration that was chosen in each outer training set.
    inner_means : tuple of float
        Its mean loss or score on the inner folds, the best of all configurations.
    search_mean : float
        The best mean loss or score of the search on all data.
    train_sizes, search_train_sizes : tuple of int
        The numbers of training samples in each outer fold, and in each fold of the search on all data.
    measure : Measure
        What decides: the loss, or a score.

    References
    ----------
    Varma and Simon (2006), "Bias in error estimation when using cross-validation for model selection", BMC Bioinformatics 7.
    Cawley and Talbot (2010), "On over-fitting in model selection and subsequent selection bias in performance evaluation",
    Journal of Machine Learning Research 11.

    Examples
    --------
    >>> estimate = NestedEstimate((0.6, 0.7), ({"lr": 0.1}, {"lr": 0.2}), (0.55, 0.56), 0.5, (20, 20), (30, 30, 30, 30))
    >>> print(estimate)
    The procedure "search, and take the best" has a test loss of 0.65 ± 0.05 (mean and standard error of 2 outer folds).
    The best score of the search itself was 0.5, of networks trained on 30 samples; those of the outer folds had 20.
    The difference, +0.15, holds both the luck of the choice and the sizes of the training sets.
    2 different configurations were chosen in the 2 outer training sets.
    """

    losses: tuple[float, ...]
    configurations: tuple[Configuration | None, ...]
    inner_means: tuple[float, ...]
    search_mean: float
    train_sizes: tuple[int, ...]
    search_train_sizes: tuple[int, ...]
    measure: Measure = LOSS

    @property
    def mean(self) -> float:
        """The estimate: the mean of the outer test losses or scores."""
        return float(np.mean(self.losses))

    @property
    def standard_error(self) -> float:
        """The standard error of the mean, computed as if the outer folds were independent.

        They share training samples, so the true error is larger.
        """
        return float(np.std(self.losses, ddof=1) / math.sqrt(len(self.losses))) if len(self.losses) > 1 else math.nan

    def __str__(self) -> str:
        count = len(self.losses)
        failed = sum(not math.isfinite(loss) for loss in self.losses)
        if failed:
            return f"In {failed} of {count} outer folds no network could be trained: there is no nested estimate."
        distinct = len({str(configuration) for configuration in self.configurations})
        chosen = "The same configuration was" if distinct == 1 else f"{distinct} different configurations were"
        spread = f" ± {self.standard_error:.2g}" if count > 1 else ""
        return (
            f'The procedure "search, and take the best" has a test {self.measure.name} of {self.mean:.4g}{spread} '
            f"(mean and standard error of {count} outer folds).\n"
            f"The best score of the search itself was {self.search_mean:.4g}, of networks trained on "
            f"{_span(self.search_train_sizes)} samples; those of the outer folds had {_span(self.train_sizes)}.\n"
            f"The difference, {self.mean - self.search_mean:+.3g}, holds both the luck of the choice and the sizes of the "
            "training sets.\n"
            f"{chosen} chosen in the {count} outer training sets."
        )


def _span(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return str(low) if low == high else f"{low} to {high}"
