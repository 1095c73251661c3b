"""Functions that are left out, and the reason, which the error gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS

COMPLEX = "its results are complex numbers, which Tensors do not have"
LEFT_OUT: dict[str, str] = {
    "fft": COMPLEX,
    "linalg eig eigvals": f"{COMPLEX}; use eigh or eigvalsh for a symmetric matrix",
    "angle sort_complex roots": COMPLEX,
    "linalg lstsq": "its results have shapes that depend on the rank; use solve, qr or pinv",
    "linalg tensorsolve tensorinv": "reshape to matrices, then use solve or inv",
    "i0": "Bessel functions are left out",
    "poly polyadd polyder polydiv polyfit polyint polymul polysub polyval vander":
        "polynomials are left out; write Horner's rule, or fit by qr and solve",
    "intersect1d setdiff1d setxor1d union1d unique_all unique_counts unique_inverse unique_values":
        "set operations are left out; use numpy.unique on .numpy()",
    "partition": "the order within its parts is not defined; use sort",
    "put put_along_axis place putmask copyto fill_diagonal": "a Tensor is immutable; use where or concatenate",
    "apply_along_axis apply_over_axes piecewise": "it calls a Python function on arrays; use operations on axes, or where",
    "choose": "use select or take",
    "geomspace": "use logspace",
    "gradient": "use diff, or derivatives of functions with tinygrad_lab.grad",
    "unwrap": "it decides by comparing elements; use remainder",
    "histogram2d histogramdd histogram_bin_edges": "use it on .numpy()",
    "busday_count busday_offset is_busday datetime_as_string": "Tensors have no dates",
    "packbits unpackbits": "Tensors have no bits",
    "einsum_path": "einsum always chooses the best order",
}  # fmt: skip
UFUNCS_LEFT_OUT: dict[str, str] = {
    "bitwise_xor left_shift right_shift bitwise_count gcd lcm": "Tensors hold no bits; compute with the integers' .numpy()",
    "copysign nextafter spacing frexp ldexp": "it works on the parts of a floating-point number; use where and signbit",
    "isnat": "Tensors have no dates",
}


def _refuse(name: str, reason: str) -> Callable[..., Any]:
    def refuse(*operands: Any, **options: Any) -> Any:
        raise TypeError(f"{name}: {reason}")

    return refuse


def _enter(home: Any, prefix: str, names: list[str], reason: str) -> None:
    for name in names:
        if function := getattr(home, name, None):
            FUNCTIONS[function] = _refuse(f"{prefix}.{name}", reason)


for _names, _reason in (LEFT_OUT | UFUNCS_LEFT_OUT).items():
    _first, *_rest = _names.split()
    if _first == "fft":
        _enter(np.fft, "numpy.fft", np.fft.__all__, _reason)
    elif _first == "linalg":
        _enter(np.linalg, "numpy.linalg", _rest, _reason)
    else:
        _enter(np, "numpy", [_first, *_rest], _reason)
