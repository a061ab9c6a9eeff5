"""Who comes to the sample hospital: names and numbers that nobody may find again downstream."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from medssl.sample.canvas import Point
from medssl.sample.draws import Stream, generator
from medssl.sample.scanners import CT_SCANNERS, MR_SCANNERS, Scanner

INSTITUTION = "Needlework General Hospital"
PHYSICIAN = "Thimble^Doctor"
_SITES = ("north", "south", "east")


@dataclass(frozen=True)
class Patient:
    """One synthetic patient; `number` starts at 0."""

    seed: int
    number: int
    sex: str
    age: int
    site: str
    scale: Point
    head_scale: Point
    contrast: float
    has_lesion: bool
    birth: date
    scanned: date

    @property
    def name(self) -> str:
        return f"Sample^Patient{self.number + 1:03d}"

    @property
    def patient_id(self) -> str:
        return f"SAMPLE-{self.seed}-{self.number + 1:04d}"

    @property
    def accession(self) -> str:
        return f"ACC{self.seed}{self.number + 1:06d}"

    @property
    def ct_scanner(self) -> Scanner:
        return CT_SCANNERS[self.number % len(CT_SCANNERS)]

    @property
    def mr_scanner(self) -> Scanner | None:
        """Every second patient has an MR of the head too."""
        return None if self.number % 2 else MR_SCANNERS[self.number // 2 % len(MR_SCANNERS)]

    @property
    def has_nifti(self) -> bool:
        """The others are in a research folder of abdomens with masks."""
        return self.number % 2 == 1

    @property
    def nifti_name(self) -> str:
        """The name of the abdomen, image and mask alike."""
        return f"abdomen_{self.number + 1:04d}"

    def uid(self, *what: str | int) -> str:
        """A DICOM UID that depends on nothing but seed, patient and `what` (PS3.5 B.2)."""
        text = "|".join(["medssl sample", str(self.seed), str(self.number), *map(str, what)])
        return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}"


def draw_patient(seed: int, number: int) -> Patient:
    """The patient of this number: the same however many others there are.

    Of each two neighbours one has a lesion.
    """
    rng = generator(seed, number, Stream.IDENTITY)
    first_of_pair = bool(generator(seed, number // 2, Stream.ORDER).integers(2))
    sex = "F" if rng.random() < 0.5 else "M"
    age = int(rng.integers(24, 89)) if rng.random() < 0.93 else int(rng.integers(90, 97))
    size = rng.normal(0.98 if sex == "M" else 0.92, 0.035)
    scanned = date(2016, 1, 4) + timedelta(days=int(rng.integers(0, 2500)))
    return Patient(
        seed=seed,
        number=number,
        sex=sex,
        age=age,
        site=_SITES[int(rng.integers(len(_SITES)))],
        scale=_point(size * rng.normal(1, [0.05, 0.06, 0.03])),
        head_scale=_point(0.5 + 0.5 * size + rng.normal(0, [0.02, 0.02, 0.02])),
        contrast=float(rng.choice([0.0, 0.0, 0.6, 1.0])),
        has_lesion=first_of_pair == (number % 2 == 0),
        birth=scanned - timedelta(days=int(age * 365.25) + int(rng.integers(20, 340))),
        scanned=scanned,
    )


def _point(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])


def needles(patients: list[Patient]) -> list[str]:
    """Every text of the archive that identifies somebody: none may appear in what is made of it."""
    found = {INSTITUTION, PHYSICIAN, "Thimble", "Needlework"}
    for patient in patients:
        found |= {patient.name, patient.patient_id, patient.accession}
        found |= {f"{d:%Y%m%d}" for d in (patient.birth, patient.scanned)}
        found |= {patient.uid("study", kind) for kind in ("CT", "MR")}
        found |= {patient.uid("series", kind) for kind in ("CT", "MR")}
    return sorted(found)
