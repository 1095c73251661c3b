"""Seeds that depend on what is fitted, not on when.

If all fits drew from one generator, each would depend on the fits that ran before it. Here a fit's seed depends only on the
search's seed, its configuration and its fold. The order of the grid, further configurations and the number of workers have no
effect.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search.space.configuration import as_configuration
from tinygrad_lab.seeds import stream


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
    return stream(seed, as_configuration(configuration).text, fold)
