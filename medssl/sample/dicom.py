"""Writing a series of CT or MR slices as DICOM files (PS3.3 A.3 and A.4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from medssl.sample.canvas import Grid
from medssl.sample.patients import INSTITUTION, PHYSICIAN, Patient
from medssl.sample.scanners import Scanner
from medssl.volume import Affine, Array

ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """What is to be written: values (slice, row, column), their grid, and what to call them."""

    patient: Patient
    scanner: Scanner
    grid: Grid
    values: Array
    kind: str
    number: int
    description: str
    image_type: tuple[str, ...]

    @property
    def uid(self) -> str:
        return self.patient.uid("series", self.kind)


def write_series(series: Series, paths: list[Path], skip: frozenset[int] = frozenset()) -> None:
    """Write slice k to paths[k], but for the slices in `skip`."""
    shared = shared_attributes(series)
    for k, path in enumerate(paths):
        if k not in skip:
            write_slice(series, shared, k, path)


def write_slice(series: Series, shared: Dataset, k: int, path: Path) -> None:
    """Write one slice: the shared attributes, its own, and its pixels."""
    scanner = series.scanner
    ds = Dataset()
    ds.update(shared)
    ds.SOPInstanceUID = series.patient.uid("instance", series.kind, k)
    ds.InstanceNumber = len(series.values) - k if scanner.backwards else k + 1
    ds.ImagePositionPatient = decimals(_LPS @ position(series.grid.affine, k))
    if scanner.plane == "axial":
        ds.SliceLocation = f"{position(series.grid.affine, k)[2]:.3f}"
    frame = stored_slice(series, k)
    syntax = scanner.transfer_syntax
    ds.PixelData = frame.tobytes()
    ds["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    if scanner.bare:
        ds.save_as(path, implicit_vr=True, little_endian=True)
        return
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.ImplementationClassUID = UID("2.25.80302813137786398554742050926734630921")
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax in ENCODERS:
        ds.compress(syntax, frame, encoding_plugin=ENCODERS[syntax], generate_instance_uid=False)
    ds.save_as(
        path,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=True,
        enforce_file_format=True,
    )


def stored_slice(series: Series, k: int) -> Array:
    """What the pixels of slice k hold: values less the rescale intercept."""
    kind = np.int16 if series.scanner.signed else np.uint16
    stored = series.values[k].astype(np.int32) - series.scanner.intercept
    return np.ascontiguousarray(stored.astype(kind))


def position(affine: Affine, k: int) -> Array:
    """Centre of the first pixel of slice k, mm in RAS."""
    return np.asarray(affine[:3, 3] + k * affine[:3, 0])


def shared_attributes(series: Series) -> Dataset:
    """The attributes that all slices of a series have in common."""
    patient, scanner = series.patient, series.scanner
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage if scanner.modality == "CT" else MRImageStorage
    ds.ImageType = list(series.image_type)
    add_identity(ds, patient, scanner.modality)
    ds.Modality = scanner.modality
    ds.Manufacturer = scanner.manufacturer
    ds.ManufacturerModelName = scanner.model
    ds.SeriesInstanceUID = series.uid
    ds.SeriesNumber = series.number
    ds.SeriesDescription = series.description
    ds.FrameOfReferenceUID = patient.uid("frame", scanner.modality)
    ds.PatientPosition = "HFS"
    ds.BodyPartExamined = "CHEST" if scanner.modality == "CT" else "HEAD"
    ds.SliceThickness = decimal(scanner.thickness_mm)
    affine = series.grid.affine
    columns, rows = affine[:3, 2] / scanner.pixel_mm, affine[:3, 1] / scanner.pixel_mm
    ds.ImageOrientationPatient = decimals([*(_LPS @ columns), *(_LPS @ rows)])
    ds.PixelSpacing = decimals([scanner.pixel_mm, scanner.pixel_mm])
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = series.values.shape[1:]
    ds.BitsAllocated, ds.PixelRepresentation = 16, int(scanner.signed)
    if scanner.modality == "CT":
        ds.BitsStored, ds.HighBit = 16, 15
        ds.KVP = "120"
        ds.GantryDetectorTilt = decimal(scanner.tilt_deg)
        ds.RescaleIntercept, ds.RescaleSlope = str(scanner.intercept), "1"
        ds.RescaleType = "HU"
    else:
        ds.BitsStored, ds.HighBit = 12, 11
        ds.MagneticFieldStrength = decimal(scanner.field_strength_t or 1.5)
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
        ds.MRAcquisitionType = "3D"
        ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = "9.2", "3.1", "9"
    return ds


def add_identity(ds: Dataset, patient: Patient, modality: str) -> None:
    """Who, where and when: all of it invented, none of it may reach a store."""
    day = f"{patient.scanned:%Y%m%d}"
    ds.PatientName, ds.PatientID = patient.name, patient.patient_id
    ds.PatientBirthDate = f"{patient.birth:%Y%m%d}"
    ds.PatientSex, ds.PatientAge = patient.sex, f"{patient.age:03d}Y"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber = patient.accession
    ds.StudyID = str(patient.number + 1)
    ds.StudyInstanceUID = patient.uid("study", modality)
    ds.InstitutionName, ds.ReferringPhysicianName = INSTITUTION, PHYSICIAN


def decimal(value: float) -> str:
    """A decimal string (VR DS): at most 16 characters."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def decimals(values: object) -> list[str]:
    return [decimal(float(v)) for v in np.asarray(values).ravel()]
