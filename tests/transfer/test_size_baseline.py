"""The size-only model on made-up manifests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.errors import TrainingError
from medssl.transfer.classification_metrics import auc_macro
from medssl.transfer.size_baseline import size_features, size_only_predictions


def row(
    uid: str, edges: tuple[int, int, int], spacing: tuple[float, float, float], voxels: int
) -> dict[str, Any]:
    affine = np.diag([*spacing, 1.0])
    columns: dict[str, Any] = {"volume_uid": uid, "foreground_voxels": voxels}
    columns |= {f"affine_{r}{c}": affine[r, c] for r in range(3) for c in range(4)}
    for axis, edge in enumerate(edges):
        columns |= {f"foreground_{axis}_start": 2, f"foreground_{axis}_stop": 2 + edge}
    return columns


def manifest_of(sizes: np.ndarray) -> pd.DataFrame:
    rows = [
        row(f"v{i:03}", (int(s), int(s), int(s)), (1.0, 1.0, 1.0), int(s**3 / 2))
        for i, s in enumerate(sizes)
    ]
    return pd.DataFrame(rows).set_index("volume_uid", drop=False)


def cases_of(y: np.ndarray, test_from: int) -> pd.DataFrame:
    split = np.where(np.arange(len(y)) < test_from, "train", "test")
    uids = [f"v{i:03}" for i in range(len(y))]
    return pd.DataFrame({"volume_uid": uids, "patient_key": uids, "split": split, "y_true": y})


def test_features_are_millimetres_along_right_front_and_top() -> None:
    stored = row("a", (10, 20, 30), (0.5, 1.0, 2.0), 600)
    np.testing.assert_allclose(
        np.exp(size_features(pd.DataFrame([stored]))), [[600.0, 5.0, 20.0, 60.0]]
    )
    # The same scan with its axes stored in another order, one of them running backwards.
    turned = dict(stored)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -2.0, 0.5, 1.0, 1.0
    turned |= {f"affine_{r}{c}": affine[r, c] for r in range(3) for c in range(4)}
    for axis, edge in enumerate((30, 10, 20)):
        turned[f"foreground_{axis}_stop"] = 2 + edge
    np.testing.assert_allclose(
        size_features(pd.DataFrame([turned])), size_features(pd.DataFrame([stored]))
    )


def test_where_size_decides_size_alone_predicts() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.uniform(4, 30, 80).round()
    y = (sizes > 15).astype(int)
    predictions = size_only_predictions(manifest_of(sizes), cases_of(y, 60), 2)
    assert len(predictions) == 20
    assert (predictions["split"] == "test").all()
    assert auc_macro(predictions) == 1.0


def test_where_size_says_nothing_neither_does_the_model() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.uniform(4, 30, 400).round()
    predictions = size_only_predictions(
        manifest_of(sizes), cases_of(rng.integers(0, 2, 400), 200), 2
    )
    assert 0.35 < auc_macro(predictions) < 0.65


def test_three_classes_have_three_logits() -> None:
    sizes = np.tile([5.0, 12.0, 25.0], 20) + np.random.default_rng(2).uniform(0, 2, 60).round()
    predictions = size_only_predictions(manifest_of(sizes), cases_of(np.tile([0, 1, 2], 20), 45), 3)
    assert auc_macro(predictions) > 0.95


def test_a_class_without_training_cases_is_an_error() -> None:
    y = np.array([0, 0, 0, 1])
    with pytest.raises(TrainingError, match="class"):
        size_only_predictions(manifest_of(np.array([4.0, 5, 6, 7])), cases_of(y, 3), 2)
