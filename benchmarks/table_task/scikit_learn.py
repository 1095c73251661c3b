"""The task with scikit-learn and MAPIE. A search that dies begins again."""

import pickle
import sys

import pandas as pd
from mapie.regression import CrossConformalRegressor
from scipy.stats import loguniform
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, RandomizedSearchCV, cross_val_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


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
    return TransformedTargetRegressor(make_pipeline(columns, model), transformer=StandardScaler())


if __name__ == "__main__":
    if sys.argv[1:] == ["predict"]:
        with open("model.pickle", "rb") as file:
            print(pickle.load(file).predict_interval(pd.read_csv("new.csv"))[1])
    else:
        table = pd.read_csv("train.csv")
        x, y = table.drop(columns="price"), table["price"]
        folds = KFold(4, shuffle=True, random_state=0)
        space = {
            "regressor__mlpregressor__hidden_layer_sizes": [(16,), (32, 16)],
            "regressor__mlpregressor__learning_rate_init": loguniform(1e-3, 3e-2),
        }
        search = RandomizedSearchCV(
            prepared(MLPRegressor(max_iter=60, random_state=0)), space, n_iter=20, cv=folds,
            scoring="neg_root_mean_squared_error", n_jobs=-1, random_state=0,
        ).fit(x, y)  # fmt: skip
        print(pd.DataFrame(search.cv_results_).sort_values("rank_test_score")[["params", "mean_test_score"]])
        for baseline in (DummyRegressor(), Ridge(), HistGradientBoostingRegressor(random_state=0)):
            scores = cross_val_score(prepared(baseline), x, y, cv=folds, scoring="neg_root_mean_squared_error")
            print(type(baseline).__name__, scores.mean())
        model = CrossConformalRegressor(search.best_estimator_, confidence_level=0.9, cv=folds)
        with open("model.pickle", "wb") as file:
            pickle.dump(model.fit_conformalize(x, y), file)
