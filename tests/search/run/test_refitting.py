"""The model of a search: fitted on all rows and on each fold with the seeds of the search, in the units of the data."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import ShuffleSplit, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_info, threadpool_limits

import tinygrad_lab as tl
from models import load_model, read_table
from search import GridSearch, KFold, ParameterGrid, SearchError
from search.run.fitted import FittedEstimator
from search.testing import Polynomial, PolynomialTrainer
from tests.helpers.searches import build_network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 1))
Y = X[:, 0] ** 2 + 0.1 * RNG.normal(size=24)
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 0] > 0.7)
FOLDS = KFold(3, shuffle=True, seed=0)


def run(build, x=X, y=Y, folds=FOLDS, repeats=1, scoring=None, **grid):
    options = {"folds": folds, "repeats": repeats, "scoring": scoring, "baselines": False}
    search = GridSearch(build, ParameterGrid(**grid), store=None, workers=1, seed=5, **options)
    return search.run(x, y, progress=False)


def build_scaled(configuration, rng):
    """A network whose scaling is learnt inside each fold."""
    net = tl.Sequential(tl.Linear(1, 4, rng=rng), tl.Tanh(), tl.Linear(4, 1, rng=rng))
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.Adam(net.parameters(), lr=configuration["lr"]),
        epochs=configuration.get("epochs", 3),
        inputs=tl.Standardize(1),
        targets=tl.Standardize(1),
    )


SHARED = tl.Standardize(1)


def build_with_a_shared_part(configuration, rng):
    trainer = build_scaled(configuration, rng)
    trainer.inputs = SHARED
    return trainer


def build_classes(configuration, rng):
    net = tl.Linear(1, configuration.get("outputs", 3), rng=rng)
    loss = {"softmax": tl.CrossEntropy(), "sigmoid": tl.BinaryCrossEntropy()}[configuration.get("loss", "softmax")]
    return tl.Trainer(net, loss, optimizer=tl.Adam(net.parameters(), lr=configuration["lr"]), epochs=5)


# Fits ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_fold_models_are_those_of_the_search_to_the_bit(repeats):
    result = run(build_network, lr=[0.05, 0.1], repeats=repeats)
    model = result.best
    losses = []
    for (network,), (_, validation) in zip(model.fold_models, result.folds, strict=True):
        losses.append(tl.HalfSquaredError()(network(X[validation]), Y[validation, None]).item())
    assert tuple(losses) == result.ranking[0].losses[:3]


def test_the_model_is_that_of_a_retraining_to_the_bit():
    result = run(build_network, lr=[0.05, 0.1])
    [retrained] = result.retrain(top=1, train=(X, Y), test=(X, Y), progress=False)
    state = result.best.models[0].state_dict()
    assert state.keys() == retrained.state_dict.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, retrained.state_dict[name])


def test_a_part_that_trainers_share_does_not_mix_the_folds():
    alone, shared = (run(build, lr=[0.05]).best for build in (build_scaled, build_with_a_shared_part))
    np.testing.assert_array_equal(shared.predict(X), alone.predict(X))
    for bound, expected in zip(shared.predict_interval(X, 0.8), alone.predict_interval(X, 0.8), strict=True):
        np.testing.assert_array_equal(bound, expected)


def test_the_model_is_kept_and_can_be_chosen():
    result = run(build_scaled, lr=[0.01, 0.05])
    assert result.best is result.best
    other = result.ranking[1].configuration
    assert result.fit(other).details["configuration"] == other
    assert (result.fit(other).predict(X) != result.best.predict(X)).any()
    assert result.simplest(progress=False).details["configuration"] == result.simplest_configuration().configuration
    assert result.fit({"lr": 0.02}).details["scores"] == {}  # it was not in the search


RATE = [0.05]


def build_of_a_global(configuration, rng):
    return build_scaled({"lr": RATE[0]}, rng)


def test_fold_models_that_are_not_those_of_the_search_are_told(monkeypatch):
    result = run(build_of_a_global, n=[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result.fit().details["configuration"] == {"n": 1}
    monkeypatch.setitem(globals(), "RATE", [0.06])
    with pytest.warns(
        UserWarning, match=r'configuration {"n":1} has loss \S+ on fold 0, and had \S+ in the search: its builder'
    ):
        result.fit()


# Ensembles -------------------------------------------------------------------------------------------------------------


def test_an_ensemble_of_the_best_averages_them():
    result = run(build_scaled, lr=[0.01, 0.05, 0.2])
    model = result.fit(ensemble=2)
    single = [result.fit(row.configuration).predict(X) for row in result.ranking.best(2)]
    np.testing.assert_allclose(model.predict(X), np.mean(single, axis=0), rtol=1e-14)
    assert [one["configuration"] for one in model.details["members"]] == [row.configuration for row in result.ranking.best(2)]
    assert [len(networks) for networks in model.fold_models] == [2, 2, 2]


def test_an_ensemble_of_the_folds_averages_them():
    result = run(build_scaled, lr=[0.01, 0.05])
    model = result.fit(ensemble="folds")
    folds = [tl.Predictor(network).predict(X) for (network,) in result.best.fold_models]
    np.testing.assert_allclose(model.predict(X), np.mean(folds, axis=0), rtol=1e-14)
    for bound, expected in zip(model.predict_interval(X, 0.8), result.best.predict_interval(X, 0.8), strict=True):
        np.testing.assert_array_equal(bound, expected)


# Tasks -----------------------------------------------------------------------------------------------------------------


class OutputFirst(tl.Layer):
    """A network whose last parameter is not that of its outputs."""

    def __init__(self, rng):
        self.output = tl.Linear(4, 3, rng=rng)
        self.hidden = tl.Linear(1, 4, rng=rng)

    def forward(self, x):
        return self.output(self.hidden(x).tanh())


def build_output_first(configuration, rng):
    net = OutputFirst(rng)
    return tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.Adam(net.parameters(), lr=configuration["lr"]), epochs=5)


@pytest.mark.parametrize("build", [build_classes, build_output_first])
def test_classes_from_the_loss(build):
    model = run(build, y=LABELS, lr=[0.1]).best
    assert model.task == "classification"
    assert model.predict_proba(X).shape == model.predict_set(X, 0.8).shape == (24, 3)
    assert set(model.predict(X)) <= {0, 1, 2}


@pytest.mark.parametrize(("outputs", "task"), [(1, "classification"), (2, "multilabel")])
def test_sigmoids_from_the_loss(outputs, task):
    y = np.stack([X[:, 0] > 0, X[:, 0] > 0.5], axis=1)[:, :outputs].astype(float)
    model = run(build_classes, y=y, lr=[0.1], outputs=[outputs], loss=["sigmoid"]).best
    assert (model.task, model.predict_proba(X).shape) == (task, (24, 2))
    assert (model.calibration is None) == (task == "multilabel")


# Files -----------------------------------------------------------------------------------------------------------------


def test_the_file_has_the_model_its_intervals_and_where_it_comes_from(tmp_path):
    result = run(build_scaled, lr=[0.01, 0.05])
    result.best.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), result.best.predict(X))
    for bound, expected in zip(loaded.predict_interval(X, 0.8), result.best.predict_interval(X, 0.8), strict=True):
        np.testing.assert_array_equal(bound, expected)
    best = result.ranking[0]
    assert loaded.details["configuration"] == best.configuration
    assert loaded.details["scores"]["validation_loss"] == {"mean": best.mean, "folds": list(best.losses)}
    assert [loaded.details[name] for name in ("samples", "seed", "folds")] == [24, 5, 3]


class PredictingTrainer(PolynomialTrainer):
    def predict(self, x):
        return self.model.powers(x) @ self.model.weight


def build_predicting(configuration, rng):
    return PredictingTrainer(Polynomial(configuration["degree"], rng), 0.1, 100)


# Estimators and other objects ------------------------------------------------------------------------------------------


def test_trainers_of_another_kind_predict(tmp_path):
    model = run(build_predicting, degree=[2]).best
    assert isinstance(model, FittedEstimator)
    lower, upper = model.predict_interval(X, 0.8)
    assert lower.shape == model.predict(X).shape == (24,)
    assert ((lower <= Y) & (Y <= upper)).mean() > 0.7
    with pytest.raises(
        TypeError, match=r"\AFittedEstimator: save is for networks, and a PredictingTrainer has no file without"
    ):
        model.save(tmp_path / "model")


def build_estimator(configuration, rng):
    kind = {"ridge": Ridge, "logistic": LogisticRegression, "svm": LinearSVC}[configuration["kind"]]
    return make_pipeline(StandardScaler(), kind())


def test_estimators_predict_what_they_do_on_the_same_rows():
    model = run(build_estimator, scoring="r2", kind=["ridge"]).best
    np.testing.assert_array_equal(model.predict(X), build_estimator({"kind": "ridge"}, None).fit(X, Y).predict(X))
    lower, upper = model.predict_interval(X, 0.8)
    assert ((lower <= Y) & (Y <= upper)).mean() > 0.7


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_estimators_predict_the_labels_of_the_user(kind):
    words = np.array(["no", "maybe", "yes"])[LABELS]
    model = run(build_estimator, y=words, scoring="accuracy", kind=[kind]).best
    assert set(model.predict(X)) <= {"no", "maybe", "yes"}
    assert (model.predict(X) == words).mean() > 0.6
    if kind == "logistic":
        assert model.classes_[model.predict_proba(X).argmax(1)].tolist() == model.predict(X).tolist()
        assert model.predict_set(X, 0.8).shape == (24, 3)
    else:
        with pytest.raises(ValueError, match="predict_set needs .*, and probabilities for sets"):
            model.predict_set(X, 0.8)
        with pytest.raises(TypeError, match="predict_proba is called, but a Pipeline has none; search an estimator that has"):
            model.predict_proba(X)


def test_a_baseline_can_be_fitted():
    result = run(build_scaled, scoring="r2", lr=[0.05])
    model = result.fit({"(baseline)": "mean"})
    assert isinstance(model, FittedEstimator)
    np.testing.assert_allclose(model.predict(X), Y.mean())


def test_labels_that_are_words_come_back_from_the_file(tmp_path):
    words = np.array(["no", "maybe", "yes"])[LABELS]
    model = run(build_classes, y=words, lr=[0.1]).best
    assert (model.predict(X) == words).mean() > 0.4
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(X), model.predict(X))


def test_weights_count_in_the_model():
    weight = np.linspace(0.1, 2.0, 24)
    search = GridSearch(build_scaled, ParameterGrid(lr=[0.05]), folds=FOLDS, store=None, workers=1, seed=5)
    model = search.run(X, Y, sample_weight=weight, progress=False).best
    assert (model.predict(X) != run(build_scaled, lr=[0.05]).best.predict(X)).any()


def test_a_model_of_a_table_predicts_from_a_frame_in_any_order_and_from_its_file(tmp_path):
    frame = pd.DataFrame({"size": X[:, 0], "color": np.where(LABELS > 0, "red", "blue"), "price": Y})
    table = read_table(frame, target="price")
    search = GridSearch(table.builder(), ParameterGrid(hidden=[(4,)], epochs=[5]), store=None, workers=1, baselines=False)
    model = search.run(table, progress=False).best
    shuffled = frame[["color", "size"]].iloc[::-1]
    np.testing.assert_array_equal(model.predict(shuffled)[::-1], model.predict(frame[["size", "color"]]))
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(shuffled), model.predict(shuffled))
    assert loaded.predict_interval(shuffled, 0.8).shape == (24, 2)


def test_estimators_are_averaged_and_calibrated_by_class():
    models = [LogisticRegression().fit(X[part], LABELS[part]) for part in (slice(0, 12), slice(12, 24), slice(None))]
    fitted = FittedEstimator(models[:2], "classification", np.array(["a", "b", "c"]))
    probabilities = np.mean([model.predict_proba(X) for model in models[:2]], axis=0)
    np.testing.assert_allclose(fitted.predict_proba(X), probabilities)
    np.testing.assert_array_equal(fitted.predict(X), np.array(["a", "b", "c"])[probabilities.argmax(1)])
    fitted.calibrate(models[:2], [np.arange(12, 24), np.arange(12)], X, np.array(["a", "b", "c"])[LABELS])
    reference = tl.Predictor(tl.Linear(1, 3, rng=np.random.default_rng(0)), "classification")
    assert fitted.predict_set(X, 0.8).shape == reference.predict_proba(X).shape


def test_an_estimator_that_has_seen_fewer_classes_keeps_their_places():
    seen = LABELS != 1
    fitted = FittedEstimator([LogisticRegression().fit(X[seen], LABELS[seen])], "classification", np.array(["a", "b", "c"]))
    assert (fitted.predict_proba(X)[:, 1] == 0.0).all()
    assert set(fitted.predict(X)) == {"a", "c"}


def test_estimators_of_labels_that_were_not_encoded():
    labels = np.array([3, 5, 9])[LABELS]
    models = [LogisticRegression().fit(X[part], labels[part]) for part in (labels > 3, labels < 9)]
    fitted = FittedEstimator(models, "classification")
    probabilities = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict(X), np.array([3, 5, 9])[probabilities.argmax(1)])
    np.testing.assert_allclose(probabilities[:, 2], models[0].predict_proba(X)[:, 1] / 2)
    np.testing.assert_array_equal(FittedEstimator(models[:1], "classification").predict(X), models[0].predict(X))


def test_estimators_of_several_numbers():
    model = LinearRegression().fit(X, np.hstack([X, -X]))
    fitted = FittedEstimator([model], "regression")
    fitted.calibrate([[model], [model]], [np.arange(12), np.arange(12, 24)], X, np.hstack([X, -X]))
    lower, upper = fitted.predict_interval(X, 0.8)
    np.testing.assert_allclose(lower, np.hstack([X, -X]), atol=1e-12)
    assert upper.shape == (24, 2)


# Refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [TimeSeriesSplit(3), ShuffleSplit(3, random_state=0)])
def test_without_a_partition_there_is_a_model_without_intervals(folds):
    model = run(build_scaled, folds=folds, lr=[0.05]).best
    assert model.predict(X).shape == (24,)
    with pytest.raises(
        ValueError, match="predict_interval needs the models of a cross-validation that holds out each sample once"
    ):
        model.predict_interval(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": 0}, "ensemble is 0, expected a number of configurations, 'folds', or None"),
        ({"ensemble": "all"}, "ensemble is 'all'"), ({"ensemble": True}, "ensemble is True"),
        ({"ensemble": 2, "configuration": {"lr": 0.05}}, "a configuration is given beside ensemble=2"),
    ],
)  # fmt: skip
def test_other_ensembles_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(build_scaled, lr=[0.05]).fit(**options)


def test_a_fit_that_fails_says_where():
    result = run(build_network, lr=[0.05], stumble=[0.0])
    with pytest.raises(
        SearchError, match=r'\Aconfiguration {"lr":0.05,"stumble":1.0} failed on fold 0: .*stumbled in epoch 1\Z'
    ):
        result.fit({"lr": 0.05, "stumble": 1.0})


class Threaded(PolynomialTrainer):
    def fit(self, x, y):
        self.threads = {library["num_threads"] for library in threadpool_info()}
        return super().fit(x, y)


def build_threaded(configuration, rng):
    return Threaded(Polynomial(1, rng), 0.1, 2)


def test_the_fits_have_one_thread_as_in_the_search():
    with threadpool_limits(limits=2):
        model = run(build_threaded, lr=[0.1]).best
    assert {frozenset(one.threads) for one in (*model.models, *(models[0] for models in model.fold_models))} == {frozenset({1})}


class Mute:
    def fit(self, x, y):
        return {}

    def evaluate(self, x, y):
        return 1.0


def build_mute(configuration, rng):
    return Mute()


def test_what_cannot_predict_is_refused():
    with pytest.raises(SearchError, match="a Mute cannot predict, expected a tinygrad_lab.Trainer or an object with predict"):
        run(build_mute, lr=[0.1]).best  # noqa: B018
