"""What objects print as: their parts and numbers, never an address."""

import numpy as np
import pytest

import tinygrad_lab as tl
from models import MultilayerPerceptron, TwoHiddenLayerNet

NET = TwoHiddenLayerNet(1, 75, 50, 1, activation="leaky_relu", rng=np.random.default_rng(0))
PARAMETERS = NET.parameters()
NET_TEXT = (
    "TwoHiddenLayerNet(hidden1=Linear(1, 75), hidden2=Linear(75, 50), output=Linear(50, 1), activation=LeakyReLU(slope=0.05))"
)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (NET, NET_TEXT),
        (
            MultilayerPerceptron(1, (3,), 1, activation="relu", rng=np.random.default_rng(0)),
            "MultilayerPerceptron(activations=[ReLU()], hidden1=Linear(1, 3), output=Linear(3, 1))",
        ),
        (tl.SGD(PARAMETERS, hooks=[tl.ClipGradNorm(10.0)]), "SGD(lr=0.01, momentum=0.0, hooks=[ClipGradNorm(10.0)])"),
        (tl.AdamW(PARAMETERS), "AdamW(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01, hooks=[])"),
        (tl.EarlyStopping(3), "EarlyStopping(patience=3, monitor='validation_loss', min_delta=0.0, restore_best=True)"),
        (tl.ProgressBar(), "ProgressBar()"),
        (
            tl.Trainer(NET, tl.HalfSquaredError(), optimizer=tl.SGD(PARAMETERS), penalty=tl.L1Penalty(0.5, decoupled=True)),
            f"Trainer({NET_TEXT}, HalfSquaredError(), optimizer=SGD(lr=0.01, momentum=0.0, hooks=[]), scheduler=None, "
            "penalty=L1Penalty(0.5, decoupled=True), epochs=100, batch_size=32, shuffle=True, seed=0, engine='auto')",
        ),
    ],
    ids=lambda x: type(x).__name__ if not isinstance(x, str) else "",
)
def test_objects_print_their_parts_and_numbers(x, text):
    assert repr(x) == text
