"""What a header says of its numbers that is not applied, but recorded.

A presentation or VOI lookup table tells how viewers show the image, a real world value mapping
offers another unit, and Philips keeps a private slope to its floating point values: the voxels are
those of the modality's rescale, as in every other reader, and the note says what else there was.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medssl.archive.dicom import elements
from medssl.archive.reasons import Reason

_PRESENTATION_LUT = Tag("PresentationLUTSequence")
_VOI_LUT = Tag("VOILUTSequence")
_FRAME_VOI_LUT = Tag("FrameVOILUTSequence")
_REAL_WORLD = Tag("RealWorldValueMappingSequence")
_SHARED, _PER_FRAME = (Tag(f"{which}FunctionalGroupsSequence") for which in ("Shared", "PerFrame"))

_PHILIPS_CREATOR = "PHILIPS MR IMAGING DD 001"
_PHILIPS_GROUP = 0x2005
_SCALE_SLOPE = 0x0E
_BLOCKS = range(0x10, 0x18)
_PHILIPS_FRAME_GROUPS = ((0x2005, 0x140F), (0x2005, 0x140E))

PHILIPS_TAGS = tuple(
    (_PHILIPS_GROUP, element)
    for block in _BLOCKS
    for element in (block, block * 0x100 + _SCALE_SLOPE)
)


def ignored_of(ds: Dataset) -> tuple[Reason, ...]:
    """The notes on lookup tables and mappings, in the image itself or in its functional groups."""
    notes = []
    inverse = elements.text(ds, "PresentationLUTShape").upper() == "INVERSE"
    groups = list(_functional_groups(ds))
    voi = any(_filled(item, _VOI_LUT) for item in (ds, *_inside(groups, _FRAME_VOI_LUT)))
    if inverse or _filled(ds, _PRESENTATION_LUT) or voi:
        notes.append(Reason.PRESENTATION_LUT_IGNORED)
    if any(_filled(item, _REAL_WORLD) for item in (ds, *groups)):
        notes.append(Reason.REAL_WORLD_VALUES_IGNORED)
    return tuple(notes)


def private_slope_of(*sources: Dataset | None) -> float | None:
    """Philips' private scale slope (2005,xx0E) by the first of `sources` that has one.

    A source is an image, or a frame's functional groups, where it lies one sequence deeper.
    """
    for source in sources:
        if source is None:
            continue
        deeper = (elements.first_item(source, key) for key in _PHILIPS_FRAME_GROUPS)
        for place in (source, *deeper):
            slope = _philips_slope(place) if place is not None else None
            if slope is not None:
                return slope
    return None


def _philips_slope(ds: Dataset) -> float | None:
    for block in _BLOCKS:
        if elements.text(ds, (_PHILIPS_GROUP, block)).upper() == _PHILIPS_CREATOR:
            slope = elements.number(ds, (_PHILIPS_GROUP, block * 0x100 + _SCALE_SLOPE))
            return slope if slope and slope > 0 else None
    return None


def _functional_groups(ds: Dataset) -> Iterable[Dataset]:
    for tag in (_SHARED, _PER_FRAME):
        if tag in ds:
            yield from elements.items(ds, tag)


def _inside(groups: Iterable[Dataset], tag: int) -> Iterable[Dataset]:
    for item in groups:
        if tag in item:
            yield from elements.items(item, Tag(tag))


def _filled(ds: Dataset, tag: int) -> bool:
    return tag in ds and elements.first_item(ds, Tag(tag)) is not None
