"""The patches of a whole batch interpolated together, on the device that trains.

What `interpolate.sample_block` does for one patch in a compiled pass, this does for many in tensor
operations. Blocks differ in size: they are laid end to end and eight neighbours are gathered for
every voxel, so that nothing is padded and stored integers stay integers until they are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from medssl.augment.array_sampling import Size
from medssl.augment.interpolate import ON_THE_EDGE

_VOXELS_AT_ONCE = 1 << 24
"""Patch voxels worked on together. By count each takes some 60 bytes while it is interpolated."""


def sample_blocks(
    blocks: Sequence[Tensor],
    matrices: Tensor,
    bounds: Tensor,
    finishes: Tensor,
    size: Size,
    moved: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Patches of normalised values, and where they lie in their scans.

    All tensors are on one device. What a patch becomes does not depend on the others.

    Args:
        blocks: N of (d, h, w), each of its own size, of any type whose numbers float32 holds.
        matrices: (N, 4, 4) float64, index of the patch's voxel to index in its block.
        bounds: (N, 2, 3) float64, lowest and highest coordinate of the scan, that is the faces of
            its outermost voxels, in the block; in between, a coordinate beyond the block's
            outermost voxels takes the nearest.
        finishes: (N, 8) float32, the fields of `interpolate.Finish` in their order.
        moved: (N, 3, *size) float32, how far voxels of the patch move before they are mapped, in
            the patch's voxels (`elastic.dense_displacements`).

    Returns:
        image (N, 1, *size) float32, the finish's background outside the scan;
        valid (N, 1, *size) bool, True inside.
    """
    image = torch.empty((len(blocks), 1, *size), device=matrices.device)
    valid = torch.empty(image.shape, dtype=torch.bool, device=matrices.device)
    for rows in _together(blocks, size):
        at = _coordinates(matrices[rows], size, None if moved is None else moved[rows])
        inside = _inside(at, bounds[rows])
        values = _finished(_trilinear([blocks[row] for row in rows], at), finishes[rows])
        image[rows, 0] = torch.where(inside, values, _spread(finishes[rows, 7]))
        valid[rows, 0] = inside
    return image, valid


def nearest_in_blocks(
    blocks: Sequence[Tensor], matrices: Tensor, size: Size, moved: Tensor | None = None
) -> Tensor:
    """What the voxel nearest to each voxel of a patch holds: labels, or flags.

    Args:
        blocks: N of (d, h, w), all of one type; beyond a block its outermost voxels go on.
        matrices, moved: as for `sample_blocks`.

    Returns:
        (N, 1, *size) of the blocks' type.
    """
    result = torch.empty((len(blocks), 1, *size), dtype=blocks[0].dtype, device=matrices.device)
    for rows in _together(blocks, size):
        at = _coordinates(matrices[rows], size, None if moved is None else moved[rows])
        flat, start, last, stride = _end_to_end([blocks[row] for row in rows])
        index = start
        for axis in range(3):
            voxel = torch.minimum((at[axis] + 0.5).floor_().clamp_(min=0), last[axis])
            index = index + voxel.long() * stride[axis]
        result[rows, 0] = flat[index]
    return result


def _together(blocks: Sequence[Tensor], size: Size) -> Iterator[list[int]]:
    """Rows whose blocks have one type, as many as are worked on at once."""
    most = max(1, _VOXELS_AT_ONCE // (size[0] * size[1] * size[2]))
    for kind in dict.fromkeys(block.dtype for block in blocks):
        rows = [row for row, block in enumerate(blocks) if block.dtype == kind]
        for first in range(0, len(rows), most):
            yield rows[first : first + most]


def _coordinates(matrices: Tensor, size: Size, moved: Tensor | None) -> list[Tensor]:
    """Three of (n, *size) float32; counted in float64 but for the step along the last axis."""
    i, j, k = (
        torch.arange(n, dtype=torch.float64, device=matrices.device).view(shape)
        for n, shape in zip(size, ((-1, 1, 1), (-1, 1), (-1,)), strict=True)
    )
    result = []
    for axis in range(3):
        a, b, c, d = (_spread(matrices[:, axis, column]) for column in range(4))
        at = (a * i + b * j + d).float() + (c * k).float()
        if moved is not None:
            u, v, w = moved.unbind(1)
            at += a.float() * u + b.float() * v + c.float() * w
        result.append(at)
    return result


def _inside(at: list[Tensor], bounds: Tensor) -> Tensor:
    result = torch.ones_like(at[0], dtype=torch.bool)
    for axis in range(3):
        low, high = (_spread(bounds[:, end, axis]) for end in (0, 1))
        result &= at[axis] >= (low - ON_THE_EDGE).float()
        result &= at[axis] <= (high + ON_THE_EDGE).float()
    return result


def _trilinear(blocks: list[Tensor], at: list[Tensor]) -> Tensor:
    """(n, *size) float32. The coordinates are overwritten."""
    flat, start, last, stride = _end_to_end(blocks)
    index = start
    to_upper, share = [], []
    for axis in range(3):
        held = torch.minimum(at[axis].clamp_(min=0), last[axis])
        lower = torch.minimum(held.floor(), (last[axis] - 1).clamp_(min=0))
        share.append(held.sub_(lower))
        to_upper.append(torch.where(last[axis] > 0, stride[axis], 0))
        index = index + lower.long() * stride[axis]

    def along(axis: int, offset: Tensor | int) -> Tensor:
        """Interpolated over this axis and those after it."""
        if axis == 3:
            return flat[index + offset].float()
        low = along(axis + 1, offset)
        return along(axis + 1, offset + to_upper[axis]).sub_(low).mul_(share[axis]).add_(low)

    return along(0, 0)


def _end_to_end(blocks: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Blocks as one row of numbers.

    Returns:
        flat (numbers of all), start (n, 1, 1, 1) int64 of each, and by axis (3, n, 1, 1, 1):
        last, the highest coordinate in float32, and stride in int64.
    """
    shapes = torch.tensor([block.shape for block in blocks])
    numbers = shapes.prod(1)
    strides = torch.stack([shapes[:, 1] * shapes[:, 2], shapes[:, 2], torch.ones_like(numbers)])
    device = blocks[0].device
    flat = torch.cat([block.reshape(-1) for block in blocks])
    start, last, stride = (
        table.to(device)[..., None, None, None]
        for table in (numbers.cumsum(0) - numbers, (shapes.T - 1).float(), strides)
    )
    return flat, start, last, stride


def _finished(values: Tensor, finishes: Tensor) -> Tensor:
    """`interpolate.Finish` of each view, in place but for the root."""
    slope, intercept, low, high, root, centre, factor = (
        _spread(finishes[:, field]) for field in range(7)
    )
    values = torch.minimum(values.mul_(slope).add_(intercept).maximum(low), high)
    values = torch.where(root > 0, values.clamp(min=0).sqrt_(), values)
    return values.sub_(centre).mul_(factor)


def _spread(numbers: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, 1)."""
    return numbers[:, None, None, None]
