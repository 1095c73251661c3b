"""One fit: its data, fold and seed, what is fitted, and its outcome.

data --> folds, seeds --> fits      each imports only from those before it
"""
