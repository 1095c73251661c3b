import functools
import io

import numpy as np
import pytest

from search import ParameterGrid
from search.ranking.comparison import compare
from search.ranking.ranking import varying_parameters
from search.report.figures import (
    plot_data,
    plot_differences,
    plot_function,
    plot_learning_curves,
    plot_losses,
    plot_parallel_coordinates,
    plot_rank_stability,
    plot_score_map,
    plot_seed_distribution,
)
from tests.helpers.reports import FOLDS, ranking, retrained

TRAIN = np.linspace(-4, 2, 30), np.linspace(-4, 2, 30) ** 2
TEST = [[0.5], [1.0]], [[0.25], [1.0]]
EPOCHS = np.arange(1, 101)


@functools.cache
def figures():
    grid = np.linspace(-4, 2, 601)
    losses = np.random.default_rng(0).normal(0.64, 0.03, 30)
    return {
        "data": plot_data(TRAIN, TEST),
        "losses": plot_losses({"train_loss": 5 / EPOCHS, "validation_loss": 6 / EPOCHS}),
        "narrow losses": plot_losses({"train_loss": 0.5 + 0.1 / EPOCHS, "validation_loss": 0.55 + 0.1 / EPOCHS}),
        "diverged losses": plot_losses({"train_loss": [1.0, np.inf], "validation_loss": [2.0, np.nan]}),
        "wide losses": plot_losses({"train_loss": 10.0 ** (-EPOCHS / 10), "validation_loss": 10.0 ** (-EPOCHS / 20)}),
        "function": plot_function(grid, grid[:, np.newaxis] ** 2, TRAIN, TEST),
        "seeds": plot_seed_distribution(losses, reported=0.5678, best=0.6),
        "one seed": plot_seed_distribution([0.6, np.nan]),
        "learning curves": plot_learning_curves(retrained(ranking())),
        "one learning curve": plot_learning_curves(retrained(ranking(), top=1)),
        "ranks by fold": plot_rank_stability([row.losses for row in ranking(troubles=False)]),
        "ranks among many": plot_rank_stability(np.random.default_rng(0).uniform(size=(100, 3)), top=5, column="seed"),
        "differences": plot_differences(compare(ranking(), folds=FOLDS)),
    }


@pytest.mark.parametrize("name", figures())
def test_figure_is_drawn_with_labels_and_a_legend_that_covers_nothing(name):
    figure = figures()[name]
    stream = io.BytesIO()
    figure.savefig(stream)
    assert stream.getvalue().startswith(b"\x89PNG")
    [axes] = figure.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    legend, drawing = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert legend.y0 >= drawing.y1 - 1
    assert legend.x1 <= figure.bbox.x1


def test_data_is_what_is_drawn():
    training, test, function = plot_function(TRAIN[0], TRAIN[1] + 1, TRAIN, TEST).axes[0].lines
    np.testing.assert_array_equal(training.get_xydata(), np.column_stack(TRAIN))
    np.testing.assert_array_equal(test.get_xydata(), [[0.5, 0.25], [1.0, 1.0]])
    np.testing.assert_array_equal(function.get_ydata(), TRAIN[1] + 1)


def test_seed_distribution_counts_finite_losses_once():
    axes = plot_seed_distribution([0.5, 0.6, 0.6, np.nan, np.inf], reported=0.55).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "mean of 3 seeds: 0.5667",
        "reported: 0.5500",
    ]
    with pytest.raises(ValueError, match="none of 1 losses is finite"):
        plot_seed_distribution([np.nan])


def cells(figure):
    return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)


def label_texts(labels):
    return [label.get_text() for label in labels]


def test_the_map_holds_the_lowest_loss_of_each_pair():
    grid = ParameterGrid(activation=["relu", "sigmoid"], lr=[0.1, 1e-05, 0.01], hidden=[(10, 10), (2, 100), (9, 9), (8, 8)])
    rows = ranking(grid, troubles=False)
    figure = plot_score_map(rows)
    axes = figure.axes[0]
    assert label_texts(axes.get_yticklabels()) == ["2 × 100", "8 × 8", "9 × 9", "10 × 10"]
    assert label_texts(axes.get_xticklabels()) == ["1e-05", "0.01", "0.1"]
    for y, hidden in enumerate([(2, 100), (8, 8), (9, 9), (10, 10)]):
        for x, lr in enumerate([1e-05, 0.01, 0.1]):
            pair = [row.mean for row in rows if (row.configuration["hidden"], row.configuration["lr"]) == (hidden, lr)]
            assert len(pair) == 2
            assert cells(figure)[y, x] == min(pair)
    assert len(axes.texts) == 12


def test_the_map_leaves_a_pair_without_a_loss_empty():
    figure = plot_score_map(ranking(ParameterGrid(a=[1, 2], b=[1, 2])))
    assert np.isnan(cells(figure)).tolist() == [[False, False], [True, True]]  # the last two configurations failed
    assert len(figure.axes[0].texts) == 2


def test_the_map_needs_two_parameters_of_few_values():
    with pytest.raises(ValueError, match="1 parameters have 2 to 30 values and 2 configurations are done, expected at least 2"):
        plot_score_map(ranking(ParameterGrid(lr=[0.1, 0.2]), troubles=False))
    with pytest.raises(ValueError, match="1 parameters have 2 to 30 values"):
        plot_score_map(ranking(ParameterGrid(lr=list(range(31)), width=[1, 2]), troubles=False))


def test_values_of_any_kind_have_an_order():
    grid = [{"lr": value, "same": 1} for value in (2, "relu", None, 1.0, 1, True, (2, "a"))]
    values = varying_parameters(ranking(grid, troubles=False))
    assert list(values) == ["lr"]
    assert sorted(map(repr, values["lr"])) == sorted(map(repr, (2, "relu", None, 1.0, 1, True, (2, "a"))))
    assert len(plot_parallel_coordinates(ranking(grid, troubles=False)).axes[0].lines[0].get_ydata()) == 2


def test_parallel_coordinates_lead_from_the_values_to_the_rank():
    rows = ranking()
    axes = plot_parallel_coordinates(rows, top=2).axes[0]
    assert label_texts(axes.get_xticklabels()) == ["hidden", "activation", "lr", "mean loss"]
    best = rows[0].configuration
    assert best == {"hidden": (10, 10), "activation": "relu", "lr": 0.1, "epochs": 20}
    assert axes.lines[0].get_ydata().tolist() == [0.0, 0.0, 1.0, 1.0]
    ends = [path[-1, 1] for collection in axes.collections for path in collection.get_segments() if len(path) == 4]
    assert sorted(ends) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])  # the other five that are done
    assert f"{rows[0].mean:.4g}" in label_texts(axes.texts)
    with pytest.raises(ValueError, match="0 parameters vary and 1 configurations are done"):
        plot_parallel_coordinates(ranking(ParameterGrid(lr=[0.1]), troubles=False))


def test_both_winners_stand_out_of_the_learning_curves():
    networks = retrained(ranking())
    axes = plot_learning_curves(networks).axes[0]
    assert [line.get_label() for line in axes.lines] == [
        "the others",
        "best by cross-validation (rank 1)",
        "lowest test loss (rank 3)",
    ]
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), networks[2].history["validation_loss"])
    np.testing.assert_array_equal(axes.lines[2].get_xdata(), [1, 2, 3, 4, 5])
    [line] = plot_learning_curves(retrained(ranking(), top=1)).axes[0].lines
    assert line.get_label() == "best by both (rank 1)"


def test_ranks_are_those_of_each_column_and_nan_is_last():
    figure = plot_rank_stability([[0.1, 0.5], [0.2, np.nan], [0.2, 0.4], [0.9, 0.1]], top=3)
    dots, places = figure.axes[0].lines
    assert dots.get_xydata().tolist() == [[1, 1], [3, 1], [2, 2], [4, 2], [2, 3], [2, 3]]
    assert places.get_xydata().tolist() == [[1, 1], [2, 2], [3, 3]]


def test_differences_are_those_of_the_comparison_and_have_a_mark_of_their_own():
    comparison = compare(ranking(), folds=FOLDS)
    axes = plot_differences(comparison, top=4).axes[0]
    marked = {line.get_label(): line for line in axes.lines[1:]}
    assert len({line.get_marker() for line in marked.values()}) == len(marked) == 2
    for label, is_distinguishable in (("not distinguishable from the best", False), ("worse than the best", True)):
        expected = [[row.difference, row.rank] for row in comparison[:4] if row.is_distinguishable == is_distinguishable]
        assert marked[label].get_xydata().tolist() == expected
    ends = sorted((float(path[0, 0]), float(path[1, 0])) for lines in axes.collections for path in lines.get_segments())
    assert ends == sorted((row.low, row.high) for row in comparison[:4])
