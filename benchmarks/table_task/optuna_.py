"""The task with Optuna's storage and sampler, around scikit-learn's pipeline, baselines and MAPIE."""

import pickle
import sys

import optuna
import pandas as pd
from mapie.regression import CrossConformalRegressor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
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


def network(lr, hidden):
    sizes = {"16": (16,), "32, 16": (32, 16)}[hidden]
    return prepared(MLPRegressor(hidden_layer_sizes=sizes, learning_rate_init=lr, max_iter=60, random_state=0))


if __name__ == "__main__":
    if sys.argv[1:] == ["predict"]:
        with open("model.pickle", "rb") as file:
            print(pickle.load(file).predict_interval(pd.read_csv("new.csv"))[1])
    else:
        table = pd.read_csv("train.csv")
        x, y = table.drop(columns="price"), table["price"]
        folds = KFold(4, shuffle=True, random_state=0)

        def score(model):
            return cross_val_score(model, x, y, cv=folds, scoring="neg_root_mean_squared_error", n_jobs=-1).mean()

        def objective(trial):
            lr = trial.suggest_float("lr", 1e-3, 3e-2, log=True)
            return score(network(lr, trial.suggest_categorical("hidden", ["16", "32, 16"])))

        study = optuna.create_study(
            storage="sqlite:///study.db", study_name="price", direction="maximize", load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )  # fmt: skip
        study.optimize(objective, n_trials=20 - len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])))
        print(study.trials_dataframe().sort_values("value", ascending=False))
        for baseline in (DummyRegressor(), Ridge(), HistGradientBoostingRegressor(random_state=0)):
            print(type(baseline).__name__, score(prepared(baseline)))
        model = CrossConformalRegressor(network(**study.best_params), confidence_level=0.9, cv=folds)
        with open("model.pickle", "wb") as file:
            pickle.dump(model.fit_conformalize(x, y), file)
