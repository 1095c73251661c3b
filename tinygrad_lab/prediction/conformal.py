"""Conformal prediction from cross-validation (CV+): intervals and sets that hold the true value as often as promised.

    fold models --predict the samples that they have not seen--> scores, one for each sample --.
                --predict new samples------------------------> K predictions for each ---------+--> interval, or set of classes

For n samples and K folds, the probability that a new sample is covered is at least 2c - 1 - √(2/n) for the promised coverage c,
and is close to c in practice. This needs exchangeable samples, but nothing of the model or the distribution.

Sources: Barber, Candès, Ramdas & Tibshirani, Annals of Statistics 49, 2021, section 3 and theorem 4, for intervals. Romano,
Sesia & Candès, NeurIPS 2020, section 2.3, with the score of Sadinle, Lei & Wasserman, JASA 114, 2019, for sets of classes.

*Why not MAPIE?* Its CrossConformalRegressor has the same intervals, but it refits clones of a scikit-learn estimator on its own
folds, where a search has the fold models already. Its fitted object is restored with pickle only, and it takes one output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from tinygrad_lab.checks import is_finite_number

LARGEST_BLOCK = 2**22
"""How many numbers an interval may sort at once: 32 MiB."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far the fold models were off, for each sample of the training set.

    Attributes
    ----------
    folds : ndarray of int, shape (samples,)
        The fold in which a sample was held out.
    scores : ndarray, shape (samples, outputs)
        For regression, the absolute residuals of the model of that fold. For classification, shape (samples, 1): one minus the
        probability of the sample's class.

    Examples
    --------
    >>> held_out = [np.array([0, 1]), np.array([2, 3])]
    >>> predictions = np.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    >>> calibration = Calibration.of_residuals(held_out, predictions, np.array([[1.5], [2.0], [3.0], [3.0]]))
    >>> calibration.scores[:, 0]
    array([0.5, 0. , 0. , 1. ])
    >>> calibration.interval(np.array([[[10.0]], [[11.0]]]), coverage=0.6)
    (array([[10.]]), array([[11.]]))
    """

    folds: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if self.folds.ndim != 1 or self.folds.dtype.kind not in "iu" or not self.folds.size or self.folds.min() < 0:
            raise ValueError(
                f"folds has shape {self.folds.shape} and dtype {self.folds.dtype}, expected a number for each sample"
            )
        if self.scores.ndim != 2 or len(self.scores) != len(self.folds) or self.scores.dtype.kind != "f":
            raise ValueError(
                f"scores has shape {self.scores.shape} and dtype {self.scores.dtype}, expected ({len(self.folds)}, outputs)"
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("scores holds nan or infinity, expected finite numbers")

    @classmethod
    def of_residuals(cls, held_out: Sequence[np.ndarray], predictions: Sequence[np.ndarray], y: np.ndarray) -> Calibration:
        """Return the calibration of a regression.

        Parameters
        ----------
        held_out : sequence of ndarray of int
            The held-out samples of each fold. Each sample is in exactly one of them.
        predictions : sequence of ndarray, shape (held-out samples, outputs)
            What the model of each fold predicts for them.
        y : ndarray, shape (samples, outputs)
        """
        return cls._of_scores(
            held_out, [abs(y[rows] - prediction) for rows, prediction in zip(held_out, predictions, strict=True)], len(y)
        )

    @classmethod
    def of_probabilities(
        cls, held_out: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], y: np.ndarray
    ) -> Calibration:
        """Return the calibration of a classification.

        Parameters
        ----------
        held_out : sequence of ndarray of int
        probabilities : sequence of ndarray, shape (held-out samples, classes)
        y : ndarray of int, shape (samples,)
            The number of the class of each sample.
        """
        scores = [
            1.0 - np.take_along_axis(probability, y[rows, None], axis=1)
            for rows, probability in zip(held_out, probabilities, strict=True)
        ]
        return cls._of_scores(held_out, scores, len(y))

    @classmethod
    def _of_scores(cls, held_out: Sequence[np.ndarray], scores: Sequence[np.ndarray], samples: int) -> Calibration:
        check_partition(held_out, samples)
        folds = np.empty(samples, np.int64)
        ordered = np.empty((samples, scores[0].shape[1]))
        for number, (rows, values) in enumerate(zip(held_out, scores, strict=True)):
            folds[rows] = number
            ordered[rows] = values
        return cls(folds, ordered)

    def interval(self, predictions: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper bounds of new samples.

        Parameters
        ----------
        predictions : ndarray, shape (folds, new samples, outputs)
            What the model of each fold predicts.
        coverage : float
            The promised probability, for each output by itself.

        Returns
        -------
        lower, upper : ndarray, shape (new samples, outputs)
            The k-th smallest of prediction + score, and the k-th largest of prediction - score, over all samples of the
            training set, each with the prediction of its fold. k is (n + 1) · coverage, rounded up.

        Raises
        ------
        ValueError
            If the samples are too few for this coverage: k > n.
        """
        k = _rank(coverage, len(self.scores))
        lower, upper = np.empty(predictions.shape[1:]), np.empty(predictions.shape[1:])
        for rows in _blocks(predictions.shape[1], len(self.scores)):
            for output in range(predictions.shape[2]):
                centres = predictions[self.folds, rows, output]  # of shape (samples, rows)
                radii = self.scores[:, output, None]
                upper[rows, output] = np.partition(centres + radii, k - 1, axis=0)[k - 1]
                lower[rows, output] = -np.partition(radii - centres, k - 1, axis=0)[k - 1]
        return lower, upper

    def sets(self, probabilities: np.ndarray, coverage: float) -> np.ndarray:
        """Return which classes the set of each new sample has: those for which fewer than k samples had a smaller score.

        Parameters
        ----------
        probabilities : ndarray, shape (folds, new samples, classes)
            Of the model of each fold.
        coverage : float
            The promised probability that the set has the true class.

        Returns
        -------
        ndarray of bool, shape (new samples, classes)
        """
        k = _rank(coverage, len(self.scores))
        smaller = np.zeros(probabilities.shape[1:], np.int64)
        for number, probability in enumerate(probabilities):
            scores = np.sort(self.scores[self.folds == number, 0])
            smaller += np.searchsorted(scores, 1.0 - probability, side="left")
        return smaller < k


def check_partition(held_out: Sequence[np.ndarray], samples: int) -> None:
    """Raise a ValueError unless each sample is held out in exactly one fold.

    Examples
    --------
    >>> check_partition([np.array([0, 1]), np.array([1])], 3)
    Traceback (most recent call last):
    ValueError: sample 1 is held out in 2 folds, expected each sample in exactly one, as in KFold
    """
    rows = np.concatenate(list(held_out))
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(f"the held-out samples are no indices but of {rows.dtype}, expected integers")
    if rows.size and not 0 <= rows.min() <= rows.max() < samples:
        raise ValueError(f"sample {rows.max() if rows.min() >= 0 else rows.min()} is held out, expected 0 to {samples - 1}")
    counts = np.bincount(rows, minlength=samples)
    if (counts != 1).any():
        sample = int(np.argmax(counts != 1))
        raise ValueError(
            f"sample {sample} is held out in {counts[sample]} folds, expected each sample in exactly one, as in KFold"
        )


def _rank(coverage: float, samples: int) -> int:
    if not is_finite_number(coverage) or not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage!r}, expected a number between 0 and 1, such as 0.9")
    exact = Fraction(str(float(coverage)))  # as a float, 0.55 · 20 is above 11
    rank = ceil(exact * (samples + 1))
    if rank > samples:
        raise ValueError(
            f"coverage is {coverage!r} with {samples} samples, expected at least {ceil(exact / (1 - exact))} samples, "
            "or a lower coverage"
        )
    return rank


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, LARGEST_BLOCK // width)
    return (slice(start, start + step) for start in range(0, rows, step))
