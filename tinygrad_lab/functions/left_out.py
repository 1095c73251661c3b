"""Functions that are left out, and the reason, which the error gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS, SCIPY

COMPLEX = "its results are complex numbers, which Tensors do not have"
BESSEL = "Bessel functions are left out: the derivative of each order is another order, and networks do not use them"
LEFT_OUT: dict[str, str] = {
    f"numpy.fft {' '.join(np.fft.__all__)}": f"Fourier transforms are left out: their {COMPLEX[4:]}",
    "numpy.linalg eig eigvals": f"{COMPLEX}; use eigh or eigvalsh for a symmetric matrix",
    "numpy angle sort_complex roots": COMPLEX,
    "numpy.linalg lstsq": "its results have shapes that depend on the rank; use solve, qr or pinv",
    "numpy.linalg tensorsolve tensorinv": "reshape to matrices, then use solve or inv",
    "numpy i0": BESSEL,
    "scipy.special j0 j1 jv y0 y1 yv i0 i0e i1 i1e iv k0 k1 kv": BESSEL,
    "numpy poly polyadd polyder polydiv polyfit polyint polymul polysub polyval vander":
        "polynomials are left out; write Horner's rule, or fit by qr and solve",
    "numpy unique intersect1d setdiff1d setxor1d union1d unique_all unique_counts unique_inverse unique_values":
        "set operations are left out; use it on .numpy()",
    "numpy partition": "the order within its parts is not defined; use sort",
    "numpy put put_along_axis place putmask copyto fill_diagonal": "a Tensor is immutable; use where or concatenate",
    "numpy apply_along_axis apply_over_axes piecewise":
        "it calls a Python function on arrays; use operations on axes, or where",
    "numpy choose": "use select or take",
    "numpy geomspace": "use logspace",
    "numpy gradient": "use diff, or derivatives of functions with tinygrad_lab.grad",
    "numpy unwrap": "use remainder",
    "numpy histogram histogram2d histogramdd histogram_bin_edges trim_zeros": "use it on .numpy()",
    "numpy busday_count busday_offset is_busday datetime_as_string isnat": "Tensors have no dates",
    "numpy packbits unpackbits bitwise_xor left_shift right_shift bitwise_count gcd lcm":
        "it works on integers, which have no gradient; use it on .numpy()",
    "numpy einsum_path": "einsum always chooses the best order",
    "numpy copysign nextafter spacing frexp ldexp":
        "it works on the parts of a floating-point number; use where and signbit",
}  # fmt: skip
"""A module of NumPy or SciPy and names in it --> the reason."""


def rows() -> Iterator[tuple[str, list[str], str]]:
    """Yield modules, their functions that are left out, and the reason. Older versions of NumPy lack a few of these."""
    for names, reason in LEFT_OUT.items():
        home, *functions = names.split()
        yield home, functions, reason


def _refuse(name: str, reason: str) -> Callable[..., Any]:
    def refuse(*operands: Any, **options: Any) -> Any:
        raise TypeError(f"{name}: {reason}")

    return refuse


for _home, _names, _reason in rows():
    if _home == "scipy.special":
        SCIPY.update({n: _refuse(f"{_home}.{n}", _reason) for n in _names})
        continue
    _module = np if _home == "numpy" else attrgetter(_home.removeprefix("numpy."))(np)
    FUNCTIONS.update({getattr(_module, n): _refuse(f"{_home}.{n}", _reason) for n in _names if hasattr(_module, n)})
