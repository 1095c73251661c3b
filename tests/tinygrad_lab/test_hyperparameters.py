"""Hyper-parameters that are set as numbers between epochs: they take effect, on every engine, or are refused."""

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab.hyperparameters import Hyperparameter

X = np.random.default_rng(1).normal(size=(12, 3))
Y = X[:, :1] ** 2


class Own(tl.Optimizer):
    """An optimizer of a user."""

    decay = Hyperparameter(below=1.0)

    def __init__(self, parameters, decay=0.5):
        super().__init__(parameters, lr=0.05)
        self.decay = decay

    def rule(self, w, g, slots, lr, decay):
        return w - lr * decay * g, slots


def make(engine="replay", optimizer=tl.SGD, penalty=None, hook=None):
    rng = np.random.default_rng(0)
    net = tl.Sequential(
        tl.Linear(3, 4, rng=rng), tl.BatchNorm(4), tl.GaussianNoise(0.1), tl.Tanh(), tl.Dropout(0.2), tl.Linear(4, 1, rng=rng)
    )
    optimizer = optimizer(net.parameters())
    optimizer.hooks += [hook] if hook else []
    return tl.Trainer(
        net, tl.HalfSquaredError(), optimizer=optimizer, penalty=penalty, epochs=3, batch_size=4, seed=3, engine=engine
    )


OWNERS = {
    "lr": (lambda t: t.optimizer, "lr", 0.3, {}),
    "momentum": (lambda t: t.optimizer, "momentum", 0.5, {"optimizer": lambda p: tl.SGD(p, momentum=0.9)}),
    "alpha": (lambda t: t.optimizer, "alpha", 0.5, {"optimizer": tl.RMSprop}),
    "eps of RMSprop": (lambda t: t.optimizer, "eps", 0.5, {"optimizer": tl.RMSprop}),
    "beta1": (lambda t: t.optimizer, "beta1", 0.5, {"optimizer": tl.Adam}),
    "beta2": (lambda t: t.optimizer, "beta2", 0.5, {"optimizer": tl.Adam}),
    "eps of Adam": (lambda t: t.optimizer, "eps", 0.5, {"optimizer": tl.Adam}),
    "weight_decay": (lambda t: t.optimizer, "weight_decay", 0.5, {"optimizer": tl.AdamW}),
    "own": (lambda t: t.optimizer, "decay", 0.1, {"optimizer": Own}),
    "strength": (lambda t: t.penalty, "strength", 0.5, {"penalty": tl.L1Penalty(1e-3)}),
    "l1_ratio": (lambda t: t.penalty, "l1_ratio", 0.1, {"penalty": tl.ElasticNetPenalty(0.5)}),
    "max_norm": (lambda t: t.optimizer.hooks[0], "max_norm", 0.1, {"hook": tl.ClipGradNorm(1.0)}),
    "limit": (lambda t: t.optimizer.hooks[0], "limit", 0.01, {"hook": tl.ClipGradValue(1.0)}),
    "p": (lambda t: t.model[4], "p", 0.6, {}),
    "std": (lambda t: t.model[2], "std", 0.6, {}),
    "momentum of BatchNorm": (lambda t: t.model[1], "momentum", 0.6, {}),
    "eps of BatchNorm": (lambda t: t.model[1], "eps", 0.6, {}),
}


class Set(tl.Callback):
    def __init__(self, owner, name, number):
        self.owner, self.name, self.number = owner, name, number

    def on_epoch_end(self, run):
        setattr(self.owner(run.trainer), self.name, self.number)
        return ""


def weights_of(trainer):
    return np.concatenate([x.ravel() for x in trainer.model.state_dict().values()])


@pytest.mark.parametrize("case", OWNERS)
def test_a_number_takes_effect_from_the_next_epoch_on(case):
    owner, name, number, parts = OWNERS[case]
    before = getattr(owner(make(**parts)), name).item()
    results = {}
    for engine in ("eager", "replay"):
        trainer = make(engine, **parts)
        setattr(owner(trainer), name, before)  # parts are shared by the trainings of a case
        trainer.fit(X, Y, callbacks=[Set(owner, name, number)])
        assert getattr(owner(trainer), name).item() == number
        results[engine] = weights_of(trainer)
    unset = make(**parts)
    setattr(owner(unset), name, before)
    unset.fit(X, Y)
    assert results["eager"].tolist() == results["replay"].tolist()
    assert results["eager"].tolist() != weights_of(unset).tolist()


@pytest.mark.parametrize("case", OWNERS)
@pytest.mark.parametrize("bad", [-1.0, float("nan"), True, None, "1", tl.Tensor(0.5, requires_grad=True)], ids=repr)
def test_a_bad_number_is_refused_and_the_old_one_kept(case, bad):
    owner, name, _, parts = OWNERS[case]
    part = owner(make(**parts))
    before = getattr(part, name).item()
    with pytest.raises(ValueError, match=rf"^{type(part).__name__}: {name} is .*, expected a number "):
        setattr(part, name, bad)
    assert getattr(part, name).item() == before


def test_numbers_differ_between_the_lanes_of_one_program():
    def changed():
        trainers = [make(hook=tl.ClipGradNorm(1.0)) for _ in range(2)]
        trainers[1].model[4].p = 0.5
        trainers[1].optimizer.hooks[0].max_norm = 0.1
        return trainers

    lanes, alone = changed(), changed()
    tl.fit_lanes(lanes, [(X, Y)] * 2)
    for trainer in alone:
        trainer.fit(X, Y)
    assert [weights_of(t).tolist() for t in lanes] == [weights_of(t).tolist() for t in alone]


@pytest.mark.parametrize("kind", [tl.Adam, tl.AdamW])
def test_both_betas_are_set_or_none(kind):
    optimizer = kind(make().model.parameters())
    optimizer.betas = 0.5, 0.6
    assert [beta.item() for beta in optimizer.betas] == [0.5, 0.6]
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: betas\[1\] is 1.0, expected a number of at least 0 and below 1"):
        optimizer.betas = 0.1, 1.0
    with pytest.raises(TypeError):
        optimizer.betas[0] = 0.1
    assert [beta.item() for beta in optimizer.betas] == [0.5, 0.6]


def test_a_momentum_without_a_velocity_is_refused():
    optimizer = tl.SGD(make().model.parameters())
    optimizer.momentum = 0.0
    with pytest.raises(ValueError, match=r"^SGD: momentum is 0\.5, expected 0, .*build it with a momentum above 0"):
        optimizer.momentum = 0.5


def test_a_number_that_was_never_set_is_named():
    class Forgetful(Own):
        def __init__(self, parameters):
            tl.Optimizer.__init__(self, parameters, lr=0.05)

    with pytest.raises(AttributeError, match="^Forgetful: decay is not set"):
        _ = Forgetful(make().model.parameters()).decay


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize(
    ("owner", "name", "value", "message"),
    [
        (lambda t: t, "batch_size", 0, "Trainer: batch_size is 0, expected a positive integer or None"),
        (lambda t: t, "batch_size", 2.5, r"Trainer: batch_size is 2\.5, expected"),
        (
            lambda t: t.penalty,
            "placement",
            "proxima",
            "L1Penalty: placement is 'proxima', expected loss or ",
        ),
        (lambda t: t.optimizer, "nesterov", True, "SGD: nesterov is True without a velocity, expected False"),
    ],
)
def test_other_settings_that_a_callback_may_spoil_are_refused(owner, name, value, message, engine):
    trainer = make(engine, penalty=tl.L1Penalty(1e-3))
    with pytest.raises(ValueError, match=f"^{message}"):
        trainer.fit(X, Y, callbacks=[Set(owner, name, value)])


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_a_rate_that_a_scheduler_would_set_again_is_refused(engine):
    trainer = make(engine)
    trainer.scheduler = tl.ConstantLR(0.1)
    with pytest.raises(ValueError, match=r"^a callback has set lr to 0\.2, but ConstantLR sets it before each epoch; "):
        trainer.fit(X, Y, callbacks=[Set(lambda t: t.optimizer, "lr", 0.2)])
