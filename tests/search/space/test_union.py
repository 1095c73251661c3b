"""Lists of grids: which lists are read as grids, and that their union has each configuration once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import ParameterGrid as SklearnGrid

from search import GridSearch, ParameterGrid, SuccessiveHalving, canonical_text
from search.space.configuration import Configuration
from search.space.union import GridUnion, as_strategy
from search.store.differences import differences
from search.store.fingerprint import fingerprint
from search.testing import build_polynomial
from search.trials.folds import KFold, make_layout

AXES = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.sampled_from([0, 0.0, 1, True, (1,)]), min_size=1, unique_by=repr), min_size=1
)


def read(*items):
    return list(as_strategy(list(items)).candidates(0))


@given(st.lists(AXES, min_size=1, max_size=4))
def test_a_union_has_each_configuration_of_its_grids_once(axes):
    grids = [ParameterGrid(each) for each in axes]
    union = GridUnion(grids)
    texts = [canonical_text(configuration) for configuration in union]
    assert len(texts) == len(set(texts)) == len(union)
    assert set(texts) == {canonical_text(configuration) for grid in grids for configuration in grid}
    assert [canonical_text(union[i]) for i in range(len(union))] == texts
    assert [canonical_text(union[i - len(union)]) for i in range(len(union))] == texts
    for i in (len(union), -len(union) - 1):
        with pytest.raises(IndexError, match=f"below {len(union)}"):
            union[i]


def test_a_list_of_mappings_to_lists_is_that_of_scikit_learn():
    axes = [{"kernel": ["rbf"], "gamma": [0.1, 1.0]}, {"kernel": ["linear"]}]
    assert {canonical_text(x) for x in read(*axes)} == {canonical_text(x) for x in SklearnGrid(axes)}
    assert read({"hidden": [4, 8]}) == [{"hidden": 4}, {"hidden": 8}]
    assert read({"lr": np.array([0.1, 0.2])}) == [{"lr": 0.1}, {"lr": 0.2}]
    assert read({"hidden": [[4, 8], [4]]}) == [{"hidden": (4, 8)}, {"hidden": (4,)}]


def test_configurations_stay_configurations():
    assert read({"hidden": (4, 8)}, {"hidden": (4,)}) == [{"hidden": (4, 8)}, {"hidden": (4,)}]
    assert read(Configuration({"hidden": [4, 8]})) == [{"hidden": (4, 8)}]
    assert read({"hidden": [4, 8]}, ParameterGrid(lr=[0.1]), {"hidden": (4, 8)}) == [
        {"hidden": 4},
        {"hidden": 8},
        {"lr": 0.1},
        {"hidden": (4, 8)},
    ]


@pytest.mark.parametrize(
    "items", [[{"hidden": [4, 8], "lr": 0.1}], ({"hidden": [4, 8]} for _ in range(1)), SklearnGrid({"hidden": [[4, 8], [4]]})]
)
def test_what_may_be_a_grid_or_a_configuration_is_refused(items):
    with pytest.raises(
        ValueError, match=r"which may be a grid or a configuration; expected .*, hidden=\(\.\.\.\), or"
    ) as failure:
        as_strategy(items)
    assert "\n" not in str(failure.value)


def test_an_item_that_is_neither():
    with pytest.raises(TypeError, match="5 given in a list of grids, expected a ParameterGrid or a mapping"):
        read(ParameterGrid(lr=[0.1]), 5)


def made_from(grid):
    x = np.zeros((4, 1))
    layout = make_layout(KFold(2), x, x)
    return fingerprint(x, x, as_strategy(grid).candidates(0), layout, 0, build_polynomial)


def test_a_store_compares_a_union_as_a_set():
    one, other = ParameterGrid(lr=[0.1, 0.2], l1=[0.0]), ParameterGrid(lr=[0.2, 0.3], l1=[0.0])
    union = made_from([one, other])
    assert not differences(union, made_from([other, one]))
    assert not differences(union, made_from(ParameterGrid(lr=[0.1, 0.2, 0.3], l1=[0.0])))
    assert not differences(union, made_from([*one, {"lr": 0.3, "l1": 0.0}]))
    assert differences(union, made_from([one])) == {"grid": "lr has 0.1, 0.2, 0.3 there and 0.1, 0.2 here"}


def test_millions_of_configurations_are_not_enumerated(monkeypatch):
    many = {name: list(range(100)) for name in "abcd"}
    monkeypatch.setattr(Configuration, "__init__", lambda *_: pytest.fail("a configuration was made"))
    grids = [ParameterGrid(many | {"d": [0, 200]}), ParameterGrid(many), ParameterGrid(e=[1])]
    assert len(as_strategy(grids)) == 2 * 100**3 + 99 * 100**3 + 1
    there, here = made_from(grids), made_from(grids[1:])
    assert not differences(there, made_from(grids[::-1]))
    assert differences(there, here) == {"grid": "1 of 3 grids there are not here, 0 of 2 here are not there"}
    assert "grids in a list there" in differences(there, made_from(grids[0]))["grid"]


def test_search_and_halving_take_lists_of_grids():
    x = np.linspace(-1.0, 1.0, 12)
    grids = [ParameterGrid(degree=[1, 2]), {"degree": [2, 3]}]
    result = GridSearch(build_polynomial, grids, store=None, workers=1).run(x, x**2, progress=False)
    assert sorted(row.configuration["degree"] for row in result) == [1, 2, 3]
    assert len(SuccessiveHalving(grids, epochs=9).candidates(0)) == 3
