"""See what reverse-mode differentiation does: print the backward pass of a small function, line by line.

    y = Σ sin(w x)  --capture--> lines of the forward pass
    dy/dw           --capture--> lines of the backward pass, which come after them

A gradient consists of the same operations as a function, so it has a gradient too: d²y/dw².
"""

from __future__ import annotations

import numpy as np

import tinygrad_lab as tl


def main() -> None:
    """Print the program of a function and of its gradient. Compare the derivatives with those derived by hand."""
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
