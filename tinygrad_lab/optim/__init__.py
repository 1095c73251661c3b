"""How parameters move.

gradients --> hooks --> optimizers --> new parameters      penalties and schedulers act on the same step
"""
