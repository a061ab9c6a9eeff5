"""A whole scan on the network's grid, and the network's answer back on the scan's own grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medssl.augment.config import PatchConfig
from medssl.augment.placement import Pose, compose_map
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample
from medssl.volume import Affine

_SLAB = 32  # planes sampled at once, so that a large scan needs little memory


def covering_map(
    scan: ScanInfo, spacing_mm: npt.NDArray[np.float64]
) -> tuple[Affine, tuple[int, int, int]]:
    """An upright patch over the whole scan: the map of its voxels to stored ones, and its size.

    With the scan's own spacing its voxels are the scan's voxels.
    """
    edges = np.abs(scan.frame.T @ scan.affine[:3, :3]) @ np.asarray(scan.shape, dtype=np.float64)
    d, h, w = (int(n) for n in np.maximum(np.ceil(edges / spacing_mm - 1e-3), 1))
    return compose_map(scan, (d, h, w), spacing_mm, scan.centre_mm, Pose()), (d, h, w)


def read_whole(
    reader: Reader, scan: ScanInfo, patch: PatchConfig
) -> tuple[npt.NDArray[np.float32], Affine]:
    """The normalised scan at the training's spacing, made by the sampler that makes its patches.

    Returns:
        image (D, H, W), axes to the right, front and top; 4x4, index of its voxel to index of the
        stored voxel.
    """
    matrix, shape = covering_map(scan, scan.patch_spacing(patch.spacing_mm))
    slabs = []
    for start in range(0, shape[0], _SLAB):
        shifted = matrix.copy()
        shifted[:3, 3] += matrix[:3, 0] * start
        size = (min(_SLAB, shape[0] - start), *shape[1:])
        slabs.append(sample(reader, scan, shifted, size).image)
    return np.concatenate(slabs), matrix


def classes_on_own_grid(
    probabilities_KDHW: npt.NDArray[np.float32], matrix: Affine, shape: tuple[int, int, int]
) -> npt.NDArray[np.int64]:
    """The likeliest class at each of the scan's own voxels, by trilinear interpolation.

    Args:
        matrix: as `read_whole` gives it.
        shape: of the stored scan.
    """
    to_sampled = np.linalg.inv(matrix)
    best = np.zeros(shape, dtype=np.int64)
    highest = np.full(shape, -np.inf, dtype=np.float32)
    for number, map_DHW in enumerate(probabilities_KDHW):
        own = ndimage.affine_transform(
            map_DHW, to_sampled, output_shape=shape, order=1, mode="nearest"
        )
        better = own > highest
        best[better], highest[better] = number, own[better]
    return best
