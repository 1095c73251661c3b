import csv
import math
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from search import GridSearch, KFold, Outcome, ParameterGrid, SearchError, SearchResult, canonical_text
from search.ranking.comparison import compare
from search.ranking.ranking import rank
from search.testing import build_polynomial
from search.trials.folds import make_folds
from tests.helpers.searches import SEARCH_GRID, build_network, build_scored, build_troubled, data

X_TEST = np.linspace(-0.9, 0.9, 7)
TEST = X_TEST, X_TEST**2


def outcome(loss, status="done", reason=""):
    return Outcome(status, loss, reason=reason)


def ranking_of(losses_by_name, n_folds=2, repeats=1, last_rounds=None):
    configurations = [{"name": name} for name in losses_by_name]
    outcomes = {
        (canonical_text({"name": name}), fold): loss if isinstance(loss, Outcome) else outcome(loss)
        for name, losses in losses_by_name.items()
        for fold, loss in enumerate(losses)
    }
    by_text = {canonical_text({"name": name}): epochs for name, epochs in (last_rounds or {}).items()}
    return rank(configurations, outcomes, n_folds, repeats, by_text)


@pytest.fixture(scope="module")
def result():
    return GridSearch(build_polynomial, SEARCH_GRID, store=None, workers=1).run(*data(), progress=False)


def test_order_mean_and_deviation():
    ranking = ranking_of({"worst": [2.0, 4.0], "best": [1.0, 1.5], "middle": [1.0, 3.0]})
    assert [row.configuration["name"] for row in ranking] == ["best", "middle", "worst"]
    assert [(row.rank, row.mean, row.std) for row in ranking] == [(1, 1.25, 0.25), (2, 2.0, 1.0), (3, 3.0, 1.0)]
    assert ranking[0].losses == (1.0, 1.5)
    assert len(ranking) == 3
    assert ranking[-1].rank == 3


def test_ties_and_failures_stand_in_order_of_their_text():
    names = ["d", "b", "a", "c"]
    for order in (names, names[::-1]):
        good = ranking_of({name: [1.0, 1.0] for name in order})
        bad = ranking_of({name: [1.0, outcome(math.nan, "failed", "ValueError: no")] for name in order})
        assert [row.configuration["name"] for row in good] == ["a", "b", "c", "d"]
        assert [row.configuration["name"] for row in bad] == ["a", "b", "c", "d"]
        assert {(row.status, row.reason) for row in bad} == {("failed", "fold 1: ValueError: no")}


def test_one_bad_fold_ranks_last_and_shows_the_others():
    ranking = ranking_of({"bad": [0.1, outcome(math.inf, "diverged", "loss is inf")], "good": [9.0, 9.0]})
    assert [row.configuration["name"] for row in ranking] == ["good", "bad"]
    assert ranking[1].losses == (0.1, math.inf)
    assert math.isnan(ranking[1].mean)
    assert ranking[1].status == "diverged"


def test_stopped_stand_between_done_and_all_others_the_latest_first():
    losses = {"a": [9.0, outcome(math.nan, "failed", "no")], "b": [5.0, 6.0], "c": [1.0, 2.0], "d": [7.0, 7.0], "e": [8.0, 8.0]}
    losses |= {"f": [3.0, 5.0], "g": [4.0, 4.0], "h": [outcome(math.inf, "diverged", "inf"), 1.0]}
    last_rounds = {"b": 4, "c": 4, "d": 12, "f": 4, "g": 4, "h": 12}
    ranking = ranking_of(losses, last_rounds=last_rounds)
    assert [row.configuration["name"] for row in ranking] == ["e", "d", "c", "f", "g", "b", "a", "h"]
    assert [row.status for row in ranking] == ["done"] + ["stopped"] * 5 + ["failed", "diverged"]
    assert [row.last_round for row in ranking] == [None, 12, 4, 4, 4, 4, None, None]
    assert [row.rank for row in ranking] == [*range(1, 9)]
    assert ranking[1].reason == "not among the best of the round to epoch 12", "all folds decided, not one"
    assert ranking[-1].reason == "fold 0: inf"
    assert math.isnan(ranking[1].mean), "a loss on the way is no score"
    assert [row.rank for row in ranking.done] == [1]


def test_some_rows_of_a_ranking():
    ranking = ranking_of({"a": [3.0], "b": [2.0], "c": [outcome(math.nan, "failed")], "d": [1.0]}, n_folds=1)
    assert [row.rank for row in ranking.best()] == [1, 2, 3]
    assert ranking.best(top=2) == ranking.done[:2]
    assert ranking.rows_of({"name": name} for name in "aca") == (ranking[2], ranking[3])


def test_csv_round_trips(tmp_path, result):
    result.ranking.to_csv(tmp_path / "ranking.csv")
    with (tmp_path / "ranking.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    folds = ["fold 0", "fold 1", "fold 2", "fold 3"]
    assert list(rows[0]) == ["rank", "degree", "lr", "epochs", "mean", "std", *folds, "status", "reason"]
    for row, expected in zip(rows, result, strict=True):
        assert int(row["rank"]) == expected.rank
        assert float(row["mean"]) == expected.mean
        assert float(row["std"]) == expected.std
        assert tuple(float(row[f"fold {i}"]) for i in range(4)) == expected.losses


def test_csv_of_awkward_values(tmp_path):
    reason = 'ValueError: a "quoted", text'
    ranking = rank(
        [{"hidden": (75, 50), "name": "a,b"}],
        {(canonical_text({"hidden": (75, 50), "name": "a,b"}), 0): outcome(math.nan, "failed", reason)},
        n_folds=1,
    )
    ranking.to_csv(tmp_path / "ranking.csv")
    with (tmp_path / "ranking.csv").open(newline="") as stream:
        [_, row] = csv.reader(stream)
    assert row == ["1", "(75, 50)", "a,b", "nan", "nan", "nan", "failed", f"fold 0: {reason}"]


def test_csv_is_written_whole_or_not_at_all(tmp_path, result, monkeypatch):
    path = tmp_path / "ranking.csv"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SearchError, match=r"ranking.csv cannot be written: No space left on device; give another path"):
        result.ranking.to_csv(path)
    assert [file.name for file in tmp_path.iterdir()] == ["ranking.csv"]
    assert path.read_text() == "old"


def test_csv_to_bad_paths(tmp_path, result):
    for path in (tmp_path / "none" / "ranking.csv", tmp_path):
        with pytest.raises(SearchError, match=r"cannot be written: .*; give another path"):
            result.ranking.to_csv(path)
    assert list(tmp_path.iterdir()) == []


def test_frame(result):
    frame = result.ranking.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == len(SEARCH_GRID)
    assert frame["mean"].tolist() == [row.mean for row in result]


def test_frame_without_pandas(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install"):
        result.ranking.to_frame()


def test_table(result):
    lines = str(result).splitlines()
    assert " ".join(lines[0].split()) == "rank degree lr epochs mean std fold 0 fold 1 fold 2 fold 3"
    assert len(lines) == 1 + len(SEARCH_GRID)
    assert len(result.ranking.table(top=2).splitlines()) == 3
    bad = ranking_of({"good": [1.0, 1.0], "bad": [outcome(math.nan, "failed", "ValueError: no")] * 2})
    assert bad.table().splitlines()[2].endswith("failed  fold 0: ValueError: no")
    assert "status" not in bad.table(top=1)


def test_repeats_have_columns_of_their_own(tmp_path):
    losses = {"good": [1.0, 2.0, 3.0, 4.0], "bad": [1.0, 2.0, outcome(math.nan, "failed", "ValueError: no"), 4.0]}
    ranking = ranking_of(losses, repeats=2)
    ranking.to_csv(tmp_path / "ranking.csv")
    with (tmp_path / "ranking.csv").open(newline="") as stream:
        good, bad = csv.DictReader(stream)
    assert (good["mean"], good["fold 0 repeat 0"], good["fold 1 repeat 0"], good["fold 0 repeat 1"]) == (
        "2.5",
        "1.0",
        "2.0",
        "3.0",
    )
    assert bad["reason"] == "fold 0 repeat 1: ValueError: no"


# ---- comparison ----------------------------------------------------------------------------------------------------


def test_comparison(result):
    comparison = result.comparison()
    assert [(row.rank, row.configuration, row.mean) for row in comparison] == [
        (row.rank, row.configuration, row.mean) for row in result
    ]
    assert comparison.best.standard_error == pytest.approx(np.std(result[0].losses, ddof=1) / 2)
    assert str(comparison) == str(compare(result.ranking, folds=make_folds(KFold(4, shuffle=True, seed=0), *data())))
    wide, narrow = result.comparison(confidence=0.99)[1], result.comparison(confidence=0.5)[1]
    assert wide.low < narrow.low < narrow.difference < narrow.high < wide.high
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        result.comparison(confidence=95)


def test_comparison_of_repeats(result):
    ranking = ranking_of({"a": [1.0, 2.0, 1.5, 2.0], "b": [2.0, 2.5, 3.0, 4.0]}, repeats=2)
    folds = result.folds[:2]
    comparison = replace(result, ranking=ranking, folds=folds, repeats=2).comparison()
    assert comparison[1].difference == 1.25
    assert comparison[1].high == compare(ranking, folds=folds, repeats=2)[1].high


def test_the_simplest_network_is_that_of_the_fewest_parameters():
    losses = {"wide": [1.0, 2.0], "small": [1.1, 2.3], "smaller": [1.2, 2.3], "smallest but bad": [7.0, 8.0]}
    hidden = {"wide": (9, 8), "small": (2, 3), "smaller": (4, 1), "smallest but bad": (1, 1)}
    result = SearchResult(ranking_of(losses), partial(build_named, hidden), seed=0, folds=((range(9), range(9)),) * 2)
    # 4 + 4, 4 + 1 and 1 + 1 weights and biases are 15; 2 + 2, 6 + 3 and 3 + 1 are 17.
    assert result.simplest_configuration().configuration == {"name": "smaller"}
    assert result.simplest_configuration(lambda configuration: len(configuration["name"])).configuration == {"name": "wide"}
    assert result.simplest_configuration(lambda configuration: -len(configuration["name"])).configuration == {"name": "smaller"}
    nothing = replace(result, ranking=ranking_of({"bad": [outcome(math.nan, "failed")] * 2}))
    with pytest.raises(SearchError, match="every configuration failed or diverged"):
        nothing.simplest_configuration()


def build_named(hidden, configuration, rng):
    return build_network({"hidden": hidden[configuration["name"]]}, rng)


# ---- re-training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_retrained_networks_belong_to_their_configurations(result, workers):
    retrained = replace(result, workers=workers).retrain(top=3, train=data(), test=TEST, progress=False)
    assert [row.rank for row in retrained] == [1, 2, 3]
    for row, ranked in zip(retrained, result, strict=False):
        assert (row.configuration, row.mean) == (ranked.configuration, ranked.mean)
        np.testing.assert_array_equal(row.history["lr"], np.full(20, row.configuration["lr"]))
        assert row.history["train_loss"].shape == (20,)
        assert row.test_loss == row.history["validation_loss"][-1]
        powers = np.vander(TEST[0], row.configuration["degree"] + 1, increasing=True)
        assert row.test_loss == np.mean((powers @ row.state_dict["weight"] - TEST[1]) ** 2) / 2
        assert row.train_loss == row.history["train_loss"][-1]
        assert row.status == "done"
    expected = result.retrain(top=3, train=data(), test=TEST, progress=False)
    assert [row.test_loss for row in expected] == [row.test_loss for row in retrained]


def test_winners(result):
    retrained = result.retrain(train=data(), test=TEST, progress=False)
    assert len(retrained) == len(SEARCH_GRID)
    assert retrained.best_by_cv is retrained[0]
    assert retrained.best_by_test.test_loss == min(row.test_loss for row in retrained)
    lines = str(retrained).splitlines()
    assert " ".join(lines[0].split()) == "cv rank degree lr epochs cv mean train loss test loss"
    assert len(lines) == 1 + len(SEARCH_GRID)


class Mean:
    """The least that a search accepts: it has no network and no history."""

    def fit(self, x, y):
        self.mean = y.mean()

    def evaluate(self, x, y):
        return float(0.5 * ((y - self.mean) ** 2).mean())


def test_an_object_with_fit_and_evaluate_only_is_tested_and_reported(tmp_path):
    search = GridSearch(lambda config, rng: Mean(), ParameterGrid(name=["mean"]), store=None, workers=1)
    result = search.run(*data(), progress=False)
    [row] = result.retrain(train=data(), test=TEST, progress=False)
    mean = data()[1].mean()
    assert row.status == "done"
    assert row.test_loss == pytest.approx(0.5 * ((TEST[1] - mean) ** 2).mean())
    result.report(tmp_path, train=data(), test=TEST, progress=False)
    with pytest.raises(TypeError, match="a Mean has no number of parameters, expected complexity=, a function"):
        result.simplest_configuration()


def test_a_notebook_shows_the_ranking(result):
    assert repr(result) == f"SearchResult(Ranking({len(SEARCH_GRID)} configurations))"
    assert result._repr_html_() == result.ranking._repr_html_() == f"<pre>{result.ranking}</pre>"
    grid = ParameterGrid(name=["<b>"], loss=[0.5])
    html = GridSearch(build_scored, grid, store=None, workers=1).run(*data(), progress=False).ranking._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_retrain_leaves_out_what_failed():
    grid = ParameterGrid(behaviour=["raises", "works"])
    result = GridSearch(build_troubled, grid, store=None, workers=1).run(*data(), progress=False)
    retrained = result.retrain(train=data(), test=TEST, progress=False)
    assert [row.configuration["behaviour"] for row in retrained] == ["works"]


def test_retrain_that_fails():
    search = GridSearch(build_scored, ParameterGrid(loss=[0.5, 0.25]), store=None, workers=1)
    result = replace(search.run(*data(), progress=False), build=build_troubled)
    retrained = result.retrain(train=data(), test=TEST, progress=False)
    assert [row.status for row in retrained] == ["failed", "failed"]
    assert retrained[0].history == retrained[0].state_dict == {}
    assert "KeyError: 'behaviour'" in str(retrained)
    for name in ("best_by_cv", "best_by_test"):
        with pytest.raises(SearchError, match="no configuration could be re-trained"):
            getattr(retrained, name)


@pytest.mark.parametrize(
    ("behaviours", "failure"),
    [
        (["raises", "works"], ""),
        (
            ["raises"],
            "every configuration failed or diverged, all for the same reason: failed, KeyError: 'no such\\nactivation'",
        ),
        (
            ["raises", "diverges", "leaves"],
            "every configuration failed or diverged, for example: diverged, NonFiniteLossError: loss is nan",
        ),
    ],
)
def test_a_search_in_which_everything_failed_gives_the_reason(behaviours, failure):
    grid = ParameterGrid(behaviour=behaviours)
    result = GridSearch(build_troubled, grid, store=None, workers=1).run(*data(), progress=False)
    assert result.ranking.failure.startswith(failure)
    assert bool(result.ranking.failure) == bool(failure)
    if failure:
        for use in (lambda: result.best, lambda: result.retrain(train=data(), test=TEST, progress=False)):
            with pytest.raises(SearchError, match="every configuration failed or diverged, "):
                use()


def test_retrain_refusals(result):
    with pytest.raises(ValueError, match="^top=0, expected at least 1"):
        result.retrain(top=0, train=data(), test=TEST)
    with pytest.raises(ValueError, match="test x has 2 samples and test y has 1 samples, expected the same number"):
        result.retrain(train=data(), test=([1, 2], [1]))
    with pytest.raises(ValueError, match=r"training y holds nan at \(1,\)"):
        result.retrain(train=([1, 2], [1, math.nan]), test=TEST)
    with pytest.raises(
        ValueError, match=r"test x has samples of shape \(2,\) and float64, expected \(1,\) and float64 as in training x"
    ):
        result.retrain(train=data(), test=([[1, 2]], [1]))
    with pytest.raises(
        ValueError, match=r"test y has samples of shape \(1,\) and float32, expected \(1,\) and float64 as in training y"
    ):
        result.retrain(train=data(), test=([1.0], np.ones(1, np.float32)))
    bad = GridSearch(build_troubled, [{"behaviour": "raises"}], store=None, workers=1).run(*data(), progress=False)
    with pytest.raises(SearchError, match="every configuration failed or diverged"):
        bad.retrain(train=data(), test=TEST)


def test_retrain_what_is_named(result):
    chosen = [dict(reversed(result[i].configuration.items())) for i in (4, 1, 4)]
    retrained = result.retrain(configurations=iter(chosen), train=data(), test=TEST, progress=False)
    assert [row.rank for row in retrained] == [2, 5]
    whole = result.retrain(train=data(), test=TEST, progress=False)
    assert [row.test_loss for row in retrained] == [whole[1].test_loss, whole[4].test_loss]
    with pytest.raises(ValueError, match=r'^configuration {"degree":9} is not in the ranking, expected one of its rows'):
        result.retrain(configurations=[{"degree": 9}], train=data(), test=TEST)
    with pytest.raises(ValueError, match="^configurations is empty, expected at least one"):
        result.retrain(configurations=[], train=data(), test=TEST)


def test_seed_distribution(result):
    configuration = {"degree": 2, "lr": 0.1, "epochs": 5}
    losses = result.seed_distribution(configuration, seeds=6, train=data(), test=TEST, progress=False)
    assert losses.shape == (6,)
    assert len(set(losses)) == 6
    fewer = result.seed_distribution(configuration, seeds=4, train=data(), test=TEST, progress=False)
    np.testing.assert_array_equal(fewer, losses[:4])
    diverging = configuration | {"lr": 1e9, "epochs": 500}
    losses = result.seed_distribution(diverging, seeds=2, train=data(), test=TEST, progress=False)
    assert np.isnan(losses).all()
    with pytest.raises(ValueError, match="seeds=0, expected at least 1"):
        result.seed_distribution(configuration, seeds=0, train=data(), test=TEST)


# ---- optimism ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_optimism_is_of_the_losses_of_seed_distribution(result, workers):
    optimism = replace(result, workers=workers).optimism(top=3, seeds=4, train=data(), test=TEST, progress=False)
    assert optimism.losses.shape == (3, 4)
    for losses, row in zip(optimism.losses, result, strict=False):
        expected = result.seed_distribution(row.configuration, seeds=4, train=data(), test=TEST, progress=False)
        np.testing.assert_array_equal(losses, expected)


def test_optimism_leaves_out_what_failed():
    grid = ParameterGrid(behaviour=["raises", "works"])
    result = GridSearch(build_troubled, grid, store=None, workers=1).run(*data(), progress=False)
    assert result.optimism(seeds=2, train=data(), test=TEST, progress=False).losses.shape == (1, 2)
    optimism = replace(result, build=build_diverging).optimism(seeds=2, train=data(), test=TEST, progress=False)
    assert np.isnan(optimism.losses).all()
    assert str(optimism).endswith("2 of 2 trainings failed or diverged and are left out.")


def build_diverging(configuration, rng):
    return build_troubled({"behaviour": "diverges"}, rng)


def test_optimism_refusals(result):
    with pytest.raises(ValueError, match="optimism: seeds=1, expected at least 2"):
        result.optimism(seeds=1, train=data(), test=TEST)
    with pytest.raises(ValueError, match="^top=0, expected at least 1"):
        result.optimism(top=0, train=data(), test=TEST)


def test_optimism_of_configurations_that_are_named(result):
    named = [row.configuration for row in result[2:5:2]]
    optimism = result.optimism(seeds=2, configurations=reversed(named), train=data(), test=TEST, progress=False)
    for losses, configuration in zip(optimism.losses, named, strict=True):
        expected = result.seed_distribution(configuration, seeds=2, train=data(), test=TEST, progress=False)
        np.testing.assert_array_equal(losses, expected)


# ---- report --------------------------------------------------------------------------------------------------------


def reported(result, folder, monkeypatch, **options):
    """The arguments with which a report is written."""
    given = {}
    monkeypatch.setattr("search.report.page.write_report", lambda *_, **contents: given.update(contents))
    result.report(folder, train=data(), test=TEST, seeds=2, progress=False, **options)
    return given


def test_a_report_draws_the_seeds_of_what_was_trained_again(result, tmp_path, monkeypatch):
    last = [row.configuration for row in result[3:]]
    retrained = result.retrain(configurations=last, train=data(), test=TEST, progress=False)
    contents = reported(result, tmp_path, monkeypatch, retrained=retrained, top=1)
    winner = retrained.best_by_test.configuration
    expected = result.seed_distribution(winner, seeds=2, train=data(), test=TEST, progress=False)
    np.testing.assert_array_equal(contents["seed_losses"], expected)
    assert contents["optimism"].losses.shape == (len(retrained), 2)
    assert contents["retrained"] is retrained


def test_a_report_trains_what_is_missing(result, tmp_path, monkeypatch):
    contents = reported(result, tmp_path, monkeypatch, top=2)
    assert [row.rank for row in contents["retrained"]] == [1, 2]
    assert contents["optimism"].losses.shape == (2, 2)


@pytest.mark.parametrize("is_retrained", [True, False])
def test_a_report_refuses_the_optimism_of_other_configurations(result, tmp_path, is_retrained):
    optimism = result.optimism(top=2, seeds=2, train=data(), test=TEST, progress=False)
    retrained = result.retrain(top=3, train=data(), test=TEST, progress=False) if is_retrained else None
    with pytest.raises(
        ValueError, match=r"^report: optimism of 2 configurations, expected the 3 that are re-trained; .*$"
    ) as failure:
        result.report(tmp_path, train=data(), test=TEST, retrained=retrained, optimism=optimism, top=3, progress=False)
    assert "\n" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []
