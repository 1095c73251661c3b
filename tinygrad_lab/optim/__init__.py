"""How parameters move.

    gradients --> hooks --> optimizers --> new parameters        penalties and schedulers act on the same step

penalties, hooks, optimizer (the base class), optimizers, schedulers: each imports only from those before it.
"""
