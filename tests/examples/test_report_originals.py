"""The report's winner on its original data, from the twenty seeds of the example."""

import numpy as np

import tinygrad_lab as tl
from examples import reproduce_report
from models import read_points
from search.trials.seeds import fit_seed
from tests.helpers.compilation import compiling

WINNER = {
    "hidden": (75, 50),
    "activation": "leaky_relu",
    "l1": 1e-3,
    "lr": 0.075,
    "lr_final": 0.001,
    "epochs": 1000,
    "decay": "geometric",
}


@compiling
def test_the_winning_configuration_has_the_reports_test_loss_on_average_over_seeds(report_data):
    train, test = (read_points(report_data / name) for name in ("training_set.txt", "test_set.txt"))
    seeds = [fit_seed(0, WINNER, f"seed {number}") for number in range(reproduce_report.SEEDS)]
    trainers = [reproduce_report.build(WINNER, np.random.default_rng(seed)) for seed in seeds]
    assert {trainer.prepare(*train).choose_engine() for trainer in trainers} == {"compiled"}
    assert tl.fit_lanes(trainers, [train] * 20) == [None] * 20
    losses = np.array([trainer.evaluate(*test) for trainer in trainers])
    assert 0.60 < losses.mean() < 0.68
    assert len(set(losses)) == 20
