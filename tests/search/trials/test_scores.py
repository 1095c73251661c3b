"""Scores, labels and baselines: a whole search against scikit-learn's numbers on the same folds."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinygrad_lab as tl
from search import KFold, Search, Store, StoreError, SuccessiveHalving
from search.testing import Polynomial, PolynomialTrainer
from search.trials.data import Samples
from search.trials.scoring import default_scoring
from search.trials.seeds import fit_seed

GRID = [{"lr": 0.1}, {"lr": 0.01}]


def build_classifier(configuration, rng):
    net = tl.Sequential(tl.Linear(4, 8, rng=rng), tl.Tanh(), tl.Linear(8, 3, rng=rng))
    return tl.Trainer(
        net,
        tl.CrossEntropy(),
        optimizer=tl.SGD(net.parameters(), lr=configuration["lr"]),
        epochs=5,
        inputs=tl.Standardize(4),
    )


def build_line(configuration, rng):
    net = tl.Linear(10, 1, rng=rng)
    return tl.Trainer(
        net,
        tl.MeanSquaredError(),
        optimizer=tl.SGD(net.parameters(), lr=configuration["lr"]),
        epochs=5,
        inputs=tl.Standardize(10),
        targets=tl.Standardize(1),
    )


def build_ridge(configuration, rng):
    return make_pipeline(StandardScaler(), Ridge(configuration["alpha"]))


def build_logistic(configuration, rng):
    return LogisticRegression(C=configuration["lr"], max_iter=300)


def build_sigmoid(configuration, rng):
    """A network of two features with a logit for each label, or one for two classes."""
    net = tl.Linear(2, configuration["outputs"], rng=rng)
    return tl.Trainer(net, tl.BinaryCrossEntropy(), optimizer=tl.Adam(net.parameters(), lr=0.1), epochs=30)


def mean_error(model, x, y, sample_weight=None):
    error = np.abs(model.predict(x) - y)
    assert error.shape == y.shape == (len(x),)
    return -float(np.average(error, weights=sample_weight))


def share_of_setosa(model, x, y):
    return float(np.mean((model.predict(x) == "setosa") == (y == "setosa")))


@dataclass
class Table:
    x: np.ndarray
    y: np.ndarray
    task: str
    classes: np.ndarray | None = None
    groups: np.ndarray | None = None
    weight: np.ndarray | None = None
    columns: tuple = ()


def search(build, grid=GRID, store=None, **options):
    return Search(build, grid, store=store, workers=1, **options)


def iris_table():
    x, codes = load_iris(return_X_y=True)
    x = x.copy()
    return Table(x, codes, "classification", np.array(["setosa", "versicolor", "virginica"]))


def test_a_table_of_classes_from_end_to_end(tmp_path):
    result = search(build_classifier, store=tmp_path / "s", scoring=["accuracy", "neg_log_loss"]).run(
        iris_table(), progress=False
    )
    assert result.classes.tolist() == ["setosa", "versicolor", "virginica"]
    best, other = result.ranking
    assert list(best.scores) == ["accuracy", "neg_log_loss"]
    assert np.mean(best.scores["accuracy"]) > np.mean(other.scores["accuracy"])
    np.testing.assert_allclose(best.scores["neg_log_loss"], np.negative(best.losses))  # the loss is the log loss
    assert len(result.ranking) == 2
    assert [row.configuration["(baseline)"] for row in result.ranking.baselines][-1] == "mean"
    for row in result.ranking.baselines:
        np.testing.assert_allclose(row.scores["neg_log_loss"], np.negative(row.losses), rtol=1e-6)
    table = result.ranking.table()
    assert table.splitlines()[0].split()[:4] == ["rank", "lr", "accuracy", "neg_log_loss"]
    assert "(boosting)" in table
    assert "ranked by accuracy: the higher, the better" in table
    with Store(tmp_path / "s") as store:
        stored = store.outcomes()
    assert len(stored) == (2 + 3) * 4
    elsewhere = Search(build_classifier, GRID, store=None, workers=2, scoring=["accuracy", "neg_log_loss"])
    assert elsewhere.run(iris_table(), progress=False).ranking.table() == table
    assert stored[best.configuration.text, 1].scores == {name: values[1] for name, values in best.scores.items()}


def test_a_function_sees_labels_as_they_were_given_and_a_name_sees_codes():
    x, codes = load_iris(return_X_y=True)
    setosa = np.where(codes == 0, "setosa", "other")
    result = search(build_logistic, GRID[:1], scoring=[share_of_setosa, "accuracy", "f1"]).run(x, setosa, progress=False)
    scores = result.ranking[0].scores
    assert scores["share_of_setosa"] == scores["accuracy"]
    folds = StratifiedKFold(4, shuffle=True, random_state=0).split(x, setosa)
    for found, (train, validation) in zip(scores["f1"], folds, strict=True):
        model = LogisticRegression(C=0.1, max_iter=300).fit(x[train], setosa[train])
        assert found == f1_score(setosa[validation], model.predict(x[validation]), pos_label="setosa")


@pytest.mark.parametrize("scoring", ["r2", None])
def test_estimators_have_scikit_learns_scores_a_comparison_and_a_resume(scoring, tmp_path, monkeypatch):
    x, y = load_diabetes(return_X_y=True)
    grid = [{"alpha": 1.0}, {"alpha": 1e4}]
    folds = KFold(4, shuffle=True, seed=0)
    result = search(build_ridge, grid, tmp_path / "s", scoring=scoring, baselines=False).run(x, y, progress=False)
    name = scoring or "score"
    for row in result.ranking:
        expected = cross_val_score(build_ridge(row.configuration, None), x, y, cv=[*folds.split(x)], scoring="r2")
        np.testing.assert_allclose(row.scores[name], expected, rtol=1e-12)
    assert [row.configuration["alpha"] for row in result.ranking] == [1.0, 1e4]
    assert result.comparison()[1].is_distinguishable
    assert result.simplest_configuration(lambda configuration: -configuration["alpha"]).configuration == {"alpha": 1.0}
    with pytest.raises(TypeError, match="simplest_configuration: a Pipeline has no number of parameters, expected complexity="):
        result.simplest_configuration()
    [retrained] = result.retrain(1, train=(x[:300], y[:300]), test=(x[300:], y[300:]), progress=False)
    ridge = build_ridge({"alpha": 1.0}, None).fit(x[:300], y[:300])
    assert retrained.scores[name] == pytest.approx(ridge.score(x[300:], y[300:]), rel=1e-12)
    with monkeypatch.context() as patch:
        patch.setattr(Ridge, "fit", lambda *_: pytest.fail("a stored fit was run again"))
        again = search(build_ridge, grid, tmp_path / "s", scoring=scoring, baselines=False).run(x, y, progress=False)
    assert again.ranking.table() == result.ranking.table()
    page = result.report(tmp_path, train=(x[:300], y[:300]), test=(x[300:], y[300:]), top=2, seeds=2, progress=False)
    assert f"highest mean {name}" in page.read_text(encoding="utf-8")


def test_estimators_cannot_be_halved():
    halving = SuccessiveHalving([{"alpha": 1.0}, {"alpha": 2.0}, {"alpha": 3.0}], epochs=9)
    x, y = load_diabetes(return_X_y=True)
    result = search(build_ridge, halving, scoring="r2", baselines=False).run(x, y, progress=False)
    assert "a Pipeline cannot stop after 3 epochs and go on" in result.ranking[0].reason


def test_baselines_are_scikit_learns_on_the_same_folds():
    x, y = load_diabetes(return_X_y=True)
    result = search(build_line, scoring=["r2", mean_error], folds=KFold(3)).run(x, y, progress=False)
    rows = {row.configuration["(baseline)"]: row for row in result.ranking.baselines}
    assert rows.keys() == {"mean", "linear", "boosting"}
    for fold, (train, validation) in enumerate(KFold(3).split(x)):
        mean, scale = y[train].mean(), y[train].std()
        assert rows["mean"].losses[fold] == pytest.approx(np.mean((y[validation] - mean) ** 2) / scale**2)
        ridge = make_pipeline(StandardScaler(), Ridge()).fit(x[train], y[train])
        predicted = ridge.predict(x[validation])
        assert rows["linear"].scores["r2"][fold] == pytest.approx(r2_score(y[validation], predicted))
        assert rows["linear"].scores["mean_error"][fold] == pytest.approx(-np.mean(np.abs(predicted - y[validation])))
        assert rows["linear"].losses[fold] == pytest.approx(np.mean((predicted - y[validation]) ** 2) / scale**2)
        if fold:
            continue
        boosted = HistGradientBoostingRegressor(random_state=0).fit(x[train], y[train])
        assert rows["boosting"].scores["r2"][fold] == pytest.approx(r2_score(y[validation], boosted.predict(x[validation])))
    best = result.ranking[0]
    for fold in range(3):  # the network's loss is in the same scaled units
        share = best.losses[fold] / rows["mean"].losses[fold]
        assert 1.0 - best.scores["r2"][fold] == pytest.approx(share * (1.0 - rows["mean"].scores["r2"][fold]))
    order = [line.split()[0] for line in result.ranking.table().splitlines()]
    marked = sorted([*result.ranking.done, *rows.values()], key=lambda row: row.objective)
    expected = [str(row.rank or f"({row.configuration['(baseline)']})") for row in marked]
    assert order[1 : 1 + len(expected)] == expected
    assert len(result.ranking) == 2


def test_baselines_by_the_loss_alone_if_they_are_asked_for():
    x, y = load_diabetes(return_X_y=True)
    assert search(build_line).run(x, y, progress=False).ranking.baselines == ()
    result = search(build_line, baselines=True).run(x, y, progress=False)
    assert [row.status for row in result.ranking.baselines] == ["done"] * 3
    assert result.ranking.baselines[-1].configuration == {"(baseline)": "mean"}
    assert "better than the best configuration: the baseline linear" in result.ranking.table()


def test_a_bad_configuration_does_not_cost_the_baselines():
    x, y = load_diabetes(return_X_y=True)
    result = search(build_line, [{"rate": 0.1}, *GRID[:1]], scoring="r2").run(x, y, progress=False)
    assert [row.status for row in result.ranking] == ["done", "failed"]
    assert [(row.status, row.mean != row.mean) for row in result.ranking.baselines] == [("done", True)] * 3


def test_categories_and_gaps_of_a_table_in_baselines():
    @dataclass
    class Column:
        kind: str

    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=80), rng.integers(0, 4, 80)])
    y = np.array([3.0, -2.0, 5.0, 0.0])[x[:, 1].astype(int)] + x[:, 0]
    x[::9, 0] = np.nan
    x[5, 1] = np.nan
    table = Table(x, y[:, None], "regression", columns=(Column("number"), Column("category")))
    result = search(build_constant, [{"lr": 0.1}], scoring="r2").run(table, progress=False)
    scores = {row.configuration["(baseline)"]: np.mean(row.scores["r2"]) for row in result.ranking.baselines}
    assert scores["linear"] > 0.9, "the codes of categories were used as numbers"
    assert scores["boosting"] > 0.5, "trees of 60 samples did not split"
    assert "loss" not in result.ranking.table(), "estimators have no loss"


def build_constant(configuration, rng):
    from sklearn.dummy import DummyRegressor

    return DummyRegressor()


def test_weights_reach_the_training_the_loss_and_the_scores():
    x, y = load_diabetes(return_X_y=True)
    weight = np.where(np.arange(len(y)) % 2, 3.0, 1e-9)
    weighted = search(build_line, GRID[:1], scoring=["r2", mean_error], folds=KFold(3), baselines=False)
    result = weighted.run(x, y, sample_weight=weight, progress=False)
    half = search(build_line, GRID[:1], scoring=["r2", mean_error], folds=KFold(3), baselines=False)
    trainer_losses = result.ranking[0].losses
    for fold, (train, validation) in enumerate(result.folds):
        [trainer] = [build_line(GRID[0], np.random.default_rng(fit_seed(0, GRID[0], fold)))]
        trainer.fit(x[train], y[train], sample_weight=weight[train] / weight[train].mean())
        own = weight[validation] / weight[validation].mean()
        assert trainer_losses[fold] == trainer.evaluate(x[validation], y[validation], own)
        predicted = trainer.predict(x[validation])[:, 0]
        assert result.ranking[0].scores["r2"][fold] == pytest.approx(r2_score(y[validation], predicted, sample_weight=own))
    unweighted = half.run(x, y, progress=False)
    assert unweighted.ranking[0].losses != result.ranking[0].losses
    with pytest.raises(
        ValueError, match=r"the samples of the search had weights and the training set has none, expected .*train="
    ):
        result.retrain(top=1, train=(x, y), test=(x, y), progress=False)
    [retrained] = result.retrain(top=1, train=(x, y, weight), test=(x, y, weight), progress=False)
    [plain] = unweighted.retrain(top=1, train=(x, y), test=(x, y), progress=False)
    np.testing.assert_equal(retrained.state_dict, result.best.models[0].state_dict())
    assert retrained.train_loss != plain.train_loss
    assert retrained.history["validation_loss"][-1] == retrained.test_loss, "the curve is not weighted as the loss is"


def test_a_sigmoid_classifies_and_has_several_labels():
    x = np.random.default_rng(0).normal(size=(60, 2))
    labels = np.where(x[:, 0] > 0, "up", "down")
    result = search(build_sigmoid, [{"outputs": 1}], scoring=["roc_auc", "accuracy", "neg_log_loss"]).run(
        x, labels, progress=False
    )
    row = result.ranking[0]
    assert np.mean(row.scores["roc_auc"]) > 0.95
    np.testing.assert_allclose(row.scores["neg_log_loss"], np.negative(row.losses))
    y = (x > 0).astype(int)
    several = search(build_sigmoid, [{"outputs": 2}], scoring=["roc_auc", "f1_macro", "accuracy"])
    result = several.run(x, y, task="multilabel", progress=False)
    assert np.mean(result.ranking[0].scores["roc_auc"]) > 0.95
    assert [row.status for row in result.ranking.baselines] == ["done"] * 3, result.ranking.table()
    mean = result.ranking.baselines[-1]
    assert mean.losses[0] == pytest.approx(np.log(2), rel=0.05)


def test_a_store_is_not_resumed_with_another_meaning_of_the_same_numbers(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 10))
    y = (x[:, :2] > 0).astype(float)
    forest = [{"n": 2}]
    search(build_forest, forest, store=tmp_path / "labels").run(x, y, task="multilabel", progress=False)
    with pytest.raises(StoreError, match=r"with other data \(.*2 targets in float64, multilabel there, .* in float64 here\)"):
        search(build_forest, forest, store=tmp_path / "labels").run(x, y, progress=False)
    for kinds in (["number"] * 10, ["category"] + ["number"] * 9):
        table = Table(np.round(abs(x)), y[:, :1], "regression", columns=[SimpleNamespace(kind=kind) for kind in kinds])
        searched = search(build_forest, forest, store=tmp_path / "table", baselines=True)
        if kinds[0] == "number":
            searched.run(table, progress=False)
        else:
            with pytest.raises(StoreError, match="1 with categories here"):
                searched.run(table, progress=False)


def build_forest(configuration, rng):
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(configuration["n"], random_state=0)


def test_a_part_that_validates_on_some_classes_only_is_scored():
    table = iris_table()
    table.groups = np.repeat(np.arange(6), 25)  # two of each class
    result = search(build_logistic, GRID[:1]).run(table, progress=False)
    assert {row.status for row in (*result.ranking, *result.ranking.baselines)} == {"done"}, result.ranking.table()
    row = result.ranking[0]
    for fold, (train, validation) in enumerate(result.folds):
        own = build_logistic(GRID[0], None).fit(table.x[train], table.y[train])
        probability = own.predict_proba(table.x[validation])[np.arange(len(validation)), table.y[validation]]
        assert row.scores["neg_log_loss"][fold] == pytest.approx(np.log(probability).mean())


def test_folds_without_a_class_are_named():
    x, codes = load_iris(return_X_y=True)
    sorted_by_class = search(build_logistic, GRID[:1], scoring="accuracy", baselines=False, folds=KFold(3))
    with pytest.warns(UserWarning, match="fold 0: no sample of class 0 trains, so none can be recognized there"):
        sorted_by_class.run(x, codes, progress=False)


def test_fewer_groups_than_default_folds_are_refused():
    x, codes = load_iris(return_X_y=True)
    message = "groups has 3 different groups, expected at least 4, one for each fold; give fewer folds, as folds=GroupKFold"
    for y in (x[:, 0], codes.astype(str)):
        with pytest.raises(ValueError, match=f"^{message}"):
            search(build_ridge, [{"alpha": 1.0}]).run(x, y, groups=np.arange(150) % 3, progress=False)


def test_groups_stay_together_by_default():
    x, y = load_diabetes(return_X_y=True)
    groups = np.arange(len(y)) % 20
    result = search(build_ridge, [{"alpha": 1.0}]).run(x, y, groups, progress=False)
    for (_, validation), (_, expected) in zip(result.folds, GroupKFold(4).split(x, y, groups), strict=True):
        np.testing.assert_array_equal(validation, expected)


@pytest.mark.parametrize(
    ("scoring", "y", "message"),
    [
        (
            "accurcy",
            [1.0, 2.0],
            r"scoring: 'accurcy' given, expected a name of scikit-learn's or a function; did you mean 'accuracy'\?",
        ),
        ("r2", ["a", "b"], "scoring: 'r2' is a score for regression, expected one for the task 'classification'"),
        (["r2", "accuracy"], [1.0, 2.0], "scoring: 'accuracy' is a score for classification, expected one for the task 'regr"),
    ],
)
def test_scores_that_do_not_fit(scoring, y, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        search(build_line, scoring=scoring).run(np.arange(8.0), y * 4, progress=False)


def test_a_network_without_probabilities_says_so():
    x, codes = load_iris(return_X_y=True)
    result = search(build_of_iris, GRID[:1], scoring="accuracy", baselines=False).run(x, codes, progress=False)
    assert "MeanSquaredError: this loss makes no probabilities, expected CrossEntropy or" in result.ranking[0].reason


class Column(PolynomialTrainer):
    """A trainer of a user's class, whose predictions have the shape of the targets that it was given."""

    def predict(self, x):
        return super().predict(x)[:, None]

    def evaluate(self, x, y):
        return float(np.mean((self.predict(x) - y) ** 2) / 2.0)


def build_own(configuration, rng):
    return (Column if configuration["column"] else PolynomialTrainer)(Polynomial(2, rng), 0.1, 9)


def test_an_own_trainer_has_scikit_learns_scores_and_any_shape_of_predictions():
    x = np.linspace(-1.0, 1.0, 24)
    for column in (False, True):
        grid, scoring = [{"column": column}], ["neg_mean_squared_error", mean_error]
        [row] = search(build_own, grid, scoring=scoring, baselines=False).run(x, x**2, progress=False).ranking
        assert (row.status, row.reason) == ("done", "")
        np.testing.assert_allclose(row.scores["neg_mean_squared_error"], -2.0 * np.array(row.losses), rtol=1e-12)


def test_logits_are_not_scored_as_numbers():
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = (x > 0).astype(float)
    result = search(build_sigmoid, [{"outputs": 2}], scoring="r2", baselines=False).run(x, y, progress=False)
    assert "BinaryCrossEntropy: this loss makes logits, which cannot be compared with numbers" in result.ranking[0].reason
    result = search(build_sigmoid, [{"outputs": 2}], scoring="r2").run(x, y, progress=False)
    assert {row.status for row in result.ranking.baselines} == {"done"}, "baselines of numbers have no loss of probabilities"


def build_of_iris(configuration, rng):
    net = tl.Linear(4, 1, rng=rng)
    return tl.Trainer(net, tl.MeanSquaredError(), optimizer=tl.SGD(net.parameters(), lr=1e-3), epochs=1)


def test_without_scikit_learn(monkeypatch):
    x = np.linspace(-1.0, 1.0, 12)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn", None)
        patch.setitem(sys.modules, "sklearn.metrics", None)
        with pytest.raises(ImportError, match=r"scoring='r2' needs scikit-learn, which is not installed: pip install"):
            search(build_line, scoring="r2")
        with pytest.raises(ImportError, match=r"^baselines need scikit-learn, which is not installed: pip install"):
            search(build_line, baselines=True)
        with pytest.warns(UserWarning, match=r"^baselines need scikit-learn, which is not installed: pip install"):
            result = search(build_thin, GRID[:1], scoring=mean_error).run(x, x, progress=False)
    assert (result.ranking[0].status, result.ranking.baselines) == ("done", ())


def build_thin(configuration, rng):
    net = tl.Linear(1, 1, rng=rng)
    return tl.Trainer(net, tl.MeanSquaredError(), optimizer=tl.SGD(net.parameters(), lr=configuration["lr"]), epochs=2)


@pytest.mark.parametrize(
    ("task", "y", "names"),
    [
        ("regression", np.zeros((4, 1)), ["neg_root_mean_squared_error"]),
        ("regression", np.zeros((4, 2)), None),  # the units of the targets may differ
        ("classification", np.array([0, 1, 0, 1]), ["neg_log_loss", "accuracy"]),
        ("multilabel", np.zeros((4, 2)), None),
    ],
)
def test_a_table_is_ranked_in_the_units_of_its_target(task, y, names):
    x = np.zeros((4, 1))
    scoring = default_scoring(Samples(x, y, task, table=Table(x, y, task)))
    assert (None if scoring is None else list(scoring.names)) == names
    assert default_scoring(Samples(x, y, task)) is None
