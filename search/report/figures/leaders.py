"""The figures of the best configurations: how they learn, how stable their ranks are, how much they differ."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from search.report.figures.style import BLUE, GREY, ORANGE, legend_above, new_figure, plain_log_labels, rank_labels
from search.run.retraining import Retrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.ranking.comparison import Comparison


def plot_learning_curves(retrained: Retrained) -> "Figure":
    """Draw the test loss of the re-trained networks against the epoch, on a logarithmic scale. Both winners are in colour.

    Parameters
    ----------
    retrained : Retrained
        Networks, at least one with status "done".

    Returns
    -------
    matplotlib.figure.Figure
        One axes, 7 by 4.2 inches.

    Examples
    --------
    >>> from search import RetrainedConfiguration
    >>> losses = {"validation_loss": np.array([0.9, 0.6])}
    >>> row = RetrainedConfiguration(1, {"lr": 0.1}, 0.5, 0.4, 0.6, "done", "", losses, state_dict={}, seconds=1.0)
    >>> retrained = Retrained([row])
    >>> figure = plot_learning_curves(retrained)
    >>> figure.axes[0].get_xlabel()
    'epoch'
    """
    measure = retrained.measure
    by_cv, by_test = retrained.best_by_cv, retrained.best_by_test
    figure, axes = new_figure("epoch", "test loss (logarithmic)")
    others = 0
    for row in retrained.done:
        if row is by_cv or row is by_test:
            continue
        losses = row.history["validation_loss"]
        label = None if others else "the others"
        # Many long curves as shapes would take megabytes, so they become one picture.
        axes.plot(np.arange(1, len(losses) + 1), losses, color=GREY, alpha=0.35, linewidth=0.7, label=label, rasterized=True)
        others += 1
    if by_cv is by_test:
        winners = [(by_cv, f"best by both (rank {by_cv.rank})", BLUE, "o", "-")]
    else:
        winners = [
            (by_cv, f"best by cross-validation (rank {by_cv.rank})", BLUE, "o", "-"),
            (by_test, f"{measure.best} test {measure.name} (rank {by_test.rank})", ORANGE, "D", "--"),
        ]
    for row, label, colour, marker, dashes in winners:
        losses = row.history["validation_loss"]
        axes.plot(
            np.arange(1, len(losses) + 1),
            losses,
            color=colour,
            linestyle=dashes,
            linewidth=1.5,
            marker=marker,
            markersize=5,
            markevery=[len(losses) - 1],
            label=label,
        )
    axes.set_yscale("log")
    axes.margins(x=0.02)
    plain_log_labels(axes.yaxis)
    legend_above(axes)
    return figure


def plot_rank_stability(losses: ArrayLike, top: int = 20, column: str = "fold") -> "Figure":
    """Draw which rank each of the best configurations has by one fold alone, or by one seed.

    Parameters
    ----------
    losses : array_like, shape (configurations, columns)
        One loss for each fold or seed, with the configurations in the order of the ranking. NaN ranks last.
    top : int, default=20
        How many configurations to show. Their ranks are among all configurations in `losses`.
    column : str, default="fold"
        The name of a column: "fold", "repeat" or "seed".

    Returns
    -------
    matplotlib.figure.Figure
        One axes. It has a dot for each loss, a line from the best to the worst rank, and a diamond for the rank overall.

    Examples
    --------
    >>> figure = plot_rank_stability([[0.1, 0.2], [0.3, 0.1], [0.4, 0.4]])
    >>> figure.axes[0].get_xlabel()
    'rank by one fold alone, of 3'
    """
    from scipy.stats import rankdata

    table = np.asarray(losses, dtype=float)
    ranks = rankdata(np.where(np.isnan(table), np.inf, table), method="min", axis=0)[:top]
    ranks_overall = np.arange(1, len(ranks) + 1)
    figure, axes = new_figure(f"rank by one {column} alone, of {len(table)}", "place in the ranking")
    axes.hlines(ranks_overall, ranks.min(axis=1), ranks.max(axis=1), color=BLUE, alpha=0.35, linewidth=2)
    heights = np.repeat(ranks_overall, ranks.shape[1])
    axes.plot(
        ranks.ravel(), heights, linestyle="none", marker="o", markersize=4.5, color=BLUE, alpha=0.75, label=f"by one {column}"
    )
    axes.plot(
        ranks_overall,
        ranks_overall,
        linestyle="none",
        marker="D",
        markersize=5,
        color=ORANGE,
        markerfacecolor="white",
        label="in the ranking",
    )
    if ranks.max() > 3 * len(ranks):
        axes.set_xscale("log")
        axes.set_xlim(left=0.9)
        plain_log_labels(axes.xaxis, steps=(2, 5))
    else:
        rank_labels(axes.xaxis)
    axes.set_ylim(len(ranks) + 0.7, 0.3)
    rank_labels(axes.yaxis)
    legend_above(axes)
    return figure


def plot_differences(comparison: "Comparison", top: int = 20) -> "Figure":
    """Draw the difference of each of the best configurations to the first, with its confidence interval.

    Parameters
    ----------
    comparison : Comparison
        The comparison of a ranking.
    top : int, default=20
        How many to show.

    Returns
    -------
    matplotlib.figure.Figure
        One axes. A circle marks an interval that contains zero, a filled square one that does not.

    Examples
    --------
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> figure = plot_differences(result.comparison())
    >>> figure.axes[0].get_ylabel()
    'rank'
    """
    rows = [*comparison][:top]
    figure, axes = new_figure(f"difference of the mean {comparison.measure.name} to the best", "rank")
    axes.axvline(0.0, color=GREY, linewidth=1)
    for is_distinguishable, label, colour, marker, fill in (
        (False, "not distinguishable from the best", BLUE, "o", "white"),
        (True, "worse than the best", ORANGE, "s", ORANGE),
    ):
        shown = [row for row in rows if row.is_distinguishable == is_distinguishable]
        if shown:
            ranks = [row.rank for row in shown]
            axes.hlines(ranks, [row.low for row in shown], [row.high for row in shown], color=colour, alpha=0.6, linewidth=1.6)
            axes.plot(
                [row.difference for row in shown],
                ranks,
                linestyle="none",
                marker=marker,
                markersize=5.5,
                color=colour,
                markerfacecolor=fill,
                label=label,
            )
    axes.set_ylim(max(row.rank for row in rows) + 0.7, 0.3)
    rank_labels(axes.yaxis)
    legend_above(axes)
    return figure
