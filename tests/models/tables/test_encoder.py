"""ColumnEncoder: what it computes, that it learns from the training rows only, and that it works as a layer."""

import numpy as np
import pytest

import tinygrad_lab as tl
from models.tables import CategoryEmbedding, Column, ColumnEncoder
from tests.tinygrad_lab.program.test_lanes import side_by_side

NAN = np.nan
COLUMNS = [
    Column("size", "number", missing=True),
    Column("color", "category", ("blue", "green", "red"), missing=True),
    Column("when", "date"),
    Column("weight", "number"),
]
ROWS = np.array([[1.0, 0, 0, 2], [3, 2, 10, 2], [NAN, 2, 20, 2], [8, NAN, 30, 2]])


def encoder(rows=ROWS, weight=None, columns=COLUMNS):
    encoder = ColumnEncoder(columns)
    encoder.learn(rows, weight)
    return encoder


def test_the_outputs_are_those_computed_by_hand():
    size, days = np.array([1, 3, 3, 8.0]), np.array([0, 10, 20, 30.0])  # the median of 1, 3 and 8 fills the gap
    angle = 2 * np.pi * days / 365.2425
    scaled = [(size - size.mean()) / size.std(), (days - 15) / days.std(), np.zeros(4), np.sin(angle), np.cos(angle)]
    indicators = [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    expected = np.column_stack([*scaled, *indicators])
    np.testing.assert_allclose(encoder()(ROWS).numpy(), expected, atol=1e-15)
    assert encoder().out_features == expected.shape[1]


def test_what_the_training_rows_did_not_show_gives_zeros():
    learnt = encoder(ROWS[:2])  # no green, no gap, one weight
    unseen = learnt(np.array([[NAN, 1, NAN, NAN], [NAN, -1, 5, 700], [2, NAN, 5, 2]])).numpy()
    np.testing.assert_array_equal(unseen[:, 2], np.zeros(3))
    np.testing.assert_array_equal(unseen[:, 5:], np.zeros((3, 5)))
    np.testing.assert_array_equal(unseen[0, :5], np.zeros(5))  # the median of two is their mean
    assert np.isfinite(unseen).all()


def test_values_of_other_rows_change_nothing():
    before = encoder(ROWS[:2]).state_dict()
    other = ROWS.copy()
    other[2:] = [[NAN, 1, 1e6, -7], [1e9, NAN, NAN, 0]]
    assert all((before[name] == array).all() for name, array in encoder(other[:2]).state_dict().items())
    with_weights = encoder(other, np.array([1.0, 1, 0, 0])).state_dict()  # a weight of 0 is no row
    assert all((before[name] == array).all() for name, array in with_weights.items())


def test_a_weight_counts_as_so_many_rows():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=9), rng.integers(3, size=9), rng.integers(99, size=9), rng.normal(size=9)])
    rows[2, 0] = NAN
    counts = rng.integers(1, 4, size=9)
    weighted, repeated = encoder(rows, counts.astype(float)), encoder(np.repeat(rows, counts, axis=0))
    for name, array in repeated.state_dict().items():
        np.testing.assert_allclose(weighted.state_dict()[name], array, rtol=1e-12, atol=1e-12)


def test_a_column_without_values_in_the_training_rows_is_zero():
    rows = ROWS.copy()
    rows[:, 0] = NAN
    np.testing.assert_array_equal(encoder(rows)(ROWS).numpy()[:, 0], np.zeros(4))


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_as_the_first_layer_of_a_network_it_does_the_same(engine):
    x, y = np.nan_to_num(ROWS), np.arange(4.0)
    learnt = encoder()
    losses = []
    for inside in (True, False):
        net = tl.Linear(learnt.out_features, 1, rng=np.random.default_rng(0))
        model, data = (tl.Sequential(learnt, net), x) if inside else (net, learnt.transform(x))
        optimizer = tl.SGD(net.parameters(), lr=0.1)
        trainer = tl.Trainer(model, tl.HalfSquaredError(), optimizer=optimizer, epochs=3, batch_size=2, engine=engine)
        losses.append(trainer.fit(data, y)["train_loss"].tolist())
    assert losses[0] == losses[1]


def test_a_program_of_it_has_lanes_and_takes_gaps():
    learnt, x = encoder(), tl.Tensor(ROWS)
    state = learnt.named_state()
    program = tl.capture(lambda: ({"y": learnt(x)}, state), {"x": x}, state)
    result = side_by_side(program, [{"x": ROWS}, {"x": ROWS[::-1]}])["y"]
    np.testing.assert_array_equal(result, [learnt(ROWS).numpy(), learnt(ROWS[::-1]).numpy()])


def test_integers_are_encoded_as_the_same_floats():
    rows = np.nan_to_num(ROWS).astype(int)
    np.testing.assert_array_equal(encoder()(rows).numpy(), encoder()(rows.astype(float)).numpy())


def test_columns_are_needed_and_their_number_is_checked():
    with pytest.raises(ValueError, match="columns is empty"):
        ColumnEncoder([])
    with pytest.raises(ValueError, match=r"input has shape \(4, 3\), expected \(rows, 4\): size, color, when, weight"):
        encoder()(ROWS[:, :3])
    with pytest.raises(ValueError, match="kind is 'text', expected one of number, category, date"):
        Column("a", "text")
    with pytest.raises(ValueError, match="a number has 1 levels; only a category has some"):
        Column("a", "number", ("b",))
    with pytest.raises(ValueError, match="expected a name, levels of text or numbers"):
        Column("a", "category", (["b"],))


def test_an_embedding_is_a_linear_map_of_the_one_hot_inputs():
    layer = CategoryEmbedding(9, [(1, 4), (4, 6)], 2, rng=np.random.default_rng(0))
    x = np.arange(1.0, 10)[None]
    weight = layer.weight.numpy()
    expected = np.concatenate([x[:, :1], x[:, 1:4] @ weight[1:3, 1:4].T, x[:, 4:6] @ weight[3:5, 4:6].T, x[:, 6:]], axis=1)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-14)
    tl.testing.check_grad(lambda w: (tl.Tensor(x) @ (w * layer._learnt + layer._passed).T).square().sum(), weight, order=2)
    assert CategoryEmbedding(2, [(0, 2)], 5, rng=np.random.default_rng(0)).out_features == 2
    with pytest.raises(ValueError, match="size is 0, expected a positive integer"):
        CategoryEmbedding(2, [(0, 2)], 0, rng=np.random.default_rng(0))
