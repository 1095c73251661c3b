"""Lanes: n copies of a program side by side compute the same bits as each copy alone.

Every test compares lanes with plain replays of the same program, one for each lane. The lanes differ in all inputs and states.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tests.helpers.operands import interval, takes_conditions
from tinygrad_lab import Tensor
from tinygrad_lab.autodiff import ops
from tinygrad_lab.functions import elementwise, linalg, reductions, sorting, special
from tinygrad_lab.program import capture
from tinygrad_lab.training.captured import CapturedStep

DTYPES = [np.float64, np.float32]
DATA = ("x", "y", "sample_weight")


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected, strict=True)
    if actual.dtype.kind == "f":  # to numpy.testing, 0 and -0 are equal
        number = ~np.isnan(actual)
        np.testing.assert_array_equal(np.signbit(actual)[number], np.signbit(expected)[number])


def alone(program, inputs):
    """The outputs of a plain replay."""
    bound = program.bind()
    bound.set_inputs(**inputs)
    with np.errstate(all="ignore"):
        return bound.run()


def side_by_side(program, lanes):
    """The outputs of a replay in lanes, one dict of inputs for each."""
    widened = program.lanes(len(lanes))
    widened.check()
    bound = widened.bind()
    for lane, inputs in enumerate(lanes):
        for name, array in inputs.items():
            bound.inputs[name][lane] = array
    with np.errstate(all="ignore"):
        return bound.run()


def variant(array, rng):
    """Other values for a lane: the elements in another order, and floats a little smaller, so that no domain is left."""
    shuffled = rng.permutation(array.ravel()).reshape(array.shape)
    return shuffled * rng.uniform(0.5, 1.0, array.shape).astype(array.dtype) if array.dtype.kind == "f" else shuffled


def garbage(array, rng):
    """What a lane may contain after its training has exploded. Index arrays stay valid."""
    if array.dtype.kind != "f":
        return variant(array, rng)
    return rng.choice(np.array([np.nan, np.inf, -np.inf, 1e38, -0.0], array.dtype), array.shape)


# Ops that raise LinAlgError if one matrix has no result.
RAISING = {
    "inv",
    "solve",
    "cofactors",
    "cholesky",
    "pinv",
    "eigvalsh",
    "eigenvectors",
    "svdvals",
    "singular_vectors",
    "reciprocal_gaps",
}


def check(function, *arrays, counts=(1, 2, 5), with_garbage=True):
    """Compare lanes with plain replays of ``y = function(*arrays)``; the last lane but one holds garbage."""
    tensors = {f"x{i}": Tensor(array) for i, array in enumerate(arrays)}
    program = capture(lambda: ({"y": function(*tensors.values())}, {}), tensors, {})
    for n in counts:
        rng = np.random.default_rng(n)
        lanes = [{name: variant(x.numpy(), rng) for name, x in tensors.items()} for _ in range(n)]
        if n > 2 and with_garbage:
            lanes[-2] = {name: garbage(x.numpy(), rng) for name, x in tensors.items()}
        result = side_by_side(program, lanes)["y"]
        assert result.shape[0] == n
        for lane, inputs in enumerate(lanes):
            assert_same_bits(result[lane], alone(program, inputs)["y"])
    return program


# Each op -------------------------------------------------------------------------------------------------------------

ELEMENTWISE = [op.name for op in ops.OP_TABLE.values() if op.elementwise and op is not ops.detach]
LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: x.T,
    "every other": lambda x: x[..., ::2],
    "backwards": lambda x: x[::-1],
    "one column": lambda x: x[:, 1:2],
    "one number, repeated": lambda x: x[0, 0].broadcast_to(x.shape),
    "one number": lambda x: x[0, 0],
    "one row": lambda x: x[1:2],
}


def matrix(dtype, shape=(7, 33), low=0.25, high=2.0, seed=0):
    return np.asarray(np.random.default_rng(seed).uniform(low, high, shape), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, dtype):
    op = ops.OP_TABLE[name]
    conditions = takes_conditions(op)
    ranges = [interval(op, i) for i in range(len(conditions))]
    arrays = [matrix(dtype, low=max(low, -0.5), high=min(high, 2.0), seed=i) for i, (low, high) in enumerate(ranges)]
    for layout in LAYOUTS.values():

        def function(*tensors, layout=layout):
            operands = map(layout, tensors)
            return op(*[x > 1.0 if is_condition else x for x, is_condition in zip(operands, conditions, strict=True)])

        check(function, *arrays)


def einsum(subscripts):
    return lambda *x: tl.einsum(subscripts, *x)


# Name of an op -> examples: a function, and its operands, each a shape or an integer array.
ROWS = np.array([4, 0, 2, 2])
COLUMNS = np.array([[1], [1], [3]])
EXAMPLES = {
    "detach": [(lambda x: x.detach() + x, (3, 4))],
    "astype": [(lambda x, to=to: ops.astype(x.T, dtype=np.dtype(to)), (7, 33)) for to in (np.float32, np.float64, np.int64)],
    "reduce_sum": [
        *[(lambda x, layout=layout, axis=axis: layout(x).sum(axis), (41, 37))
          for name, layout in LAYOUTS.items() if name != "one number" for axis in (0, 1, None)],
        *[(lambda x, layout=layout, axis=axis: layout(x).exp().sum(axis), (180, 210))  # longer than NumPy's buffers
          for layout in (lambda x: x, lambda x: x.T) for axis in (0, 1, None)],
        *[(lambda x, axes=axes: x.sum(axes), (9, 10, 11)) for axes in [(0, 1), (0, 2), (1, 2), 0, 1, 2]],
        *[(lambda x, axes=axes: x.transpose(2, 0, 1).exp().sum(axes), (9, 10, 11)) for axes in [(0, 1), (0, 2), (1, 2), 0, 1]],
        (lambda x: x.sum(), (1, 1)), (lambda x: x.sum(0), (2, 0)), (lambda x: (-(x - x)).sum(), (1,)),
    ],
    "reduce_max": [(lambda x: x.max(0), (7, 33)), (lambda x: x.T.max(), (7, 33))],
    "reduce_min": [(lambda x: x.min(1), (7, 33)), (lambda x: x.T.min(0), (7, 33))],
    "broadcast_to": [
        (lambda x: x.broadcast_to(3, 4) * 2.0, ()), (lambda x: x.broadcast_to(2, 3, 4), (1, 4)),
        (lambda x: x.broadcast_to(2, 3, 4), (3, 1)), (lambda x: x.broadcast_to(1, 1, 4), (4,)),
        (lambda x: x.T.broadcast_to(5, 3, 2).sum(), (2, 3)), (lambda x: x.broadcast_to(5, 0), (1, 0)),
    ],
    "reshape": [
        (lambda x: x.reshape(6), (2, 3)), (lambda x: x.T.reshape(6), (2, 3)), (lambda x: x.T.reshape(6).sum(), (2, 3)),
        (lambda x: x.reshape(()), (1, 1)), (lambda x: x.reshape(1, 2, 1, 3), (6,)), (lambda x: x.reshape(0, 2), (3, 0)),
    ],
    "transpose": [(lambda x: x.T, (2, 3)), (lambda x: x.transpose(1, 2, 0) * x.transpose(1, 2, 0), (2, 3, 4))],
    "concatenate": [
        (lambda a, b: tl.concatenate([a, b]), (2, 3), (1, 3)), (lambda a, b: tl.concatenate([a, b.T], axis=1), (2, 3), (3, 2)),
        (lambda a, b: tl.stack([a, b]), (), ()), (lambda a, b: tl.stack([a.T, b.T], axis=-1).sum(), (9, 8), (9, 8)),
    ],
    "norm": [
        (lambda a: ops.norm(a, ndims=(2,)), (3, 4)), (lambda a, b: ops.norm(a, b.T, ndims=(1, 2)), (3,), (4, 5)),
        (lambda a, b: ops.norm(a, b, ndims=(1, 1)), (9, 8), (9, 2)), (lambda a: ops.norm(a, ndims=(0,)), (3,)),
    ],
    "getitem": [
        (lambda x: x[1], (3, 4)), (lambda x: x[..., 1], (3, 4)), (lambda x: x[::-1, None, 1:3], (3, 4)),
        (lambda x: x[1, 2], (3, 4)), (lambda x: ops.getitem(x, index=(0, ..., 1)), (3, 4, 5)),
        (lambda x: ops.getitem(x, index=(2,)), (3, 4)), (lambda x: ops.getitem(x, index=(...,)), ()),
    ],
    "gather": [
        (lambda x, i: x[i], (5, 4), ROWS), (lambda x, i: x[i, i], (5, 6, 3), ROWS), (lambda x, i: x[i, 1], (5, 4), ROWS),
        (lambda x, i: x[1, i], (3, 5, 4), ROWS), (lambda x, i, j: x[i, j], (5, 6, 3), ROWS, COLUMNS),
        (lambda x, i: x[i, 1:, 2], (5, 6, 3), ROWS), (lambda x, i: x[i].T.sum(), (5, 40), ROWS),
        (lambda x, i: x[:, i], (3, 5), ROWS), (lambda x, i: x[None, i], (5, 4), ROWS),
        (lambda x, i: x[..., i], (2, 3, 5), ROWS), (lambda x, i: x[i, :, i], (5, 3, 6), ROWS),
        (lambda x, i: x[1, :, i], (2, 3, 5), ROWS), (lambda x, i: x[i, ..., i], (5, 6), ROWS), (lambda x: x[[2, 0]], (3, 4)),
        (lambda x, i: x[i, i, ...], (5, 6), ROWS), (lambda x, i: x[i], (5,), ROWS),
        (lambda x, i: ops.gather(x, i, index=(..., ops.ARRAY)), (2, 3, 5), ROWS),
        (lambda x, i: ops.gather(x, i, index=(..., ops.ARRAY, slice(None))), (5, 3), ROWS),
        (lambda x: x[np.arange(3), np.array([0, 3, 1])], (3, 4)),
    ],
    "scatter_add": [
        (lambda x: gradient(lambda t: t[1:, ::2], x), (3, 4)), (lambda x: gradient(lambda t: t[..., 2], x), (3, 4)),
        (lambda x, i: gradient(lambda t: t[i], x), (5, 4), ROWS),
        (lambda x, i: gradient(lambda t: t.T[i], x), (4, 5), ROWS),
        (lambda x, i, j: gradient(lambda t: t[i, j], x), (5, 6, 3), ROWS, COLUMNS),
        (lambda x, i: gradient(lambda t: t[:, i], x), (3, 5), ROWS),
    ],
    "matmul": [
        *[(lambda a, b: a @ b, (n, k), (k, m)) for n, k, m in [(5, 75, 50), (1, 75, 50), (75, 1, 50), (5, 75, 1), (1, 1, 50),
                                                                (1, 50, 1), (1, 1, 1), (40, 30, 20), (50, 1, 1), (2, 0, 3)]],
        *[(lambda a, b: a @ b.T, (n, k), (m, k)) for n, k, m in [(5, 75, 50), (1, 75, 50), (75, 1, 50), (5, 75, 1), (1, 1, 5)]],
        *[(lambda a, b: (a.T @ b).T.sum(), (k, n), (k, m)) for n, k, m in [(50, 5, 75), (50, 1, 75), (1, 5, 75), (1, 1, 1)]],
        (lambda a: a @ a.T, (5, 75)), (lambda a: a.T @ a, (5, 30)), (lambda a, b: a[:, ::2] @ b[::2], (4, 20), (20, 6)),
        (lambda a, b: a[:, 1:2] @ b[1:2], (4, 20), (20, 6)), (lambda a, b: a @ b, (3, 4, 5), (3, 5, 6)),
        (lambda a, b: a @ b, (3, 4, 5), (5, 6)), (lambda a, b: a[0].broadcast_to(1, 9) @ b, (2,), (9, 7)),
    ],
    "einsum": [
        (einsum("ij,jk->ik"), (5, 40), (40, 6)), (einsum("ij,kj->ik"), (1, 75), (50, 75)), (einsum("ij,ij->"), (9, 8), (9, 8)),
        (einsum("ij,jk,kl->il"), (5, 6), (6, 7), (7, 8)), (einsum("abij,bjk->abik"), (2, 3, 4, 5), (3, 5, 6)),
        (lambda a, b: tl.einsum("ij,ik->jk", a.T, b), (30, 5), (5, 9)), (einsum("ij->ji"), (3, 4)),
    ],
    **{name: [(lambda x, op=op, params=params: op(x, **params), (7, 33)),
              (lambda x, op=op, params=params: op(x.T, **params), (7, 5))]
       for name, op, params in [
           ("log_ndtr", special.log_ndtr, {}), ("normal_ratio", special.normal_ratio, {}), ("digamma", special.digamma, {}),
           ("normal_ratio_excess", special.normal_ratio_excess, {}), ("polygamma", special.polygamma, {"n": 1}),
           ("sinc", elementwise.sinc, {"n": 1}), ("accumulate", reductions.accumulate, {"axis": -2}),
           ("argmax", sorting.argmax, {"axis": -2}), ("argmin", sorting.argmin, {"axis": -1}),
           ("argsort", sorting.argsort, {"axis": -2})]},
    **{name: [(lambda x, op=op, rows=rows: op(x + np.diag([4, 8, 12, 16, 20])[:rows, :4]), (rows, 4)),
              (lambda x, op=op, rows=rows: op(x.T + np.diag([4, 8, 12, 16, 20])[:rows, :4]), (4, rows))]
       for name, op, rows in [
           ("inv", linalg.inv, 4), ("det", linalg.det, 4), ("cofactors", linalg.cofactors, 4),
           ("logdet", linalg.logdet, 4), ("detsign", linalg.detsign, 4),
           ("cholesky", linalg.cholesky, 4), ("pinv", linalg.pinv, 5), ("qr", linalg.qr, 5), ("eigvalsh", linalg.eigvalsh, 4),
           ("eigenvectors", linalg.eigenvectors, 4), ("svdvals", linalg.svdvals, 5),
           ("singular_vectors", linalg.singular_vectors, 5)]},
    "solve": [(lambda a, b: np.linalg.solve(a + np.diag([4, 4, 4, 4]), b), (4, 4), (4, 3))],
    "polygamma_difference": [(lambda a, b: special.polygamma_difference(a, b, n=1), (7, 33), (7, 33))],
    "reciprocal_gaps": [(lambda x: linalg.reciprocal_gaps(x + np.arange(0, 20, 4), of="values"), (5,))],
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "shape", "one_by_one"),
    [
        (lambda x, i: x[i], (5, 4), False),
        (lambda x, i: x[i], (5,), False),
        (lambda x, i: x[i, i], (5, 6, 3), False),
        (lambda x, i: x[i, ..., i], (5, 6), False),
        (lambda x, i: gradient(lambda t: t[i], x), (5, 4), False),
        (lambda x, i: gradient(lambda t: t[i], x), (5,), False),
        (lambda x, i: gradient(lambda t: t[:, i], x), (3, 5), True),
        (lambda x, i: x[:, i], (3, 5), True),
        (lambda x, i: x[i, :, i], (5, 3, 6), False),
        (lambda x, i: x**2.0, (5,), False),
        (lambda x, i: x ** Tensor([1.0, 2.0, 3.0]), (3,), True),
        (lambda x, i: x**x, (3,), True),
    ],
)
def test_lanes_run_together_unless_the_bits_would_differ(function, shape, one_by_one):
    x, i = Tensor(np.ones(shape)), Tensor(ROWS)
    program = capture(lambda: ({"y": function(x, i)}, {}), {"x": x, "i": i}, {})
    assert ("concatenate" in [line.op.name for line in program.lanes(2).lines]) == one_by_one


def test_the_lanes_of_a_view_are_a_view():
    x = Tensor(matrix(np.float64, (3, 4)))
    (line,) = capture(lambda: ({"y": x.T}, {}), {"x": x}, {}).lanes(2).lines
    assert np.shares_memory(line.result.array, line.operands[0].array)


def test_lanes_of_a_broadcast_get_new_axes_only_where_it_has_some():
    for shape, written in [((1, 4), ["broadcast_to"]), ((4,), ["reshape", "broadcast_to"])]:
        x = Tensor(np.zeros(shape))
        program = capture(lambda x=x: ({"y": x.broadcast_to(3, 4)}, {}), {"x": x}, {})
        assert [line.op.name for line in program.lanes(2).lines] == written


def gradient(function, x):
    y, pull_back = tl.vjp(function, x)
    return pull_back(y * y)[0]


def test_every_op_has_examples():
    assert set(ELEMENTWISE) | set(EXAMPLES) == set(ops.OP_TABLE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example(name, dtype):
    for function, *operands in EXAMPLES[name]:
        arrays = [matrix(dtype, x, low=-0.5, seed=i) if isinstance(x, tuple) else x for i, x in enumerate(operands)]
        program = check(function, *arrays, with_garbage=name not in RAISING)
        assert name in {line.op.name for line in program.lines}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (3, 5), (5, 1)])
def test_a_square_is_a_square_in_every_lane(shape, dtype):
    """NumPy computes x**2 as x*x only if the exponents of a loop are the same 2 in memory. The last bits differ."""
    x = Tensor(matrix(dtype, shape))
    rng = np.random.default_rng(0)
    square = capture(lambda: ({"y": x ** Tensor(np.full(shape, 2.0, dtype))}, {}), {"x": x}, {})
    lanes = [{"x": matrix(dtype, shape, seed=i)} for i in range(60)]
    for row, values in zip(side_by_side(square, lanes)["y"], lanes, strict=True):
        assert_same_bits(row, alone(square, values)["y"])
    for exponent in (Tensor(np.asarray(2.0, dtype)), Tensor(np.full(shape, 2.0, dtype))):
        inputs = {"x": x, "exponent": exponent}
        program = capture(lambda inputs=inputs: ({"y": ops.power(*inputs.values())}, {}), inputs, {})
        choices = rng.choice(np.array([2.0, 3.0], dtype), 60, p=[0.8, 0.2])
        lanes = [{"x": matrix(dtype, shape, seed=i), "exponent": np.full(exponent.shape, e)} for i, e in enumerate(choices)]
        result = side_by_side(program, lanes)["y"]
        for row, values in zip(result, lanes, strict=True):
            assert_same_bits(row, alone(program, values)["y"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_power_to_a_constant(layout, dtype):
    check(lambda x: layout(x) ** 2.0, matrix(dtype))
    check(lambda x: layout(x) ** Tensor(np.full(layout(x).shape, 2.0, dtype)), matrix(dtype))
    check(lambda x: layout(x) ** Tensor(np.full(layout(x).shape[-1:], 2.0, dtype)), matrix(dtype))


def test_a_power_of_no_elements():
    check(lambda x, exponent: x ** exponent.broadcast_to(0, 3), np.ones((0, 3)), np.array(2.0))


# Programs of several lines -------------------------------------------------------------------------------------------

MOVES = {
    "turn": lambda x: x.T,
    "cut": lambda x: x[1:, ::-1] if len(x) > 1 else x,
    "thin": lambda x: x[:, ::2],
    "fold": lambda x: x.reshape(-1, x.shape[0]),
    "add to the rows": lambda x: x + x.sum(axis=0),
    "add to the columns": lambda x: x - x.mean(axis=1, keepdims=True),
    "scale by all": lambda x: x / x.square().sum().sqrt(),
    "join": lambda x: tl.concatenate([x, x.tanh()], axis=1),
    "correlate": lambda x: x @ x.T,
    "pick": lambda x: x[np.array([0, -1, 0])],
    "keep the positive": lambda x: tl.where(x > 0.0, x, 0.1 * x),
    "slope": lambda x: gradient(lambda t: (t @ t.T).tanh(), x),
}


@given(
    moves=st.lists(st.sampled_from(sorted(MOVES)), min_size=2, max_size=6),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40)),
    dtype=st.sampled_from(DTYPES),
    n=st.integers(1, 4),
)
def test_moves_after_one_another(moves, shape, dtype, n):
    def function(x):
        for move in moves:
            x = MOVES[move](x)[:60, :60]
        return x

    with np.errstate(all="ignore"):
        check(function, matrix(dtype, shape, low=-1.0), counts=[n])


def test_lanes_have_lanes():
    x = Tensor(matrix(np.float64, (3, 4)))
    program = capture(lambda: ({"y": (x @ x.T).sum(0) * 2.0}, {}), {"x": x}, {})
    bound = program.lanes(2).lanes(3).bind()
    values = matrix(np.float64, (3, 2, 3, 4), seed=1)
    bound.set_inputs(x=values)
    result = bound.run()["y"]
    for outer, inner in np.ndindex(3, 2):
        assert_same_bits(result[outer, inner], alone(program, {"x": values[outer, inner]})["y"])


def test_a_lane_program_can_be_read():
    x, w = Tensor([[1.0, 2.0]]), Tensor([0.5, 0.5])
    c = np.array([3.0, 4.0])
    program = capture(lambda: ({"y": x * 2.0 + c}, {"w": w + x[0]}), {"x": x}, {"w": w}).lanes(2)
    assert str(program).splitlines() == [
        "input  x: float64 (2, 1, 2)",
        "state  w: float64 (2, 2)",
        "v0 = multiply(x, 2.0)",
        "v1 = reshape(c0, shape=(2, 1, 2))",
        "v2 = broadcast_to(v1, shape=(2, 1, 2))",
        "v3 = add(v0, v2)",
        "v4 = getitem(x, index=(slice(None, None, None), Ellipsis, 0, slice(None, None, None)))",
        "v5 = add(w, v4)",
        "output y = v3",
        "state  w = v5",
    ]
    lanes = program.lines[1].operands[0].array
    assert lanes.strides == (0, 8)  # the lanes share the memory of a constant
    assert not lanes.flags.writeable


# Training ------------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": tl.SGD,
    "momentum": lambda p, **options: tl.SGD(p, momentum=0.9, **options),
    "nesterov": lambda p, **options: tl.SGD(p, momentum=0.8, nesterov=True, **options),
    "rmsprop": tl.RMSprop,
    "adam": tl.Adam,
    "adamw": tl.AdamW,
}
HOOKS = {
    "none": list,
    "norm": lambda: [tl.ClipGradNorm(1.0)],
    "value": lambda: [tl.ClipGradValue(0.5)],
    "value, norm": lambda: [tl.ClipGradValue(0.5), tl.ClipGradNorm(1.0)],
}
PENALTIES = {
    "none": lambda: None,
    "l1 in the loss": lambda: tl.L1Penalty(1e-2),
    "l1 decoupled": lambda: tl.L1Penalty(1e-2, decoupled=True),
    "l1 proximal": lambda: tl.L1Penalty(1e-1, proximal=True),
    "l2 in the loss": lambda: tl.L2Penalty(1e-2),
    "elastic net proximal": lambda: tl.ElasticNetPenalty(1e-1, proximal=True),
}
LOSSES = {"half squared": tl.HalfSquaredError, "huber": tl.Huber, "absolute": tl.MeanAbsoluteError}
CASES = (
    [{"optimizer": name} for name in OPTIMIZERS]
    + [{"hooks": name} for name in HOOKS]
    + [{"penalty": name} for name in PENALTIES]
    + [{"activation": name} for name in tl.ACTIVATIONS]
    + [{"loss": name} for name in LOSSES]
    + [{"dtype": np.float32, "optimizer": name} for name in ("sgd", "adamw")]
    + [{"sizes": (1, 75, 50, 1)}, {"sizes": (3, 1, 1, 2)}]
)


class Lanes:
    """A captured training step, and 16 lanes that differ in their weights, data and hyper-parameters."""

    updates = 50

    def __init__(self, batch, weighted=False, count=16, activation="leaky_relu", optimizer="sgd", hooks="norm",
                 penalty="l1 decoupled", loss="half squared", dtype=np.float64, sizes=(1, 6, 5, 1)):  # fmt: skip
        rng = np.random.default_rng(0)
        net = TwoHiddenLayerNet(*sizes, activation=activation, rng=rng, dtype=dtype)
        trainer = tl.Trainer(
            net,
            LOSSES[loss](),
            optimizer=OPTIMIZERS[optimizer](net.parameters(), lr=0.05, hooks=HOOKS[hooks]()),
            penalty=PENALTIES[penalty](),
        )
        shapes = [(batch, sizes[0]), (batch, sizes[-1]), (batch,)][: 3 if weighted else 2]
        self.data = [rng.uniform(-2.0, 2.0, (self.updates, count, *shape)).astype(dtype) for shape in shapes]
        self.program = CapturedStep(trainer).program([array[0, 0] for array in self.data])
        settings = {name: x.array for name, x in self.program.inputs.items() if name not in DATA}
        self.settings = [{name: x * rng.uniform(0.5, 1.0) for name, x in settings.items()} for _ in range(count)]
        parameters = {name: x.shape for name, x in net.state_dict().items()}
        self.state = [{name: rng.normal(0.0, 0.5, shape) for name, shape in parameters.items()} for _ in range(count)]

    def train_alone(self, lane, updates=updates):
        """The losses and the state after a plain replay of one lane."""
        bound = self.program.bind()
        for own, values in ((bound.inputs, self.settings[lane]), (bound.state, self.state[lane])):
            for name, value in values.items():
                own[name][...] = value
        losses = []
        for update in range(updates):
            for name, array in zip(DATA, self.data, strict=False):
                bound.inputs[name][...] = array[update, lane]
            losses.append(bound.run()["loss"])
            bound.commit()
        return np.array(losses), bound.state

    def bind(self, lanes):
        """The replay of some of the lanes side by side, before the first update."""
        bound = self.program.lanes(len(lanes)).bind()
        for place, lane in enumerate(lanes):
            for own, values in ((bound.inputs, self.settings[lane]), (bound.state, self.state[lane])):
                for name, value in values.items():
                    own[name][place] = value
        return bound

    def train(self, bound, lanes, active=lambda update: None):
        losses = []
        for update in range(self.updates):
            for name, array in zip(DATA, self.data, strict=False):
                bound.inputs[name][:] = array[update, lanes]
            losses.append(bound.run()["loss"])
            bound.commit(active(update))
        return np.array(losses)


def assert_lane_is(bound, place, losses, expected):
    expected_losses, state = expected
    assert_same_bits(losses[: len(expected_losses), place], expected_losses)
    for name, array in state.items():
        assert_same_bits(bound.state[name][place], array)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case.values())))
def test_a_lane_trains_as_it_does_alone(case, batch):
    training = Lanes(batch, weighted=batch == 5, count=3, **case)
    alone = [training.train_alone(lane) for lane in range(3)]
    assert all(np.isfinite(losses).all() and len(set(losses.ravel())) > 25 for losses, _ in alone)
    for lanes in ([0], [1, 2], [2, 0, 1]):
        bound = training.bind(lanes)
        losses = training.train(bound, lanes)
        for place, lane in enumerate(lanes):
            assert_lane_is(bound, place, losses, alone[lane])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16])
def test_the_number_of_lanes_changes_nothing(n):
    training = Lanes(batch=5)
    lanes = list(range(16))[-n:]
    bound = training.bind(lanes)
    losses = training.train(bound, lanes)
    for place, lane in enumerate(lanes):
        assert_lane_is(bound, place, losses, training.train_alone(lane))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
@pytest.mark.parametrize("batch", [1, 5])
def test_garbage_in_a_neighbour_changes_nothing(value, batch):
    training = Lanes(batch, activation="tanh", optimizer="adam", hooks="value, norm")
    lanes = [0, 1, 2, 3]
    bound = training.bind(lanes)
    for arrays in (bound.state, {name: x for name, x in bound.inputs.items() if name not in DATA}):
        for array in arrays.values():
            array[[1, 3]] = value
    with np.errstate(all="ignore"):
        losses = training.train(bound, lanes)
    assert not np.isfinite(losses[:, [1, 3]]).any()
    for lane in (0, 2):
        assert_lane_is(bound, lane, losses, training.train_alone(lane))


def test_a_lane_that_stops_keeps_its_state():
    training = Lanes(batch=5, optimizer="adam")
    lanes = [0, 1, 2, 3]
    stops = np.array([50, 10, 0, 31])
    bound = training.bind(lanes)
    losses = training.train(bound, lanes, active=lambda update: update < stops)
    for lane in lanes:
        expected, state = training.train_alone(lane, stops[lane])
        assert_lane_is(bound, lane, losses, (expected.reshape(-1), state))


def test_a_stopped_lane_that_would_explode_keeps_its_state_and_harms_none():
    training = Lanes(batch=5, optimizer="momentum")
    lanes = [0, 1, 2]
    bound = training.bind(lanes)

    def active(update):
        if update == 20:
            bound.inputs["lr"][1] = np.nan
        return np.array([True, update < 20, True])

    with np.errstate(all="ignore"):
        losses = training.train(bound, lanes, active)
    for lane, updates in ((0, 50), (1, 20), (2, 50)):
        assert_lane_is(bound, lane, losses, training.train_alone(lane, updates))


def test_state_that_is_swapped_is_swapped_in_active_lanes_only():
    a, b = Tensor([1.0, 1.0]), Tensor([2.0, 2.0])
    bound = capture(lambda: ({}, {"a": b, "b": a}), {}, {"a": a, "b": b}).lanes(3).bind()
    bound.run()
    bound.commit(np.array([True, False, True]))
    assert bound.state["a"].tolist() == [[2.0, 2.0], [1.0, 1.0], [2.0, 2.0]]
    assert bound.state["b"].tolist() == [[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]]


def test_classification_has_lanes():
    rng = np.random.default_rng(0)
    net = tl.Sequential(tl.Linear(2, 8, rng=rng), tl.GELU(), tl.Linear(8, 3, rng=rng))
    trainer = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.Adam(net.parameters()))
    program = CapturedStep(trainer).program([rng.normal(size=(7, 2)), rng.integers(0, 3, 7)])
    x, y = rng.normal(size=(20, 4, 7, 2)), rng.integers(0, 3, (20, 4, 7))
    together, single = program.lanes(4).bind(), [program.bind() for _ in range(4)]
    for update in range(20):
        together.set_inputs(x=x[update], y=y[update])
        losses = together.run()["loss"]
        together.commit()
        for lane, bound in enumerate(single):
            bound.set_inputs(x=x[update, lane], y=y[update, lane])
            assert_same_bits(losses[lane], bound.run()["loss"])
            bound.commit()
    for name, array in together.state.items():
        assert_same_bits(array, np.array([bound.state[name] for bound in single]))


# Refusals ------------------------------------------------------------------------------------------------------------


def doubling():
    w = Tensor([1.0, 2.0, 3.0])
    return capture(lambda: ({}, {"w": w * 2.0}), {}, {"w": w})


@pytest.mark.parametrize("n", [0, -1, 2.0, True, None, "3"])
def test_a_number_of_lanes_that_is_none_is_refused(n):
    with pytest.raises(ValueError, match=rf"lanes: n is {n!r}, expected a positive integer"):
        doubling().lanes(n)


def test_a_number_of_lanes_may_be_numpys():
    assert doubling().lanes(np.int64(2)).lane_count == 2
    assert doubling().lane_count is None


@pytest.mark.parametrize("active", [np.ones(3), np.ones(2, bool), np.ones((3, 1), bool), True, [True, True, True]])
def test_a_mask_of_another_kind_is_refused(active):
    bound = doubling().lanes(3).bind()
    bound.run()
    with pytest.raises(ValueError, match=r"commit: active is .*, expected an array of bool, shape \(3,\): one for each lane"):
        bound.commit(active)
    assert bound.state["w"].tolist() == [[1.0, 2.0, 3.0]] * 3


def test_a_mask_for_a_program_without_lanes_is_refused():
    bound = doubling().bind()
    bound.run()
    with pytest.raises(
        ValueError, match=r"commit: active is given, but the program has no lanes; make them with Program.lanes"
    ):
        bound.commit(np.ones(3, bool))


def test_an_op_that_needs_a_rule_and_has_none_is_refused():
    try:
        fill = ops.Op("fill", lambda x, *, shape, out=None: np.full(shape, x.max()), lambda _, *, shape: shape)
    finally:
        del ops.OP_TABLE["fill"]
    x = Tensor([1.0, 2.0])
    program = capture(lambda: ({"y": fill(x, shape=(3,))}, {}), {"x": x}, {})
    with pytest.raises(
        NotImplementedError, match=r"lanes: v0 = fill\(x, shape=\(3,\)\) in 2 lanes has shape \(3,\), expected \(2, 3\)"
    ):
        program.lanes(2)
