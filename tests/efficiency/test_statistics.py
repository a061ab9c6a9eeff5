"""Statistics against naive loops and against simulated data whose truth is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from medssl.efficiency.statistics import (
    area_under_learning_curve,
    crossed_replicates,
    draw_weights,
    holm,
    is_significant,
    lower_bound,
    mean_over_draws,
    minimal_detectable,
    percentiles,
    sign_flip_p,
    standard_error,
)


def test_weights_take_one_draw_fewer_than_there_are() -> None:
    weights = draw_weights(500, 5, seed=0)
    counts = weights * 4
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(counts, counts.round())
    # Var(mean of resampled draws) is the unbiased s^2 / D, which D of D would not give.
    values = np.array([0.1, 0.4, 0.5, 0.9, 0.2])
    means = draw_weights(200_000, 5, seed=1) @ values
    assert means.var() == pytest.approx(values.var(ddof=1) / 5, rel=0.02)
    assert (draw_weights(3, 1, seed=0) == 1).all()


def test_replicates_equal_a_naive_loop_with_a_missing_cell() -> None:
    rng = np.random.default_rng(0)
    metric = rng.random((2, 3, 4, 50))
    metric[1, 2, 3] = np.nan
    weights = draw_weights(50, 4, seed=2)
    got = crossed_replicates(metric, weights)
    for a, f, b in product(range(2), range(3), range(50)):
        there = [d for d in range(4) if np.isfinite(metric[a, f, d, b])]
        weight = sum(weights[b, d] for d in there)
        if weight == 0:
            assert np.isnan(got[a, f, b])
        else:
            expected = sum(weights[b, d] * metric[a, f, d, b] for d in there) / weight
            assert got[a, f, b] == pytest.approx(expected)
    values = metric[..., 0]
    assert mean_over_draws(values)[1, 2] == pytest.approx(values[1, 2, :3].mean())


def test_crossed_interval_covers_the_truth_where_patients_and_draws_both_vary() -> None:
    """Draw effect + patient effect + noise, all of mean zero: zero is what must be covered."""
    rng = np.random.default_rng(3)
    covered = naive = 0
    studies, draws, patients, replicates = 150, 10, 60, 400
    for study in range(studies):
        scores = (
            rng.normal(0, 0.05, (draws, 1))
            + rng.normal(0, 0.3, (1, patients))
            + rng.normal(0, 0.2, (draws, patients))
        )
        counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=replicates)
        by_cell = (scores @ counts.T / patients)[None, None]
        weights = draw_weights(replicates, draws, seed=study)
        lo, hi = percentiles(crossed_replicates(by_cell, weights)[0, 0])
        covered += lo <= 0 <= hi
        # Taking every case as independent, as is often done, covers far too little.
        half = 1.96 * scores.std(ddof=1) / np.sqrt(scores.size)
        naive += abs(scores.mean()) <= half
    assert 0.88 <= covered / studies <= 1.0
    assert naive / studies < 0.75


def test_sign_flip_equals_all_combinations_and_has_its_floor() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        d = rng.normal(0.2, 1, 7)
        flips = [abs(np.dot(signs, d)) for signs in product((1, -1), repeat=7)]
        expected = np.mean(np.array(flips) >= abs(d.sum()) - 1e-12)
        assert sign_flip_p(d) == pytest.approx(expected)
    assert sign_flip_p([0.1] * 10) == pytest.approx(2 / 2**10)
    assert sign_flip_p([0.1, np.nan, 0.2]) == pytest.approx(0.5)
    assert np.isnan(sign_flip_p([0.3]))


def test_sign_flip_keeps_its_level_under_no_effect() -> None:
    rng = np.random.default_rng(5)
    p = np.array([sign_flip_p(rng.normal(size=10)) for _ in range(800)])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_holm_steps_down_and_lets_gaps_through() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.5, float("nan"), 0.02])
    assert np.isnan(adjusted[1])
    assert adjusted[0] == pytest.approx(0.5)
    assert adjusted[2] == pytest.approx(0.04)


def test_significance_needs_ten_draws_the_test_and_the_interval() -> None:
    assert is_significant(0.01, 0.02, 0.1, draws=10) is True
    assert is_significant(0.01, -0.02, 0.1, draws=10) is False
    assert is_significant(0.2, 0.02, 0.1, draws=10) is False
    assert is_significant(0.001, 0.02, 0.1, draws=9) is None


def test_area_is_the_trapezoid_rule_over_log_labels() -> None:
    labels = np.array([10.0, 20, 80])
    theta = np.array([[0.5, 0.7, 0.8], [0.6, 0.6, 0.6]])
    # Widths 1 and 2 in log2: (0.6 * 1 + 0.75 * 2) / 3.
    assert area_under_learning_curve(theta, labels) == pytest.approx([0.7, 0.6])
    assert np.isnan(area_under_learning_curve(np.array([0.5]), np.array([10.0])))


def test_bounds_of_replicates() -> None:
    replicates = np.linspace(0, 1, 1001)
    assert percentiles(replicates) == pytest.approx((0.025, 0.975))
    assert lower_bound(replicates) == pytest.approx(0.05)
    assert np.isnan(percentiles(np.array([np.nan, np.nan]))[0])
    assert percentiles(np.array([1.0, 2.0, np.inf]))[1] == np.inf
    se = standard_error(np.random.default_rng(0).normal(0, 0.1, 4000))
    assert minimal_detectable(se) == pytest.approx(0.28, rel=0.05)
