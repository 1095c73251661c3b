"""The reference for every row: the training of a Problem in plain NumPy, always in double precision, and not fast."""

from __future__ import annotations

import numpy as np

from problems import Problem, Weights


def train(problem: Problem, model: int) -> tuple[Weights, float]:
    """Train one model for an epoch.

    Returns
    -------
    weights : list of ndarray
    loss : float
        The mean over all updates. For each, it is the data loss before the update plus the L1 penalty of the new weights.
    """
    weights = [w.astype(np.float64) for w in problem.weights[model]]
    m = [np.zeros_like(w) for w in weights]
    v = [np.zeros_like(w) for w in weights]
    lr = problem.learning_rates(epoch=0)[model]
    losses = []
    for step in range(problem.updates):
        batch = slice(step * problem.batch_size, (step + 1) * problem.batch_size)
        loss, gradients = _loss_and_gradients(
            problem, weights, problem.x[model, batch].astype(np.float64), problem.y[model, batch]
        )
        if problem.clip is not None:
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, problem.clip / norm) for g in gradients]
        if problem.l1 is not None:
            gradients = [g + problem.l1[model] * np.sign(w) for g, w in zip(gradients, weights, strict=True)]
        if problem.optimizer == "adam":
            m = [0.9 * a + 0.1 * g for a, g in zip(m, gradients, strict=True)]
            v = [0.999 * a + 0.001 * g**2 for a, g in zip(v, gradients, strict=True)]
            corrections = 1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)
            gradients = [
                a / corrections[0] / (np.sqrt(b / corrections[1]) + 1e-8) for a, b in zip(m, v, strict=True)
            ]  # fmt: skip
        weights = [w - lr * g for w, g in zip(weights, gradients, strict=True)]
        if problem.l1 is not None:
            loss += problem.l1[model] * sum(np.abs(w).sum() for w in weights)
        losses.append(loss)
    return weights, float(np.mean(losses))


def _loss_and_gradients(problem: Problem, weights: Weights, x: np.ndarray, y: np.ndarray) -> tuple[float, Weights]:
    """Return the mean loss of a batch and its gradient, computed by the chain rule from the last layer to the first."""
    inputs, sums = [x], []
    for layer in range(0, len(weights), 2):
        sums.append(inputs[-1] @ weights[layer].T + weights[layer + 1])
        inputs.append(np.where(sums[-1] > 0, sums[-1], problem.slope * sums[-1]))
    output = sums[-1]

    if problem.loss == "half_squared_error":
        loss = 0.5 * ((output - y) ** 2).sum() / len(x)
        delta = (output - y) / len(x)
    else:
        exponentials = np.exp(output - output.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        loss = -np.log(probabilities[np.arange(len(x)), y]).mean()
        delta = (probabilities - np.eye(output.shape[1])[y]) / len(x)

    gradients: Weights = []
    for layer in reversed(range(0, len(weights), 2)):
        gradients = [delta.T @ inputs[layer // 2], delta.sum(axis=0), *gradients]
        if layer:
            delta = (delta @ weights[layer]) * np.where(sums[layer // 2 - 1] > 0, 1.0, problem.slope)
    return float(loss), gradients
