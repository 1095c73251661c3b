"""Print what a training step computes: as a program of array operations, and as the loops that are compiled.

    Trainer --capture--> program: forward, backward, clipping, penalty, update --write_source--> loops, in Python

Nothing is trained, so Numba is not needed.
"""

from __future__ import annotations

import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet


def main() -> None:
    """Print the update of the report's network for one sample, in both forms."""
    net = TwoHiddenLayerNet(1, 75, 50, 1, activation="leaky_relu", rng=np.random.default_rng(0))
    trainer = tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        penalty=tl.L1Penalty(1e-3, decoupled=True),
    )
    program = trainer.capture([0.5], [1.0])
    print(program)
    print(f"\n{len(program.lines)} array operations; as loops:\n")
    source = tl.write_source(program, samples=("x", "y"))
    print(source.text[source.text.index("def step") :])


if __name__ == "__main__":
    main()
