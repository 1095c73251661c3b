"""The engine of a search: what is installed, and on which processor, on which the last bits of a result depend."""

import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np

DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # packages that are installed under another name


def engine(packages: Iterable[str] = ()) -> str:
    """Return the versions and the processor, separated by commas.

    A search with Numba compiles long trainings; one without it replays them by NumPy. NumPy and BLAS choose other code for
    other processors.

    Parameters
    ----------
    packages : iterable of str
        Further packages of which a version is added, if they are installed under the names by which they are imported.

    Examples
    --------
    >>> engine(["sklearn"])
    'Numba ..., NumPy 2..., ... BLAS ..., SciPy ..., Python 3..., processor ..., scikit-learn ...'
    """
    names = sorted({DISTRIBUTIONS.get(name, name) for name in packages} - {"numba", "numpy", "scipy"})
    known = filter(None, map(_version_if_installed, names))
    return ", ".join([versions(), f"processor {_processor()}", *known])


@cache
def _processor() -> str:
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    levels = [*simd.get("baseline", []), *simd.get("found", [])]
    return " ".join([platform.machine(), *levels[-1:]])


@cache
def versions() -> str:
    """Return the versions, which are the same for the workers of a search on any machine."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return ", ".join(
        [
            _version("Numba"),
            _version("NumPy"),
            f"{blas.get('name', 'unknown')} BLAS {blas.get('version', '')}".strip(),
            _version("SciPy"),
            "Python {}.{}".format(*sys.version_info),
        ]
    )


def _version(name: str) -> str:
    return _version_if_installed(name) or f"no {name}"


@cache
def _version_if_installed(name: str) -> str:
    try:
        return f"{name} {version(name.lower())}"
    except PackageNotFoundError:
        return ""
