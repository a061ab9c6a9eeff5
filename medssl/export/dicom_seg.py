"""Predicted masks as a DICOM Segmentation object (PS3.3 A.51), by highdicom.

A segmentation belongs to the patient and the study of its scan and names both, as the standard
asks. It lies in the scan's frame of reference; where each slice is a file of its own, on exactly
the planes of these files.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

import medssl
from medssl.errors import GeometryError, MedsslError
from medssl.volume import Affine, Array

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_SAME_PLACE = 0.5  # of a slice's distance to the next: more is another slice
_TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_CHECKED = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")  # by highdicom
_LONGEST_SH = 16


@dataclass(frozen=True)
class Algorithm:
    """What made the segmentation: PS3.3 C.8.20.2, Segmentation Algorithm Identification."""

    name: str
    weights_sha256: str


def write_segmentation(
    path: Path,
    sources: Sequence[Path],
    mask: Array,
    affine: Affine,
    labels: Mapping[int, str],
    algorithm: Algorithm,
) -> None:
    """Write one binary segment for each value of `labels`; frames without a voxel are left out.

    Args:
        sources: the files of the scan, in any order.
        mask: (slices, rows, columns) with values of `labels`, 0 being none of them.
        affine: (slice, row, column) to RAS millimetres.
        labels: SegmentLabel of each value, at most 64 characters.

    Raises:
        GeometryError: the mask does not lie on the slices of the files.
        MedsslError: the files lack what a segmentation needs; the message holds no value of theirs.
    """
    import highdicom as hd

    headers: list[Dataset] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom and highdicom quote values they warn of
            headers += [_header(source) for source in sources]
            placed, place = _placed(headers, mask, affine)
            _to_utf8(placed[0])  # which patient and study are copied from
            segmentation = hd.seg.Segmentation(
                source_images=placed,
                pixel_array=_numbers(mask, labels),
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=_segments(labels, algorithm),
                series_instance_uid=hd.UID(),
                series_number=_series_number(headers[0]),
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="medssl",
                manufacturer_model_name="medssl",
                software_versions=medssl.__version__,
                device_serial_number="none",
                content_label="PREDICTION",
                content_description="Predicted by a neural network",
                series_description="Predicted segmentation",
                **place,
            )
            _save(path, segmentation)
    except (MedsslError, OSError):
        raise
    except Exception as error:
        raise MedsslError(f"the files allow no DICOM SEG: {_cause(error, headers)}") from error


def _header(path: Path) -> Dataset:
    """All of a file but its pixels, fit to be copied from.

    What must be there, be it empty, is; a number that is too long for its place (PS3.5 6.2, SH), as
    scans have them that break the standard themselves, becomes empty.
    """
    ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    for name in _TYPE_2:
        if name not in ds:
            setattr(ds, name, "" if name != "PatientName" else None)
    for name in ("AccessionNumber", "StudyID"):
        if len(str(ds[name].value or "")) > _LONGEST_SH:
            setattr(ds, name, "")
    return ds


def _to_utf8(header: Dataset) -> None:
    """Read its text now, so that it is written in UTF-8, which holds every script.

    highdicom knows only some of the other character sets. What cannot be read cannot be copied
    either, and goes.
    """
    for tag in list(header.keys()):
        try:
            element = header[tag]
            for item in element.value if element.VR == "SQ" else ():
                item.decode()
        except Exception:
            del header[tag]
    header.SpecificCharacterSet = "ISO_IR 192"


def _cause(error: Exception, headers: Sequence[Dataset]) -> str:
    """What is wrong, by the names of attributes: other libraries quote the values."""
    name = error.name if isinstance(error, AttributeError) else None
    if name and tag_for_keyword(name) is not None:
        return f"{name} is missing or cannot be read"
    for header in headers:
        if "FrameOfReferenceUID" not in header:
            return "FrameOfReferenceUID is missing"
        for name in _CHECKED:
            if not _is_valid(header[name]):
                return f"{name} is no valid {header[name].VR} (PS3.5 6.2)"
    calls = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    modules = [(str(call.f_globals.get("__name__")), call.f_lineno) for call in calls]
    module, line = [x for x in modules if x[0].startswith(("medssl.", "highdicom."))][-1]
    return f"{type(error).__name__} in {module}, line {line}"


def _is_valid(element: DataElement) -> bool:
    try:
        validate_value(element.VR, element.value, config.RAISE)
    except ValueError:
        return False
    return True


def _placed(
    headers: list[Dataset], mask: Array, affine: Affine
) -> tuple[list[Dataset], dict[str, Any]]:
    """The files, and the planes of the mask where these are not simply those of the files."""
    first = headers[0]
    single = all(int(ds.get("NumberOfFrames", 1) or 1) == 1 for ds in headers)
    same_plane = (first.Rows, first.Columns) == mask.shape[1:]
    if not (single and same_plane and len(headers) == len(mask)):
        planes = _planes(mask, affine)
        return (headers if single else [_with_planes(first, planes)]), planes
    to_lps = _RAS_TO_LPS @ affine[:3]
    normal = np.cross(to_lps[:, 2], to_lps[:, 1])  # row direction x column direction
    positions = [np.asarray(ds.ImagePositionPatient, dtype=np.float64) for ds in headers]
    order = sorted(range(len(headers)), key=lambda i: float(positions[i] @ normal))
    expected = to_lps[:, 3] + np.outer(np.arange(len(mask)), to_lps[:, 0])
    found = np.array([positions[i] for i in order])
    apart = np.linalg.norm(found - expected, axis=1).max()
    if apart > _SAME_PLACE * np.linalg.norm(to_lps[:, 0]):
        raise GeometryError(f"the mask lies {apart:.2f} mm off the slices of its files")
    return [headers[i] for i in order], {}


def _with_planes(header: Dataset, planes: dict[str, Any]) -> Dataset:
    """A header of many frames that states spacing and orientation once, where highdicom looks.

    Scanners may state them frame by frame instead; those of the mask's planes are the same ones.
    """
    shared = header.SharedFunctionalGroupsSequence[0]
    if "PixelMeasuresSequence" not in shared:
        shared.PixelMeasuresSequence = planes["pixel_measures"]
    if "PlaneOrientationSequence" not in shared:
        shared.PlaneOrientationSequence = planes["plane_orientation"]
    return header


def _planes(mask: Array, affine: Affine) -> dict[str, Any]:
    """The mask's own planes, for sources with many frames, mosaics, and resampled stacks."""
    import highdicom as hd

    to_lps = _RAS_TO_LPS @ affine[:3]
    steps = np.linalg.norm(to_lps[:, :3], axis=0)
    row, column = to_lps[:, 2] / steps[2], to_lps[:, 1] / steps[1]
    across = abs(float(np.cross(row, column) @ to_lps[:, 0]))
    return {
        "plane_positions": [
            hd.PlanePositionSequence(
                coordinate_system=hd.CoordinateSystemNames.PATIENT,
                image_position=(to_lps[:, 3] + k * to_lps[:, 0]).tolist(),
            )
            for k in range(len(mask))
        ],
        "plane_orientation": hd.PlaneOrientationSequence(
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            image_orientation=[*row.tolist(), *column.tolist()],
        ),
        "pixel_measures": hd.PixelMeasuresSequence(
            pixel_spacing=[float(steps[1]), float(steps[2])],
            slice_thickness=across,
            spacing_between_slices=across,
        ),
    }


def _numbers(mask: Array, labels: Mapping[int, str]) -> Array:
    """Segments are numbered from 1, without gaps."""
    if list(labels) == list(range(1, len(labels) + 1)):
        return mask
    table = np.zeros(max(*labels, int(mask.max(initial=0))) + 1, dtype=mask.dtype)
    for number, value in enumerate(labels, start=1):
        table[value] = number
    return np.asarray(table[mask])


def _segments(labels: Mapping[int, str], algorithm: Algorithm) -> list[Any]:
    """What is segmented is the user's to say: the codes say no more than tissue."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    made_by = hd.AlgorithmIdentificationSequence(
        name=algorithm.name,
        version=medssl.__version__,
        family=codes.DCM.ArtificialIntelligence,
        parameters={"weights_sha256": algorithm.weights_sha256},
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, label in enumerate(labels.values(), start=1)
    ]


def _series_number(source: Dataset) -> int:
    """A number of its own beside the scan's."""
    return int(source.get("SeriesNumber") or 0) % 10_000 * 100 + 50


def _save(path: Path, segmentation: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{path.name}")
    try:
        segmentation.save_as(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
