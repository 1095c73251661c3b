"""
Exact derivatives for SciPy's optimizers
========================================

Give SciPy's optimizers exact derivatives of a function: its gradient, and its Hessian times a vector.

The function is Rosenbrock's (The Computer Journal 3, 1960), a curved valley whose lowest point is at (1, ..., 1).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

import tinygrad_lab as tl


def rosenbrock(x: tl.Tensor) -> tl.Tensor:
    """Return Σ 100 (x[i+1] - x[i]²)² + (1 - x[i])²."""
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def value_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the value and the gradient of the function in SciPy's form."""
    value, (slope,) = tl.value_and_grad(rosenbrock)(x)
    return value.item(), slope.numpy()


def main() -> None:
    """Minimize in ten dimensions by Newton's method, which needs only Hessian-vector products."""
    result = minimize(
        value_and_slope,
        x0=np.full(10, -1.0),
        jac=True,
        hessp=lambda x, v: tl.hvp(rosenbrock, x, v).numpy(),
        method="Newton-CG",
        options={"xtol": 1e-10},
    )
    print(f"{result.message} {result.nit} steps, {result.nfev} gradients, {result.nhev} Hessian-vector products")
    print(f"f = {result.fun:.1e} at x = {result.x.round(6)}")


if __name__ == "__main__":
    main()
