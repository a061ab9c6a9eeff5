"""A small synthetic series that a test damages before it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medssl.archive.dicom import group_by_series, read_header, read_series
from medssl.archive.scan import Judged

SOP_CLASS = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}


class SyntheticSeries:
    """`slices` data sets of one axial series, 2 mm apart, with known `voxels`; change, then judge.

    Attributes:
        slices: one data set a slice, from the feet up.
        voxels: (slices, rows, columns) int16, what was stored.
    """

    def __init__(self, folder: Path, modality: str = "CT", num: int = 8) -> None:
        self.folder = folder
        self.voxels = (
            np.random.default_rng(5).integers(-1000, 1000, size=(num, 12, 10)).astype(np.int16)
        )
        study, series, frame = (generate_uid(entropy_srcs=[str(folder), x]) for x in "abc")
        self.slices = [
            self._slice(modality, i, study, series, frame, self.voxels[i]) for i in range(num)
        ]

    def _slice(
        self, modality: str, i: int, study: str, series: str, frame: str, pixels: np.ndarray
    ) -> Dataset:
        ds = Dataset()
        ds.SOPClassUID = SOP_CLASS[modality]
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(i)])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality = modality
        ds.PatientID = "P1"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.InstanceNumber = i + 1
        ds.ImagePositionPatient = [-20.0, -30.0, 100.0 + 2.0 * i]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [1.5, 1.0]
        ds.SliceThickness = 7.0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -24
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = 1
        ds.PixelData = pixels.tobytes()
        return ds

    def set(self, **values: object) -> SyntheticSeries:
        """Give every slice the same value of some elements."""
        for ds in self.slices:
            for keyword, value in values.items():
                setattr(ds, keyword, value)
        return self

    def write(self, transfer_syntax: str = ExplicitVRLittleEndian) -> list[Path]:
        """One file a slice, in an order that has nothing to do with space."""
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for i, ds in enumerate(self.slices):
            path = self.folder / f"{(i * 5) % 97:03d}_{i}"
            write_file(path, ds, transfer_syntax)
            paths.append(path)
        return paths

    def judge(self) -> list[Judged]:
        """Write what is not yet written, and read it all."""
        if not self.folder.is_dir() or not any(self.folder.iterdir()):
            self.write()
        return judge_folder(self.folder)


def write_file(path: Path, ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    file = FileDataset(str(path), ds, file_meta=meta, preamble=b"\0" * 128)
    pydicom.dcmwrite(path, file, enforce_file_format=True)


def judge_folder(folder: Path) -> list[Judged]:
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    return [j for group in group_by_series(headers) for j in read_series(group)]


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[..., SyntheticSeries]:
    """`make_series(modality="CT", num=8)`: a series under the test's own folder."""
    made = iter(range(100))

    def make(modality: str = "CT", num: int = 8) -> SyntheticSeries:
        return SyntheticSeries(tmp_path / f"series{next(made)}", modality, num)

    return make
