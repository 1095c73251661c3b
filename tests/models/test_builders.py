"""The builder of the command line: its default is the report's training, and each name of a configuration has its effect."""

import numpy as np
import pytest

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from models.builders import DEFAULTS, build_perceptron


def rng():
    return np.random.default_rng(7)


def test_the_default_is_the_reports_training_to_the_bit():
    net = TwoHiddenLayerNet(1, 8, 5, 1, activation="leaky_relu", rng=rng())
    by_hand = tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), hooks=[tl.ClipGradNorm(10.0)]),
        scheduler=tl.GeometricDecay(0.075, 0.001, epochs=6),
        penalty=tl.L1Penalty(1e-3, decoupled=True),
        epochs=6,
        batch_size=1,
        shuffle=False,
    )
    built = build_perceptron({"hidden": (8, 5), "lr_final": 0.001, "l1": 1e-3, "epochs": 6}, rng())
    x = np.linspace(-2, 2, 15)
    losses = [trainer.fit(x, x**2)["train_loss"].tolist() for trainer in (by_hand, built)]
    assert losses[0] == losses[1]
    assert all((net.state_dict()[name] == array).all() for name, array in built.model.state_dict().items())


@pytest.mark.parametrize(
    ("configuration", "found"),
    [
        ({"hidden": (4,)}, lambda t: t.model.hidden1.weight.shape == (4, 3) and t.model.output.weight.shape == (2, 4)),
        ({"activation": "relu", "hidden": (4, 4)}, lambda t: isinstance(t.model.activations[1], tl.ReLU)),
        ({"optimizer": "adam"}, lambda t: isinstance(t.optimizer, tl.Adam)),
        ({"optimizer": "adamw"}, lambda t: isinstance(t.optimizer, tl.AdamW)),  # the names are those of the estimators
        ({"lr": 0.5}, lambda t: t.scheduler is None and t.optimizer.lr.item() == 0.5),
        ({"lr_final": 0.01, "decay": "linear"}, lambda t: isinstance(t.scheduler, tl.LinearDecay)),
        ({"l1": 0.25}, lambda t: t.penalty.strength.item() == 0.25),
        ({"clip_norm": 3.0}, lambda t: t.optimizer.hooks[0].max_norm.item() == 3.0),
        ({"clip_norm": None}, lambda t: not t.optimizer.hooks),
        ({"epochs": 3}, lambda t: t.epochs == 3),
        ({"batch_size": None}, lambda t: t.batch_size is None),
        ({"shuffle": True}, lambda t: t.shuffle),
    ],
)
def test_every_name_has_its_effect(configuration, found):
    assert {*configuration} <= {*DEFAULTS}
    assert found(build_perceptron(configuration, rng(), in_features=3, out_features=2))
    assert set(DEFAULTS) >= set(configuration)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"hiden": (3, 3)}, "build_perceptron: unknown name 'hiden', did you mean 'hidden'?"),
        ({"optimizer": "adamm"}, "build_perceptron: optimizer is 'adamm', expected sgd, adam, adamw, rmsprop"),
        ({"decay": "no"}, "build_perceptron: decay is 'no', expected geometric, linear, cosine"),
    ],
)
def test_what_is_unknown_is_named(configuration, message):
    with pytest.raises(ValueError, match=f"^{message.replace('?', '[?]')}$"):
        build_perceptron(configuration, rng())
