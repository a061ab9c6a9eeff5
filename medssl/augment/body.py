"""The body in a patch: voxel by voxel, and how much of it a place for a patch would show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from medssl.augment.array_sampling import Size, source_axes
from medssl.augment.interpolate import Displacement, corners, interpolate
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.store.body import BodyMask
from medssl.volume import Affine

_ENOUGH = 0.25
_DRAWS = 16

Place = TypeVar("Place")


def body_of_patch(
    mask: BodyMask, matrix: Affine, size: Size, moved: Displacement | None = None
) -> npt.NDArray[np.bool_]:
    """(size) True where the voxel nearest to a patch's voxel lies in a block with body.

    Args:
        matrix: 4x4, index of the patch's voxel -> index of the stored voxel. What it takes from
            outside the scan counts as the nearest block does: combine it with "valid".
        moved: (3, size) stored voxels, added to the coordinates.
    """
    to_block = _to_blocks(mask, matrix)
    low, high = corners(to_block, size)
    if moved is not None:
        moved = moved / np.asarray(mask.edge, dtype=np.float32)[:, None, None, None]
        low, high = low + moved.min(axis=(1, 2, 3)), high + moved.max(axis=(1, 2, 3))
    last = np.asarray(mask.blocks.shape) - 1
    first = np.clip(np.floor(low + 0.5), 0, last).astype(int)
    stop = np.clip(np.floor(high + 0.5), 0, last).astype(int) + 1
    reached = mask.blocks[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))]
    if reached.all():
        return np.ones(size, dtype=bool)
    if not reached.any():
        return np.zeros(size, dtype=bool)
    to_block[:3, 3] -= first
    sources = source_axes(to_block)
    if sources is not None and moved is None:
        return _along_axes(reached, to_block, size, sources)
    return interpolate(reached.view(np.uint8), to_block, size, order=0, moved=moved).view(bool)


def _along_axes(
    blocks: npt.NDArray[np.bool_], matrix: Affine, size: Size, sources: list[int]
) -> npt.NDArray[np.bool_]:
    """The nearest blocks under a map that does not turn: whole rows and planes are repeated."""
    found: npt.NDArray[np.bool_] = blocks.transpose(sources)
    for axis in (2, 1, 0):  # the largest copies come last, and are of whole planes
        source = sources[axis]
        at = np.arange(size[axis]) * matrix[source, axis] + matrix[source, 3]
        nearest = np.clip(np.floor(at + 0.5), 0, blocks.shape[source] - 1).astype(np.intp)
        found = found.take(nearest, axis=axis)
    return np.ascontiguousarray(found)


def body_shown(mask: BodyMask, scan: ScanInfo, centre_mm: Vector, extent_mm: Vector) -> float:
    """How much body a patch would show: the body in it, over the most that could be.

    That is the smaller of the patch's volume and the body's: 1 where the patch is all body, or has
    all of the body in it.

    Args:
        centre_mm: (3,), RAS millimetres of the patch's middle.
        extent_mm: (3,), its length along the scan's own axes (right, front, top).
    """
    extent = np.empty(3)
    extent[scan.order] = extent_mm / scan.spacing_mm
    centre = scan.to_stored[:3, :3] @ centre_mm + scan.to_stored[:3, 3]
    edge = np.asarray(mask.edge)
    # A block counts where its middle, (b + 0.5) * edge - 0.5, lies in the patch; one at least.
    low, high = (((centre + end * extent / 2) + 0.5) / edge - 0.5 for end in (-1, 1))
    nearest = np.floor((centre + 0.5) / edge)
    last = np.asarray(mask.blocks.shape) - 1
    first = np.clip(np.minimum(np.ceil(low), nearest), 0, last).astype(int)
    stop = np.clip(np.maximum(np.floor(high), nearest), 0, last).astype(int) + 1
    inside = mask.blocks[first[0] : stop[0], first[1] : stop[1], first[2] : stop[2]]
    most = min(float(np.prod(extent / edge)), float(mask.number))
    return min(float(np.count_nonzero(inside)) / max(most, 1.0), 1.0)


def draw_with_body(draw: Callable[[], Place], shown: Callable[[Place], float]) -> Place:
    """The first of 16 draws of which at least a quarter is body, or else the best of them."""
    best = draw()
    most = shown(best)
    for _ in range(_DRAWS - 1):
        if most >= _ENOUGH:
            break
        place = draw()
        amount = shown(place)
        if amount > most:
            best, most = place, amount
    return best


def _to_blocks(mask: BodyMask, matrix: Affine) -> Affine:
    """The map into the mask: voxel v lies in block floor((v + 0.5) / edge)."""
    edge = np.asarray(mask.edge, dtype=np.float64)
    result = matrix.copy()
    result[:3] /= edge[:, None]
    result[:3, 3] += 0.5 / edge - 0.5
    return result
