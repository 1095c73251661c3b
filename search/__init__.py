"""Cross-validated search over configurations. It can be resumed, and any number of workers gives the same result to the bit.

ParameterGrid or other strategy --.
KFold or other splitter -----------+--> Search.run(x, y) --> SearchResult.ranking --> retrain --> report
build -----------------------------'        |    ^
                                           Store (one SQLite file)

A project may have a folder `search` too; see the package `models`.
"""

from pkgutil import extend_path

from search.errors import SearchError, StoreError
from search.ranking.comparison import ComparedConfiguration, Comparison
from search.ranking.export import export_optuna
from search.ranking.importance import Importance, ImportantParameter, parameter_importance
from search.ranking.nested import NestedEstimate
from search.ranking.optimism import Optimism
from search.ranking.ranking import RankedConfiguration, Ranking
from search.ranking.stored import StoredSearch
from search.ranking.stores import StoreComparison, StoredPair, compare_stores
from search.report.figures import (
    plot_data,
    plot_differences,
    plot_function,
    plot_importance,
    plot_learning_curves,
    plot_losses,
    plot_parallel_coordinates,
    plot_rank_stability,
    plot_score_map,
    plot_seed_distribution,
)
from search.result import SearchResult
from search.run.fitted import FittedEstimator
from search.run.retraining import Retrained, RetrainedConfiguration
from search.search import GridSearch, Search
from search.space.configuration import canonical_text
from search.space.grid import ParameterGrid
from search.space.halving import SuccessiveHalving
from search.space.optuna import OptunaSampler
from search.space.random import RandomSampler
from search.space.rounds import Round, Strategy
from search.store import Progress, Store
from search.trials.fits import Outcome, Trainer
from search.trials.folds import KFold

# The modules of folders of this name elsewhere, without an __init__.py, belong to this package too.
__path__ = extend_path(__path__, __name__)

__all__ = [
    "ComparedConfiguration",
    "Comparison",
    "FittedEstimator",
    "GridSearch",
    "Importance",
    "ImportantParameter",
    "KFold",
    "NestedEstimate",
    "Optimism",
    "OptunaSampler",
    "Outcome",
    "ParameterGrid",
    "Progress",
    "RandomSampler",
    "RankedConfiguration",
    "Ranking",
    "Retrained",
    "RetrainedConfiguration",
    "Round",
    "Search",
    "SearchError",
    "SearchResult",
    "Store",
    "StoreComparison",
    "StoreError",
    "StoredPair",
    "StoredSearch",
    "Strategy",
    "SuccessiveHalving",
    "Trainer",
    "canonical_text",
    "compare_stores",
    "export_optuna",
    "parameter_importance",
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
