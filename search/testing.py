"""A small Trainer for examples and tests of a search: a polynomial, fitted by gradient descent in NumPy."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


class Polynomial:
    """y = w[0] + w[1] x + ... + w[degree] x^degree, for one feature x."""

    def __init__(self, degree: int, rng: np.random.Generator) -> None:
        self.weight = rng.uniform(-0.5, 0.5, degree + 1)

    def powers(self, x: np.ndarray) -> np.ndarray:
        """Return the matrix of 1, x, x^2, ... of shape (samples, degree + 1)."""
        return np.vander(x[:, 0], len(self.weight), increasing=True)

    def step(self, update: np.ndarray) -> None:
        """Subtract an update from the weights."""
        self.weight -= update

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the weights by name."""
        return {"weight": self.weight.copy()}


class PolynomialTrainer:
    """Minimises half the mean squared error of a polynomial by gradient descent on the whole training set.

    Parameters
    ----------
    model : Polynomial
        What is trained.
    lr : float
        Learning rate. If it is too large, `fit` raises an ArithmeticError.
    epochs : int
        Number of steps.
    """

    def __init__(self, model: Polynomial, lr: float, epochs: int) -> None:
        self.model = model
        self.lr = lr
        self.epochs = epochs

    only_watches_validation = True

    def fit(
        self, x: np.ndarray, y: np.ndarray, *, validation: tuple[np.ndarray, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Train, and return the losses and the learning rate of each epoch."""
        powers = self.model.powers(x)
        train_loss, validation_loss = [], []
        for epoch in range(self.epochs):
            error = powers @ self.model.weight - y[:, 0]
            self.model.step(self.lr * powers.T @ error / len(x))
            train_loss.append(self.evaluate(x, y))
            validation_loss.append(math.nan if validation is None else self.evaluate(*validation))
            if not math.isfinite(train_loss[-1]):
                raise FloatingPointError(f"loss is {train_loss[-1]} in epoch {epoch}")
        return {
            "train_loss": np.array(train_loss),
            "validation_loss": np.array(validation_loss),
            "lr": np.full(self.epochs, self.lr),
        }

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the values of the polynomial."""
        return self.model.powers(x) @ self.model.weight

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return half the mean squared error on x and y."""
        error = self.predict(x) - y[:, 0]
        return float(np.mean(error**2) / 2)


def build_polynomial(configuration: Mapping[str, Any], rng: np.random.Generator) -> PolynomialTrainer:
    """Return the trainer of one configuration, which has ``degree`` and optionally ``lr`` and ``epochs``.

    Examples
    --------
    >>> trainer = build_polynomial({"degree": 2}, np.random.default_rng(0))
    >>> x = np.linspace(-1, 1, 10)[:, np.newaxis]
    >>> history = trainer.fit(x, x**2, validation=(x, x**2))
    >>> bool(history["train_loss"][-1] < 1e-3)
    True
    """
    model = Polynomial(configuration["degree"], rng)
    return PolynomialTrainer(model, configuration.get("lr", 0.5), configuration.get("epochs", 200))
