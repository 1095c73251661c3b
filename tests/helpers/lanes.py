"""Trainers of one structure with numbers of their own, and everything that a training leaves behind: for tests of lanes."""

import itertools

import numpy as np

import tinygrad_lab as tl
from models import TwoHiddenLayerNet
from tinygrad_lab.training.lanes import structure_of

RNG = np.random.default_rng(5)
LENGTHS = (23, 9, 30, 16)  # of the lanes' data: with batches of 7, last ones of 2, 2, 2 and 2; see `data` for others
X = RNG.uniform(-2.0, 2.0, (60, 2))
Y = np.stack([X[:, 0] ** 2 - X[:, 1], np.sin(2.0 * X[:, 0])], axis=1) + RNG.normal(0.0, 0.1, X.shape)
STARTS = (0, 20, 30, 7)

OPTIMIZERS = {
    "sgd": lambda p, i, hooks: tl.SGD(p, lr=0.02 * (i + 1), hooks=hooks),
    "momentum": lambda p, i, hooks: tl.SGD(p, lr=0.02, momentum=0.9 / (1 + 0.2 * i), hooks=hooks),
    "nesterov": lambda p, i, hooks: tl.SGD(p, lr=0.02, momentum=0.9 / (1 + 0.2 * i), nesterov=True, hooks=hooks),
    "rmsprop": lambda p, i, hooks: tl.RMSprop(p, lr=0.01, alpha=0.9 / (1 + 0.1 * i), hooks=hooks),
    "adam": lambda p, i, hooks: tl.Adam(p, lr=0.01 + 0.002 * i, betas=(0.9 / (1 + 0.1 * i), 0.99), hooks=hooks),
    "adamw": lambda p, i, hooks: tl.AdamW(p, lr=0.01, weight_decay=0.01 * i, hooks=hooks),
}
HOOKS = {
    "none": lambda i: [],
    "norm": lambda i: [tl.ClipGradNorm(0.5 + 0.5 * i)],
    "value, norm": lambda i: [tl.ClipGradValue(0.1 + 0.1 * i), tl.ClipGradNorm(0.5 + 0.5 * i)],
}
PENALTIES = {
    f"{kind.__name__} {place}": lambda i, kind=kind, place=place: kind(0.01 * i, **({place: True} if place else {}))
    for kind in (tl.L1Penalty, tl.L2Penalty, tl.ElasticNetPenalty)
    for place in ("", "decoupled", "proximal")
} | {"none": lambda i: None}
SCHEDULERS = {
    "none": lambda i: None,
    "constant": lambda i: tl.ConstantLR(0.01 * (i + 1)),
    "linear": lambda i: tl.LinearDecay(0.05, 0.01 * i, epochs=3),
    "geometric": lambda i: tl.GeometricDecay(0.05, 0.01 + 0.01 * i, epochs=2),
    "cosine": lambda i: tl.CosineDecay(0.05, 0.0, epochs=2 + i),
    "step": lambda i: tl.StepDecay(0.05, 0.5, every=1 + i),
    "warm-up": lambda i: tl.WarmUp(tl.ConstantLR(0.05), epochs=1 + i),
}


def network(i, sizes=(2, 4, 2), activation="tanh", dtype=np.float64, bias=True):
    rng = np.random.default_rng([7, i])
    layers = []
    for ins, outs in itertools.pairwise(sizes):
        layers += [tl.Linear(ins, outs, bias, rng=rng, dtype=dtype), tl.get_activation(activation)]
    return tl.Sequential(*layers[:-1])


def maker(
    optimizer="sgd", hooks="norm", penalty="L1Penalty decoupled", scheduler="geometric", loss=None, net=network, **options
):
    """Return a function that makes the Trainer of lane i, with numbers of its own."""

    def make(i):
        model = net(i)
        settings = {"epochs": (3, 5, 2, 4)[i % 4], "batch_size": 7, "engine": "replay", "seed": i} | options
        return tl.Trainer(
            model,
            loss or tl.HalfSquaredError(),
            optimizer=OPTIMIZERS[optimizer](model.parameters(), i, HOOKS[hooks](i)),
            scheduler=scheduler(i) if callable(scheduler) else SCHEDULERS[scheduler](i),
            penalty=PENALTIES[penalty](i),
            **{name: value(i) if callable(value) else value for name, value in settings.items()},
        )

    return make


def data(i):
    rows = slice(STARTS[i % 4], STARTS[i % 4] + LENGTHS[i % 4])
    return X[rows], Y[rows]


def state_of(trainer, error):
    """Everything that a training leaves behind, to the bit."""
    arrays = trainer.model.state_dict() | {f"optimizer {k}": v for k, v in trainer.optimizer.state_dict().items()}
    arrays |= {f"history {k}": v for k, v in trainer.history.items()} | {"lr": trainer.optimizer.lr.numpy()}
    bits = {name: (array.shape, array.dtype, array.tobytes()) for name, array in arrays.items()}
    return bits | {"error": None if error is None else (error.epoch, error.batch, str(error))}


def fit_alone(trainer, data, epochs=None):
    x, y, *weight = data
    error = None
    try:
        trainer.fit(x, y, sample_weight=weight[0] if weight else None, epochs=epochs)
    except tl.NonFiniteLossError as caught:
        error = caught
    return state_of(trainer, error)


def fit_together(trainers, data, epochs=None):
    errors = tl.fit_lanes(trainers, data, epochs=epochs)
    return [state_of(trainer, error) for trainer, error in zip(trainers, errors, strict=True)]


def check(make, data=data, count=4, epochs=None, together=True):
    """Compare lanes with trainings alone; `together` says that the lanes are of one structure."""
    trainers = [make(i) for i in range(count)]
    assert (len({structure_of(trainer) for trainer in trainers}) == 1) == together
    alone = [fit_alone(make(i), data(i), epochs) for i in range(count)]
    assert fit_together(trainers, [data(i) for i in range(count)], epochs) == alone
    return alone


def near(state, other):
    assert state.keys() == other.keys()
    for name, value in state.items():
        if name == "error":
            assert value == other[name]
        else:
            assert value[:2] == other[name][:2], name
            ours, theirs = (np.frombuffer(bits, value[1]) for bits in (value[2], other[name][2]))
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13, err_msg=name)


class Jump(tl.Scheduler):
    """A learning rate that is too large in one epoch."""

    def __init__(self, epoch, rate=1e200):
        self.epoch = epoch
        self.rate = rate

    def __call__(self, epoch):
        return self.rate if epoch == self.epoch else 0.01


def report_trainer(i, engine="compiled", **options):
    """As those of tests/tinygrad_lab/codegen/test_trainings.py, so that all share one compilation."""
    net = TwoHiddenLayerNet(1, 7, 5, 1, activation="leaky_relu", rng=np.random.default_rng(i))
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=tl.SGD(net.parameters(), lr=0.05, hooks=[tl.ClipGradNorm(1.0 + i)]),
        penalty=tl.L1Penalty(1e-3 * i, decoupled=True),
        engine=engine,
        **{"batch_size": 1, "epochs": 2 + i, "seed": i} | options,
    )


def one_feature(i):
    return tuple(array[:, :1] for array in data(i))
