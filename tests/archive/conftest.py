"""Small archives, made on the spot."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medssl.archive.identity import make_key_file

WriteNifti = Callable[..., Path]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "key"
    make_key_file(path)
    return path


@pytest.fixture
def scan_values() -> Callable[..., np.ndarray[Any, Any]]:
    """Values that look like a scan: smooth, with noise, every seed another one."""

    def make(seed: int = 0, shape: tuple[int, ...] = (12, 14, 10)) -> np.ndarray[Any, Any]:
        rng = np.random.Generator(np.random.Philox(seed))
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:3]), indexing="ij"))
        ball = np.exp(-3 * (grid**2).sum(axis=0))
        values = 900 * ball + rng.normal(0, 40, shape[:3])
        if len(shape) == 4:
            values = values[..., None] * (1 + np.arange(shape[3]))
        return np.asarray(np.clip(values, 0, 2000), dtype=np.int16)

    return make


@pytest.fixture
def write_nifti() -> WriteNifti:
    """Write a NIfTI-1 file byte for byte; header fields by keyword, never repaired."""

    def write(
        path: Path,
        values: np.ndarray[Any, Any],
        affine: np.ndarray[Any, Any] | None = None,
        extra: bytes = b"",
        **fields: Any,
    ) -> Path:
        place = np.diag([2.0, 1.5, 3.0, 1.0]) if affine is None else affine
        image = nib.Nifti1Image(values, place, dtype=values.dtype)
        content = bytearray(image.to_bytes())
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock
        data = bytes(content) + extra
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
        return path

    return write


@pytest.fixture
def write_structure_set() -> Callable[..., Path]:
    """Write an RTSTRUCT: contours of each ROI, (N, 3) LPS mm, drawn on some image data sets."""

    def write(
        path: Path,
        images: Sequence[Dataset],
        rois: Mapping[str, Sequence[Any]],
        kind: str = "CLOSED_PLANAR",
        series: Sequence[str] | None = None,
        instances: Sequence[str] = (),
        **elements: Any,
    ) -> Path:
        first = images[0]
        ds = Dataset()
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(path), *rois])
        ds.StudyInstanceUID, ds.SeriesInstanceUID = first.StudyInstanceUID, generate_uid()
        ds.PatientID, ds.Modality = first.PatientID, "RTSTRUCT"
        ds.FrameOfReferenceUID = first.FrameOfReferenceUID
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        study = Dataset()
        study.RTReferencedSeriesSequence = [
            _item(SeriesInstanceUID=uid)
            for uid in ([first.SeriesInstanceUID] if series is None else series)
        ]
        frame = _item(FrameOfReferenceUID=ds.FrameOfReferenceUID, RTReferencedStudySequence=[study])
        ds.ReferencedFrameOfReferenceSequence = [frame]
        ds.StructureSetROISequence = [
            _item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=ds.FrameOfReferenceUID)
            for n, name in enumerate(rois, 1)
        ]
        images_of = [_item(ReferencedSOPInstanceUID=uid) for uid in instances]
        ds.ROIContourSequence = []
        for n, contours in enumerate(rois.values(), 1):
            drawn = [
                _item(
                    ContourGeometricType=kind,
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{x:.6f}"[:16] for x in np.ravel(points)],
                    **({"ContourImageSequence": images_of} if instances else {}),
                )
                for points in contours
            ]
            ds.ROIContourSequence.append(_item(ReferencedROINumber=n, ContourSequence=drawn))
        return _write_dicom(path, ds)

    return write


@pytest.fixture
def write_segmentation() -> Callable[..., Path]:
    """Write a DICOM SEG by highdicom: a mask (D, H, W) a segment, on the grid of the images."""

    def write(
        path: Path,
        images: Sequence[Dataset],
        segments: Mapping[str, np.ndarray[Any, Any]],
        kind: str = "BINARY",
        change: Callable[[Dataset], None] = lambda ds: None,
        **options: Any,
    ) -> Path:
        import highdicom as hd

        sources = [_complete(image) for image in images]
        described = [
            hd.seg.SegmentDescription(
                segment_number=n,
                segment_label=name,
                segmented_property_category=hd.sr.CodedConcept("91723000", "SCT", "Structure"),
                segmented_property_type=hd.sr.CodedConcept("4147007", "SCT", "Mass"),
                algorithm_type="MANUAL",
            )
            for n, name in enumerate(segments, 1)
        ]
        seg = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=np.stack(list(segments.values()), axis=-1),
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(entropy_srcs=[str(path), *segments]),
            instance_number=1,
            manufacturer="maker",
            manufacturer_model_name="model",
            software_versions="1",
            device_serial_number="1",
            **options,
        )
        change(seg)
        path.parent.mkdir(parents=True, exist_ok=True)
        seg.save_as(path)
        return path

    return write


def _complete(image: Dataset) -> Dataset:
    """A data set that has all that highdicom copies from its source."""
    whole = Dataset()
    whole.update(image)
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(whole, keyword, getattr(image, keyword, ""))
    for keyword in ("StudyDate", "StudyTime", "ReferringPhysicianName", "SeriesNumber"):
        setattr(whole, keyword, getattr(image, keyword, None))
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return whole


def _item(**elements: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def _write_dicom(path: Path, ds: Dataset) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path
