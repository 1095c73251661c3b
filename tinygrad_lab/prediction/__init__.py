"""Models in use: networks that predict labels, probabilities and intervals, in one file without pickle.

architecture, rules --> files ----------.
tasks, conformal --> calibrated ---------+--> predictor --> loading
                    onnx_export --------'

Each imports only from those before it.
"""

from tinygrad_lab.prediction.architecture import register_layer
from tinygrad_lab.prediction.loading import load_predictor
from tinygrad_lab.prediction.predictor import Predictor

__all__ = ["Predictor", "load_predictor", "register_layer"]
