"""Fixtures and a mark for tests of generated loops: run as plain Python, or compiled."""

import importlib.util

import pytest

from tests.helpers.generated import interpret
from tinygrad_lab.training.engines import compiled


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(compiled, "load_module", interpret)
    monkeypatch.setattr(compiled, "compile_updates", lambda *arguments: None)


def compiling(test):
    """Mark a test that compiles. All of them run in one worker, which compiles each program once; see tests/conftest.py."""
    missing = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="the compiled engine needs Numba")
    return missing(pytest.mark.xdist_group("compile")(test))


def compile_ahead(trainer, x, y):
    """Compile a Trainer's program here, so that processes that need it at the same time do not all compile it."""
    trainer.engine = "compiled"
    trainer.fit(x, y, epochs=1)
