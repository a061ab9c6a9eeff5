"""How far apart the surfaces of two masks are: NSD and HD95.

The surface of a mask is its voxels with a face to the outside or to the image's border; distances
are between voxel centres, in millimetres by the affine, so also right where the grid is sheared.
Without shear these are the numbers of MONAI's `compute_surface_dice` and
`compute_hausdorff_distance` with `spacing`, which know none.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from medssl.transfer.weighted import Bools, Floats
from medssl.volume import Affine, spacing_of

_PERCENTILE = 95.0
_ROUNDING_MM = 1e-6  # a distance that is the tolerance but for rounding is within it
_SQUARE = 1e-4  # cosine between two axes up to which a grid is not sheared


def nsd_and_hd95(
    predicted: Bools, reference: Bools, affine: Affine, tolerance_mm: float
) -> tuple[float, float]:
    """Normalised surface Dice, and the 95th percentile of the Hausdorff distance in mm.

    NSD is the share of both surfaces' voxels that lie within the tolerance of the other surface
    (Nikolov et al. 2021, doi:10.2196/26151, with voxels for surface elements); HD95 is the larger
    of the two 95th percentiles of the distances from one surface to the other.

    Both masks empty: NaN, NaN. One empty: 0, and the image's diagonal, the worst there is.

    Args:
        predicted, reference: (D, H, W), of the whole image.
        affine: 4x4, voxel index to millimetres.
        tolerance_mm: distance up to which two surfaces agree.
    """
    box = _box_of_both(predicted, reference)
    if box is None:
        return float("nan"), float("nan")
    here, there = _surface(predicted[box]), _surface(reference[box])
    if not here.any() or not there.any():
        return 0.0, diagonal_mm(predicted.shape, affine)
    of_here, of_there = (_distances_mm(a, b, affine) for a, b in ((here, there), (there, here)))
    within = np.concatenate([of_here, of_there]) <= tolerance_mm + _ROUNDING_MM
    farthest = max(np.percentile(of_here, _PERCENTILE), np.percentile(of_there, _PERCENTILE))
    return float(within.mean()), float(farthest)


def diagonal_mm(shape: tuple[int, ...], affine: Affine) -> float:
    """Length of an image's longest diagonal, from corner to corner of its outermost voxels."""
    edges = np.asarray(affine, np.float64)[:3, :3] * np.asarray(shape)
    signs = np.array([(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)])
    return float(np.linalg.norm(signs @ edges.T, axis=1).max())


def _box_of_both(predicted: Bools, reference: Bools) -> tuple[slice, ...] | None:
    boxes = ndimage.find_objects((predicted | reference).astype(np.int8))
    return boxes[0] if boxes else None


def _surface(mask: Bools) -> Bools:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _distances_mm(surface: Bools, other: Bools, affine: Affine) -> Floats:
    """(n,) distance of each voxel of a surface to the nearest of another, neither being empty."""
    spacing_mm = spacing_of(affine)
    cosines = (affine[:3, :3].T @ affine[:3, :3]) / np.outer(spacing_mm, spacing_mm)
    if np.abs(cosines - np.eye(3)).max() < _SQUARE:
        return np.asarray(ndimage.distance_transform_edt(~other, spacing_mm)[surface])
    # A distance transform knows no shear. Looking for neighbours does, but is slow where two
    # masks have little to do with each other.
    to_mm = affine[:3, :3].T
    return np.asarray(cKDTree(np.argwhere(other) @ to_mm).query(np.argwhere(surface) @ to_mm)[0])
