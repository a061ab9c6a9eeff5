"""Padding: the stored numbers that fill the matrix where nothing was measured (PS3.3 C.7.5.1.1.2).

PixelPaddingValue states one number, PixelPaddingRangeLimit the other end of a range. They are in
stored numbers, before the rescale, and take the sign of PixelRepresentation whatever VR a scanner
wrote them in: 63536 of VR US in signed data is -2000.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from medssl.archive.dicom import elements
from medssl.store.padding import valid_voxels
from medssl.volume import Array

Padding = tuple[int, int]


def padding_of(ds: Dataset, bits_stored: int, signed: bool) -> Padding | None:
    """(lowest, highest) stored number that is padding, or None where the header states none."""
    if not 1 < bits_stored <= 32:
        return None
    ends = [
        elements.integer(ds, key)
        for key in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if elements.raw(ds, key) is not None
    ]
    stored = [as_stored(end, bits_stored, signed) for end in ends if end is not None]
    known = [number for number in stored if number is not None]
    if not known or len(known) < len(ends):
        return None
    return min(known), max(known)


def as_stored(number: int, bits_stored: int, signed: bool) -> int | None:
    """A number of a header as the pixels hold it: its lowest `bits_stored` bits, with their sign.

    None where the bits above them are not merely the sign's: no pixel can hold that number, and
    what is left of it may be a measurement.
    """
    half, whole = 1 << (bits_stored - 1), 1 << bits_stored
    if signed and half <= number < whole:
        number -= whole  # written without its sign, in the bits that are kept
    elif signed and 1 << 15 <= number < 1 << 16:
        number -= 1 << 16  # or in 16 of them
    elif not signed and number < 0 and bits_stored == 16:
        number += whole
    lowest, highest = (-half, half - 1) if signed else (0, whole - 1)
    return number if lowest <= number <= highest else None


def padding_of_volume(declared: Sequence[Padding | None], stored: Array) -> Padding | None:
    """The padding of a volume: what all its slices declare alike, where its voxels hold it.

    None also where everything that is not constant would be padding: such a declaration is not
    believed.
    """
    padding = declared[0]
    if padding is None or any(other != padding for other in declared):
        return None
    valid = valid_voxels(stored, padding)
    if valid.all() or (not valid.any() and stored.min() != stored.max()):
        return None
    return padding
