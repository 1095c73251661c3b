"""One fit: its data, fold and seed, what is fitted, and what came of it.

data --> folds, seeds --> fits      each imports only from those before it
"""
