"""benchmarks/gradient_errors.py: it finds wrong derivatives and missing references, and its table on the page is not stale."""

import importlib.util
import sys

import numpy as np
import pytest

from tests.helpers import ROOT
from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.ops import Op, equal_shapes
from tinygrad_lab.testing import mutant

pytest.importorskip("mpmath", reason="the error table needs mpmath (the bench extra)")

_spec = importlib.util.spec_from_file_location("gradient_errors", ROOT / "benchmarks" / "gradient_errors.py")
gradient_errors = importlib.util.module_from_spec(_spec)
sys.modules["gradient_errors"] = gradient_errors  # dataclasses look their module up
_spec.loader.exec_module(gradient_errors)

OPS = gradient_errors.differentiable_ops()
TOO_LARGE = {np.float64: 1e-12, np.float32: 1e-5}


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    every = gradient_errors.operands
    monkeypatch.setattr(gradient_errors, "operands", lambda op, dtype: [array[::80] for array in every(op, dtype)])


def page_rows():
    page = gradient_errors.PAGE.read_text(encoding="utf-8")
    table = page.split(gradient_errors.BEGIN)[1].split(gradient_errors.END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]
    assert rows[0][:2] == ["op", "float64, order 1"]
    return {name: dict(zip([(d, k) for d in TOO_LARGE for k in (1, 2)], cells, strict=False)) for name, *cells in rows[2:]}


def test_every_op_has_a_reference_and_a_row_of_the_page_below_the_bar():
    assert list(page_rows()) == [op.name for op in OPS]
    for name, cells in page_rows().items():
        assert all(float(cell) <= TOO_LARGE[dtype] for (dtype, _), cell in cells.items()), name


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_a_few_points_have_no_larger_errors_than_the_page(op):
    shown = page_rows()[op.name]
    for row in gradient_errors.rows_of(op):
        # The page has two digits. Another processor may round functions by a few units in the last place in another way.
        assert row.error <= 1.05 * float(shown[row.dtype, row.order]) + 8 * np.finfo(row.dtype).eps, row
        assert row.compared + row.zero_or_none


@pytest.mark.parametrize("name", ["exp", "tanh", "divide", "power", "erf", "digamma", "matmul", "inv", "norm"])
def test_a_wrong_derivative_is_found(name):
    op = ops.OP_TABLE[name]
    with mutant(op, 0, 1.0 + 1e-4):
        errors = [row.error for row in gradient_errors.rows_of(op) if row.order == 1]
    assert max(errors) == pytest.approx(1e-4, rel=1e-2)


def test_an_op_without_a_reference_is_named():
    vjps = (lambda g, y, x: g,)
    elementwise = Op("nameless", lambda x, out=None: x, equal_shapes, vjps, "{0}")
    on_arrays = Op("shapeless", lambda x, out=None: x, equal_shapes, vjps)
    del ops.OP_TABLE["nameless"], ops.OP_TABLE["shapeless"]
    with pytest.raises(SystemExit, match="nameless has no reference"):
        gradient_errors.rows_of(elementwise)
    with pytest.raises(SystemExit, match="shapeless has no operands"):
        gradient_errors.rows_of(on_arrays)


def test_the_reference_is_right_where_the_answer_is_known():
    mp = gradient_errors.mp
    with mp.workdps(700):
        for x in (mp.mpf("1e-20"), mp.mpf(3), mp.mpf("1e10")):
            assert abs(gradient_errors.derivative(mp.sin, [x], (0,)) - mp.cos(x)) < mp.mpf(10) ** -100 * abs(mp.cos(x))
            assert abs(gradient_errors.derivative(mp.sin, [x], (0, 0)) + mp.sin(x)) < mp.mpf(10) ** -100 * abs(mp.sin(x))
    assert gradient_errors.derivative(mp.log, [mp.mpf(-1)], (0,)) is None


def test_the_polygamma_functions_of_the_reference_are_those_of_mpmath():
    mp = gradient_errors.mp
    with mp.workdps(50):
        for n in range(4):
            for x in (mp.mpf("0.01"), mp.mpf(2), mp.mpf(77)):
                assert abs(gradient_errors._psi(n, x) - mp.psi(n, x)) < mp.mpf(10) ** -45 * abs(mp.psi(n, x))
        for n in range(3):
            assert abs(gradient_errors._psi(n, mp.mpf(-2.25)) - mp.psi(n, mp.mpf(-2.25))) < mp.mpf(10) ** -45
        assert abs(gradient_errors._normal_ratio(mp.mpf(-1001)) - 1001 - mp.mpf(1) / 1001) < mp.mpf(10) ** -8
