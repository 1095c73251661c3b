"""
Write a layer
=============

Write a new layer, check its derivatives, and train it on all three engines.

The layer computes radial basis functions (Broomhead and Lowe, Complex Systems 2, 1988): exp(-(x - centre)² / (2 width²)) for
several centres. Centres and widths are learnt. You do not write the derivatives of a layer.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import tinygrad_lab as tl
from tinygrad_lab.testing import check_grad


class RadialBasis(tl.Layer):
    """Gaussian functions of one feature. An input of shape (samples, 1) gives an output of shape (samples, centres)."""

    def __init__(self, centres: np.ndarray, width: float) -> None:
        self.centres = tl.Tensor(centres, requires_grad=True)
        self.log_width = tl.Tensor(np.full(len(centres), np.log(width)), requires_grad=True)  # so a width stays positive

    def forward(self, x: tl.Tensor) -> tl.Tensor:
        """Return the value of each Gaussian at each sample."""
        distance = (x - self.centres) / self.log_width.exp()
        return (-0.5 * distance * distance).exp()


def make_trainer(engine: str) -> tl.Trainer:
    """Make a network with the layer, and its Trainer."""
    net = tl.Sequential(
        RadialBasis(np.linspace(-2.0, 2.0, 8), width=0.5),
        tl.Linear(8, 1, rng=np.random.default_rng(0)),
    )
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.Adam(net.parameters(), lr=0.02),
        epochs=100,
        batch_size=10,
        engine=engine,
    )


def main() -> Figure:
    """Check the layer, train it on each engine, print the losses, and draw what the network has learnt."""
    layer = RadialBasis(np.linspace(-1.0, 1.0, 3), width=0.5)
    error = check_grad(lambda x, *_: layer(x), [[0.3], [-0.7]], *layer.parameters(), order=2)
    print(f"derivatives of first and second order are off by at most {error:.0e} of their size")

    x = np.linspace(-2.0, 2.0, 100)
    y = np.sin(3.0 * x) + 0.5 * x
    figure = Figure(figsize=(7.0, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="x")
    axes.plot(x, y, color="0.6", linewidth=5.0, label="function")
    for engine in ("eager", "replay", "compiled"):
        trainer = make_trainer(engine)
        try:
            history = trainer.fit(x, y)
        except ImportError as missing:
            print(f"{engine:<8}  {missing}")
        else:
            print(f"{engine:<8}  loss {history['train_loss'][0]:.3f} --> {history['train_loss'][-1]:.15f}")
            axes.plot(x, trainer.predict(x)[:, 0], label=engine)
    axes.legend()
    return figure


if __name__ == "__main__":
    figure = main()
