"""Statistics under many case weights at once: what a bootstrap needs.

`weights_BN` holds, for each of B resamples, how often each of the N cases was drawn. Each function
gives (B,) or (B, C) values, those of the cases so repeated; NaN where a resample does not allow the
statistic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]

_MOST_PAIRS = 4_000_000  # of a positive and a negative case, held as float64 at once


def weighted_auc(positive: Bools, scores: Floats, weights_BN: Floats) -> Floats:
    """(B,) areas under the ROC curve: the weighted Mann-Whitney statistic, ties counting half.

    NaN where either side has no weight. Both ways below give the same numbers: the pairs are
    compared once and summed by one matrix product, which is about seven times faster where the
    table of pairs stays small; else cases are sorted once for all resamples.
    """
    if int(positive.sum()) * int((~positive).sum()) <= _MOST_PAIRS:
        return _auc_of_pairs(positive, scores, weights_BN)
    above, below = _by_threshold(positive, scores, weights_BN)
    lower = np.cumsum(below, axis=1) - below
    pairs = above.sum(axis=1) * below.sum(axis=1)
    return quotient((above * (lower + 0.5 * below)).sum(axis=1), pairs)


def _auc_of_pairs(positive: Bools, scores: Floats, weights_BN: Floats) -> Floats:
    higher, lower = scores[positive][:, None], scores[~positive]
    won = (higher > lower) + 0.5 * (higher == lower)
    above, below = weights_BN[:, positive], weights_BN[:, ~positive]
    pairs = above.sum(axis=1) * below.sum(axis=1)
    return quotient(((above @ won) * below).sum(axis=1), pairs)


def weighted_average_precision(positive: Bools, scores: Floats, weights_BN: Floats) -> Floats:
    """(B,) areas under the precision-recall curve by steps, as scikit-learn's average precision.

    The sum over thresholds, from the highest score down, of the gain in recall times the precision
    there; cases of one score share a threshold. NaN where no positive case has weight.
    """
    above, below = (side[:, ::-1] for side in _by_threshold(positive, scores, weights_BN))
    found = np.cumsum(above, axis=1)
    called = found + np.cumsum(below, axis=1)
    # Before the first weight nothing is called positive, and nothing gained.
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return quotient((above * precision).sum(axis=1), above.sum(axis=1))


def _by_threshold(positive: Bools, scores: Floats, weights_BN: Floats) -> tuple[Floats, Floats]:
    """Weight of positive and of negative cases at each distinct score, ascending; (B, T) each."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    weights = weights_BN[:, order]
    above = np.add.reduceat(weights * positive[order], starts, axis=1)
    below = np.add.reduceat(weights * ~positive[order], starts, axis=1)
    return above, below


def quotient(upper: Floats, lower: Floats) -> Floats:
    """`upper` by `lower`, element by element; NaN where `lower` is 0."""
    return np.asarray(np.divide(upper, lower, out=np.full(upper.shape, np.nan), where=lower > 0))


def weighted_mean(values_NC: Floats, weights_BN: Floats) -> Floats:
    """(B, C) means over the cases where the value is not NaN; NaN where there is none."""
    there = np.isfinite(values_NC)
    total = weights_BN @ np.where(there, values_NC, 0.0)
    return quotient(total, weights_BN @ there.astype(np.float64))


def mean_of_defined(values_BC: Floats) -> Floats:
    """(B,) means along the last axis of what is not NaN; NaN where nothing is."""
    there = np.isfinite(values_BC)
    return quotient(np.where(there, values_BC, 0.0).sum(axis=-1), there.sum(axis=-1).astype(float))
