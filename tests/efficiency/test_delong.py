"""DeLong's variance against its definition, pair by pair, and against simulated areas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medssl.efficiency.delong import area_and_parts, compare_areas


def naive_delong(positive: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple:
    """DeLong et al. 1988, equations 4 to 6, by loops over all pairs."""
    parts = []
    for scores in (first, second):
        x, y = scores[positive], scores[~positive]
        psi = np.array([[(a > b) + 0.5 * (a == b) for b in y] for a in x])
        parts.append((psi.mean(axis=1), psi.mean(axis=0), psi.mean()))
    s10 = np.cov([parts[0][0], parts[1][0]])
    s01 = np.cov([parts[0][1], parts[1][1]])
    s = s10 / positive.sum() + s01 / (~positive).sum()
    delta = parts[0][2] - parts[1][2]
    return delta, np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])


@pytest.mark.parametrize("ties", [False, True])
def test_difference_equals_the_definition(ties: bool) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(60) < 0.4
    common = rng.normal(size=60)
    first = common + rng.normal(size=60) + positive
    second = common + rng.normal(size=60) + 0.5 * positive
    if ties:
        first, second = first.round(), second.round()
    delta, se = naive_delong(positive, first, second)
    found = compare_areas(
        positive[None], first[None, None], second[None, None], np.arange(60).astype(str)
    )
    assert (found.delta, found.se) == pytest.approx((delta, se), abs=1e-12)
    assert found.p == pytest.approx(2 * norm.sf(abs(delta / se)))
    area, _ = area_and_parts(positive, first, np.arange(60))
    assert area == pytest.approx(roc_auc_score(positive, first))


def test_a_mean_over_draws_has_the_variance_of_the_mean_of_its_parts() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(50) < 0.5
    first = rng.normal(size=(3, 1, 50)) + positive
    second = rng.normal(size=(3, 1, 50))
    found = compare_areas(positive[None], first, second, np.arange(50))
    deltas = [naive_delong(positive, first[d, 0], second[d, 0])[0] for d in range(3)]
    assert found.delta == pytest.approx(np.mean(deltas))
    copies = np.repeat(first[:1], 3, axis=0)
    assert compare_areas(positive[None], copies, second, np.arange(50)).se > 0
    same = compare_areas(positive[None], first, first, np.arange(50))
    assert (same.delta, same.p) == (0, 1)


def test_doubled_cases_of_a_patient_bring_no_knowledge() -> None:
    """Every case twice: with patients known the error stays, without it shrinks by sqrt 2."""
    rng = np.random.default_rng(2)
    positive = rng.random(80) < 0.4
    first, second = rng.normal(size=80) + positive, rng.normal(size=80)
    once = compare_areas(positive[None], first[None, None], second[None, None], np.arange(80))
    twice = [np.repeat(values, 2) for values in (positive, first, second, np.arange(80))]
    patients = compare_areas(twice[0][None], twice[1][None, None], twice[2][None, None], twice[3])
    assert patients.se == pytest.approx(once.se)
    cases = compare_areas(
        twice[0][None], twice[1][None, None], twice[2][None, None], np.arange(160)
    )
    assert cases.se == pytest.approx(once.se / np.sqrt(2), rel=0.03)


def test_an_absent_class_gives_no_number() -> None:
    found = compare_areas(
        np.ones((1, 4), bool), np.zeros((1, 1, 4)), np.ones((1, 1, 4)), np.arange(4)
    )
    assert np.isnan(found.delta)
    assert np.isnan(found.p)
