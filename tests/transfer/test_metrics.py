"""Metrics against scikit-learn and against loops written out."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy.special import softmax
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    roc_auc_score,
)

from medssl.errors import MedsslError
from medssl.transfer.classification_metrics import auc_macro, auprc_macro, bacc, brier, ece
from medssl.transfer.metrics import FAMILIES, all_metrics, kind_of, metric_names, metric_value
from medssl.transfer.segmentation_metrics import dice_by_case
from medssl.transfer.task_config import PRIMARY_METRIC, TaskConfig, is_selection_metric


def classified(num_classes: int, cases: int = 80, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(num_classes), rng.integers(0, num_classes, cases - num_classes)]
    logits = rng.normal(size=(cases, num_classes)) + 1.2 * np.eye(num_classes)[y]
    columns = {f"logit_{c}": logits[:, c] for c in range(num_classes)}
    return pd.DataFrame({"volume_uid": [f"{i:03}" for i in range(cases)], "y_true": y, **columns})


def segmented(counts: list[dict[str, int]]) -> pd.DataFrame:
    return pd.DataFrame(counts)


def probabilities(frame: pd.DataFrame) -> np.ndarray:
    return softmax(frame.filter(regex=r"^logit_").to_numpy(), axis=1)


def test_two_classes_agree_with_scikit_learn() -> None:
    frame = classified(2)
    positive = probabilities(frame)[:, 1]
    assert auc_macro(frame) == pytest.approx(roc_auc_score(frame["y_true"], positive), abs=1e-12)
    expected = average_precision_score(frame["y_true"], positive)
    assert auprc_macro(frame) == pytest.approx(expected, abs=1e-12)
    assert brier(frame) == pytest.approx(brier_score_loss(frame["y_true"], positive), abs=1e-12)
    assert bacc(frame) == pytest.approx(
        balanced_accuracy_score(frame["y_true"], positive > 0.5), abs=1e-12
    )


def test_four_classes_agree_with_scikit_learn() -> None:
    frame = classified(4, cases=120)
    p = probabilities(frame)
    expected = roc_auc_score(frame["y_true"], p, multi_class="ovr", average="macro")
    assert auc_macro(frame) == pytest.approx(expected, abs=1e-12)
    truth = np.eye(4)[frame["y_true"]]
    expected = average_precision_score(truth, p, average="macro")
    assert auprc_macro(frame) == pytest.approx(expected, abs=1e-12)
    assert brier(frame) == pytest.approx(((p - truth) ** 2).sum(axis=1).mean(), abs=1e-12)


def test_logits_too_large_for_probabilities_still_rank() -> None:
    frame = pd.DataFrame(
        {"y_true": [0, 0, 1, 1], "logit_0": [0.0] * 4, "logit_1": [900.0, 901.0, 902.0, 903.0]}
    )
    assert auc_macro(frame) == 1.0


def test_ece_agrees_with_a_loop_over_bins() -> None:
    frame = classified(3, cases=97)
    p = probabilities(frame)
    order = np.argsort(p.max(axis=1), kind="stable")
    bounds = np.linspace(0, 97, 16).round().astype(int)
    expected = 0.0
    for start, stop in pairwise(bounds):
        members = order[start:stop]
        accuracy = (p[members].argmax(axis=1) == frame["y_true"].to_numpy()[members]).mean()
        expected += len(members) / 97 * abs(accuracy - p[members].max(axis=1).mean())
    assert ece(frame) == pytest.approx(expected, abs=1e-12)


def test_a_certain_and_right_classifier_is_perfect_and_calibrated() -> None:
    y = np.array([0, 1, 0, 1, 1])
    frame = pd.DataFrame({"y_true": y, "logit_0": -50.0 * y, "logit_1": 50.0 * (y - 1)})
    values = all_metrics(frame)
    assert values["auc_macro"] == values["bacc"] == 1.0
    assert values["brier"] == pytest.approx(0.0)
    assert values["ece"] == pytest.approx(0.0)


def test_areas_are_undefined_where_a_class_has_no_case() -> None:
    frame = classified(3)
    assert np.isnan(auc_macro(frame[frame["y_true"] != 1]))
    assert np.isnan(auprc_macro(frame[frame["y_true"] != 1]))
    positive = classified(2).query("y_true == 1")
    assert np.isnan(auc_macro(positive))
    assert auprc_macro(positive) == pytest.approx(1.0)


def test_average_precision_of_ties_agrees_with_a_loop_over_thresholds() -> None:
    frame = classified(2, seed=3).round(0)
    scores, y = frame["logit_1"] - frame["logit_0"], frame["y_true"]
    recall, expected = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        now = (called & (y == 1)).sum() / (y == 1).sum()
        expected += (now - recall) * (y[called] == 1).mean()
        recall = now
    assert auprc_macro(frame) == pytest.approx(expected, abs=1e-12)


def test_dice_counts_absent_classes_as_stated() -> None:
    frame = segmented(
        [
            {"tp_1": 6, "fp_1": 2, "fn_1": 2, "tp_3": 0, "fp_3": 0, "fn_3": 0},
            {"tp_1": 0, "fp_1": 0, "fn_1": 5, "tp_3": 0, "fp_3": 4, "fn_3": 0},
            {"tp_1": 5, "fp_1": 0, "fn_1": 0, "tp_3": 1, "fp_3": 0, "fn_3": 2},
        ]
    )
    np.testing.assert_allclose(
        dice_by_case(frame), [[0.75, np.nan], [0.0, 0.0], [1.0, 0.5]], equal_nan=True
    )
    assert metric_value("dice/1", frame) == pytest.approx((0.75 + 0 + 1) / 3)
    assert metric_value("dice/3", frame) == pytest.approx(0.25)
    assert metric_value("dice_mean", frame) == pytest.approx(((0.75 + 0 + 1) / 3 + 0.25) / 2)


def test_a_class_in_no_case_leaves_the_mean_to_the_others() -> None:
    frame = segmented([{"tp_1": 1, "fp_1": 0, "fn_1": 0, "tp_2": 0, "fp_2": 0, "fn_2": 0}])
    assert np.isnan(metric_value("dice/2", frame))
    assert metric_value("dice_mean", frame) == 1.0


def test_an_unknown_metric_is_answered_with_those_there_are() -> None:
    with pytest.raises(MedsslError, match=r"dice/2.*auc_macro, auprc_macro, bacc"):
        metric_value("dice/2", classified(2))
    with pytest.raises(MedsslError, match="no case"):
        metric_value("bacc", classified(2).iloc[:0])
    with pytest.raises(MedsslError, match="classification, segmentation"):
        metric_names(pd.DataFrame({"volume_uid": ["a"], "y_true": [1]}))


MEASURED = [
    {"nsd": 0.8, "hd95_mm": 3.0, "lesion_tp": 2, "lesion_fp": 0, "lesion_fn": 1},
    # Neither mask has the class; only the prediction has it; only the reference.
    {"nsd": np.nan, "hd95_mm": np.nan, "lesion_tp": 0, "lesion_fp": 0, "lesion_fn": 0},
    {"nsd": 0.0, "hd95_mm": 90.0, "lesion_tp": 0, "lesion_fp": 3, "lesion_fn": 0},
    {"nsd": 0.0, "hd95_mm": 80.0, "lesion_tp": 0, "lesion_fp": 0, "lesion_fn": 4},
]


def test_surfaces_are_means_and_lesions_are_pooled_over_cases() -> None:
    never = {"nsd": np.nan, "hd95_mm": np.nan, "lesion_tp": 0, "lesion_fp": 0, "lesion_fn": 0}
    rows = [
        {f"{kind}_{c}": 0 for kind in ("tp", "fp", "fn") for c in (1, 2)}
        | {f"{name}_1": value for name, value in row.items()}
        | {f"{name}_2": value for name, value in never.items()}
        for row in MEASURED
    ]
    values = all_metrics(segmented(rows))
    expected = {
        "nsd": (0.8 + 0 + 0) / 3,
        "hd95_mm": (3 + 90 + 80) / 3,
        "lesion_sensitivity": 2 / (2 + 1 + 4),
        "lesion_precision": 2 / (2 + 3),
        "lesion_f1": 2 * 2 / (2 * 2 + 3 + 5),
    }
    for name, value in expected.items():
        assert values[f"{name}/1"] == values[f"{name}_mean"] == pytest.approx(value)
        assert np.isnan(values[f"{name}/2"])
    sensitivity, precision = values["lesion_sensitivity/1"], values["lesion_precision/1"]
    harmonic = 2 * sensitivity * precision / (sensitivity + precision)
    assert values["lesion_f1/1"] == pytest.approx(harmonic)


def test_a_frame_of_counts_alone_has_dice_alone() -> None:
    assert metric_names(segmented([{"tp_2": 1, "fp_2": 0, "fn_2": 0}])) == ["dice_mean", "dice/2"]


def test_every_task_has_a_family_and_a_metric_of_it_to_read_first() -> None:
    tasks = {
        "classification": (classified(2), {"label": "x"}),
        "ordinal": (classified(3).assign(y_rank=0), {"label": "x"}),
        "multilabel": (
            pd.DataFrame({"y_true/a": [0.0, 1.0], "logit/a": [0.1, 0.2]}),
            {"labels": ["a"]},
        ),
        "regression": (
            pd.DataFrame({"y_true": [0.5, 1.0, 2.0], "y_pred": [0.4, 1.2, 1.0]}),
            {"label": "x"},
        ),
        "segmentation": (segmented([{"tp_1": 2, "fp_1": 1, "fn_1": 1}]), {}),
    }
    assert set(tasks) == set(FAMILIES) == set(PRIMARY_METRIC)
    for kind, (frame, settings) in tasks.items():
        assert kind_of(frame) == kind
        assert PRIMARY_METRIC[kind] in metric_names(frame)
        task = TypeAdapter(TaskConfig).validate_python({"name": kind, **settings})
        assert is_selection_metric(task, PRIMARY_METRIC[kind])


def test_a_task_is_configured_without_torch() -> None:
    code = "import sys, medssl.transfer.task_config; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False"
