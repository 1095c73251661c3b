"""Strategies: what is drawn and what is resumed, and that neither depends on workers or interruptions."""

import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search import GridSearch, KFold, ParameterGrid, RandomSampler, Search, Store, StoreError, SuccessiveHalving
from search.run import plan
from search.space.configuration import canonical_text
from search.space.rounds import Round
from search.testing import build_polynomial
from search.trials.fits import Fit, Problem
from tests.helpers.compilation import compiling
from tests.helpers.searches import build_network, build_scored, data
from tinygrad_lab.training import Run


def run(build, strategy, store=None, workers=1, **options):
    return Search(build, strategy, KFold(2), store, workers=workers, **options).run(*data(), progress=False)


def rows(result):
    return [(row.configuration, row.status, row.reason, row.losses) for row in result]


# ---- random sampling -----------------------------------------------------------------------------------------------


def test_draws_follow_the_distributions():
    sampler = RandomSampler(4000, lr=stats.loguniform(1e-4, 1e-1), width=stats.randint(3, 9), kind=["a", "b"])
    drawn = list(sampler.candidates(seed=1))
    assert stats.kstest(np.log10([x["lr"] for x in drawn]), stats.uniform(-4, 3).cdf).pvalue > 1e-3
    for name, values in (("width", range(3, 9)), ("kind", "ab")):
        counts = [sum(x[name] == value for x in drawn) for value in values]
        assert sum(counts) == 4000
        assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef([x["lr"] for x in drawn], [x["width"] for x in drawn])[0, 1]) < 0.05
    assert {(type(x["lr"]), type(x["width"])) for x in drawn} == {(float, int)}


def test_draws_depend_on_the_seed_and_not_on_other_axes_or_their_order():
    lr, l1 = stats.uniform(0, 1), stats.expon()

    def drawn(n, seed, **axes):
        return list(RandomSampler(n, **axes).candidates(seed))

    assert drawn(5, 0, lr=lr, l1=l1) == drawn(5, 0, l1=l1, lr=lr) == drawn(9, 0, lr=lr, l1=l1)[:5]
    assert [x["lr"] for x in drawn(5, 0, lr=lr, l1=l1)] == [x["lr"] for x in drawn(5, 0, lr=lr)]
    assert drawn(5, 0, lr=lr) != drawn(5, 1, lr=lr)
    assert [x["lr"] for x in drawn(5, 0, lr=lr, l1=lr)] != [x["l1"] for x in drawn(5, 0, lr=lr, l1=lr)]


@pytest.mark.parametrize("n", [1, 7, 12])
def test_lists_are_drawn_without_replacement(n):
    axes = {"a": [1, 2, 3], "b": ["x", "y", None, (1, 2)]}
    drawn = {canonical_text(x) for x in RandomSampler(n, axes).candidates(seed=0)}
    assert len(drawn) == n
    assert drawn <= {canonical_text(x) for x in ParameterGrid(axes)}


def test_what_was_drawn_before_is_drawn_again():
    assert sorted(x["n"] for x in RandomSampler(5, n=stats.randint(0, 5)).candidates(seed=0)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"RandomSampler: n=6, but 1000 draws found no more than 5; give a smaller n"):
        RandomSampler(6, n=stats.randint(0, 5)).candidates(seed=0)


@pytest.mark.parametrize(
    ("arguments", "axes", "error", "message"),
    [
        ((0,), {"lr": [1]}, ValueError, "n=0, expected how many configurations to draw, at least 1"),
        ((2.0,), {"lr": [1]}, ValueError, "n=2.0, expected"),
        ((3,), {"lr": [1, 2]}, ValueError, "n=3 configurations of only 2; give a smaller n, or a ParameterGrid"),
        ((1,), {}, ValueError, "no axis given, expected at least one"),
        ((1,), {"lr": []}, ValueError, r"lr=\[\] is empty"),
        ((1,), {"lr": "ab"}, ValueError, "lr='ab' is neither a sequence of values nor a distribution with rvs"),
        ((1,), {"lr": 0.1}, ValueError, "lr=0.1 is neither"),
        ((1, [1]), {}, TypeError, r"\[1\] given, expected a mapping"),
        ((1, {"lr": [1]}), {"l1": [1]}, TypeError, "a mapping and keywords given, expected one of them"),
        ((1,), {"lr": [object()]}, TypeError, "lr="),
    ],
)
def test_bad_samplers(arguments, axes, error, message):
    with pytest.raises(error, match=message) as failure:
        RandomSampler(*arguments, **axes)
    assert "\n" not in str(failure.value)


def test_an_axis_may_depend_on_those_before_it():
    axes = {
        "layers": [1, 2],
        "hidden": lambda drawn: [(width,) * drawn["layers"] for width in (4, 8)],
        "momentum": lambda drawn: stats.uniform(0.5, 0.4) if drawn["layers"] == 2 else None,
        "lr": stats.uniform(0, 1),
    }
    drawn = list(RandomSampler(60, axes).candidates(seed=0))
    assert {(x["layers"], x["hidden"]) for x in drawn} == {(1, (4,)), (1, (8,)), (2, (4, 4)), (2, (8, 8))}
    assert {("momentum" in x) for x in drawn if x["layers"] == 1} == {False}
    assert all(0.5 <= x["momentum"] <= 0.9 for x in drawn if x["layers"] == 2)
    fewer = RandomSampler(60, {name: axes[name] for name in ("layers", "lr")}).candidates(seed=0)
    assert [x["lr"] for x in fewer] == [x["lr"] for x in drawn], "another axis changed the draws of this one"
    with pytest.raises(ValueError, match="found no more than 4; give a smaller n"):
        RandomSampler(5, {name: axes[name] for name in ("layers", "hidden")}).candidates(seed=0)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (lambda drawn: 0.5, "RandomSampler: momentum=0.5 is neither a sequence of values nor a distribution"),
        (lambda drawn: [], r"momentum=\[\] is empty"),
        (
            lambda drawn: [drawn["optimiser"]],
            "RandomSampler: the function momentum reads 'optimiser', expected one of lr, chosen before it; "
            "list 'optimiser' earlier",
        ),
    ],
)
def test_bad_functions(axis, message):
    with pytest.raises(ValueError, match=message) as failure:
        RandomSampler(1, lr=[0.1], momentum=axis).candidates(seed=0)
    assert "\n" not in str(failure.value)


def test_one_of_several_spaces_is_drawn_first():
    spaces = [{"kernel": ["rbf"], "gamma": stats.uniform(0, 1)}, {"kernel": ["poly"], "degree": stats.randint(0, 10**9)}]
    names = [tuple(x) for x in RandomSampler(1000, [*spaces, spaces[1]]).candidates(seed=0)]
    assert set(names) == {("kernel", "gamma"), ("kernel", "degree")}
    assert abs(names.count(("kernel", "degree")) / 1000 - 2 / 3) < 0.05
    with pytest.raises(ValueError, match="no axis given"):
        RandomSampler(1, [])


def test_several_spaces_of_lists_are_drawn_without_replacement():
    spaces = [{"a": [1, 2], "b": [1, 2]}, {"a": [2, 3], "b": [2]}]
    drawn = {canonical_text(x) for x in RandomSampler(5, spaces).candidates(seed=0)}
    assert len(drawn) == 5
    with pytest.raises(ValueError, match="n=6 configurations of only 5"):
        RandomSampler(6, spaces)


def test_lists_with_more_combinations_than_an_index_can_count():
    axes = {f"p{i}": list(range(10)) for i in range(30)}
    assert len(RandomSampler(3, axes).candidates(seed=0)) == 3


def test_a_random_search_is_a_search_of_what_it_draws(tmp_path):
    sampler = RandomSampler(6, degree=[1, 2, 3], lr=stats.loguniform(0.1, 1.0), epochs=[20])
    listed = list(sampler.candidates(seed=3))
    store = tmp_path / "search.sqlite"
    drawn = run(build_polynomial, sampler, store, workers=2, seed=3)
    assert rows(drawn) == rows(GridSearch(build_polynomial, listed, KFold(2), store, seed=3).run(*data(), progress=False))
    with pytest.raises(StoreError, match="seed"):
        run(build_polynomial, sampler, store, seed=4)


# ---- successive halving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "options", "stops", "sizes"),
    [
        (81, {"epochs": 81}, [1, 3, 9, 27], [81, 27, 9, 3, 1]),
        (81, {"epochs": 1000}, [12, 37, 111, 333], [81, 27, 9, 3, 1]),
        (81, {"epochs": 1000, "min_epochs": 100}, [111, 333], [81, 27, 9]),
        (432, {"epochs": 1000, "factor": 4, "min_epochs": 10}, [15, 62, 250], [432, 108, 27, 6]),
        (10, {"epochs": 8, "factor": 2}, [1, 2, 4], [10, 5, 2, 1]),
        (2, {"epochs": 100}, [], [2]),
        (3, {"epochs": 2}, [], [3]),
        (1, {"epochs": 1}, [], [1]),
    ],
)
def test_rounds_of_a_halving(n, options, stops, sizes):
    halving = SuccessiveHalving([{"n": i} for i in range(n)], **options)
    assert halving.stops(n) == stops
    rounds = halving.rounds(seed=0)
    asked = [next(rounds)]
    while asked[-1].epochs is not None:
        asked.append(rounds.send([float(n - configuration["n"]) for configuration in asked[-1].configurations]))
    assert next(rounds, None) is None
    assert [len(x.configurations) for x in asked] == sizes
    assert [x.epochs for x in asked] == [*stops, None]
    assert [x["n"] for x in asked[-1].configurations] == list(range(n))[-sizes[-1] :], "the lowest losses go on"


@given(st.permutations(range(12)), st.lists(st.sampled_from([0.0, 1.0, 2.0, math.inf]), min_size=12, max_size=12))
def test_neither_the_order_of_the_candidates_nor_equal_losses_decide_who_goes_on(order, losses):
    def goes_on(places):
        rounds = SuccessiveHalving([{"n": i} for i in places], epochs=9).rounds(seed=0)
        next(rounds)
        return {x["n"] for x in rounds.send([losses[i] for i in places]).configurations}

    chosen = goes_on(order)
    assert chosen == goes_on(range(12))
    finite = [i for i in range(12) if losses[i] < math.inf]
    assert len(chosen) == min(4, len(finite))
    assert all(losses[i] <= losses[j] for i in chosen for j in {*finite} - chosen)


HALVED = ParameterGrid(hidden=[(3, 2), (4, 3), (2, 2)], lr=[0.02, 0.05, 0.1], epochs=[9], batch_size=[5])  # of two folds
HALVING = {"epochs": 9, "factor": 3}


def check_equal_to_the_grid(result, grid_result, finalists):
    """Finished configurations have the scores of the grid to the bit; stopped ones say after which round."""
    whole = {canonical_text(row.configuration): row for row in grid_result}
    done = [row for row in result if row.status == "done"]
    assert len(done) == finalists
    for row in done:
        theirs = whole[canonical_text(row.configuration)]
        assert (row.losses, row.mean, row.std) == (theirs.losses, theirs.mean, theirs.std)
    assert [row.rank for row in result] == list(range(1, len(whole) + 1))
    return [row.reason for row in result if row.status == "stopped"]


@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_a_training_that_went_on_has_the_score_of_the_grid_to_the_bit(engine):
    grid = ParameterGrid(HALVED.axes | {"engine": [engine]})
    reasons = check_equal_to_the_grid(run(build_network, SuccessiveHalving(grid, **HALVING)), run(build_network, grid), 1)
    assert reasons == [f"not among the best of the round to epoch {n}" for n in [3] * 2 + [1] * 6]


@compiling
def test_a_compiled_training_that_went_on_has_the_score_of_the_grid_to_the_bit():
    """The part of the training is too short to be compiled, but the whole training is not."""
    grid = ParameterGrid(hidden=[(3, 2)], lr=[0.02, 0.05, 0.1], epochs=[1700], batch_size=[1])
    problem = Problem(build_network, *(array[:12, np.newaxis] for array in data()), ())
    training = problem.trainer(Fit(grid[0], 0, np.random.SeedSequence(0))).prepare(problem.x, problem.y)
    assert training.choose_engine() == "compiled"
    result = run(build_network, SuccessiveHalving(grid, epochs=1700, factor=3))
    check_equal_to_the_grid(result, run(build_network, grid), finalists=1)


def test_no_epoch_is_trained_twice(monkeypatch):
    trained = []

    def record(self, *args, original=Run.record):
        trained.append((id(self.trainer), self.epoch))
        original(self, *args)

    monkeypatch.setattr(Run, "record", record)
    run(build_network, SuccessiveHalving(HALVED, **HALVING))
    assert len(trained) == 2 * (9 * 1 + 3 * 2 + 1 * 6)


def test_the_ranking_of_a_halving_depends_neither_on_workers_nor_on_chunks_nor_on_the_order(monkeypatch):
    reference = rows(run(build_network, SuccessiveHalving(HALVED, **HALVING)))
    assert rows(run(build_network, SuccessiveHalving(HALVED, **HALVING), workers=2)) == reference
    monkeypatch.setattr(plan, "LARGEST_CHUNK", 1)
    assert rows(run(build_network, SuccessiveHalving(list(HALVED)[::-1], **HALVING))) == reference


@pytest.mark.parametrize("stored", [1, 11, 18, 19, 24, 25])
def test_a_halving_that_is_interrupted_goes_on(stored, tmp_path, monkeypatch):
    reference = rows(run(build_network, SuccessiveHalving(HALVED, **HALVING)))
    path, added = tmp_path / "search.sqlite", []

    def interrupted(self, *arguments, add=Store.add):
        if len(added) == stored:
            raise KeyboardInterrupt
        added.append(arguments[:2])
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(build_network, SuccessiveHalving(HALVED, **HALVING), path)
    monkeypatch.setattr(
        Store, "add", lambda self, *arguments, add=Store.add: (added.append(arguments[:2]), add(self, *arguments))
    )
    assert rows(run(build_network, SuccessiveHalving(HALVED, **HALVING), path)) == reference
    assert len(added) == 2 * (9 + 3 + 1), "a finished fit was run again"


def build_with_penalty(configuration, rng):
    """A builder with a result that depends on more than its code and the values that it reads."""
    return build_network(configuration | {"l1": float(os.environ.get("PENALTY", "1e-3"))}, rng)


def test_a_halving_stops_where_the_state_of_a_training_is_another_s(tmp_path, monkeypatch):
    path, stored = tmp_path / "search.sqlite", 2 * 9

    def interrupted(self, *arguments, add=Store.add):
        if len(self.all_outcomes()) == stored:
            raise KeyboardInterrupt
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(build_with_penalty, SuccessiveHalving(HALVED, **HALVING), path)
    with monkeypatch.context() as patch:
        patch.setenv("PENALTY", "1e-2")
        with pytest.raises(StoreError, match="differs in penalty.*restore its code, or begin a new store") as failure:
            run(build_with_penalty, SuccessiveHalving(HALVED, **HALVING), path)
        assert "\n" not in str(failure.value)
    with Store(path) as store:
        assert len(store.all_outcomes()) == stored
    result = run(build_with_penalty, SuccessiveHalving(HALVED, **HALVING), path)
    assert rows(result) == rows(run(build_network, SuccessiveHalving(HALVED, **HALVING)))


def test_a_store_knows_how_its_search_chose(tmp_path):
    store = tmp_path / "search.sqlite"
    run(build_network, SuccessiveHalving(HALVED, **HALVING), store)
    with pytest.raises(
        StoreError, match=r"strategy \(successive halving of 9 epochs by 3, from 1 there, .* by 2, from 1 here\)"
    ):
        run(build_network, SuccessiveHalving(HALVED, epochs=9, factor=2), store)
    with pytest.raises(
        StoreError, match=r"strategy \(successive halving of 9 epochs by 3, from 1 there, every candidate here\)"
    ):
        run(build_network, HALVED, store)


def test_a_grid_search_may_begin_with_what_a_halving_has_finished(tmp_path):
    run(build_network, SuccessiveHalving(HALVED, **HALVING), tmp_path / "first")
    forked = run(build_network, HALVED, tmp_path / "second", fork=tmp_path / "first")
    assert rows(forked) == rows(run(build_network, HALVED))


def test_a_diverged_training_goes_no_further():
    grid = ParameterGrid(lr=[0.05, 0.1, 1e300], max_norm=[1e150], epochs=[9], batch_size=[5])
    result = run(build_network, SuccessiveHalving(grid, epochs=9, factor=2))
    assert [(row.configuration["lr"], row.status) for row in result][-1] == (1e300, "diverged")
    assert [row.status for row in result] == ["done", "stopped", "diverged"]
    everything = run(build_network, SuccessiveHalving(ParameterGrid(grid.axes | {"lr": [1e300, 1e301]}), epochs=9, factor=2))
    assert [row.status for row in everything] == ["diverged", "diverged"]


def test_a_configuration_whose_training_is_shorter_than_the_rounds_is_at_its_end():
    grid = ParameterGrid(lr=[0.05, 0.1, 0.02], epochs=[1, 3], batch_size=[5])
    result = run(build_network, SuccessiveHalving(grid, epochs=90, factor=3))
    reasons = check_equal_to_the_grid(result, run(build_network, grid), finalists=2)
    assert set(reasons) == {"not among the best of the round to epoch 30"}, "it was compared there, not trained that far"


def test_trainers_that_cannot_go_on_say_so():
    result = run(build_scored, SuccessiveHalving([{"loss": 1.0}, {"loss": 2.0}], epochs=4, factor=2))
    assert {(row.status, row.reason) for row in result} == {
        ("failed", "fold 0: TypeError: a ScoredTrainer cannot stop after 2 epochs and go on, expected a tinygrad_lab.Trainer")
    }


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (HALVED, {"epochs": 0}, ValueError, "SuccessiveHalving: epochs=0, expected an integer of at least 1"),
        (HALVED, {"epochs": 9, "factor": 1}, ValueError, "SuccessiveHalving: factor=1, expected an integer of at least 2"),
        (HALVED, {"epochs": 9, "min_epochs": 10}, ValueError, "min_epochs=10, expected at most epochs=9"),
        ([], {"epochs": 9}, ValueError, "grid: no configuration given"),
        ([{"lr": 1}, {"lr": 1}], {"epochs": 9}, ValueError, "is there twice"),
    ],
)
def test_bad_halvings(given, options, error, message):
    with pytest.raises(error, match=message):
        SuccessiveHalving(given, **options)


def test_a_halving_needs_candidates_that_are_known():
    with pytest.raises(TypeError, match="has no candidates beforehand, expected a grid or a RandomSampler"):
        SuccessiveHalving(Bisection(), epochs=9)


def test_random_candidates_may_be_halved():
    sampler = RandomSampler(6, lr=stats.loguniform(0.02, 0.2), epochs=[4], batch_size=[5])
    halved = run(build_network, SuccessiveHalving(sampler, epochs=4, factor=2), seed=5)
    assert [row.status for row in halved] == ["done"] + ["stopped"] * 5
    check_equal_to_the_grid(halved, run(build_network, sampler, seed=5), finalists=1)


# ---- a user's strategy -----------------------------------------------------------------------------------------------


def test_bad_rounds():
    for epochs in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f"Round: epochs={epochs}, expected an integer of at least 1, or None"):
            Round([{"lr": 0.1}], epochs)


class Bisection:
    """A strategy that depends on losses: it looks for the best number by halving an interval."""

    def rounds(self, seed):
        low, high = 0.0, 1.0
        for _ in range(6):
            left, right = yield Round([{"loss": (3 * low + high) / 4}, {"loss": (low + 3 * high) / 4}])
            low, high = (low, (low + high) / 2) if left <= right else ((low + high) / 2, high)

    def candidates(self, seed):
        return ()

    def describe(self):
        return "bisection"


def build_distance(configuration, rng):
    return build_scored({"loss": abs(configuration["loss"] - 0.3)}, rng)


def test_an_own_strategy_hears_losses_and_asks_the_same_again(tmp_path):
    store = tmp_path / "search.sqlite"
    result = run(build_distance, Bisection(), store)
    assert len(result) == 12
    assert abs(result[0].configuration["loss"] - 0.3) < 2**-6
    with Store(store) as opened:
        count = len(opened.outcomes())
    assert rows(run(build_distance, Bisection(), store, workers=2)) == rows(result)
    with Store(store) as opened:
        assert len(opened.outcomes()) == count == 24
