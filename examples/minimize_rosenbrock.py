"""
Exact derivatives for SciPy's optimizers
========================================

Give SciPy's optimizers exact derivatives of a function: its gradient, and its Hessian times a vector.

The function is Rosenbrock's (The Computer Journal 3, 1960), a curved valley whose lowest point is at (1, ..., 1).
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

import tinygrad_lab as tl


def rosenbrock(x: tl.Tensor) -> tl.Tensor:
    """Return Σ 100 (x[i+1] - x[i]²)² + (1 - x[i])²."""
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def value_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the value and the gradient of the function in SciPy's form."""
    value, (slope,) = tl.value_and_grad(rosenbrock)(x)
    return value.item(), slope.numpy()


def main() -> list[float]:
    """Minimize in ten dimensions by Newton's method, which needs Hessian-vector products. Return the value after each step."""
    values: list[float] = []
    result = minimize(
        value_and_slope,
        x0=np.full(10, -1.0),
        jac=True,
        hessp=lambda x, v: tl.hvp(rosenbrock, x, v).numpy(),
        method="Newton-CG",
        callback=lambda x: values.append(value_and_slope(x)[0]),
        options={"xtol": 1e-10},
    )
    print(f"{result.message} {result.nit} steps, {result.nfev} gradients, {result.nhev} Hessian-vector products")
    print(f"f = {result.fun:.1e} at x = {result.x.round(6)}")
    return values


if __name__ == "__main__":
    figure = Figure(figsize=(7.0, 3.5), layout="constrained")
    figure.add_subplot(xlabel="step of Newton's method", ylabel="f", yscale="log").plot(main(), marker=".")
