"""Hypothesis strategies for the inputs of gradient checks: shapes, broadcasting pairs, dtypes and well-scaled values.

Values are points of a grid with steps of 1/8 within ±2, shifted by 1/32 or more from 0. They are exact in float32, and at
least 1/32 away from the kinks of the ops. Arrays on grids with different shifts have no value in common, so there are no ties.

This module needs hypothesis, the extra `test`.
"""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

DTYPES = (np.float64, np.float32)


def shapes(min_dims: int = 0, max_dims: int = 3, max_side: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw the shape of a small array."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=1, max_side=max_side)


def broadcasting_shapes(count: int = 2, max_dims: int = 3, max_side: int = 3) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    """Draw `count` shapes that NumPy broadcasts together."""
    drawn = hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=max_dims, max_side=max_side)
    return drawn.map(lambda result: result.input_shapes)


def dtypes() -> st.SearchStrategy[Any]:
    """Draw one of the floating dtypes of Tensors."""
    return st.sampled_from(DTYPES)


def values(
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]],
    dtype: Any = np.float64,
    *,
    low: float = -2.0,
    high: float = 2.0,
    grid: int = 0,
) -> st.SearchStrategy[np.ndarray]:
    """Draw an array of well-scaled values.

    Parameters
    ----------
    shape : shape, or a strategy of shapes
    dtype : float64 or float32
    low, high : float
        Bounds, multiples of 1/8.
    grid : int
        The number of the shifted grid, from 0 to 2. Arrays on different grids have no value in common.
    """
    offset = (1 + grid) / 32
    points = st.integers(round(low * 8), round(high * 8) - 1).map(lambda k: k / 8 + offset)
    return hnp.arrays(dtype, shape, elements=points, unique=False)


def distinct_values(shape: tuple[int, ...], dtype: Any = np.float64) -> st.SearchStrategy[np.ndarray]:
    """Draw an array of up to 32 well-scaled values, all different, for maxima."""
    points = st.integers(-16, 15).map(lambda k: k / 8 + 1 / 32)
    return hnp.arrays(dtype, shape, elements=points, unique=True)
