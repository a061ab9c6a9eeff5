"""Simulated studies have the truth that they are said to have, and the analysis's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.efficiency.simulation import Regime, areas_under, simulate_scores, simulated_grid
from medssl.transfer.weighted import weighted_auc

THETA = np.array([[0.65, 0.80], [0.75, 0.85]])


def test_areas_equal_those_of_the_analysis_and_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    regime = Regime(draws=2, patients=20, cases_per_patient=3)
    scores = simulate_scores(regime, THETA, rng)
    weights = rng.integers(0, 3, (5, 20)).astype(np.float32)
    areas = areas_under(scores, regime.positives, weights)
    positive = np.repeat(np.arange(20) < regime.positives, 3)
    cases = np.repeat(weights, 3, axis=1).astype(np.float64)
    for cell in np.ndindex(2, 2, 2):
        flat = scores[cell].ravel()
        assert areas[cell] == pytest.approx(weighted_auc(positive, flat, cases))
        assert areas[cell][0] == pytest.approx(
            roc_auc_score(positive, flat, sample_weight=cases[0])
        )


def test_the_mean_over_many_studies_is_the_truth_and_draws_spread_as_told() -> None:
    once = np.ones((1, 60), dtype=np.float32)
    regime = Regime(draws=4, patients=60, draw_sd=0.05)
    areas = np.stack(
        [
            areas_under(simulate_scores(regime, THETA, np.random.default_rng(s)), 18, once)[..., 0]
            for s in range(150)
        ]
    )
    assert areas.mean(axis=(0, 3)) == pytest.approx(THETA, abs=0.012)
    # The spread over draws of a large test set is that of the draws alone.
    large = Regime(draws=200, patients=500, draw_sd=0.05, shared=0.0, shared_in_arm=0.0)
    scores = simulate_scores(large, THETA[:1, :1], np.random.default_rng(1))
    spread = areas_under(scores, large.positives, np.ones((1, 500), dtype=np.float32)).std()
    assert spread == pytest.approx(0.05, rel=0.2)


def test_a_simulated_study_is_decided_by_its_seed() -> None:
    def grid(seed: int) -> float:
        made = simulated_grid(
            Regime(5, 40), THETA, ["a", "b"], [0.1, 1.0], np.array([10.0, 100]), 100, seed
        )
        assert made.replicates_AFB.shape == (2, 2, 100)
        assert made.test_patients == 40
        return made.theta("a", 0.1)

    assert grid(3) == grid(3) != grid(4)
