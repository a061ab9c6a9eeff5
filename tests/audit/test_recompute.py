"""The audit's metrics against naive loops and against those of the study."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from medssl.audit.recompute import test_metrics as recompute_metrics
from medssl.audit.records import TaskRecord
from medssl.transfer.metrics import all_metrics


def _classification(classes: int, n: int, seed: int) -> pd.DataFrame:
    rng = np.random.Generator(np.random.Philox(seed))
    frame = pd.DataFrame({"split": "test", "y_true": rng.integers(0, classes, n)})
    for k in range(classes):
        # Rounded, so that there are ties.
        frame[f"logit_{k}"] = (rng.normal(size=n) + (frame["y_true"] == k)).round(1)
    return frame


def _task(kind: str, classes: list[str]) -> TaskRecord:
    return TaskRecord.model_validate({"kind": kind, "label": "any", "classes": classes})


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("n", [9, 40, 101])
def test_agrees_with_the_metrics_of_the_study(classes: int, n: int) -> None:
    frame = _classification(classes, n, seed=n + classes)
    found = recompute_metrics(_task("classification", [str(k) for k in range(classes)]), frame)
    assert found == pytest.approx(all_metrics(frame), abs=1e-12, nan_ok=True)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    frame = _classification(2, 40, seed=3)
    score = frame["logit_1"] - frame["logit_0"]
    won = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in score[frame["y_true"] == 1]
        for b in score[frame["y_true"] == 0]
    ]
    found = recompute_metrics(_task("classification", ["0", "1"]), frame)["auc_macro"]
    assert found == pytest.approx(sum(won) / len(won), abs=1e-12)


def test_only_the_test_part_counts() -> None:
    frame = _classification(2, 60, seed=4)
    validation = _classification(2, 30, seed=5).assign(split="val")
    task = _task("classification", ["0", "1"])
    both = pd.concat([validation, frame], ignore_index=True)
    assert recompute_metrics(task, both) == recompute_metrics(task, frame)


def test_one_class_alone_has_no_auc() -> None:
    frame = _classification(2, 10, seed=6).assign(y_true=1)
    found = recompute_metrics(_task("classification", ["0", "1"]), frame)
    assert math.isnan(found["auc_macro"])


def test_dice_leaves_out_what_neither_mask_has() -> None:
    frame = pd.DataFrame(
        {
            "split": ["test", "test", "test", "val"],
            "tp_1": [4, 0, 0, 9],
            "fp_1": [2, 0, 3, 0],
            "fn_1": [2, 0, 0, 0],
            "tp_2": [1, 1, 1, 0],
            "fp_2": [0, 0, 0, 9],
            "fn_2": [0, 2, 0, 9],
        }
    )
    found = recompute_metrics(_task("segmentation", ["1", "2"]), frame)
    assert found["dice/1"] == pytest.approx((8 / 12 + 0) / 2)
    assert found["dice/2"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["dice_mean"] == pytest.approx((found["dice/1"] + found["dice/2"]) / 2)
    assert found == pytest.approx(all_metrics(frame[frame["split"] == "test"]), abs=1e-12)


def test_surfaces_and_lesions_agree_with_the_metrics_of_the_study() -> None:
    rng = np.random.Generator(np.random.Philox(7))
    frame = pd.DataFrame({"split": ["test"] * 20})
    for c in ("1", "3"):
        for kind in ("tp", "fp", "fn", "lesion_tp", "lesion_fp", "lesion_fn"):
            frame[f"{kind}_{c}"] = rng.integers(0, 4, 20)
        frame[f"nsd_{c}"] = np.where(rng.random(20) < 0.3, np.nan, rng.random(20))
        frame[f"hd95_mm_{c}"] = np.where(frame[f"nsd_{c}"].isna(), np.nan, 50 * rng.random(20))
    found = recompute_metrics(_task("segmentation", ["1", "3"]), frame)
    assert len(found) == 6 * 3
    assert found == pytest.approx(all_metrics(frame), abs=1e-12)


def test_average_precision_of_one_class_alone() -> None:
    frame = _classification(3, 30, seed=8)
    task = _task("classification", ["0", "1", "2"])
    absent = recompute_metrics(task, frame[frame["y_true"] != 2])
    assert math.isnan(absent["auprc_macro"])
    assert not math.isnan(recompute_metrics(task, frame)["auprc_macro"])
