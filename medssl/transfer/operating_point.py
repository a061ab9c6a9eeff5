"""Where a classifier of two classes is read: the threshold that the validation part chooses."""

from __future__ import annotations

import pandas as pd

from medssl.transfer.classification_metrics import (
    num_classes,
    ranking_scores,
    targets_and_logits,
)


def with_operating_point(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions of all parts with `called`: 1 where a case counts as positive, else 0.

    The threshold is the score of the validation part at which the sum of sensitivity and
    specificity is highest there (Youden 1950, doi:10.1002/1097-0142(1950)3:1<32); of several the
    highest. The test part has no say. Frames of more than two classes, and those whose validation
    part lacks a class, are given back as they are.
    """
    from sklearn.metrics import roc_curve

    if num_classes(predictions) != 2:
        return predictions
    y, logits = targets_and_logits(predictions)
    scores = ranking_scores(logits)[:, 0]
    val = (predictions["split"] == "val").to_numpy()
    if set(y[val]) != {0, 1}:
        return predictions
    false, found, thresholds = roc_curve(y[val], scores[val], drop_intermediate=False)
    best = thresholds[1:][(found - false)[1:].argmax()]  # the first threshold is infinite
    return predictions.assign(called=(scores >= best).astype("int64"))
