"""The figures of all configurations of a search: which values of which parameters do well."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from search.ranking.importance import Importance
from search.ranking.ranking import RankedConfiguration, Ranking, varying_parameters
from search.report.figures.models import plot_bars
from search.report.figures.style import BLUE, GREY, ORANGE, as_it_is, legend_above, new_figure
from search.space.configuration import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

MOST_CELLS = 30  # a parameter with more values is continuous, and a map of it would have holes
MOST_LABELS = 12  # labels on an axis of the parallel coordinates


def mapped_parameters(ranking: Ranking) -> dict[str, list[Any]]:
    """Return the two parameters that `plot_score_map` shows, the one with more values first."""
    few = [item for item in varying_parameters(ranking).items() if len(item[1]) <= MOST_CELLS]
    return dict(sorted(few, key=lambda item: -len(item[1]))[:2])


def plot_score_map(ranking: Ranking) -> "Figure":
    """Draw a map of the best mean loss or score for each pair of values of two parameters, as colours with numbers.

    The two parameters are those with the most values. For each pair, the best is over all values of the other parameters.

    Parameters
    ----------
    ranking : Ranking
        A ranking of configurations that differ in at least two parameters.

    Returns
    -------
    matplotlib.figure.Figure
        The map and its scale. A pair without a loss stays empty.

    Raises
    ------
    ValueError
        If fewer than two parameters vary, or no configuration is done.

    Examples
    --------
    >>> from search import Outcome
    >>> from search.ranking.ranking import rank
    >>> grid = [{"lr": lr, "width": width} for lr in (0.1, 0.2) for width in (1, 2)]
    >>> outcomes = {(f'{{"lr":{c["lr"]},"width":{c["width"]}}}', 0): Outcome("done", c["lr"] * c["width"]) for c in grid}
    >>> ranking = rank(grid, outcomes, n_folds=1)
    >>> figure = plot_score_map(ranking)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('width', 'lr')
    """
    mapped = mapped_parameters(ranking)
    done = ranking.done
    if len(mapped) < 2 or not done:
        raise ValueError(
            f"plot_score_map: {len(mapped)} parameters have 2 to {MOST_CELLS} values and {len(done)} configurations are done, "
            "expected at least 2 and 1"
        )
    (y_name, y_values), (x_name, x_values) = mapped.items()
    scores = np.full((len(y_values), len(x_values)), np.nan)
    cells = _value_indices(done, y_name, y_values), _value_indices(done, x_name, x_values)
    measure = ranking.measure
    (np.fmax if measure.is_score else np.fmin).at(scores, cells, [row.value for row in done])

    figure, axes = new_figure(as_it_is(x_name), as_it_is(y_name))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    colours = _colours(scores)
    image = axes.imshow(scores, cmap="cividis" if measure.is_score else "cividis_r", norm=colours, aspect="auto")
    axes.set_xticks(range(len(x_values)), [_label(value) for value in x_values])
    axes.set_yticks(range(len(y_values)), [_label(value) for value in y_values])
    axes.tick_params(length=0)
    if len(x_values) <= MOST_LABELS:
        _write_numbers(axes, scores, colours, measure.is_score)
    figure.colorbar(image, ax=axes, label=as_it_is(f"{measure.best} mean {measure.validation}"), format="%.3g", pad=0.02)
    return figure


def plot_parallel_coordinates(ranking: Ranking, top: int = 20) -> "Figure":
    """Draw each configuration as a line from its values of the parameters that vary to its mean loss.

    Parameters
    ----------
    ranking : Ranking
        A ranking of configurations that differ in at least one parameter.
    top : int, default=20
        How many of the best to show in colour. All others are grey.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, 7 by 4.2 inches.

    Raises
    ------
    ValueError
        If no parameter varies, or no configuration is done.

    Examples
    --------
    >>> from search import Outcome
    >>> from search.ranking.ranking import rank
    >>> grid = [{"lr": lr, "width": width} for lr in (0.1, 0.2) for width in (1, 2)]
    >>> outcomes = {(f'{{"lr":{c["lr"]},"width":{c["width"]}}}', 0): Outcome("done", c["lr"] * c["width"]) for c in grid}
    >>> ranking = rank(grid, outcomes, n_folds=1)
    >>> figure = plot_parallel_coordinates(ranking)
    >>> len(figure.axes)
    1
    """
    from matplotlib.collections import LineCollection

    parameters = varying_parameters(ranking)
    done = ranking.done
    if not parameters or not done:
        raise ValueError(
            f"plot_parallel_coordinates: {len(parameters)} parameters vary and {len(done)} configurations are done, "
            "expected at least 1 of each"
        )
    columns = [np.array(_value_indices(done, name, values)) / (len(values) - 1) for name, values in parameters.items()]
    # The last axis is by rank. On an axis of losses, a few large ones would squeeze the rest together.
    lines = np.column_stack([*columns, np.linspace(1.0, 0.0, len(done))])
    positions = np.arange(lines.shape[1])
    figure, axes = new_figure("", "")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.vlines(positions, 0, 1, color="0.75", linewidth=1, zorder=1)

    paths = [np.column_stack([positions, line]) for line in lines]
    # Thousands of lines as shapes are slow to show, so they become one picture.
    axes.add_collection(
        LineCollection(paths[top:], colors=GREY, linewidths=0.6, alpha=0.22, zorder=2, rasterized=len(paths) > 500)
    )
    axes.add_collection(LineCollection(paths[1:top], colors=BLUE, linewidths=1.3, alpha=0.65, zorder=3))
    axes.plot(positions, lines[0], color=ORANGE, linewidth=2.4, marker="D", markersize=6, zorder=4, label="best")
    axes.plot([], [], color=BLUE, linewidth=1.3, label=f"best {min(top, len(done))}")
    axes.plot([], [], color=GREY, linewidth=0.8, alpha=0.6, label="all others")
    for position, values in enumerate(parameters.values()):
        _label_axis(axes, position, [(i / (len(values) - 1), _label(value)) for i, value in enumerate(values)])
    quarters = {row: lines[row, -1] for row in np.linspace(0, len(done) - 1, 5).astype(int)}
    _label_axis(axes, len(parameters), [(height, f"{done[row].value:.4g}") for row, height in quarters.items()], left=False)
    axes.set_xticks(positions, [*map(as_it_is, parameters), as_it_is(f"mean {ranking.measure.name}")])
    axes.set_yticks([])
    axes.tick_params(length=0, pad=8)
    axes.set_xlim(-0.55, positions[-1] + 0.45)
    axes.set_ylim(-0.04, 1.04)
    legend_above(axes)
    return figure


def plot_importance(importance: Importance, top: int = 12) -> "Figure":
    """Draw the importance of each parameter for the place in the ranking as a bar, with its interval.

    Parameters
    ----------
    importance : Importance
        As `parameter_importance` returns it.
    top : int, default=12
        How many parameters to show.

    Returns
    -------
    matplotlib.figure.Figure
        One axes, the most important parameter at the top.

    Examples
    --------
    >>> from search.ranking.importance import ImportantParameter
    >>> figure = plot_importance(Importance([ImportantParameter("lr", 0.7, 0.6, 0.8)], r2=0.9, n=100))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['lr']
    """
    rows = [(row.name, row.importance, row.low, row.high) for row in importance]
    return plot_bars(rows[:top], "share of the variance of the places")


def _value_indices(ranked: Sequence[RankedConfiguration], name: str, values: Sequence[Any]) -> list[int]:
    """Return for each configuration the index of its value of a parameter."""
    indices = {value_text(value): index for index, value in enumerate(values)}
    return [indices[value_text(row.configuration.get(name, ""))] for row in ranked]


def _label(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " × ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return as_it_is(text if len(text) <= 18 else f"{text[:17]}…")


def _label_axis(axes: "Axes", position: float, ticks: Sequence[tuple[float, str]], left: bool = True) -> None:
    """Write the values of one parameter beside its axis. If there are many, write every nth."""
    step = math.ceil(len(ticks) / MOST_LABELS)
    for height, text in ticks[::step]:
        axes.annotate(
            text,
            (position, height),
            xytext=(-5 if left else 5, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize="small",
            zorder=5,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _colours(scores: np.ndarray) -> "Normalize":
    """Return the scale of the colours, which is logarithmic if the losses are positive and far apart."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    return LogNorm(low, high) if low > 0 and high > 3 * low else Normalize(low, high)


def _write_numbers(axes: "Axes", scores: np.ndarray, norm: "Normalize", is_score: bool) -> None:
    for (y, x), score in np.ndenumerate(scores):
        if np.isfinite(score):
            darkness = 1.0 - norm(score) if is_score else norm(score)  # the best is light
            colour = "white" if darkness > 0.55 else "black"
            axes.text(x, y, f"{score:#.3g}", ha="center", va="center", color=colour, fontsize="small")
