"""Generated source run as plain Python, without Numba."""

import sys
import types

import pytest


def interpret(source):
    """Run generated source with a stand-in for Numba that leaves functions alone; return the module."""
    numba = types.ModuleType("numba")
    numba.njit = lambda **options: lambda function: function
    module = types.ModuleType("generated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", numba)
        exec(compile(source, "generated", "exec"), vars(module))
    return module
