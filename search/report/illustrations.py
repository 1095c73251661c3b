"""The figures of the page, each with a caption, a description in words, and its SVG as the page embeds it."""

import base64
import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from search.ranking.measure import LOSS, Measure
from search.ranking.ranking import Ranking, varying_parameters
from search.report.figures import (
    plot_differences,
    plot_importance,
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_rank_stability,
    plot_score_map,
    plot_seed_distribution,
)
from search.report.figures.scores import mapped_parameters
from search.report.figures.style import legend_above
from search.run.retraining import Retrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.ranking.comparison import Comparison
    from search.ranking.importance import Importance

PHONE_WIDTH, PHONE_HEIGHT = 4.4, 3.6  # inches; on a screen 350 pixels wide, letters have 4/5 of their size


@dataclass(frozen=True)
class Illustration:
    """A figure for the page.

    Attributes
    ----------
    caption : str
        The text under it.
    alternative : str
        What it shows, in words, for readers who do not see it.
    wide, narrow : str
        The figure as SVG in a data URI, as it was drawn and laid out for a phone.
    """

    caption: str
    alternative: str
    wide: str
    narrow: str


def illustrate(caption: str, alternative: str, figure: "Figure") -> Illustration:
    """Return a figure as the page shows it. The figure itself does not change."""
    return Illustration(caption, alternative, wide=_data_uri(figure), narrow=_data_uri(_for_a_phone(figure)))


def score_illustrations(ranking: Ranking, top: int, importance: "Importance | None" = None) -> Iterator[Illustration]:
    """Yield the figures of all configurations, as far as this ranking has the data for them."""
    done = ranking.done
    if not done or not (varying := varying_parameters(ranking)):
        return
    measure, best = ranking.measure, f"{ranking.measure.best} mean {ranking.measure.validation}"
    if len(mapped := mapped_parameters(ranking)) == 2:
        y_name, x_name = mapped
        yield illustrate(
            f"The {best} for each pair of {y_name} and {x_name}, the best over all other parameters.",
            f"Map of the {best} by {y_name} and {x_name}. "
            f"The {measure.best} of all, {done[0].value:.4g}, is at "
            f"{y_name} {done[0].configuration.get(y_name)} and {x_name} {done[0].configuration.get(x_name)}.",
            plot_score_map(ranking),
        )
    yield illustrate(
        f"Each line is one configuration, from its parameters on the left to its mean {measure.validation} on the right; equal "
        f"steps there are equal numbers of configurations. The best {min(top, len(done))} in blue, the first in orange.",
        f"Parallel coordinates of {len(done)} configurations over {', '.join(varying)} and the mean {measure.name}, "
        f"which runs from {done[0].value:.4g} to {done[-1].value:.4g}.",
        plot_parallel_coordinates(ranking, top),
    )
    if importance is not None:
        shares = ", ".join(f"{row.name} {row.importance:.2g}" for row in importance)
        yield illustrate(
            "How much each parameter decides the place in the ranking, alone and with others, with 95 % intervals. A random "
            f"forest predicts the places of configurations that it has not seen with R² = {importance.r2:.2f}; at 0, these "
            "numbers say nothing.",
            f"Bars of the share of the variance that is due to each parameter: {shares}.",
            plot_importance(importance),
        )


def learning_illustrations(retrained: Retrained | None) -> Iterator[Illustration]:
    """Yield the learning curves of the networks that were trained again."""
    if retrained is None or not (done := retrained.done):
        return
    if any(np.isnan(row.history.get("validation_loss", np.nan)).all() for row in done):  # estimators have no epochs
        return
    losses = [row.test_loss for row in done]
    networks = "network" if len(done) == 1 else f"{len(done)} networks"
    yield illustrate(
        f"The test loss of the best {networks} while training again on all training points. It was watched, not used.",
        f"{len(done)} learning curves, which end at test losses from {min(losses):.4g} to {max(losses):.4g}.",
        plot_learning_curves(retrained),
    )


def stability_illustrations(ranking: Ranking, seed_table: ArrayLike | None, top: int) -> Iterator[Illustration]:
    """Yield figures of how stable the ranks are: over the folds, the repeats, and the seeds if there are several."""
    fits = np.array([row.objectives for row in ranking.done])
    name = ranking.measure.name
    if len(fits) > 1:
        losses = fits.reshape(len(fits), ranking.repeats, -1)
        if losses.shape[2] > 1:
            yield _stability(losses.mean(axis=1), top, "fold", f"the {ranking.measure.validation} of one fold alone")
        if ranking.repeats > 1:
            yield _stability(losses.mean(axis=2), top, "repeat", f"the mean {ranking.measure.validation} of one repeat alone")
    if seed_table is not None and len(losses := np.asarray(seed_table, dtype=float)) > 1:
        objectives = -losses if ranking.measure.is_score else losses
        yield _stability(objectives, top, "seed", f"the test {name} from one seed alone")


def _stability(losses: np.ndarray, top: int, column: str, what: str) -> Illustration:
    configurations, columns = losses.shape
    return illustrate(
        f"The place of the best {min(top, configurations)} in the ranking (diamond), and the ranks that they would "
        f"have by {what}. A longer line means a less reliable place.",
        f"Ranks of the best {min(top, configurations)} of {configurations} configurations by each of {columns} {column}s.",
        plot_rank_stability(losses, top, column),
    )


def luck_illustrations(
    comparison: "Comparison | None", seed_losses: ArrayLike | None, chosen: float | None, top: int, measure: Measure = LOSS
) -> Iterator[Illustration]:
    """Yield figures of the differences between the best, and of the winner's test loss over seeds."""
    if comparison is not None and len(comparison) > 1:
        yield illustrate(
            "By how much the best configurations lose to the first over the same folds, with confidence intervals. Circles are "
            "not distinguishable from it.",
            f"Differences to the best of the first {min(top, len(comparison))} configurations, with confidence intervals; "
            f"{len(comparison.indistinguishable)} of {len(comparison)} are not distinguishable from the best.",
            plot_differences(comparison, top),
        )
    if seed_losses is not None and np.isfinite(losses := np.asarray(seed_losses, dtype=float)).any():
        finite, name = losses[np.isfinite(losses)], measure.name
        yield illustrate(
            f"The test {name} of the winner's configuration from other seeds: the {name} to expect if the seed is not chosen.",
            f"Histogram of {len(finite)} test {measure.plural} from {finite.min():.4g} to {finite.max():.4g}, "
            f"mean {finite.mean():.4g}.",
            plot_seed_distribution(losses, best=chosen, name=name),
        )


def _for_a_phone(figure: "Figure") -> "Figure":
    """Return a copy that is laid out for a small screen, or the figure itself if it cannot be copied."""
    try:
        phone: Figure = pickle.loads(pickle.dumps(figure))
    except (pickle.PicklingError, AttributeError, TypeError):  # the figure holds a function that cannot be pickled
        return figure
    phone.set_size_inches(PHONE_WIDTH, max(PHONE_HEIGHT, 0.9 * phone.get_figheight()))
    for axes in phone.axes:
        if axes.get_legend() is not None and axes.get_legend_handles_labels()[0]:
            legend_above(axes, columns=1)
    return phone


def _data_uri(figure: "Figure") -> str:
    """Return the figure as SVG in a data URI. It is a separate image, so its ids cannot clash with those of another."""
    from matplotlib import rc_context

    stream = io.BytesIO()
    # Letters as shapes look the same everywhere. With a fixed salt and no date, equal figures give equal bytes.
    with rc_context({"svg.hashsalt": "tinygrad-lab", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"
