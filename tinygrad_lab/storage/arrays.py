"""Arrays on disk in the safetensors format, with a checksum and without pickle.

    {name: array}, {name: text} --> bytes --write a temporary file, flush, rename--> file --check, then read--> the same

A file is written in full or stays as it was. Nothing in it is executed. Before safetensors allocates an array, it checks
that the declared sizes cover the file exactly. Names and shapes are compared next, and the checksum of all content last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from functools import partial

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from tinygrad_lab.storage.digests import add_array
from tinygrad_lab.storage.files import replacing

CHECKSUM = "sha256"
METADATA = "__metadata__"  # the entry in which safetensors stores the texts
# The first is raised for damaged files, the rest for arrays that NumPy cannot hold.
UNREADABLE = (SafetensorError, AttributeError, KeyError, TypeError, ValueError)


class WeightsError(ValueError):
    """A file of arrays that cannot be read, or that holds something else than expected.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_lab as tl
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     tl.load_weights(file.name, tl.Linear(1, 1, rng=np.random.default_rng(0)))
    Traceback (most recent call last):
    tinygrad_lab.storage.arrays.WeightsError: ...: no readable file of arrays ...; expected a file by ...
    """


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], texts: Mapping[str, str] | None = None) -> None:
    """Write named arrays and texts to `path`, atomically.

    Parameters
    ----------
    path : path
        By custom it ends with ``.safetensors``.
    arrays : mapping of str to ndarray
        Of floats, integers or booleans. They come back in the byte order of the machine that reads them.
    texts : mapping of str to str, optional

    Raises
    ------
    TypeError
        If an array holds anything else.
    ValueError
        If an array or a text has a name that the format reserves.
    OSError
        If the folder cannot be written. `path` is then as it was.
    """
    data = arrays_to_bytes(arrays, texts)
    with replacing(path) as file:
        file.write(data)


def arrays_to_bytes(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str] | None = None) -> bytes:
    """Return what `save_arrays` writes.

    Examples
    --------
    >>> content = arrays_to_bytes({"weight": np.array([1.0, -0.0])}, {"author": "Ada"})
    >>> arrays_from_bytes(content)
    ({'weight': array([ 1., -0.])}, {'author': 'Ada'})
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in contiguous.items():
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            problem = f"{name} has dtype {array.dtype}, expected real numbers of at most 64 bits or booleans"
            raise TypeError(f"save_arrays: {_one_line(problem)}")
    texts = dict(texts or {})
    if METADATA in contiguous or CHECKSUM in texts:
        raise ValueError(f"save_arrays: an array cannot be named {METADATA}, nor a text {CHECKSUM}; choose another name")
    return save(contiguous, texts | {CHECKSUM: _digest(contiguous, texts)})


def load_arrays(
    path: str | os.PathLike[str],
    expected: Mapping[str, tuple[int, ...]] | None = None,
    *,
    optional: Collection[str] = (),
    foreign: bool = False,
    kind: str = "a file by save_arrays",
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and texts that `save_arrays` wrote.

    Parameters
    ----------
    path : path
    expected : mapping of str to shape, optional
        The names and shapes that the file must have, no more and no fewer.
    optional : collection of str
        Further names that the file may have, with any shape.
    foreign : bool
        Whether the file may be of another program, without a checksum. Then no damage to the numbers can be noticed.
    kind : str
        What error messages say that they expect, in the words of the caller.

    Raises
    ------
    WeightsError
        If `save_arrays` did not write the file, if it is damaged, or if it holds other names or shapes than expected.
    OSError
        If there is no file, or it cannot be read.
    """
    if os.path.isdir(path):
        raise WeightsError(f"{os.fspath(path)}: is a directory, expected {kind}")
    try:
        with safe_open(path, framework="numpy") as file:
            texts = dict(file.metadata() or {})
            if expected is not None:
                found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                _compare(path, {name: shape for name, shape in found.items() if name not in optional}, expected)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            for name, array in arrays.items():
                if array.dtype.kind not in "fiub":  # such as bfloat16, which NumPy knows where ml_dtypes is imported
                    raise ValueError(f"{name} has dtype {array.dtype}")
    except WeightsError:
        raise
    except UNREADABLE as error:
        reason = _one_line(str(error))
        raise WeightsError(f"{os.fspath(path)}: no readable file of arrays ({reason}); expected {kind}") from None
    if not foreign or CHECKSUM in texts:
        _verify(os.fspath(path), arrays, texts, kind)
    return arrays, texts


def arrays_from_bytes(content: bytes, name: str = "bytes") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `arrays_to_bytes` returned.

    Parameters
    ----------
    content : bytes
    name : str
        The name of the content in error messages.

    Raises
    ------
    WeightsError
        If `arrays_to_bytes` did not return the content, or if it is damaged.
    """
    try:
        arrays = load(content)  # checks the header, which is read again for the texts
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except UNREADABLE as error:
        raise WeightsError(f"{name}: no readable arrays ({_one_line(str(error))}); expected those of save_arrays") from None
    texts = dict(header.get(METADATA, {}))
    _verify(name, arrays, texts, "those of save_arrays")
    return arrays, texts


def _verify(source: str, arrays: Mapping[str, np.ndarray], texts: dict[str, str], kind: str) -> None:
    """Take the checksum out of the texts, and compare it with the content."""
    checksum = texts.pop(CHECKSUM, None)
    if checksum is None:
        raise WeightsError(f"{source}: has no checksum; expected {kind}")
    if checksum != _digest(arrays, texts):
        raise WeightsError(f"{source}: the content does not fit its checksum; the file is damaged or not ours")


def _digest(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        # JSON rather than repr, whose text differs for a name of a subclass of str.
        add_array(digest, arrays[name], partial(_header, name))
    digest.update(json.dumps(sorted(texts.items())).encode())
    return digest.hexdigest()


def _header(name: str, array: np.ndarray) -> str:
    return json.dumps((name, array.shape, array.dtype.str))


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
        raise WeightsError(f"{os.fspath(path)}: {_one_line('; '.join(problems))}")
