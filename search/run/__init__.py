"""Running a search: what to fit next, in which order, and the runner that joins the pool with the store.

selection, plan --> runner --> retraining      each imports only from those before it
"""
