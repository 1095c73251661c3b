"""Files of networks: arrays in the safetensors format, and the architectures and facts about them as one text in JSON.

    networks, arrays, facts --save_networks--> file --load_networks--> the same, where the classes of the layers are known

Nothing in a file is executed or imported. The checksum is compared before the text is read.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.prediction.architecture import REFUSALS, describe_network, named_arrays, restore_network
from tinygrad_lab.storage.arrays import WeightsError, load_arrays, save_arrays

VERSION = 1
"""The version of the text. A file with a higher one is refused, since it may mean something else."""
LONGEST_TEXT = 2**24
TEXT = "tinygrad_lab.model"


def save_networks(
    path: str | os.PathLike[str],
    networks: Mapping[str, Layer],
    arrays: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
) -> None:
    """Write networks, further arrays, and facts that JSON can hold to `path`, atomically.

    Parameters
    ----------
    path : path
        By custom it ends with ``.safetensors``.
    networks : mapping of str to Layer
        The names have no dot.
    arrays : mapping of str to ndarray
    facts : mapping of str to JSON value

    Raises
    ------
    TypeError, ValueError
        If a layer is of an unknown class, or a fact is not for JSON. Nothing is written.
    OSError
        If the folder cannot be written. `path` is then as it was.
    """
    descriptions = {}
    content = dict(arrays)
    for name, network in networks.items():
        state = named_arrays(network)
        descriptions[name] = describe_network(network)
        try:
            restore_network(json.loads(json.dumps(descriptions[name])), state)
        except (*REFUSALS, RecursionError) as error:
            raise ValueError(f"{type(network).__name__}: could not be loaded from a file; {error}") from None
        content |= {f"{name}.{key}": array for key, array in state.items()}
    # The package imports its modules, so none of them can import it. It is loaded before them.
    version = sys.modules["tinygrad_lab"].__version__
    versions = {"tinygrad_lab": version, "numpy": np.__version__, "python": platform.python_version()}
    try:
        text = json.dumps({"version": VERSION, "versions": versions, "networks": descriptions, "facts": dict(facts)})
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"save: {error}; expected details of numbers, texts, lists and dicts") from None
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"save: the description has {len(text):,} characters, expected at most {LONGEST_TEXT:,}")
    save_arrays(path, content, {TEXT: text})


def load_networks(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Layer], dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    """Read what `save_networks` wrote.

    Returns
    -------
    networks : dict of str to Layer
    arrays : dict of str to ndarray
        Those that belong to no network.
    facts : dict
    versions : dict of str to str
        Of the packages that wrote the file.

    Raises
    ------
    WeightsError
        If the file is damaged, of another kind, or of a newer version, or if it has a layer of an unknown class.
    OSError
        If there is no file, or it cannot be read.
    """
    arrays, texts = load_arrays(path, kind="a saved model")
    try:
        content = _parsed(texts)
        of_network: dict[str, dict[str, np.ndarray]] = {name: {} for name in content["networks"]}
        others = {}
        for name, array in arrays.items():
            network, _, rest = name.partition(".")
            if network in of_network:
                of_network[network][rest] = array
            else:
                others[name] = array
        networks = {}
        for name, description in content["networks"].items():
            networks[name] = restore_network(description, of_network[name])
    except (*REFUSALS, RecursionError) as error:
        refuse(path, error)
    return networks, others, content["facts"], content["versions"]


def _parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    text = texts.get(TEXT)
    if text is None:
        raise ValueError("holds arrays but no model; expected a saved model (weights alone are for load_weights)")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"the description has {len(text):,} characters, expected at most {LONGEST_TEXT:,}")
    content = json.loads(text)
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"the description has version {version!r}, expected {VERSION}")
    if version > VERSION:
        raise ValueError(f"is of version {version}, this tinygrad-lab reads up to {VERSION}; install a newer one")
    for name in ("versions", "networks", "facts"):
        if not isinstance(content.get(name), dict):
            raise ValueError(f"the description has no {name}")
    return content


def refuse(path: str | os.PathLike[str], error: BaseException) -> NoReturn:
    """Raise a WeightsError of one line for an error in the content of a file."""
    reason = " ".join(str(error).split())
    if len(reason) > 500:  # a hostile file decides on the length of what it is refused for
        reason = f"{reason[:500]}..."
    raise WeightsError(f"{os.fspath(path)}: {reason}") from None
