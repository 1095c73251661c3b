"""Cross-validated search over a grid of configurations: resumable, and the same to the bit on any number of workers.

ParameterGrid --.
KFold -----------+--> GridSearch.run(x, y) --> SearchResult.ranking --> retrain --> figures
build -----------'          |    ^
                           Store (one SQLite file)
"""

from search.configuration import canonical_text
from search.errors import SearchError, StoreError
from search.figures import plot_data, plot_function, plot_losses, plot_seed_distribution
from search.fits import Outcome, Trainer
from search.folds import KFold
from search.grid import ParameterGrid
from search.ranking import RankedConfiguration, Ranking
from search.result import SearchResult
from search.retraining import Retrained, RetrainedConfiguration
from search.search import GridSearch
from search.store import Store

__all__ = [
    "GridSearch",
    "KFold",
    "Outcome",
    "ParameterGrid",
    "RankedConfiguration",
    "Ranking",
    "Retrained",
    "RetrainedConfiguration",
    "SearchError",
    "SearchResult",
    "Store",
    "StoreError",
    "Trainer",
    "canonical_text",
    "plot_data",
    "plot_function",
    "plot_losses",
    "plot_seed_distribution",
]
