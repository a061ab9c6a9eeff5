"""What a manifest row says of a volume's numbers: hashes, percentiles, foreground box."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.store.schema import PERCENTILES
from medssl.volume import Array, Volume

_CT_BODY_HU = -500.0


def describe_values(volume: Volume, valid: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Manifest columns computed from the values of a (D, H, W) volume.

    `valid` is False on padding, which is no foreground. The foreground is what is denser than -500
    HU in CT; elsewhere what lies above the constant background where there is one, and above a
    tenth of the 99th percentile where there is none. An empty foreground counts as the whole
    volume. The hashes are of all voxels.
    """
    values = volume.voxels
    mask = foreground_of(volume, valid)
    inside = values[mask]
    row: dict[str, Any] = {
        "pixel_sha256": pixel_sha256(volume),
        "perceptual_hash": perceptual_hash(volume),
        "foreground_voxels": int(mask.sum()),
    }
    levels = np.percentile(inside, [0.5, 5, 25, 50, 75, 95, 99.5])
    row.update(zip(PERCENTILES, (float(x) for x in levels), strict=True))
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        row[f"foreground_{axis}_start"] = int(filled[0])
        row[f"foreground_{axis}_stop"] = int(filled[-1]) + 1
    return row


def geometry_columns(volume: Volume) -> dict[str, Any]:
    """Shape, spacing and affine of a volume as flat manifest columns."""
    row: dict[str, Any] = {f"shape_{a}": n for a, n in enumerate(volume.shape)}
    row.update({f"spacing_{a}": float(s) for a, s in enumerate(volume.spacing_mm)})
    row.update({f"affine_{r}{c}": float(volume.affine[r, c]) for r in range(3) for c in range(4)})
    return row


def foreground_of(
    volume: Volume, valid: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    """True where there is tissue rather than air, blank background or padding, (D, H, W)."""
    values = volume.voxels
    measured = values if valid is None else values[valid]
    if measured.size == 0:
        return np.ones(values.shape, dtype=bool)
    if volume.units == "HU":
        mask = values > _CT_BODY_HU
    else:
        lowest = float(measured.min())
        if (measured == lowest).mean() >= 0.05:
            mask = values != lowest
        else:
            mask = values > lowest + 0.1 * (float(np.percentile(measured, 99)) - lowest)
    if valid is not None:
        mask &= valid
    whole = np.ones(values.shape, dtype=bool) if valid is None else valid
    return np.asarray(mask if mask.any() else whole)


def pixel_sha256(volume: Volume) -> str:
    """Hash of the values as float32 in RAS order, with shape and spacing in micrometres.

    A DICOM series and the NIfTI made from it agree, whatever order their axes are stored in.
    """
    ras = volume.to_ras()
    values = np.ascontiguousarray(ras.voxels, dtype="<f4") + np.float32(0.0)  # -0.0 becomes 0.0
    digest = hashlib.sha256()
    digest.update(np.asarray(ras.shape, dtype="<i8").tobytes())
    digest.update(np.rint(ras.spacing_mm * 1000).astype("<i8").tobytes())
    digest.update(values.tobytes())
    return digest.hexdigest()


def perceptual_hash(volume: Volume) -> str:
    """256 bits of what the volume looks like: low frequencies of its cosine transform by sign.

    Taken on a 16x16x16 grid in RAS order, so that copies that were resampled or rescaled in
    intensity lie within a few bits of each other.
    """
    from scipy import fft, ndimage

    values: Array = np.asarray(volume.to_ras().voxels, dtype=np.float32)
    small = ndimage.zoom(
        values, [16 / n for n in values.shape], order=1, grid_mode=True, mode="nearest"
    )
    low = fft.dctn(small)[:8, :8, :8].ravel()[1:257]
    bits = low > np.median(low)
    return np.packbits(bits).tobytes().hex()
