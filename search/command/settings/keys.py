"""The keys of the TOML file: which there are, and of which types their values may be.

text --read_toml--> tables of numbers and texts --checked--> the same tables, or a SettingsError that names the key
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from reprlib import Repr
from typing import Any

from search.errors import SearchError

MOST_LEVELS = 20  # of arrays and tables inside each other, in a file that a person wrote

Kinds = Mapping[str, tuple[type, ...]]  # the keys of a table, each with the types that it may have

TEXT, WHOLE, NUMBER, YES_NO = (str,), (int,), (int, float), (bool,)
COLUMN = (str, int)
COLUMNS = (str, int, list)

TOP: Kinds = {
    "build": TEXT, "seed": WHOLE, "repeats": WHOLE, "workers": WHOLE, "time_limit": NUMBER,
    "scoring": (str, list), "baselines": YES_NO,
    "data": (dict,), "grid": (dict, list), "search": (dict,), "folds": (dict,), "outer": (dict,), "early_stopping": (dict,),
}  # fmt: skip
PLAIN_DATA: Kinds = {"train": (str, list), "test": (str, list), "outputs": WHOLE, "header": YES_NO, "delimiter": TEXT}
DATA: Kinds = {
    **PLAIN_DATA,
    "target": COLUMNS, "features": COLUMNS, "drop": COLUMNS, "index": COLUMNS, "groups": COLUMN, "weight": COLUMN,
    "task": TEXT, "categories": COLUMNS, "dates": (*COLUMNS, dict),
    "drop_missing_target": YES_NO, "na_values": (str, list), "keep_default_na": YES_NO, "decimal": TEXT, "thousands": TEXT,
    "skip": WHOLE, "comment": TEXT, "encoding": TEXT, "sheet": COLUMN,
}  # fmt: skip
SEARCH: Kinds = {
    "strategy": TEXT, "n": WHOLE, "epochs": WHOLE, "factor": WHOLE, "min_epochs": WHOLE, "batch": WHOLE, "sampler": TEXT,
}  # fmt: skip
FOLDS: Kinds = {"kind": TEXT, "n_splits": WHOLE, "shuffle": YES_NO, "seed": WHOLE, "gap": WHOLE}
EARLY_STOPPING: Kinds = {"patience": WHOLE, "validation_fraction": NUMBER}

TABLES: Mapping[str, Kinds] = {
    "": TOP, "data.": DATA, "search.": SEARCH, "folds.": FOLDS, "outer.": FOLDS, "early_stopping.": EARLY_STOPPING,
}  # fmt: skip


class SettingsError(SearchError):
    """The file of a search cannot be read, or does not describe a search."""


def read_toml(text: str, name: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises
    ------
    SettingsError
        If it is no TOML, is nested deeper than MOST_LEVELS, or has an integer beyond 64 bits, the range that TOML promises.

    Examples
    --------
    >>> read_toml("lr = [0.1, 0.05]", "search.toml")
    {'lr': [0.1, 0.05]}
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name} is no TOML: {error}") from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError:  # from int(), which reads at most some thousand digits
        raise SettingsError(f"{name} has an integer of thousands of digits, expected at most 64 bits") from None
    level: list[Any] = [given]
    for _ in range(MOST_LEVELS):
        for item in level:
            if type(item) is int and not -(2**63) <= item < 2**63:
                raise SettingsError(f"{name} has an integer of {item.bit_length()} bits, expected at most 64")
        tables = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [inner for table in tables for inner in table]
        if not level:
            return given
    raise _too_deep(name)


def _too_deep(name: str) -> SettingsError:
    return SettingsError(f"{name} has arrays or tables nested deeper than {MOST_LEVELS} levels, expected a flat list of values")


def checked(given: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """Check the keys of a table and the types of its values, and return it.

    Parameters
    ----------
    given : mapping
    prefix : str
        The name of the table and a point, or nothing for the keys above all tables.

    Raises
    ------
    SettingsError
        If a key is unknown: the message has a similar key, or the table where it belongs, or all known keys. If a value has
        a wrong type.

    Examples
    --------
    >>> checked({"n_splts": 3}, "folds.")
    Traceback (most recent call last):
    search.command.settings.keys.SettingsError: unknown key 'folds.n_splts', did you mean 'folds.n_splits'?
    >>> checked({"scoring": "r2"}, "folds.")
    Traceback (most recent call last):
    search.command.settings.keys.SettingsError: unknown key 'folds.scoring', expected 'scoring' above the first [table]
    """
    known = TABLES[prefix]
    for key, value in given.items():
        if key not in known:
            raise SettingsError(f"unknown key {shown(prefix + key)}, {_advice(key, prefix)}")
        if type(value) not in known[key]:
            raise SettingsError(f"{prefix}{key} = {shown(value)}, expected {_kinds(known[key])}")
    return given


def _advice(key: str, prefix: str) -> str:
    known = TABLES[prefix]
    if similar := get_close_matches(key, known, n=1, cutoff=0.6):
        return f"did you mean {prefix + similar[0]!r}?"
    for other, keys in TABLES.items():
        if key in keys:
            return f"expected it under [{other[:-1]}]" if other else f"expected {key!r} above the first [table]"
    return f"expected one of {', '.join(known)}"


def _kinds(kinds: tuple[type, ...]) -> str:
    names = {
        dict: "a table",
        list: "a list",
        str: "a text in quotes",
        int: "an integer",
        bool: "true or false",
        float: "a number",
    }
    return " or ".join(names[kind] for kind in kinds)


def shown(value: Any) -> str:
    """Return a value as it is in an error message: in TOML's words, and cut if it is long.

    Examples
    --------
    >>> shown(True), shown("a"), shown(list(range(100)))
    ('true', "'a'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    short = Repr()
    short.maxstring = short.maxother = 60
    return str(value).lower() if isinstance(value, bool) else short.repr(value)


def expect_one_of(key: str, value: str, choices: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Raise a SettingsError if a value is none of the choices."""
    if value not in choices:
        similar = get_close_matches(value, choices, n=1, cutoff=0.6)
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        raise SettingsError(f"{key} = {shown(value)}, expected one of {', '.join(choices)}{hint}")
