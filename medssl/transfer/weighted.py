"""Metrics under many case weights at once: what a bootstrap needs.

`weights_BN` holds, for each of B resamples, how often each of the N cases was drawn. Each function
gives (B,) values that equal `medssl.transfer.metrics` on the frame with rows so repeated; NaN where
a resample does not allow the metric.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax

from medssl.errors import MedsslError
from medssl.transfer import metrics
from medssl.transfer.metrics import Floats, Ints
from medssl.transfer.ordinal_metrics import ORDINAL_METRICS, weighted_ordinal
from medssl.transfer.regression_metrics import REGRESSION_METRICS, weighted_regression

Weights = npt.NDArray[np.float32]

_CHUNK = 4_000_000  # weights handled at once, so that large test sets need little memory


def weighted_metric(name: str, predictions: pd.DataFrame, weights_BN: Weights) -> Floats:
    """(B,) values of metric `name`, one for each row of weights.

    Raises:
        MedsslError: the frame does not allow the metric.
    """
    names = metrics.metric_names(predictions)
    if name not in names:
        raise MedsslError(f"no metric {name} for these predictions; there are: {', '.join(names)}")
    step = max(1, _CHUNK // max(1, len(predictions)))
    parts = [
        _metric(name, predictions, weights_BN[start : start + step].astype(np.float64))
        for start in range(0, len(weights_BN), step)
    ]
    return np.concatenate(parts)


def _metric(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    if name in REGRESSION_METRICS:
        return weighted_regression(name, predictions, weights_BN)
    if name in ORDINAL_METRICS:
        return weighted_ordinal(name, predictions, weights_BN)
    if name.startswith("dice"):
        dice = metrics.dice_by_case(predictions)
        if name != "dice_mean":
            column = metrics.mask_classes(predictions).index(int(name[5:]))
            return _weighted_mean(dice[:, [column]], weights_BN)[:, 0]
        return _nanmean(_weighted_mean(dice, weights_BN))
    y, logits = metrics.targets_and_logits(predictions)
    if name == "auc_macro":
        return _auc_macro(y, logits, weights_BN)
    if name == "bacc":
        found = (logits.argmax(axis=1) == y).astype(np.float64)
        classes = np.unique(y)
        by_class = np.where(y[:, None] == classes, found[:, None], np.nan)
        return _nanmean(_weighted_mean(by_class, weights_BN))
    if name == "brier":
        return _weighted_mean(metrics.brier_by_case(y, logits)[:, None], weights_BN)[:, 0]
    return _ece(y, logits, weights_BN)


def weighted_auc(positive: npt.NDArray[np.bool_], scores: Floats, weights_BN: Floats) -> Floats:
    """(B,) areas under the ROC curve: the weighted Mann-Whitney statistic, ties counting half.

    Cases are sorted once for all resamples. NaN where either side has no weight.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    weights = weights_BN[:, order]
    above = np.add.reduceat(weights * positive[order], starts, axis=1)
    below = np.add.reduceat(weights * ~positive[order], starts, axis=1)
    lower = np.cumsum(below, axis=1) - below
    pairs = above.sum(axis=1) * below.sum(axis=1)
    won = (above * (lower + 0.5 * below)).sum(axis=1)
    return np.asarray(np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0))


def _auc_macro(y: Ints, logits: Floats, weights_BN: Floats) -> Floats:
    scores = metrics.ranking_scores(logits)
    positive = [1] if scores.shape[1] == 1 else list(range(scores.shape[1]))
    areas = [weighted_auc(y == c, scores[:, i], weights_BN) for i, c in enumerate(positive)]
    return np.asarray(np.mean(areas, axis=0))


def _ece(y: Ints, logits: Floats, weights_BN: Floats) -> Floats:
    confidence = softmax(logits, axis=1).max(axis=1)
    correct = logits.argmax(axis=1) == y
    values = []
    for weights in weights_BN.astype(np.int64):
        drawn = np.repeat(np.arange(len(y)), weights)
        values.append(
            metrics.adaptive_ece(confidence[drawn], correct[drawn]) if len(drawn) else np.nan
        )
    return np.asarray(values)


def _weighted_mean(values_NC: Floats, weights_BN: Floats) -> Floats:
    """(B, C) means over the cases where the value is not NaN; NaN where there is none."""
    there = np.isfinite(values_NC)
    total = weights_BN @ np.where(there, values_NC, 0.0)
    weight = weights_BN @ there.astype(np.float64)
    return np.asarray(np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0))


def _nanmean(values_BC: Floats) -> Floats:
    there = np.isfinite(values_BC)
    count = there.sum(axis=1)
    total = np.where(there, values_BC, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
