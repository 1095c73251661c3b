"""Arrays on disk, safely: an uncompressed ``.npz`` that NumPy can read too, never pickle.

    {name: array} --write a temporary file, flush, rename--> file --check every header, then read--> {name: array}

A file is either there in full or as it was before. Nothing in it is executed, and no array is allocated before its name,
dtype, shape and declared size have been checked against the bytes that are really there.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import numpy as np
from numpy.lib import format as npy

from tinygrad_lab.layers import Layer

Header = tuple[tuple[int, ...], np.dtype]


class WeightsError(ValueError):
    """A file of arrays that cannot be read, or holds something else than expected."""


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to `path`, atomically.

    Raises
    ------
    TypeError
        Where an array holds Python objects.
    OSError
        Where the folder cannot be written; `path` is then as it was.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"save_arrays: {name} has dtype {np.asarray(array).dtype}, expected numbers, booleans or text")
    path = Path(path)
    temporary = NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    try:
        with temporary as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        npy.write_array(member, np.asarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary.name, path)
    except BaseException:
        os.unlink(temporary.name)
        raise


def load_arrays(path: str | os.PathLike[str], expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote.

    Parameters
    ----------
    path : path
    expected : mapping of str to shape, optional
        The names and shapes that the file must have, no more and no fewer.

    Raises
    ------
    WeightsError
        Where the file is none of ours, damaged, or holds other names or shapes than expected.
    FileNotFoundError
        Where there is no file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {_member_name(path, info): _header(path, archive, info) for info in archive.infolist()}
            if expected is not None:
                _compare(path, {name: shape for name, (shape, _) in headers.items()}, expected)
            return {name: _read(archive, name) for name in headers}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path}: no readable file of arrays ({error}); expected one that save_arrays wrote") from None
    except IsADirectoryError:
        raise WeightsError(f"{path}: is a directory, expected a file of arrays") from None


def _member_name(path: str | os.PathLike[str], info: zipfile.ZipInfo) -> str:
    if not info.filename.endswith(".npy") or info.compress_type != zipfile.ZIP_STORED:
        raise WeightsError(f"{path}: member {info.filename!r} is no uncompressed .npy array")
    return info.filename.removesuffix(".npy")


def _header(path: str | os.PathLike[str], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """Read the shape and dtype that a member declares, and check them against its size in the file."""
    with archive.open(info) as member:
        try:
            version = npy.read_magic(member)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(member)
            offset = member.tell()
        except ValueError as error:
            raise WeightsError(f"{path}: member {info.filename!r} has no valid header ({error})") from None
    if dtype.hasobject:
        raise WeightsError(f"{path}: member {info.filename!r} holds Python objects, expected numbers, booleans or text")
    declared = prod(shape) * dtype.itemsize
    present = info.file_size - offset
    if declared != present or info.compress_size != info.file_size:
        raise WeightsError(f"{path}: member {info.filename!r} declares {declared} bytes and holds {present}")
    return shape, dtype


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        return _read_array(member)


def _read_array(member: IO[bytes]) -> np.ndarray:
    return npy.read_array(member, allow_pickle=False)


def _compare(
    path: str | os.PathLike[str], found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != tuple(shape)
    ]
    if problems:
        raise WeightsError(f"{path}: {'; '.join(problems)}")


def save_weights(path: str | os.PathLike[str], layer: Layer) -> None:
    """Write the parameters of `layer` to `path`, atomically.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_lab.layers import Linear
    >>> layer, other = (Linear(2, 1, rng=np.random.default_rng(seed)) for seed in (0, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/layer.npz", layer)
    ...     load_weights(f"{folder}/layer.npz", other)
    >>> bool((other.weight.data == layer.weight.data).all())
    True
    """
    save_arrays(path, layer.state_dict())


def load_weights(path: str | os.PathLike[str], layer: Layer) -> None:
    """Set the parameters of `layer` from a file that `save_weights` wrote: all of them, or none.

    Raises
    ------
    WeightsError
        Where the file is damaged, or names, shapes or dtypes are not those of `layer`.
    """
    state = load_arrays(path, {name: tensor.shape for name, tensor in layer.named_parameters()})
    try:
        layer.load_state_dict(state)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
