"""Metrics of several binary labels at once.

A multi-label frame has, for each label, `y_true/<label>` (0, 1, or NaN where it is not known) and
`logit/<label>`. Cases whose label is not known have no part in that label's AUC.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from medssl.transfer.weighted import Floats, mean_of_defined, weighted_auc


def label_names(predictions: pd.DataFrame) -> list[str]:
    """The labels of a multi-label frame, in the order of its columns; none of another frame."""
    return [
        str(name).removeprefix("logit/")
        for name in predictions.columns
        if str(name).startswith("logit/")
    ]


def multilabel_names(predictions: pd.DataFrame) -> list[str]:
    """`auc_macro`, the mean over the labels where it is defined, and `auc/<label>` of each."""
    labels = label_names(predictions)
    return ["auc_macro", *(f"auc/{label}" for label in labels)] if labels else []


def multilabel_value(name: str, predictions: pd.DataFrame) -> float:
    """One of `multilabel_names`; NaN where a label has only one value, or all have."""
    from sklearn.metrics import roc_auc_score

    if name == "auc_macro":
        each = [multilabel_value(f"auc/{label}", predictions) for label in label_names(predictions)]
        return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")
    label = name.removeprefix("auc/")
    known = predictions[predictions[f"y_true/{label}"].notna()]
    if known[f"y_true/{label}"].nunique() < 2:
        return float("nan")
    return float(roc_auc_score(known[f"y_true/{label}"], known[f"logit/{label}"]))


def weighted_multilabel(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    """(B,) values of one of `multilabel_names`; NaN where a resample does not allow it."""
    if name == "auc_macro":
        each = [
            weighted_multilabel(f"auc/{label}", predictions, weights_BN)
            for label in label_names(predictions)
        ]
        return mean_of_defined(np.stack(each, axis=1))
    label = name.removeprefix("auc/")
    known = predictions[f"y_true/{label}"].notna().to_numpy()
    if not known.any():
        return np.full(len(weights_BN), np.nan)
    y = predictions[f"y_true/{label}"].to_numpy(np.float64)[known] == 1
    scores = predictions[f"logit/{label}"].to_numpy(np.float64)[known]
    return weighted_auc(y, scores, weights_BN[:, known])
