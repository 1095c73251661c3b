"""Every public name has a docstring with an example that runs: doctest is part of the default run."""

import importlib
import inspect

import pytest

PACKAGES = ("tinygrad_lab", "tinygrad_lab.testing", "models", "search")


def public_objects():
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted({*module.__all__, *getattr(module, "_ESTIMATORS", ())}):
            value = getattr(module, name)
            if not inspect.ismodule(value):
                yield pytest.param(value, id=f"{package}.{name}")


@pytest.mark.parametrize("value", list(public_objects()))
def test_a_public_name_has_an_example(value):
    if isinstance(value, dict):  # ACTIVATIONS: a dict has no docstring, and get_activation shows it
        return
    assert inspect.isclass(value) or inspect.isroutine(value), "help() would show another docstring than its own"
    documentation = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    assert ">>> " in (documentation or "")
