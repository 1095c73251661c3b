"""Streams of random numbers: one seed, and a stream of its own for each purpose.

    seed, purpose, position --sha256--> SeedSequence --> numpy.random.default_rng, or a bit generator

*Why not* ``SeedSequence([seed, epoch])``? NumPy pads short entropy with zeros. So in epoch 0 this is ``SeedSequence(seed)``,
and the order of the samples would be drawn from the numbers of the initial weights. A `spawn_key` would be that of a child
which a user has spawned from the same seed. A hash of the whole key shares no stream with these, nor with another key.
"""

from __future__ import annotations

import hashlib

import numpy as np

# The purposes in a training. The initial weights have the stream of the seed itself, ``default_rng(seed)``.
ORDER = "order"
"""The order of the samples: one stream for each epoch."""
NOISE = "noise"
"""The random numbers of the steps: one stream for each epoch and draw."""
HELD_OUT = "held out"
"""The rows that a training holds out from its training set."""
CHECK = "check"
"""The weights and choices of a gradient check."""


def stream(seed: int, *key: int | str) -> np.random.SeedSequence:
    """Return the seed of one stream. It depends on all arguments, so the streams of two keys are independent.

    Parameters
    ----------
    seed : int
        The user's seed.
    *key : int or str
        What the numbers are for, then the place, such as the epoch. An integer is the same as its digits.

    Returns
    -------
    numpy.random.SeedSequence
        For `numpy.random.default_rng`.

    Raises
    ------
    ValueError
        If a part of the key holds a line break, which separates the parts.

    Examples
    --------
    >>> first, again, second = stream(0, ORDER, 1), stream(0, ORDER, 1), stream(0, ORDER, 2)
    >>> first.entropy == again.entropy, first.entropy == second.entropy
    (True, False)
    >>> np.random.default_rng(first).permutation(5)
    array([3, 4, 0, 1, 2])
    """
    parts = [str(part) for part in (seed, *key)]
    for part in parts:
        if "\n" in part:
            raise ValueError(f"stream: the key has the part {part!r}, expected no line break; choose another name")
    return np.random.SeedSequence(int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()))
