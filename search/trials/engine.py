"""The engine of a search: what is installed, and on which processor, on which the last bits of a result depend."""

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np


@cache
def engine() -> str:
    """Return the versions and the processor, separated by commas.

    A search with Numba compiles long trainings; one without it replays them by NumPy. NumPy and BLAS choose other code for
    other processors.

    Examples
    --------
    >>> engine()
    'Numba ..., NumPy 2..., ... BLAS ..., SciPy ..., Python 3..., processor ...'
    """
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    levels = [*simd.get("baseline", []), *simd.get("found", [])]
    return f"{versions()}, processor {' '.join([platform.machine(), *levels[-1:]])}"


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
    try:
        return f"{name} {version(name.lower())}"
    except PackageNotFoundError:
        return f"no {name}"
