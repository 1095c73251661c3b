"""The figures of a search as matplotlib Figures, for `figure.savefig(path)`.

They are made without pyplot: no window, no state between calls, no display needed. matplotlib is imported when the
first is made. Colours are of the Okabe-Ito palette, which the colour-blind can tell apart; marks differ in shape too.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Samples = tuple[ArrayLike, ArrayLike]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"


def plot_data(train: Samples, test: Samples) -> "Figure":
    """Draw the training and the test points.

    Parameters
    ----------
    train, test : pair of array_like
        x and y, of one feature each.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, 7 by 4.2 inches.

    Examples
    --------
    >>> figure = plot_data(([0, 1, 2], [0, 1, 4]), ([0.5], [0.25]))
    >>> figure.axes[0].get_xlabel()
    'x'
    """
    figure, axes = _new_figure("x", "y")
    _draw_points(axes, train, test)
    _legend_above(axes)
    return figure


def plot_losses(history: Mapping[str, ArrayLike], validation_label: str = "test") -> "Figure":
    """Draw the training and the validation loss against the epoch, on a logarithmic scale.

    Parameters
    ----------
    history : mapping
        ``"train_loss"`` and ``"validation_loss"``, one number per epoch.
    validation_label : str, default="test"
        What the validation set was.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, 7 by 4.2 inches.

    Examples
    --------
    >>> figure = plot_losses({"train_loss": [3.0, 1.0], "validation_loss": [4.0, 2.0]})
    >>> figure.axes[0].get_yscale()
    'log'
    """
    figure, axes = _new_figure("epoch", "loss (logarithmic)")
    for key, label, colour, height in (
        ("train_loss", "training loss", BLUE, 3),
        ("validation_loss", f"{validation_label} loss", ORANGE, 2),
    ):
        losses = np.asarray(history[key], dtype=float)
        axes.plot(np.arange(1, len(losses) + 1), losses, color=colour, linewidth=1.1, zorder=height, label=label)
    axes.set_yscale("log")
    axes.margins(x=0.01)
    _plain_log_labels(axes)
    _legend_above(axes)
    return figure


def plot_function(x: ArrayLike, prediction: ArrayLike, train: Samples, test: Samples) -> "Figure":
    """Draw an estimated function over the training and the test points.

    Parameters
    ----------
    x, prediction : array_like
        The function on a fine grid, such as ``numpy.linspace(-4, 2, 601)``.
    train, test : pair of array_like
        x and y, of one feature each.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, 7 by 4.2 inches.

    Examples
    --------
    >>> grid = np.linspace(0, 2, 21)
    >>> figure = plot_function(grid, grid**2, ([0, 1, 2], [0, 1, 4]), ([0.5], [0.25]))
    >>> len(figure.axes[0].lines)
    3
    """
    figure, axes = _new_figure("x", "y")
    _draw_points(axes, train, test)
    axes.plot(np.ravel(x), np.ravel(prediction), color="black", linewidth=1.6, label="estimated function")
    _legend_above(axes)
    return figure


def plot_seed_distribution(losses: ArrayLike, reported: float | None = None, best: float | None = None) -> "Figure":
    """Draw the test losses of one configuration over many seeds: a histogram, and a tick for each network.

    Parameters
    ----------
    losses : array_like
        One test loss per seed; NaN (a training that diverged) is left out.
    reported : float, optional
        A published loss to compare with.
    best : float, optional
        The loss of the network that was chosen.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, 7 by 4.2 inches.

    Raises
    ------
    ValueError
        If no loss is finite.

    Examples
    --------
    >>> figure = plot_seed_distribution([0.60, 0.62, 0.65], reported=0.5678)
    >>> figure.axes[0].get_ylabel()
    'number of seeds'
    """
    from matplotlib.ticker import MaxNLocator

    given = np.ravel(np.asarray(losses, dtype=float))
    finite = given[np.isfinite(given)]
    if not finite.size:
        raise ValueError(f"plot_seed_distribution: none of {given.size} losses is finite, expected at least one")
    figure, axes = _new_figure("test loss", "number of seeds")
    axes.hist(finite, bins=20, color=BLUE, alpha=0.35, edgecolor="white")
    axes.eventplot(finite, lineoffsets=0.025, linelengths=0.05, colors=BLUE, transform=axes.get_xaxis_transform())
    mean = finite.mean()
    axes.axvline(mean, color=BLUE, linewidth=1.8, label=f"mean of {finite.size} seeds: {mean:.4f}")
    if best is not None:
        axes.axvline(best, color=GREEN, linewidth=1.8, linestyle="--", label=f"chosen network: {best:.4f}")
    if reported is not None:
        axes.axvline(reported, color=ORANGE, linewidth=1.8, linestyle=":", label=f"reported: {reported:.4f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    _legend_above(axes)
    return figure


def _new_figure(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _draw_points(axes: "Axes", train: Samples, test: Samples) -> None:
    marks: tuple[tuple[str, Samples, dict[str, Any]], ...] = (
        ("training", train, {"marker": "o", "color": BLUE, "markersize": 4.5, "alpha": 0.75}),
        ("test", test, {"marker": "^", "color": ORANGE, "markersize": 6}),
    )
    for label, (x, y), style in marks:
        axes.plot(np.ravel(x), np.ravel(y), linestyle="none", label=f"{label} points ({np.size(x)})", **style)


def _plain_log_labels(axes: "Axes") -> None:
    """Label a logarithmic axis 0.6, 1, 2 and so on; between the powers of ten only where these are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 6, 8)))
    axes.yaxis.set_minor_formatter(plain if high < 1000 * low else NullFormatter())


def _legend_above(axes: "Axes") -> None:
    """Put the legend over the axes, where it covers nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.8,
        columnspacing=1.2,
        fontsize="small",
    )
