"""Networks composed from the layers of tinygrad_lab, scikit-learn estimators around them, and data for the report's problem.

    TwoHiddenLayerNet, MultilayerPerceptron --> TwoHiddenLayerRegressor, MLPRegressor, MLPClassifier --> Pipeline, GridSearchCV

The estimators need scikit-learn, the `sklearn` extra. They are imported when one of their names is first used, so everything
else works without it.

A project may have a folder `models` too. Without an `__init__.py`, its modules belong to this package as well, so
``import models.mine`` works. With one it is another package: Python imports the one that comes first on `sys.path`.
"""

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

from models.builders import build_perceptron
from models.files import load_model
from models.networks import MultilayerPerceptron, TwoHiddenLayerNet
from models.report_data import read_points, stand_in_data
from models.tables import Table, TableError, TableModel, TableWarning, read_table

if TYPE_CHECKING:
    from models.estimators import MLPClassifier as MLPClassifier
    from models.estimators import MLPRegressor as MLPRegressor
    from models.estimators import TwoHiddenLayerRegressor as TwoHiddenLayerRegressor

# `from models import *` must work without scikit-learn, so the estimators are not in this list.
__all__ = [
    "MultilayerPerceptron",
    "Table",
    "TableError",
    "TableModel",
    "TableWarning",
    "TwoHiddenLayerNet",
    "build_perceptron",
    "load_model",
    "read_points",
    "read_table",
    "stand_in_data",
]

# The modules of folders of this name elsewhere, without an __init__.py, belong to this package too.
__path__ = extend_path(__path__, __name__)

_ESTIMATORS = ("MLPClassifier", "MLPRegressor", "TwoHiddenLayerRegressor")


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from models import estimators

    return getattr(estimators, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ESTIMATORS})
