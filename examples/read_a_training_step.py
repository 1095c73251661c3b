"""
How a program becomes loops
===========================

A training step does the same operations in every update. So it is recorded once, as a list of lines, and repeated from the
list. The list can also be written as loops, which Numba compiles.

::

    Trainer --capture--> program: forward, backward, clipping, penalty, update --write_source--> loops, in Python

Nothing is trained here, so Numba is not needed.
"""

# %%
# A step as a list of array operations
# ------------------------------------
# This is the update of a small network for one sample. State are the parameters, which the step replaces. Inputs are what
# differs from one update to the next: the sample, the learning rate, the largest norm of the gradient and the strength of
# the penalty.
import re

import numpy as np
from matplotlib.figure import Figure

import tinygrad_lab as tl
from models import TwoHiddenLayerNet

net = TwoHiddenLayerNet(1, 75, 50, 1, activation="leaky_relu", rng=np.random.default_rng(0))
trainer = tl.Trainer(
    net,
    tl.HalfSquaredError(),
    optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
    penalty=tl.L1Penalty(1e-3, decoupled=True),
)
program = trainer.capture([0.5], [1.0])
print(program)

# %%
# How to read it: the forward pass ends at the first ``divide``, which is the loss. Then comes the walk back, last operation
# first. The line with ``norm`` is the norm of all gradients, and the lines after it scale them down if it is too large.
# Then the penalty adds the ``sign`` of each parameter, and the optimizer subtracts lr times the gradient.
#
# The ``replay`` engine calls one NumPy function for each line, with a buffer that was allocated beforehand. It computes the
# same numbers as Python code that builds the graph at every step, to the bit.

# %%
# The same step as loops
# ----------------------
# NumPy writes the result of each line to memory and reads it again in the next line. For a network as small as this, most
# of the time is spent on calls, not on arithmetic. ``write_source`` joins lines that go over the same elements into one
# loop, and stores a value only if it is read more than once or in another loop.
source = tl.write_source(program, samples=("x", "y"))
loops = source.text[source.text.index("def step") :]
print(f"{len(program.lines)} array operations; as loops:\n")
print(loops)

# %%
# The ``compiled`` engine compiles this text with Numba, and runs a whole epoch in one call. It sums in another order than
# NumPy, so it agrees with the other engines up to rounding.

# %%
# What was saved
# --------------
# The lines by kind of operation, and the number of loops that they became.
operations = [line.split(" = ")[1].split("(")[0] for line in str(program).splitlines() if re.match(r"v\d+ = ", line)]
kinds = sorted(set(operations), key=operations.count)
figure = Figure(figsize=(7.0, 4.0), layout="constrained")
axes = figure.add_subplot(xlabel="lines of the program", title=f"{len(operations)} lines became {loops.count('for ')} loops")
axes.barh(kinds, [operations.count(kind) for kind in kinds])
