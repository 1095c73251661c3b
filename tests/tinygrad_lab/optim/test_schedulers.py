from math import cos, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lab as tl

DECAYS = [tl.LinearDecay, tl.GeometricDecay, tl.CosineDecay]
every_decay = pytest.mark.parametrize("decay", DECAYS)

rates = st.floats(1e-6, 10.0)
counts = st.integers(1, 500)


@st.composite
def decays(draw):
    """Draw a scheduler whose learning rate never rises."""
    initial, final = sorted([draw(rates), draw(rates)], reverse=True)
    return draw(
        st.sampled_from(
            [
                *(decay(initial, final, draw(counts)) for decay in DECAYS),
                tl.StepDecay(initial, draw(st.floats(0.5, 1.0)), draw(st.integers(10, 500))),
                tl.ConstantLR(initial),
            ]
        )
    )


@given(decays(), st.integers(0, 1500))
def test_a_scheduler_is_pure_and_positive(scheduler, epoch):
    lr = scheduler(epoch)
    scheduler(epoch + 1)
    assert isinstance(lr, float)
    assert scheduler(epoch) == lr > 0


@given(decays(), st.integers(0, 1500))
def test_a_decay_never_rises(scheduler, epoch):
    assert scheduler(epoch + 1) <= scheduler(epoch) * (1 + 1e-14)


@given(st.sampled_from(DECAYS), rates, rates, counts, st.integers(0, 1000))
def test_a_decay_ends_at_its_final_value_in_its_last_epoch_and_stays(decay, initial, final, epochs, later):
    scheduler = decay(initial, final, epochs)
    assert scheduler(epochs - 1) == pytest.approx(final, rel=1e-14)
    assert scheduler(epochs - 1 + later) == scheduler(epochs - 1)


@given(st.sampled_from(DECAYS), rates, rates, st.integers(2, 500), st.data())
def test_a_decay_stays_between_its_ends(decay, initial, final, epochs, data):
    lr = decay(initial, final, epochs)(data.draw(st.integers(0, epochs - 1)))
    assert min(initial, final) * (1 - 1e-14) <= lr <= max(initial, final) * (1 + 1e-14)


def test_geometric_decay_multiplies_by_one_ratio():
    values = [tl.GeometricDecay(0.075, 0.001, epochs=20)(epoch) for epoch in range(20)]
    ratios = np.diff(np.log([0.075, *values]))
    np.testing.assert_allclose(ratios, np.log(0.001 / 0.075) / 20, rtol=1e-12)


def test_linear_decay_subtracts_one_difference():
    values = [tl.LinearDecay(0.075, 0.001, epochs=20)(epoch) for epoch in range(20)]
    np.testing.assert_allclose(np.diff([0.075, *values]), (0.001 - 0.075) / 20, rtol=1e-11)


def test_cosine_decay_follows_half_a_cosine():
    scheduler = tl.CosineDecay(0.5, 0.1, epochs=8)
    for epoch in range(8):
        assert scheduler(epoch) == pytest.approx(0.1 + 0.2 * (1 + cos(pi * (epoch + 1) / 8)), rel=1e-14)


@given(rates, st.floats(0.1, 1.0), st.integers(1, 50), st.integers(0, 200))
def test_step_decay_counts_whole_steps(initial, factor, every, epoch):
    expected = initial
    for _ in range(epoch // every):
        expected *= factor
    assert tl.StepDecay(initial, factor, every)(epoch) == pytest.approx(expected, rel=1e-10)


@every_decay
def test_one_epoch_is_the_last(decay):
    assert decay(0.5, 0.1, epochs=1)(0) == pytest.approx(0.1, rel=1e-15)


@given(decays(), st.integers(1, 30), st.integers(0, 100))
def test_warm_up_rises_in_equal_steps_and_then_follows_any_scheduler(scheduler, epochs, later):
    warm = tl.WarmUp(scheduler, epochs)
    values = [0.0, *(warm(epoch) for epoch in range(epochs + 1))]
    np.testing.assert_allclose(np.diff(values), scheduler(0) / (epochs + 1), rtol=1e-10)
    assert warm(epochs + later) == scheduler(later)


def test_warm_up_over_a_warm_up():
    warm = tl.WarmUp(tl.WarmUp(tl.ConstantLR(0.6), epochs=1), epochs=2)
    np.testing.assert_allclose([warm(epoch) for epoch in range(5)], [0.1, 0.2, 0.3, 0.6, 0.6])


def test_schedulers_are_values():
    assert tl.WarmUp(tl.LinearDecay(0.5, 0.1, 3), 2) == tl.WarmUp(tl.LinearDecay(0.5, 0.1, 3), 2)
    assert tl.LinearDecay(0.5, 0.1, 3) != tl.LinearDecay(0.5, 0.1, 4)
    assert repr(tl.StepDecay(0.5, 0.1, every=3)) == "StepDecay(initial=0.5, factor=0.1, every=3)"


@pytest.mark.parametrize("scheduler", [tl.GeometricDecay(0.3, 0.1, 3), tl.WarmUp(tl.ConstantLR(0.3), 2)], ids=repr)
def test_the_trainer_sets_the_rate_before_each_epoch(scheduler):
    layer = tl.Linear(1, 1, rng=np.random.default_rng(0))
    layer.load_state_dict({"weight": [[0.0]], "bias": [0.0]})
    trainer = tl.Trainer(layer, tl.HalfSquaredError(), optimizer=tl.SGD(layer.parameters(), lr=99.0), scheduler=scheduler)
    history = trainer.fit([0.0], [1.0], epochs=4)  # the bias alone learns: its distance to 1 shrinks by 1 - lr
    assert history["lr"].tolist() == [scheduler(epoch) for epoch in range(4)]
    assert 1 - layer.bias.numpy()[0] == pytest.approx(np.prod(1 - history["lr"]), rel=1e-12)


# Bad arguments ---------------------------------------------------------------------------------------------------------

RATES = [
    (tl.ConstantLR, {"lr": 0.1}, "lr"),
    *((decay, {"initial": 0.1, "final": 0.01, "epochs": 5}, name) for decay in DECAYS for name in ("initial", "final")),
    (tl.StepDecay, {"initial": 0.1, "factor": 0.5, "every": 5}, "initial"),
    (tl.StepDecay, {"initial": 0.1, "factor": 0.5, "every": 5}, "factor"),
]
COUNTS = [
    *((decay, {"initial": 0.1, "final": 0.01, "epochs": 5}, "epochs") for decay in DECAYS),
    (tl.StepDecay, {"initial": 0.1, "factor": 0.5, "every": 5}, "every"),
    (tl.WarmUp, {"scheduler": tl.ConstantLR(0.1), "epochs": 5}, "epochs"),
]


@pytest.mark.parametrize(("kind", "good", "name"), RATES)
@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan"), float("inf"), True, "0.1", None], ids=repr)
def test_a_bad_rate_is_refused_and_named(kind, good, name, bad):
    may_be_zero = name == "final" and kind in (tl.LinearDecay, tl.CosineDecay)
    if may_be_zero and bad == 0.0 and not isinstance(bad, bool):
        assert kind(**good | {name: bad})(good["epochs"]) == 0.0
        return
    expected = "of at least 0" if may_be_zero else "above 0"
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: {name} is {bad!r}, expected a number {expected}$"):
        kind(**good | {name: bad})


@pytest.mark.parametrize(("kind", "good", "name"), COUNTS)
@pytest.mark.parametrize("bad", [0, -1, 2.5, 5.0, True, "5", None], ids=repr)
def test_a_bad_count_is_refused_and_named(kind, good, name, bad):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: {name} is {bad!r}, expected a positive integer$"):
        kind(**good | {name: bad})


@pytest.mark.parametrize(("kind", "good", "name"), COUNTS)
def test_a_numpy_integer_is_a_count(kind, good, name):
    assert kind(**good | {name: np.int64(5)})(1) == kind(**good)(1)


@pytest.mark.parametrize(("kind", "good", "name"), RATES)
def test_a_numpy_number_is_a_rate(kind, good, name):
    assert kind(**good | {name: np.float32(0.5)})(1) == kind(**good | {name: 0.5})(1)


@pytest.mark.parametrize("bad", [0.1, None, tl.ConstantLR], ids=repr)
def test_warm_up_of_no_scheduler_is_refused(bad):
    with pytest.raises(TypeError, match=r"^WarmUp: scheduler is .*, expected a Scheduler$"):
        tl.WarmUp(bad, 3)
