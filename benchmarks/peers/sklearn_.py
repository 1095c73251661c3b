"""scikit-learn's MLPRegressor, which has neither clipping nor L1, and no learning rate that decays by a given ratio."""

from __future__ import annotations

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from problems import Problem, Weights


class Regressor:
    """`MLPRegressor.fit`, warm-started, so that its checks of the data are done once for many epochs."""

    def __init__(self, problem: Problem) -> None:
        if problem.slope or problem.clip or problem.l1 or problem.lr_final:
            raise ValueError("MLPRegressor has no leaky relu, clipping, L1 or geometric decay; give it a plain_report_problem")
        self.problem = problem
        self.x, self.y = problem.x[0], problem.y[0, :, 0]
        self.model = MLPRegressor(
            hidden_layer_sizes=problem.widths[1:-1],
            activation="relu",
            solver="sgd",
            alpha=0.0,
            batch_size=problem.batch_size,
            learning_rate="constant",
            learning_rate_init=problem.lr[0],
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
            warm_start=True,
            tol=0.0,
            n_iter_no_change=10**9,
        )
        self.model.partial_fit(self.x, self.y)  # allocates the weights
        for arrays, given in (
            (self.model.coefs_, [w.T for w in problem.weights[0][::2]]),
            (self.model.intercepts_, problem.weights[0][1::2]),
        ):
            for array, value in zip(arrays, given, strict=True):
                array[...] = value

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        self.model.max_iter = epochs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.x, self.y)

    def weights(self) -> list[Weights]:
        """Return the weights of the model."""
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [[array for coefficients, intercepts in layers for array in (coefficients.T, intercepts)]]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch."""
        return [self.model.loss_]
