import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from search.errors import SearchError
from search.ranking.comparison import compare
from search.ranking.ranking import RankedConfiguration, Ranking, mean_and_std
from search.trials.folds import KFold, make_folds

BAD = RankedConfiguration(9, {"name": "bad"}, math.nan, math.nan, (0.1, math.inf), "diverged", "fold 1: loss is inf")


def folds_of(n_folds, n_samples=120):
    x = np.zeros((n_samples, 1))
    return make_folds(KFold(n_folds), x, x)


def ranking_of(losses):
    """A ranking of a matrix of losses (configurations, fits), best first, named by their row in it."""
    means = [mean_and_std(row) for row in losses]
    places = sorted(range(len(losses)), key=lambda place: means[place][0])
    return Ranking(
        RankedConfiguration(rank, {"name": place}, *means[place], tuple(losses[place]), "done", "")
        for rank, place in enumerate(places, start=1)
    )


def names(rows):
    return [row.configuration["name"] for row in rows]


def matrices(columns):
    losses = st.integers(1, 4000).map(lambda number: number / 1000)
    return st.lists(st.lists(losses, min_size=columns, max_size=columns), min_size=2, max_size=6).map(np.array)


# ---- numbers -------------------------------------------------------------------------------------------------------


@given(n_configurations=st.integers(2, 6), n_folds=st.integers(2, 10), seed=st.integers(0, 1000))
def test_without_overlap_it_is_the_paired_t_test(n_configurations, n_folds, seed):
    ranking = ranking_of(np.random.default_rng(seed).random((n_configurations, n_folds)))
    comparison = compare(ranking, folds=[(range(10**12), range(1))] * n_folds)  # the correction is one in 10^12
    for row, given_row in zip(comparison, ranking, strict=True):
        assert (row.rank, row.configuration, row.mean) == (given_row.rank, given_row.configuration, given_row.mean)
        assert row.standard_error == pytest.approx(stats.sem(given_row.losses))
    for row, given_row in zip(list(comparison)[1:], ranking[1:], strict=True):
        interval = stats.ttest_rel(given_row.losses, ranking[0].losses).confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx(tuple(interval), rel=1e-9, abs=1e-10)
        assert row.difference == pytest.approx(np.subtract(given_row.losses, ranking[0].losses).mean(), abs=1e-12)


@given(losses=matrices(10), confidence=st.floats(0.5, 0.99))
def test_the_corrected_interval_of_repeats_against_a_loop(losses, confidence):
    n_folds, repeats = 5, 2
    folds = folds_of(n_folds, n_samples=102)  # folds of 20 and 21 samples
    ranking = ranking_of(losses)
    comparison = compare(ranking, folds=folds, repeats=repeats, confidence=confidence)
    for row, given_row in zip(comparison, ranking, strict=True):
        differences = []
        for fold in range(n_folds):
            total = 0.0
            for repeat in range(repeats):
                total += given_row.losses[repeat * n_folds + fold] - ranking[0].losses[repeat * n_folds + fold]
            differences.append(total / repeats)
        mean = sum(differences) / n_folds
        variance = sum((difference - mean) ** 2 for difference in differences) / (n_folds - 1)
        # KFold has n_folds - 1 training samples for each validation sample.
        margin = stats.t(n_folds - 1).ppf((1 + confidence) / 2) * math.sqrt(variance * (1 / n_folds + 1 / (n_folds - 1)))
        assert (row.difference, row.low, row.high) == pytest.approx((mean, mean - margin, mean + margin), abs=1e-12)


def test_the_interval_holds_the_difference_as_often_as_it_says():
    # Nadeau and Bengio's assumption: the differences on two folds correlate as m / (n + m), here 1/4. Then it is exact.
    n_folds, n_searches, truth = 4, 4000, 0.3
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(n_searches, 1)), rng.normal(size=(n_searches, n_folds))
    losses = np.vstack([np.zeros(n_folds), truth + math.sqrt(1 / 4) * common + math.sqrt(3 / 4) * own])
    rows = [RankedConfiguration(i, {"name": i}, row.mean(), row.std(), tuple(row), "done", "") for i, row in enumerate(losses)]
    for confidence in (0.8, 0.95):
        comparison = list(compare(Ranking(rows), folds=folds_of(n_folds), confidence=confidence))[1:]
        held = np.mean([row.low <= truth <= row.high for row in comparison])
        deviation = math.sqrt(confidence * (1 - confidence) / n_searches)
        assert abs(held - confidence) < 3 * deviation
        # Student's interval for independent folds is sqrt(1/4 / (1/4 + 1/3)) as wide, so it contains the difference too rarely.
        shrink = math.sqrt((1 / 4) / (1 / 4 + 1 / 3))
        assert (
            np.mean([abs(row.difference - truth) <= shrink * (row.high - row.difference) for row in comparison]) < held - 0.05
        )


# ---- invariances ---------------------------------------------------------------------------------------------------


@given(losses=matrices(4), shifts=st.lists(st.integers(0, 5), min_size=4, max_size=4))
def test_how_hard_a_fold_is_does_not_matter(losses, shifts):
    before = compare(ranking_of(losses), folds=folds_of(4))
    after = compare(ranking_of(losses + np.array(shifts)), folds=folds_of(4))
    assume(names(before) == names(after))  # rounding may reorder equal means
    for one, other in zip(before, after, strict=True):
        assert (one.difference, one.low, one.high) == pytest.approx((other.difference, other.low, other.high), abs=1e-12)


@given(losses=matrices(4), data=st.data())
def test_a_row_depends_on_itself_and_the_best_alone(losses, data):
    ranking = ranking_of(losses)
    others = data.draw(st.permutations(ranking[1:]))[: data.draw(st.integers(0, len(ranking) - 1))]
    whole = {row.rank: row for row in compare(ranking, folds=folds_of(4))}
    for row in compare(Ranking([ranking[0], *others]), folds=folds_of(4)):
        assert row == whole[row.rank]


@given(losses=matrices(4))
def test_more_confidence_distinguishes_no_more(losses):
    ranking = ranking_of(losses)
    sets = [set(names(compare(ranking, folds=folds_of(4), confidence=c).indistinguishable)) for c in (0.5, 0.9, 0.99)]
    assert sets[0] <= sets[1] <= sets[2]


def test_repeats_of_the_same_losses_change_nothing():
    losses = np.random.default_rng(0).random((5, 4))
    once = compare(ranking_of(losses), folds=folds_of(4))
    thrice = compare(ranking_of(np.tile(losses, 3)), folds=folds_of(4), repeats=3)
    assert names(once) == names(thrice)
    for one, other in zip(once, thrice, strict=True):
        assert (one.standard_error, one.low, one.high) == pytest.approx((other.standard_error, other.low, other.high))


# ---- the sets ------------------------------------------------------------------------------------------------------


def test_the_indistinguishable_and_those_within_one_standard_error():
    losses = {
        "best": [1.0, 2.0, 3.0, 4.0],
        "same on each fold": [1.0, 2.0, 3.0, 4.0],
        "a little worse, always": [1.1, 2.1, 3.1, 4.2],
        "sometimes better": [4.0, 3.0, 2.0, 1.8],
        "worse": [3.0, 4.1, 5.0, 6.1],
    }
    comparison = compare(ranking_of(list(losses.values())), folds=folds_of(4))
    assert comparison.best is comparison[0]
    assert comparison.best.standard_error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert [list(losses)[name] for name in names(comparison.indistinguishable)] == [
        "best",
        "same on each fold",
        "sometimes better",
    ]
    # The standard error of the best, 0.645, does not use paired differences.
    assert [list(losses)[name] for name in names(comparison.within_one_standard_error)] == list(losses)[:4]
    assert (comparison[1].difference, comparison[1].low, comparison[1].high) == (0.0, 0.0, 0.0)


def test_the_simplest():
    comparison = compare(ranking_of([[1.0, 2.0], [1.1, 2.1], [1.1, 2.2], [8.0, 9.0]]), folds=folds_of(2))
    sizes = {0: 300, 1: 20, 2: 20, 3: 1}
    asked = []

    def size(configuration):
        asked.append(configuration["name"])
        return sizes[configuration["name"]]

    assert comparison.simplest(size) is comparison[1]  # of equally simple ones, the first
    assert asked == [0, 1, 2]
    assert comparison.simplest(lambda configuration: 0) is comparison.best


def test_configurations_that_diverged_are_left_out():
    ranking = Ranking([*ranking_of([[1.0, 2.0], [1.5, 2.5]]), BAD])
    assert names(compare(ranking, folds=folds_of(2))) == [0, 1]
    nothing = compare(Ranking([BAD]), folds=folds_of(2))
    assert list(nothing) == []
    assert nothing.indistinguishable == nothing.within_one_standard_error == ()
    for use in (lambda: nothing.best, lambda: nothing.simplest(len)):
        with pytest.raises(SearchError, match="every configuration failed or diverged; the ranking gives the reasons"):
            use()


@pytest.mark.parametrize("repeats", [1, 3])
def test_one_fold_tells_nothing(repeats):
    losses = np.array([[1.0], [1.0], [5.0]]) * np.ones(repeats)
    comparison = compare(ranking_of(losses), folds=[(range(90), range(30))], repeats=repeats)
    assert names(comparison.indistinguishable) == [0, 1, 2]
    assert names(comparison.within_one_standard_error) == [0, 1]
    assert [row.difference for row in comparison] == [0.0, 0.0, 4.0]
    assert all(math.isnan(number) for row in comparison for number in (row.standard_error, row.low, row.high))
    assert str(comparison).endswith(
        "With one fold there are no intervals: no configuration can be distinguished from the best."
    )


def test_losses_too_large_to_square_distinguish_nothing():
    comparison = compare(ranking_of([[1.0, 2.0], [1e200, 1e308], [1.7e308, 1.7e308]]), folds=folds_of(2))
    assert names(comparison.indistinguishable) == [0, 1, 2]
    assert names(comparison.within_one_standard_error) == [0]


def test_table():
    comparison = compare(Ranking([*ranking_of([[1.0, 2.0], [1.5, 2.75], [9.0, 10.0]]), BAD]), folds=folds_of(2))
    lines = str(comparison).splitlines()
    assert " ".join(lines[0].split()) == "rank name mean standard error difference low high distinguishable"
    assert [line.split()[-1] for line in lines[1:4]] == ["False", "False", "True"]
    assert lines[4].startswith("Not distinguishable from the best: 2 of 3 configurations")
    assert lines[-1] == "Within one standard error of the best: 1."
    assert len(comparison.table(top=2).splitlines()) == 3
    assert repr(comparison) == "Comparison(3 configurations)"
    assert len(comparison) == 3


def test_refusals():
    ranking = ranking_of([[1.0, 2.0]])
    for confidence in (0.0, 1.0, 95, math.nan):
        with pytest.raises(ValueError, match=f"compare: confidence={confidence}, expected a number between 0 and 1"):
            compare(ranking, folds=folds_of(2), confidence=confidence)
    with pytest.raises(ValueError, match="compare: repeats=0, expected at least 1"):
        compare(ranking, folds=folds_of(2), repeats=0)
    with pytest.raises(
        ValueError, match="configuration of rank 1 has 2 losses, expected 6: one for each of 3 folds in each of 2 repeats"
    ):
        compare(ranking, folds=folds_of(3), repeats=2)
