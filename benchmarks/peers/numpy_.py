"""The report's update written by hand in NumPy: the derivatives of this one network, in preallocated memory."""

from __future__ import annotations

import numpy as np

from problems import Problem, Weights


class Handwritten:
    """Forward and backward pass are matrix products. Elementwise operations run on one flat array of all parameters."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.flat = np.concatenate([w.ravel() for w in problem.weights[0]])
        self.gradient, self.scratch = np.empty_like(self.flat), np.empty_like(self.flat)
        self.parameters = _views(self.flat, problem.weights[0])
        self.gradients = _views(self.gradient, problem.weights[0])
        shape = problem.updates, problem.batch_size, -1
        self.batches = list(zip(problem.x[0].reshape(shape), problem.y[0].reshape(shape), strict=True))
        self.epoch_loss = 0.0

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        for epoch in range(epochs):
            lr = self.problem.learning_rates(epoch)[0]
            self.epoch_loss = sum(self._update(x, y, lr) for x, y in self.batches) / len(self.batches)

    def _update(self, x: np.ndarray, y: np.ndarray, lr: float) -> float:
        w1, b1, w2, b2, w3, b3 = self.parameters
        gw1, gb1, gw2, gb2, gw3, gb3 = self.gradients
        slope, clip, l1 = self.problem.slope, self.problem.clip, self.problem.l1[0]
        n = len(x)

        z1 = x @ w1.T + b1
        a1 = np.maximum(z1, slope * z1)
        z2 = a1 @ w2.T + b2
        a2 = np.maximum(z2, slope * z2)
        delta = a2 @ w3.T + b3 - y
        loss = 0.5 * np.vdot(delta, delta) / n

        delta /= n
        np.matmul(delta.T, a2, out=gw3)
        np.sum(delta, axis=0, out=gb3)
        delta = delta @ w3
        delta *= np.where(z2 > 0, 1.0, slope).astype(x.dtype, copy=False)
        np.matmul(delta.T, a1, out=gw2)
        np.sum(delta, axis=0, out=gb2)
        delta = delta @ w2
        delta *= np.where(z1 > 0, 1.0, slope).astype(x.dtype, copy=False)
        np.matmul(delta.T, x, out=gw1)
        np.sum(delta, axis=0, out=gb1)

        squares = float(np.dot(self.gradient, self.gradient))
        self.gradient *= lr * clip / max(squares, clip**2) ** 0.5
        np.sign(self.flat, out=self.scratch)
        self.scratch *= lr * l1
        self.gradient += self.scratch
        self.flat -= self.gradient
        np.abs(self.flat, out=self.scratch)
        return float(loss) + l1 * float(self.scratch.sum())

    def weights(self) -> list[Weights]:
        """Return the weights of the model."""
        return [self.parameters]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch."""
        return [self.epoch_loss]


def _views(flat: np.ndarray, shapes: Weights) -> Weights:
    """Cut an array into views of these shapes."""
    views, start = [], 0
    for shape in (w.shape for w in shapes):
        size = int(np.prod(shape))
        views.append(flat[start : start + size].reshape(shape))
        start += size
    return views
