"""Early stopping in a search: the fold that scores and the test set do not decide when a training ends."""

import numpy as np
import pytest

import tinygrad_lab as tl
from search import KFold, Search, SuccessiveHalving
from search.trials.fits import Fit, Problem
from search.trials.running import run_fits
from search.trials.seeds import fit_seed

X = np.linspace(-1.0, 1.0, 24)
Y = X**2 + 0.1 * np.sin(40.0 * X)
FOLDS = KFold(3, shuffle=True, seed=0)
GRID = [{"lr": lr} for lr in (0.3, 0.1, 0.03)]


def build_stopping(configuration, rng, fraction=0.25, kind=tl.Trainer):
    net = tl.Sequential(tl.Linear(1, 4, rng=rng), tl.Tanh(), tl.Linear(4, 1, rng=rng))
    return kind(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), lr=configuration["lr"]),
        epochs=40,
        batch_size=4,
        validation_fraction=fraction,
        callbacks=[tl.EarlyStopping(patience=2)],
        engine="replay",
    )


def build_blind(configuration, rng):
    """A Trainer that would stop by validation data, and has none of its own."""
    return build_stopping(configuration, rng, fraction=None)


class OwnTrainer(tl.Trainer):
    pass


def build_own(configuration, rng):
    return build_stopping(configuration, rng, kind=OwnTrainer)


def by_hand(configuration, train, number):
    trainer = build_stopping(configuration, np.random.default_rng(fit_seed(0, configuration, number)))
    trainer.fit(X[train], Y[train])
    return trainer


@pytest.mark.parametrize("build", [build_stopping, build_own])
def test_a_fit_stops_by_a_part_of_the_training_data(build):
    result = Search(build, GRID, FOLDS, store=None, workers=1).run(X, Y, progress=False)
    ended = set()
    for row in result.ranking:
        for number, (train, validation) in enumerate(result.folds):
            trainer = by_hand(row.configuration, train, number)
            assert row.losses[number] == trainer.evaluate(X[validation], Y[validation])
            ended.add(trainer.history.epochs)
    assert len(ended) > 1, "no training stopped early, so this test shows nothing"


def test_halving_stops_and_resumes_such_trainings():
    halving = SuccessiveHalving(GRID, epochs=12, factor=3)
    assert halving.stops(len(GRID)) == [4]  # then two folds of the winner have ended, and one goes on
    result = Search(build_stopping, halving, FOLDS, store=None, workers=1).run(X, Y, progress=False)
    grid = Search(build_stopping, GRID, FOLDS, store=None, workers=1).run(X, Y, progress=False)
    [expected] = [row for row in grid.ranking if row.configuration == result.ranking[0].configuration]
    assert (result.ranking[0].status, result.ranking[0].losses) == ("done", expected.losses)
    ended = [by_hand(expected.configuration, train, number).history.epochs for number, (train, _) in enumerate(result.folds)]
    assert min(ended) <= 4 < max(ended)


def test_stopping_by_the_fold_that_scores_is_a_failure():
    result = Search(build_blind, GRID[:1], FOLDS, store=None, workers=1).run(X, Y, progress=False)
    assert result.ranking[0].status == "failed"
    assert "EarlyStopping: monitors 'validation_loss', but the epoch has train_loss, lr" in result.ranking[0].reason


@pytest.mark.parametrize("build", [build_stopping, build_own])
def test_the_test_set_is_only_watched(build):
    result = Search(build, GRID[:1], FOLDS, store=None, workers=1).run(X, Y, progress=False)
    tests = [(X[:3], Y[:3]), (X[:3], -9.0 * np.exp(X[:3]))]
    one, other = (result.retrain(train=(X, Y), test=test, progress=False)[0] for test in tests)
    np.testing.assert_equal(one.state_dict, other.state_dict)
    np.testing.assert_array_equal(one.history["train_loss"], other.history["train_loss"])
    assert 2 < len(one.history["train_loss"]) < 40
    assert len(one.history["validation_loss"]) == len(one.history["lr"]) == len(one.history["train_loss"])
    trainer = build_stopping(GRID[0], np.random.default_rng(fit_seed(0, GRID[0], "retrain")))
    history = trainer.fit(X, Y)
    assert one.test_loss == trainer.evaluate(*tests[0])
    assert (one.history["validation_loss"] != history["validation_loss"]).any(), "these are the losses on the held-out rows"


SHARED = tl.Standardize(1)


def build_sharing(configuration, rng):
    """A mistake that must not mix folds: all Trainers have one preprocessor."""
    net = tl.Linear(1, 1, rng=rng)
    optimizer = tl.SGD(net.parameters(), lr=configuration["lr"])
    return tl.Trainer(net, tl.HalfSquaredError(), optimizer=optimizer, epochs=3, inputs=SHARED, engine="replay")


def test_trainers_that_share_a_preprocessor_are_not_mixed():
    x, y = X[:, np.newaxis], Y[:, np.newaxis]
    folds = tuple(KFold(3).split(x))
    problem = Problem(build_sharing, x, y, folds)
    fits = [Fit(GRID[0], number, fit_seed(0, GRID[0], number)) for number in range(3)]
    together = dict(run_fits(problem, fits))
    alone = [next(run_fits(problem, [fit]))[1] for fit in fits]
    assert [together[i].validation_loss for i in range(3)] == [outcome.validation_loss for outcome in alone]
