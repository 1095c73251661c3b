"""The figures of a model that predicts: how good it is on samples that it has not seen, and which features it uses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from search.report.figures.style import BLUE, GREEN, GREY, ORANGE, as_it_is, legend_above, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.report.inspection import Effect, ImportantFeature

BINS = 10  # groups of equally many predictions in a calibration curve
MOST_POINTS = 2_000  # as shapes; more become one picture
MOST_COUNTS = 12  # classes up to which each cell of a confusion matrix has its number
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def plot_predictions(observed: ArrayLike, predicted: ArrayLike, name: str = "target") -> "Figure":
    """Draw predicted against observed values, with the line on which they are equal.

    Parameters
    ----------
    observed, predicted : array_like, shape (samples,)
    name : str
        Of the target.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, with the same scale in both directions.

    Examples
    --------
    >>> plot_predictions([1.0, 2.0], [1.1, 1.9], "price").axes[0].get_xlabel()
    'observed price'
    """
    true, guess = np.ravel(observed), np.ravel(predicted)
    figure, axes = new_figure(f"observed {as_it_is(name)}", "predicted, out of fold")
    low, high = min(true.min(), guess.min()), max(true.max(), guess.max())
    axes.axline((low, low), (high, high) if high > low else None, slope=None if high > low else 1.0, color=GREY, linewidth=1)
    axes.plot(true, guess, "o", color=BLUE, markersize=3.5, alpha=0.5, markeredgewidth=0, rasterized=len(true) > MOST_POINTS)
    axes.margins(0.03)
    return figure


def plot_residuals(observed: ArrayLike, predicted: ArrayLike) -> "Figure":
    """Draw a histogram of the residuals: the observed minus the predicted values.

    Parameters
    ----------
    observed, predicted : array_like, shape (samples,)

    Returns
    -------
    matplotlib.figure.Figure
        One axes. A dashed line marks the mean.
    """
    residuals = np.ravel(observed) - np.ravel(predicted)
    figure, axes = new_figure("observed minus predicted, out of fold", "samples")
    axes.hist(residuals, bins=min(40, max(5, int(np.sqrt(len(residuals))))), color=BLUE, alpha=0.75)
    axes.axvline(0.0, color=GREY, linewidth=1)
    axes.axvline(residuals.mean(), color=ORANGE, linestyle="--", linewidth=1.5, label=f"mean {residuals.mean():.3g}")
    legend_above(axes)
    return figure


def calibration(is_true: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for groups of equally many predictions, the mean probability, the share that is true, and its interval.

    Parameters
    ----------
    is_true : array_like of bool, shape (samples,)
    probabilities : array_like, shape (samples,)

    Returns
    -------
    means, shares, lows, highs : ndarray
        The intervals are Wilson's, of 95 %.

    Examples
    --------
    >>> means, shares, lows, highs = calibration([True] * 30 + [False] * 10, [0.75] * 40)
    >>> float(means[0]), bool(lows.min() < 0.75 < highs.max())
    (0.75, True)
    """
    from scipy.stats import binomtest

    true, given = np.ravel(is_true).astype(bool), np.ravel(probabilities)
    groups = np.array_split(np.argsort(given, kind="stable"), min(BINS, max(1, len(given) // 10)))
    means = np.array([given[group].mean() for group in groups])
    tests = [binomtest(int(true[group].sum()), len(group)) for group in groups]
    intervals = np.array([tuple(test.proportion_ci(method="wilson")) for test in tests])
    return means, np.array([test.statistic for test in tests]), intervals[:, 0], intervals[:, 1]


def plot_calibration(is_true: ArrayLike, probabilities: ArrayLike, name: str) -> "Figure":
    """Draw how often something is true against the probability that was predicted for it.

    Parameters
    ----------
    is_true, probabilities
        As for `calibration`.
    name : str
        What the probability is of.

    Returns
    -------
    matplotlib.figure.Figure
        One axes. On the diagonal, probabilities are right.
    """
    means, shares, lows, highs = calibration(is_true, probabilities)
    figure, axes = new_figure(f"predicted probability of {as_it_is(name)}", "share that is true")
    axes.plot([0.0, 1.0], [0.0, 1.0], color=GREY, linewidth=1)
    axes.errorbar(
        means, shares, yerr=[np.maximum(shares - lows, 0.0), np.maximum(highs - shares, 0.0)], color=BLUE, marker="o", capsize=3
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return figure


def plot_confusion(observed: ArrayLike, predicted: ArrayLike, names: Sequence[str]) -> "Figure":
    """Draw how often each class is predicted as each other one.

    Parameters
    ----------
    observed, predicted : array_like of int, shape (samples,)
        The numbers of the classes.
    names : sequence of str
        Of the classes.

    Returns
    -------
    matplotlib.figure.Figure
        A row is an observed class. Colours are shares of the row, numbers are samples.

    Examples
    --------
    >>> figure = plot_confusion([0, 0, 1], [0, 1, 1], ["a", "b"])
    >>> sorted(text.get_text() for text in figure.axes[0].texts)
    ['0', '1', '1', '1']
    """
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (np.ravel(observed).astype(int), np.ravel(predicted).astype(int)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = new_figure("predicted, out of fold", "observed")
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    labels = [as_it_is(name if len(name) <= 16 else f"{name[:15]}…") for name in names]
    step = -(-len(names) // 30)
    is_long = sum(map(len, labels[::step])) > 60
    axes.set_xticks(range(0, len(names), step), labels[::step], rotation=90 if is_long else 0)
    axes.set_yticks(range(0, len(names), step), labels[::step])
    if len(names) <= MOST_COUNTS:
        for row, column in np.ndindex(*counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the observed class")
    return figure


def plot_feature_importance(importances: "Sequence[ImportantFeature]", measure: str, top: int = 15) -> "Figure":
    """Draw by how much the predictions become worse if a feature is permuted, as bars with intervals.

    Parameters
    ----------
    importances : sequence of ImportantFeature
        The most important first.
    measure : str
        In which they are.
    top : int, default=15
        How many features to show.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = [(row.feature.name, row.importance, row.low, row.high) for row in importances[:top]]
    falls = "rise" if measure == "log loss" else "fall"
    return plot_bars(rows, f"{falls} of the {measure} if it is permuted")


def plot_bars(rows: Sequence[tuple[str, float, float, float]], label: str) -> "Figure":
    """Draw values with intervals as bars: name, value, low and high of each, from the top."""
    figure, axes = new_figure(label, "")
    values, lows, highs = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
    known = np.isfinite(lows) & np.isfinite(highs)  # with one fold there are no intervals
    errors = [np.where(known, values - lows, 0.0), np.where(known, highs - values, 0.0)]
    axes.barh(range(len(rows)), values, xerr=errors, color=BLUE, alpha=0.75, height=0.6, ecolor=GREY, capsize=3)
    axes.set_yticks(range(len(rows)), [as_it_is(row[0] if len(row[0]) <= 28 else f"{row[0][:27]}…") for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(0.0, color=GREY, linewidth=1)
    return figure


def plot_partial_dependence(
    effect: "Effect", outputs: Sequence[str], label: str, bounds: tuple[float, float] | None = None
) -> "Figure":
    """Draw the mean prediction against the value of one feature.

    Parameters
    ----------
    effect : Effect
    outputs : sequence of str
        The names of the outputs. The first six are drawn, or the second alone if they are the probabilities of two classes.
    label : str
        What is predicted.
    bounds : tuple of float, optional
        The lowest and highest prediction in all figures that are compared, so that they have the same scale.

    Returns
    -------
    matplotlib.figure.Figure
        One axes: lines for a number, dots for a category.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    feature = effect.feature
    figure, axes = new_figure(as_it_is(feature.name), label)
    for i, name in enumerate(outputs[: len(COLOURS)]):
        line = "none" if feature.kind == "category" else DASHES[i]
        marker = "osD^v<"[i] if feature.kind == "category" else None
        axes.plot(effect.values, effect.outputs[:, i], linestyle=line, marker=marker, color=COLOURS[i], label=as_it_is(name))
    if feature.kind == "category":
        levels = [feature.levels[int(value)] if value < len(feature.levels) else str(value) for value in effect.values]
        shown = [as_it_is(level if len(level) <= 16 else f"{level[:15]}…") for level in levels]
        axes.set_xticks(effect.values, shown, rotation=90 if sum(map(len, shown)) > 60 else 0)
        axes.margins(x=0.15)
    elif feature.kind == "date":
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    if bounds is not None and bounds[0] < bounds[1]:
        margin = 0.05 * (bounds[1] - bounds[0])
        axes.set_ylim(bounds[0] - margin, bounds[1] + margin)
    if len(outputs) > 1:
        legend_above(axes)
    return figure
