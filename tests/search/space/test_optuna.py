"""Optuna proposes the same trials on any number of workers, and after any interruption."""

import subprocess
import sys
from functools import partial

import pytest

from search import OptunaSampler, Search, Store, StoreError
from search.testing import build_polynomial
from tests.helpers.searches import build_scored, data

optuna = pytest.importorskip("optuna", reason="needs the extra optuna")
FloatDistribution, IntDistribution = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution

SPACE = {"lr": FloatDistribution(0.05, 1.0, log=True), "degree": [1, 2, 3], "epochs": IntDistribution(5, 20)}


def run(strategy, build=build_polynomial, store=None, workers=1, **options):
    return Search(build, strategy, store=store, workers=workers, **options).run(*data(), progress=False)


def rows(result):
    return [(row.configuration, row.status, row.losses) for row in result]


def test_questions_and_answers_are_those_of_a_study(monkeypatch):
    """A plain loop of ask and tell, in the order of the trials."""
    result = run(OptunaSampler(SPACE, n_trials=22, batch=5), seed=7)
    losses = {str(row.configuration): row.mean for row in result}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
    distributions = SPACE | {"degree": optuna.distributions.CategoricalDistribution(range(3))}
    for size in (5, 5, 5, 5, 2):
        trials = [study.ask(distributions) for _ in range(size)]
        for trial in trials:
            configuration = {**trial.params, "degree": trial.params["degree"] + 1}
            study.tell(trial, losses[str({name: configuration[name] for name in SPACE})])
    assert len(result) == len({str(trial.params) for trial in study.trials})
    assert result[0].mean == study.best_value


@pytest.mark.filterwarnings("ignore:BruteForceSampler is experimental")
@pytest.mark.parametrize(
    "sampler", [partial(optuna.samplers.GridSampler, {"loss": [0, 1, 2]}), optuna.samplers.BruteForceSampler]
)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_sampler_that_has_no_more_questions_ends_the_search(sampler, batch):
    result = run(OptunaSampler({"loss": [1.0, 2.0, 3.0]}, n_trials=50, batch=batch, sampler=sampler), build_scored)
    assert [row.mean for row in result] == [1.0, 2.0, 3.0]


def test_a_partial_sampler_is_described_without_addresses():
    sampler = partial(optuna.samplers.TPESampler, gamma=len)
    other = partial(optuna.samplers.TPESampler, gamma=build_bowl)
    texts = [OptunaSampler(SPACE, n_trials=2, sampler=x).describe() for x in (sampler, other)]
    assert texts[0] != texts[1]
    assert "gamma=build_bowl" in texts[1], "else the next process would find another search"


def test_it_learns():
    """On a quadratic function. The first ten trials are drawn at random, the rest are proposed by the sampler."""
    result = run(OptunaSampler({"at": FloatDistribution(-10.0, 10.0)}, n_trials=40, batch=5), build_bowl)
    asked = [row.configuration["at"] for row in result]
    assert abs(asked[0] - 3.0) < 0.5
    assert sum(abs(x - 3.0) < 3.0 for x in asked) > 20


def build_bowl(configuration, rng):
    return build_scored({"loss": (configuration["at"] - 3.0) ** 2}, rng)


def test_values_may_be_anything_that_a_configuration_can_hold(recwarn):
    values = [(10, 10), None, "relu", 0.5, True]
    result = run(OptunaSampler({"hidden": values, "degree": [1]}, n_trials=60, batch=60))
    assert {row.configuration["hidden"] for row in result} == {*values}
    assert not recwarn.list


def test_questions_depend_neither_on_workers_nor_on_interruptions(tmp_path, monkeypatch):
    strategy = OptunaSampler(SPACE, n_trials=24, batch=4)
    reference = rows(run(strategy))
    assert rows(run(strategy, workers=2)) == reference
    added, stops = [], [3, 16, 50, 95]

    def interrupted(self, *arguments, add=Store.add):
        if stops and len(added) == stops[0]:
            del stops[0]
            raise KeyboardInterrupt
        added.append((str(arguments[0]), arguments[1]))
        add(self, *arguments)

    monkeypatch.setattr(Store, "add", interrupted)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(strategy, store=tmp_path / "search.sqlite")
    assert rows(run(strategy, store=tmp_path / "search.sqlite")) == reference
    assert len(added) == len({*added}) == 4 * len(reference), "a finished fit was run again"


def test_the_seed_and_the_sampler_decide():
    def asked(seed=0, **options):
        rounds = OptunaSampler(SPACE, n_trials=5, **options).rounds(seed)
        return list(next(rounds).configurations)

    assert asked() == asked() != asked(seed=1)
    assert asked(seed=2**40)
    assert asked(sampler=Shifted) == asked(seed=1, sampler=optuna.samplers.RandomSampler)


class Shifted(optuna.samplers.RandomSampler):
    def __init__(self, seed):
        super().__init__(seed=seed + 1)


def test_an_answer_that_is_none_is_told_as_a_failure():
    told = []

    class Recorded(optuna.samplers.RandomSampler):
        def after_trial(self, study, trial, state, values):
            told.append((state.name, values))

    run(OptunaSampler({"loss": [float("nan"), 1.0, float("inf")]}, n_trials=12, batch=4, sampler=Recorded), build_scored)
    assert {state for state, _ in told} == {"FAIL", "COMPLETE"}
    assert {tuple(values) for state, values in told if state == "COMPLETE"} == {(1.0,)}
    assert len(told) == 12


def test_optuna_says_nothing_and_keeps_its_own_verbosity(capsys):
    before = optuna.logging.get_verbosity()
    run(OptunaSampler(SPACE, n_trials=3, batch=2))
    assert capsys.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before


def test_a_store_knows_the_space_and_the_sampler(tmp_path):
    store = tmp_path / "search.sqlite"
    run(OptunaSampler({"degree": [1, 2]}, n_trials=2), store=store)
    for other in (
        OptunaSampler({"degree": [1, 3]}, n_trials=2),
        OptunaSampler({"degree": [1, 2]}, n_trials=3),
        OptunaSampler({"degree": [1, 2]}, n_trials=2, batch=1),
        OptunaSampler({"degree": [1, 2]}, n_trials=2, sampler=optuna.samplers.RandomSampler),
        OptunaSampler({"degree": [1, 2]}, n_trials=2, sampler=partial(optuna.samplers.TPESampler, n_startup_trials=1)),
    ):
        with pytest.raises(StoreError, match="strategy"):
            run(other, store=store)


def test_an_axis_may_depend_on_those_before_it(recwarn):
    """Optuna itself refuses other categories of the same name, and a distribution of another kind."""
    space = {
        "layers": [1, 2],
        "hidden": lambda chosen: [(width,) * chosen["layers"] for width in range(4, 4 + chosen["layers"])],
        "momentum": lambda chosen: FloatDistribution(0.5, 0.9) if chosen["layers"] == 2 else None,
        "degree": [1],
    }
    sampler = OptunaSampler(space, n_trials=30, batch=30)
    asked = [row.configuration for row in run(sampler)]
    assert {(x["layers"], x["hidden"]) for x in asked} == {(1, (4,)), (2, (4, 4)), (2, (5, 5))}
    assert all(("momentum" in x) == (x["layers"] == 2) for x in asked)
    assert all(0.5 <= x["momentum"] <= 0.9 for x in asked if x["layers"] == 2)
    assert "<lambda>" in sampler.describe()
    assert " at 0x" not in sampler.describe()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("axis", "error", "message"),
    [
        (lambda chosen: 0.5, TypeError, "OptunaSampler: momentum=0.5, expected a distribution of Optuna's or a list of values"),
        (
            lambda chosen: [chosen["adam"]],
            ValueError,
            "the function momentum reads 'adam', expected one of lr, chosen before it",
        ),
    ],
)
def test_bad_functions(axis, error, message):
    with pytest.raises(error, match=message):
        next(OptunaSampler({"lr": [0.1], "momentum": axis}, n_trials=1).rounds(0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (({}, 5), TypeError, r"OptunaSampler: space=\{\}, expected a mapping from names to distributions or lists of values"),
        (([1], 5), TypeError, r"OptunaSampler: space=\[1\], expected"),
        (({"lr": 0.1}, 5), TypeError, "OptunaSampler: lr=0.1, expected a distribution of Optuna's or a list of values"),
        (({"lr": "ab"}, 5), TypeError, "OptunaSampler: lr='ab', expected"),
        (({"lr": []}, 5), ValueError, r"lr=\[\] is empty"),
        ((SPACE, 0), ValueError, "OptunaSampler: n_trials=0, expected an integer of at least 1"),
        ((SPACE, 5, 0), ValueError, "OptunaSampler: batch=0, expected"),
        (
            (SPACE, 5, 5, optuna.samplers.RandomSampler(seed=0)),
            TypeError,
            "OptunaSampler: sampler=.*, expected a class, such as",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message) as failure:
        OptunaSampler(*arguments)
    assert "\n" not in str(failure.value)


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'needs Optuna: pip install "\.\[optuna\]" in a checkout'):
        OptunaSampler({"lr": [1]}, n_trials=1)


def test_optuna_is_imported_only_where_it_is_used():
    script = "import sys, search; search.RandomSampler(1, lr=[1]); print('optuna' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"
