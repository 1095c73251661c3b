"""What the results of a search depend on, as short texts for the store, and how two searches differ.

x, y, grid, folds, seed, build --fingerprint--> {"data": "120 samples of ... sha256:...", "seed": "0", ...}
fingerprint in the store, fingerprint here --differences--> {"seed": "0 there, 1 here"}

Only the search that began a store may resume it, so a store is refused if one of these texts differs. A text is readable.
Content that is too long for that is added as a digest.
"""

import ast
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from types import FunctionType
from typing import Any

import numpy as np

from search.output import plural
from search.space.configuration import as_configuration, value_text
from search.space.grid import ParameterGrid
from search.space.rounds import MOST_KEPT
from search.space.union import GridUnion
from search.trials.data import Array
from search.trials.engine import engine
from search.trials.fits import Build
from search.trials.folds import Fold, Layout
from search.trials.sources import code_digest, tree_of
from search.trials.surroundings import main_name, surroundings_of
from tinygrad_lab.storage.description import describe
from tinygrad_lab.storage.digests import add_array, digest_arrays

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


def fingerprint(
    x: Array,
    y: Array,
    grid: Iterable[Mapping[str, Any]],
    layout: Layout,
    seed: int,
    build: Build,
    scoring: str = "data loss",
    weight: Array | None = None,
    classes: Array | None = None,
    scores: Sequence[Callable[..., float]] = (),
    packages: Iterable[str] = (),
) -> dict[str, str]:
    """Return what the results of a search depend on.

    The grid is compared as a set, because neither the order of its axes nor that of its values changes a result. The folds
    are compared by their indices, in order. The builder is compared by its name and its code, without comments and
    formatting, and so are the functions and classes of the user's modules that it uses, and the values that all of them read;
    see `search.trials.surroundings`. The engine is compared only if results are added to the store.

    Parameters
    ----------
    x, y : ndarray
        The samples.
    grid : iterable of mapping
        The configurations, each once. Those of a `ParameterGrid` are not enumerated, nor those of a large `GridUnion`.
    layout : Layout
        The folds: the indices of the samples that train and of those that validate.
    seed : int
        Of the search.
    build : callable
        The builder.
    scoring : str, default="data loss"
        What ranks configurations.
    weight : ndarray, optional
        The weights of the samples.
    classes : ndarray, optional
        What the labels in y stand for.
    scores : sequence of callable
        The functions among the scores.
    packages : iterable of str
        Installed packages on which results depend beside those that the builder uses.

    Returns
    -------
    dict of str to str
        ``"data"``, ``"grid"``, ``"folds"``, ``"seed"``, ``"scoring"``, ``"builder"``, ``"values"``, ``"code"``, ``"engine"``
        and this package's ``"version"``.

    Examples
    --------
    >>> import numpy as np
    >>> from search.trials.folds import KFold, make_layout
    >>> from search.testing import build_polynomial
    >>> x = np.zeros((2, 1))
    >>> layout = make_layout(KFold(2), x, x)
    >>> one = fingerprint(x, x, [{"lr": 0.1}, {"lr": 0.2}], layout, 0, build_polynomial)
    >>> two = fingerprint(x, x, ParameterGrid(lr=[0.2, 0.1]), layout, 1, build_polynomial)
    >>> differences(one, two)
    {'seed': '0 there, 1 here'}
    """
    surroundings = surroundings_of([build, *scores])
    words = _describe_data(x, y) + ("" if weight is None else " with weights")
    known = () if classes is None else (np.frombuffer(repr(classes.tolist()).encode(), np.uint8),)
    arrays = (x, y, *(() if weight is None else (weight,)), *known)
    return {
        "data": words + DIGEST + digest_arrays(arrays, _header),
        "grid": _describe_grid(grid),
        "folds": _describe_folds(layout),
        "seed": str(seed),
        "scoring": scoring,
        "builder": describe_function(build),
        "values": json.dumps(surroundings.values) if surroundings.values else NONE,
        "code": _describe_code(build, surroundings.code),
        "engine": engine([*surroundings.packages, *packages]),
        "version": package_version(),
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


def shared_folds(there: str, folds: Sequence[Fold]) -> int:
    """Return how many folds from the first on are exactly those that another search ranks by, or 0 if it has others.

    Parameters
    ----------
    there : str
        The text of the folds in the fingerprint of the other search.
    folds : sequence of pair of ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from search.trials.folds import KFold, make_layout
    >>> x = np.zeros((6, 1))
    >>> there = _describe_folds(make_layout(KFold(2), x, x))
    >>> shared_folds(there, make_layout(KFold(2), x, x, outer=KFold(3)).folds)
    2
    >>> shared_folds(there, make_layout(KFold(3), x, x).folds)
    0
    """
    _, *digests = there.split(DIGEST)
    content = hashlib.sha256()
    for number, fold in enumerate(folds, 1):
        for indices in fold:
            add_array(content, indices, _header)
        if content.hexdigest() in digests[:1]:
            return number
    return 0


def package_version() -> str:
    """Return the version of the installed tinygrad-lab.

    Examples
    --------
    >>> isinstance(package_version(), str)
    True
    """
    try:
        return version("tinygrad-lab")
    except PackageNotFoundError:
        return "not installed"


# ---- data and folds ------------------------------------------------------------------------------------------------


def _describe_data(x: Array, y: Array) -> str:
    features = f"{_count(x.shape[1], 'feature')} in {x.dtype}"
    targets = f"labels in {y.dtype}" if y.ndim == 1 else f"{_count(y.shape[1], 'target')} in {y.dtype}"
    return f"{_count(len(x), 'sample')} of {features} and {targets}"


def _describe_folds(layout: Layout) -> str:
    """Return the number and sizes of the folds, a digest of those that rank, and a digest of all folds if there are more."""
    sizes = dict.fromkeys(f"{len(train)} + {len(validation)}" for train, validation in layout.folds[: layout.n_folds])
    words = [f"{_count(layout.n_folds, 'fold')} of {', '.join(sizes)} samples"]
    own = layout.folds[: len(layout.fold_numbers)]
    digests = [digest_arrays(chain.from_iterable(own), _header)]
    if layout.repeats > 1:
        words.append(f"{layout.repeats} repeats")
    if layout.nested:
        words.append(_count(len(layout.nested), "outer fold"))
        digests.append(digest_arrays(chain.from_iterable(layout.folds), _header))
    return DIGEST.join([", ".join(words), *digests])


def _count(number: int, noun: str) -> str:
    return f"{number} {plural(number, noun)}"


def _header(array: Array) -> str:
    return f"{array.dtype.str} {array.shape} "


# ---- the grid ------------------------------------------------------------------------------------------------------


def _describe_grid(grid: Iterable[Mapping[str, Any]]) -> str:
    """Return the sorted values of each axis if the configurations are all combinations of them, else digests.

    A large union of grids is described by its grids: the same configurations in other grids have another text.
    """
    if isinstance(grid, ParameterGrid):
        return _text_of_axes({name: set(map(value_text, values)) for name, values in grid.axes.items()})
    if isinstance(grid, GridUnion) and len(grid) > MOST_KEPT:
        return "[" + ",".join(sorted(set(map(_describe_grid, grid.grids)))) + "]"
    values: dict[str, set[str]] = {}
    members = []
    names = None
    is_rectangular = True
    for configuration in map(as_configuration, grid):
        is_rectangular &= names is None or configuration.keys() == names
        names = configuration.keys()
        for name, value in configuration.items():
            values.setdefault(name, set()).add(value_text(value))
        members.append(configuration.digest[:16])
    # The configurations are distinct. If there are as many as combinations of their values, they are all combinations.
    if is_rectangular and len(members) == math.prod(map(len, values.values())):
        return _text_of_axes(values)
    return json.dumps(sorted(members))


def _text_of_axes(axes: Mapping[str, set[str]]) -> str:
    texts = (f"{json.dumps(name)}:[{','.join(sorted(axes[name]))}]" for name in sorted(axes))
    return "{" + ",".join(texts) + "}"


# ---- the builder ---------------------------------------------------------------------------------------------------


def _code_of(build: Any) -> Any:
    """Return the function or the class of a builder."""
    function = build.func if isinstance(build, partial) else build
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function)


def _name_of(code: Any) -> str:
    return f"{_module_name(code.__module__)}.{code.__qualname__}"


def describe_function(build: Any) -> str:
    """Return the name of a builder or a score, what it holds beside its code, and a digest of the code.

    Examples
    --------
    >>> from search.testing import build_polynomial
    >>> describe_function(build_polynomial).partition(DIGEST)[0]
    'testing.build_polynomial'
    """
    code = _code_of(build)
    # What it holds beside its code: the arguments of a partial, or the attributes of an object.
    holds = "" if build is code and not inspect.ismethod(build) else f", {describe(build)}"
    name = _name_of(code) + holds
    if (tree := tree_of(code)) is not None and code.__name__ != "<lambda>":
        return name + DIGEST + hashlib.sha256(ast.unparse(tree).encode()).hexdigest()
    return name + DIGEST + code_digest(code) if isinstance(code, FunctionType) else f"{name}, no source"


def _module_name(module: str | None) -> str:
    """Return the last part of a module's name, which is the same if its file runs as a script."""
    return main_name() if module == "__main__" else str(module).rpartition(".")[2]


def _describe_code(build: Any, code: Mapping[str, str]) -> str:
    """Return the names of the functions and classes that a builder uses, and their digests."""
    used = {name: digest for name, digest in code.items() if name != _name_of(_code_of(build))}
    return f"{', '.join(used)}{DIGEST}{json.dumps(used)}" if used else NONE


# ---- differences ---------------------------------------------------------------------------------------------------


def _is_same(key: str, there: str, here: str) -> bool:
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
        return _count(len(grid), _noun(grid)) + " in a list"
    return _count(math.prod(map(len, grid.values())), "configuration") + " in a grid"


def _noun(grid: list[Any]) -> str:
    """Return what a list consists of: the digests of configurations, or the grids of a large union."""
    return "grid" if grid and isinstance(grid[0], dict) else "configuration"


def _members(grid: list[Any]) -> set[str]:
    return set(map(json.dumps, grid))


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
