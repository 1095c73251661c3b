"""Studies of Optuna that were made from a ranking, read back by Optuna."""

import json
import math

import pytest

from search import Outcome, SearchError, Store, StoredSearch, export_optuna
from search.ranking.ranking import rank
from search.space.configuration import Configuration

optuna = pytest.importorskip("optuna", reason="needs the extra optuna")

MIXED = [1, True, "1", None, (1,), 2.5]
CONFIGURATIONS = [
    Configuration({"lr": 10.0**-i, "units": i, "hidden": (i, i), "act": "ab"[i % 2], "bias": i % 2 == 0, "mixed": MIXED[i]})
    for i in range(5)
] + [Configuration({"lr": 0.5, "momentum": 0.9})]


def ranking():
    outcomes = {(x.text, k): Outcome("done", 0.1 * i + k) for i, x in enumerate(CONFIGURATIONS) for k in range(2)}
    outcomes[CONFIGURATIONS[3].text, 1] = Outcome("diverged", math.nan, reason="loss is nan")
    return rank(CONFIGURATIONS, outcomes, 2, last_rounds={CONFIGURATIONS[2].text: 9})


def test_a_study_can_be_loaded(tmp_path, capfd):
    export_optuna(ranking(), tmp_path / "study.db", "one")
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4 + ["PRUNED", "FAIL"]
    for row, trial in zip(ranking(), study.trials, strict=True):
        attributes = trial.user_attrs
        assert json.loads(attributes["configuration"]) == json.loads(row.configuration.text)
        assert (attributes["rank"], attributes["status"], attributes["reason"]) == (row.rank, row.status, row.reason)
        assert trial.value == (row.mean if row.status == "done" else None)
        assert attributes["fold 0"] == row.losses[0]
        assert trial.params.keys() == row.configuration.keys()
        assert trial.params["lr"] == row.configuration["lr"]
    assert "fold 1" not in study.trials[5].user_attrs
    assert study.best_params == {"lr": 1.0, "units": 0, "hidden": "[0,0]", "act": "a", "bias": True, "mixed": "1"}
    distributions = study.best_trial.distributions
    assert distributions["lr"] == optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    assert distributions["units"] == optuna.distributions.IntDistribution(0, 4)
    assert distributions["bias"].choices == (False, True)
    assert len(distributions["mixed"].choices) == 5, "1, True and '1' became one category"
    assert capfd.readouterr().err == ""


def test_a_store_can_be_exported_and_is_not_written_to(tmp_path):
    path = tmp_path / "search.sqlite"
    with Store(path, {"seed": "0"}) as store:
        with pytest.raises(SearchError, match="no configuration is finished yet; wait, or run the search"):
            export_optuna(StoredSearch(path), tmp_path / "study.db")
        store.add({"lr": 0.1}, 0, Outcome("done", 0.5))
    study = export_optuna(StoredSearch(path), optuna.storages.InMemoryStorage())
    assert (study.best_params, study.best_value) == ({"lr": 0.1}, 0.5)
    for storage in (path, f"sqlite:///{path}"):
        with pytest.raises(SearchError, match="is the store of a search, which other tables would damage; give another path"):
            export_optuna(ranking(), storage)
    assert len(StoredSearch(path).outcomes) == 1


def test_a_storage_that_cannot_be_written(tmp_path, monkeypatch):
    export_optuna(ranking(), tmp_path / "study.db")
    with pytest.raises(SearchError, match="has a study 'search' already; give another name") as failure:
        export_optuna(ranking(), tmp_path / "study.db")
    with pytest.raises(SearchError, match="cannot be written: .*; give another storage") as failure:
        export_optuna(ranking(), tmp_path / "missing" / "study.db")
    assert "\n" not in str(failure.value)

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(optuna.Study, "add_trials", fails)
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(SearchError, match="cannot be written: OSError: disk full"):
        export_optuna(ranking(), storage)
    assert optuna.get_all_study_names(storage) == [], "a part of a study was left"


def test_a_score_that_decides_is_maximized():
    rows = [Configuration({"lr": lr}) for lr in (0.1, 0.2)]
    outcomes = {
        (x.text, k): Outcome("done", 1.0, scores={"r2": x["lr"] + 0.1 * k, "neg_max_error": -2.0}) for x in rows for k in (0, 1)
    }
    study = export_optuna(rank(rows, outcomes, 2), optuna.storages.InMemoryStorage())
    assert study.direction.name == "MAXIMIZE"
    assert study.best_params == {"lr": 0.2}
    attributes = study.best_trial.user_attrs
    assert attributes["fold 1"] == pytest.approx(0.3)
    assert (attributes["mean r2"], attributes["mean neg_max_error"]) == (study.best_value, -2.0)
