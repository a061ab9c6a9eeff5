"""The labelled volumes of a store, and which part of the split each is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from medssl.errors import ConfigError, StoreError, TrainingError
from medssl.store import Store
from medssl.store.splits import split_patients
from medssl.transfer.config import ClassificationTask, SegmentationTask, SplitConfig

PARTS = ("train", "val", "test")
_MOST_INFERRED_CLASSES = 20


@dataclass(frozen=True)
class LabelledCases:
    """Labelled volumes of a task.

    Attributes:
        frame: volume_uid, patient_key, y_true (number of the class; 0 in segmentation), by
            volume_uid.
        classes: names of the classes; in segmentation the foreground values of the mask.
        unlabelled: how many of the store's volumes have no such label.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    unlabelled: int


def labelled_cases(store: Store, task: ClassificationTask | SegmentationTask) -> LabelledCases:
    """All volumes that carry the task's label; the others are counted.

    Raises:
        StoreError: the store has no such label.
        ConfigError: its values are no classes.
    """
    if isinstance(task, ClassificationTask):
        labels = _known(store.class_labels(task.label), store)
        classes = task.classes or _inferred_classes(task.label, labels)
        labels = labels[labels.isin(classes)]
        y_true = labels.map({name: number for number, name in enumerate(classes)}).astype("int64")
    else:
        values = _known(_mask_values(store, task.mask), store)
        classes = tuple(str(c) for c in task.classes or _inferred_mask_classes(task.mask, values))
        y_true = pd.Series(0, index=values.index, dtype="int64")
    rows = store.manifest.loc[sorted(y_true.index)]
    frame = pd.DataFrame(
        {
            "volume_uid": rows["volume_uid"].to_numpy(),
            "patient_key": rows["patient_key"].to_numpy(),
            "y_true": y_true.loc[rows.index].to_numpy(),
        }
    )
    if frame.empty:
        raise ConfigError(f"no volume of the store has one of the classes {', '.join(classes)}")
    return LabelledCases(frame, classes, len(store.manifest) - len(frame))


def split_cases(
    store: Store, task: ClassificationTask | SegmentationTask, split: SplitConfig
) -> tuple[LabelledCases, pd.DataFrame, int]:
    """The labelled cases, their frame with the column `split`, and how many cases have no part.

    By fractions, patients are dealt as `medssl.store.splits.split_patients` does, test first, so
    that a pretraining's holdout of the same fraction, seed and label is this test part. In
    classification patients are stratified by class; in segmentation all patients of the store are
    dealt, labelled or not.

    Raises:
        StoreError, ConfigError: as `labelled_cases`; or the split is not there.
        TrainingError: a patient is in two parts, or a part is empty.
    """
    cases = labelled_cases(store, task)
    if split.source == "cases":
        given = store.split_labels()
        if given.empty:
            raise StoreError(
                "the store has no split; ingest with a split column in --cases, or set "
                "split.source=fractions"
            )
        parts = cases.frame["volume_uid"].map(given)
    else:
        shares = {"test": split.test, "val": split.val, "train": 1 - split.test - split.val}
        everybody = store.manifest[["patient_key"]]
        stratify = None
        if isinstance(task, ClassificationTask):
            labels = _known(store.class_labels(task.label), store)
            everybody = everybody.loc[sorted(labels.index)].assign(label=labels)
            stratify = "label"
        dealt = split_patients(everybody, shares, split.seed, stratify)
        parts = cases.frame["volume_uid"].map(dealt)
    frame = cases.frame.assign(split=parts)
    frame = frame[frame["split"].isin(PARTS)].reset_index(drop=True)
    check_parts(frame)
    return cases, frame, len(cases.frame) - len(frame)


def check_parts(frame: pd.DataFrame) -> None:
    """No patient in two parts, and somebody in training and test.

    Raises:
        TrainingError: otherwise; patients are counted, not named.
    """
    unknown = set(frame["split"]) - set(PARTS)
    if unknown:
        raise TrainingError(f"unknown parts of the split: {', '.join(sorted(unknown))}")
    parts_of = frame.groupby("patient_key")["split"].agg(lambda s: " and ".join(sorted(set(s))))
    shared = parts_of[parts_of.str.contains(" and ")]
    if len(shared):
        raise TrainingError(
            f"{len(shared)} patients are in more than one part of the split ("
            f"{'; '.join(sorted(set(shared)))}); give all volumes of a patient the same split in "
            "--cases, or set split.source=fractions"
        )
    empty = [part for part in ("train", "test") if part not in set(frame["split"])]
    if empty:
        raise TrainingError(f"no labelled case in the part {' and '.join(empty)} of the split")


def check_classes(frame: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Every class has a case to train on.

    Raises:
        TrainingError: one has none.
    """
    there = set(frame.loc[frame["split"] == "train", "y_true"])
    absent = [name for number, name in enumerate(classes) if number not in there]
    if absent:
        raise TrainingError(
            f"no training case of class {', '.join(absent)}; label more cases, change split.seed, "
            "or leave the class out of task.classes"
        )


def describe_parts(frame: pd.DataFrame) -> dict[str, Mapping[str, int]]:
    """Cases and patients of each part."""
    return {
        part: {"cases": len(rows), "patients": int(rows["patient_key"].nunique())}
        for part in PARTS
        for rows in [frame[frame["split"] == part]]
    }


def _known(labels: pd.Series[str], store: Store) -> pd.Series[str]:
    """Labels of volumes that the store holds; a mask may be there without its image."""
    return labels[labels.index.isin(store.manifest.index)]


def _mask_values(store: Store, name: str) -> pd.Series[str]:
    masks = store.labels[store.labels["kind"] == "mask"]
    rows = masks[masks["name"] == name]
    if rows.empty:
        there = ", ".join(sorted(masks["name"].unique())) or "none"
        raise StoreError(f"the store has no mask {name}; there are: {there}")
    return rows.set_index("volume_uid")["value"]


def _inferred_classes(label: str, labels: pd.Series[str]) -> tuple[str, ...]:
    values = [str(value) for value in labels.unique()]
    if not 2 <= len(values) <= _MOST_INFERRED_CLASSES:
        raise ConfigError(
            f"label {label} has {len(values)} different values; a classifier needs 2 to "
            f"{_MOST_INFERRED_CLASSES}, or name them in task.classes"
        )
    numeric = all(value.lstrip("-").isdigit() for value in values)
    return tuple(sorted(values, key=int if numeric else str))


def _inferred_mask_classes(mask: str, values: pd.Series[str]) -> list[int]:
    there = {int(value) for listed in values for value in str(listed).split(",") if value.strip()}
    foreground = sorted(value for value in there if value > 0)
    if not foreground:
        raise ConfigError(f"the store's masks named {mask} are empty; there is nothing to learn")
    return foreground
