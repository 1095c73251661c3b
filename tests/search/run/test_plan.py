"""The plan of a search: chunks, the forecast, and that no result depends on either."""

import hashlib
import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lab as tl
from search import GridSearch, KFold, ParameterGrid, Store
from search.pool import open_pool
from search.run import plan
from search.run.plan import Chunker, Forecast, count_steps, forecast, group_of, measure
from search.testing import build_polynomial
from search.trials.fits import Fit, Outcome, Problem
from search.trials.folds import make_folds
from search.trials.running import run_fits
from tests.helpers.compilation import compiling
from tests.helpers.searches import build_network, build_troubled, data

SEED = np.random.SeedSequence(0)


def make_fits(configurations, folds=1, keep=False):
    return [Fit(configuration, fold, SEED, keep) for configuration in configurations for fold in range(folds)]


# ---- chunks --------------------------------------------------------------------------------------------------------

configurations = st.fixed_dictionaries(
    {"width": st.integers(1, 3), "name": st.sampled_from(["a", "b"]), "lr": st.sampled_from([0.1, 0.2, 0.3])}
)


@given(
    st.lists(st.tuples(configurations, st.integers(0, 3), st.booleans()), max_size=80),
    st.integers(1, 5),
    st.lists(st.sampled_from([0.0, 1e-9, 0.2, 1.0, 4.0, 1e3, 1e9]), min_size=1),
    st.randoms(use_true_random=False),
)
def test_every_fit_is_handed_out_once_whatever_fits_take(items, workers, durations, rng):
    fits = [Fit(configuration, fold, SEED, keep) for configuration, fold, keep in items]
    chunks = Chunker(fits, workers)
    waiting, running, handed_out, known = chunks.chunks(), [], [], {}
    while True:
        while len(running) < 2 * workers and (chunk := next(waiting, None)) is not None:
            assert 1 <= len(chunk) <= plan.LARGEST_CHUNK
            assert len(chunk) <= math.ceil((len(fits) - len(handed_out)) / (2 * workers))
            [group] = {group_of(fit) for fit in chunk}
            if not any(known.values()):
                assert len(chunk) <= plan.FIRST_CHUNK
            if known.get(group):
                assert len(chunk) <= max(1, plan.CHUNK_SECONDS / known[group])
            running.append(chunk)
            handed_out += chunk
        if not running:
            break
        chunk = running.pop(rng.randrange(len(running)))
        seconds = rng.choice(durations)
        chunks.learn(chunk[0], Outcome("done", seconds=seconds))
        known[group_of(chunk[0])] = seconds
    assert sorted(map(id, handed_out)) == sorted(map(id, fits))


def test_chunks_grow_to_the_seconds_that_a_crash_may_lose(monkeypatch):
    fits = make_fits([{"lr": float(i)} for i in range(400)])
    for seconds, size in ((1.0, 5), (0.25, 20), (0.001, 32), (100.0, 1), (0.0, 4)):
        chunks = Chunker(fits, workers=1)
        handed = chunks.chunks()
        first = next(handed)
        assert len(first) == plan.FIRST_CHUNK
        chunks.learn(first[0], Outcome("done", seconds=seconds))
        assert len(next(handed)) == size


def test_the_last_chunks_are_small_enough_for_all_workers():
    chunks = Chunker(make_fits([{"lr": float(i)} for i in range(16)]), workers=2)
    sizes = []
    for chunk in chunks.chunks():
        chunks.learn(chunk[0], Outcome("done", seconds=1e-6))
        sizes.append(len(chunk))
    assert sizes == [4, 3, 3, 2, 1, 1, 1, 1]


def test_fits_that_differ_in_a_number_with_a_decimal_point_go_together():
    def together(*configurations):
        return len({group_of(fit) for fit in make_fits(configurations)}) == 1

    assert together({"lr": 0.1, "l1": 0.0}, {"l1": 1e-3, "lr": 0.2})
    assert not together({"lr": 0.1, "width": 1}, {"lr": 0.1, "width": 2})
    assert not together({"l1": 0}, {"l1": 0.0})
    assert not together({"hidden": (0.5, 1.0)}, {"hidden": (0.5, 2.0)})
    assert not together({"lr": 0.1}, {"lr": 0.1, "l1": None})


def test_fits_that_are_kept_go_alone():
    fits = make_fits([{"lr": 0.1}] * 3, keep=True)
    assert list(Chunker(fits, 1).chunks()) == [(fit,) for fit in fits]


# ---- the forecast --------------------------------------------------------------------------------------------------


def make_problem(build=build_network, n=24, folds=4):
    x, y = (array[:, np.newaxis] for array in data(n))
    return Problem(build, x, y, make_folds(KFold(folds, shuffle=True, seed=0), x, y))


def forecast_of(grid, build=build_network, n=24, folds=4, workers=1):
    problem, fits = make_problem(build, n, folds), make_fits(grid, folds)
    with open_pool(problem, 1) as pool:
        return forecast(problem, fits, len(fits), pool, workers)


@pytest.mark.parametrize("groups", [1, 3, 100])
def test_the_number_of_updates_is_exact_however_few_groups_are_measured(groups, monkeypatch):
    monkeypatch.setattr(plan, "MEASURED_GROUPS", groups)
    grid = ParameterGrid(lr=[0.1, 0.2], epochs=[1, 3], batch_size=[1, 5, 17, 18, 100, None])
    predicted = forecast_of(grid, n=23)  # folds that train on 17, 17, 17 and 18 samples
    batches = {1: 69, 5: 16, 17: 5, 18: 4, 100: 4, None: 4}
    assert predicted.updates == sum(config["epochs"] * batches[config["batch_size"]] for config in grid)
    assert predicted.fits == 4 * len(grid)
    assert 0.0 <= predicted.seconds < math.inf


def test_of_folds_that_a_user_gives_each_is_counted():
    folds = tuple((np.arange(n), np.arange(20, 24)) for n in (3, 7, 20))
    x, y = (array[:, np.newaxis] for array in data())
    problem = Problem(build_network, x, y, folds)
    with open_pool(problem, 1) as pool:
        predicted = forecast(problem, make_fits([{"batch_size": 5, "epochs": 2}], 3), 3, pool, 1)
    assert predicted.updates == 2 * (1 + 2 + 4)


def test_seconds_are_those_of_the_measured_groups_in_proportion_to_their_updates(monkeypatch):
    grid = ParameterGrid(hidden=[(i, 1) for i in range(1, 11)], lr=[0.1, 0.2])
    updates = 54.0 * 2 * 4  # of a group
    problem = make_problem()

    class Clock:
        """A pool where an update takes as many seconds as the first layer has units."""

        def run(self, work, chunks, handle, retry):
            assert not retry
            for chunk in chunks:
                if work is count_steps:
                    handle(chunk[0], dict(count_steps(problem, chunk))[0])
                else:
                    assert work is measure
                    assert len(chunk) == plan.MEASURED_FITS
                    handle(chunk[0], chunk[0].configuration["hidden"][0])

    for groups, measured in ((100, range(1, 11)), (5, (1, 3, 5, 7, 9)), (4, (1, 4, 7, 10)), (1, (1,))):
        monkeypatch.setattr(plan, "MEASURED_GROUPS", groups)

        predicted = forecast(problem, make_fits(grid, 4), 80, Clock(), workers=2)
        assert predicted.updates == 10 * updates
        assert predicted.seconds == pytest.approx(np.mean(measured) * 10 * updates / 2, rel=1e-12)
        assert predicted.workers == 2


def test_of_many_groups_some_are_counted_and_of_many_fits_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(plan, "COUNTED_GROUPS", 5)
    grid = ParameterGrid(hidden=[(i, 1) for i in range(1, 11)], lr=[0.1, 0.2])
    predicted = forecast_of(grid)
    assert (predicted.fits, predicted.updates, predicted.is_exact) == (80, 10 * 54 * 2 * 4, False)
    assert str(predicted).startswith("80 fits to do, one after the other: about 4,320 updates, in about ")
    problem = make_problem()
    with open_pool(problem, 1) as pool:
        predicted = forecast(problem, make_fits([{"hidden": (3, 1)}], 4), 4_000_000, pool, 2)
    assert (predicted.fits, predicted.updates, predicted.is_exact) == (4_000_000, 54 * 4_000_000, False)
    assert str(predicted).startswith("4,000,000 fits to do, 2 side by side: about 216,000,000 updates, in about ")


def test_fits_are_drawn_as_they_are_handed_out(monkeypatch):
    monkeypatch.setattr(plan, "WINDOW", 10)
    drawn = []
    fits = make_fits([{"lr": float(i), "width": i % 2} for i in range(35)])
    chunks = Chunker((drawn.append(fit) or fit for fit in fits), workers=1).chunks()
    handed_out = [*next(chunks)]
    assert len(drawn) == 10
    assert {group_of(fit) for fit in handed_out} == {group_of(fits[0])}
    handed_out += [fit for chunk in chunks for fit in chunk]
    assert sorted(map(id, handed_out)) == sorted(map(id, fits))


def test_a_round_that_stops_early_is_counted_and_measured_as_such():
    problem = make_problem()
    fits = [replace(fit, epochs=2) for fit in make_fits([{"epochs": 50}, {"epochs": 1}], 4)]
    with open_pool(problem, 1) as pool:
        assert forecast(problem, fits, len(fits), pool, 1).updates == 4 * 18 * (2 + 1)


def test_what_cannot_be_measured_is_not_told():
    predicted = forecast_of([{"degree": 1, "epochs": 5}], build_polynomial)
    assert (predicted.fits, predicted.updates) == (4, 0)
    assert math.isnan(predicted.seconds)
    assert str(predicted) == "4 fits to do, one after the other"


def test_builders_that_fail_do_not_end_a_forecast():
    for behaviour in ("raises", "leaves", "diverges"):
        assert math.isnan(forecast_of([{"behaviour": behaviour}], build_troubled).seconds)
        assert dict(measure(make_problem(build_troubled), make_fits([{"behaviour": behaviour}]))) == {}
    grid = [{"l1": -1.0}, {"l1": 0.1}, {"l1": 0.2}]  # one group; the penalty of its first fit raises
    assert forecast_of(grid).updates == 3 * 4 * 54
    assert dict(measure(make_problem(), make_fits([{"stumble": 1.0, "epochs": 50}]))) == {}


def test_a_diverging_fit_does_not_end_a_forecast():
    assert forecast_of([{"lr": 1e300, "max_norm": 1e150}, {"lr": 0.1}]).seconds >= 0.0


def test_the_shortest_trainings_are_measured_too():
    assert dict(measure(make_problem(), make_fits([{"epochs": 1}])))[0] > 0.0
    assert 0 in dict(measure(make_problem(), make_fits([{"epochs": 2}])))


def test_the_engine_that_auto_would_choose_is_measured(monkeypatch):
    """The step cannot be compiled. There is no warning, because the user did not choose the compiled engine."""

    class Turned(tl.Layer):
        def __init__(self, inner):
            self.inner = inner

        def forward(self, x):
            y = self.inner(x)
            return y if y.sum() > 0.0 else 2.0 * y

    def build(configuration, rng):
        trainer = build_network(configuration, rng)
        return tl.Trainer(Turned(trainer.model), trainer.loss, optimizer=trainer.optimizer, epochs=3)

    with pytest.warns(UserWarning, match="training on the eager engine, since the step cannot be replayed"):
        assert 0 in dict(measure(make_problem(build), make_fits([{}])))


@compiling
def test_of_a_step_without_loops_a_long_training_is_measured_without_a_warning(recwarn):
    class Contracted(tl.Layer):
        """A step that can be replayed, but not written as loops."""

        def __init__(self, inner):
            self.inner = inner

        def forward(self, x):
            return tl.einsum("ij,jk->ik", self.inner(x), tl.Tensor(np.ones((1, 1))))

    def build(configuration, rng):
        trainer = build_network(configuration, rng)
        return tl.Trainer(
            Contracted(trainer.model), trainer.loss, optimizer=trainer.optimizer, batch_size=1, epochs=configuration["epochs"]
        )

    problem = make_problem(build)
    [fit] = make_fits([{"epochs": 2000}])
    assert problem.trainer(fit).prepare(*problem.training_set(fit)).choose_engine() == "compiled"
    assert 0 in dict(measure(problem, [fit]))
    assert not recwarn.list
    asked = problem.trainer(fit)
    asked.engine = "compiled"
    with pytest.warns(UserWarning, match="training by replay, since the step cannot be compiled"):
        asked.fit(*problem.training_set(fit), epochs=1)


@pytest.mark.parametrize(
    ("seconds", "workers", "text"),
    [
        (0.0, 1, "one after the other: 1,234,567 updates, in about 0 seconds"),
        (0.123, 1, "one after the other: 1,234,567 updates, in about 0.12 seconds"),
        (89.0, 2, "2 side by side: 1,234,567 updates, in about 89 seconds"),
        (91.0, 2, "2 side by side: 1,234,567 updates, in about 1.5 minutes"),
        (3599.0, 2, "2 side by side: 1,234,567 updates, in about 60 minutes"),
        (5400.0, 2, "2 side by side: 1,234,567 updates, in about 1.5 hours"),
        (36_000.0, 4, "4 side by side: 1,234,567 updates, in about 10 hours"),
        (540_000.0, 4, "4 side by side: 1,234,567 updates, in about 6.2 days"),
        (540_000_000.0, 4, "4 side by side: 1,234,567 updates, in about 6,200 days"),
        (math.nan, 4, "4 side by side"),
    ],
)
def test_a_forecast_as_text(seconds, workers, text):
    assert str(Forecast(7, 1_234_567, seconds, workers)) == f"7 fits to do, {text}"


def test_the_search_tells_what_lies_before_it_and_finds_the_same(capsys, tmp_path):
    grid = ParameterGrid(lr=[0.05, 0.1])
    quiet = ranking(grid, tmp_path)
    result = GridSearch(build_network, grid, store=tmp_path / "s", workers=1).run(*data(), progress=True)
    assert csv_of(result, tmp_path) == quiet
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("8 fits to do, one after the other: 432 updates, in about ")
    GridSearch(build_network, grid, store=tmp_path / "s", workers=1).run(*data(), progress=True)
    assert "to do" not in capsys.readouterr().err, "nothing is left"


# ---- no result depends on the plan ---------------------------------------------------------------------------------

GRID = ParameterGrid(hidden=[(3, 2), (4, 3)], lr=[0.05, 0.1], l1=[0.0, 1e-3], engine=["replay"])


def csv_of(result, folder):
    result.ranking.to_csv(folder / "ranking.csv")
    return hashlib.sha256((folder / "ranking.csv").read_bytes()).hexdigest()


def ranking(grid, folder, build=build_network, store=None, workers=1, **options):
    search = GridSearch(build, grid, store=store, workers=workers, **options)
    return csv_of(search.run(*data(), progress=False), folder)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Each fit alone, by the Trainer's own `fit`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "LARGEST_CHUNK", 1)
        return ranking(GRID, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize(("largest", "first"), [(2, 2), (3, 1), (32, 32)])
def test_the_ranking_does_not_depend_on_the_chunks(largest, first, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "LARGEST_CHUNK", largest)
    monkeypatch.setattr(plan, "FIRST_CHUNK", first)
    assert ranking(GRID, tmp_path) == reference


def test_the_ranking_does_not_depend_on_workers_and_executors(reference, tmp_path):
    assert ranking(GRID, tmp_path, workers=2) == reference
    with ThreadPoolExecutor(2) as executor:
        assert ranking(GRID, tmp_path, executor=executor, workers=2) == reference


@pytest.mark.parametrize("seed", [1])
def test_the_ranking_does_not_depend_on_the_order_of_the_grid(seed, reference, tmp_path):
    assert ranking(random.Random(seed).sample(list(GRID), len(GRID)), tmp_path) == reference


@pytest.mark.parametrize("stored", [1, 17])
def test_the_ranking_does_not_depend_on_interruptions(stored, reference, tmp_path, monkeypatch):
    add = Store.add

    def interrupted(self, *outcome):
        if len(self.outcomes()) == stored:
            raise KeyboardInterrupt
        add(self, *outcome)

    monkeypatch.setattr(Store, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ranking(GRID, tmp_path, store=tmp_path / "search.sqlite")
    monkeypatch.setattr(Store, "add", add)
    with Store(tmp_path / "search.sqlite") as store:
        assert len(store.outcomes()) == stored
    assert ranking(GRID, tmp_path, store=tmp_path / "search.sqlite") == reference


@compiling
def test_the_ranking_on_the_compiled_engine_does_not_depend_on_workers_chunks_and_order(tmp_path, monkeypatch):
    grid = ParameterGrid(hidden=[(3, 2), (10, 10)], lr=[0.05, 0.1], engine=["compiled"], epochs=[20])
    rankings = [ranking(grid, tmp_path), ranking(grid, tmp_path, workers=2), ranking(list(grid)[::-1], tmp_path)]
    monkeypatch.setattr(plan, "LARGEST_CHUNK", 1)
    rankings.append(ranking(grid, tmp_path))
    assert len(set(rankings)) == 1


def outcomes_of(configurations, build=build_network):
    outcomes = [outcome for _, outcome in sorted(run_fits(make_problem(build), make_fits(configurations)), key=itemgetter(0))]
    return [(outcome.status, outcome.reason, repr(outcome.validation_loss), repr(outcome.train_loss)) for outcome in outcomes]


TROUBLES = {
    "a loss that is not finite": (
        {"lr": 1e300, "max_norm": 1e150}, "diverged", f"NonFiniteLossError: {tl.NonFiniteLossError(1, 2)}"
    ),
    "a builder that raises": ({"l1": -1.0}, "failed", "ValueError: L1Penalty: strength is -1.0, expected"),
    "a training that raises": ({"stumble": 2.0}, "failed", "RuntimeError: stumbled in epoch 2"),
}  # fmt: skip


@pytest.mark.parametrize(("trouble", "engine"), [*[(name, "replay") for name in TROUBLES], ("a training that raises", "eager")])
def test_a_bad_fit_of_a_chunk_leaves_the_others_as_they_are(trouble, engine):
    bad, status, reason = TROUBLES[trouble]
    good = [{"lr": 0.05, "engine": engine}, {"lr": 0.1, "engine": engine}, {"lr": 0.1, "l1": 0.0, "engine": engine}]
    bad = bad | {"engine": engine}
    alone = [outcome for configuration in good for outcome in outcomes_of([configuration])]
    assert [outcome[0] for outcome in alone] == ["done"] * 3
    [bad_alone] = outcomes_of([bad])
    for place in range(4):
        together = outcomes_of([*good[:place], bad, *good[place:]])
        assert together[:place] + together[place + 1 :] == alone
        assert together[place] == bad_alone
        assert together[place][0] == status
        assert together[place][1].startswith(reason)


def test_the_reason_of_a_lane_names_its_own_epoch():
    grid = [{"stumble": -float(epoch), "max_norm": 1e150, "engine": "replay", "epochs": 5} for epoch in range(5)]
    outcomes = outcomes_of(grid)
    assert [outcome[:2] for outcome in outcomes] == [
        ("done", ""),
        *[("diverged", f"NonFiniteLossError: {tl.NonFiniteLossError(epoch, 2)}") for epoch in (2, 3, 4, 5)],
    ]
    assert outcomes == [outcome for configuration in grid for outcome in outcomes_of([configuration])]


def test_an_outcome_depends_neither_on_a_failure_beside_it_nor_on_a_validation_in_between():
    """The weight goes from 1 to -1e60 to 0, so the validation loss overflows in one epoch. A lane does not compute it."""

    class Weight(tl.Layer):
        def __init__(self):
            self.weight = tl.Tensor(1.0, requires_grad=True)

        def forward(self, x):
            return self.weight * x

    class Swinging(tl.Scheduler):
        def __init__(self, trouble):
            self.trouble = trouble

        def __call__(self, epoch):
            if self.trouble:
                raise RuntimeError("no luck")
            return (1e60 + 1.0, 1.0)[epoch]

    def build(configuration, rng):
        net, scheduler = Weight(), Swinging(configuration["trouble"])
        return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters()), scheduler=scheduler, epochs=2)

    x, y = np.array([[1.0], [1.0], [1e100]]), np.zeros((3, 1))
    problem = Problem(build, x, y, ((np.array([0, 1]), np.array([2])),))
    with pytest.raises(tl.NonFiniteLossError, match="after the updates of epoch 1"):
        build({"trouble": 0.0}, None).fit(x[:2], y[:2], validation=(x[2:], y[2:]))
    for configurations in ([0.0], [0.0, 1.0], [0.0, 0.0]):
        first = dict(run_fits(problem, make_fits([{"trouble": trouble} for trouble in configurations])))[0]
        assert (first.status, first.reason, first.validation_loss) == ("done", "", 0.0)
