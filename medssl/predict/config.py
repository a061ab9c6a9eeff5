"""Configuration of prediction."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from medssl.config import Config
from medssl.volume import Modality


class PredictConfig(Config):
    """Which model predicts what, and where the results go."""

    run: Path = Field(description="Folder of a finished fine-tuning run.")
    input: Path = Field(
        description="Folder of DICOM and NIfTI, unsorted; one such file; or a store."
    )
    out: Path = Field(
        description="Folder of the results, made if missing; the same one takes up where it was. "
        "Segmentations in DICOM name the patient: keep it as you keep the scans."
    )
    modality: Modality | None = Field(
        None, description="Modality of NIfTI files, which do not state one."
    )
    cases: Path | None = Field(
        None,
        description="CSV that says what files cannot, as for ingest; modality and units decide "
        "how a NIfTI is normalised.",
    )
