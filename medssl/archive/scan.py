"""What the readers of DICOM and NIfTI hand to the ingest stage.

`Source` holds what identifies a patient; it stays in memory, goes into keyed hashes (and into the
linkage file where one was asked for), and is written nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medssl.archive.reasons import Reason
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Array, Modality, Units


@dataclass(frozen=True)
class Source:
    """Where a scan comes from, in the archive's own identifying terms.

    Attributes:
        files: the files that it was read from.
        patient: (PatientID, IssuerOfPatientID); None where the format has no patient (NIfTI).
        study: StudyInstanceUID, or empty.
        series: SeriesInstanceUID, or the archive-relative path of a NIfTI.
        part: which part of the series this is, where it was split ("echo=2", "time=3"), else empty.
        instances: SOPInstanceUIDs, or empty.
        sha256: of each of the files, or empty where they were not read whole.
    """

    files: tuple[Path, ...]
    patient: tuple[str, str] | None
    study: str
    series: str
    part: str = ""
    instances: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """The few typed facts of a header that may go into the store."""

    contrast: str = ""
    body_part: str = ""
    manufacturer: str = ""
    model: str = ""
    field_strength_t: float = float("nan")
    sex: str = ""
    age_years: float = float("nan")


@dataclass(frozen=True)
class Scan:
    """One volume, judged and decoded, ready for the store.

    `stored` is (D, H, W) integers, or float32 where nothing smaller is exact; value =
    stored * slope + intercept by `rescale`. `corrections` empty means EXACT.

    Attributes:
        notes: what is to be known of a volume that is taken as it is.
        detail: numbers on the corrections, never PHI.
        masked_voxels: how many were NaN or infinite.
        padding: lowest and highest stored number that are padding and no measurement.
        private_slope: of a vendor's private scaling that was not applied.
        study_date: DICOM DA, or empty; enters the store only as an offset within the patient.
    """

    source: Source
    stored: Array
    rescale: Rescale
    affine: Affine
    modality: Modality
    units: Units
    source_format: str
    corrections: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
    facts: Facts = field(default_factory=Facts)
    detail: str = ""
    masked_voxels: int = 0
    padding: tuple[float, float] | None = None
    private_slope: float = float("nan")
    study_date: str = ""


@dataclass(frozen=True)
class Rejection:
    """A file, series or label that was not taken; `detail` holds numbers and enums, never PHI."""

    source: Source
    kind: str
    reason: Reason
    detail: str = ""


Judged = Scan | Rejection
