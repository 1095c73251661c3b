"""Seeds that belong to a fit's content, not to its place.

A fit that drew from one shared generator would depend on which fits ran before it. Here its randomness follows from the
search's seed, its configuration and its fold alone: not from the order of the grid, the other configurations or the
number of workers.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from search.space.configuration import as_configuration


def fit_seed(seed: int, configuration: Mapping[str, Any], fold: int | str) -> np.random.SeedSequence:
    """Return the seed of one fit.

    Parameters
    ----------
    seed : int
        The search's seed.
    configuration : mapping
        What is fitted.
    fold : int or str
        The number of the fold, or a label such as ``"retrain"`` for a fit outside cross-validation.

    Returns
    -------
    numpy.random.SeedSequence
        For `numpy.random.default_rng`.

    Examples
    --------
    >>> one = fit_seed(0, {"lr": 0.1, "l1": 0.0}, fold=2)
    >>> same = fit_seed(0, {"l1": 0.0, "lr": 0.1}, fold=2)
    >>> other = fit_seed(0, {"l1": 0.0, "lr": 0.1}, fold=3)
    >>> one.entropy == same.entropy, one.entropy == other.entropy
    (True, False)
    """
    content = f"{seed}\n{as_configuration(configuration).text}\n{fold}"
    return np.random.SeedSequence(int.from_bytes(hashlib.sha256(content.encode()).digest()))
