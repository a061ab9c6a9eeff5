"""What `medssl ingest` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medssl.config import Config
from medssl.volume import Modality


class IngestConfig(Config):
    """One run of `medssl ingest`: where from, where to, and what the files cannot say."""

    archive: Path = Field(description="Folder of scans, searched to its last subfolder.")
    store: Path = Field(description="Folder of the store: made, or grown where it is there.")
    cases: Path | None = Field(
        default=None,
        description="CSV or TSV that says what files cannot: which file, series or patient a row "
        "is for, then patient, site, modality, units, sex, age, split, and classes.",
    )
    linkage: Path | None = Field(
        default=None,
        description="Parquet file, outside the store, that maps keys back to sources and patients. "
        "It identifies patients: keep it as you keep the archive.",
    )
    key_file: Path | None = Field(
        default=None,
        description="Secret key; else $MEDSSL_KEY_FILE, else ~/.config/medssl/key.",
    )
    unpack: Path | None = Field(
        default=None,
        description="Scratch folder: zip, tar and gzip files of the archive are unpacked into it "
        "and read from there. Made if missing, for its owner alone: it identifies patients. Delete "
        "it after the run, or keep it to save the unpacking next time.",
    )
    modality: Modality | None = Field(
        default=None,
        description="Modality of NIfTI files, which do not state one; a row of cases goes first.",
    )
    site: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]{0,32}$",
        description="Short name of the site; patients of two sites never share a key.",
    )
    use_issuer: bool = Field(
        default=False,
        description="Let the issuer of a PatientID count. Only where it is always filled in: an "
        "issuer that comes and goes splits a patient in two.",
    )
    structures: dict[str, Annotated[int, Field(ge=1, le=255)]] = Field(
        default_factory=dict,
        description="Names of DICOM segments and ROIs to classes 1 to 255, as shell patterns "
        "whatever the case (`gtv*: 1`). Where two classes meet, the later entry has the voxel; a "
        "name that fits none is left out. The names are never written to the store.",
    )
    workers: int | None = Field(
        default=None, ge=1, description="Reading processes; else one a core, four at most."
    )
    scheduler: str | None = Field(
        default=None,
        pattern=r"^[a-z]+://",
        description="Address of a Dask scheduler (tls://host:8786): its workers read the scans. "
        "Archive and store must lie on a file system that all of them share; the secret key "
        "travels to them.",
    )
    max_voxels: int = Field(
        default=2**30,
        ge=1,
        description="A file or a volume whose header asks for more is not decoded.",
    )
    irregular_spacing: Literal["quarantine", "resample"] = Field(
        default="quarantine",
        description="DICOM slices at unequal steps along one line: set aside, or resampled from "
        "their true positions to their median step (SPACING_RESAMPLED), never across a gap that "
        "has room for a missing slice.",
    )
    max_memory_gb: float = Field(
        default=8.0, gt=0, description="Memory that one reading process may take for one series."
    )
    time_limit_s: float = Field(
        default=900.0, gt=0, description="Time that one series may take, then its process is ended."
    )

    @model_validator(mode="after")
    def _one_way_to_read(self) -> IngestConfig:
        if self.scheduler is not None and self.workers is not None:
            raise ValueError("workers has no effect with scheduler; leave one of them out")
        return self
