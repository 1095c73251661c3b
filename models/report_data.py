"""Data for the report's problem: generated points of the same kind, and a reader for files of points.

stand_in_data(seed) ---.
                        >--> (x, y) of 120 training and 25 test points
read_points(file) -----'
"""

from __future__ import annotations

import os
from math import isfinite

import numpy as np

Points = tuple[np.ndarray, np.ndarray]

QUINTIC = (0.504, -0.129, -0.054, 0.183, 0.329, 0.045)
"""Coefficients of 1, x, ..., x⁵, from a least-squares fit to the report's 145 points."""

NOISE = 1.16
"""Standard deviation of the points around the quintic. The mean of half the squared error of the fit is 0.6747."""


def stand_in_data(seed: int = 0) -> tuple[Points, Points]:
    """Generate training and test points like those of the report, which are not shipped.

    20 of the 120 training points and 5 of the 25 test points have an x in [-4, -3]. All other points have an x in [-2, 2]. The
    report's points have the same ranges, sizes and gap. y is a quintic of x plus normal noise. Results on these points
    resemble the report's, but the numbers differ.

    Parameters
    ----------
    seed : int
        The seed of the random generator, which is ``numpy.random.default_rng(seed)``. Initial weights and shuffled folds from
        the same seed would use the same random numbers, so give those another seed.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : pairs of float64 arrays of shape (120,) and (25,)

    Examples
    --------
    >>> (x, y), (x_test, y_test) = stand_in_data()
    >>> x.shape, x_test.shape, int((x < -2.5).sum())
    ((120,), (25,), 20)
    """
    rng = np.random.default_rng(seed)
    return _draw(rng, left=20, right=100), _draw(rng, left=5, right=20)


def _draw(rng: np.random.Generator, left: int, right: int) -> Points:
    x = rng.permutation(np.concatenate([rng.uniform(-4.0, -3.0, left), rng.uniform(-2.0, 2.0, right)]))
    y = np.polynomial.polynomial.polyval(x, QUINTIC) + rng.normal(0.0, NOISE, len(x))
    return x, y


def read_points(path: str | os.PathLike[str]) -> Points:
    """Read points from a file with ``x,y`` in each line and no header.

    Parameters
    ----------
    path : path
        Blank lines are skipped.

    Returns
    -------
    x, y : float64 arrays of shape (points,)

    Raises
    ------
    ValueError
        If a line does not have two fields, or a field is not a finite number. The message names the file and the line. Also if
        the file is not text, or has no points.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savetxt(f"{folder}/points.csv", [[0.5, 1.0], [1.5, 2.0]], delimiter=",")
    ...     x, y = read_points(f"{folder}/points.csv")
    >>> x, y
    (array([0.5, 1.5]), array([1., 2.]))
    """
    name = os.fspath(path)
    points = []
    with open(path, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    points.append(_point(f"{name}, line {number}", line.strip()))
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}: is no text in UTF-8 ({error.reason}), expected lines of x,y") from None
    if not points:
        raise ValueError(f"{name}: has no points, expected lines of x,y")
    x, y = np.array(points).T
    return x, y


def _point(location: str, line: str) -> tuple[float, float]:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 2 or not all(fields):
        raise ValueError(f"{location}: {line!r:.60} is not two numbers, expected x,y")
    x, y = (_finite_number(location, field) for field in fields)
    return x, y


def _finite_number(location: str, field: str) -> float:
    try:
        if "_" in field:  # float() accepts 1_000, which only Python reads as a number
            raise ValueError
        number = float(field)
    except ValueError:
        raise ValueError(f"{location}: {field!r:.60} is no number, expected x,y") from None
    if not isfinite(number):
        raise ValueError(f"{location}: {field!r:.60} is not finite, expected x,y")
    return number
