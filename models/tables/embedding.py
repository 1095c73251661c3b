"""Embeddings of the categories of a table, as the first layer of a network.

numbers, dates | one-hot of column 1 | one-hot of column 2 | missing --> numbers, dates | vector 1 | vector 2 | missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import tinygrad_lab as tl


class CategoryEmbedding(tl.Layer):
    """Replace the one-hot inputs of each category by a vector that is learnt; all other inputs stay as they are.

    A linear layer without bias on one-hot inputs is an embedding: its weight has the vector of each level. A level that the
    training rows did not have has one-hot inputs of 0, so its vector is 0.

    Parameters
    ----------
    blocks : sequence of (start, stop)
        The inputs of each category, in order.
    size : int
        The length of the vectors. A category with fewer levels gets vectors of so many numbers.
    rng : numpy.random.Generator

    Attributes
    ----------
    vectors : list of Linear

    Examples
    --------
    >>> layer = CategoryEmbedding([(1, 6)], 2, rng=np.random.default_rng(0))
    >>> layer(np.ones((3, 7))).shape, layer.added_features
    ((3, 4), -3)
    """

    def __init__(self, blocks: Sequence[tuple[int, int]], size: int, *, rng: np.random.Generator) -> None:
        self.blocks = [(int(start), int(stop)) for start, stop in blocks]
        self.size = size
        self.vectors = [tl.Linear(stop - start, min(size, stop - start), bias=False, rng=rng) for start, stop in self.blocks]

    @property
    def added_features(self) -> int:
        """How many more features the output has than the input; below 0 for fewer."""
        return sum(min(self.size, stop - start) - (stop - start) for start, stop in self.blocks)

    def forward(self, x: tl.Tensor) -> tl.Tensor:
        """Return the outputs, of shape (n, features + added_features)."""
        parts, end = [], 0
        for (start, stop), vectors in zip(self.blocks, self.vectors, strict=True):
            if start > end:
                parts.append(x[:, end:start])
            parts.append(vectors(x[:, start:stop]))
            end = stop
        if end < x.shape[1]:
            parts.append(x[:, end:])
        return parts[0] if len(parts) == 1 else tl.concatenate(parts, axis=1)

    def __repr__(self) -> str:
        return f"CategoryEmbedding({self.blocks}, {self.size})"


def _make_embedding(arrays: Mapping[str, Any], *, starts: Sequence[int], size: int) -> CategoryEmbedding:
    stops = [start + arrays["vectors"][str(i)]["weight"].shape[1] for i, start in enumerate(starts)]
    return CategoryEmbedding(list(zip(starts, stops, strict=True)), size, rng=np.random.default_rng(0))


tl.register_layer(
    CategoryEmbedding, _make_embedding, lambda layer: {"starts": [start for start, _ in layer.blocks], "size": layer.size}
)
