"""What a manifest row says of a volume's numbers: hashes, percentiles, foreground box.

All of it is computed on the stored integers, and taken to values at the end: turning a CT into
floats first would take longer than everything else that an ingest does to it.
"""

from __future__ import annotations

import hashlib
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.store.padding import valid_voxels
from medssl.store.schema import PERCENTILES
from medssl.store.voxels import Rescale
from medssl.volume import Array, Volume, ras_order, spacing_of

CT_BODY_HU = -500.0
SAMPLED_VOXELS = 2**18
_WHOLE = np.iinfo(np.int16)


def describe_values(
    volume: Volume, rescale: Rescale | None = None, padding: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Manifest columns computed from a (D, H, W) volume of stored numbers and their rescale.

    Stored numbers from the first to the second of `padding` are no foreground. The foreground is
    what is denser than -500 HU in CT; elsewhere what lies above the constant background where there
    is one, and above a tenth of the 99th percentile where there is none. An empty foreground counts
    as the whole volume. Percentiles are those of about a quarter of a million voxels on a regular
    sub-grid.
    """
    numbers, back = rising(volume.voxels, rescale or Rescale())
    valid = valid_voxels(volume.voxels, padding) if padding else None
    mask = _foreground(numbers, volume.units, back, valid)
    grid = sub_grid(numbers.shape)
    inside = numbers[grid][mask[grid]]
    levels = np.percentile(inside if inside.size else numbers[mask], [0.5, 5, 25, 50, 75, 95, 99.5])
    row: dict[str, Any] = {
        "pixel_sha256": pixel_sha256(volume, rescale),
        "perceptual_hash": perceptual_hash(volume, rescale),
        "foreground_voxels": int(np.count_nonzero(mask)),
    }
    row.update(zip(PERCENTILES, (float(x) for x in back.apply(levels)), strict=True))
    rows = np.asarray(mask.any(axis=2))
    for axis, line in enumerate((rows.any(axis=1), rows.any(axis=0), mask.any(axis=(0, 1)))):
        there = np.flatnonzero(line)
        row[f"foreground_{axis}_start"] = int(there[0])
        row[f"foreground_{axis}_stop"] = int(there[-1]) + 1
    return row


def geometry_columns(volume: Volume) -> dict[str, Any]:
    """Shape, spacing and affine of a volume as flat manifest columns."""
    row: dict[str, Any] = {f"shape_{a}": n for a, n in enumerate(volume.shape)}
    row.update({f"spacing_{a}": float(s) for a, s in enumerate(volume.spacing_mm)})
    row.update({f"affine_{r}{c}": float(volume.affine[r, c]) for r in range(3) for c in range(4)})
    return row


def foreground_of(volume: Volume) -> npt.NDArray[np.bool_]:
    """True where there is tissue rather than air or blank background, (D, H, W)."""
    return _foreground(volume.voxels, volume.units, Rescale())


def pixel_sha256(volume: Volume, rescale: Rescale | None = None) -> str:
    """Hash of the values in a fixed order, with shape and spacing in micrometres.

    The order is from the right to the left fastest, then to the back, then to the head: that of an
    axial series, which so needs no reordering. Values are hashed as int16 where all of them are
    whole numbers in its range, else as float32. So the hash depends on the values alone, and a
    DICOM series and the NIfTI made from it agree, whatever order and type they are stored in.
    """
    order, flips = ras_order(volume.affine)
    numbers, to_integer = _whole_numbers(volume.voxels, rescale or Rescale())
    backwards = (not flips[0], not flips[1], flips[2])  # R and A run the other way
    lps = np.transpose(numbers, order)[tuple(slice(None, None, -1 if b else 1) for b in backwards)]
    digest = hashlib.sha256()
    digest.update(np.asarray(lps.shape, dtype="<i8").tobytes())
    digest.update(np.rint(spacing_of(volume.affine)[order] * 1000).astype("<i8").tobytes())
    planes = np.transpose(lps, (2, 1, 0))
    line = np.empty(planes.shape[1:], "<i2" if to_integer else "<f4")
    for plane in planes:
        if to_integer is None:
            np.add(plane, np.float32(0.0), out=line)  # -0.0 becomes 0.0
        else:
            slope, intercept = to_integer
            whole = plane.view(np.int16) if plane.dtype.itemsize == 2 else plane.astype(np.int16)
            if slope != 1:
                whole = whole * np.int16(slope)
            np.add(whole, np.int16(intercept), out=line)
        digest.update(line.data)
    return digest.hexdigest()


def perceptual_hash(volume: Volume, rescale: Rescale | None = None) -> str:
    """256 bits of what the volume looks like: low frequencies of its cosine transform by sign.

    Taken on a 16x16x16 grid in RAS order, so that copies that were resampled or rescaled in
    intensity lie within a few bits of each other.
    """
    from scipy import fft, ndimage

    numbers, back = rising(volume.voxels, rescale or Rescale())
    ras = Volume(numbers, volume.affine).to_ras().voxels
    small = ndimage.zoom(
        ras,
        [16 / n for n in ras.shape],
        order=1,
        grid_mode=True,
        mode="nearest",
        output=np.float32,
    )
    low = fft.dctn(back.apply(small))[:8, :8, :8].ravel()[1:257]
    bits = low > np.median(low)
    return np.packbits(bits).tobytes().hex()


def exceeding(numbers: Array, limit: float) -> npt.NDArray[np.bool_]:
    """numbers > limit, without making floats of integers."""
    return np.asarray(numbers > (limit if numbers.dtype.kind == "f" else floor(limit)))


def rising(stored: Array, rescale: Rescale) -> tuple[Array, Rescale]:
    """Numbers that rise with the values, and the one rescale that makes them values."""
    if rescale.by_slice or float(rescale.slope) < 0:
        return rescale.apply(stored), Rescale()
    return stored, rescale


def _foreground(
    numbers: Array, units: str, back: Rescale, valid: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    if units == "HU":
        mask = exceeding(numbers, (CT_BODY_HU - float(back.intercept)) / float(back.slope))
    else:
        measured = numbers if valid is None else numbers[valid]
        lowest = measured.min() if measured.size else numbers.min()
        mask = numbers != lowest
        if np.count_nonzero(mask if valid is None else mask[valid]) > 0.95 * measured.size:
            grid = sub_grid(numbers.shape)
            sample = numbers[grid] if valid is None else numbers[grid][valid[grid]]
            high = float(np.percentile(sample if sample.size else numbers, 99))
            mask = numbers > float(lowest) + 0.1 * (high - float(lowest))
    if valid is not None:
        mask = mask & valid
    if mask.any():
        return np.asarray(mask)
    return np.ones(numbers.shape, dtype=bool) if valid is None or not valid.any() else valid


def sub_grid(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Every n-th voxel along each axis, so that there are about a quarter of a million at most."""
    step = max(1, int(np.ceil((np.prod(shape, dtype=float) / SAMPLED_VOXELS) ** (1 / 3))))
    return tuple(slice(0, n, step if n >= 4 * step else 1) for n in shape)


def _whole_numbers(stored: Array, rescale: Rescale) -> tuple[Array, tuple[int, int] | None]:
    """Numbers with the whole slope and intercept that make them int16 values, or values and None.

    Multiplying and adding modulo 2**16 gives the right int16 wherever the result is one.
    """
    if stored.dtype.kind in "iu" and not rescale.by_slice:
        slope, intercept = float(rescale.slope), float(rescale.intercept)
        if _fits_int16(stored, slope, intercept):
            return stored, (int(slope), int(intercept))
    values = rescale.apply(stored)
    inside = values.min() >= _WHOLE.min and values.max() <= _WHOLE.max
    whole = inside and np.array_equal(values, np.rint(values))
    return values, (1, 0) if whole else None


def _fits_int16(stored: Array, slope: float, intercept: float) -> bool:
    """Whether slope and intercept are whole and take every stored number into int16.

    Where the type's own limit does not fit, the least or the greatest number is looked for.
    """

    def inside(value: float) -> bool:
        return _WHOLE.min <= value <= _WHOLE.max

    if not all(x.is_integer() and inside(x) for x in (slope, intercept)):
        return False
    limits = np.iinfo(stored.dtype)
    return all(
        inside(limit * slope + intercept) or inside(int(extreme(stored)) * slope + intercept)
        for limit, extreme in ((limits.min, np.min), (limits.max, np.max))
    )
