"""JAX: one jitted function scans over the updates of an epoch; vmap makes it train many models at once.

As JAX's documentation advises for speed: `jit` outermost, `scan` for the loop, donated state, data on the device before the
clock starts, `block_until_ready` before it stops. Tried and found no faster: unrolling the scan, the older CPU runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from problems import Problem, Weights

jax.config.update("jax_enable_x64", True)  # single precision data stays in single precision


class Scan:
    """`jit` of a `scan` over an epoch, under `vmap` if the problem has several models.

    Parameters
    ----------
    problem : Problem
    in_out : bool
        Whether matrices have shape (in, out), as Flax has them, rather than (out, in). Neither is faster everywhere: a row
        takes what is faster for it.
    """

    def __init__(self, problem: Problem, *, in_out: bool = False) -> None:
        self.problem = problem
        self.in_out = in_out
        batches = (problem.models, problem.updates, problem.batch_size)
        data = problem.x.reshape(*batches, -1), problem.y.reshape(*batches, *problem.y.shape[2:])
        l1 = np.array(problem.l1 or [0.0] * problem.models, problem.dtype)
        weights = [np.stack(arrays) for arrays in zip(*problem.weights, strict=True)]
        if in_out:
            weights = [w.swapaxes(1, -1) for w in weights]
        epoch = partial(_epoch, problem, in_out)
        if problem.models > 1:
            epoch = jax.vmap(epoch)
        else:
            weights, data, l1 = [w[0] for w in weights], tuple(array[0] for array in data), l1[0]
        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.data = jax.device_put(data)
        self.l1 = jax.device_put(l1)
        parameters = [jnp.array(w) for w in weights]
        moments = [[jnp.zeros_like(w) for w in parameters] if problem.optimizer == "adam" else [] for _ in range(2)]
        self.state = parameters, *moments, jnp.zeros_like(self.l1)
        self.losses = jnp.zeros(0)

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        for epoch in range(epochs):
            lr = np.array(self.problem.learning_rates(epoch), self.problem.dtype)
            self.state, self.losses = self.epoch(self.state, *self.data, lr if self.problem.models > 1 else lr[0], self.l1)
        jax.block_until_ready((self.state, self.losses))

    def weights(self) -> list[Weights]:
        """Return the weights of each model."""
        arrays = [np.asarray(w) for w in self.state[0]]
        models = [arrays] if self.problem.models == 1 else [list(model) for model in zip(*arrays, strict=True)]
        return [[w.T for w in model] for model in models] if self.in_out else models

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch, for each model."""
        return np.asarray(self.losses, np.float64).reshape(self.problem.models, -1).mean(axis=1).tolist()


def _epoch(problem: Problem, in_out: bool, state: Any, x: jax.Array, y: jax.Array, lr: jax.Array, l1: jax.Array) -> Any:
    def update(state: Any, batch: Any) -> Any:
        parameters, m, v, step = state
        loss, gradients = jax.value_and_grad(partial(_data_loss, problem, in_out))(parameters, *batch)
        if problem.clip is not None:
            squares = sum(jnp.sum(g * g) for g in gradients)
            factor = problem.clip / jnp.sqrt(jnp.maximum(squares, problem.clip**2))
            gradients = [g * factor for g in gradients]
        if problem.l1 is not None:
            gradients = [g + l1 * jnp.sign(w) for g, w in zip(gradients, parameters, strict=True)]
        if problem.optimizer == "adam":
            step = step + 1
            m = [0.9 * a + 0.1 * g for a, g in zip(m, gradients, strict=True)]
            v = [0.999 * a + 0.001 * g * g for a, g in zip(v, gradients, strict=True)]
            m_factor, v_factor = 1 / (1 - 0.9**step), 1 / (1 - 0.999**step)
            gradients = [a * m_factor / (jnp.sqrt(b * v_factor) + 1e-8) for a, b in zip(m, v, strict=True)]
        parameters = [w - lr * g for w, g in zip(parameters, gradients, strict=True)]
        if problem.l1 is not None:
            loss = loss + l1 * sum(jnp.sum(jnp.abs(w)) for w in parameters)
        return (parameters, m, v, step), loss

    return jax.lax.scan(update, state, (x, y))


def _data_loss(problem: Problem, in_out: bool, parameters: Sequence[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    for number, (weight, bias) in enumerate(layers):
        x = x @ (weight if in_out else weight.T) + bias
        if number < len(layers) - 1:
            x = jax.nn.leaky_relu(x, problem.slope) if problem.slope else jax.nn.relu(x)
    if problem.loss == "half_squared_error":
        return 0.5 * jnp.sum((x - y) ** 2) / len(x)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))
