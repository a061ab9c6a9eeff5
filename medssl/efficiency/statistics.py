"""Intervals, tests and areas: pure functions of arrays.

Letters in array names: A arms, F fractions, D draws, B bootstrap replicates. A cell that is missing
is NaN. The larger a metric, the better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

REPLICATES = 2000
LEVEL = 0.95
BASELINE = "scratch"  # the arm that every other is compared with
DRAWS_FOR_SIGNIFICANCE = 10
# Two-sided 5 %, power 80 %: 1.960 + 0.842 (Bloom, Evaluation Review 19, 1995).
_DETECTABLE_IN_SE = 2.80
_MOST_EXACT_DRAWS = 20


@dataclass(frozen=True)
class Bounded:
    """A value with its percentile interval; NaN where it cannot be had."""

    value: float
    lo: float
    hi: float


def draw_weights(replicates: int, draws: int, seed: int) -> Floats:
    """(B, D) weights of the draws: D - 1 of D with replacement, each row summing to one.

    Taking D - 1 rather than D widens the variance by D / (D - 1), which the mean over D draws needs
    to be unbiased (the rescaled bootstrap of Rao and Wu, JASA 83, 1988, with m = n - 1). A single
    draw has weight one: the interval then knows nothing of the spread between draws.
    """
    if draws == 1:
        return np.ones((replicates, 1))
    rng = np.random.Generator(np.random.Philox(seed))
    counts = rng.multinomial(draws - 1, np.full(draws, 1 / draws), size=replicates)
    return np.asarray(counts / (draws - 1))


def crossed_replicates(metric_AFDB: Floats, weights_BD: Floats) -> Floats:
    """(A, F, B) replicates of the mean over draws, patients and draws resampled together.

    `metric_AFDB` holds each cell's metric under each replicate's patients; the same row of weights
    goes over all arms and fractions, so that differences are paired. A missing cell's weight goes
    to the draws that are there; NaN where none of those was drawn.
    """
    weights = weights_BD.T[None, None]
    there = np.isfinite(metric_AFDB)
    total = (np.where(there, metric_AFDB, 0.0) * weights).sum(axis=2)
    weight = (there * weights).sum(axis=2)
    return np.asarray(np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0))


def mean_over_draws(values_AFD: Floats) -> Floats:
    """(A, F): theta, the mean of the cells that are there."""
    there = np.isfinite(values_AFD)
    total = np.where(there, values_AFD, 0.0).sum(axis=-1)
    count = there.sum(axis=-1)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def percentiles(replicates: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The two-sided percentile interval; NaN where no replicate is defined."""
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    # "nearest" keeps infinite bounds, of censored quantities, from turning into NaN.
    if not np.isfinite(defined).all():
        lo, hi = np.quantile(defined, [tail, 1 - tail], method="nearest")
    else:
        lo, hi = np.quantile(defined, [tail, 1 - tail])
    return float(lo), float(hi)


def lower_bound(replicates: Floats, level: float = LEVEL) -> float:
    """The one-sided lower bound: the 5th percentile for a level of 95 %."""
    defined = replicates[~np.isnan(replicates)]
    return float(np.quantile(defined, 1 - level)) if len(defined) else float("nan")


def standard_error(replicates: Floats) -> float:
    """Standard deviation of the replicates."""
    defined = replicates[np.isfinite(replicates)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def minimal_detectable(se: float) -> float:
    """2.80 SE: the difference that this study would have found four times in five."""
    return _DETECTABLE_IN_SE * se


def sign_flip_p(differences: Sequence[float] | Floats) -> float:
    """Two-sided exact sign-flip test of paired differences, one for each draw.

    The share of the 2^D ways to set the signs whose mean is at least as far from zero as the one
    seen (Fisher's randomisation test); never below 2 / 2^D. NaN for fewer than two differences.
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return float("nan")
    if len(d) > _MOST_EXACT_DRAWS:
        raise ValueError(f"the exact test goes up to {_MOST_EXACT_DRAWS} draws, not {len(d)}")
    # All sums of +-d, built up one difference at a time.
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    tolerance = 1e-12 * max(1.0, float(np.abs(d).sum()))
    return float(np.mean(np.abs(sums) >= abs(d.sum()) - tolerance))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979); NaN stays NaN."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    largest = 0.0
    for place, index in enumerate(tested[np.argsort(p[tested], kind="stable")]):
        largest = max(largest, min(1.0, (len(tested) - place) * p[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]


def is_significant(p_holm: float, lo: float, hi: float, draws: int) -> bool | None:
    """Whether a difference may be called significant; None where ten draws are not there.

    Both the sign-flip test over draws and the interval over patients and draws must say so.
    """
    if draws < DRAWS_FOR_SIGNIFICANCE:
        return None
    return p_holm < 1 - LEVEL and (lo > 0 or hi < 0)


def area_under_learning_curve(theta_F: Floats, labels_F: Floats) -> Floats:
    """AULC = sum of (theta_k + theta_k+1) / 2 (x_k+1 - x_k), over x_K - x_1; x = log2(labels).

    `theta_F` may have leading axes; the last one is F, ascending in labels. NaN for one fraction.
    """
    x = np.log2(np.asarray(labels_F, dtype=np.float64))
    theta = np.asarray(theta_F, dtype=np.float64)
    if len(x) < 2:
        return np.full(theta.shape[:-1], np.nan)
    steps = (theta[..., :-1] + theta[..., 1:]) / 2 * np.diff(x)
    return np.asarray(steps.sum(axis=-1) / (x[-1] - x[0]))
