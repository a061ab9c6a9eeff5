"""Simulated studies whose truth is known: what intervals, verdicts and factors are tried on.

Binary cases are scored by a normal model. Of a positive case the score has mean mu, of a negative
one 0, both with variance one, so that the area under the ROC curve is Phi(mu / sqrt 2) (Hanley,
Medical Decision Making 8, 1988). The variance is made of parts that are shared or not between the
cells of a study and between the cases of a patient; a draw moves a cell's true area itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from medssl.efficiency.curve import MetricGrid
from medssl.efficiency.statistics import Floats, crossed_replicates, draw_weights
from medssl.transfer.intervals import drawn_counts
from medssl.transfer.weighted import Weights


@dataclass(frozen=True)
class Regime:
    """How large a study is, and what varies in it.

    Attributes:
        patients: of the test set.
        cases_per_patient: test cases of each, all of one class.
        draw_sd: standard deviation over draws of a cell's true metric.
        positive_share: share of the patients whose cases are positive.
        shared: share of the variance that all cells have in common: a case is hard for every
            network, a draw is lucky for every arm.
        shared_in_arm: share that the cells of one arm have in common, beyond that.
        within_patient: correlation of the scores of two cases of one patient.
    """

    draws: int
    patients: int
    cases_per_patient: int = 1
    draw_sd: float = 0.01
    positive_share: float = 0.3
    shared: float = 0.4
    shared_in_arm: float = 0.2
    within_patient: float = 0.5

    @property
    def positives(self) -> int:
        """Patients of the positive class, the first ones; at least one of each class."""
        return min(max(round(self.positive_share * self.patients), 1), self.patients - 1)


def simulate_scores(regime: Regime, theta_AF: Floats, rng: np.random.Generator) -> Floats:
    """(A, F, D, P, C) scores of every cell for each patient's cases, positive patients first.

    Args:
        theta_AF: the true areas, means over draws, within (0, 1).
    """
    patients = (regime.patients, 1), (regime.patients, regime.cases_per_patient)
    luck = regime.draw_sd * _varied(regime, (*theta_AF.shape, regime.draws), (), rng)
    area = np.clip(theta_AF[..., None] + luck, 1e-3, 1 - 1e-3)
    signal = np.sqrt(2) * norm.ppf(area)[..., None, None]
    cells = (*theta_AF.shape, regime.draws)
    rho = regime.within_patient
    noise = np.sqrt(rho) * _varied(regime, cells, patients[0], rng, of_case=True)
    noise = noise + np.sqrt(1 - rho) * _varied(regime, cells, patients[1], rng, of_case=True)
    positive = np.arange(regime.patients) < regime.positives
    return np.asarray(signal * positive[:, None] + noise)


def areas_under(scores_AFDPC: Floats, positives: int, weights_BP: Weights) -> Floats:
    """(A, F, D, B) areas under the ROC curve, each case weighted as its patient.

    What `medssl.transfer.weighted.weighted_auc` gives of one cell, for scores without ties.
    """
    cells = scores_AFDPC.shape[:3]
    above, below = weights_BP[:, :positives], weights_BP[:, positives:]
    pairs = above.sum(axis=1) * below.sum(axis=1) * scores_AFDPC.shape[-1] ** 2
    areas = np.empty((*cells, len(weights_BP)))
    for cell in np.ndindex(cells):
        high, low = scores_AFDPC[cell][:positives], scores_AFDPC[cell][positives:]
        won = sum(
            (high[:, i, None] > low[None, :, j]).astype(np.float32)
            for i in range(high.shape[1])
            for j in range(low.shape[1])
        )
        areas[cell] = ((above @ won) * below).sum(axis=1) / pairs
    return areas


def simulated_grid(
    regime: Regime,
    theta_AF: Floats,
    arms: Sequence[str],
    fractions: Sequence[float],
    labels_F: Floats,
    replicates: int,
    seed: int,
) -> MetricGrid:
    """A study and its crossed bootstrap: patients within class, D - 1 of D draws."""
    rng = np.random.default_rng(seed)
    scores = simulate_scores(regime, theta_AF, rng)
    positive = np.arange(regime.patients) < regime.positives
    drawn = drawn_counts(positive, replicates, seed)
    once = np.ones((1, regime.patients), dtype=np.float32)
    areas = areas_under(scores, regime.positives, np.concatenate([once, drawn]))
    labels = np.asarray(labels_F, dtype=np.float64)
    return MetricGrid(
        "auc_macro",
        list(arms),
        list(fractions),
        labels,
        labels,
        areas[..., 0],
        crossed_replicates(areas[..., 1:], draw_weights(replicates, regime.draws, seed + 1)),
        regime.patients,
    )


def _varied(
    regime: Regime,
    cells: tuple[int, ...],
    each: tuple[int, ...],
    rng: np.random.Generator,
    of_case: bool = False,
) -> Floats:
    """(A, F, D, *each) standard normal values, in part common to all cells or to an arm's.

    A draw's luck differs between draws; the difficulty of a case (`of_case`) does not.
    """
    arms, _, draws = cells
    every = 1 if of_case else draws
    parts = (
        (regime.shared, (1, 1, every)),
        (regime.shared_in_arm, (arms, 1, every)),
        (1 - regime.shared - regime.shared_in_arm, cells),
    )
    return np.asarray(
        sum(np.sqrt(share) * rng.normal(size=(*shape, *each)) for share, shape in parts)
    )
