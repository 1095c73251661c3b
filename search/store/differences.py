"""How two searches differ, in words.

fingerprint in the store, fingerprint here --differences--> {"seed": "0 there, 1 here"}
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from search.output import plural

DIGEST = " sha256:"
NONE = "none"

# What to say if the readable parts are equal and the digests differ.
SAME_BUT = {
    "data": "the same shapes, other values",
    "folds": "the same sizes, other samples",
    "builder": "the same name, other code",
    "code": "has changed",
    "scoring": "the same name, other code",
}


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> dict[str, str]:
    """Return the entries that differ, each with a description of the difference.

    Parameters
    ----------
    there : mapping of str to str
        The fingerprint in a store. Texts that `here` does not have are ignored.
    here : mapping of str to str
        The fingerprint of this search.

    Examples
    --------
    >>> differences({"grid": '{"lr":[0.05,0.1]}', "seed": "0"}, {"grid": '{"lr":[0.1]}', "seed": "0"})
    {'grid': 'lr has 0.05, 0.1 there and 0.1 here'}
    """
    texts = {key: (there.get(key, NONE), text) for key, text in here.items()}
    return {key: _difference(key, *pair) for key, pair in texts.items() if not _is_same(key, *pair)}


def name_differences(different: Mapping[str, str]) -> str:
    """Return differences as a part of a sentence.

    Examples
    --------
    >>> name_differences({"seed": "0 there, 1 here", "data": "the same shapes, other values"})
    'seed (0 there, 1 here), data (the same shapes, other values)'
    """
    return ", ".join(f"{key} ({difference})" for key, difference in different.items())


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "fold"), counted(2, "fold")
    ('1 fold', '2 folds')
    """
    return f"{number} {plural(number, noun)}"


def is_part(engine: str, other: str) -> bool:
    """Whether another engine has all that an engine has, in the same versions.

    Examples
    --------
    >>> is_part("NumPy 2.0", "NumPy 2.0, pandas 2.2"), is_part("NumPy 2.0", "NumPy 2.1, pandas 2.2")
    (True, False)
    """
    return set(engine.split(", ")) <= set(other.split(", "))


def _is_same(key: str, there: str, here: str) -> bool:
    if key == "engine":  # what is not used here changes no result here
        return is_part(here, there)
    if key == "folds":  # compare the last digest, that of all folds, as earlier versions described them in other words
        return there.rpartition(DIGEST)[2] == here.rpartition(DIGEST)[2]
    return there == here


def _difference(key: str, there: str, here: str) -> str:
    if key == "grid":
        return _grid_difference(there, here)
    if key == "engine" and there != NONE:
        parts_there, parts_here = there.split(", "), here.split(", ")
        gone = [part for part in parts_there if part not in parts_here]
        return f"{', '.join(gone)} there, {', '.join(part for part in parts_here if part not in parts_there)} here"
    if key in ("values", "code"):
        return _difference_by_name(key, _by_name(key, there), _by_name(key, here))
    text_there, text_here = (text.partition(DIGEST)[0] for text in (there, here))
    if text_there == text_here:
        return SAME_BUT.get(key, "the same in short")
    return f"{text_there} there, {text_here} here"


def _by_name(key: str, text: str) -> dict[str, str]:
    """Return the texts of values, or the digests of code."""
    found: dict[str, str] = {} if text == NONE else json.loads(text.partition(DIGEST)[2] if key == "code" else text)
    return found


def _difference_by_name(key: str, there: Mapping[str, str], here: Mapping[str, str]) -> str:
    words = []
    for name in dict.fromkeys([*there, *here]):
        if name not in there or name not in here:
            words.append(f"{name} is not used {'there' if name in here else 'here'}")
        elif there[name] != here[name]:
            words.append(f"{name} {SAME_BUT[key] if key in SAME_BUT else f'is {there[name]} there and {here[name]} here'}")
    return ", ".join(words)


def _grid_difference(there: str, here: str) -> str:
    try:
        grid_there, grid_here = json.loads(there), json.loads(here)
    except ValueError:
        return f"{_shortened(there)} there, {_shortened(here)} here"
    if isinstance(grid_there, dict) and isinstance(grid_here, dict):
        return ", ".join(
            f"{name} has {_values(grid_there, name)} there and {_values(grid_here, name)} here"
            for name in dict.fromkeys([*grid_there, *grid_here])
            if json.dumps(grid_there.get(name)) != json.dumps(grid_here.get(name))  # compare texts: 1 == 1.0, and NaN != NaN
        )
    if isinstance(grid_there, list) and isinstance(grid_here, list) and _noun(grid_there) == _noun(grid_here):
        gone, new = _members(grid_there) - _members(grid_here), _members(grid_here) - _members(grid_there)
        return (
            f"{len(gone)} of {len(grid_there)} {_noun(grid_there)}s there are not here, "
            f"{len(new)} of {len(grid_here)} here are not there"
        )
    return f"{_kind_of_grid(grid_there)} there, {_kind_of_grid(grid_here)} here"


def _values(axes: Mapping[str, list[Any]], name: str) -> str:
    return _shortened(", ".join(map(json.dumps, axes[name]))) if name in axes else "no value"


def _kind_of_grid(grid: dict[str, list[Any]] | list[Any]) -> str:
    if isinstance(grid, list):
        return counted(len(grid), _noun(grid)) + " in a list"
    return counted(math.prod(map(len, grid.values())), "configuration") + " in a grid"


def _noun(grid: list[Any]) -> str:
    """Return what a list consists of: the digests of configurations, or the grids of a large union."""
    return "grid" if grid and isinstance(grid[0], dict) else "configuration"


def _members(grid: list[Any]) -> set[str]:
    return set(map(json.dumps, grid))


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
