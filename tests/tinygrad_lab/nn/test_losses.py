"""Which targets have a meaning, in which dtype losses compute, and what a user's own loss returns."""

import re

import numpy as np
import pytest

import tinygrad_lab as tl
from tinygrad_lab import Tensor

REGRESSION = [tl.HalfSquaredError(), tl.MeanSquaredError(), tl.MeanAbsoluteError(), tl.Huber(0.5)]
ENGINES = ["eager", "replay", "compiled", "auto"]


def refusal(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def trainer(loss, outputs=1, engine="eager", dtype=np.float64):
    net = tl.Linear(1, outputs, rng=np.random.default_rng(0), dtype=dtype)
    return tl.Trainer(net, loss, optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=2, batch_size=2, engine=engine)


def weights(trainer):
    return trainer.model.state_dict()


# Targets with and without a meaning


WITHOUT_MEANING = [
    (tl.BinaryCrossEntropy(), [0.0, 1.0, 2.0, 0.5], "target holds 2.0 at (2, 0), expected probabilities from 0 to 1"),
    (tl.BinaryCrossEntropy(), [0.0, 1.0, 1.0, -1e-9], "target holds -1e-09 at (3, 0), expected probabilities from 0 to 1"),
    (tl.BinaryCrossEntropy(), [0, 1, 1, -1], "target holds -1.0 at (3, 0), expected probabilities from 0 to 1"),
    (
        tl.CrossEntropy(),
        [[0.5, 0.5, 0.0], [1, 0, 0], [1.5, -0.5, 0.0], [0, 0, 1]],
        "target holds -0.5 at (2, 1), expected probabilities of at least 0",
    ),
    (
        tl.CrossEntropy(),
        [[0.5, 0.5, 0.0], [1, 1, 0], [1, 0, 0], [0, 0, 1]],
        "the probabilities of target 1 add up to 2, expected 1",
    ),
    (
        tl.CrossEntropy(),
        [[0.0, 0.0, 0.0], [1, 0, 0], [1, 0, 0], [0, 0, 1]],
        "the probabilities of target 0 add up to 0, expected 1",
    ),
    (
        tl.CrossEntropy(),
        [0.0, 1.0, 2.0, 1.0],
        "target has shape (4, 1) of float64, expected integer labels of shape (n,) or probabilities of shape (n, classes); "
        "use .astype(int) for labels",
    ),
    (tl.CrossEntropy(), [0, 1, 2, -1], "target holds -1 at (3,), expected labels of at least 0"),
    (tl.CrossEntropy(), [0, 1, 3, 1], "labels run from 0 to 3, expected 0 to 2"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("loss", "target", "message"), WITHOUT_MEANING)
def test_a_target_without_a_meaning_is_refused_before_the_first_update(loss, target, message, engine):
    outputs = 3 if isinstance(loss, tl.CrossEntropy) else 1
    made, x = trainer(loss, outputs, engine), np.arange(4.0)
    before = weights(made)
    good = [0, 1, 1, 0] if outputs == 3 else [0.0, 1.0, 0.5, 1.0]
    for call in (
        lambda: made.fit(x, target),
        lambda: made.fit(x, good, validation=(x, target)),
        lambda: made.evaluate(x, target),
        lambda: made.capture(x, target),
        lambda: made.prepare(x, target),
        lambda: tl.fit_lanes([made], [(x, target)]),
    ):
        assert refusal(call).endswith(f"{type(loss).__name__}: {message}")
    assert refusal(lambda: made.fit(x, good, validation=(x, target))).startswith(
        "validation y: " if "run" not in message else ""
    )
    for name, value in weights(made).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(("loss", "target", "message"), [case for case in WITHOUT_MEANING if np.ndim(case[1]) == 2])
def test_an_array_without_a_meaning_is_refused_by_hand(loss, target, message):
    assert refusal(lambda: loss(np.zeros((4, 3)), target)) == f"{type(loss).__name__}: {message}"


@pytest.mark.parametrize("loss", [*REGRESSION, tl.BinaryCrossEntropy(), tl.CrossEntropy()], ids=repr)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_array_with_nan_or_infinity_is_refused_by_hand(loss, bad):
    message = refusal(lambda: loss([[0.0, 0.0], [0.0, 0.0]], [[0.5, 0.5], [bad, 0.0]]))
    assert re.match(rf"{type(loss).__name__}: (target holds {bad} at \(1, 0\)|the probabilities of target 1)", message)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_targets_with_a_meaning_train(dtype):
    x = np.arange(4.0)
    for target in ([0.0, 1.0, 0.25, 1e-300], [0, 1, 0, 1], [False, True, True, False], np.array([0, 1, 0, 1], np.uint8)):
        assert np.isfinite(trainer(tl.BinaryCrossEntropy(), dtype=dtype).fit(x, target).last("train_loss"))
    thirds = [[0.333, 0.333, 0.333]] * 4
    for target in (thirds, np.eye(3)[[0, 1, 2, 2]], np.eye(3, dtype=int)[[0, 1, 2, 2]], np.array([2, 0, 1, 1], np.uint8)):
        assert np.isfinite(trainer(tl.CrossEntropy(), 3, dtype=dtype).fit(x, target).last("train_loss"))


def test_float_labels_are_told_which_shape_and_dtype_is_expected():
    logits = np.zeros((4, 3))
    for labels in ([0.0, 1.0, 2.0, 1.0], [[0.0], [1.0], [2.0], [1.0]], [True, False, True, True]):
        message = refusal(lambda: tl.CrossEntropy()(logits, Tensor(labels)))  # noqa: B023
        assert message.startswith(f"CrossEntropy: prediction has shape (4, 3), target has shape {np.shape(labels)} of ")
        assert message.endswith(
            "expected integer labels of shape (n,) or probabilities of shape (n, classes); use .astype(int) for labels"
        )
    assert tl.CrossEntropy()(logits, np.array([0.0, 1.0, 2.0, 1.0]).astype(int)).item() == pytest.approx(np.log(3.0))


@pytest.mark.parametrize("shape", [(3,), (2, 4, 3)])
def test_cross_entropy_is_of_samples_and_classes_only(shape):
    assert refusal(lambda: tl.CrossEntropy()(np.zeros(shape), np.ones(shape) / shape[-1])).startswith(
        f"CrossEntropy: prediction has shape {shape}, target has shape {shape}"
    )


# Floating point


@pytest.mark.parametrize("loss", [*REGRESSION, tl.BinaryCrossEntropy()], ids=repr)
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64, np.bool_, np.uint64])
@pytest.mark.parametrize("floating", [np.float64, np.float32])
def test_whole_numbers_are_computed_in_floating_point(loss, kind, floating):
    prediction, target = np.array([[1, 1], [0, 1]], kind), np.array([[0, 1], [1, 1]], kind)
    expected = loss(prediction.astype(float), target.astype(float)).item()
    assert loss(prediction, target).dtype == np.float64
    assert loss(prediction, target).item() == expected
    assert loss(Tensor(prediction), Tensor(target)).item() == expected
    for pair in ((prediction.astype(floating), target), (prediction, target.astype(floating))):
        assert loss(*pair).dtype == floating
        assert loss(*pair).item() == pytest.approx(expected, rel=1e-6)


def test_unsigned_differences_do_not_wrap_around():
    prediction, target = np.array([[3], [200]], np.uint8), np.array([[5], [100]], np.uint8)
    assert tl.MeanAbsoluteError()(prediction, target).item() == 51.0
    assert tl.MeanSquaredError()(prediction, target).item() == 5002.0


@pytest.mark.parametrize("loss", [*REGRESSION, tl.BinaryCrossEntropy()], ids=repr)
def test_two_precisions_are_refused(loss):
    single, double = np.zeros((2, 1), np.float32), np.zeros((2, 1))
    for prediction, target in ((single, double), (double, single)):
        assert refusal(lambda: loss(prediction, target)) == (  # noqa: B023
            f"{type(loss).__name__}: prediction is of {prediction.dtype} beside {target.dtype}, "
            "expected one dtype; use .astype()"
        )
    assert refusal(lambda: loss(single, single, np.ones(2))) == (
        f"{type(loss).__name__}: sample_weight is of float64 beside float32, expected one dtype; use .astype()"
    )


# Weights


def test_weights_by_hand_are_floating_point_and_checked():
    loss, x, y = tl.HalfSquaredError(), [[1.0], [2.0]], [[0.0], [0.0]]
    assert loss(x, y, [2, 0]).item() == loss(x, y, [2.0, 0.0]).item() == loss(x, y, Tensor([2, 0])).item() == 0.5
    assert loss(x, y, [True, False]).item() == 0.25
    for bad in ([-1.0, 2.0], [np.nan, 1.0], [1.0, np.inf]):
        assert "expected finite numbers of at least 0" in refusal(lambda: loss(x, y, bad))  # noqa: B023
    assert refusal(lambda: loss(x, y, [[1.0], [1.0]])).startswith(
        "HalfSquaredError: sample_weight has shape (2, 1), expected (2,)"
    )


# A user's own loss


class Poisson(tl.HalfSquaredError):
    checked = 0

    def per_sample(self, prediction, target):
        return (prediction.exp() - target * prediction).sum(-1)

    def check_target(self, target):
        super().check_target(target)
        type(self).checked += 1
        self.refuse(target, target < 0, "counts of at least 0")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_own_loss_says_which_targets_have_a_meaning_once(engine):
    made, x = trainer(Poisson(), engine=engine), np.arange(4.0)
    Poisson.checked = 0
    made.fit(x, [0, 1, 2, 3])
    assert Poisson.checked == 1
    assert (
        refusal(lambda: made.fit(x, [0, 1, -2, 3])) == "y: Poisson: target holds -2.0 at (2, 0), expected counts of at least 0"
    )


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda p, t: None, "per_sample returned None, expected a Tensor; is a return missing?"),
        (lambda p, t: 0.5, "per_sample returned 0.5, expected a Tensor; compute with"),
        (lambda p, t: np.zeros(2), "per_sample returned a value of type ndarray, expected a Tensor; compute with"),
        (lambda p, t: (p - t).square(), r"per_sample returned a Tensor of shape \(2, 1\), expected \(2,\)"),
        (lambda p, t: (p - t).square().sum(), r"per_sample returned a Tensor of shape \(\), expected \(2,\)"),
        (lambda p, t: (p - t).square().sum(-1).astype(np.float32), "per_sample returned a Tensor of float32, expected float64"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_own_loss_is_named(returned, message, engine):
    class Own(tl.Loss):
        def per_sample(self, prediction, target):
            return returned(prediction, target)

    assert re.match(f"Own: {message}", refusal(lambda: trainer(Own(), engine=engine).fit([0.0, 1.0], [0.0, 1.0])))
    assert re.match(f"Own: {message}", refusal(lambda: Own()([[0.0], [1.0]], [[0.0], [1.0]])))
