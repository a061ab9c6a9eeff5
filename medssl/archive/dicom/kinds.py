"""What a file is: an image of CT, MR or PET, or something else that only looks like one.

DERIVED alone says nothing: registered and corrected series carry it rightly. Localizers,
projections, reformats and screen saves are known by their own markers (PS3.3 C.7.6.1.1.2,
C.8.16.2.1, and what the vendors write as the third and later values of ImageType).
"""

from __future__ import annotations

from medssl.archive.reasons import Reason
from medssl.volume import Modality

_STORAGE = "1.2.840.10008.5.1.4.1.1."

IMAGE_CLASSES: dict[str, Modality] = {
    _STORAGE + "2": "CT",
    _STORAGE + "2.1": "CT",  # enhanced
    _STORAGE + "2.2": "CT",  # legacy converted enhanced
    _STORAGE + "4": "MR",
    _STORAGE + "4.1": "MR",
    _STORAGE + "4.4": "MR",
    _STORAGE + "128": "PT",
    _STORAGE + "130": "PT",
    _STORAGE + "128.1": "PT",
}

ENHANCED_CLASSES = frozenset(
    _STORAGE + tail for tail in ("2.1", "2.2", "4.1", "4.4", "130", "128.1")
)

_OTHER_CLASSES: tuple[tuple[str, Reason], ...] = (  # longest prefix first
    (_STORAGE + "66.4", Reason.SEGMENTATION_OBJECT),
    (_STORAGE + "66.5", Reason.SEGMENTATION_OBJECT),
    (_STORAGE + "66.7", Reason.SEGMENTATION_OBJECT),
    (_STORAGE + "481.3", Reason.RT_STRUCTURE_SET),
    (_STORAGE + "481.", Reason.RT_OBJECT),
    (_STORAGE + "88.59", Reason.KEY_OBJECT),
    (_STORAGE + "88.", Reason.STRUCTURED_REPORT),
    (_STORAGE + "11.", Reason.PRESENTATION_STATE),
    (_STORAGE + "7", Reason.SECONDARY_CAPTURE),
)

_MARKERS: dict[str, Reason] = {
    "LOCALIZER": Reason.LOCALIZER,
    "SCOUT": Reason.LOCALIZER,
    "TOPOGRAM": Reason.LOCALIZER,
    "PROJECTION IMAGE": Reason.PROJECTION,
    "PROJECTION": Reason.PROJECTION,
    "PJN": Reason.PROJECTION,
    "MIP": Reason.PROJECTION,
    "MAX_IP": Reason.PROJECTION,
    "MIN IP": Reason.PROJECTION,
    "MIN_IP": Reason.PROJECTION,
    "MINIP": Reason.PROJECTION,
    "MNIP": Reason.PROJECTION,
    "CSA MIP": Reason.PROJECTION,
    "SSD": Reason.PROJECTION,
    "VRT": Reason.PROJECTION,
    "VOLUME_RENDER": Reason.PROJECTION,
    "VOLUME RENDERING": Reason.PROJECTION,
    "SURFACE_RENDER": Reason.PROJECTION,
    "3D RENDERING": Reason.PROJECTION,
    "CSA 3D EDITOR": Reason.PROJECTION,
    "MPR": Reason.REFORMAT,
    "CPR": Reason.REFORMAT,
    "CURVED_MPR": Reason.REFORMAT,
    "CSA MPR": Reason.REFORMAT,
    "CSA MPRTHICK": Reason.REFORMAT,
    "CSA RESAMPLED": Reason.REFORMAT,
    "REFORMATTED": Reason.REFORMAT,
    "SCREEN SAVE": Reason.SCREEN_SAVE,
    "SCREEN_SAVE": Reason.SCREEN_SAVE,
    "SCREENSAVE": Reason.SCREEN_SAVE,
    "SCREEN CAPTURE": Reason.SCREEN_SAVE,
    "CSA REPORT": Reason.SCREEN_SAVE,
    "DOSE_INFO": Reason.SCREEN_SAVE,
}

_CALCULATIONS = frozenset({"MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER"})
_REFORMATS = frozenset({"MPR", "CURVED_MPR"})


def modality_of(sop_class: str) -> Modality | None:
    """CT, MR or PT by SOP class; None for every other class."""
    return IMAGE_CLASSES.get(sop_class)


def reason_not_an_image(sop_class: str) -> Reason:
    """The code of an object that is not CT, MR or PET image storage."""
    for prefix, reason in _OTHER_CLASSES:
        if sop_class == prefix or (
            sop_class.startswith(prefix) and not _digit_follows(sop_class, prefix)
        ):
            return reason
    return Reason.OTHER_DICOM_OBJECT


def _digit_follows(sop_class: str, prefix: str) -> bool:
    """Whether `prefix` ends in the middle of a number: 7 must not match 77.1."""
    return not prefix.endswith(".") and sop_class[len(prefix)] != "."


def marker_of(image_type: tuple[str, ...], calculation: str = "") -> Reason | None:
    """The code of an image that its own type marks as no scan, else None.

    `image_type` is ImageType or FrameType; `calculation` VolumeBasedCalculationTechnique.
    """
    for token in image_type[2:]:
        if token in _MARKERS:
            return _MARKERS[token]
    if calculation in _CALCULATIONS:
        return Reason.PROJECTION
    if calculation in _REFORMATS:
        return Reason.REFORMAT
    return None


def is_mosaic(image_type: tuple[str, ...]) -> bool:
    """Siemens' many slices in one matrix (numaris 4)."""
    return "MOSAIC" in image_type[2:]
