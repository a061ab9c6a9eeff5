"""Metrics of ranks: a classification frame with y_rank, the predicted class number.

`rank_mae` is the mean absolute error of the rank, `kappa_quadratic` Cohen's kappa with weights that
grow with the square of the distance (Cohen 1968). Both are given for one frame and for many case
weights at once, as `medssl.transfer.weighted` has it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from medssl.transfer.classification_metrics import (
    classification_names,
    classification_value,
    weighted_classification,
)
from medssl.transfer.weighted import Floats, quotient

ORDINAL_METRICS = ("rank_mae", "kappa_quadratic")


def median_rank(log_probabilities_K: Floats) -> int:
    """The first class that, with those below it, has at least half of the probability."""
    below = np.cumsum(np.exp(log_probabilities_K.astype(np.float64)))
    return int(np.argmax(below >= 0.5))


def ordinal_names(predictions: pd.DataFrame) -> list[str]:
    """The metrics that a frame with y_rank allows; none of another frame."""
    if "y_rank" not in predictions.columns:
        return []
    return [*classification_names(predictions), *ORDINAL_METRICS]


def ordinal_value(name: str, predictions: pd.DataFrame) -> float:
    """One of `ordinal_names`; kappa is NaN where all cases and predictions have one class."""
    if name not in ORDINAL_METRICS:
        return classification_value(name, predictions)
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    y, rank = (predictions[column].to_numpy(np.int64) for column in ("y_true", "y_rank"))
    if name == "rank_mae":
        return float(mean_absolute_error(y, rank))
    if len(np.unique(np.concatenate([y, rank]))) < 2:
        return float("nan")
    return float(cohen_kappa_score(y, rank, weights="quadratic"))


def weighted_ordinal(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    """(B,) values of one of `ordinal_names`; NaN where a resample does not allow it."""
    if name not in ORDINAL_METRICS:
        return weighted_classification(name, predictions, weights_BN)
    y, rank = (predictions[column].to_numpy(np.float64) for column in ("y_true", "y_rank"))
    total = weights_BN.sum(axis=1)
    if name == "rank_mae":
        return quotient(weights_BN @ np.abs(y - rank), total)
    # By chance, both sides are drawn apart: total * the sum of (y - rank)^2 over all pairs. Whole
    # numbers, so that nothing is left by rounding where all are of one class.
    chance = total * (weights_BN @ np.square(y) + weights_BN @ np.square(rank))
    chance -= 2 * (weights_BN @ y) * (weights_BN @ rank)
    return 1 - quotient(total * (weights_BN @ np.square(y - rank)), chance)
