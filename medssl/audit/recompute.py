"""The metrics once more, by another road than `medssl.transfer.metrics`.

Written from the documented definitions, so that a fault in the one place shows as a difference in
the other: AUC from ranks and not from a curve, Dice from counts, calibration bin by bin.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax
from scipy.stats import rankdata

from medssl.audit.records import TaskRecord

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ECE_BINS = 15


def test_metrics(task: TaskRecord, predictions: pd.DataFrame) -> dict[str, float]:
    """Every metric of the cell's test part; NaN where the cases do not define it."""
    test = predictions[predictions["split"] == "test"]
    if task.kind == "segmentation":
        return _dice(test, task.classes)
    logits = np.column_stack([test[f"logit_{k}"] for k in range(len(task.classes))])
    return _classification(test["y_true"].to_numpy(np.int64), logits.astype(np.float64))


def _classification(y: Ints, logits_NK: Floats) -> dict[str, float]:
    if len(y) == 0:
        return dict.fromkeys(("auc_macro", "bacc", "brier", "ece"), math.nan)
    probabilities = softmax(logits_NK, axis=1)
    binary = logits_NK.shape[1] == 2
    chosen = logits_NK.argmax(axis=1)
    truth = np.eye(logits_NK.shape[1])[y]
    squares = ((probabilities - truth) ** 2).sum(axis=1).mean()
    if binary:
        areas = [_auc(y == 1, logits_NK[:, 1] - logits_NK[:, 0])]
    else:
        areas = [_auc(y == k, probabilities[:, k]) for k in range(logits_NK.shape[1])]
    recalls = [float((chosen[y == k] == k).mean()) for k in np.unique(y)]
    return {
        "auc_macro": sum(areas) / len(areas),
        "bacc": sum(recalls) / len(recalls),
        "brier": float(squares / 2 if binary else squares),
        "ece": _adaptive_ece(probabilities.max(axis=1), chosen == y),
    }


def _auc(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Mann-Whitney's U over the number of pairs; ties count half."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return math.nan
    ranks = rankdata(scores)
    u = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(u / (n_positive * n_negative))


def _adaptive_ece(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Cases by confidence in up to 15 bins of equal numbers; the mean gap, weighted by size."""
    order = np.argsort(confidence, kind="stable")
    n = len(order)
    edges = [round(k * n / min(_ECE_BINS, n)) for k in range(min(_ECE_BINS, n) + 1)]
    total = 0.0
    for start, stop in pairwise(edges):
        members = order[start:stop]
        gap = correct[members].mean() - confidence[members].mean()
        total += abs(gap) * len(members)
    return float(total / n)


def _dice(test: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """2 TP / (2 TP + FP + FN) for each case; where neither mask has the class there is no value."""
    means = {}
    for c in classes:
        values = [
            2 * tp / (2 * tp + fp + fn)
            for tp, fp, fn in zip(test[f"tp_{c}"], test[f"fp_{c}"], test[f"fn_{c}"], strict=True)
            if 2 * tp + fp + fn > 0
        ]
        means[f"dice/{c}"] = sum(values) / len(values) if values else math.nan
    defined = [value for value in means.values() if not math.isnan(value)]
    overall = sum(defined) / len(defined) if defined else math.nan
    return {"dice_mean": overall, **means}
