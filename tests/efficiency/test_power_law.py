"""Power laws against known parameters and against a naive search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from medssl.efficiency.censored import Censored
from medssl.efficiency.power_law import PowerLaw, fit_power_law, power_law_savings
from medssl.efficiency.savings import label_savings

LABELS = np.array([25.0, 50, 100, 200, 400, 800])


def law(labels: np.ndarray, a: float = 0.08, b: float = 1.2, c: float = 0.4) -> np.ndarray:
    return 1 - a - b * labels**-c


def test_known_parameters_are_found_again() -> None:
    found = fit_power_law(law(LABELS), LABELS)
    assert found is not None
    assert (found.a, found.b, found.c) == pytest.approx((0.08, 1.2, 0.4), rel=1e-3)
    assert found.rmse < 1e-6
    assert found.value(300) == pytest.approx(float(law(np.array(300.0))), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_as_good_as_a_search_over_exponents(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = law(LABELS) + rng.normal(0, 0.01, 6)
    se = rng.uniform(0.005, 0.02, 6)
    found = fit_power_law(theta, LABELS, se)
    assert found is not None
    values = 1 - np.array([found.value(n) for n in LABELS])
    loss = np.square((values - (1 - theta)) / se).sum()
    # For a given exponent the rest is linear, with both coefficients at least zero.
    searched = []
    for c in np.geomspace(1e-3, 5, 2000):
        basis = np.stack([np.ones(6), (LABELS / 150) ** -c], axis=1) / se[:, None]
        searched.append(nnls(basis, (1 - theta) / se)[1] ** 2)
    assert loss <= min(searched) * 1.001 + 1e-9
    assert 0 <= found.a <= 1
    assert found.b >= 0


def test_too_few_fractions_or_a_gap_allow_no_law() -> None:
    assert fit_power_law(law(LABELS[:3]), LABELS[:3]) is None
    assert fit_power_law(np.array([0.5, np.nan, 0.6, 0.7]), LABELS[:4]) is None


def test_reading_a_law_backwards_is_censored_outside_the_range() -> None:
    curve = PowerLaw(0.08, 1.2, 0.4, 0.0)
    reading = curve.labels_to_reach(curve.value(137.0), 25, 800)
    assert (reading.value, reading.censored) == (pytest.approx(137.0), Censored.NONE)
    assert curve.labels_to_reach(0.95, 25, 800).censored is Censored.AT_LEAST
    assert curve.labels_to_reach(0.10, 25, 800).censored is Censored.AT_MOST
    flat = PowerLaw(0.2, 0.0, 0.5, 0.0)
    assert flat.labels_to_reach(0.8, 25, 800).censored is Censored.AT_MOST
    assert flat.labels_to_reach(0.9, 25, 800).censored is Censored.AT_LEAST


def test_a_law_shifted_by_four_saves_four_times_and_agrees_with_isotonic_regression() -> None:
    scratch, pretrained = law(LABELS), law(4 * LABELS)
    found = power_law_savings(scratch, pretrained, LABELS, reference=4)
    assert found is not None
    assert (found.value, found.censored) == (pytest.approx(4, rel=1e-2), Censored.NONE)
    assert found.target == pytest.approx(scratch[4], abs=1e-5)
    noise = np.random.default_rng(0).normal(0, 0.003, (2, 6, 200))
    savings = label_savings(
        scratch,
        pretrained,
        scratch[:, None] + noise[0],
        pretrained[:, None] + noise[1],
        LABELS,
        reference=4,
    )
    assert savings.power_law is not None
    assert savings.value == pytest.approx(4, rel=0.05)
    assert savings.agreement == pytest.approx(1, abs=0.05)
    censored = label_savings(
        scratch,
        scratch + 0.5,
        scratch[:, None] + noise[0],
        scratch[:, None] + 0.5 + noise[1],
        LABELS,
        reference=4,
    )
    assert censored.agreement is None
