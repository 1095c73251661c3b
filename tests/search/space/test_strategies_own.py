"""Strategies of users: which losses they get, what is resumed, and what is ranked at the end."""

import numpy as np
import pytest

from search import KFold, ParameterGrid, RandomSampler, Search, SuccessiveHalving
from search.run import runner
from search.run.strategy_run import mean_objective
from search.space.rounds import Round
from search.space.union import as_strategy
from tests.helpers.searches import build_network, build_scored, data


def run(build, strategy, **options):
    return Search(build, strategy, KFold(2), None, workers=1, **options).run(*data(), progress=False)


CONFIGURATION = {"lr": 0.02, "epochs": 9, "batch_size": 5}


class Given:
    """Yields rounds of one configuration with the given epochs, and keeps the losses."""

    def __init__(self, *epochs):
        self.epochs = epochs
        self.answers = []

    def rounds(self, seed):
        for epochs in self.epochs:
            self.answers += yield Round([CONFIGURATION], epochs)

    def candidates(self, seed):
        return ()

    def describe(self):
        return f"epochs {self.epochs}"


def test_a_shorter_round_after_a_longer_one_is_trained_anew():
    """Otherwise it would have the score of the longer round, and a resumed search would differ from one that is not."""
    alone, after = Given(3), Given(6, 3)
    run(build_network, alone)
    run(build_network, after)
    assert after.answers[1] == alone.answers[0] != after.answers[0]


def test_what_was_trained_to_its_end_is_ranked_once_whatever_came_later():
    [row] = run(build_network, Given(None, 3))
    [expected] = run(build_network, [CONFIGURATION])
    assert (row.status, row.losses) == (expected.status, expected.losses)
    assert row.status == "done"


@pytest.mark.parametrize("epochs", [(3,), (3, 6)])
def test_where_nothing_is_trained_to_its_end_all_is_ranked_as_stopped(epochs):
    [row] = run(build_network, Given(*epochs))
    assert (row.configuration, row.status) == (CONFIGURATION, "stopped")
    assert row.reason == f"not among the best of the round to epoch {epochs[-1]}"
    assert row.last_round == epochs[-1]


def test_of_trainings_that_stopped_the_time_counts_too():
    grid = ParameterGrid(lr=[0.02, 0.05, 0.1], epochs=[9], batch_size=[5])
    facts = dict(run(build_network, SuccessiveHalving(grid, epochs=9, factor=3)).facts)
    assert facts["fits"].startswith("8, "), "3 configurations and then 1, on 2 folds"


class OwnRound:
    """A round that is not a Round, but has what a search reads."""

    def __init__(self, configurations, epochs):
        self.configurations = configurations
        self.epochs = epochs


class OwnRounds(Given):
    def rounds(self, seed):
        for epochs in self.epochs:
            self.answers += yield OwnRound([CONFIGURATION], epochs)


def test_a_round_may_be_any_object_with_configurations_and_epochs():
    given, own = Given(3, None), OwnRounds(3, None)
    [expected] = run(build_network, given)
    [row] = run(build_network, own)
    assert own.answers == given.answers
    assert (row.status, row.losses) == (expected.status, expected.losses)
    assert row.status == "done"


class PlainCandidates(Given):
    def candidates(self, seed):
        return [{"lr": lr, "epochs": 9, "batch_size": 5} for lr in (0.02, 0.05, 0.1)]


def test_halving_takes_candidates_that_are_plain_dicts():
    grid = ParameterGrid(lr=[0.02, 0.05, 0.1], epochs=[9], batch_size=[5])
    results = [run(build_network, SuccessiveHalving(x, epochs=9, factor=3)) for x in (PlainCandidates(), grid)]
    assert [row.status for row in results[0]] == ["done", "stopped", "stopped"]
    assert str(results[0].ranking) == str(results[1].ranking)


class OneByOne(Given):
    def rounds(self, seed):
        for i in range(40):
            yield Round([{"loss": float(i)}])


def test_a_round_looks_at_its_own_fits_and_not_at_those_of_all_earlier_ones(monkeypatch):
    looked_at = []
    monkeypatch.setattr(runner, "mean_objective", lambda *given: looked_at.append(given[0]) or mean_objective(*given))
    assert len(run(build_scored, OneByOne())) == 40
    assert len(looked_at) == 80


@pytest.mark.parametrize("given", [{"lr": [0.1]}, 5])
def test_what_is_no_list_of_configurations(given):
    with pytest.raises(TypeError, match="expected a ParameterGrid, another strategy, or configurations in a list") as failure:
        as_strategy(given)
    assert "\n" not in str(failure.value)


def test_numbers_of_numpy_are_numbers():
    grid = ParameterGrid(lr=[0.02, 0.05, 0.1], epochs=[9], batch_size=[5])
    results = [
        Search(build_network, SuccessiveHalving(grid, number(9), number(3)), KFold(2), None, workers=1, repeats=number(2))
        .run(*data(), progress=False)
        .ranking
        for number in (int, np.int64)
    ]
    assert str(results[0]) == str(results[1])


class Counted:
    """A distribution that counts its draws."""

    draws = 0

    def rvs(self, random_state):
        self.draws += 1
        return random_state.uniform()


def test_candidates_are_drawn_once_for_a_search():
    axis = Counted()
    run(build_scored, RandomSampler(3, loss=axis), seed=5)
    assert axis.draws == 3


def test_some_of_more_combinations_than_an_index_can_count():
    sampler = RandomSampler(5, {f"axis {i}": range(10) for i in range(25)})
    drawn = list(sampler.candidates(seed=0))
    assert len({str(configuration) for configuration in drawn}) == 5
    assert {value for configuration in drawn for value in configuration.values()} == {*range(10)}


def own_rounds(answer):
    class Own(Given):
        def rounds(self, seed):
            return answer()

    return Own()


def yields(*rounds):
    def answer():
        for round_ in rounds:
            _losses = yield round_

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: [Round([CONFIGURATION])], "rounds returned a value of type list, expected a generator"),
        (lambda: None, "rounds returned None, expected a generator"),
        (yields([CONFIGURATION]), "rounds yielded a value of type list, expected a Round"),
        (yields(CONFIGURATION), "rounds yielded a value of type dict, expected a Round"),
        (yields(None), "rounds yielded None, expected a Round"),
        (yields(Round(CONFIGURATION)), "round 0 has a value of type dict, expected a list of configurations"),
        (yields(Round(iter([CONFIGURATION]))), "round 0 has a value of type list_iterator, expected a list"),
        (yields(Round([CONFIGURATION, dict(CONFIGURATION)])), "round 0 has the configuration .* twice, expected each once"),
        (yields(Round([CONFIGURATION], 3), Round([CONFIGURATION] * 2)), "round 1 has the configuration .* twice"),
        (yields(Round([])), "round 0 has no configuration, expected at least one"),
        (yields(), "rounds yielded nothing, expected at least one Round"),
    ],
)
def test_rounds_that_are_none_are_named(answer, message):
    with pytest.raises((TypeError, ValueError), match=f"^Own: {message}") as caught:
        run(build_network, own_rounds(answer))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("describe", None, "describe returned None, expected a text"),
        ("candidates", None, "candidates returned None, expected a list of configurations"),
        ("candidates", {"lr": 0.1}, "candidates returned a value of type dict, expected a list"),
        ("candidates", iter([]), "candidates returned a value of type list_iterator, expected a list"),
        ("candidates", [CONFIGURATION, CONFIGURATION], "candidates returned the configuration .* twice, expected each once"),
    ],
)
def test_what_else_a_strategy_returns_is_checked(method, value, message):
    own = type("Own", (Given,), {method: lambda self, *seed: value})
    with pytest.raises((TypeError, ValueError), match=f"^Own: {message}"):
        run(build_network, own(None))


def test_a_strategy_that_lacks_a_method_or_is_a_class_is_named():
    class Own:
        def rounds(self, seed):
            yield Round([CONFIGURATION])

    with pytest.raises(TypeError, match=r"^Own: no method candidates and describe, which a strategy has"):
        run(build_network, Own())
    with pytest.raises(TypeError, match=r"^grid: the class ParameterGrid given, expected an object: ParameterGrid\(\.\.\.\)$"):
        run(build_network, ParameterGrid)
