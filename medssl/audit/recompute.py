"""The metrics once more, by another road than `medssl.transfer.metrics`.

Written from the documented definitions, so that a fault in the one place shows as a difference in
the other: AUC from ranks and not from a curve, average precision threshold by threshold, Dice and
lesions case by case from counts, calibration bin by bin.
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
        return _segmentation(test, task.classes)
    logits = np.column_stack([test[f"logit_{k}"] for k in range(len(task.classes))])
    return _classification(test["y_true"].to_numpy(np.int64), logits.astype(np.float64))


def _classification(y: Ints, logits_NK: Floats) -> dict[str, float]:
    if len(y) == 0:
        return dict.fromkeys(("auc_macro", "auprc_macro", "bacc", "brier", "ece"), math.nan)
    probabilities = softmax(logits_NK, axis=1)
    binary = logits_NK.shape[1] == 2
    chosen = logits_NK.argmax(axis=1)
    truth = np.eye(logits_NK.shape[1])[y]
    squares = ((probabilities - truth) ** 2).sum(axis=1).mean()
    if binary:
        ranked = [(y == 1, logits_NK[:, 1] - logits_NK[:, 0])]
    else:
        ranked = [(y == k, probabilities[:, k]) for k in range(logits_NK.shape[1])]
    recalls = [float((chosen[y == k] == k).mean()) for k in np.unique(y)]
    return {
        "auc_macro": sum(_auc(*pair) for pair in ranked) / len(ranked),
        "auprc_macro": sum(_average_precision(*pair) for pair in ranked) / len(ranked),
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


def _average_precision(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """The mean, over the positive cases, of the precision among those scored as high or higher."""
    if not positive.any():
        return math.nan
    return float(np.mean([positive[scores >= score].mean() for score in scores[positive]]))


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


def _segmentation(test: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """Of each class, and the mean over the classes that are defined."""
    by_class = {c: _of_class(test, c) for c in classes}
    found = {}
    for measure in by_class[classes[0]]:
        values = {c: by_class[c][measure] for c in classes}
        defined = [value for value in values.values() if not math.isnan(value)]
        found[f"{measure}_mean"] = sum(defined) / len(defined) if defined else math.nan
        found |= {f"{measure}/{c}": value for c, value in values.items()}
    return found


def _of_class(test: pd.DataFrame, c: str) -> dict[str, float]:
    """Means over the cases that have the class in either mask; of lesions, shares of all."""
    dice = [
        2 * tp / (2 * tp + fp + fn)
        for tp, fp, fn in zip(test[f"tp_{c}"], test[f"fp_{c}"], test[f"fn_{c}"], strict=True)
        if 2 * tp + fp + fn > 0
    ]
    found = {"dice": _share(sum(dice), len(dice))}
    for measure in ("nsd", "hd95_mm"):
        if f"{measure}_{c}" in test:
            there = [value for value in test[f"{measure}_{c}"] if not math.isnan(value)]
            found[measure] = _share(sum(there), len(there))
    if f"lesion_tp_{c}" in test:
        tp, fp, fn = (sum(test[f"lesion_{kind}_{c}"]) for kind in ("tp", "fp", "fn"))
        found["lesion_sensitivity"] = _share(tp, tp + fn)
        found["lesion_precision"] = _share(tp, tp + fp)
        found["lesion_f1"] = _share(2 * tp, 2 * tp + fp + fn)
    return found


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
