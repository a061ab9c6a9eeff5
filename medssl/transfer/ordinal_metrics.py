"""Metrics of ranks: a classification frame with y_rank, the predicted class number.

`rank_mae` is the mean absolute error of the rank, `kappa_quadratic` Cohen's kappa with weights that
grow with the square of the distance (Cohen 1968). Both are given for one frame and for many case
weights at once, as `medssl.transfer.weighted` has it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

ORDINAL_METRICS = ("rank_mae", "kappa_quadratic")


def ordinal_names(predictions: pd.DataFrame) -> list[str]:
    """The metrics that a frame allows beside those of any classification."""
    return list(ORDINAL_METRICS) if "y_rank" in predictions.columns else []


def ordinal_value(name: str, predictions: pd.DataFrame) -> float:
    """One of ORDINAL_METRICS; kappa is NaN where all cases and predictions have one class."""
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    y, rank = (predictions[column].to_numpy(np.int64) for column in ("y_true", "y_rank"))
    if name == "rank_mae":
        return float(mean_absolute_error(y, rank))
    if len(np.unique(np.concatenate([y, rank]))) < 2:
        return float("nan")
    return float(cohen_kappa_score(y, rank, weights="quadratic"))


def weighted_ordinal(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    """(B,) values of one of ORDINAL_METRICS; NaN where a resample does not allow it."""
    y, rank = (predictions[column].to_numpy(np.float64) for column in ("y_true", "y_rank"))
    total = weights_BN.sum(axis=1)
    if name == "rank_mae":
        return _ratio(weights_BN @ np.abs(y - rank), total)
    squared = _ratio(weights_BN @ np.square(y - rank), total)
    # By chance: E (y - rank)^2 for independent draws of both sides.
    means = [_ratio(weights_BN @ side, total) for side in (y, rank)]
    squares = [_ratio(weights_BN @ np.square(side), total) for side in (y, rank)]
    return 1 - _ratio(squared, squares[0] + squares[1] - 2 * means[0] * means[1])


def _ratio(part: Floats, whole: Floats) -> Floats:
    there = whole > 1e-12
    return np.asarray(np.divide(part, whole, out=np.full_like(part, np.nan), where=there))
