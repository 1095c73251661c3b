"""
How reverse mode works here
===========================

A function is a chain of operations, and each operation knows one thing about its derivative: its vector-Jacobian product
(VJP). Reverse mode follows the chain from the result to the inputs and applies one VJP for each operation.

::

    y = Σ sin(w x)  --> links from each result to its inputs --> the walk back --> dy/dw, which has links too --> d²y/dw²
"""

# %%
# A result is linked to its inputs
# --------------------------------
# Every result of an operation on Tensors remembers the operation, the inputs and their values.
import numpy as np
from matplotlib.figure import Figure

import tinygrad_lab as tl

x = tl.Tensor([1.0, 2.0, 3.0])
w = tl.Tensor(0.5, requires_grad=True)
y = (w * x).sin().sum()
print(y)

# %%
# One vector-Jacobian product for each operation
# ----------------------------------------------
# Let g be the derivative of the final result with respect to the output of an operation. The VJP of the operation turns g
# into the derivative with respect to its input. The VJP of sin is ``g * cos(x)``. It stands beside the operation, in one
# table.
from tinygrad_lab.autodiff import ops

angle = w.data * x.data
g = np.ones(3)  # y is a sum, so its derivative with respect to each term is 1
g_angle = ops.sin.vjp(0)(g, np.sin(angle), angle)
print("by the VJP of sin:", g_angle)
print("on paper:         ", np.cos(angle))

# %%
# The walk back
# -------------
# If a value is used several times, its derivative is the sum of one share for each use. Here w is used for each of the
# three elements of x. Therefore the walk visits all results that use a value before it visits the value itself. ``grad``
# does this walk.
(slope,) = tl.grad(y, [w], create_graph=True)
print("by hand:", (g_angle * x.data).sum())
print("grad:   ", slope.item())

# %%
# A derivative is a Tensor, so it has derivatives
# -----------------------------------------------
# The VJPs use the same operations as any other computation. With ``create_graph=True`` their results are linked as well,
# and ``grad`` differentiates them like any other Tensor.
(curvature,) = tl.grad(slope, [w])
angles = 0.5 * np.array([1.0, 2.0, 3.0])
on_paper = (np.array([1.0, 2.0, 3.0]) * np.cos(angles)).sum(), -(np.array([1.0, 4.0, 9.0]) * np.sin(angles)).sum()
print("            derived               on paper")
for name, derived, expected in zip(("dy/dw", "d2y/dw2"), (slope, curvature), on_paper, strict=True):
    print(f"{name:<8}  {derived.item():<20.16f}  {expected:<20.16f}")

# %%
# The same walk, as a list
# ------------------------
# ``tl.capture`` records the operations while they run. The forward pass ends at v4. The lines below it are the walk back:
# v7 is the VJP of sin, and v10 sums the shares of w.


def forward_and_backward() -> tuple[dict[str, tl.Tensor], dict[str, tl.Tensor]]:
    """Return y and its derivative. The second dict is for state that changes, and there is none."""
    y = (w * x).sin().sum()
    (slope,) = tl.grad(y, [w])
    return {"y": y, "dy/dw": slope}, {}


print(tl.capture(forward_and_backward, {"x": x, "w": w}, {}))

# %%
# Derivatives of any order
# ------------------------
# ``elementwise_grad`` differentiates a function of each element, here four times in a row.
points = np.linspace(-2.0, 4.0, 300)
function = lambda x: (-x * x).exp() + 0.2 * (2.0 * x).sin()  # noqa: E731
figure = Figure(figsize=(7.0, 3.5), layout="constrained")
axes = figure.add_subplot(xlabel="x", title="a function and its derivatives")
for order in range(5):
    axes.plot(points, function(tl.Tensor(points)).numpy(), label=f"order {order}", linewidth=2.0 if order == 0 else 1.0)
    function = tl.elementwise_grad(function)
axes.legend()
