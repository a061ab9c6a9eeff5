"""Which voxels are measurements: all but those that hold a padding number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.volume import Array


def valid_voxels(stored: Array, padding: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """True where a stored number lies outside the padding's lowest and highest, same shape."""
    low, high = padding
    if stored.dtype.kind in "iu" and float(low).is_integer() and float(high).is_integer():
        low, high = int(low), int(high)  # numpy would make floats of the whole array
    if low == high:
        return np.asarray(stored != low)
    return np.asarray((stored < low) | (stored > high))
