"""The labelled cases of a study, and the patients that its sealed test set holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medssl.efficiency.config import StudyConfig
from medssl.engine.population import held_out_patients
from medssl.errors import StudyError
from medssl.store import Store
from medssl.transfer.cases import labelled_cases

CASE_COLUMNS = (
    "volume_uid",
    "patient_key",
    "series_key",
    "study_key",
    "group_quality",
    "site",
    "modality",
    "manufacturer",
    "sex",
    "age_band",
    "pixel_sha256",
    "perceptual_hash",
)


@dataclass(frozen=True)
class StudyCases:
    """The table cases.parquet with what belongs to it.

    Attributes:
        frame: CASE_COLUMNS, file_sha256, label, y_true, role; by volume_uid.
        instances: volume_uid, instance_key, file_sha256 of their source files.
        classes: names of the classes, in the order of logits; foreground values of a mask.
        exclusions: what the store holds and the study leaves out, with numbers.
    """

    frame: pd.DataFrame
    instances: pd.DataFrame
    classes: tuple[str, ...]
    exclusions: list[dict[str, Any]]


def study_cases(store: Store, config: StudyConfig) -> StudyCases:
    """Every labelled volume of the store, each patient wholly in test or in development.

    Raises:
        StoreError, ConfigError: the store has no such label.
        StudyError: there is no test set, nobody is left for development, or the data set's owners
            put one patient on both sides.
    """
    labelled = labelled_cases(store, config.fit.task)
    uids = labelled.frame["volume_uid"]
    rows = store.manifest.loc[uids, list(CASE_COLUMNS)].reset_index(drop=True)
    # Text that a manifest leaves open is empty here, so that it hashes the same everywhere.
    frame = rows.astype(object).where(rows.notna(), "").astype(str)
    instances = store.instances[store.instances["volume_uid"].isin(uids)]
    instances = instances.sort_values(["volume_uid", "instance_key"], ignore_index=True)
    frame["file_sha256"] = frame["volume_uid"].map(_file_hashes(instances)).fillna("")
    frame["label"] = _label_texts(store, config, labelled.frame, labelled.classes)
    frame["y_true"] = labelled.frame["y_true"].to_numpy("int64")
    test = _test_patients(store, config, frame)
    frame["role"] = ["test" if p in test else "dev" for p in frame["patient_key"]]
    _refuse_one_sided(frame, config)
    used = set(uids)
    unused = store.manifest[~store.manifest["volume_uid"].isin(used)]
    exclusions = [
        {
            "reason": "the store has no label of the task's classes for them",
            "cases": len(unused),
            "patients": int(unused["patient_key"].nunique()),
        }
    ]
    return StudyCases(frame, instances, labelled.classes, exclusions if len(unused) else [])


def _label_texts(
    store: Store, config: StudyConfig, labelled: pd.DataFrame, classes: tuple[str, ...]
) -> list[str]:
    """The class of each case, or the foreground values of its mask that the task tells apart."""
    task = config.fit.task
    if task.name == "classification":
        return [classes[y] for y in labelled["y_true"]]
    assert task.name == "segmentation", "StudyConfig refuses other tasks"
    masks = store.labels[(store.labels["kind"] == "mask") & (store.labels["name"] == task.mask)]
    values = masks.set_index("volume_uid")["value"]
    texts = []
    for uid in labelled["volume_uid"]:
        there = {value.strip() for value in str(values[uid]).split(",")}
        texts.append(",".join(c for c in classes if c in there))
    return texts


def _test_patients(store: Store, config: StudyConfig, frame: pd.DataFrame) -> set[str]:
    if config.test is not None:
        return held_out_patients(store, config.test)
    named = frame["volume_uid"].map(store.split_labels()).fillna("")
    test = set(frame.loc[named == "test", "patient_key"])
    both = test & set(frame.loc[named != "test", "patient_key"])
    if both:
        raise StudyError(
            f"{len(both)} patients have volumes in the split test and others that are not; "
            "give all volumes of a patient one split in --cases, or set test.fraction"
        )
    return test


def _refuse_one_sided(frame: pd.DataFrame, config: StudyConfig) -> None:
    for role, what in (("test", "no test patient"), ("dev", "no patient for development")):
        if not (frame["role"] == role).any():
            remedy = (
                "set test.fraction, or name the split test in --cases when ingesting"
                if config.test is None
                else "change test.fraction"
            )
            raise StudyError(f"{what} among {len(frame)} labelled cases; {remedy}")


def _file_hashes(instances: pd.DataFrame) -> dict[str, str]:
    """The hash of a volume's file; of several files, the hash of their sorted hashes."""
    hashes = {}
    for uid, of_volume in instances.groupby("volume_uid")["file_sha256"]:
        files = sorted(of_volume)
        joined = "\n".join(files).encode()
        hashes[str(uid)] = files[0] if len(files) == 1 else hashlib.sha256(joined).hexdigest()
    return hashes
