"""Stored searches side by side, and as data frames."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from search import (
    GridSearch,
    KFold,
    Outcome,
    ParameterGrid,
    SearchError,
    Store,
    StoredSearch,
    canonical_text,
    compare_stores,
)
from search.frames import data_frame
from search.ranking.ranking import rank
from search.testing import build_polynomial
from tests.helpers.searches import data


def search(store, grid, build=build_polynomial, folds=None, targets=None, **options):
    x, y = data()
    y = y if targets is None else targets
    return GridSearch(build, grid, folds or KFold(4), store, workers=1, **options).run(x, y, progress=False)


def other_polynomial(configuration, rng):
    return build_polynomial({**configuration, "lr": 0.3}, rng)


def test_the_intervals_are_those_of_the_corrected_t_test(tmp_path):
    one, other = tmp_path / "one.sqlite", tmp_path / "other.sqlite"
    first = search(one, ParameterGrid(degree=[1, 2, 3], epochs=[20]))
    second = search(other, ParameterGrid(degree=[2, 3, 4], epochs=[20]), other_polynomial)
    found = compare_stores(one, StoredSearch(other), confidence=0.9)
    assert (len(found), found.only_one, found.only_other) == (2, 1, 1)
    assert [row.configuration for row in found] == [row.configuration for row in first if row.configuration["degree"] > 1]
    losses = {row.configuration.text: np.array(row.losses) for row in second}
    for row, ranked in zip(found, (r for r in first if r.configuration["degree"] > 1), strict=True):
        d = losses[row.configuration.text] - ranked.losses
        margin = stats.t.ppf(0.95, 3) * np.sqrt((1 / 4 + 6 / 18) * d.var(ddof=1))
        assert np.allclose([row.difference, row.low, row.high], [d.mean(), d.mean() - margin, d.mean() + margin], rtol=1e-9)
        assert row.is_distinguishable == (row.low > 0 or row.high < 0)
    assert found.different.keys() == {"grid", "builder"}
    assert "degree has 1, 2, 3 there and 2, 3, 4 here" in str(found)


def test_repeats_are_averaged_before_the_difference(tmp_path):
    grid = ParameterGrid(degree=[2], epochs=[20])
    stores = [tmp_path / name for name in ("one.sqlite", "other.sqlite")]
    one, other = (
        search(store, grid, build, repeats=2)[0].losses
        for store, build in zip(stores, (build_polynomial, other_polynomial), strict=True)
    )
    d = (np.subtract(other, one)).reshape(2, 4).mean(axis=0)
    margin = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 6 / 18) * d.var(ddof=1))
    [row] = compare_stores(*stores)
    assert np.allclose([row.low, row.high], [d.mean() - margin, d.mean() + margin], rtol=1e-9)


def test_other_folds_have_no_intervals(tmp_path):
    grid = ParameterGrid(degree=[1, 2], epochs=[20])
    stores = [tmp_path / name for name in ("one.sqlite", "other.sqlite")]
    for store, folds in zip(stores, (KFold(4), KFold(4, shuffle=True, seed=0)), strict=True):
        search(store, grid, folds=folds)
    found = compare_stores(*stores)
    assert not found.is_paired
    assert all(np.isnan(row.low) and not row.is_distinguishable and row.difference == row.other - row.one for row in found)
    assert "The folds differ, so the losses are not of the same samples: there are no intervals." in str(found)
    assert found.different == {"folds": "the same sizes, other samples"}


def test_outer_folds_do_not_count(tmp_path):
    stores = [tmp_path / name for name in ("one.sqlite", "other.sqlite")]
    x, y = data()
    for store, outer in zip(stores, (None, KFold(2)), strict=True):
        GridSearch(build_polynomial, ParameterGrid(degree=[1]), KFold(4), store, workers=1).run(
            x, y, outer=outer, progress=False
        )
    assert compare_stores(*stores).is_paired


def test_stores_that_cannot_be_compared(tmp_path):
    paths = [tmp_path / name for name in ("one.sqlite", "other.sqlite", "scored.sqlite")]
    for path, lr, scoring in zip(paths, (0.1, 0.2, 0.1), ("data loss", "data loss", "r2"), strict=True):
        with Store(path, {"seed": "0", "scoring": scoring}) as store:
            store.add({"lr": lr}, 0, Outcome("done", 0.5))
    with pytest.raises(SearchError, match="no configuration is done in both stores, expected at least one"):
        compare_stores(*paths[:2])
    with pytest.raises(
        SearchError, match=r"the scores differ \(data loss there, r2 here\), expected stores that rank by the same"
    ):
        compare_stores(paths[0], paths[2])
    with pytest.raises(ValueError, match="confidence=95, expected a number between 0 and 1"):
        compare_stores(paths[0], paths[0], confidence=95)


def test_scores_that_decide_keep_their_direction(tmp_path):
    paths = [tmp_path / name for name in ("one.sqlite", "other.sqlite")]
    plan = json.dumps({"fold sizes": [(20, 10)] * 3})
    for path, gain in zip(paths, (0.0, 0.1), strict=True):
        with Store(path, {"folds": "3 folds sha256:1"}) as store:
            store.note("plan", plan)
            for lr in (0.1, 0.2):
                for fold in range(3):
                    store.add({"lr": lr}, fold, Outcome("done", 1.0, scores={"r2": lr + gain * (1 + 0.01 * fold)}))
    found = compare_stores(*paths)
    assert [row.configuration["lr"] for row in found] == [0.2, 0.1]
    assert all(row.other > row.one and 0.0 < row.low < row.difference < row.high for row in found)
    assert "In the other store 0 have a lower r2, 2 a higher one" in str(found)
    assert StoredSearch(paths[0]).to_frame()["r2"].tolist() == [0.1] * 3 + [0.2] * 3


def test_a_fit_is_a_row_with_typed_columns(tmp_path):
    path = tmp_path / "search.sqlite"
    with Store(path, {"seed": "0"}) as store:
        store.add({"degree": 1, "lr": 0.1}, 0, Outcome("done", 0.5), epochs=9)
        store.add({"degree": 1, "lr": 0.1}, 0, Outcome("done", 0.25, 0.125, 2.0))
        store.add({"degree": 2, "lr": 1}, 0, Outcome("failed", reason="ValueError: no"), epochs=9)
    frame = StoredSearch(path).to_frame()
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds["degree"] == kinds["fold"] == kinds["stopped_after"] == "Int64"
    assert kinds["lr"] == kinds["validation_loss"] == kinds["seconds"] == "float64"
    assert frame["stopped_after"].isna().tolist() == [False, True, False]
    assert frame["validation_loss"].tolist()[:2] == [0.5, 0.25]
    assert frame["reason"].tolist() == ["", "", "ValueError: no"]


def test_every_type_of_value_has_its_column():
    given = [
        {"units": 8, "lr": 1, "act": "relu", "bias": True, "hidden": (4, 8), "big": 2**70, "mean": "x"},
        {"units": 4, "lr": 0.5, "act": "", "bias": False, "hidden": None, "big": 1, "mean": "y", "extra": 3},
        {"units": None, "lr": 2.5},
    ]
    outcomes = {(canonical_text(x), 0): Outcome("done", 0.5) for x in given}
    frame = rank(given, outcomes, n_folds=1).to_frame()
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert (
        kinds
        | {
            "rank": "Int64",
            "units": "Int64",
            "lr": "float64",
            "act": "category",
            "bias": "boolean",
            "hidden": "object",
            "big": "object",
            "extra": "Int64",
            "param_mean": "category",
            "mean": "float64",
            "reason": str(pd.Series(["a"], dtype="str").dtype),  # "object" before pandas 3
        }
        == kinds
    )
    row = frame[frame["lr"] == 2.5].iloc[0]
    assert all(pd.isna(row[name]) for name in ("units", "act", "bias", "hidden", "big", "extra", "param_mean"))
    assert frame["big"].max() == 2**70, "an integer lost digits"
    assert (frame["act"] == "").sum() == 1, "an empty text is not a missing value"
    assert frame["rank"].tolist() == [1, 2, 3]


def test_a_frame_without_rows():
    assert list(data_frame([], [], ["rank", "mean"], []).columns) == ["rank", "mean"]
