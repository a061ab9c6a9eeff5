"""Metrics of a classification frame: `y_true` (class number) and `logit_0` ... `logit_{K-1}`.

With two classes and a chosen threshold it also has `called`: 1 where a case counts as positive
(`medssl.transfer.operating_point`), which sensitivity and specificity are taken of.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import softmax

from medssl.transfer.weighted import (
    Bools,
    Floats,
    Ints,
    mean_of_defined,
    weighted_auc,
    weighted_average_precision,
    weighted_mean,
)

_ECE_BINS = 15


def num_classes(predictions: pd.DataFrame) -> int:
    """Number of logit columns of a classification frame; 0 in another frame."""
    if "y_true" not in predictions:
        return 0
    return sum(bool(re.fullmatch(r"logit_\d+", str(name))) for name in predictions.columns)


def targets_and_logits(predictions: pd.DataFrame) -> tuple[Ints, Floats]:
    """(N,) class numbers and (N, K) logits."""
    columns = [f"logit_{c}" for c in range(num_classes(predictions))]
    return predictions["y_true"].to_numpy(np.int64), predictions[columns].to_numpy(np.float64)


def ranking_scores(logits_NK: Floats) -> Floats:
    """(N, C) scores that rank the cases, one column for each class that is ranked.

    Two classes: one column, the difference of the logits, class 1 being positive. More: each
    class's probability, one against the rest.
    """
    if logits_NK.shape[1] == 2:
        return logits_NK[:, 1:] - logits_NK[:, :1]
    return np.asarray(softmax(logits_NK, axis=1))


def auc_macro(predictions: pd.DataFrame) -> float:
    """Area under the ROC curve; over more than two classes the mean of one against the rest.

    NaN where a class has no case, or all of them.
    """
    from sklearn.metrics import roc_auc_score

    areas = [
        roc_auc_score(positive, scores) if positive.any() and not positive.all() else np.nan
        for positive, scores in _ranked(*targets_and_logits(predictions))
    ]
    return float(np.mean(areas))


def auprc_macro(predictions: pd.DataFrame) -> float:
    """Area under the precision-recall curve (average precision); over more than two classes the
    mean of one against the rest.

    Its chance level is the share of positive cases. NaN where a class has no case.
    """
    from sklearn.metrics import average_precision_score

    areas = [
        average_precision_score(positive, scores) if positive.any() else np.nan
        for positive, scores in _ranked(*targets_and_logits(predictions))
    ]
    return float(np.mean(areas))


def bacc(predictions: pd.DataFrame) -> float:
    """Balanced accuracy: the mean, over the classes that occur, of the share found."""
    y, logits = targets_and_logits(predictions)
    found = logits.argmax(axis=1) == y
    return float(np.mean([found[y == c].mean() for c in np.unique(y)]))


def brier(predictions: pd.DataFrame) -> float:
    """Brier score: mean squared distance of the probabilities from the truth.

    Two classes: of the positive class alone (0 to 1); more: summed over classes (0 to 2), as
    Brier 1950 and scikit-learn have it.
    """
    return float(brier_by_case(*targets_and_logits(predictions)).mean())


def brier_by_case(y: Ints, logits_NK: Floats) -> Floats:
    """(N,) contribution of each case to the Brier score."""
    errors = softmax(logits_NK, axis=1)
    errors[np.arange(len(y)), y] -= 1.0
    total = np.square(errors).sum(axis=1)
    return np.asarray(total / 2 if logits_NK.shape[1] == 2 else total)


def ece(predictions: pd.DataFrame) -> float:
    """Adaptive expected calibration error of the predicted class.

    Cases are put in 15 bins of equal numbers by confidence; the mean, weighted by size, of the
    distance between accuracy and mean confidence (Nixon et al. 2019, arXiv:1904.01685, on the top
    class alone).
    """
    y, logits = targets_and_logits(predictions)
    confidence = softmax(logits, axis=1).max(axis=1)
    return adaptive_ece(confidence, logits.argmax(axis=1) == y)


def adaptive_ece(confidence: Floats, correct: Bools) -> float:
    """See `ece`; (N,) confidence of the predicted class, and whether it is right."""
    order = np.argsort(confidence, kind="stable")
    gaps = np.where(correct[order], 1.0, 0.0) - confidence[order]
    bounds = np.linspace(0, len(gaps), min(_ECE_BINS, len(gaps)) + 1).round().astype(np.int64)
    return float(np.abs(np.add.reduceat(gaps, bounds[:-1])).sum() / len(gaps))


CLASSIFICATION_METRICS: dict[str, Callable[[pd.DataFrame], float]] = {
    "auc_macro": auc_macro,
    "auprc_macro": auprc_macro,
    "bacc": bacc,
    "brier": brier,
    "ece": ece,
}


# Share of the cases of which class, at the threshold, are called what they are.
AT_THRESHOLD = {"sensitivity": 1, "specificity": 0}


def classification_names(predictions: pd.DataFrame) -> list[str]:
    """The metrics of a classification frame; none of another."""
    if not num_classes(predictions):
        return []
    return [*CLASSIFICATION_METRICS, *(AT_THRESHOLD if "called" in predictions else ())]


def classification_value(name: str, predictions: pd.DataFrame) -> float:
    """One of `classification_names`."""
    if name in AT_THRESHOLD:
        return float(_at_threshold(name, predictions, np.ones((1, len(predictions))))[0])
    return CLASSIFICATION_METRICS[name](predictions)


def classification_by_case(predictions: pd.DataFrame) -> dict[str, Floats | Ints]:
    """Each case's own part in the metrics: (N,) the predicted class (`predicted`), its probability
    (`confidence`) and the squared distance of the probabilities from the truth (`brier`)."""
    y, logits = targets_and_logits(predictions)
    return {
        "predicted": logits.argmax(axis=1),
        "confidence": softmax(logits, axis=1).max(axis=1),
        "brier": brier_by_case(y, logits),
    }


def weighted_classification(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    """(B,) values of one of `classification_names` under weights."""
    if name in AT_THRESHOLD:
        return _at_threshold(name, predictions, weights_BN)
    y, logits = targets_and_logits(predictions)
    if name in ("auc_macro", "auprc_macro"):
        area = weighted_auc if name == "auc_macro" else weighted_average_precision
        areas = [area(positive, scores, weights_BN) for positive, scores in _ranked(y, logits)]
        return np.asarray(np.mean(areas, axis=0))
    if name == "bacc":
        found = (logits.argmax(axis=1) == y).astype(np.float64)
        by_class = np.where(y[:, None] == np.unique(y), found[:, None], np.nan)
        return mean_of_defined(weighted_mean(by_class, weights_BN))
    if name == "brier":
        return weighted_mean(brier_by_case(y, logits)[:, None], weights_BN)[:, 0]
    return _weighted_ece(y, logits, weights_BN)


def _at_threshold(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    y, called = (predictions[column].to_numpy(np.int64) for column in ("y_true", "called"))
    right = np.where(y == AT_THRESHOLD[name], (called == y).astype(np.float64), np.nan)
    return weighted_mean(right[:, None], weights_BN)[:, 0]


def _ranked(y: Ints, logits_NK: Floats) -> list[tuple[Bools, Floats]]:
    """Which cases are positive and their scores, for each class that is ranked."""
    scores = ranking_scores(logits_NK)
    positive = [1] if scores.shape[1] == 1 else range(scores.shape[1])
    return [(y == c, scores[:, column]) for column, c in enumerate(positive)]


def _weighted_ece(y: Ints, logits: Floats, weights_BN: Floats) -> Floats:
    """`adaptive_ece` of cases repeated by whole weights, without repeating them.

    Cases in the order of confidence: the sum of gaps up to a place in the repeated sequence is
    linear within a case, so that the bins' sums are differences of interpolated sums.
    """
    confidence = softmax(logits, axis=1).max(axis=1)
    order = np.argsort(confidence, kind="stable")
    gaps = np.where((logits.argmax(axis=1) == y)[order], 1.0, 0.0) - confidence[order]
    weights = weights_BN[:, order]
    start = np.zeros((len(weights), 1))
    places = np.concatenate([start, np.cumsum(weights, axis=1)], axis=1)
    summed = np.concatenate([start, np.cumsum(weights * gaps, axis=1)], axis=1)
    values = np.full(len(weights), np.nan)
    for b in np.flatnonzero(places[:, -1] > 0):
        total = int(places[b, -1])
        bounds = np.linspace(0, total, min(_ECE_BINS, total) + 1).round()
        sums = np.diff(np.interp(bounds, places[b], summed[b]))
        values[b] = np.abs(sums).sum() / total
    return values
