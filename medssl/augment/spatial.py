"""The fused patch sampler: from stored voxels to a normalised patch in one interpolation.

Pretraining and fine-tuning both draw their patches here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.augment.array_sampling import Size, source_axes
from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import PatchConfig, SpatialConfig
from medssl.augment.crops import draw_centre
from medssl.augment.interpolate import (
    Bounds,
    Displacement,
    Finish,
    corners,
    interpolate,
    sample_block,
)
from medssl.augment.placement import Pose, compose_map, draw_pose
from medssl.augment.prefilter import Window, Windows, prefilter, sample_straight, windows
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.store import Store
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Array, Box

FINE: Windows = (Window(), Window(), Window())
"""Before a patch that is no coarser than its scan: nothing is averaged."""


@dataclass(frozen=True)
class Patch:
    """A patch with axes to the right, to the front and to the top.

    Attributes:
        image: (D, H, W) float32, normalised.
        valid: (D, H, W) bool, a measurement: inside the scan, and no padding; the rest of the image
            is background.
        mask: (D, H, W) int64, 0 outside the scan; None where none was asked for.
        map: 4x4, index of the patch's voxel -> index of the stored voxel.
        affine: 4x4, index of the patch's voxel -> RAS millimetres.
    """

    image: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    mask: npt.NDArray[np.int64] | None
    map: Affine
    affine: Affine


@dataclass(frozen=True)
class Cut:
    """What a patch is interpolated from.

    Attributes:
        box: the part of the scan that it needs.
        stored: its stored numbers, read-only.
        block: (d, h, w) what the windows keep of them, or themselves, read-only, where they do
            not average; values in place of numbers where the rescale goes by slice.
        matrix: 4x4, index of the patch's voxel -> index in the block.
        bounds: the scan in the block's coordinates.
        finish: what makes normalised values of the block's.
        padding: lowest and highest stored number that is no measurement.
    """

    box: Box
    stored: Array
    block: Array
    matrix: Affine
    bounds: Bounds
    finish: Finish
    padding: tuple[float, float] | None


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
    deformation: Displacement | None = None,
) -> Patch:
    """The patch that `matrix` (from `draw_map` or `compose_map`) cuts out of a scan.

    Args:
        image, valid: (size) contiguous arrays to write into; new ones by default.
        deformation: (3, size) u(p): voxel p comes from `matrix @ (p + u(p))`.
    """
    image = np.empty(size, dtype=np.float32) if image is None else image
    valid = np.empty(size, dtype=np.bool_) if valid is None else valid
    mask = None if mask_name is None else np.zeros(size, dtype=np.int64)
    cut = cut_out(reader, scan, matrix, size, deformation)
    if cut is None:
        image.fill(scan.normaliser.background)
        valid.fill(False)
        return Patch(image, valid, mask, matrix, scan.affine @ matrix)
    moved = moved_by(cut.matrix, deformation)
    sample_block(cut.block, cut.matrix, size, cut.finish, cut.bounds, image, valid, moved)
    to_stored = within(matrix, cut.box)
    moved = moved_by(matrix, deformation)
    if cut.padding is not None:
        nearest = interpolate(cut.stored, to_stored, size, order=0, moved=moved)
        valid &= (nearest < cut.padding[0]) | (nearest > cut.padding[1])
        image[~valid] = cut.finish.background
    if mask is not None and mask_name is not None:
        labels = reader.read_mask(scan.volume_uid, cut.box, mask_name)
        nearest = interpolate(labels, to_stored, size, order=0, moved=moved)
        np.copyto(mask, nearest, casting="unsafe")
        mask[~valid] = 0
    return Patch(image, valid, mask, matrix, scan.affine @ matrix)


def cut_out(
    reader: Reader,
    scan: ScanInfo,
    matrix: Affine,
    size: Size,
    deformation: Displacement | None = None,
) -> Cut | None:
    """Read what a patch under this map is interpolated from; None where it misses the scan."""
    axes = windows(matrix, moved=deformation is not None)
    box = box_needed(matrix, size, scan.shape, axes, deformation)
    if box is None:
        return None
    stored, rescale = reader.read(scan.volume_uid, box)
    values = stored
    if rescale.by_slice or stored.dtype.itemsize > 2:
        values, rescale = rescale.apply(stored, first_slice=box[0][0]), Rescale()
    to_block, bounds = within(matrix, box, axes), bounds_within(scan.shape, box, axes)
    if axes == FINE:
        block = values
    elif deformation is not None or source_axes(matrix) is None:
        block = prefilter(values, axes)
    else:  # the patch itself, of which only the values are left to finish
        block = sample_straight(values, to_block, size, axes)
        bounds = bounds.under(np.asarray(np.linalg.inv(to_block), dtype=np.float64))
        to_block = np.eye(4)
    return Cut(
        box,
        stored,
        block,
        to_block,
        bounds,
        scan.normaliser.finish(float(rescale.slope), float(rescale.intercept)),
        reader.padding(scan.volume_uid),
    )


def moved_by(matrix: Affine, deformation: Displacement | None) -> Displacement | None:
    """(3, size) Displacements in the patch's voxels as such in those that `matrix` leads to."""
    if deformation is None:
        return None
    linear = matrix[:3, :3].astype(np.float32)
    return np.asarray(np.tensordot(linear, deformation, axes=1))


def box_needed(
    matrix: Affine,
    size: Size,
    shape: Size,
    axes: Windows,
    deformation: Displacement | None = None,
) -> Box | None:
    """The stored voxels that a patch and the windows before it reach; None where there are none.

    It begins at a whole number of kept averages, so that these are the same whatever the box is.
    """
    low, high = corners(matrix, size)
    if deformation is not None:
        reach = np.abs(matrix[:3, :3]) @ np.abs(deformation).max(axis=(1, 2, 3))
        low, high = low - reach, high + reach
    if (high < -0.5).any() or (low > np.asarray(shape) - 0.5).any():
        return None
    ends = []
    for axis, window in enumerate(axes):
        last = shape[axis] - 1
        first = min(max(int(np.floor(low[axis] + 1e-6)) - window.margin, 0), last)
        final = min(max(int(np.ceil(high[axis] - 1e-6)) + window.margin, 0), last)
        ends.append((first // window.factor * window.factor, final + 1))
    return ends[0], ends[1], ends[2]


def bounds_within(shape: Size, box: Box, axes: Windows = FINE) -> Bounds:
    """The whole scan in the coordinates of what the windows keep of a box."""
    return Bounds.of(shape).under(within(np.eye(4), box, axes))


def within(matrix: Affine, box: Box, axes: Windows = FINE) -> Affine:
    """The map into what the windows keep of a box."""
    result = matrix.copy()
    for axis, ((start, _), window) in enumerate(zip(box, axes, strict=True)):
        result[axis, 3] += -start - (window.factor - 1) / 2
        result[axis] /= window.factor
    return result
