"""Where a classifier of two classes is read: the threshold that the validation part chooses.

A threshold is a score: logit_1 minus logit_0, after temperature scaling where there is any. A case
whose score reaches it counts as positive, of the second class. It is kept in the metadata of the
weights (`threshold`), so that new scans are answered as the test part was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logsumexp

from medssl.transfer.classification_metrics import (
    num_classes,
    ranking_scores,
    targets_and_logits,
)

SLACK = 1e-4
"""How far a chosen threshold lies below the score that it was chosen for. The last bits of a logit
depend on the batch and the machine; the case of that score is to be answered alike each time."""


def chosen_threshold(predictions: pd.DataFrame) -> float | None:
    """The score of the validation part at which the sum of sensitivity and specificity is highest
    there (Youden 1950, doi:10.1002/1097-0142(1950)3:1<32), less `SLACK`; of several the highest.

    Rows of other parts have no say. None of frames of more than two classes, of other tasks, and
    where the validation part lacks a class.

    Args:
        predictions: with logits that are already divided by the temperature.
    """
    from sklearn.metrics import roc_curve

    if num_classes(predictions) != 2:
        return None
    y, logits = targets_and_logits(predictions[predictions["split"] == "val"])
    if set(y) != {0, 1}:
        return None
    scores = ranking_scores(logits)[:, 0]
    false, found, thresholds = roc_curve(y, scores, drop_intermediate=False)
    best = (found - false)[1:].argmax()  # the first threshold is infinite
    return float(thresholds[1:][best]) - SLACK


def with_operating_point(predictions: pd.DataFrame, threshold: float | None) -> pd.DataFrame:
    """The predictions of all parts with `called`: 1 where a case counts as positive, else 0.

    Without a threshold they are given back as they are.
    """
    if threshold is None:
        return predictions
    scores = ranking_scores(targets_and_logits(predictions)[1])[:, 0]
    return predictions.assign(called=(scores >= threshold).astype("int64"))


def kept_threshold(about: Mapping[str, str]) -> float | None:
    """The threshold in the metadata of weights; None where these keep none."""
    threshold: float | None = json.loads(about.get("threshold", "null"))
    return threshold


def joint_threshold(thresholds: Sequence[float | None]) -> float | None:
    """Where the averaged probabilities of several networks are read; None where one has none.

    It is the mean of their thresholds as probabilities: averaged probabilities reach it just where
    the networks' distances from their own thresholds add up to zero or more. Taken in logarithms,
    so that probabilities near 0 and 1 stay apart.
    """
    known = [threshold for threshold in thresholds if threshold is not None]
    if not known or len(known) < len(thresholds):
        return None
    if len(known) == 1:
        return known[0]
    above, below = (logsumexp(log_expit(sign * np.array(known))) for sign in (1, -1))
    return float(above - below)


def threshold_told(thresholds: Sequence[float | None]) -> str:
    """For a reader, as probability of the second class: at what `medssl predict` answers.

    Args:
        thresholds: of the run's network, or of those of all folds.
    """
    joint = joint_threshold(thresholds)
    if joint is None:
        whose = "one of the folds" if len(thresholds) > 1 else "this run"
        return f"a probability of 0.5: {whose} has no threshold chosen by its validation part"
    shown = _probability(joint)
    if len(thresholds) == 1:
        return f"a probability of {shown}, chosen on the validation part"
    own = ", ".join(_probability(one) for one in thresholds if one is not None)
    return (
        f"a mean probability of {shown}, the mean of what the folds' validation parts chose: {own}"
    )


def _probability(threshold: float) -> str:
    return f"{expit(threshold):.4g}"
