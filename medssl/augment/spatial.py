"""The fused patch sampler: from stored voxels to a normalised patch in one interpolation.

Pretraining and fine-tuning both draw their patches here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.augment.array_sampling import Size
from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import PatchConfig, SpatialConfig
from medssl.augment.crops import draw_centre
from medssl.augment.interpolate import Bounds, corners, interpolate, sample_block
from medssl.augment.placement import Pose, compose_map, draw_pose
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.store import Store
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Box

_AVERAGED_FROM = 1.5


@dataclass(frozen=True)
class Patch:
    """A patch with axes to the right, to the front and to the top.

    Attributes:
        image: (D, H, W) float32, normalised.
        valid: (D, H, W) bool, inside the scan; elsewhere the image is background.
        mask: (D, H, W) int64, 0 outside the scan; None where none was asked for.
        map: 4x4, index of the patch's voxel -> index of the stored voxel.
        affine: 4x4, index of the patch's voxel -> RAS millimetres.
    """

    image: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    mask: npt.NDArray[np.int64] | None
    map: Affine
    affine: Affine


def sample_volume(
    store: Store | Reader,
    row: Mapping[str, Any] | ScanInfo,
    size: Size,
    spacing_mm: float | tuple[float, float, float] | None = None,
    centre_mm: Vector | None = None,
    rotation: Vector | None = None,
    scale: float = 1.0,
    flip: tuple[bool, bool, bool] = (False, False, False),
    with_mask: bool = False,
    mask_name: str = "mask",
) -> Patch:
    """A patch at a given place.

    Args:
        store: a `Reader` keeps small stores in memory; a `Store` is read from disk.
        row: the manifest row, or what was made of it.
        spacing_mm: along right, front, top; None keeps the scan's own.
        centre_mm: RAS millimetres of the patch's middle; None takes the scan's.
        rotation: (3, 3) in millimetres along the scan's own axes, see `placement.rotation_about`.
        scale: enlargement.
        flip: axes of the patch that are mirrored.

    Raises:
        StoreError: the voxels are missing or damaged, or there is no such mask.
    """
    reader = store if isinstance(store, Reader) else Reader(store, CacheConfig(gigabytes=0))
    scan = row if isinstance(row, ScanInfo) else ScanInfo.from_row(row)
    centre = scan.centre_mm if centre_mm is None else np.asarray(centre_mm, dtype=np.float64)
    pose = Pose(np.eye(3) if rotation is None else rotation, scale, flip)
    matrix = compose_map(scan, size, scan.patch_spacing(spacing_mm), centre, pose)
    return sample(reader, scan, matrix, size, mask_name if with_mask else None)


def draw_map(
    rng: np.random.Generator,
    scan: ScanInfo,
    patch: PatchConfig,
    spatial: SpatialConfig,
    centre_mm: Vector | None = None,
) -> Affine:
    """4x4, index of a random patch's voxel -> index of the stored voxel.

    Without `centre_mm` the place is drawn too, on the foreground.
    """
    spacing = scan.patch_spacing(patch.spacing_mm)
    pose = draw_pose(rng, spatial, spacing)
    if centre_mm is None:
        centre_mm = draw_centre(rng, scan, np.asarray(patch.size) * spacing / pose.scale)
    return compose_map(scan, patch.size, spacing, centre_mm, pose)


def sample(
    reader: Reader,
    scan: ScanInfo,
    matrix: Affine,
    size: Size,
    mask_name: str | None = None,
    image: npt.NDArray[np.float32] | None = None,
    valid: npt.NDArray[np.bool_] | None = None,
) -> Patch:
    """The patch that `matrix` (from `draw_map` or `compose_map`) cuts out of a scan.

    Args:
        image, valid: (size) contiguous arrays to write into; new ones by default.
    """
    image = np.empty(size, dtype=np.float32) if image is None else image
    valid = np.empty(size, dtype=np.bool_) if valid is None else valid
    mask = None if mask_name is None else np.zeros(size, dtype=np.int64)
    factors = averaging_factors(matrix)
    box = box_needed(matrix, size, scan.shape, factors)
    if box is None:
        image.fill(scan.normaliser.background)
        valid.fill(False)
        return Patch(image, valid, mask, matrix, scan.affine @ matrix)
    stored, rescale = reader.read(scan.volume_uid, box)
    if rescale.by_slice or stored.dtype.itemsize > 2:
        stored, rescale = rescale.apply(stored, first_slice=box[0][0]), Rescale()
    block = stored if factors == (1, 1, 1) else averaged(stored.astype(np.float32), factors)
    bounds = bounds_within(scan.shape, box, factors)
    finish = scan.normaliser.finish(float(rescale.slope), float(rescale.intercept))
    sample_block(block, within(matrix, box, factors), size, finish, bounds, image, valid)
    if mask is not None and mask_name is not None:
        labels = reader.read_mask(scan.volume_uid, box, mask_name)
        np.copyto(mask, interpolate(labels, within(matrix, box), size, order=0), casting="unsafe")
        mask[~valid] = 0
    return Patch(image, valid, mask, matrix, scan.affine @ matrix)


def averaging_factors(matrix: Affine) -> tuple[int, int, int]:
    """How many voxels are averaged along each stored axis before interpolating, against aliasing.

    A step through the patch passes as many stored voxels as the row of the map is long (for a
    turned patch the root of the sum over its axes); from 1.5 on they are averaged in whole
    numbers, so that no detail finer than the patch's grid is left to fold back.
    """
    steps = np.linalg.norm(matrix[:3, :3], axis=1)
    d, h, w = (round(float(s)) if s > _AVERAGED_FROM else 1 for s in steps)
    return d, h, w


def box_needed(
    matrix: Affine, size: Size, shape: Size, factors: tuple[int, int, int] = (1, 1, 1)
) -> Box | None:
    """The stored voxels that a patch touches, in whole groups of `factors`; None where none."""
    low, high = corners(matrix, size)
    if (high < -0.5).any() or (low > np.asarray(shape) - 0.5).any():
        return None
    ends = []
    for axis, factor in enumerate(factors):
        last = shape[axis] - 1
        # Interpolating between groups reaches one group further on either side.
        margin = factor if factor > 1 else 0
        first = min(max(int(np.floor(low[axis] + 1e-6)) - margin, 0), last)
        final = min(max(int(np.ceil(high[axis] - 1e-6)) + margin, 0), last)
        start = first // factor * factor
        stop = min((final // factor + 1) * factor, shape[axis])
        ends.append((start, stop))
    return ends[0], ends[1], ends[2]


def bounds_within(shape: Size, box: Box, factors: tuple[int, int, int] = (1, 1, 1)) -> Bounds:
    """The whole scan in the coordinates of a box of which `factors` voxels were averaged."""
    to_box = within(np.eye(4), box, factors)[:3]
    scan = Bounds.of(shape)
    return Bounds(to_box[:, :3] @ scan.low + to_box[:, 3], to_box[:, :3] @ scan.high + to_box[:, 3])


def within(matrix: Affine, box: Box, factors: tuple[int, int, int] = (1, 1, 1)) -> Affine:
    """The map into a box of which `factors` voxels at a time were averaged."""
    result = matrix.copy()
    for axis, ((start, _), factor) in enumerate(zip(box, factors, strict=True)):
        result[axis, 3] += -start - (factor - 1) / 2
        result[axis] /= factor
    return result


def averaged(
    block: npt.NDArray[np.float32], factors: tuple[int, int, int]
) -> npt.NDArray[np.float32]:
    """Means over `factors` voxels along each axis; the last group goes on with its last voxel."""
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        spare = -block.shape[axis] % factor
        if spare:
            block = np.pad(block, [(0, spare if a == axis else 0) for a in range(3)], mode="edge")
        taken = [
            block[tuple(slice(k, None, factor) if a == axis else slice(None) for a in range(3))]
            for k in range(factor)
        ]
        total = taken[0] + taken[1]
        for part in taken[2:]:
            total += part
        total *= np.float32(1 / factor)
        block = total
    return block
