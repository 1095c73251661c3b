"""Groups, repeats and nested cross-validation: which folds are fitted, and what the estimate is."""

import math

import numpy as np
import pytest
from sklearn import model_selection

from search import GridSearch, KFold, NestedEstimate, ParameterGrid, RandomSampler, Search, Store, StoreError, SuccessiveHalving
from search.testing import build_polynomial
from search.trials.data import as_samples
from search.trials.fits import Fit, Problem
from search.trials.folds import make_layout
from search.trials.running import run_fits
from search.trials.seeds import fit_seed
from tests.helpers.searches import build_network, build_scored, data

GRID = ParameterGrid(degree=[1, 2, 3], lr=[0.1, 0.5], epochs=[20])
GROUPS = np.arange(24) // 3


def run(build=build_polynomial, strategy=GRID, store=None, workers=1, groups=None, outer=None, **options):
    return Search(build, strategy, store=store, workers=workers, **options).run(*data(), groups, outer, progress=False)


def fit_by_hand(configuration, train, validation, number, seed=0):
    """The loss of one fit, whose seed is that of a given fold."""
    problem = Problem(build_polynomial, *as_samples(*data()), ((train, validation),))
    [(_, outcome)] = run_fits(problem, [Fit(configuration, 0, fit_seed(seed, configuration, number))])
    return outcome.validation_loss


# ---- groups --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "splitter",
    [
        model_selection.GroupKFold(4),
        model_selection.LeaveOneGroupOut(),
        model_selection.GroupShuffleSplit(3, random_state=0),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
def test_splitters_that_keep_groups_together(splitter):
    result = run(folds=splitter, groups=GROUPS)
    x, y = as_samples(*data())
    expected = list(splitter.split(x, y, GROUPS))
    assert len(result.folds) == len(expected)
    for (train, validation), theirs in zip(result.folds, expected, strict=True):
        np.testing.assert_array_equal(train, theirs[0])
        np.testing.assert_array_equal(validation, theirs[1])
        assert not {*GROUPS[train]} & {*GROUPS[validation]}
    row = result[0]
    assert row.losses == tuple(fit_by_hand(row.configuration, *fold, k) for k, fold in enumerate(result.folds))


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored by")
@pytest.mark.parametrize(
    "splitter", [KFold(4, shuffle=True, seed=0), model_selection.KFold(5), model_selection.ShuffleSplit(2)]
)
def test_folds_that_split_a_group_are_refused(splitter, tmp_path):
    message = r"fold \d: group \d both trains and validates, expected one of them; use .* such as scikit-learn's GroupKFold"
    with pytest.raises(ValueError, match=message) as failure:
        run(folds=splitter, groups=GROUPS, store=tmp_path / "search.sqlite")
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "search.sqlite").exists()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (GROUPS[:-1], r"groups has shape \(23,\), expected \(24,\): the group of each sample"),
        (GROUPS[:, np.newaxis], r"groups has shape \(24, 1\)"),
        ([*range(23), math.nan], "groups holds nan at 23"),
        (None, "groups"),
    ],
)
def test_bad_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        run(folds=model_selection.GroupKFold(4), groups=groups)


# ---- repeats -------------------------------------------------------------------------------------------------------


def test_repeats_fit_each_fold_from_other_weights(tmp_path):
    result = run(repeats=3)
    assert (len(result.folds), result.repeats) == (4, 3)
    for row in result:
        expected = [fit_by_hand(row.configuration, *fold, r * 4 + k) for r in range(3) for k, fold in enumerate(result.folds)]
        assert row.losses == tuple(expected)
        assert row.mean == np.mean(expected)
    once = {str(row.configuration): row for row in run()}
    assert all(row.losses[:4] == once[str(row.configuration)].losses for row in result)
    assert len({*result[0].losses}) == 12
    result.ranking.to_csv(tmp_path / "ranking.csv")
    assert "fold 0 repeat 2" in (tmp_path / "ranking.csv").read_text()


def test_bad_repeats():
    for repeats in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=f"repeats={repeats}, expected an integer of at least 1"):
            GridSearch(build_polynomial, GRID, repeats=repeats)


# ---- nested cross-validation ---------------------------------------------------------------------------------------

OUTER = KFold(3, shuffle=True, seed=1)


def test_the_estimate_is_what_a_search_in_each_outer_training_set_finds():
    result = run(outer=OUTER, repeats=2)
    assert [row.losses for row in result] == [row.losses for row in run(repeats=2)], "the search itself is what it was"
    nested = result.nested
    assert nested.search_mean == result[0].mean
    assert (nested.train_sizes, nested.search_train_sizes) == ((16,) * 3, (18,) * 4)
    x, _ = as_samples(*data())
    number = 4 * 2
    for i, (train, test) in enumerate(OUTER.split(x)):
        means = []
        for configuration in GRID:
            losses = [
                fit_by_hand(configuration, train[rows], train[held_out], number + r * 4 + k)
                for r in range(2)
                for k, (rows, held_out) in enumerate(KFold(4, shuffle=True, seed=0).split(train))
            ]
            means.append(np.mean(losses))
        number += 4 * 2
        chosen = list(GRID)[int(np.argmin(means))]
        assert nested.configurations[i] == chosen
        assert nested.inner_means[i] == min(means)
        assert nested.losses[i] == fit_by_hand(chosen, train, test, number)
        number += 1
    assert nested.mean == np.mean(nested.losses)
    assert nested.standard_error == pytest.approx(np.std(nested.losses, ddof=1) / math.sqrt(3))
    assert run().nested is None


@pytest.mark.parametrize(
    ("build", "strategy"),
    [
        (build_polynomial, GRID),
        (build_polynomial, RandomSampler(4, GRID.axes)),
        (
            build_network,
            SuccessiveHalving(ParameterGrid(lr=[0.02, 0.05, 0.1, 0.01], epochs=[4], batch_size=[5]), epochs=4, factor=2),
        ),
    ],
)
def test_it_depends_neither_on_workers_nor_on_interruptions(build, strategy, tmp_path, monkeypatch):
    options = {"folds": KFold(2), "outer": KFold(2)}
    reference = run(build, strategy, **options)
    assert run(build, strategy, workers=2, **options).nested == reference.nested
    added, stops = [], [2, 11, 20]

    def interrupted(self, *arguments, add=Store.add):
        if stops and len(added) == stops[0]:
            del stops[0]
            raise KeyboardInterrupt
        added.append((str(arguments[0]), arguments[1], arguments[3]))
        add(self, *arguments)

    monkeypatch.setattr(Store, "add", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(build, strategy, tmp_path / "search.sqlite", **options)
    result = run(build, strategy, tmp_path / "search.sqlite", **options)
    assert result.nested == reference.nested
    assert list(result) == list(reference)
    assert len(added) == len({*added}), "a finished fit was run again"


def test_inner_folds_keep_groups_together_and_never_see_the_test_set():
    x, y = as_samples(*data())
    layout = make_layout(model_selection.GroupKFold(3), x, y, GROUPS, model_selection.GroupKFold(4), repeats=2)
    assert layout.fold_numbers == range(6)
    assert len(layout.folds) == 6 + 4 * (6 + 1)
    assert [fold.outer for fold in layout.nested] == [12, 19, 26, 33]
    for fold in layout.nested:
        train, test = layout.folds[fold.outer]
        assert not {*GROUPS[train]} & {*GROUPS[test]}
        assert len(fold.inner) == 6
        for number in fold.inner:
            rows, held_out = layout.folds[number]
            assert {*rows} | {*held_out} == {*train}
            assert not {*GROUPS[rows]} & {*GROUPS[held_out]}


def test_a_store_of_another_outer_split(tmp_path):
    run(store=tmp_path / "search.sqlite", outer=OUTER)
    with pytest.raises(StoreError, match="folds"):
        run(store=tmp_path / "search.sqlite", outer=KFold(3, shuffle=True, seed=2))


def test_where_nothing_can_be_trained_there_is_no_estimate():
    nested = run(build_scored, [{"loss": math.nan}], outer=KFold(2)).nested
    assert nested.configurations == (None, None)
    assert math.isnan(nested.mean)
    assert str(nested) == "In 2 of 2 outer folds no network could be trained: there is no nested estimate."


@pytest.mark.parametrize(
    ("losses", "configurations", "search_mean", "said"),
    [
        ((0.6, 0.7), ({"a": 1}, {"a": 1}), 0.5, ("0.65 ± 0.05", "difference, +0.15,", "The same configuration was chosen")),
        ((0.5, 0.5, 0.5), ({"a": 1}, {"a": 2}, {"a": 1}), 0.75, ("0.5 ± 0 ", "difference, -0.25,", "2 different")),
        ((0.6,), ({"a": 1},), 0.5, ("has a test loss of 0.6 (mean",)),
    ],
)
def test_an_estimate_as_text(losses, configurations, search_mean, said):
    text = str(NestedEstimate(losses, configurations, (0.5,) * len(losses), search_mean, (20,) * len(losses), (30, 31)))
    assert all(part in text for part in said), text
    assert "of networks trained on 30 to 31 samples; those of the outer folds had 20.\n" in text
    assert "holds both the luck of the choice and the sizes of the training sets" in text, (
        "no verdict: the two are not told apart"
    )


@pytest.mark.parametrize(
    ("outer", "error", "message"),
    [
        (3, TypeError, "outer=3 is no splitter, expected an object with split"),
        (KFold(30), ValueError, r"outer: KFold\(30\): 24 samples given"),
        (KFold(12), None, None),
        (
            model_selection.TimeSeriesSplit(23),
            ValueError,
            r"inside outer fold 0: KFold\(4\): 1 samples given, expected at least 4",
        ),
    ],
)
def test_bad_outer_splitters(outer, error, message):
    if error is None:
        assert len(run(strategy=[{"degree": 1, "epochs": 1}], outer=outer).nested.losses) == 12
    else:
        with pytest.raises(error, match=message):
            run(outer=outer)


def test_the_search_flatters_itself_where_all_configurations_are_alike():
    """Pure noise: 200 configurations that learn nothing differ only by luck, so the lowest mean loss is too low."""
    result = Search(build_noise, [{"number": i} for i in range(200)], store=None, workers=1).run(
        *data(), outer=KFold(4), progress=False
    )
    assert result.nested.search_mean < 0.4
    assert abs(result.nested.mean - 1.0) < 4 * result.nested.standard_error
    assert result.nested.mean - result.nested.search_mean > 0.3


def build_noise(configuration, rng):
    return build_scored({"loss": rng.exponential()}, rng)
