"""Which series a label object (SEG, RTSTRUCT) was drawn on, so that it is read together with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from medssl.archive.dicom import elements

_STORAGE = "1.2.840.10008.5.1.4.1.1."
STRUCTURE_SET = _STORAGE + "481.3"
SEGMENTATIONS = frozenset({_STORAGE + "66.4", _STORAGE + "66.7"})  # segmentation, label map
LABEL_CLASSES = SEGMENTATIONS | {STRUCTURE_SET}

_REFERENCES: list[BaseTag] = [
    Tag(keyword)
    for keyword in (
        "ReferencedSeriesSequence",
        "StudiesContainingOtherReferencedInstancesSequence",
        "ReferencedFrameOfReferenceSequence",
    )
]
_DRAWINGS: list[BaseTag] = [
    Tag(keyword)
    for keyword in (
        "ROIContourSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    )
]


@dataclass(frozen=True, slots=True)
class LabelReference:
    """SeriesInstanceUIDs that a label object was drawn on: one, or it cannot be placed."""

    series: tuple[str, ...]


def label_reference(path: Path) -> LabelReference:
    """The series that a SEG or RTSTRUCT refers to; none where it does not say.

    Where it lists several, as a structure set made on a fusion does, those count that its contours
    or frames name; where these name none, all.
    """
    try:
        listed = _listed(_read(path, _REFERENCES))
        if len(listed) > 1:
            drawn = frozenset(_drawn_on(_read(path, _DRAWINGS)))
            listed = {s: found for s, found in listed.items() if found & drawn} or listed
    except (MemoryError, OSError):
        raise
    except Exception:  # pydicom raises many kinds for bytes that are no data set
        listed = {}
    return LabelReference(tuple(sorted(listed)))


def source_instances(groups: Dataset) -> Iterator[str]:
    """SOP instances that a frame of a segmentation was derived from, by its functional groups."""
    for derivation in elements.items(groups, "DerivationImageSequence"):
        for image in elements.items(derivation, "SourceImageSequence"):
            yield elements.text(image, "ReferencedSOPInstanceUID")


def contour_instances(contour: Dataset) -> Iterator[str]:
    """SOP instances that a contour says it was drawn on."""
    for image in elements.items(contour, "ContourImageSequence"):
        yield elements.text(image, "ReferencedSOPInstanceUID")


def _read(path: Path, tags: list[BaseTag]) -> Dataset:
    with disable_value_validation():
        return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)


def _listed(ds: Dataset) -> dict[str, set[str]]:
    """Instances by series: PS3.3 C.12.1.2 (SEG), C.8.8.5 (RTSTRUCT)."""
    found: dict[str, set[str]] = {}
    items = [*elements.items(ds, "ReferencedSeriesSequence")]
    for study in elements.items(ds, "StudiesContainingOtherReferencedInstancesSequence"):
        items += elements.items(study, "ReferencedSeriesSequence")
    for item in items:
        _add(found, item, "ReferencedInstanceSequence")
    for frame in elements.items(ds, "ReferencedFrameOfReferenceSequence"):
        for study in elements.items(frame, "RTReferencedStudySequence"):
            for item in elements.items(study, "RTReferencedSeriesSequence"):
                _add(found, item, "ContourImageSequence")
    return found


def _add(found: dict[str, set[str]], item: Dataset, images: str) -> None:
    series = elements.text(item, "SeriesInstanceUID")
    if series:
        found.setdefault(series, set()).update(
            elements.text(image, "ReferencedSOPInstanceUID")
            for image in elements.items(item, images)
        )


def _drawn_on(ds: Dataset) -> Iterator[str]:
    for roi in elements.items(ds, "ROIContourSequence"):
        for contour in elements.items(roi, "ContourSequence"):
            yield from contour_instances(contour)
    for groups in (
        *elements.items(ds, "SharedFunctionalGroupsSequence"),
        *elements.items(ds, "PerFrameFunctionalGroupsSequence"),
    ):
        yield from source_instances(groups)
