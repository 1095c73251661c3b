"""The parameters of a layer in a file.

Layer --state_dict--> {name: array} --save_arrays--> file --load_arrays--> {name: array} --load_state_dict--> Layer
"""

from __future__ import annotations

import os

from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.storage.arrays import WeightsError, load_arrays, save_arrays


def save_weights(path: str | os.PathLike[str], layer: Layer) -> None:
    """Write the parameters of `layer`, including frozen ones, to `path`, atomically.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinygrad_lab.nn.layers import Linear
    >>> layer, other = (Linear(2, 1, rng=np.random.default_rng(seed)) for seed in (0, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/layer.safetensors", layer)
    ...     load_weights(f"{folder}/layer.safetensors", other)
    >>> bool((other.weight.data == layer.weight.data).all())
    True
    """
    save_arrays(path, layer.state_dict())


def load_weights(path: str | os.PathLike[str], layer: Layer) -> None:
    """Set all parameters of `layer` from a file that `save_weights` wrote. If one does not fit, none is set.

    Raises
    ------
    WeightsError
        If the file is damaged, or if names, shapes or dtypes are not those of `layer`.
    OSError
        If there is no file, or it cannot be read.
    """
    state, _ = load_arrays(path, {name: tensor.shape for name, tensor in layer.named_state().items()})
    try:
        layer.load_state_dict(state)
    except ValueError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from None
