"""The report's network, composed from the layers of tinygrad_lab, and data for its problem."""

from models.report_data import read_points, stand_in_data
from models.two_hidden_layer_net import TwoHiddenLayerNet

__all__ = ["TwoHiddenLayerNet", "read_points", "stand_in_data"]
