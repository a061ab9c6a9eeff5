"""The labelled volumes of a store, and which part of the split each is in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError, StoreError, TrainingError
from medssl.store import Store
from medssl.store.splits import split_patients
from medssl.transfer.channels import Channels, match_channels, volumes_of_cases
from medssl.transfer.config import SplitConfig
from medssl.transfer.targets import known_labels, targets_of
from medssl.transfer.task_config import ClassificationTask, OrdinalTask, TaskConfig

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class LabelledCases:
    """Labelled volumes of a task.

    Attributes:
        frame: volume_uid, patient_key and the columns of `targets.Targets`, by volume_uid.
        classes: as `targets.Targets` has them.
        unlabelled: how many of the store's volumes have no such label; where channels are named,
            of those of the first.
        told: what a case is made of and what is left out for it; empty where it is one volume.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    unlabelled: int
    told: tuple[str, ...] = ()


def labelled_cases(
    store: Store, task: TaskConfig, channels: Channels | None = None
) -> LabelledCases:
    """All volumes that carry the task's label; the others are counted.

    Where channels are named, the volumes of the first whose patient has the others too.

    Raises:
        StoreError: the store has no such label.
        ConfigError: its values do not suit the task; or no case has a series of every channel.
    """
    targets = targets_of(store, task)
    rows = store.manifest.loc[sorted(targets.frame.index), ["volume_uid", "patient_key"]]
    frame = rows.join(targets.frame).reset_index(drop=True)
    if frame.empty:
        raise ConfigError(
            f"no volume of the store has one of the classes {', '.join(targets.classes)}"
        )
    if channels is None:
        return LabelledCases(frame, targets.classes, len(store.manifest) - len(frame))
    match = match_channels(store, frame["volume_uid"].tolist(), channels)
    if not match.volumes:
        raise ConfigError("; ".join(["no case has all channels", *match.lines()]))
    kept = frame[frame["volume_uid"].isin([uids[0] for uids in match.volumes])]
    unlabelled = match.in_store - (len(frame) - match.other_series)
    return LabelledCases(
        kept.reset_index(drop=True), targets.classes, unlabelled, tuple(match.lines())
    )


def split_cases(
    store: Store, task: TaskConfig, split: SplitConfig, channels: Channels | None = None
) -> tuple[LabelledCases, pd.DataFrame, int]:
    """The labelled cases, their frame with the column `split`, and how many cases have no part.

    By fractions, patients are dealt as `medssl.store.splits.split_patients` does, test first, so
    that a pretraining's holdout of the same fraction, seed and label is this test part. Where the
    task has one class for each volume, patients are stratified by it; otherwise all patients of
    the store are dealt, labelled or not.

    Raises:
        StoreError, ConfigError: as `labelled_cases`; or the split is not there.
        TrainingError: a patient is in two parts, or a part is empty.
    """
    cases = labelled_cases(store, task, channels)
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
        if isinstance(task, ClassificationTask | OrdinalTask):
            labels = known_labels(store, task.label)
            everybody = everybody.loc[sorted(labels.index)].assign(label=labels)
            stratify = "label"
        dealt = split_patients(everybody, shares, split.seed, stratify)
        parts = cases.frame["volume_uid"].map(dealt)
    frame = cases.frame.assign(split=parts)
    frame = frame[frame["split"].isin(PARTS)].reset_index(drop=True)
    check_parts(frame)
    return cases, frame, len(cases.frame) - len(frame)


def keep_cases(run: RunFolder, cases: pd.DataFrame) -> None:
    """Note who is in which part before anything is trained, or compare it with what was noted.

    A store that grew deals patients anew: who trained before the stop could test after it.

    Raises:
        ConfigError: the run was begun with other cases, parts or labels.
    """
    digest = hashlib.sha256(cases.to_csv(index=False).encode()).hexdigest()
    if run.recall("cases_sha256") not in (None, digest):
        raise ConfigError(
            f"{run.path} was begun with other cases, parts or labels than the store gives now: "
            "volumes or labels were added, changed or taken away; choose another --out"
        )
    run.remember("cases_sha256", digest)


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


def copies_on_both_sides(store: Store, cases: pd.DataFrame, channels: Channels | None) -> int:
    """How many scans of the test part have the very values of one that trains or validates.

    Args:
        cases: volume_uid, patient_key, split; where it has the column `fold`, of every fold.
    """
    folds = [fold for _, fold in cases.groupby("fold")] if "fold" in cases else [cases]
    pixels = store.columns("pixel_sha256")["pixel_sha256"].astype(str)
    found = 0
    for fold in folds:
        volumes = volumes_of_cases(store, fold, channels)
        tests = (volumes["split"] == "test").to_numpy()
        values = pixels.loc[volumes["volume_uid"]].to_numpy()
        found += int(np.isin(values[tests], values[~tests]).sum())
    return found


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
