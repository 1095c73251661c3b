"""Derivatives at points where they are a matter of choice: one test for each row of the tables in docs/numerics.md."""

import importlib.util

import numpy as np
import pytest

import tinygrad_lab as tl
import tinygrad_lab.functions
from tests.helpers import ROOT
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops

_spec = importlib.util.spec_from_file_location("choices", ROOT / "benchmarks" / "choices.py")
choices = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(choices)


def slope(function, *point):
    """Return the derivatives of a scalar function at a point."""
    variables = [Tensor(x, requires_grad=True) for x in point]
    return [float(g.data) if not g.ndim else g.data.tolist() for g in tl.grad(function(*variables), variables)]


@pytest.mark.parametrize("row", choices.ROWS, ids=lambda row: row.where)
def test_choice(row):
    assert choices.text_of(choices.evaluate_ours, row) == row.ours


def test_the_page_shows_each_choice():
    page = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")
    tables = page.split(choices.BEGIN)[1].split(choices.END)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.splitlines() if line.startswith("| ")]
    shown = [(where, ours, why) for where, ours, _, _, why in cells if where not in ("where", "---")]
    assert shown == [(row.where, row.ours, row.why) for row in choices.ROWS]


def test_rows_have_different_names():
    assert len({row.where for row in choices.ROWS}) == len(choices.ROWS)


def test_every_op_with_a_kink_or_a_pole_has_a_row():
    """An op with a kink is not analytic, or compares. An op with a pole is smooth on a part of the line only."""
    smooth = {"sech_squared", "astype"}
    derivatives = {"cathetus", "direction", "inversion", "normal_ratio", "normal_ratio_excess", "polygamma",
                   "polygamma_difference", "cofactors"}  # of other ops, which have rows  # fmt: skip
    special = [op.name for op in ops.OP_TABLE.values() if op.differentiable and (not op.analytic or op.smooth)]
    text = " ".join(f"{row.where} {row.expression}" for row in choices.ROWS)
    symbols = {"divide": " / ", "power": " ** ", "reduce_max": "max(", "reduce_min": "min(", "logdet": "slogdet(",
               "eigenvectors": "eigh(", "singular_vectors": "svd("}  # fmt: skip
    assert [name for name in special if name not in smooth | derivatives and symbols.get(name, f"{name}(") not in text] == []


def test_where_selects_and_never_multiplies_by_the_mask():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = tl.where(np.array([True, False]), x, 0.0)
    assert tl.grad(y, [x], cotangent=[3.0, np.inf])[0].data.tolist() == [3.0, 0.0]  # 0 * inf would be nan


def test_clipping_gradients_of_zero_has_a_finite_derivative():
    g = Tensor([0.0, 0.0], requires_grad=True)
    (clipped,) = tl.ClipGradNorm(1.0)([g])
    assert clipped.data.tolist() == [0.0, 0.0]
    assert tl.grad(clipped.sum(), [g])[0].data.tolist() == [1.0, 1.0]


def test_nan_is_never_hidden():
    x = Tensor([np.nan])
    for y in (x.relu(), x.clip(-1.0, 1.0), x.max(), tl.maximum(x, 0.0), tl.LeakyReLU()(x), tl.ELU()(x), x.sign()):
        assert np.isnan(y.data).all()


def test_large_arguments_have_finite_derivatives():
    for name in tl.ACTIVATIONS:
        for point in (-1000.0, 1000.0):
            assert np.isfinite(slope(tl.get_activation(name), point)).all(), name
