"""The mode belongs to a thread: what threads may do, and which layers are refused in another thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_lab as tl

X = np.random.default_rng(1).normal(size=(8, 2))
Y = X[:, :1] ** 2


def in_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


class Elsewhere(tl.Layer):
    """Calls its inner layer in another thread."""

    def __init__(self, *inner):
        self.inner = inner

    def forward(self, x):
        for layer in self.inner:
            x = in_thread(lambda layer=layer, x=x: layer(x))
        return x


class InAnObject(Elsewhere):
    """Keeps its layers where no parameters are looked for."""

    def __init__(self, *inner):
        self.weight = tl.Tensor(1.0, requires_grad=True)
        self.inner = {*inner}

    def forward(self, x):
        return super().forward(x) * self.weight


class AsksForTheMode(tl.Layer):
    def forward(self, x):
        return 2.0 * x if self.training else x


def linear(seed=0):
    return tl.Linear(2, 1, rng=np.random.default_rng(seed))


def trainer_of(model, engine="eager", **options):
    settings = {"optimizer": tl.SGD(model.parameters()), "epochs": 2, "engine": engine} | options
    return tl.Trainer(model, tl.HalfSquaredError(), **settings)


@pytest.mark.parametrize("engine", ["eager", "auto", "replay"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Elsewhere(tl.Dropout(0.5), linear()),
        lambda: Elsewhere(linear(), tl.GaussianNoise(0.5)),
        lambda: tl.Sequential(linear(), Elsewhere(tl.BatchNorm(1))),
        lambda: Elsewhere(tl.Sequential(tl.Dropout(0.5), linear())),
        lambda: Elsewhere(linear(), AsksForTheMode()),
        lambda: InAnObject(AsksForTheMode()),
    ],
)
def test_a_layer_in_another_thread_does_not_run_in_evaluation_mode(make, engine):
    trainer = trainer_of(make(), engine)
    x = X[:, :1] if isinstance(trainer.model, InAnObject) else X
    with pytest.raises(RuntimeError, match="runs in a thread without a mode, but its model is in training mode"):
        trainer.fit(x, Y)
    trainer.predict(x)


def test_a_loop_by_hand_refuses_it_too():
    model = Elsewhere(tl.Dropout(0.5))
    with tl.training_mode(np.random.default_rng(0)), pytest.raises(RuntimeError, match="^Dropout: runs in a thread without"):
        model(X)
    assert model(X).numpy().tolist() == X.tolist()


def test_layers_without_a_mode_may_run_in_any_thread():
    losses = [trainer_of(make(linear())).fit(X, Y)["train_loss"].tolist() for make in (Elsewhere, tl.Sequential)]
    assert losses[0] == losses[1]


class Waiting(tl.Callback):
    """Calls a function in another thread between epochs."""

    def __init__(self, function):
        self.function, self.results = function, []

    def on_epoch_end(self, run):
        self.results.append(in_thread(self.function))
        return ""


class DuringTheStep(tl.Layer):
    """Calls a function in another thread, as long as the step is open."""

    def __init__(self, function):
        self.inner = linear()
        self.function, self.results = function, []

    def forward(self, x):
        self.results.append(in_thread(self.function))
        return self.inner(x)


def test_another_model_is_evaluated_or_trained_at_the_same_time():
    model = tl.Sequential(tl.Dropout(0.5), linear(1))
    other = trainer_of(model)
    expected = linear(1)(X).numpy().tolist()
    for function in (
        lambda: other.predict(X).tolist(),
        lambda: model(X).numpy().tolist(),
    ):
        training = trainer_of(DuringTheStep(function))
        training.fit(X, Y)
        assert training.model.results
        assert all(result == expected for result in training.model.results)
    alone = trainer_of(tl.Sequential(tl.Dropout(0.5), linear(1))).fit(X, Y)["train_loss"].tolist()
    training = trainer_of(DuringTheStep(lambda: other.fit(X, Y)["train_loss"].tolist()), epochs=1)
    training.fit(X, Y)
    assert alone in training.model.results


def test_the_same_model_predicts_in_another_thread():
    """Between epochs, and in the middle of a step."""
    model = tl.Sequential(tl.Dropout(0.5), linear())
    trainer = trainer_of(model)
    waiting = Waiting(lambda: trainer.predict(X).shape)
    trainer.fit(X, Y, callbacks=[waiting])
    with tl.training_mode(np.random.default_rng(0)):
        model(X)
        waiting.results.append(in_thread(lambda: trainer.predict(X).shape))
    assert waiting.results == [(8, 1)] * 3


def test_a_mode_that_a_thread_opens_is_its_own():
    def train():
        with tl.training_mode(np.random.default_rng(0)):
            return tl.Dropout(0.5)(X).numpy().tolist()

    results = []
    threads = [threading.Thread(target=lambda: results.append(train())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [train()] * 4
