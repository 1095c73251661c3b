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
    features : int
        The number of inputs.
    blocks : sequence of (start, stop)
        The inputs of each category, in order.
    size : int
        The length of the vectors. A category with fewer levels gets vectors of so many numbers.
    rng : numpy.random.Generator

    Attributes
    ----------
    weight : Tensor of shape (out_features, features)
        Only the vectors have an effect: the block of the inputs and outputs of each category.
    out_features : int

    Examples
    --------
    >>> layer = CategoryEmbedding(7, [(1, 6)], 2, rng=np.random.default_rng(0))
    >>> layer(np.ones((3, 7))).shape
    (3, 4)
    """

    def __init__(self, features: int, blocks: Sequence[tuple[int, int]], size: int, *, rng: np.random.Generator) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"CategoryEmbedding: size is {size!r}, expected a positive integer")
        self.blocks = [(int(start), int(stop)) for start, stop in blocks]
        self.size = size
        widths = [min(size, stop - start) for start, stop in self.blocks]
        levels = sum(stop - start for start, stop in self.blocks)
        self.out_features = features - levels + sum(widths)
        weight, learnt, passed = (np.zeros((self.out_features, features)) for _ in range(3))
        column = row = 0
        for (start, stop), width in zip([*self.blocks, (features, features)], [*widths, 0], strict=True):
            others = start - column
            passed[row : row + others, column:start] = np.eye(others)
            row += others
            learnt[row : row + width, start:stop] = 1.0
            weight[row : row + width, start:stop] = rng.normal(size=(width, stop - start)) / np.sqrt(max(1, width))
            column, row = stop, row + width
        self.weight = tl.Tensor(weight, requires_grad=True)
        # One product with a matrix that is fixed elsewhere: slices of the inputs would keep the step from being compiled.
        self._learnt, self._passed = tl.Tensor(learnt), tl.Tensor(passed)

    def forward(self, x: tl.Tensor) -> tl.Tensor:
        """Return the outputs, of shape (n, out_features)."""
        return x @ (self.weight * self._learnt + self._passed).T

    def __repr__(self) -> str:
        return f"CategoryEmbedding({self.weight.shape[1]}, {self.blocks}, {self.size})"


def _make_embedding(arrays: Mapping[str, Any], *, blocks: Sequence[tuple[int, int]], size: int) -> CategoryEmbedding:
    return CategoryEmbedding(arrays["weight"].shape[1], blocks, size, rng=np.random.default_rng(0))


tl.register_layer(CategoryEmbedding, _make_embedding, lambda layer: {"blocks": layer.blocks, "size": layer.size})
