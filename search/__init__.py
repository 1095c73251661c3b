"""Cross-validated search over configurations: resumable, and the same to the bit on any number of workers.

ParameterGrid or other strategy --.
KFold or other splitter -----------+--> Search.run(x, y) --> SearchResult.ranking --> retrain --> report
build -----------------------------'        |    ^
                                           Store (one SQLite file)
"""

from search.comparison import ComparedConfiguration, Comparison
from search.configuration import canonical_text
from search.errors import SearchError, StoreError
from search.figures import (
    plot_data,
    plot_differences,
    plot_function,
    plot_learning_curves,
    plot_losses,
    plot_parallel_coordinates,
    plot_rank_stability,
    plot_score_map,
    plot_seed_distribution,
)
from search.fits import Outcome, Trainer
from search.folds import KFold
from search.grid import ParameterGrid
from search.nested import NestedEstimate
from search.optimism import Optimism
from search.ranking import RankedConfiguration, Ranking
from search.result import SearchResult
from search.retraining import Retrained, RetrainedConfiguration
from search.rounds import Round, Strategy
from search.search import GridSearch, Search
from search.store import Progress, Store
from search.strategies import OptunaSampler, RandomSampler, SuccessiveHalving

__all__ = [
    "ComparedConfiguration",
    "Comparison",
    "GridSearch",
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
    "StoreError",
    "Strategy",
    "SuccessiveHalving",
    "Trainer",
    "canonical_text",
    "plot_data",
    "plot_differences",
    "plot_function",
    "plot_learning_curves",
    "plot_losses",
    "plot_parallel_coordinates",
    "plot_rank_stability",
    "plot_score_map",
    "plot_seed_distribution",
]
