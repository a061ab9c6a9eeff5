"""The label-savings factor: known curves, both kinds of censoring, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.efficiency.savings import (
    Censored,
    label_savings,
    labels_to_reach,
    monotone,
    savings_at,
)

LABELS = np.array([25.0, 50, 100, 200, 400])


def test_a_curve_shifted_by_one_octave_saves_half_the_labels() -> None:
    scratch = np.array([0.60, 0.65, 0.70, 0.75, 0.80])
    pretrained = scratch + 0.05
    factor, target, n_scratch, n_pretrained = savings_at(scratch, pretrained, LABELS, reference=4)
    assert target == pytest.approx(0.80)
    assert (n_scratch.value, n_pretrained.value) == pytest.approx((400, 200))
    assert factor.value == pytest.approx(2)
    assert factor.censored is Censored.NONE


def test_crossings_are_linear_in_log_labels() -> None:
    curve = np.array([0.6, 0.7, 0.7, 0.8, 0.8])
    assert labels_to_reach(curve, LABELS, 0.65).value == pytest.approx(25 * 2**0.5)
    # A plateau is reached where it begins.
    assert labels_to_reach(curve, LABELS, 0.7).value == pytest.approx(50)
    assert labels_to_reach(curve, LABELS, 0.75).value == pytest.approx(100 * 2**0.5)


def test_outside_the_measured_range_nothing_is_extrapolated() -> None:
    scratch = np.array([0.60, 0.65, 0.70, 0.75, 0.80])
    better = scratch + 0.3
    worse = scratch - 0.3
    assert savings_at(scratch, better, LABELS, 4)[0].censored is Censored.AT_LEAST
    assert savings_at(scratch, better, LABELS, 4)[0].value == pytest.approx(400 / 25)
    assert savings_at(scratch, worse, LABELS, 4)[0].censored is Censored.AT_MOST
    assert savings_at(scratch, worse, LABELS, 2)[0].value == pytest.approx(100 / 400)
    flat = np.full(5, 0.8)
    assert savings_at(flat, flat, LABELS, 4)[0].censored is Censored.UNDEFINED


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
@settings(max_examples=50, deadline=None)
def test_monotone_curve_never_falls_and_leaves_a_rising_one_alone(values: list[float]) -> None:
    curve = np.array(values)
    fitted = monotone(curve)
    assert (np.diff(fitted) >= -1e-12).all()
    assert fitted.mean() == pytest.approx(curve.mean())
    assert monotone(np.sort(curve)) == pytest.approx(np.sort(curve))


def test_interval_holds_the_truth_and_opens_where_replicates_are_censored() -> None:
    rng = np.random.default_rng(0)
    scratch = np.array([0.60, 0.65, 0.70, 0.75, 0.80])
    noise = rng.normal(0, 0.004, (2, 5, 500))
    inside = label_savings(
        scratch,
        scratch + 0.05,
        scratch[:, None] + noise[0],
        scratch[:, None] + 0.05 + noise[1],
        LABELS,
        4,
    )
    assert inside.lo < 2 < inside.hi
    assert inside.lo > 1
    assert inside.hi < 4
    above = label_savings(
        scratch,
        scratch + 0.3,
        scratch[:, None] + noise[0],
        scratch[:, None] + 0.3 + noise[1],
        LABELS,
        4,
    )
    assert above.hi == np.inf
    assert above.lo > 10
    below = label_savings(
        scratch,
        scratch - 0.3,
        scratch[:, None] + noise[0],
        scratch[:, None] - 0.3 + noise[1],
        LABELS,
        4,
    )
    assert below.lo == 0
