"""Samples with their weights: a random fraction is held out, and the scaler of the training set standardises both parts.

WeightedSamples --split--> training set --fit_scaler--> StandardScaler
                      '--> validation set ----------------scaled--> x, y
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from tinygrad_lab.checks import is_finite_number


@dataclass(frozen=True)
class WeightedSamples:
    """Inputs, targets and optional weights. A row is a sample."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    @property
    def mean_one_weight(self) -> np.ndarray | None:
        """The weights scaled to a mean of 1, because a loss divides by the number of samples, not by the sum of weights."""
        return None if self.weight is None else self.weight / self.weight.mean()

    def split(self, fraction: Any, seed: int, strata: np.ndarray | None) -> tuple[WeightedSamples, WeightedSamples]:
        """Split off a random `fraction`. Both parts have the shares of the labels in `strata`, unless it is None.

        Examples
        --------
        >>> train, held_out = WeightedSamples(np.ones((10, 1)), np.ones(10)).split(0.2, seed=0, strata=None)
        >>> len(train.x), len(held_out.x)
        (8, 2)
        """
        if not is_finite_number(fraction) or not 0 < fraction < 1:
            raise ValueError(f"validation_fraction is {fraction!r}, expected a number above 0 and below 1, or None")
        indices = np.arange(len(self.x))
        train, held_out = train_test_split(indices, test_size=float(fraction), random_state=seed, stratify=strata)
        return self._take(np.sort(train)), self._take(np.sort(held_out))

    def _take(self, indices: np.ndarray) -> WeightedSamples:
        return WeightedSamples(self.x[indices], self.y[indices], None if self.weight is None else self.weight[indices])


def fit_scaler(data: np.ndarray, weight: np.ndarray | None) -> StandardScaler:
    """Learn the mean and the standard deviation of each column of `data`. One-dimensional data is one column."""
    return StandardScaler().fit(data.reshape(len(data), -1), sample_weight=weight)


def scaled(scaler: StandardScaler | None, data: np.ndarray) -> np.ndarray:
    """Return `data` standardised by the scaler, or unchanged if there is none."""
    return data if scaler is None else scaler.transform(data)
