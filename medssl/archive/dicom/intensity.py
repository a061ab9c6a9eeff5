"""Stored numbers into values: rescale by slice, and the unit that results."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from medssl.archive.dicom.geometry import Misplaced
from medssl.archive.dicom.grouping import Slice
from medssl.archive.dicom.kinds import modality_of
from medssl.archive.dicom.pet import pet_units
from medssl.archive.reasons import Reason
from medssl.store.voxels import Rescale
from medssl.volume import Units


def rescale_of(slices: Sequence[Slice]) -> tuple[Rescale, Units]:
    """Slope, intercept and unit of a volume's slices, in their order along axis 0.

    CT is in HU where it has a rescale and RescaleType is HU or absent (PS3.3 C.8.2.1). MR is
    arbitrary: what RescaleSlope gives are the display values, also for Philips. PET is SUV where
    the header allows it, else what it states.

    Raises:
        Misplaced: RESCALE_INVALID.
    """
    pairs = [(s.frame.slope, s.frame.intercept) for s in slices]
    if any(s.frame.lookup for s in slices):
        raise Misplaced(Reason.RESCALE_INVALID, "lookup table")
    if all(pair == (None, None) for pair in pairs):
        return Rescale(), "arbitrary"
    numbers = [
        (slope, intercept)
        for slope, intercept in pairs
        if slope and intercept is not None and isfinite(slope) and isfinite(intercept)
    ]
    if len(numbers) < len(pairs):
        raise Misplaced(
            Reason.RESCALE_INVALID, f"{len(pairs) - len(numbers)} of {len(pairs)} slices"
        )
    units, factor = _units(slices)
    return (
        Rescale(
            _one_or_each([slope * factor for slope, _ in numbers]),
            _one_or_each([intercept * factor for _, intercept in numbers]),
        ),
        units,
    )


def _units(slices: Sequence[Slice]) -> tuple[Units, float]:
    modality = modality_of(slices[0].header.sop_class)
    if modality == "CT":
        return ("HU", 1.0) if slices[0].frame.rescale_type in ("", "HU") else ("arbitrary", 1.0)
    pet = [s.header.pet for s in slices if s.header.pet is not None]
    return pet_units(pet) if pet and modality == "PT" else ("arbitrary", 1.0)


def _one_or_each(values: list[float]) -> float | np.ndarray[tuple[int], np.dtype[np.float64]]:
    return values[0] if len(set(values)) == 1 else np.array(values, dtype=np.float64)
