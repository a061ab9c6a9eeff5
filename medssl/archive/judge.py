"""A scan by its values: what is constant or no CT is not taken. Padding does not count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection, Scan
from medssl.store.describe import sub_grid
from medssl.store.padding import valid_voxels
from medssl.store.voxels import Rescale

_HU_LIMITS = (-4096.0, 32767.0)  # the 1st and 99th percentile of a CT lie within


def judge_values(scan: Scan) -> Scan | Rejection:
    """The scan, or CONSTANT_VOLUME, or CT_OUT_OF_RANGE."""
    sample = _values(scan, sub_grid(scan.stored.shape))
    if sample.size == 0 or np.ptp(sample) == 0:
        sample = _values(scan, (slice(None),) * 3)
        if sample.size == 0:
            return Rejection(scan.source, "series", Reason.CONSTANT_VOLUME, "padding alone")
        if np.ptp(sample) == 0:
            detail = f"value {sample[0]:g}"
            return Rejection(scan.source, "series", Reason.CONSTANT_VOLUME, detail)
    if scan.units == "HU":
        low, high = np.percentile(sample, [1, 99])
        if low < _HU_LIMITS[0] or high > _HU_LIMITS[1]:
            detail = f"percentiles 1 and 99: {low:.0f}, {high:.0f}"
            return Rejection(scan.source, "series", Reason.CT_OUT_OF_RANGE, detail)
    return scan


def _values(scan: Scan, grid: tuple[slice, ...]) -> npt.NDArray[np.float32]:
    """Values of the voxels of a grid that are no padding, in one line."""
    stored = scan.stored[grid]
    slope, intercept = (
        factor[grid[0]] if isinstance(factor, np.ndarray) else factor
        for factor in (scan.rescale.slope, scan.rescale.intercept)
    )
    values = Rescale(slope, intercept).apply(stored)
    return values[valid_voxels(stored, scan.padding)] if scan.padding else values.ravel()
