"""The task with skorch, which makes estimators of PyTorch's networks, and MAPIE. A search that dies begins again."""

import pickle
import sys

import numpy as np
import pandas as pd
import torch
from mapie.regression import CrossConformalRegressor
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch import NeuralNetRegressor


class Network(torch.nn.Module):
    def __init__(self, hidden=(16,)):
        super().__init__()
        layers = []
        for size in hidden:
            layers += [torch.nn.LazyLinear(size), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers, torch.nn.LazyLinear(1))

    def forward(self, x):
        return self.layers(x)


class Column(RegressorMixin, BaseEstimator):
    """skorch takes and returns matrices of float32, scikit-learn's scores and MAPIE columns."""

    def __init__(self, hidden=(16,), lr=0.01):
        self.hidden = hidden
        self.lr = lr

    def fit(self, x, y):
        torch.manual_seed(0)
        self.net_ = NeuralNetRegressor(
            Network, module__hidden=self.hidden, optimizer=torch.optim.Adam, lr=self.lr, max_epochs=60, batch_size=32,
            train_split=None, verbose=0,
        )  # fmt: skip
        self.net_.fit(x, np.asarray(y, np.float32).reshape(-1, 1))
        return self

    def predict(self, x):
        return self.net_.predict(x).ravel()


def prepared(model):
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            (
                "words",
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                make_column_selector(dtype_exclude="number"),
            ),
        ]
    )
    single = FunctionTransformer(np.asarray, kw_args={"dtype": np.float32})
    return TransformedTargetRegressor(make_pipeline(columns, single, model), transformer=StandardScaler())


if __name__ == "__main__":
    if sys.argv[1:] == ["predict"]:
        with open("model.pickle", "rb") as file:
            print(pickle.load(file).predict_interval(pd.read_csv("new.csv"))[1])
    else:
        table = pd.read_csv("train.csv")
        x, y = table.drop(columns="price"), table["price"]
        folds = KFold(4, shuffle=True, random_state=0)
        space = {"regressor__column__hidden": [(16,), (32, 16)], "regressor__column__lr": loguniform(1e-3, 3e-2)}
        search = RandomizedSearchCV(
            prepared(Column()), space, n_iter=20, cv=folds, scoring="neg_root_mean_squared_error", n_jobs=-1, random_state=0
        ).fit(x, y)
        print(pd.DataFrame(search.cv_results_).sort_values("rank_test_score")[["params", "mean_test_score"]])
        for baseline in (DummyRegressor(), Ridge(), HistGradientBoostingRegressor(random_state=0)):
            scores = cross_val_score(prepared(baseline), x, y, cv=folds, scoring="neg_root_mean_squared_error")
            print(type(baseline).__name__, scores.mean())
        model = CrossConformalRegressor(search.best_estimator_, confidence_level=0.9, cv=folds)
        with open("model.pickle", "wb") as file:
            pickle.dump(model.fit_conformalize(x, y), file)
