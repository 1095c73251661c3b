"""The lists in docs/numpy.md are those of the tables.

python -m tests.tinygrad_lab.functions.test_page        # writes the lists into the page
"""

import re
import textwrap
from operator import attrgetter

import numpy as np
import pytest
import scipy.special

from tests.helpers import ROOT
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff.methods.protocol import FUNCTIONS
from tinygrad_lab.functions import left_out

PAGE = ROOT / "docs" / "numpy.md"
START, END = "<!-- lists -->", "<!-- end of lists -->"


def functions_of(module):
    """The names of the functions and ufuncs of a module that NumPy's protocol passes to a Tensor."""
    kinds = (type(np.sum), np.ufunc)
    return {
        name: vars(module)[name] for name in sorted(vars(module)) if isinstance(vars(module)[name], kinds) and name[0] != "_"
    }


def names_left_out():
    """For each reason, the full names of the functions that are left out."""
    found = {}
    for home, names, reason in left_out.rows():
        full = ["fft.*"] if home == "numpy.fft" else [f"{home}.{name}".removeprefix("numpy.") for name in names]
        found.setdefault(reason, []).extend(full)
    return found


def function_of(name):
    """The function of NumPy or SciPy with this full name."""
    in_scipy = name.removeprefix("scipy.special.")
    return getattr(scipy.special, in_scipy) if in_scipy != name else attrgetter(name)(np)


def lists():
    scipy.special.erf(Tensor([1.0]))
    scipy.special.erfc(Tensor([1.0]))  # it enters SciPy's functions into the table
    refused = {function_of(name) for names in names_left_out().values() for name in names if name != "fft.*"}
    lines = []
    for module in (np, np.linalg, scipy.special):
        names = [name for name, function in functions_of(module).items() if function in FUNCTIONS and function not in refused]
        lines += [f"`{module.__name__}`:", *textwrap.wrap(", ".join(names), 140), ""]
    lines += ["| left out | reason |", "| --- | --- |"]
    lines += [f"| {', '.join(names)} | {reason} |" for reason, names in names_left_out().items()]
    return "\n".join(lines)


pytestmark = pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.4.0", reason="the page lists those of NumPy 2.4")


def test_the_page_lists_what_works_and_what_is_left_out():
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index(START) + len(START) : text.index(END)].strip() == lists()


@pytest.mark.parametrize("module", [np, np.linalg], ids=["numpy", "numpy.linalg"])
def test_every_function_of_numpy_works_or_is_left_out_with_a_reason(module):
    np.cumsum(Tensor([1.0]))
    missing = [name for name, function in functions_of(module).items() if function not in FUNCTIONS]
    assert missing == []


def write():
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: f"{START}\n{lists()}\n{END}", text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    write()
