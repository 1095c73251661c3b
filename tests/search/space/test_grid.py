import json
import math
from itertools import product

import numpy as np
import pytest
from sklearn.model_selection import ParameterGrid as SklearnGrid

from search import ParameterGrid, canonical_text
from search.space.configuration import Configuration
from search.trials.seeds import fit_seed


def test_order_is_that_of_itertools_product():
    axes = {"b": [1, 2], "a": ["x", "y", "z"], "c": [None, True]}
    grid = ParameterGrid(**axes)
    expected = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    assert list(grid) == expected
    assert len(grid) == len(expected) == 12
    assert [grid[i] for i in range(12)] == expected
    assert [grid[i - 12] for i in range(12)] == expected
    assert [list(configuration) for configuration in grid] == [["b", "a", "c"]] * 12


def test_same_configurations_as_scikit_learn():
    axes = {"lr": [0.1, 0.2], "l1": [0.0, 1e-3]}
    ours = {canonical_text(configuration) for configuration in ParameterGrid(axes)}
    assert ours == {canonical_text(configuration) for configuration in SklearnGrid(axes)}


def test_mapping_or_keywords():
    assert list(ParameterGrid({"lr": [1, 2]})) == list(ParameterGrid(lr=[1, 2]))
    with pytest.raises(TypeError, match="a mapping and keywords given, expected one of them"):
        ParameterGrid({"lr": [1]}, l1=[0])


def test_a_million_entries_are_not_laid_out():
    grid = ParameterGrid({name: range(10) for name in "abcdef"})
    assert len(grid) == 1_000_000
    assert grid[123_456] == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}


def test_index_out_of_range():
    grid = ParameterGrid(lr=[1, 2])
    for position in (2, -3):
        with pytest.raises(IndexError, match=f"position {position} given, expected one below 2"):
            grid[position]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ([], r"lr=\[\] is empty, expected at least one value"),
        (np.array([]), r"lr=\[\] is empty"),
        ("relu", r"lr='relu' is not a sequence of values, expected lr=\[...\]"),
        (b"relu", "is not a sequence"),
        (0.1, r"lr=0.1 is not a sequence of values, expected lr=\[...\]"),
        ({0.1}, "is not a sequence"),
        ([0.1, 0.2, 0.1], "lr has 0.1 twice, expected each value once"),
        ([(1, 2), [1, 2]], r"lr has \(1, 2\) twice"),
        ([math.nan, float("nan")], "lr has nan twice"),
    ],
)
def test_bad_axis(axis, message):
    with pytest.raises(ValueError, match=message):
        ParameterGrid(lr=axis)


def test_no_axis():
    with pytest.raises(ValueError, match="no axis given, expected at least one"):
        ParameterGrid()


@pytest.mark.parametrize("value", [1j, b"x", {1}, {"a": 1}, object(), np.ones(2), np.complex128(1), lambda: 0])
def test_bad_value_names_the_key(value):
    with pytest.raises(TypeError, match=r"size=.* is of type .*, expected None, bool, int, float, str"):
        ParameterGrid(size=[value])
    with pytest.raises(TypeError, match="size="):
        Configuration({"size": (1, [value])})


@pytest.mark.parametrize("name", [1, "", None])
def test_bad_name(name):
    with pytest.raises(TypeError, match="expected a string that is not empty"):
        ParameterGrid({name: [1]})
    with pytest.raises(TypeError, match="expected a string that is not empty"):
        Configuration({name: 1})


def test_numpy_values_become_plain():
    configuration = Configuration({"a": np.float64(0.1), "b": np.int32(3), "c": np.bool_(True), "d": np.str_("x"), "e": [1]})
    assert configuration == {"a": 0.1, "b": 3, "c": True, "d": "x", "e": (1,)}
    assert [type(value) for value in configuration.values()] == [float, int, bool, str, tuple]
    assert ParameterGrid(lr=np.array([0.1, 0.2]))[1] == {"lr": 0.2}


def test_text_tells_apart_what_differs():
    values = [
        1,
        1.0,
        True,
        "1",
        "true",
        None,
        "null",
        0.0,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        (1,),
        ((1,),),
        0.1 + 0.2,
    ]
    texts = [canonical_text({"v": value}) for value in values]
    assert len(set(texts)) == len(values)
    assert [repr(Configuration.from_text(text)["v"]) for text in texts] == [repr(value) for value in values]


def test_text_of_equal_content_is_equal():
    one = {"hidden": (75, 50), "lr": 0.1}
    two = {"lr": np.float64(0.1), "hidden": [np.int64(75), 50]}
    assert canonical_text(one) == canonical_text(two)
    assert Configuration(one).digest == Configuration(two).digest
    assert json.loads(canonical_text(one)) == {"hidden": [75, 50], "lr": 0.1}


def test_seed_follows_from_content():
    draws = {
        (seed, lr, fold): np.random.default_rng(fit_seed(seed, {"lr": lr, "n": 1}, fold)).random()
        for seed in (0, 1)
        for lr in (0.1, 0.2)
        for fold in (0, 1, "retrain")
    }
    assert len(set(draws.values())) == 12
    assert draws[0, 0.1, 0] == np.random.default_rng(fit_seed(0, {"n": 1, "lr": np.float64(0.1)}, 0)).random()


def test_seed_is_the_same_in_every_version():
    assert np.random.default_rng(fit_seed(0, {"lr": 0.1}, 0)).integers(10**9) == 968378357
