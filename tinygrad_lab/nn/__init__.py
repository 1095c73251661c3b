"""What networks are made of.

initializers, activations --> layers            predictions, targets --> losses
"""
