"""See what reverse-mode differentiation does: the backward pass of a small function, written out line by line.

y = Σ sin(w x)  --capture--> lines of the forward pass
dy/dw           -----------> lines of the backward pass, which come after them
d²y/dw²         -----------> and so on: a gradient is made of the same operations, so it has a gradient
"""

from __future__ import annotations

import numpy as np

import tinygrad_lab as tl


def main() -> None:
    """Print the program of a function and of its gradient, and compare derivatives with those found on paper."""
    x = tl.Tensor([1.0, 2.0, 3.0])
    w = tl.Tensor(0.5, requires_grad=True)

    def forward_and_backward() -> tuple[dict[str, tl.Tensor], dict[str, tl.Tensor]]:
        y = (w * x).sin().sum()
        (slope,) = tl.grad(y, [w])
        return {"y": y, "dy/dw": slope}, {}

    print("y = sum(sin(w x)) and dy/dw, line by line:\n")
    print(tl.capture(forward_and_backward, {"x": x, "w": w}, {}))

    y = (w * x).sin().sum()
    (slope,) = tl.grad(y, [w], create_graph=True)
    (curvature,) = tl.grad(slope, [w])
    angles = 0.5 * np.array([1.0, 2.0, 3.0])
    on_paper = (np.array([1.0, 2.0, 3.0]) * np.cos(angles)).sum(), -(np.array([1.0, 4.0, 9.0]) * np.sin(angles)).sum()
    print("\n            derived               on paper")
    for name, derived, expected in zip(("dy/dw", "d2y/dw2"), (slope, curvature), on_paper, strict=True):
        print(f"{name:<8}  {derived.item():<20.16f}  {expected:<20.16f}")


if __name__ == "__main__":
    main()
