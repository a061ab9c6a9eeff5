"""Who is labelled and who is in which part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.errors import ConfigError, StoreError, TrainingError
from medssl.store import open_store
from medssl.store.splits import split_patients
from medssl.store.writer import write_part
from medssl.transfer.cases import (
    check_classes,
    check_parts,
    copies_on_both_sides,
    labelled_cases,
    split_cases,
)
from medssl.transfer.config import SplitConfig
from medssl.transfer.task_config import ClassificationTask, SegmentationTask

from .conftest import ball_scan, write_scans


def test_unlabelled_volumes_are_left_out_and_counted(ball_store: Path) -> None:
    cases = labelled_cases(open_store(ball_store), ClassificationTask(label="size"))
    assert cases.classes == ("large", "small")
    assert len(cases.frame) == 24
    assert cases.unlabelled == 2
    assert cases.frame["y_true"].value_counts().to_dict() == {0: 12, 1: 12}


def test_classes_keep_the_order_that_is_given(ball_store: Path) -> None:
    task = ClassificationTask(label="size", classes=("small", "large"))
    cases = labelled_cases(open_store(ball_store), task)
    first = cases.frame.set_index("volume_uid").loc[f"{0:032x}", "y_true"]
    assert cases.classes[first] == "small"


def test_numeric_classes_are_in_numeric_order(tmp_path: Path) -> None:
    volume, _, _ = ball_scan(0)
    values = ["10", "2", "1", "10"]
    labels = [
        {"volume_uid": f"{i:032x}", "patient_key": f"p{i}", "name": "grade", "kind": "class",
         "value": value}
        for i, value in enumerate(values)
    ]  # fmt: skip
    write_scans(tmp_path / "s", [(volume, np.zeros(0), f"p{i}") for i in range(4)], labels)
    cases = labelled_cases(open_store(tmp_path / "s"), ClassificationTask(label="grade"))
    assert cases.classes == ("1", "2", "10")


def test_mask_values_are_the_classes_of_a_segmentation(ball_store: Path) -> None:
    cases = labelled_cases(open_store(ball_store), SegmentationTask())
    assert cases.classes == ("1",)
    assert (cases.frame["y_true"] == 0).all()
    with pytest.raises(StoreError, match="there are: mask"):
        labelled_cases(open_store(ball_store), SegmentationTask(mask="liver"))


def test_a_label_with_one_value_is_no_class(tmp_path: Path) -> None:
    volume, mask, _ = ball_scan(0)
    labels = [{"volume_uid": f"{0:032x}", "patient_key": "p", "name": "x", "kind": "class",
               "value": "1"}]  # fmt: skip
    write_scans(tmp_path / "s", [(volume, mask, "p")], labels)
    with pytest.raises(ConfigError, match="1 different values"):
        labelled_cases(open_store(tmp_path / "s"), ClassificationTask(label="x"))


def test_fractions_part_patients_and_agree_with_a_holdout(ball_store: Path) -> None:
    store = open_store(ball_store)
    split = SplitConfig(test=0.25, val=0.15, seed=3)
    for task in (ClassificationTask(label="size"), SegmentationTask()):
        _, frame, without = split_cases(store, task, split)
        assert without == 0
        assert set(frame["split"]) == {"train", "val", "test"}
        assert (frame.groupby("patient_key")["split"].nunique() == 1).all()
    # What PretrainConfig.holdout sets apart under the same label, fraction and seed.
    _, frame, _ = split_cases(store, ClassificationTask(label="size"), split)
    labels = store.class_labels("size")
    everybody = store.manifest[["patient_key"]]
    everybody = everybody.loc[everybody.index.isin(labels.index)].assign(label=labels)
    held = split_patients(everybody, {"holdout": 0.25, "rest": 0.75}, 3, stratify="label")
    expected = set(everybody.loc[held == "holdout", "patient_key"])
    assert set(frame.loc[frame["split"] == "test", "patient_key"]) == expected


def test_a_patient_in_two_given_parts_is_refused(tmp_path: Path) -> None:
    volume, mask, _ = ball_scan(0)
    root = tmp_path / "s"
    write_scans(root, [(volume, mask, p) for p in ("a", "a", "b")], [])
    parts = ["train", "test", "test"]
    rows = [
        {"volume_uid": f"{i:032x}", "patient_key": "ab"[i // 2], "name": "split", "kind": "split",
         "value": part}
        for i, part in enumerate(parts)
    ]  # fmt: skip
    write_part(root, "labels", "00001", rows)
    with pytest.raises(TrainingError, match=r"1 patients.*test and train"):
        split_cases(open_store(root), SegmentationTask(), SplitConfig(source="cases"))


def test_given_parts_are_taken_and_the_rest_counted(tmp_path: Path) -> None:
    volume, mask, _ = ball_scan(0)
    root = tmp_path / "s"
    write_scans(root, [(volume, mask, p) for p in "abcd"], [])
    rows = [
        {"volume_uid": f"{i:032x}", "patient_key": "abcd"[i], "name": "split", "kind": "split",
         "value": part}
        for i, part in enumerate(["train", "test", "elsewhere"])
    ]  # fmt: skip
    write_part(root, "labels", "00001", rows)
    _, frame, without = split_cases(
        open_store(root), SegmentationTask(), SplitConfig(source="cases")
    )
    assert frame["split"].tolist() == ["train", "test"]
    assert without == 2


def test_a_store_without_a_split_says_how_to_get_one(ball_store: Path) -> None:
    with pytest.raises(StoreError, match="split column"):
        split_cases(open_store(ball_store), SegmentationTask(), SplitConfig(source="cases"))


def test_empty_parts_and_untrained_classes_are_refused() -> None:
    frame = pd.DataFrame({"patient_key": ["a", "b"], "split": ["train", "train"], "y_true": [0, 0]})
    with pytest.raises(TrainingError, match="part test"):
        check_parts(frame)
    with pytest.raises(TrainingError, match="class large"):
        check_classes(frame, ("small", "large"))


def test_copies_of_tested_scans_among_the_learned_are_counted(tmp_path: Path) -> None:
    scans = [ball_scan(number % 4) for number in range(6)]  # 4 and 5 are 0 and 1 once more
    named = [(volume, mask, f"p{i}") for i, (volume, mask, _) in enumerate(scans)]
    write_scans(tmp_path / "s", named, [])
    store = open_store(tmp_path / "s")
    cases = pd.DataFrame(
        {
            "volume_uid": [f"{i:032x}" for i in range(6)],
            "patient_key": [f"p{i}" for i in range(6)],
            "split": ["train", "test", "val", "test", "test", "test"],
        }
    )
    assert copies_on_both_sides(store, cases, None) == 1  # 4 is 0; 5 and 1 are both tested
    other = cases.assign(split=["test", "train", "test", "test", "train", "val"])
    folds = pd.concat([cases.assign(fold=0), other.assign(fold=1)])
    assert copies_on_both_sides(store, folds, None) == 2
