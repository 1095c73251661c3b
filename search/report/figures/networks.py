"""The figures of one configuration: its data, its training, its function, and its test loss over seeds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from search.report.figures.style import BLUE, GREEN, ORANGE, legend_above, new_figure, plain_log_labels
from search.trials.data import DataSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_data(train: DataSet, test: DataSet) -> "Figure":
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
    figure, axes = new_figure("x", "y")
    _draw_points(axes, train, test)
    legend_above(axes)
    return figure


def plot_losses(history: Mapping[str, ArrayLike], validation_label: str = "test") -> "Figure":
    """Draw the training and the validation loss against the epoch, on a logarithmic scale.

    Parameters
    ----------
    history : mapping
        ``"train_loss"`` and ``"validation_loss"``, one number per epoch.
    validation_label : str, default="test"
        The name of the validation set.

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
    figure, axes = new_figure("epoch", "loss (logarithmic)")
    for key, label, colour, height in (
        ("train_loss", "training loss", BLUE, 3),
        ("validation_loss", f"{validation_label} loss", ORANGE, 2),
    ):
        losses = np.asarray(history[key], dtype=float)
        axes.plot(np.arange(1, len(losses) + 1), losses, color=colour, linewidth=1.1, zorder=height, label=label)
    axes.set_yscale("log")
    axes.margins(x=0.01)
    plain_log_labels(axes.yaxis)
    legend_above(axes)
    return figure


def plot_function(x: ArrayLike, prediction: ArrayLike, train: DataSet, test: DataSet) -> "Figure":
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
    figure, axes = new_figure("x", "y")
    _draw_points(axes, train, test)
    axes.plot(np.ravel(x), np.ravel(prediction), color="black", linewidth=1.6, label="estimated function")
    legend_above(axes)
    return figure


def plot_seed_distribution(
    losses: ArrayLike, reported: float | None = None, best: float | None = None, name: str = "loss"
) -> "Figure":
    """Draw the test losses of one configuration over many seeds, as a histogram with a tick for each network.

    Parameters
    ----------
    losses : array_like
        One test loss per seed; NaN (a training that diverged) is left out.
    reported : float, optional
        A published loss to compare with.
    best : float, optional
        The loss of the network that was chosen.
    name : str, default="loss"
        What the numbers are, such as the name of a score.

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
    figure, axes = new_figure(f"test {name}", "number of seeds")
    is_spread = np.ptp(finite) > 1e-9 * np.abs(finite).max()  # else they differ by rounding only, and bins would have no width
    axes.hist(finite, bins=20 if is_spread else 1, color=BLUE, alpha=0.35, edgecolor="white")
    axes.eventplot(finite, lineoffsets=0.025, linelengths=0.05, colors=BLUE, transform=axes.get_xaxis_transform())
    mean = finite.mean()
    axes.axvline(mean, color=BLUE, linewidth=1.8, label=f"mean of {finite.size} seeds: {mean:.4f}")
    if best is not None:
        axes.axvline(best, color=GREEN, linewidth=1.8, linestyle="--", label=f"chosen network: {best:.4f}")
    if reported is not None:
        axes.axvline(reported, color=ORANGE, linewidth=1.8, linestyle=":", label=f"reported: {reported:.4f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    legend_above(axes)
    return figure


def _draw_points(axes: "Axes", train: DataSet, test: DataSet) -> None:
    marks: tuple[tuple[str, DataSet, dict[str, Any]], ...] = (
        ("training", train, {"marker": "o", "color": BLUE, "markersize": 4.5, "alpha": 0.75}),
        ("test", test, {"marker": "^", "color": ORANGE, "markersize": 6}),
    )
    for label, (x, y), style in marks:
        axes.plot(np.ravel(x), np.ravel(y), linestyle="none", label=f"{label} points ({np.size(x)})", **style)
