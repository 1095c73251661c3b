"""Estimators for scikit-learn: networks with `fit` and `predict`, for its pipelines, searches and scores.

X, y --> samples (checked, weighted, held out, standardised) --> Trainer --> network_, history_ --> predict, in y's units

BaseEstimator --> NetworkEstimator --> NetworkRegressor -----> TwoHiddenLayerRegressor   the report's network and training
                                 |                    '----.
                                 '--> PerceptronEstimator -+-> MLPRegressor              composed of any parts
                                                           '-> MLPClassifier             the same, for class labels
"""

from tinygrad_lab.checks import install_hint

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError(f"the estimators need scikit-learn: {install_hint('sklearn')}") from None

from models.estimators.classifier import MLPClassifier
from models.estimators.regressors import MLPRegressor, TwoHiddenLayerRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TwoHiddenLayerRegressor"]
