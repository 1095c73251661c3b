"""The short scripts of examples/: what they print is right."""

import ast
import re
import runpy

import numpy as np
import pytest

from examples import minimize_rosenbrock, own_layer, search_by_halving
from models import stand_in_data
from search import ParameterGrid
from tests.helpers import ROOT
from tests.helpers.compilation import compile_ahead
from tinygrad_lab.codegen import native


def printed(capsys, main, *arguments):
    main(*arguments)
    return capsys.readouterr().out


def run(name, folder=ROOT / "examples"):
    """Run a script of cells, and return its variables."""
    return runpy.run_path(str(folder / name), run_name="__main__")


def test_estimate_a_function(tmp_path):
    text = (ROOT / "examples/estimate_a_function.py").read_text(encoding="utf-8")
    (tmp_path / "short.py").write_text(text.replace("200", "2").replace("(25, 25)", "(4, 4)"), encoding="utf-8")
    values = run("short.py", tmp_path)
    assert len(values["result"].ranking) == 8
    np.testing.assert_allclose(values["winner"].evaluate(*values["test"]), values["retrained"][0].test_loss, rtol=1e-12)


def test_predict_a_table(tmp_path, capsys):
    text = (ROOT / "examples/predict_a_table.py").read_text(encoding="utf-8")
    short = text.replace("[200]", "[2]").replace("RandomSampler(6,", "RandomSampler(1,").replace("[[16], [32, 16]]", "[[16]]")
    (tmp_path / "short.py").write_text(short.replace('scoring = "r2"', 'scoring = "r2"\nbaselines = false'), encoding="utf-8")
    values = run("short.py", tmp_path)
    assert [row.configuration["(baseline)"] for row in values["result"].ranking.baselines] != []
    assert len(capsys.readouterr().out.split("reacted,reacted lower,reacted upper\n")[1].split()) == 2


def test_how_autodiff_works(capsys):
    text = printed(capsys, run, "how_autodiff_works.py")
    lines = text.splitlines()
    forward, backward = lines.index("v2 = sin(v1)"), lines.index("v7 = cos(v1)")
    assert forward < backward
    for name in ("dy/dw ", "d2y/dw2 "):
        (line,) = (line for line in lines if line.startswith(name))
        _, derived, on_paper = line.split()
        assert float(derived) == pytest.approx(float(on_paper), rel=1e-14)


def losses(text):
    """The last loss of each engine that an example has printed."""
    return {engine: float(loss) for engine, loss in re.findall(r"^(\w+) +loss \S+ --> (\S+)$", text, re.M)}


def test_own_layer(capsys):
    text = printed(capsys, own_layer.main)
    (error,) = re.findall(r"off by at most (\S+)", text)
    assert float(error) < 1e-12
    final = losses(text)
    assert list(final) == ["eager", "replay", "compiled"]
    assert final["replay"] == final["eager"] < 1e-3
    assert final["compiled"] == pytest.approx(final["eager"], rel=1e-9)


def test_own_layer_without_numba_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(native, "is_available", lambda: False)
    native.load_module.cache_clear()
    text = printed(capsys, own_layer.main)
    assert list(losses(text)) == ["eager", "replay"]
    assert "compiled  the compiled engine needs Numba: pip install" in text


def test_read_a_training_step(capsys):
    text = printed(capsys, run, "read_a_training_step.py")
    program, loops = re.split(r"\n\d+ array operations; as loops:\n\n", text)
    (count,) = re.findall(r"^(\d+) array operations", text, re.M)
    assert len(re.findall(r"^v\d+ = ", program, re.M)) == int(count)
    step, updates = (node for node in ast.parse(loops).body if isinstance(node, ast.FunctionDef))
    assert (step.name, updates.name) == ("step", "updates")


def test_minimize_rosenbrock(capsys):
    text = printed(capsys, minimize_rosenbrock.main)
    assert text.startswith("Optimization terminated successfully.")
    (value,) = re.findall(r"^f = (\S+) at", text, re.M)
    assert float(value) < 1e-20
    _, slope = minimize_rosenbrock.value_and_slope(np.ones(3))
    np.testing.assert_array_equal(slope, np.zeros(3))


def test_search_by_halving(capsys, tmp_path, monkeypatch):
    small = ParameterGrid(hidden=[(4, 4), (6, 6), (8, 8)], activation=["relu"], l1=[0.0, 1e-3], lr=[0.1, 0.025])
    monkeypatch.setattr(search_by_halving, "GRID", small)
    if native.is_available():
        train, _ = stand_in_data()
        compile_ahead(search_by_halving.build(small[0], np.random.default_rng(0)), *train)
    arguments = ["--out", str(tmp_path), "--workers", "1"]
    text = printed(capsys, search_by_halving.main, arguments)
    assert f"page: {tmp_path / 'index.html'}" in text
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "successive halving of 108 epochs by 3, from 12" in page
    again = printed(capsys, search_by_halving.main, arguments)
    assert again == text  # read from the store
