"""The random numbers of a training: they follow from seed, epoch and batch, and from nothing else.

    seed, epoch, random input --> a Philox generator --> numbers of batch 0 | of batch 1 | ...

Philox is a counter-based generator (Salmon et al., SC 2011): a key gives a stream, without a state that is handed on from one
epoch to the next. So an epoch can be resumed, and each lane has the numbers that it would have alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.nn.mode import DISTRIBUTIONS, RandomInput, Shape, TrainingMode
from tinygrad_lab.seeds import NOISE, stream

Key = tuple[str, int]
"""The name of a RandomInput, and the number of its calls before in the step."""


class EpochNumbers:
    """The random numbers of one epoch: a stream for each key, from which batches take numbers one after the other.

    Parameters
    ----------
    seed : int
        That of the Trainer.
    epoch : int
        Counted from 0.

    Examples
    --------
    >>> one, other = EpochNumbers(seed=0, epoch=3), EpochNumbers(seed=0, epoch=3)
    >>> both = one.draw(("noise", 0), "uniform", (2, 4), np.dtype(float))
    >>> first = other.draw(("noise", 0), "uniform", (4,), np.dtype(float))
    >>> second = other.draw(("noise", 0), "uniform", (4,), np.dtype(float))
    >>> bool((both == [first, second]).all())
    True
    """

    def __init__(self, seed: int, epoch: int) -> None:
        self._seed = seed
        self._epoch = epoch
        self._streams: dict[Key, np.random.Generator] = {}

    def draw(self, key: Key, distribution: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the next numbers of a stream. Drawing many batches at once gives the same numbers as one after the other."""
        if key not in self._streams:
            self._streams[key] = np.random.Generator(np.random.Philox(stream(self._seed, NOISE, self._epoch, *key)))
        return np.asarray(DISTRIBUTIONS[distribution](self._streams[key], shape, dtype))


def key_of(source: RandomInput, call: int, names: Mapping[RandomInput, str]) -> Key:
    """Return the key of the numbers that a step reads.

    Raises
    ------
    ValueError
        If the RandomInput has no name, because it was not found among the parts of the Trainer.
    """
    if source not in names:
        raise ValueError(f"{source!r}: was not found in the Trainer, expected it as an attribute of a layer or another part")
    return names[source], call


def eager_mode(numbers: EpochNumbers, names: Mapping[RandomInput, str]) -> TrainingMode:
    """Return a training mode for one step, which reads the next of an epoch's numbers."""

    def draw(source: RandomInput, call: int, shape: Shape, dtype: np.dtype) -> Tensor:
        return wrap(numbers.draw(key_of(source, call, names), source.distribution, shape, dtype))

    return TrainingMode(draw)
