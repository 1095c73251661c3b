"""The figures of a search as matplotlib Figures, for `figure.savefig(path)`.

    one configuration: plot_data, plot_losses, plot_function, plot_seed_distribution     (networks)
    all of them:       plot_score_map, plot_parallel_coordinates, plot_importance        (scores)
    the best of them:  plot_learning_curves, plot_rank_stability, plot_differences       (leaders)

They are made without pyplot, so they need no display and keep no state between calls. matplotlib is imported with the
first figure. The colours are from the Okabe-Ito palette and from cividis, which colour-blind readers can distinguish. Marks
differ in shape too.
"""

from search.report.figures.leaders import plot_differences, plot_learning_curves, plot_rank_stability
from search.report.figures.networks import plot_data, plot_function, plot_losses, plot_seed_distribution
from search.report.figures.scores import plot_importance, plot_parallel_coordinates, plot_score_map

__all__ = [
    "plot_data",
    "plot_differences",
    "plot_function",
    "plot_importance",
    "plot_learning_curves",
    "plot_losses",
    "plot_parallel_coordinates",
    "plot_rank_stability",
    "plot_score_map",
    "plot_seed_distribution",
]
