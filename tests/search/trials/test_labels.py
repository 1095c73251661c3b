"""Targets as people have them: strings, booleans, floats that are labels, matrices of 0 and 1, and what cannot be used."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from search import Search
from search.trials.data import read_samples
from search.trials.folds import check_class_sizes

X = np.arange(6.0)


@pytest.mark.parametrize(
    ("y", "task", "codes", "classes"),
    [
        (["b", "a", "b", "c", "a", "a"], None, [1, 0, 1, 2, 0, 0], ["a", "b", "c"]),
        ([True, False, True, True, False, True], None, [1, 0, 1, 1, 0, 1], [False, True]),
        ([2.5, 1.5, 2.5, 1.5, 1.5, 1.5], "classification", [1, 0, 1, 0, 0, 0], [1.5, 2.5]),
        ([7, 3, 3, 5, 5, 7], "classification", [2, 0, 0, 1, 1, 2], [3, 5, 7]),
        (np.array([["x"], ["y"]] * 3), None, [0, 1] * 3, ["x", "y"]),
        (pd.Series(["u", "v"] * 3, dtype="category"), None, [0, 1] * 3, ["u", "v"]),
        (np.array(["p", "q"] * 3, dtype=object), "classification", [0, 1] * 3, ["p", "q"]),
    ],
)
def test_labels_become_codes(y, task, codes, classes):
    samples = read_samples(X, y, task=task)
    assert (samples.task, samples.y.tolist(), samples.classes.tolist()) == ("classification", codes, classes)
    assert samples.y.dtype == np.int64


def test_integers_stay_as_they_are_unless_a_task_says_what_they_are():
    samples = read_samples(X, [1, 2, 3, 1, 2, 3])
    assert (samples.task, samples.classes, samples.y.tolist()) == (None, None, [1, 2, 3, 1, 2, 3])
    numbers = read_samples(X, [1, 2, 3, 1, 2, 3], task="regression")
    assert (numbers.task, numbers.y.shape, numbers.y.dtype) == ("regression", (6, 1), np.float64)


def test_a_matrix_of_zeros_and_ones_has_several_labels():
    y = np.tile([[1, 0], [0, 1], [1, 1]], (2, 1))
    samples = read_samples(X, y, task="classification")
    assert (samples.task, samples.y.shape, samples.y.dtype) == ("multilabel", (6, 2), np.float64)
    with pytest.raises(ValueError, match=r"y holds 2.0 at \(3, 1\), expected 0 or 1 for each label of each sample"):
        read_samples(X, np.where(np.arange(12).reshape(6, 2) == 7, 2, 1), task="multilabel")


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        (["a"] * 6, None, "y has one class, 'a', expected at least two; is it the right column?"),
        (["a", "b", None, "a", "b", "a"], None, "y has no label at 2, expected one for each sample; drop those without"),
        ([1.0, 2.0, np.nan, 1.0, 2.0, 1.0], "classification", "y has no label at 2, expected"),
        ([1.5] * 6, None, r"y is constant, \[1.5\] in all samples, expected values that differ; is it the right column?"),
        (["1", "2"] * 3, "regression", "y has labels, such as '1', expected numbers for the task 'regression'"),
        ([1, 2] * 3, "ranking", "task='ranking', expected 'regression', 'classification', 'multilabel', or None"),
        ([1, 2] * 3, "multilabel", r"y has shape \(6,\), expected \(samples,\) labels or \(samples, labels\) of 0 and 1"),
        (["a", "b", float("nan"), "a", "b", "a"], None, "y has no label at 2"),
        (pd.Series(["a", "b", pd.NA, "a", "b", "a"], dtype="string"), None, "y has no label at 2"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.5], "classification", "y has 5 different values in 6 samples, expected labels of classes"),
        (["a", "b"] * 2, None, "x has 6 samples and y has 4 samples, expected the same number"),
    ],
)
def test_targets_that_are_refused(y, task, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        read_samples(X, y, task=task)


def test_labels_of_two_types_are_refused():
    with pytest.raises(TypeError, match="y has labels of the types int and str, expected one type"):
        read_samples(X, ["a", "b", 1, "a", "b", "a"])
    with pytest.raises(TypeError, match=r"y is missing, expected run\(x, y\), or run\(table\)"):
        read_samples(X)


@pytest.mark.parametrize(("labels", "kind"), [([b"a", b"b"], "bytes"), (np.array(["2026", "2027"], "M8[D]"), "date")])
def test_labels_of_which_no_model_could_be_made_are_refused_before_the_search(labels, kind):
    with pytest.raises(TypeError, match=f"^y has labels of the type {kind}, expected numbers, texts or booleans; turn them"):
        read_samples(X, np.repeat(labels, 3), task="classification")


def test_labels_are_encoded_as_in_the_search_that_knew_them():
    classes = np.array(["a", "b", "c"])
    assert read_samples(X[:2], ["c", "b"], task="classification", classes=classes).y.tolist() == [2, 1]
    with pytest.raises(ValueError, match="test y has the label 'd', expected one of 'a', 'b', 'c'"):
        read_samples(X[:2], ["a", "d"], task="classification", classes=classes, label="test ")
    assert read_samples(X[:2], [7, 3], task="classification", classes=np.array([3, 5, 7])).y.tolist() == [2, 0]


@pytest.mark.parametrize("y", [[2, 0, 1, 1, 2, 0], [7, 3, 5, 5, 7, 3]])
def test_a_table_may_have_encoded_its_labels_or_not(y):
    x = np.array([[0.0, np.nan], *np.ones((5, 2))])
    table = SimpleNamespace(x=x, y=y, groups=None, weight=None, task="classification", classes=[3, 5, 7])
    samples = read_samples(table)
    assert (samples.y.tolist(), samples.classes.tolist(), samples.table) == ([2, 0, 1, 1, 2, 0], [3, 5, 7], table)
    with pytest.raises(ValueError, match="y is given beside a table"):
        read_samples(table, y)
    table.x = np.where(np.isnan(x), np.inf, x)
    with pytest.raises(ValueError, match=r"x holds inf at \(0, 1\)"):
        read_samples(table)


def test_a_class_with_fewer_samples_than_folds_is_refused():
    y = ["a"] * 9 + ["rare"] * 3
    message = "class 'rare' has 3 of 12 samples, expected at least 4, one for each fold; merge or drop it, or give fewer folds"
    with pytest.raises(ValueError, match=message):
        Search(print, [{"lr": 0.1}], store=None).run(np.arange(12.0), y)
    check_class_sizes(np.array([0, 0, 1, 1]), [1.0, 2.0], n_folds=2)
