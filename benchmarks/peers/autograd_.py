"""HIPS autograd: NumPy code differentiated by tracing it at every update."""

from __future__ import annotations

import autograd.numpy as np
from autograd import value_and_grad

from problems import Problem, Weights


class Autograd:
    """`value_and_grad` of the loss of a batch. The rest of the update is in NumPy, in place where possible."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.parameters = [w.copy() for w in problem.weights[0]]
        self.value_and_grad = value_and_grad(self._data_loss)
        shape = problem.updates, problem.batch_size, -1
        self.batches = list(zip(problem.x[0].reshape(shape), problem.y[0].reshape(shape), strict=True))
        self.epoch_loss = 0.0

    def _data_loss(self, parameters: Weights, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        for position in range(0, len(parameters), 2):
            x = np.dot(x, parameters[position].T) + parameters[position + 1]
            if position < len(parameters) - 2:
                x = np.maximum(x, self.problem.slope * x)
        return 0.5 * np.sum((x - y) ** 2) / len(y)

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        for epoch in range(epochs):
            lr = self.problem.learning_rates(epoch)[0]
            self.epoch_loss = sum(self._update(x, y, lr) for x, y in self.batches) / len(self.batches)

    def _update(self, x: np.ndarray, y: np.ndarray, lr: float) -> float:
        l1, clip = self.problem.l1[0], self.problem.clip
        loss, gradients = self.value_and_grad(self.parameters, x, y)
        squares = sum(np.vdot(g, g) for g in gradients)
        factor = clip / np.sqrt(max(squares, clip**2))
        for w, g in zip(self.parameters, gradients, strict=True):
            w -= lr * (factor * g + l1 * np.sign(w))
        return float(loss) + l1 * float(sum(np.abs(w).sum() for w in self.parameters))

    def weights(self) -> list[Weights]:
        """Return the weights of the model."""
        return [self.parameters]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch."""
        return [self.epoch_loss]
