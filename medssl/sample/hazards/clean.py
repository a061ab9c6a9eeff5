"""A clean series of CT, MR or PET slices, to be damaged before it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from medssl.sample.dicom import add_identity, decimals
from medssl.sample.hazards.place import Place
from medssl.volume import Affine, Array

ORIGIN = (-20.0, -30.0, 100.0)  # LPS mm, of the first pixel of the first slice
STEP_MM, ROW_MM, COLUMN_MM = 3.0, 1.5, 1.25  # from slice to slice, row to row, column to column
SHAPE = (10, 24, 20)
INTERCEPT = -1024
_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}
_TO_RAS = np.diag([-1.0, -1.0, 1.0])

Vector = Sequence[float]


class Clean:
    """A series that is read exactly as long as nothing is done to it.

    Attributes:
        values: (slices, rows, columns), the true numbers.
        slices: one data set a slice, ascending to the head.
        affine: of the true volume, RAS mm.
    """

    def __init__(
        self,
        place: Place,
        modality: str = "CT",
        part: str = "",
        shape: tuple[int, int, int] = SHAPE,
        origin: Vector = ORIGIN,
    ) -> None:
        """`part` tells the series of one folder apart: their voxels and their instance UIDs."""
        self.place, self.modality, self.part = place, modality, part
        self.values = lump(place, part, shape, low=-1000 if modality == "CT" else 0)
        self.slices = [self._slice(k) for k in range(shape[0])]
        self.affine = self.lie(origin)

    def _slice(self, k: int) -> Dataset:
        ds, place = Dataset(), self.place
        ds.SOPClassUID = _CLASSES[self.modality]
        ds.SOPInstanceUID = place.uid("instance", self.part, k)
        add_identity(ds, place.patient, self.modality)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = place.uid("study"), place.uid("series")
        ds.FrameOfReferenceUID = place.uid("frame")
        ds.Modality, ds.Manufacturer = self.modality, "Sample Scanners"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SeriesNumber, ds.InstanceNumber = 2, k + 1
        ds.SliceThickness = "3"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        intercept = INTERCEPT if self.modality == "CT" else 0
        if self.modality == "CT":
            ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(INTERCEPT), "1", "HU"
        if self.modality == "PT":
            ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
        set_pixels(ds, (self.values[k] - intercept).astype("<u2"))
        return ds

    @property
    def stored(self) -> Array:
        """(slices, rows, columns), what the pixels hold at first."""
        intercept = INTERCEPT if self.modality == "CT" else 0
        return np.asarray((self.values - intercept).astype("<u2"))

    def set(self, **elements: Any) -> Clean:
        """Give every slice the same value of some elements; None takes an element away."""
        for ds in self.slices:
            for keyword, value in elements.items():
                if value is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, value)
        return self

    def each(self, change: Callable[[int, Dataset], None]) -> Clean:
        """Change slice by slice."""
        for k, ds in enumerate(self.slices):
            change(k, ds)
        return self

    def store(self, stored: Array, **elements: Any) -> Clean:
        """Other pixels, (slices, rows, columns), and what has to be said of them."""
        self.set(**elements)
        return self.each(lambda k, ds: set_pixels(ds, stored[k]))

    def lie(
        self,
        origin: Vector = ORIGIN,
        along_row: Vector = (1, 0, 0),
        along_column: Vector = (0, 1, 0),
        step: Vector = (0, 0, STEP_MM),
    ) -> Affine:
        """Place the slices; all in LPS, unit cosines and mm. Returns the affine, also kept."""
        row, column = np.asarray(along_row, float), np.asarray(along_column, float)
        for k, ds in enumerate(self.slices):
            ds.ImagePositionPatient = decimals(np.asarray(origin) + k * np.asarray(step, float))
            ds.ImageOrientationPatient = decimals([*row, *column])
            ds.PixelSpacing = decimals([ROW_MM, COLUMN_MM])
        affine = np.eye(4)
        affine[:3] = _TO_RAS @ np.column_stack([step, column * ROW_MM, row * COLUMN_MM, origin])
        self.affine = affine
        return affine

    def write(
        self,
        syntax: str = ExplicitVRLittleEndian,
        folder: str = "",
        name: str = "IM{:04d}",
    ) -> list[Path]:
        """One file a slice, numbered from 1."""
        where = self.place.folder / folder
        paths = [where / name.format(k + 1) for k in range(len(self.slices))]
        for ds, path in zip(self.slices, paths, strict=True):
            write_file(path, ds, syntax)
        return paths

    def expect(self, values: Array | None = None) -> Clean:
        """Write the truth: these values, or those of the clean series, where the slices lie."""
        self.place.truth(self.values if values is None else values, self.affine)
        return self


def write_clean(place: Place, modality: str = "CT", part: str = "") -> list[Path]:
    """A clean series and its truth."""
    return Clean(place, modality, part).expect().write()


def lump(place: Place, part: str, shape: tuple[int, int, int], low: int = 0) -> Array:
    """Whole numbers from `low` up, int32: a ball that is nowhere symmetric, under noise."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    away = sum((axis - shift) ** 2 for axis, shift in zip(grid, (0.2, -0.3, 0.1), strict=True))
    noise = place.random(part).normal(0, 30, shape)
    values = low + 100 + 2200 * np.exp(-3 * np.asarray(away)) + noise
    return np.asarray(np.clip(np.rint(values), low, low + 3000), np.int32)


def set_pixels(ds: Dataset, stored: Array) -> None:
    """Native pixels of one frame or of several, and the size that goes with them."""
    ds.Rows, ds.Columns = stored.shape[-2:]
    data = np.ascontiguousarray(stored).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"


def write_file(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> None:
    """One DICOM file with preamble and meta header; native pixels take the file's byte order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    native = ds.get("PixelData")
    if syntax == ExplicitVRBigEndian and native is not None:
        ds.PixelData = np.frombuffer(native, "<u2").byteswap().tobytes()
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    if syntax == ExplicitVRBigEndian and native is not None:
        ds.PixelData = native
