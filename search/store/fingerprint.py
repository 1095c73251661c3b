"""What the results of a search depend on, as short texts for the store.

x, y, grid, folds, seed, build --fingerprint--> {"data": "120 samples of ... sha256:...", "seed": "0", ...}

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

from search.space.configuration import as_configuration, value_text
from search.space.grid import ParameterGrid
from search.space.rounds import MOST_KEPT
from search.space.union import GridUnion
from search.store.differences import DIGEST, NONE, counted
from search.trials.data import Array
from search.trials.engine import engine
from search.trials.fits import Build
from search.trials.folds import Fold, Layout
from search.trials.sources import code_digest, tree_of
from search.trials.surroundings import main_name, surroundings_of
from tinygrad_lab.storage.description import describe
from tinygrad_lab.storage.digests import add_array, digest_arrays


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
    task: str | None = None,
    categories: Sequence[int] = (),
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
    task : str, optional
        What y is. The same zeros and ones may be numbers to predict or, for "multilabel", labels.
    categories : sequence of int
        The columns of x that hold codes of categories.

    Returns
    -------
    dict of str to str
        ``"data"``, ``"grid"``, ``"folds"``, ``"seed"``, ``"scoring"``, ``"builder"``, ``"values"``, ``"code"``, ``"engine"``
        and this package's ``"version"``.

    Examples
    --------
    >>> import numpy as np
    >>> from search.store.differences import differences
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
    words += ", multilabel" if task == "multilabel" else ""
    words += f", {len(categories)} with categories" if categories else ""
    known = () if classes is None else (np.frombuffer(repr(classes.tolist()).encode(), np.uint8),)
    coded = (np.array(categories, np.int64),) if categories else ()
    arrays = (x, y, *(() if weight is None else (weight,)), *known, *coded)
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
    features = f"{counted(x.shape[1], 'feature')} in {x.dtype}"
    targets = f"labels in {y.dtype}" if y.ndim == 1 else f"{counted(y.shape[1], 'target')} in {y.dtype}"
    return f"{counted(len(x), 'sample')} of {features} and {targets}"


def _describe_folds(layout: Layout) -> str:
    """Return the number and sizes of the folds, a digest of those that rank, and a digest of all folds if there are more."""
    sizes = dict.fromkeys(f"{len(train)} + {len(validation)}" for train, validation in layout.folds[: layout.n_folds])
    words = [f"{counted(layout.n_folds, 'fold')} of {', '.join(sizes)} samples"]
    own = layout.folds[: len(layout.fold_numbers)]
    digests = [digest_arrays(chain.from_iterable(own), _header)]
    if layout.repeats > 1:
        words.append(f"{layout.repeats} repeats")
    if layout.nested:
        words.append(counted(len(layout.nested), "outer fold"))
        digests.append(digest_arrays(chain.from_iterable(layout.folds), _header))
    return DIGEST.join([", ".join(words), *digests])


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
