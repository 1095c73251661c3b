"""The report's update at batch 1, written by hand as fused loops and compiled by Numba: what a specialist would do."""

from __future__ import annotations

import numpy as np
from numba import njit

from problems import Problem, Weights


class Handwritten:
    """A whole epoch in one native call."""

    def __init__(self, problem: Problem) -> None:
        if problem.batch_size != 1:
            raise ValueError(f"the loops are those of batch 1, batch {problem.batch_size} given")
        self.problem = problem
        weights = [w.copy() for w in problem.weights[0]]
        self.parameters = weights
        hidden1, hidden2 = problem.widths[1:3]
        self.scratch = [np.empty(size, problem.dtype) for size in (hidden1, hidden1, hidden2, hidden2)]
        self.x, self.y = problem.x[0, :, 0], problem.y[0, :, 0]
        self.epoch_loss = 0.0

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        real = self.problem.dtype.type
        w1, b1, w2, b2, w3, b3 = self.parameters
        arrays = w1[:, 0], b1, w2, b2, w3[0], b3
        settings = real(self.problem.slope), real(self.problem.clip), real(self.problem.l1[0])
        for epoch in range(epochs):
            lr = real(self.problem.learning_rates(epoch)[0])
            self.epoch_loss = _epoch(self.x, self.y, *arrays, *self.scratch, lr, *settings) / len(self.x)

    def weights(self) -> list[Weights]:
        """Return the weights of the model."""
        return [self.parameters]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch."""
        return [float(self.epoch_loss)]


@njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")
def _epoch(x, y, w1, b1, w2, b2, w3, b3, a1, d1, a2, d2, lr, slope, clip, l1):
    """Make an update of each sample, and return the sum of their losses."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    total = zero
    for sample in range(len(x)):
        for j in range(len(w1)):
            z = w1[j] * x[sample] + b1[j]
            a1[j] = z if z > zero else slope * z
            d1[j] = zero
        prediction = b3[0]
        for i in range(len(w2)):
            z = b2[i]
            for j in range(len(w1)):
                z += w2[i, j] * a1[j]
            a2[i] = z if z > zero else slope * z
            prediction += w3[i] * a2[i]
        error = prediction - y[sample]

        # The gradient of w2 is the outer product of d2 and a1, so its squared norm is the product of their squared norms.
        squares2 = zero
        output = one
        for i in range(len(w2)):
            d2[i] = error * w3[i] * (one if a2[i] > zero else slope)
            squares2 += d2[i] * d2[i]
            output += a2[i] * a2[i]
            for j in range(len(w1)):
                d1[j] += d2[i] * w2[i, j]
        squares1 = zero
        hidden = one
        for j in range(len(w1)):
            d1[j] *= one if a1[j] > zero else slope
            squares1 += d1[j] * d1[j]
            hidden += a1[j] * a1[j]
        squares = error * error * output + squares2 * hidden + squares1 * (one + x[sample] * x[sample])
        step = lr * clip / np.sqrt(max(squares, clip * clip))
        shrink = lr * l1

        penalty = zero
        b3[0] -= step * error + shrink * np.sign(b3[0])
        penalty += abs(b3[0])
        for i in range(len(w2)):
            w3[i] -= step * error * a2[i] + shrink * np.sign(w3[i])
            b2[i] -= step * d2[i] + shrink * np.sign(b2[i])
            penalty += abs(w3[i]) + abs(b2[i])
            factor = step * d2[i]
            for j in range(len(w1)):
                w2[i, j] -= factor * a1[j] + shrink * np.sign(w2[i, j])
                penalty += abs(w2[i, j])
        for j in range(len(w1)):
            w1[j] -= step * d1[j] * x[sample] + shrink * np.sign(w1[j])
            b1[j] -= step * d1[j] + shrink * np.sign(b1[j])
            penalty += abs(w1[j]) + abs(b1[j])
        total += x.dtype.type(0.5) * error * error + l1 * penalty
    return total
