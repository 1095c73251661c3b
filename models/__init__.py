"""Models composed from the layers of tinygrad_lab."""

from models.two_hidden_layer_net import TwoHiddenLayerNet

__all__ = ["TwoHiddenLayerNet"]
