"""
The report, reproduced
======================

A report of 2019 estimated a function from 120 noisy points. It trained networks with two hidden layers on 90 of them, chose one
by a grid search with 4-fold cross-validation, and tested it on the other 30. This tutorial does the same with a short grid.
The command of the README, which runs ``reproduce_report.py``, does it with the report's 432 configurations.

::

    points --> one network --> search, 4 folds --> ranking --> best networks, trained again on all points --> test loss
"""

# %%
# The points
# ----------
# The report's own points are not shipped. These were generated with the same ranges, numbers and noise.
import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet, stand_in_data
from search import GridSearch, KFold, ParameterGrid, plot_data, plot_differences, plot_function, plot_losses

train, test = stand_in_data()
points = plot_data(train, test)

# %%
# One network
# -----------
# The report's training: half the squared error, one sample for each update, gradients clipped to norm 10, a penalty on the
# absolute values of the weights, and a learning rate that decays from lr to lr_final. ``build`` makes this training for one
# configuration. The generator draws the initial weights.


def build(config: dict, rng: np.random.Generator) -> tl.Trainer:
    """Make the report's network and training for one configuration."""
    net = TwoHiddenLayerNet(1, *config["hidden"], 1, activation=config["activation"], rng=rng)
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        scheduler=tl.GeometricDecay(config["lr"], 0.001, epochs=config["epochs"]),
        penalty=tl.L1Penalty(config["l1"], decoupled=True),
        epochs=config["epochs"],
        batch_size=1,
        shuffle=False,
    )


config = {"hidden": (25, 25), "activation": "leaky_relu", "l1": 1e-3, "lr": 0.075, "epochs": 200}
trainer = build(config, np.random.default_rng(0))
history = trainer.fit(*train, validation=test)
print(history)
print(trainer.model.summary())
curves = plot_losses(history)

# %%
# The search
# ----------
# Every combination of values is fitted on each of four folds. A configuration's score is its mean loss on the parts that
# were held out. The test points take no part.
#
# Here the fits run in this process and the results stay in memory. A script of your own gives ``store="report.sqlite"``, so
# that a search that was stopped continues where it was. It leaves out ``workers=1``, so that each processor fits. Then it
# must start the search under ``if __name__ == "__main__":``, because the worker processes import the script.
grid = ParameterGrid(
    hidden=[(10, 10), (25, 25)], activation=["sigmoid", "leaky_relu"], l1=[0.0, 1e-3], lr=[0.075], epochs=[200]
)
search = GridSearch(build, grid, folds=KFold(4, shuffle=True, seed=0), store=None, seed=0, workers=1)
result = search.run(*train, progress=False)
print(result.ranking)

# %%
# Is the best one better?
# -----------------------
# The folds scatter. ``comparison`` says which configurations are worse than the best by more than this scatter.
comparison = result.comparison()
print(comparison)
differences = plot_differences(comparison)

# %%
# The winners
# -----------
# As in the report, the best configurations are trained again on all training points, and tested. The first row has the best
# cross-validation score. It was chosen without the test points, so its test loss estimates the loss on new points. The
# report chose the lowest test loss instead. The test points chose that one, so its test loss is too low as an estimate.
retrained = result.retrain(top=3, train=train, test=test, progress=False)
print(retrained)

# %%
# The function that the first of them has learnt:
winner = build(retrained[0].configuration, np.random.default_rng(0))
winner.model.load_state_dict(retrained[0].state_dict)
x = np.linspace(-4.0, 2.0, 400)
function = plot_function(x, winner.predict(x)[:, 0], train, test)
