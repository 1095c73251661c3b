"""Numerical slopes of a function along a line, from the left and from the right.

    t --f--> values at t = -3h ... 3h, for several h --> both slopes and limits, with estimates of their errors

*How does a kink differ from curvature?* At a kink, the slopes from the left and from the right differ at every step h. Under
curvature, their difference vanishes with h. So both slopes are extrapolated to h = 0 at second and at third order, and the
difference of the two orders estimates their error. There is a kink if left and right differ by more than that. Each slope is
taken at the step where its estimate is smallest: a large step has a truncation error, a small one a rounding error. Rounding is
measured, by values so close to the point that they should be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_SIGNIFICANT = 10.0  # a difference counts if it is this many times its estimated error


@dataclass(frozen=True)
class Slopes:
    """The slopes of each component of a function.

    Attributes
    ----------
    left, right : ndarray
    error : ndarray
        The estimated error of `left` and `right`.
    below, above : ndarray
        The limits of the values from the left and from the right.
    is_kink, is_jump : ndarray of bool
        Whether the two slopes differ, and whether the function is discontinuous.
    """

    left: np.ndarray
    right: np.ndarray
    error: np.ndarray
    below: np.ndarray
    above: np.ndarray
    is_kink: np.ndarray
    is_jump: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The derivative where there is no kink."""
        return 0.5 * (self.left + self.right)


def slopes(function: Callable[[float], np.ndarray], steps: Sequence[float]) -> Slopes:
    """Compute the slopes of `function` at 0.

    Parameters
    ----------
    function : callable
        Maps a number t to an array of float64, of shape (n,).
    steps : sequence of float
        The steps h to try, largest first. The function is read from -3h to 3h. A kink that is closer to 0 than about the
        smallest step counts as one at 0.

    Examples
    --------
    >>> found = slopes(lambda t: np.array([abs(t), np.exp(t)]), [1e-3, 1e-4, 1e-5])
    >>> found.is_kink, found.left.round(6), found.right.round(6)
    (array([ True, False]), array([-1.,  1.]), array([1., 1.]))
    """
    at = function(0.0)
    noise = _rounding(function, at, 1e-10 * steps[0])
    trials = [_sides(function, at, h, noise) for h in steps]
    left, right, errors = (np.array(x) for x in zip(*[trial[:3] for trial in trials], strict=True))
    below, above, limit_error = trials[-1][3:]
    best = np.argmin(np.where(np.isnan(errors), np.inf, errors), axis=0), np.arange(at.size)
    left, right, error = left[best], right[best], errors[best]
    is_kink = np.abs(right - left) > _SIGNIFICANT * error
    is_jump = np.maximum(np.abs(above - at), np.abs(below - at)) > _SIGNIFICANT * limit_error
    return Slopes(left, right, error, below, above, is_kink, is_jump)


def _rounding(function: Callable[[float], np.ndarray], at: np.ndarray, distance: float) -> np.ndarray:
    """Measure by how much values differ that are close together. The two sides count alone, as there may be a jump."""
    sides = [np.array([function(sign * k * distance) for k in (0.3, 0.5, 0.7, 1.0)]) for sign in (1.0, -1.0)]
    spread = np.maximum(*[np.max(side, axis=0) - np.min(side, axis=0) for side in sides])
    return spread + 4.0 * np.finfo(np.float64).eps * np.abs(at)


def _sides(function: Callable[[float], np.ndarray], at: np.ndarray, h: float, rounding: np.ndarray) -> tuple[np.ndarray, ...]:
    ahead = [function(k * h) for k in (1, 2, 3)]
    behind = [function(-k * h) for k in (1, 2, 3)]
    right, right_error, above, above_error = _one_side(at, *ahead)
    left, left_error, below, below_error = _one_side(at, *behind)
    error = (left_error + right_error + 4.0 * rounding) / h
    return -left / h, right / h, error, below, above, above_error + below_error + 4.0 * rounding


def _one_side(f0: np.ndarray, f1: np.ndarray, f2: np.ndarray, f3: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return h times the slope at f0, its error, the limit of the values, and its error, from values at h, 2h and 3h."""
    slope = -11 / 6 * f0 + 3.0 * f1 - 3 / 2 * f2 + f3 / 3
    lower = -3 / 2 * f0 + 2.0 * f1 - f2 / 2
    limit = 3.0 * f1 - 3.0 * f2 + f3
    # A kink within h moves the limit by up to h times the slope. That is no jump.
    return slope, np.abs(slope - lower), limit, np.abs(limit - (2.0 * f1 - f2)) + np.abs(f2 - f1)
