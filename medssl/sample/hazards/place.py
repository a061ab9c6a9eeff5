"""Where a hazard is written: its folder, its made-up patient, and the truth beside the archive."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np

from medssl.sample.patients import Patient, draw_patient
from medssl.volume import Affine, Array


@dataclass(frozen=True)
class Place:
    """The folder of one hazard.

    Attributes:
        out: the folder that holds archive/, truth/ and late/.
        name: of the hazard; it seeds everything that is drawn.
    """

    out: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.out / "archive" / self.name

    @property
    def late(self) -> Path:
        """For files that come into the folder after the first run."""
        return self.out / "late" / self.name

    @cached_property
    def patient(self) -> Patient:
        """A patient of this hazard's own."""
        return draw_patient(0, 1000 + zlib.crc32(self.name.encode()) % 900_000)

    def uid(self, *what: str | int) -> str:
        """A DICOM UID that depends on nothing but the hazard's name and `what`."""
        return self.patient.uid(self.name, *what)

    def random(self, what: str = "") -> np.random.Generator:
        key = np.array([zlib.crc32(self.name.encode()), zlib.crc32(what.encode())], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

    def put(self, relative: str, content: bytes) -> Path:
        """Write a file into the folder."""
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def truth(self, values: Array, affine: Affine) -> None:
        """The true values (D, H, W) of one more volume that must be taken, and its place."""
        self._save(np.asarray(values, np.float32), affine, "volume")

    def true_mask(self, classes: Array, affine: Affine) -> None:
        """The true classes of one more mask."""
        self._save(np.asarray(classes, np.uint8), affine, "mask")

    def _save(self, voxels: Array, affine: Affine, kind: str) -> None:
        folder = self.out / "truth" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in folder.glob(f"{kind}_*.nii.gz")) + 1
        image = nib.Nifti1Image(np.ascontiguousarray(voxels), affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{kind}_{number}.nii.gz")
