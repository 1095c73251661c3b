"""The parameters of a layer in a file, of this package or for PyTorch.

Layer --state_dict--> {name: array} --save_arrays--> file --load_arrays--> {name: array} --load_state_dict--> Layer

Shapes are those of PyTorch, and so are names: those of a Sequential are positions in both. Only BatchNorm differs:

    here                PyTorch
    running_variance    running_var
    -                   num_batches_tracked, a count that only momentum=None reads in PyTorch; written as 0, not read
"""

from __future__ import annotations

import os

import numpy as np

from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.naming import walk
from tinygrad_lab.nn.normalization import BatchNorm
from tinygrad_lab.storage.arrays import WeightsError, load_arrays, save_arrays


def save_weights(path: str | os.PathLike[str], layer: Layer, *, pytorch: bool = False) -> None:
    """Write the parameters of `layer`, including frozen ones, and its buffers to `path`, atomically.

    Parameters
    ----------
    path : path
        By custom it ends with ``.safetensors``.
    layer : Layer
    pytorch : bool
        Whether to write the names that PyTorch has for BatchNorm, for ``module.load_state_dict(load_file(path))`` with
        `load_file` of `safetensors.torch`. Without a BatchNorm, PyTorch reads the file in either case.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_lab.nn.layers import Linear
    >>> layer, other = (Linear(2, 1, rng=np.random.default_rng(seed)) for seed in (0, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/layer.safetensors", layer)
    ...     load_weights(f"{folder}/layer.safetensors", other)
    >>> bool((other.weight.data == layer.weight.data).all())
    True
    """
    _check_layer("save_weights", path, layer)
    state = layer.state_dict()
    if not pytorch:
        save_arrays(path, state)
        return
    names = _names_of_pytorch(layer)
    counts = {name: np.zeros((), np.int64) for name in _counts_of_pytorch(layer)}
    save_arrays(path, {names.get(name, name): array for name, array in state.items()} | counts, {"format": "pt"})


def load_weights(path: str | os.PathLike[str], layer: Layer, *, pytorch: bool = False) -> None:
    """Set all parameters and buffers of `layer` from a file that `save_weights` wrote. If one does not fit, none is set.

    Parameters
    ----------
    path : path
    layer : Layer
    pytorch : bool
        Whether the file may be one that PyTorch wrote, by ``save_file(module.state_dict(), path)`` of `safetensors.torch`. It
        has PyTorch's names for BatchNorm, and no checksum: if its numbers are damaged, nothing shows it.

    Raises
    ------
    WeightsError
        If the file is damaged, or if names, shapes or dtypes are not those of `layer`.
    OSError
        If there is no file, or it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import safetensors.numpy
    >>> from tinygrad_lab.nn.layers import Linear, Sequential
    >>> net = Sequential(Linear(2, 1, rng=np.random.default_rng(0)), BatchNorm(1))
    >>> state = {"0.weight": [[1, 2]], "0.bias": [3], "1.weight": [4], "1.bias": [5]}
    >>> state |= {"1.running_mean": [6], "1.running_var": [7]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     arrays = {name: np.array(values, np.float32) for name, values in state.items()}
    ...     safetensors.numpy.save_file(arrays | {"1.num_batches_tracked": np.array(9)}, f"{folder}/net.safetensors")
    ...     load_weights(f"{folder}/net.safetensors", net, pytorch=True)
    >>> net[0].weight, net[1].running_variance.value
    (Tensor([[1., 2.]], requires_grad=True), Tensor([7.]))
    """
    _check_layer("load_weights", path, layer)
    names = _names_of_pytorch(layer) if pytorch else {}
    counts = _counts_of_pytorch(layer) if pytorch else set()
    expected = {names.get(name, name): tensor.shape for name, tensor in layer.named_state().items()}
    kind = "a file by save_weights, or load_weights(..., pytorch=True) for one by PyTorch"
    if pytorch:
        kind = "a file by safetensors.torch.save_file(module.float().state_dict(), path)"
    arrays, _ = load_arrays(path, expected, optional=counts, foreign=pytorch, kind=kind)
    ours = {theirs: name for name, theirs in names.items()}
    try:
        layer.load_state_dict({ours.get(name, name): array for name, array in arrays.items() if name not in counts})
    except ValueError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from None


def _batch_norms(layer: Layer) -> list[str]:
    """Return what the names of the parameters of each BatchNorm begin with."""
    if isinstance(layer, BatchNorm):
        return [""]
    return [f"{found.name}." for found in walk(layer, (BatchNorm,), (Layer,))]


def _names_of_pytorch(layer: Layer) -> dict[str, str]:
    return {f"{prefix}running_variance": f"{prefix}running_var" for prefix in _batch_norms(layer)}


def _counts_of_pytorch(layer: Layer) -> set[str]:
    return {f"{prefix}num_batches_tracked" for prefix in _batch_norms(layer)}


def _check_layer(function: str, path: object, layer: object) -> None:
    if not isinstance(layer, Layer):
        advice = f"the order is {function}(path, layer)" if isinstance(path, Layer) else "give a network, as trainer.model"
        raise TypeError(f"{function}: layer is a {type(layer).__name__}, expected a Layer; {advice}")
