"""What size alone predicts: the model that every classifier has to be compared with.

Size is the strongest sign of malignancy in a nodule, and in a cropped data set it leaks through
the crop. A logistic regression on the logarithms of the foreground's volume and extents, fitted on
the same patients, says how much of a model's AUC is more than that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import TrainingError
from medssl.store.store import affine_of
from medssl.transfer.metrics import Floats
from medssl.volume import ras_order, spacing_of


def size_features(rows: pd.DataFrame) -> Floats:
    """(N, 4): log of the foreground's volume in mm3 and of its box's extents in mm along R, A, S.

    `rows` are manifest rows; what counts as foreground is told in `medssl.store.describe`.
    """
    return np.stack([_features(row) for _, row in rows.iterrows()])


def _features(row: pd.Series[Any]) -> Floats:
    affine = affine_of(row)
    order, _ = ras_order(affine)
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    edges = [row[f"foreground_{a}_stop"] - row[f"foreground_{a}_start"] for a in range(3)]
    extent_mm = np.asarray(edges, dtype=np.float64) * spacing_of(affine)
    volume_mm3 = float(row["foreground_voxels"]) * voxel_mm3
    return np.log(np.maximum([volume_mm3, *extent_mm[order]], 1e-6))


def size_only_predictions(
    manifest: pd.DataFrame, cases: pd.DataFrame, num_classes: int
) -> pd.DataFrame:
    """Predictions of the size-only model on the test cases, fitted on training and validation.

    Args:
        manifest: the store's, indexed by volume_uid.
        cases: volume_uid, patient_key, split, y_true (0 ... num_classes - 1); where it has the
            column `fold` too, a model is fitted in each fold.

    Returns:
        volume_uid, patient_key, split, y_true, logit_0 ... of the test cases, in their order.

    Raises:
        TrainingError: a class has no case outside the test part.
    """
    if "fold" in cases:
        folds = [fold for _, fold in cases.drop(columns="fold").groupby(cases["fold"])]
        parts = [size_only_predictions(manifest, fold, num_classes) for fold in folds]
        return pd.concat(parts, ignore_index=True)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    test = cases[cases["split"] == "test"]
    fitted = cases[cases["split"] != "test"]
    if fitted["y_true"].nunique() < num_classes:
        raise TrainingError("size-only model: a class has no case outside the test part")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(size_features(manifest.loc[fitted["volume_uid"]]), fitted["y_true"].to_numpy())
    scores = model.decision_function(size_features(manifest.loc[test["volume_uid"]]))
    logits = np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores
    columns = {f"logit_{c}": logits[:, c] for c in range(num_classes)}
    frame = test[["volume_uid", "patient_key", "split", "y_true"]].reset_index(drop=True)
    return frame.assign(**columns)
