"""What is to be known of a volume that is taken as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medssl.archive.dicom.grouping import Slice
from medssl.archive.dicom.kinds import modality_of
from medssl.archive.reasons import Reason
from medssl.volume import Units


def notes_of(slices: Sequence[Slice], units: Units, padded: bool) -> tuple[Reason, ...]:
    """What the headers say and nothing was done about, and what the values lack."""
    header = slices[0].header
    notes = [note for one in slices for note in one.header.notes]
    if header.pixels.photometric == "MONOCHROME1":
        notes.append(Reason.MONOCHROME1_KEPT)
    if any(one.frame.private_slope is not None for one in slices):
        notes.append(Reason.PRIVATE_SCALE_RECORDED)
    if modality_of(header.sop_class) == "PT" and units != "SUV":
        notes.append(Reason.NO_SUV)
    if padded:
        notes.append(Reason.PADDING_MASKED)
    return tuple(sorted(set(notes)))


def private_slope_of_volume(slices: Sequence[Slice]) -> float:
    """The vendor's private slope where all slices state the same, else NaN."""
    stated = {one.frame.private_slope for one in slices}
    slope = stated.pop()
    return math.nan if stated or slope is None else slope
