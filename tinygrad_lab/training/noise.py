"""The random numbers of a training: they follow from seed, epoch and batch, and from nothing else.

    seed, epoch, random input --> a Philox generator --> numbers of batch 0 | of batch 1 | ...

Philox is a counter-based generator (Salmon et al., SC 2011): a key gives a stream, without a state that is handed on from one
epoch to the next. So an epoch can be resumed, and each lane has the numbers that it would have alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinygrad_lab.autodiff.recording import CaptureError
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


@dataclass(frozen=True)
class Drawn:
    """Random numbers that a step reads: an input of its program, which gets other numbers for each batch.

    Attributes
    ----------
    key : (str, int)
        Whose numbers they are, see `EpochNumbers`.
    distribution : str
    tensor : Tensor
        The numbers at the capture.
    """

    key: Key
    distribution: str
    tensor: Tensor

    def next(self, numbers: EpochNumbers, *count: int) -> np.ndarray:
        """Return the numbers of the next batch of an epoch or, for a count, of the next batches, along the first axis."""
        return numbers.draw(self.key, self.distribution, (*count, *self.tensor.shape), self.tensor.dtype)


class DrawnInputs:
    """Gives a step that is captured its random numbers: the same Tensors each time it runs.

    Parameters
    ----------
    names : mapping of RandomInput to str
        The random inputs of the step, by their names in it.
    seed : int
        That of the Trainer.

    Attributes
    ----------
    names
        The parameter.
    drawn : dict of str to Drawn
        What the step has read so far.
    """

    def __init__(self, names: Mapping[RandomInput, str], seed: int) -> None:
        self.names = names
        self.drawn: dict[str, Drawn] = {}
        self._example = EpochNumbers(seed, 0)

    def mode(self) -> TrainingMode:
        """Return a training mode for one more run of the step."""
        return TrainingMode(self._draw)

    def _draw(self, source: RandomInput, call: int, shape: Shape, dtype: np.dtype) -> Tensor:
        key = key_of(source, call, self.names)
        name = f"{key[0]}.{call}" if call else key[0]
        if name not in self.drawn:
            numbers = self._example.draw(key, source.distribution, shape, dtype)
            self.drawn[name] = Drawn(key, source.distribution, wrap(numbers))
        tensor = self.drawn[name].tensor
        if (tensor.shape, tensor.dtype) != (shape, dtype):
            raise CaptureError(
                f"{name}: the step draws numbers of shape {tensor.shape}, then of shape {shape}; draw the same in every step, "
                "or train with engine='eager'"
            )
        return tensor
