"""The look that all figures share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"


def new_figure(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    """Return a figure of 7 by 4.2 inches, and its one axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def as_it_is(text: str) -> str:
    r"""Escape control characters, and dollars, because matplotlib reads a part between two of them as a formula.

    Examples
    --------
    >>> print(as_it_is("$5 or $6"))
    \$5 or \$6
    """
    return printable(text).replace("$", r"\$")


def plain_log_labels(axis: "Axis", steps: Sequence[int] = (2, 3, 4, 6, 8)) -> None:
    """Label a logarithmic axis 0.6, 1, 2 and so on. Over many powers of ten, label only the powers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = sorted(axis.get_view_interval())
    plain = StrMethodFormatter("{x:g}")
    axis.set_major_formatter(plain)
    axis.set_minor_locator(LogLocator(subs=steps))
    axis.set_minor_formatter(plain if high < 1000 * low else NullFormatter())


def legend_above(axes: "Axes", columns: int = 3) -> None:
    """Put the legend above the axes, where it covers nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.8,
        columnspacing=1.2,
        fontsize="small",
    )


def rank_labels(axis: "Axis") -> None:
    """Label an axis of ranks 5, 10, 15 and so on. If there are few ranks, label each."""
    from matplotlib.ticker import MaxNLocator

    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 5, 10] if high - low > 10 else [1], nbins=10))
