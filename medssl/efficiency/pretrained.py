"""What the arms ssl_* start from, and the record of what that encoder saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.pretraining_course import PretrainingCourse, read_course
from medssl.errors import StudyError

SCHEMA = "medssl.pretraining/1"


@dataclass(frozen=True)
class Pretrained:
    """An encoder on disk.

    Attributes:
        weights: the safetensors file.
        sha256: of its bytes.
        metadata: what it says of itself.
        volumes: one row for each volume that it saw; None where nothing says so.
        instances: their source files, likewise.
        course: the run that made it; None for a file alone.
    """

    weights: Path
    sha256: str
    metadata: dict[str, str]
    volumes: pd.DataFrame | None
    instances: pd.DataFrame | None
    course: PretrainingCourse | None = None

    @property
    def as_plan(self) -> dict[str, Any]:
        """The entry `encoder` of an arm in plan.json."""
        told = {
            name: self.metadata.get(name, "")
            for name in ("method", "step", "store_key_id", "config_sha256")
        }
        return {
            "weights_sha256": self.sha256,
            **told,
            "volumes": 0 if self.volumes is None else len(self.volumes),
        }

    @property
    def as_record(self) -> dict[str, Any]:
        """The content of pretraining.json; null where the run does not say."""
        step = self.metadata.get("step", "")
        course = self.course
        return {
            "schema": SCHEMA,
            "method": self.metadata.get("method") or None,
            "steps": int(step) if step.isdigit() else None,
            "seconds": None if course is None else course.seconds,
            "peak_memory_bytes": None if course is None else course.peak_memory_bytes,
            "kwh": None if course is None else course.kwh,
            "alarms": [] if course is None else course.alarms,
            "health": [] if course is None else course.health,
        }


def read_pretrained(encoder: Path) -> Pretrained:
    """Read a pretraining run, or a safetensors file.

    Raises:
        CheckpointError: there are no weights.
        StudyError: the run's record of its volumes is damaged.
    """
    from medssl.models.weights import read_metadata
    from medssl.transfer.initial import weights_file

    weights = weights_file(encoder)
    folder = weights.parent.parent
    record, files = folder / "volumes.parquet", folder / "instances.parquet"
    volumes = instances = None
    if record.is_file() and files.is_file():
        try:
            volumes, instances = pd.read_parquet(record), pd.read_parquet(files)
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{folder}: volumes.parquet or instances.parquet is damaged; run the pretraining "
                "again in another folder"
            ) from error
    course = read_course(folder)
    return Pretrained(
        weights, sha256_file(weights), read_metadata(weights), volumes, instances, course
    )


def refuse_leak(pretrained: Pretrained, cases: pd.DataFrame, key_id: str) -> None:
    """Pretraining must not have seen a test patient.

    Where the record is missing or of another key patients cannot be compared: see `open_question`.

    Raises:
        StudyError: it has, by patient or by the hash of a scan's values.
    """
    seen = pretrained.volumes
    if seen is None:
        return
    test = cases[cases["role"] == "test"]
    scans = set(test["pixel_sha256"]) & set(seen["pixel_sha256"])
    patients = (
        set(test["patient_key"]) & set(seen["patient_key"])
        if pretrained.metadata.get("store_key_id") == key_id
        else set()
    )
    if patients or scans:
        raise StudyError(
            f"the encoder saw {len(patients)} patients and {len(scans)} scans of the test set; "
            "pretrain again with `holdout` set to the study's `test` (same fraction, seed and "
            "label)"
        )


def open_question(pretrained: Pretrained, key_id: str) -> str | None:
    """Why it cannot be told whether pretraining saw a test patient; None where it can."""
    consequence = "an audit of this study cannot conclude (L2)"
    if pretrained.volumes is None:
        return f"the encoder has no record of the volumes that it saw: {consequence}"
    theirs = pretrained.metadata.get("store_key_id", "")
    if theirs != key_id:
        return (
            f"the encoder's patients were coded under key {theirs or '(not named)'}, the store's "
            f"under {key_id}: {consequence}; pretrain on a store of the same key"
        )
    return None
