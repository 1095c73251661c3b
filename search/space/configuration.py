"""One configuration: a mapping from names to plain values, with one canonical text for equal content.

{"lr": np.float64(0.1), "hidden": [75, 50]}
    -> canonical {"lr": 0.1, "hidden": (75, 50)}
    -> text      '{"hidden":[75,50],"lr":0.1}'
    -> digest    sha256 of the text: names the configuration in the store and seeds its fits
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Configuration = dict[str, Any]


def canonical(configuration: Mapping[str, Any]) -> Configuration:
    """Return the configuration as a dict of plain Python values.

    Parameters
    ----------
    configuration : mapping
        Names to None, bool, int, float, str, NumPy scalars of these kinds, or (nested) tuples and lists of them.

    Returns
    -------
    dict
        NumPy scalars as Python's own, lists as tuples. The order of the names is kept.

    Raises
    ------
    TypeError
        If it is no mapping, a name is not a string or a value is of another type.

    Examples
    --------
    >>> canonical({"lr": np.float64(0.1), "hidden": [75, 50]})
    {'lr': 0.1, 'hidden': (75, 50)}
    """
    if not isinstance(configuration, Mapping):
        raise TypeError(f"configuration: {configuration!r} given, expected a mapping from names to values")
    for name in configuration:
        if type(name) is not str or not name:
            raise TypeError(f"configuration: name {name!r} given, expected a string that is not empty")
    return {name: canonical_value(name, value) for name, value in configuration.items()}


def canonical_value(name: str, value: Any) -> Any:
    """Return one value of a configuration in plain Python; `name` is for the error message."""
    if isinstance(value, list | tuple):
        return tuple(canonical_value(name, item) for item in value)
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or type(plain) in (bool, int, float, str):
        return plain
    raise TypeError(
        f"configuration: {name}={value!r} is of type {type(value).__name__}, "
        "expected None, bool, int, float, str, or a tuple or list of these"
    )


def canonical_text(configuration: Mapping[str, Any]) -> str:
    """Return the JSON text that two configurations share exactly if they have the same content.

    Names are sorted. Floats are written by `repr`, so they round-trip to the bit; 1, 1.0 and true differ, and so do 0.0
    and -0.0; every NaN is one ``NaN``.

    Examples
    --------
    >>> canonical_text({"lr": 1e-3, "hidden": (75, 50), "epochs": 1, "l1": -0.0})
    '{"epochs":1,"hidden":[75,50],"l1":-0.0,"lr":0.001}'
    """
    return json.dumps(canonical(configuration), sort_keys=True, separators=(",", ":"))


def as_columns(configurations: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the names of some configurations and each one's values under them; a missing value is an empty string.

    Examples
    --------
    >>> as_columns([{"lr": 0.1, "l1": 0.0}, {"lr": 0.2}])
    (['lr', 'l1'], [[0.1, 0.0], [0.2, '']])
    """
    names = list(dict.fromkeys(name for configuration in configurations for name in configuration))
    return names, [[configuration.get(name, "") for name in names] for configuration in configurations]


def digest(configuration: Mapping[str, Any]) -> str:
    """Return the sha256 of the configuration's canonical text, as 64 hexadecimal digits.

    Examples
    --------
    >>> digest({"a": 1, "b": 2.0}) == digest({"b": np.float64(2), "a": 1})
    True
    >>> digest({"a": 1}) == digest({"a": 1.0})
    False
    """
    return hashlib.sha256(canonical_text(configuration).encode()).hexdigest()
