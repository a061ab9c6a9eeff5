"""Masks from NIfTI files, placed on their image's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medssl.archive.nifti import NiftiFault, load_nifti
from medssl.archive.reasons import Reason
from medssl.volume import Affine, Volume, spacing_of

_SAME_GRID_VOXELS = 0.1
INSIDE_SHARE = 0.99  # of what a mask marks has to lie in the image


@dataclass(frozen=True)
class Mask:
    """Classes 0 to 255 of each voxel, (D, H, W), on a grid of their own."""

    classes: npt.NDArray[np.uint8]
    affine: Affine

    def values(self) -> str:
        """The classes that occur, "0,1,2"."""
        return ",".join(str(int(v)) for v in np.unique(self.classes))


def read_mask(path: Path, max_voxels: int) -> Mask:
    """Read a mask.

    Raises:
        NiftiFault: the file is not readable, is a time series, or holds other numbers than 0 to
            255.
    """
    file = load_nifti(path, max_voxels)
    if file.raw.shape[3] != 1:
        raise NiftiFault(Reason.NOT_THREE_D, f"{file.raw.shape[3]} time points")
    values = file.raw[..., 0]
    if (file.slope, file.intercept) != (1.0, 0.0):
        values = values.astype(np.float64) * file.slope + file.intercept
    whole = values.dtype.kind in "iu" or (
        bool(np.isfinite(values).all()) and np.array_equal(values, np.rint(values))
    )
    if not whole or values.min() < 0 or values.max() > 255:
        raise NiftiFault(Reason.LABEL_NOT_INTEGER)
    return Mask(values.astype(np.uint8), file.affine)


def fit_mask(
    mask: Mask, affine: Affine, shape: tuple[int, int, int]
) -> tuple[Mask, tuple[Reason, ...]]:
    """The mask on the image's grid; by the nearest voxel where the grids differ (LABEL_RESAMPLED).

    Grids are the same where no corner is a tenth of a voxel off. Raises NiftiFault
    (LABEL_GRID_MISMATCH) where more than 1 % of what is marked lies outside the image, or a class
    would be lost.
    """
    if mask.classes.shape == shape and _apart_voxels(mask, affine) <= _SAME_GRID_VOXELS:
        return Mask(mask.classes, affine), ()
    marked = np.argwhere(mask.classes)
    if len(marked):
        to_image = np.linalg.inv(affine) @ mask.affine
        places = marked @ to_image[:3, :3].T + to_image[:3, 3]
        inside = ((places > -0.5) & (places < np.array(shape) - 0.5)).all(axis=1)
        if inside.mean() < INSIDE_SHARE:
            raise NiftiFault(Reason.LABEL_GRID_MISMATCH, f"{inside.mean():.3f} inside the image")
    moved = _with_margin(mask).resampled(affine, shape, order=0).voxels
    lost = np.setdiff1d(np.unique(mask.classes[mask.classes > 0]), np.unique(moved))
    if len(lost):
        raise NiftiFault(Reason.LABEL_GRID_MISMATCH, f"{len(lost)} classes lost")
    return Mask(np.asarray(moved, dtype=np.uint8), affine), (Reason.LABEL_RESAMPLED,)


def _with_margin(mask: Mask) -> Volume:
    """The mask with a voxel of background around it, so that its outermost voxels are whole ones:
    a place within half a voxel of their centres is theirs."""
    affine = mask.affine.copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    return Volume(np.pad(mask.classes, 1), affine)


def _apart_voxels(mask: Mask, affine: Affine) -> float:
    """Largest distance of a corner on the two grids, in the image's smallest spacing."""
    here = Volume(mask.classes, mask.affine).corners_mm()
    there = Volume(mask.classes, affine).corners_mm()
    return float(np.linalg.norm(here - there, axis=1).max() / spacing_of(affine).min())
