"""Strategies: which configurations a search fits, and how long.

ParameterGrid       every combination                          one round
RandomSampler       so many, drawn from distributions          one round
SuccessiveHalving   of many a few epochs, of the best more     a round for each number of epochs
OptunaSampler       what an Optuna sampler asks for            a round for each batch of questions

`search.rounds` says how a strategy talks with the search, and what an own one needs.
"""

from search.strategies.halving import SuccessiveHalving
from search.strategies.optuna import OptunaSampler
from search.strategies.random import RandomSampler

__all__ = ["OptunaSampler", "RandomSampler", "SuccessiveHalving"]
