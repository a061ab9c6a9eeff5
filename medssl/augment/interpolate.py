"""One interpolation of a block of voxels under an affine map.

Everything that resamples goes through here. Compiled loops (`kernels/sample.c`) take a patch out of
a block in one pass, its values normalised on the way; `array_sampling` does the same where they are
not there.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl import kernels
from medssl.augment.array_sampling import Order, Size, coordinate, interpolated, takes_voxels
from medssl.volume import Affine, Array

Vector = npt.NDArray[np.float64]
Displacement = npt.NDArray[np.float32]
_ON_A_VOXEL = 1e-3
ON_THE_EDGE = 1e-4
_TYPES = {"int16": 0, "uint16": 1, "float32": 2}
_MOST_VOXELS = 1 << 31
_LONGEST = 1024  # as in sample.c


@dataclass(frozen=True)
class Finish:
    """What makes normalised values of stored numbers, within the pass.

    value = stored * slope + intercept, clipped to low ... high, its square root where `root`, less
    `centre`, times `factor`; `background` where the patch leaves the scan.
    """

    slope: float = 1.0
    intercept: float = 0.0
    low: float = -3e38
    high: float = 3e38
    root: bool = False
    centre: float = 0.0
    factor: float = 1.0
    background: float = 0.0

    def __call__(self, stored: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Normalised values in array code; `stored` is overwritten."""
        if self.slope != 1.0:
            stored *= np.float32(self.slope)
        if self.intercept:
            stored += np.float32(self.intercept)
        np.clip(stored, np.float32(self.low), np.float32(self.high), out=stored)
        if self.root:
            np.sqrt(stored, out=stored)
        if self.centre:
            stored -= np.float32(self.centre)
        if self.factor != 1.0:
            stored *= np.float32(self.factor)
        return stored


@dataclass(frozen=True)
class Bounds:
    """A scan between the outer faces of its outermost voxels, in the coordinates of a block.

    Attributes:
        low, high: (3,).
    """

    low: Vector
    high: Vector

    @classmethod
    def of(cls, shape: Size) -> Bounds:
        """A block that is the scan."""
        return cls(np.full(3, -0.5), np.asarray(shape) - 0.5)

    def under(self, matrix: Affine) -> Bounds:
        """In the coordinates that a map which does not turn leads to."""
        ends = matrix[:3, :3] @ np.stack([self.low, self.high], 1) + matrix[:3, 3:]
        return Bounds(ends.min(axis=1), ends.max(axis=1))

    @property
    def widened(self) -> Bounds:
        """Room for what rounding does to a coordinate on the face."""
        return Bounds(self.low - ON_THE_EDGE, self.high + ON_THE_EDGE)


def snapped(matrix: Affine, size: Size) -> Affine:
    """The map moved by at most half a voxel, if it then takes voxels as they are.

    That is so where neither turning nor scaling is left in it, to a thousandth of a voxel over
    the whole patch. Any other map is returned as it is.
    """
    linear = np.rint(matrix[:3, :3])
    if np.abs(matrix[:3, :3] - linear).max() * max(size) > _ON_A_VOXEL:
        return matrix
    if not np.array_equal(np.abs(linear).sum(axis=0), np.ones(3)):
        return matrix
    result = np.eye(4)
    result[:3, :3] = linear
    # The small push sends a centre that lies half-way the same way whatever its last bits are.
    result[:3, 3] = np.rint(matrix[:3, 3] + 1e-6)
    return result


def sample_block(
    block: Array,
    matrix: Affine,
    size: Size,
    finish: Finish,
    bounds: Bounds,
    image: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    moved: Displacement | None = None,
) -> None:
    """Write a patch of normalised values, and where it lies in the scan, into given arrays.

    Args:
        block: (D, H, W) stored numbers or float32.
        matrix: 4x4, index of the patch's voxel to index in the block.
        bounds: the scan in the block's coordinates, from the faces of its outermost voxels; in
            between, a coordinate beyond the outermost voxels takes the nearest.
        image: (size) contiguous, overwritten; `finish.background` outside the scan.
        valid: (size) contiguous, overwritten; True inside the scan.
        moved: (3, size) voxels of the block, added to the coordinates.
    """
    order: Order = 0 if moved is None and takes_voxels(matrix) else 1
    low, high = corners(matrix, size)
    if moved is not None:
        low, high = low + moved.min(axis=(1, 2, 3)), high + moved.max(axis=(1, 2, 3))
    ends = bounds.widened
    within = bool((low >= ends.low).all() and (high <= ends.high).all())
    if within:
        valid.fill(True)
    loops = _loops_for(size)
    if loops is None:
        image[...] = finish(interpolated(block, matrix, size, order, moved).astype(np.float32))
        if not within:
            valid[...] = inside(matrix, size, bounds, moved)
            image[~valid] = finish.background
        return
    _call(
        loops, block, matrix, size, order, image, moved, finish, bounds, None if within else valid
    )


def interpolate(
    block: Array, matrix: Affine, size: Size, order: Order, moved: Displacement | None = None
) -> Array:
    """Numbers of `block` at `matrix @ (i, j, k)` for each voxel of a patch of `size`.

    Args:
        block: (D, H, W).
        matrix: 4x4, index of the patch's voxel to index in the block. Up to half a voxel beyond the
            block's outermost voxels the nearest one goes on; further out the numbers mean nothing.
        order: 0 takes the nearest voxel and keeps the type, 1 is trilinear and gives float32.
        moved: (3, size) voxels of the block, added to the coordinates.
    """
    loops = _loops_for(size)
    if loops is None or (order == 0 and not _exact_in_float32(block)):
        return interpolated(block, matrix, size, order, moved)
    image = np.empty(size, dtype=np.float32)
    _call(loops, block, matrix, size, order, image, moved)
    return image if order == 1 else image.astype(block.dtype)


def inside(
    matrix: Affine, size: Size, bounds: Bounds, moved: Displacement | None = None
) -> npt.NDArray[np.bool_]:
    """(size) True where a patch's voxel centre lies within a voxel of the scan."""
    result = np.ones(size, dtype=bool)
    for axis in range(3):
        at = coordinate(matrix[axis], size)
        if moved is not None:
            at = at + moved[axis]
        result &= (at >= bounds.widened.low[axis]) & (at <= bounds.widened.high[axis])
    return result


def corners(matrix: Affine, size: Size) -> tuple[Vector, Vector]:
    """Lowest and highest coordinates that the map reaches, (3,) each."""
    reach = matrix[:3, :3] * (np.asarray(size) - 1)
    start = matrix[:3, 3]
    return start + np.minimum(reach, 0).sum(axis=1), start + np.maximum(reach, 0).sum(axis=1)


def _loops_for(size: Size) -> ctypes.CDLL | None:
    """The compiled pass, but for whole scans that are longer than its row buffers."""
    return kernels.library() if max(size) <= _LONGEST else None


def _exact_in_float32(block: Array) -> bool:
    return block.dtype.itemsize <= 2 or block.dtype == np.float32


_TWO, _THREE, _ENDS = ctypes.c_int64 * 2, ctypes.c_int64 * 3, ctypes.c_double * 3


class _Finish(ctypes.Structure):
    """`struct finish` of sample.c."""

    _fields_ = tuple((name, ctypes.c_float) for name in Finish.__dataclass_fields__)


def _call(
    loops: ctypes.CDLL,
    block: Array,
    matrix: Affine,
    size: Size,
    order: Order,
    image: npt.NDArray[np.float32],
    moved: Displacement | None,
    finish: Finish | None = None,
    bounds: Bounds | None = None,
    valid: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Everything that C has to be told; `valid` is None where the whole patch is inside."""
    block = _plain(block)
    moved = None if moved is None else np.ascontiguousarray(moved, dtype=np.float32)
    rows = np.ascontiguousarray(matrix[:3], dtype=np.float64)
    bounds = bounds or Bounds.of(size)
    values = None if finish is None else ctypes.byref(_Finish(*vars(finish).values()))
    ends = bounds.widened
    refused = loops.medssl_sample(
        ctypes.c_void_p(block.ctypes.data),
        _TYPES[block.dtype.name],
        _THREE(*block.shape),
        _TWO(*(step // block.itemsize for step in block.strides[:2])),
        ctypes.c_void_p(rows.ctypes.data),
        ctypes.c_void_p(None if moved is None else moved.ctypes.data),
        _THREE(*size),
        order,
        values,
        _ENDS(*ends.low),
        _ENDS(*ends.high),
        int(valid is None),
        ctypes.c_void_p(image.ctypes.data),
        ctypes.c_void_p(None if valid is None else valid.ctypes.data),
    )
    assert not refused, size


def _plain(block: Array) -> Array:
    """The block in a type that the loops know, its last axis contiguous and of two voxels."""
    kind = block.dtype.newbyteorder("=")
    if kind.name not in _TYPES:
        kind = np.dtype(np.int16 if kind.itemsize == 1 else np.float32)
    if block.shape[2] == 1:
        block = np.repeat(block, 2, axis=2)
    far = max(abs(step) * n for step, n in zip(block.strides, block.shape, strict=True))
    rows_apart = any(step <= 0 for step in block.strides[:2]) or far >= _MOST_VOXELS * kind.itemsize
    if rows_apart or block.strides[2] != block.itemsize or block.dtype != kind:
        return np.ascontiguousarray(block, dtype=kind)
    return block
