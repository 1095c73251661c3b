"""One fit: its data, fold and seed, what is fitted, its losses and scores, and its outcome.

data --> folds, seeds; models --> scoring, baselines --> fits --> running      each imports only from those before it
"""
