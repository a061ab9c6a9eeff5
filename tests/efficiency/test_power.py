"""What a plan promises against what simulated studies then do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.efficiency.config import StudyConfig
from medssl.efficiency.plan import plan_study
from medssl.efficiency.power import (
    Variance,
    area_variance,
    dice_variance,
    power_of_study,
)
from medssl.efficiency.simulation import Regime, areas_under, simulate_scores


def make_cases(test: int, dev: int, per_patient: int = 1) -> pd.DataFrame:
    rows = [
        {
            "patient_key": f"p{p}",
            "role": "test" if p < test else "dev",
            "label": str(int(p % 10 < 3)),
        }
        for p in range(test + dev)
        for _ in range(per_patient)
    ]
    return pd.DataFrame(rows)


def test_area_variance_foresees_a_study_of_another_size() -> None:
    """Variances from 400 patients and 10 draws, tried on 80 patients and 5 draws."""
    found = area_variance(Regime(10, 1000, draw_sd=0.03), 0.8, seed=0)
    regime = Regime(5, 80, draw_sd=0.03)
    once = np.ones((1, 80), dtype=np.float32)
    deltas = []
    for seed in range(300):
        scores = simulate_scores(regime, np.full((2, 1), 0.8), np.random.default_rng(seed))
        mean = areas_under(scores, regime.positives, once)[:, 0, :, 0].mean(axis=1)
        deltas.append(mean[1] - mean[0])
    assert found.se(80, 5) == pytest.approx(np.std(deltas, ddof=1), rel=0.25)


def test_dice_variance_is_that_of_simulated_means() -> None:
    rng = np.random.default_rng(0)
    regime = Regime(4, 30, cases_per_patient=2, draw_sd=0.02)
    deltas = []
    for _ in range(2000):
        luck = 0.02 * np.sqrt(1 - regime.shared) * rng.normal(size=(2, 4))
        own = np.zeros((2, 4))
        for share, weight in ((0.5, 1), (0.5, 2)):  # of a patient, of his two cases
            arm = rng.normal(size=(2, 1, 30, weight)) * np.sqrt(regime.shared_in_arm)
            cell = rng.normal(size=(2, 4, 30, weight)) * np.sqrt(0.4)
            own = own + 0.12 * np.sqrt(share) * (arm + cell).mean(axis=(2, 3))
        mean = (luck + own).mean(axis=1)
        deltas.append(mean[1] - mean[0])
    expected = dice_variance(regime, 0.12).se(30, 4)
    assert np.std(deltas) == pytest.approx(expected, rel=0.06)


def test_patients_needed_solve_the_standard_error() -> None:
    variance = Variance(per_patient=0.4, per_draw=0.0005)
    needed = variance.patients_for(0.03, 10)
    assert needed is not None
    assert variance.se(needed, 10) <= 0.03 < variance.se(needed - 1, 10)
    assert variance.patients_for(0.005, 10) is None
    assert variance.patients_for(0.005, variance.draws_for(0.005)) is not None


def test_a_small_test_set_is_answered_with_cross_validation() -> None:
    few = power_of_study(make_cases(40, 160), "classification", draws=10, margin=0.02)
    assert few["margin_shown"] is False
    assert few["least_margin"] > 0.02
    assert few["mdd"] == pytest.approx(few["least_margin"] * 2.8 / 2.487, abs=2e-4)
    proposal = few["proposal"]
    assert proposal["patients"] == 200
    assert proposal["least_margin"] < few["least_margin"]
    assert proposal["margin_shown"] == (proposal["patients_needed"] <= 200)
    assert "cross-validation by patients" in few["note"]
    many = power_of_study(make_cases(20_000, 100), "segmentation", draws=20, margin=0.05)
    assert many["margin_shown"] is True
    assert many["proposal"] is None
    again = power_of_study(make_cases(40, 160), "classification", draws=10, margin=0.02)
    assert again == few


def test_cases_of_a_patient_help_less_than_patients() -> None:
    once = power_of_study(make_cases(60, 60), "segmentation", 10, 0.02)
    thrice = power_of_study(make_cases(60, 60, 3), "segmentation", 10, 0.02)
    triple = power_of_study(make_cases(180, 60), "segmentation", 10, 0.02)
    assert triple["mdd"] < thrice["mdd"] < once["mdd"]


def test_the_plan_says_what_its_test_set_can_show(
    make_config: Callable[..., StudyConfig], tmp_path: Path
) -> None:
    claim = {"frac": 0.25, "vs_frac": 1.0, "metric": "auc_macro", "margin": 0.05}
    plan = plan_study(make_config(claim=claim), tmp_path / "study").plan
    assert plan["power"]["margin"] == 0.05
    assert plan["power"]["test_patients"] == plan["data"]["test_patients"]
    assert plan["power"]["draws"] == 3
    assert plan["power"]["note"].startswith("With 20 test patients and 3 draws")
