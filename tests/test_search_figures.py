import io

import numpy as np
import pytest

from search import plot_data, plot_function, plot_losses, plot_seed_distribution

TRAIN = np.linspace(-4, 2, 30), np.linspace(-4, 2, 30) ** 2
TEST = [[0.5], [1.0]], [[0.25], [1.0]]
EPOCHS = np.arange(1, 101)


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
