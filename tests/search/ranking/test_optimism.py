import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from search.ranking.optimism import Optimism

LOSSES = st.one_of(st.integers(1, 40).map(lambda number: number / 8), st.just(math.nan))
MATRICES = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=LOSSES)


def by_hand(losses):
    """The reported and the expected loss of each seed, in plain loops."""
    reported, expected = [], []
    for seed in range(losses.shape[1]):
        best, chosen = math.inf, None
        for configuration in range(losses.shape[0]):
            if losses[configuration, seed] < best:
                best, chosen = losses[configuration, seed], configuration
        if chosen is None:
            reported.append(math.nan)
            expected.append(math.nan)
            continue
        others = [loss for other, loss in enumerate(losses[chosen]) if other != seed and not math.isnan(loss)]
        reported.append(best)
        expected.append(sum(others) / len(others) if others else math.nan)
    return reported, expected


@given(MATRICES)
def test_against_plain_loops(losses):
    before = losses.copy()
    optimism = Optimism(losses)
    reported, expected = by_hand(losses)
    np.testing.assert_array_equal(optimism.reported, reported)
    np.testing.assert_allclose(optimism.expected, expected, rtol=1e-12)
    differences = [e - r for r, e in zip(reported, expected, strict=True) if not math.isnan(e)]
    mean = sum(differences) / len(differences) if differences else math.nan
    assert optimism.optimism == pytest.approx(mean, abs=1e-12, nan_ok=True)
    n = len(differences)
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n) if n > 1 else math.nan
    assert optimism.standard_error == pytest.approx(error, abs=1e-12, nan_ok=True)
    first = [loss for loss in losses[0] if not math.isnan(loss)]
    assert optimism.by_cross_validation == pytest.approx(sum(first) / len(first) if first else math.nan, nan_ok=True)
    assert isinstance(str(optimism), str)  # whatever diverged
    np.testing.assert_array_equal(losses, before)


def test_the_luck_of_the_draw_is_what_order_statistics_say():
    # Equal configurations with normal losses: the expected minimum of 20 is 1.8675 standard deviations below the mean.
    optimism = Optimism(np.random.default_rng(0).normal(5.0, 0.1, (20, 2000)))
    assert abs(optimism.optimism - 0.18675) < 3 * optimism.standard_error
    assert optimism.standard_error == pytest.approx(0.1 * 0.525 / math.sqrt(2000), rel=0.1)  # of that minimum: 0.525


def test_without_luck_there_is_no_optimism():
    optimism = Optimism(np.array([[0.5], [0.25], [1.0]]) * np.ones(4))
    assert optimism.chosen.tolist() == [1, 1, 1, 1]
    assert (optimism.optimism, optimism.standard_error, optimism.by_cross_validation) == (0.0, 0.0, 0.5)
    only = Optimism(np.array([[0.25, 0.75]]))
    assert (only.optimism, only.by_cross_validation) == (0.0, 0.5)  # one configuration: no choice, no optimism


@given(MATRICES, st.integers(1, 100), st.integers(-100, 100))
def test_units_and_zero_of_the_loss_do_not_matter(losses, scale, shift):
    before, after = Optimism(losses), Optimism(losses * scale + shift)
    np.testing.assert_array_equal(before.chosen, after.chosen)
    assert after.optimism == pytest.approx(before.optimism * scale, abs=1e-9, nan_ok=True)


def test_the_first_of_equals_is_chosen():
    assert Optimism(np.array([[0.9, 0.5], [0.5, 0.5], [0.5, 0.9]])).chosen.tolist() == [1, 0]


def test_what_it_says():
    text = str(Optimism(np.array([[0.5, 0.6, 0.7, math.nan], [0.9, 0.9, 0.3, math.nan]])))
    assert text.splitlines() == [
        "The lowest of 2 test losses is 0.4667 on average over 4 seeds.",
        "The configurations that have it reach 0.7167 from other seeds: "
        "the lowest loss flatters by 0.2500 (standard error 0.1803).",
        "Over the 4 seeds it belongs to 2 of the configurations. The first of the cross-validation has 0.6000 on average.",
        "2 of 8 trainings failed or diverged and are left out.",
    ]


def test_of_one_configuration_it_says_that_nothing_was_chosen():
    said = "One configuration: nothing was chosen; its mean test loss is 0.5000 (standard error 0.2500 over 2 seeds)."
    assert str(Optimism(np.array([[0.25, 0.75]]))) == said
    missing = "1 of 3 trainings failed or diverged and are left out."
    assert str(Optimism(np.array([[0.25, math.nan, 0.75]]))).splitlines() == [said.replace("2 seeds", "3 seeds"), missing]


@pytest.mark.parametrize("shape", [(3, 1), (0, 4), (6,), (2, 2, 2)])
def test_refusals(shape):
    with pytest.raises(ValueError, match=r"Optimism: losses of shape .*, expected \(configurations, seeds\), with at least 2"):
        Optimism(np.zeros(shape))
