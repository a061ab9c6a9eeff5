"""Small series and NIfTI files, made on the spot, for a run without the real scans."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

_CT, _MR_ENHANCED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4.1"
_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
}
_SHAPE = (12, 10)


def write_made_series(folder: Path) -> dict[str, list[Path]]:
    """One CT of four slices in each encoding, and an enhanced MR of four frames."""
    series = {
        name: _classic(folder / name, syntax, f"1.2.3.200.{n}")
        for n, (name, syntax) in enumerate(_SYNTAXES.items())
    }
    return {**series, "enhanced": [_enhanced(folder / "enhanced")]}


def _pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, _SHAPE).astype(np.int16)


def _image(sop_class: str, pixels: bytes, instance: str) -> Dataset:
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"1.2.3.{instance}"
    ds.Modality, ds.PatientID = "CT", "P1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.100", "1.2.3.200"
    ds.FrameOfReferenceUID = "1.2.3.300"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = _SHAPE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = pixels
    return ds


def _classic(folder: Path, syntax: pydicom.uid.UID, series: str) -> list[Path]:
    paths = []
    for n in range(4):
        ds = _image(_CT, _pixels(n).tobytes(), f"1.{n + 1}")
        ds.SeriesInstanceUID, ds.SOPInstanceUID = series, f"{series}.{n + 1}"
        ds.InstanceNumber = n + 1
        ds.ImagePositionPatient = [-20.0, -30.0, 100.0 + 2.5 * n]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1.5, 1.0], 7.0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -24, "HU"
        paths.append(_write(folder / f"{n + 1}.dcm", ds, syntax))
    return paths


def _enhanced(folder: Path) -> Path:
    ds = _image(_MR_ENHANCED, b"".join(_pixels(n).tobytes() for n in range(4)), "2.1")
    ds.NumberOfFrames = 4
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [1.5, 1.0]
    shared.PixelValueTransformationSequence = [Dataset()]
    transform = shared.PixelValueTransformationSequence[0]
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 2, 5, "US"
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for n in range(4):
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [-20.0, -30.0, 100.0 + 2.5 * n]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    return _write(folder / "1.dcm", ds, ExplicitVRLittleEndian)


def _write(path: Path, ds: Dataset, syntax: pydicom.uid.UID) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = syntax if not syntax.is_encapsulated else ExplicitVRLittleEndian
    file = FileDataset(str(path), ds, file_meta=meta, preamble=b"\0" * 128)
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax == ExplicitVRBigEndian:
        values = np.frombuffer(ds.PixelData, "<i2").astype(">i2")
        file.PixelData = values.tobytes()
    if syntax.is_encapsulated:
        file.compress(syntax, generate_instance_uid=False)
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path


def made_niftis() -> dict[str, bytes]:
    """Whole files by a name with its ending: both versions, both byte orders, four dimensions."""
    rng = np.random.default_rng(3)
    affine = np.array([[-2.0, 0.1, 0, 30], [0.1, 1.5, 0, -20], [0, 0, 3, 10], [0, 0, 0, 1]])
    short = rng.integers(-500, 500, (5, 6, 4)).astype(np.int16)
    scaled = nib.Nifti1Image(short, affine)
    scaled.set_qform(affine, 1)
    scaled.header.set_slope_inter(0.5, 10)
    floats = nib.Nifti1Image(rng.normal(0, 9, (4, 5, 3, 2)).astype(np.float32), affine)
    big = nib.Nifti1Image(short.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
    two = nib.Nifti2Image(short.astype(np.int32), affine)
    return {
        "scaled.nii": scaled.to_bytes(),
        "four.nii.gz": gzip.compress(floats.to_bytes(), 1),
        "big.nii": big.to_bytes(),
        "two.nii": two.to_bytes(),
    }


def cropped_nifti(path: Path, shape: tuple[int, int, int] = (6, 5, 7)) -> bytes:
    """A real header over few voxels of its own type, uncompressed."""
    packed = path.read_bytes()
    data = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(1 << 16)
    header = nib.Nifti1Header(data[:348], check=False)
    offset, dtype = int(header["vox_offset"]), header.get_data_dtype()
    header["dim"][:5] = 3, *shape, 1
    count = int(np.prod(shape)) * dtype.itemsize
    body = data[offset : offset + count]
    rng = np.random.default_rng(1)
    if dtype.kind in "iu":
        body = rng.integers(0, 100, shape).astype(dtype).tobytes()
    return header.binaryblock + data[348:offset] + body.ljust(count, b"\1")
