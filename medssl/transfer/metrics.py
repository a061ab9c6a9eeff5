"""Metrics as pure functions of a predictions frame.

Classification frames have `y_true` (class number) and `logit_0` ... `logit_{K-1}`; segmentation
frames have `tp_c`, `fp_c`, `fn_c` for each foreground class c, counted in voxels of the image's own
grid. Rows without any of these (another split, say) are the caller's to leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax

from medssl.errors import MedsslError
from medssl.transfer.ordinal_metrics import ORDINAL_METRICS, ordinal_names, ordinal_value
from medssl.transfer.regression_metrics import (
    REGRESSION_METRICS,
    regression_names,
    regression_value,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ECE_BINS = 15


def num_classes(predictions: pd.DataFrame) -> int:
    """Number of logit columns of a classification frame; 0 in a segmentation frame."""
    return sum(bool(re.fullmatch(r"logit_\d+", str(name))) for name in predictions.columns)


def mask_classes(predictions: pd.DataFrame) -> list[int]:
    """Foreground classes of a segmentation frame, ascending."""
    names = [re.fullmatch(r"tp_(\d+)", str(name)) for name in predictions.columns]
    return sorted(int(name.group(1)) for name in names if name)


def targets_and_logits(predictions: pd.DataFrame) -> tuple[Ints, Floats]:
    """(N,) class numbers and (N, K) logits."""
    columns = [f"logit_{c}" for c in range(num_classes(predictions))]
    return predictions["y_true"].to_numpy(np.int64), predictions[columns].to_numpy(np.float64)


def ranking_scores(logits_NK: Floats) -> Floats:
    """(N, C) scores that rank the cases, one column for each class that AUC is taken of.

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

    y, logits = targets_and_logits(predictions)
    scores = ranking_scores(logits)
    positive = [1] if scores.shape[1] == 1 else list(range(scores.shape[1]))
    areas = []
    for column, c in enumerate(positive):
        if (y == c).all() or not (y == c).any():
            return float("nan")
        areas.append(roc_auc_score(y == c, scores[:, column]))
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


def adaptive_ece(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """See `ece`; (N,) confidence of the predicted class, and whether it is right."""
    order = np.argsort(confidence, kind="stable")
    gaps = np.where(correct[order], 1.0, 0.0) - confidence[order]
    bounds = np.linspace(0, len(gaps), min(_ECE_BINS, len(gaps)) + 1).round().astype(np.int64)
    return float(np.abs(np.add.reduceat(gaps, bounds[:-1])).sum() / len(gaps))


def dice_by_case(predictions: pd.DataFrame) -> Floats:
    """(N, C) Dice of each case and foreground class, from the voxel counts.

    A class that neither the reference nor the prediction has is NaN, and left out of every mean;
    one that only the reference or only the prediction has is 0.
    """
    classes = mask_classes(predictions)
    tp, fp, fn = (
        predictions[[f"{kind}_{c}" for c in classes]].to_numpy(np.float64)
        for kind in ("tp", "fp", "fn")
    )
    voxels = 2 * tp + fp + fn
    return np.asarray(np.divide(2 * tp, voxels, out=np.full_like(tp, np.nan), where=voxels > 0))


def dice_of_class(predictions: pd.DataFrame, c: int) -> float:
    """Mean Dice of class `c` over the cases where it is defined (see `dice_by_case`)."""
    column = dice_by_case(predictions)[:, mask_classes(predictions).index(c)]
    return float(np.nanmean(column)) if np.isfinite(column).any() else float("nan")


def dice_mean(predictions: pd.DataFrame) -> float:
    """Mean over foreground classes of their mean Dice over cases (see `dice_by_case`)."""
    means = [dice_of_class(predictions, c) for c in mask_classes(predictions)]
    return float(np.nanmean(means)) if np.isfinite(means).any() else float("nan")


CLASSIFICATION_METRICS: dict[str, Callable[[pd.DataFrame], float]] = {
    "auc_macro": auc_macro,
    "bacc": bacc,
    "brier": brier,
    "ece": ece,
}

LOWER_IS_BETTER = frozenset({"brier", "ece", "mae", "rmse", "rank_mae"})


def metric_names(predictions: pd.DataFrame) -> list[str]:
    """The metrics that a frame allows: of classification, or dice_mean and dice/<c>."""
    if regression_names(predictions):
        return regression_names(predictions)
    if num_classes(predictions):
        return [*CLASSIFICATION_METRICS, *ordinal_names(predictions)]
    return ["dice_mean", *(f"dice/{c}" for c in mask_classes(predictions))]


def metric_value(name: str, predictions: pd.DataFrame) -> float:
    """One metric of a predictions frame.

    Raises:
        MedsslError: the frame does not allow it, or has no case.
    """
    names = metric_names(predictions)
    if name not in names:
        raise MedsslError(f"no metric {name} for these predictions; there are: {', '.join(names)}")
    if predictions.empty:
        raise MedsslError(f"metric {name}: there is no case to take it of")
    if name in REGRESSION_METRICS:
        return regression_value(name, predictions)
    if name in ORDINAL_METRICS:
        return ordinal_value(name, predictions)
    if name in CLASSIFICATION_METRICS:
        return CLASSIFICATION_METRICS[name](predictions)
    return (
        dice_mean(predictions) if name == "dice_mean" else dice_of_class(predictions, int(name[5:]))
    )


def all_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Every metric that the frame allows, by name."""
    return {name: metric_value(name, predictions) for name in metric_names(predictions)}
