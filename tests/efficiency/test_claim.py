"""The claim's rule on grids whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.efficiency.claim import ClaimVerdict, judge_claim
from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.curve import MetricGrid
from medssl.efficiency.savings import label_savings
from medssl.efficiency.simulation import Regime, simulated_grid
from medssl.efficiency.statistics import Floats, crossed_replicates, draw_weights

FRACTIONS = [0.1, 0.2, 0.4, 1.0]
LABELS = np.array([40.0, 80, 160, 400])


def make_grid(
    scratch: Floats, pretrained: Floats, draws: int = 10, noise: float = 0.01
) -> MetricGrid:
    rng = np.random.default_rng(0)
    theta = np.stack([scratch, pretrained])[:, :, None]
    values = theta + rng.normal(0, noise, (2, 4, draws))
    resampled = values[..., None] + rng.normal(0, noise, (1, 1, 1, 500))
    replicates = crossed_replicates(resampled, draw_weights(500, draws, 1))
    arms = ["scratch", "ssl_ft"]
    return MetricGrid(
        "auc_macro", arms, FRACTIONS, LABELS, LABELS / 2, values, replicates, test_patients=90
    )


def verdict_of(grid: MetricGrid, min_lsf: float | None = None) -> ClaimVerdict:
    claim = ClaimConfig(
        arm="ssl_ft",
        frac=0.1,
        versus="scratch",
        vs_frac=0.4,
        metric="auc_macro",
        margin=0.02,
        min_lsf=min_lsf,
    )
    theta, replicates = grid.theta_AF, grid.replicates_AFB
    savings = label_savings(theta[0], theta[1], replicates[0], replicates[1], LABELS, 2)
    return judge_claim(claim, grid, savings).verdict


RISING = np.array([0.60, 0.68, 0.76, 0.85])
SAVES_FOUR_TIMES = np.array([0.76, 0.82, 0.86, 0.88])


def test_a_true_claim_is_supported() -> None:
    assert verdict_of(make_grid(RISING, SAVES_FOUR_TIMES)) is ClaimVerdict.SUPPORTED
    better = SAVES_FOUR_TIMES + 0.02
    assert verdict_of(make_grid(RISING, better), min_lsf=3.9) is ClaimVerdict.SUPPORTED


def test_no_effect_is_unsupported() -> None:
    assert verdict_of(make_grid(RISING, RISING)) is ClaimVerdict.UNSUPPORTED


def test_a_factor_that_is_not_reached_is_unsupported() -> None:
    grid = make_grid(RISING, SAVES_FOUR_TIMES + 0.02)
    assert verdict_of(grid, min_lsf=8) is ClaimVerdict.UNSUPPORTED


def test_a_flat_curve_is_vacuous_also_with_few_draws() -> None:
    flat = np.full(4, 0.85)
    assert verdict_of(make_grid(flat, flat)) is ClaimVerdict.VACUOUS
    assert verdict_of(make_grid(flat, flat, draws=3)) is ClaimVerdict.VACUOUS


@pytest.mark.parametrize("pretrained", [RISING, SAVES_FOUR_TIMES])
def test_under_five_draws_nothing_is_concluded(pretrained: Floats) -> None:
    assert verdict_of(make_grid(RISING, pretrained, draws=4)) is ClaimVerdict.INCONCLUSIVE
    assert verdict_of(make_grid(RISING, pretrained, draws=5)) is not ClaimVerdict.INCONCLUSIVE


def test_missing_cells_count_as_missing_draws() -> None:
    grid = make_grid(RISING, SAVES_FOUR_TIMES, draws=5)
    grid.values_AFD[1, 0, 2] = np.nan
    assert verdict_of(grid) is ClaimVerdict.INCONCLUSIVE


def test_conditions_say_what_they_compared() -> None:
    claim = ClaimConfig(frac=0.1, vs_frac=0.4, metric="auc_macro", margin=0.02)
    outcome = judge_claim(claim, make_grid(RISING, SAVES_FOUR_TIMES), None)
    by_id = {c.id: c for c in outcome.conditions}
    assert set(by_id) == {"near_enough", "can_tell", "enough_draws"}
    assert by_id["can_tell"].observed == pytest.approx(0.16, abs=0.02)
    assert by_id["can_tell"].bound < by_id["can_tell"].observed


def test_a_curve_without_cells_is_not_called_flat() -> None:
    grid = make_grid(RISING, SAVES_FOUR_TIMES)
    grid.values_AFD[0, 2] = np.nan
    grid.replicates_AFB[0, 2] = np.nan
    claim = ClaimConfig(frac=0.1, vs_frac=0.4, metric="auc_macro", margin=0.02)
    assert judge_claim(claim, grid, None).verdict is ClaimVerdict.INCONCLUSIVE


def test_verdicts_of_simulated_studies() -> None:
    """Through the very bootstrap: a flat curve, no effect, three draws, and a true saving."""
    flat = np.array([[0.84, 0.84], [0.84, 0.84]])
    no_effect = np.array([[0.65, 0.84], [0.65, 0.84]])
    saves = np.array([[0.65, 0.84], [0.85, 0.90]])
    claim = ClaimConfig(frac=0.1, vs_frac=0.4, metric="auc_macro", margin=0.02)

    def judged(theta: Floats, draws: int) -> ClaimVerdict:
        grid = simulated_grid(
            Regime(draws, 400),
            theta,
            ["scratch", "ssl_ft"],
            [0.1, 0.4],
            np.array([40.0, 160]),
            300,
            seed=1,
        )
        return judge_claim(claim, grid, None).verdict

    assert judged(flat, 10) is ClaimVerdict.VACUOUS
    assert judged(flat, 3) is ClaimVerdict.VACUOUS
    assert judged(no_effect, 10) is ClaimVerdict.UNSUPPORTED
    assert judged(saves, 3) is ClaimVerdict.INCONCLUSIVE
    assert judged(saves, 10) is ClaimVerdict.SUPPORTED
