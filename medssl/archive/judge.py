"""A scan by its values: what is constant or no CT is not taken. Padding does not count."""

from __future__ import annotations

import numpy as np

from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection, Scan
from medssl.store.padding import valid_voxels
from medssl.volume import Array

_HU_LIMITS = (-4096.0, 32767.0)  # the 1st and 99th percentile of a CT lie within
_SAMPLED_VOXELS = 1_000_000


def judge_values(scan: Scan) -> Scan | Rejection:
    """The scan, or CONSTANT_VOLUME, or CT_OUT_OF_RANGE."""
    ends = _extremes(scan)
    if ends is None:
        return Rejection(scan.source, "series", Reason.CONSTANT_VOLUME, "padding alone")
    if _is_constant(scan, ends):
        detail = f"stored value {ends[0]}"
        return Rejection(scan.source, "series", Reason.CONSTANT_VOLUME, detail)
    if scan.units == "HU":
        low, high = np.percentile(_sampled_values(scan), [1, 99])
        if low < _HU_LIMITS[0] or high > _HU_LIMITS[1]:
            detail = f"percentiles 1 and 99: {low:.0f}, {high:.0f}"
            return Rejection(scan.source, "series", Reason.CT_OUT_OF_RANGE, detail)
    return scan


def _extremes(scan: Scan) -> Array | None:
    """The lowest and highest stored number that is no padding; None where all are padding."""
    stored = scan.stored
    if scan.padding is not None:
        stored = stored[valid_voxels(stored, scan.padding)]
    return np.array([stored.min(), stored.max()]) if stored.size else None


def _is_constant(scan: Scan, ends: Array) -> bool:
    if not scan.rescale.by_slice:
        return bool(np.ptp(scan.rescale.apply(ends)) == 0)
    column = np.full((len(scan.stored), 1, 1), ends[0])
    return bool(ends[0] == ends[1] and np.ptp(scan.rescale.apply(column)) == 0)


def _sampled_values(scan: Scan) -> Array:
    """Values of about a million voxels, evenly over rows and columns, without padding."""
    every = max(1, int(np.ceil(np.sqrt(scan.stored.size / _SAMPLED_VOXELS))))
    sample = scan.stored[:, ::every, ::every]
    values = scan.rescale.apply(sample)
    if scan.padding is None:
        return values
    measured = values[valid_voxels(sample, scan.padding)]
    if measured.size:
        return measured
    return scan.rescale.apply(scan.stored)[valid_voxels(scan.stored, scan.padding)]
