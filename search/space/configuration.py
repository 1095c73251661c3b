"""One configuration: a mapping from names to plain values, with one canonical text for equal content.

{"lr": np.float64(0.1), "hidden": [75, 50]}
    -> Configuration  {"lr": 0.1, "hidden": (75, 50)}
    -> .text          '{"hidden":[75,50],"lr":0.1}'   names it in the store and seeds its fits
    -> .digest        sha256 of the text
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn, Self

import numpy as np


class Configuration(dict[str, Any]):
    """A dict of plain Python values. It cannot be changed, so it can store its text and its digest.

    What a user gives is made a Configuration once and then passed on as it is. ``dict(configuration)`` is a copy that can
    be changed. Configurations compare as dicts do, so 1 equals 1.0. Their texts differ in that case.

    Parameters
    ----------
    given : mapping
        Names to None, bool, int, float, str, NumPy scalars of these kinds, or (nested) tuples and lists of them. NumPy
        scalars become Python scalars, lists become tuples. The order of the names is kept.

    Raises
    ------
    TypeError
        If `given` is no mapping, a name is not a string or a value is of another type.

    Examples
    --------
    >>> configuration = Configuration({"lr": np.float64(0.1), "hidden": [75, 50]})
    >>> configuration
    {'lr': 0.1, 'hidden': (75, 50)}
    >>> configuration.text
    '{"hidden":[75,50],"lr":0.1}'
    >>> configuration["lr"] = 0.2
    Traceback (most recent call last):
    TypeError: a configuration cannot be changed, expected a copy: dict(configuration)
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping):
            raise TypeError(f"configuration: {given!r} given, expected a mapping from names to values")
        for name in given:
            if type(name) is not str or not name:
                raise TypeError(f"configuration: name {name!r} given, expected a string that is not empty")
        super().__init__({name: canonical_value(name, value) for name, value in given.items()})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the configuration of a canonical text.

        Examples
        --------
        >>> Configuration.from_text('{"hidden":[75,50],"lr":0.1}')
        {'hidden': (75, 50), 'lr': 0.1}
        """
        return cls(json.loads(text))

    @cached_property
    def text(self) -> str:
        """The JSON text that two configurations share exactly if they have the same content; see `canonical_text`."""
        return json.dumps(self, sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """The sha256 of the text, as 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Configuration, (dict(self),)  # without the text: it would make the message to a worker longer

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a configuration cannot be changed, expected a copy: dict(configuration)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def as_configuration(given: Mapping[str, Any]) -> Configuration:
    """Return a Configuration as it is, and another mapping as a Configuration."""
    return given if isinstance(given, Configuration) else Configuration(given)


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


def value_text(value: Any) -> str:
    """Return one canonical value as it is written in a configuration's text.

    Examples
    --------
    >>> value_text((75, 50)), value_text(1), value_text(1.0)
    ('[75,50]', '1', '1.0')
    """
    return json.dumps(value, separators=(",", ":"))


def canonical_text(configuration: Mapping[str, Any]) -> str:
    """Return the JSON text that two configurations share exactly if they have the same content.

    Names are sorted. Floats are written by `repr`, so they can be read back to the bit. The texts of 1, 1.0 and true
    differ, and so do those of 0.0 and -0.0. Every NaN is written as ``NaN``.

    Examples
    --------
    >>> canonical_text({"lr": 1e-3, "hidden": (75, 50), "epochs": 1, "l1": -0.0})
    '{"epochs":1,"hidden":[75,50],"l1":-0.0,"lr":0.001}'
    """
    return as_configuration(configuration).text


def as_columns(configurations: Sequence[Mapping[str, Any]], missing: Any = "") -> tuple[list[str], list[list[Any]]]:
    """Return all names in some configurations, and for each configuration its values, with `missing` where it has none.

    Examples
    --------
    >>> as_columns([{"lr": 0.1, "l1": 0.0}, {"lr": 0.2}])
    (['lr', 'l1'], [[0.1, 0.0], [0.2, '']])
    """
    names = list(dict.fromkeys(name for configuration in configurations for name in configuration))
    return names, [[configuration.get(name, missing) for name in names] for configuration in configurations]
