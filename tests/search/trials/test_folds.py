import numpy as np
import pandas as pd
import pytest
from sklearn import model_selection

from search import KFold
from search.trials.folds import as_groups, make_folds


@pytest.mark.parametrize(("n_samples", "n_splits"), [(120, 4), (11, 3), (5, 5), (2, 2), (103, 10)])
def test_equal_to_scikit_learn_unshuffled(n_samples, n_splits):
    x = np.zeros((n_samples, 1))
    theirs = model_selection.KFold(n_splits).split(x)
    for (train, validation), (their_train, their_validation) in zip(KFold(n_splits).split(x), theirs, strict=True):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(validation, their_validation)


@pytest.mark.parametrize(("n_samples", "n_splits"), [(120, 4), (11, 3)])
def test_shuffled_folds_are_contiguous_parts_of_one_order(n_samples, n_splits):
    folds = list(KFold(n_splits, shuffle=True, seed=3).split(range(n_samples)))
    order = np.concatenate([validation for _, validation in folds])
    assert sorted(order) == list(range(n_samples))
    assert list(order) != list(range(n_samples))
    for train, validation in folds:
        np.testing.assert_array_equal(train, [i for i in order if i not in validation])


def test_seed_repeats_and_matters():
    def order(seed):
        return np.concatenate([part for _, part in KFold(4, shuffle=True, seed=seed).split(range(50))]).tolist()

    assert order(0) == order(0) != order(1)


def test_refusals():
    for n_splits in (1, 0, -4, True, 2.5, "4"):
        with pytest.raises(ValueError, match=rf"KFold\({n_splits!r}\): expected an integer of at least 2"):
            KFold(n_splits)
    for seed in (-1, 0.5, "0"):
        with pytest.raises(ValueError, match=rf"KFold\(4, seed={seed!r}\): expected an integer of at least 0 as the seed"):
            KFold(4, shuffle=True, seed=seed)
    with pytest.raises(ValueError, match="no seed given, expected one"):
        KFold(4, shuffle=True)
    with pytest.raises(ValueError, match="the seed has no effect, give shuffle=True with it"):
        KFold(4, seed=0)
    with pytest.raises(ValueError, match=r"KFold\(4\): 3 samples given, expected at least 4"):
        list(KFold(4).split([1, 2, 3]))


@pytest.mark.parametrize(
    "splitter",
    [
        model_selection.KFold(3, shuffle=True, random_state=0),
        model_selection.ShuffleSplit(2, random_state=0),
        model_selection.RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
        model_selection.StratifiedKFold(2),
        model_selection.LeaveOneOut(),
        model_selection.TimeSeriesSplit(3),
    ],
)
def test_splitters_of_scikit_learn(splitter):
    x, y = np.zeros((12, 1)), np.repeat([[0.0], [1.0]], 6, axis=0)
    for (train, validation), theirs in zip(make_folds(splitter, x, y), splitter.split(x, y), strict=True):
        np.testing.assert_array_equal(train, theirs[0])
        np.testing.assert_array_equal(validation, theirs[1])


class Splits:
    def __init__(self, *folds):
        self.folds = folds

    def split(self, *_):
        return iter(self.folds)

    def __repr__(self):
        return "Splits()"


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([], r"Splits\(\) yields no fold"),
        ([([0, 1], [])], "fold 0: validation part is of shape .*, expected some indices"),
        ([([0.5], [1])], "fold 0: training part is of shape .* type float64"),
        ([([True, False], [1])], "type bool"),
        ([([[0]], [1])], r"shape \(1, 1\)"),
        ([([0], [1]), ([0], [3])], "fold 1: validation index outside the 3 samples, expected 0 to 2"),
        ([([-1], [1])], "fold 0: training index outside"),
        ([([0, 1], [1, 2])], "fold 0: sample 1 both trains and validates"),
    ],
)
def test_bad_folds(folds, message):
    with pytest.raises(ValueError, match=message):
        make_folds(Splits(*folds), np.zeros((3, 1)), np.zeros((3, 1)))


def test_the_error_of_a_splitter_names_it():
    splitter = model_selection.StratifiedKFold(2)
    with pytest.raises(ValueError, match=r"^StratifiedKFold\(n_splits=2, .*\): Supported target types are"):
        make_folds(splitter, np.zeros((4, 1)), np.linspace(0.0, 0.5, 4))


def test_what_a_splitter_yields_is_pairs():
    x = np.zeros((3, 1))
    for split in (np.arange(3), (np.arange(1), np.arange(1, 2), np.arange(2, 3))):
        with pytest.raises(ValueError, match="fold 0: a .* is no pair, expected training and validation indices"):
            make_folds(Splits(split), x, x)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([None, "a", "b"], ValueError, "groups holds None at 0, expected the group of each sample; drop the samples without"),
        (["a", 1, "b"], TypeError, "groups holds values that cannot be compared, expected all of one kind: '<'"),
        (pd.Series(["a", None, "b"]), ValueError, "groups holds (nan|None) at 1"),
        (pd.array(["a", pd.NA, "b"], dtype="string"), ValueError, "groups holds <NA> at 1"),
        (np.ma.masked_array([1, 2, 3], mask=[False, True, False]), ValueError, "groups holds -- at 1"),
        (np.array(["a", 1, 1], object), TypeError, "cannot be compared"),
        (np.array([1, np.nan, 2], object), ValueError, "groups holds nan at 1, expected the group of each sample"),
        (np.array(["2020-01-01", "NaT", "NaT"], "M8[D]"), ValueError, "groups holds NaT at 1"),
    ],
)
def test_groups_that_are_none(groups, error, message):
    with pytest.raises(error, match=message) as failure:
        as_groups(groups, 3)
    assert "\n" not in str(failure.value)
