"""Running a search: what to fit next, in which order, and the runner that connects the pool with the store.

strategy_run, plan --> runner --> retraining      each imports only from those before it
"""
