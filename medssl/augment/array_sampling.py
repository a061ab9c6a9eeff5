"""Interpolation in array code, for where the loops could not be compiled.

It takes the cheapest of three ways that give the same values: copying where the map falls on the
voxels themselves, one axis after the other where it does not turn, and grid_sample on one patch,
which runs in the calling thread alone and releases the interpreter's lock.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from medssl.volume import Affine, Array

Size = tuple[int, int, int]
Order = Literal[0, 1]


def interpolated(
    block: Array,
    matrix: Affine,
    size: Size,
    order: Order,
    moved: npt.NDArray[np.float32] | None = None,
) -> Array:
    """See `interpolate.interpolate`; order 0 keeps the block's type, 1 gives float32."""
    if order == 1:
        block = block.astype(np.float32, copy=False)
    sources = source_axes(matrix)
    if sources is None or moved is not None:
        return _turned(block, matrix, size, order, moved)
    if takes_voxels(matrix):
        return _moved(block, matrix, size, sources)
    return _axis_by_axis(block, matrix, size, order, sources)


def takes_voxels(matrix: Affine) -> bool:
    """Whether every voxel of the patch falls on a voxel, neighbours on neighbours."""
    whole = bool((matrix[:3] == np.rint(matrix[:3])).all())
    return whole and bool((np.abs(matrix[:3, :3]).sum(axis=0) == 1).all())


def source_axes(matrix: Affine) -> list[int] | None:
    """The block's axis that each axis of the patch runs along, or None where the map turns."""
    along = np.abs(matrix[:3, :3]) > 1e-9
    if (along.sum(axis=0) != 1).any() or (along.sum(axis=1) != 1).any():
        return None
    return [int(np.argmax(along[:, axis])) for axis in range(3)]


def coordinate(row: npt.NDArray[np.float64], size: Size) -> npt.NDArray[np.float32]:
    """row @ (i, j, k, 1) over the patch, (size) float32."""
    i, j, k = (np.arange(n) * row[a] for a, n in enumerate(size))
    plane = (i[:, None] + j[None, :] + row[3]).astype(np.float32)
    return np.asarray(plane[:, :, None] + k.astype(np.float32))


def _moved(block: Array, matrix: Affine, size: Size, sources: list[int]) -> Array:
    values = block.transpose(sources)
    result = np.zeros(size, dtype=block.dtype)
    to, of = [], []
    for axis, source in enumerate(sources):
        start, step = int(matrix[source, 3]), int(matrix[source, axis])
        # Places i with 0 <= start + step * i < n.
        n = values.shape[axis]
        first, stop = (-start, n - start) if step == 1 else (start - n + 1, start + 1)
        first, stop = max(first, 0), min(stop, size[axis])
        if first >= stop:
            return result
        to.append(slice(first, stop))
        end = start + step * stop
        of.append(slice(start + step * first, end if end >= 0 else None, step))
    result[tuple(to)] = values[tuple(of)]
    return result


def _axis_by_axis(
    block: Array, matrix: Affine, size: Size, order: Order, sources: list[int]
) -> Array:
    values = block.transpose(sources)
    # The axis that shrinks most goes first, so that the others have less to do.
    for axis in sorted(range(3), key=lambda a: size[a] / values.shape[a]):
        source = sources[axis]
        at = np.arange(size[axis]) * matrix[source, axis] + matrix[source, 3]
        values = _along(values, axis, at, order)
    return np.ascontiguousarray(values)


def _along(values: Array, axis: int, at: npt.NDArray[np.float64], order: Order) -> Array:
    last = values.shape[axis] - 1
    nearest = np.floor(at + 0.5)
    if order == 0 or np.abs(at - nearest).max() < 1e-9:
        return np.take(values, np.clip(nearest, 0, last).astype(np.int64), axis=axis)
    at = np.clip(at, 0, last)
    floor = np.minimum(np.floor(at), max(last - 1, 0)).astype(np.int64)
    weight = (at - floor).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    low = np.take(values, floor, axis=axis)
    high = np.take(values, np.minimum(floor + 1, last), axis=axis)
    high -= low
    high *= weight
    high += low
    return np.asarray(high)


def _turned(
    block: Array,
    matrix: Affine,
    size: Size,
    order: Order,
    moved: npt.NDArray[np.float32] | None,
) -> Array:
    shift = np.zeros(3, dtype=np.float32) if moved is None else moved
    if order == 0:
        index = np.zeros(size, dtype=np.int64)
        for axis, n in enumerate(block.shape):
            at = coordinate(matrix[axis], size)
            at += shift[axis] + np.float32(0.5)
            np.clip(at, 0, n - 0.5, out=at)  # from zero up, cutting off is rounding down
            index *= n
            index += at.astype(np.int32)
        return np.asarray(block.ravel().take(index))
    grid = np.empty((*size, 3), dtype=np.float32)
    for axis in range(3):
        # grid_sample counts from -1 to 1 between the outer faces, and the last axis first.
        n = block.shape[axis]
        row = matrix[axis] * (2.0 / n)
        row[3] += 1.0 / n - 1.0
        grid[..., 2 - axis] = coordinate(row, size) + shift[axis] * np.float32(2.0 / n)
    source = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
    sampled = torch.nn.functional.grid_sample(
        source[None, None],
        torch.from_numpy(grid)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled[0, 0].numpy()
