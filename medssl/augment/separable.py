"""Weighted sums of neighbours along each axis of a block of voxels.

Filters, and interpolation under a map that does not turn, are such sums: for each place along an
axis some neighbours, each with its weight. Compiled loops (`kernels/separable.c`) take all three
axes in one pass from stored integers; array code does the same where they are not there.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl import kernels
from medssl.volume import Array

_TYPES = {"int16": 0, "uint16": 1, "float32": 2, "uint8": 3}
_MOST_WEIGHTS = 64


@dataclass(frozen=True)
class Sums:
    """Sums along one axis; beyond the block its outermost voxel goes on.

    Attributes:
        starts: (n,) int32, each sum's first neighbour; along H they must not fall.
        weights: (n, k) float32, of k neighbours from there on.
        step: the distance between starts where it is one and the weights are the same, else 0.
    """

    starts: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    step: int = 0

    @classmethod
    def even(cls, number: int, start: int, step: int, weights: tuple[float, ...]) -> Sums:
        """The same weights at every place."""
        starts = start + step * np.arange(number, dtype=np.int32)
        return cls(starts, np.tile(np.array(weights, dtype=np.float32), (number, 1)), step)

    @classmethod
    def linear(
        cls, at: npt.NDArray[np.float64], voxels: int, weights: tuple[float, ...] = (1.0,)
    ) -> Sums:
        """Linear interpolation of averages around each voxel.

        Args:
            at: (n,) coordinates; held between 0 and `voxels` - 1.
            weights: of the averages, odd in number.
        """
        at = np.clip(at, 0, voxels - 1)
        lower = np.floor(at)
        beyond = (at - lower)[:, None]
        by = np.array([*weights, 0.0]) * (1 - beyond) + np.array([0.0, *weights]) * beyond
        starts = lower.astype(np.int32) - len(weights) // 2
        return cls(starts, by.astype(np.float32))


def separable(block: Array, axes: tuple[Sums, Sums, Sums]) -> npt.NDArray[np.float32]:
    """The sums along D, then H, then W.

    Args:
        block: (D, H, W), numbers of any type, in any memory layout.

    Returns:
        (n_D, n_H, n_W) contiguous.
    """
    loops = kernels.library()
    if loops is not None and max(its.weights.shape[1] for its in axes) <= _MOST_WEIGHTS:
        return _compiled(loops, block, axes)
    values = np.asarray(block, dtype=np.float32)
    for axis, its in enumerate(axes):
        values = _along(values, axis, its)
    return np.ascontiguousarray(values)


def _along(values: npt.NDArray[np.float32], axis: int, its: Sums) -> npt.NDArray[np.float32]:
    last = values.shape[axis] - 1
    shape = [-1 if a == axis else 1 for a in range(3)]
    result = np.zeros((), dtype=np.float32)
    for k in range(its.weights.shape[1]):
        neighbours = np.take(values, np.clip(its.starts + k, 0, last), axis=axis)
        neighbours *= its.weights[:, k].reshape(shape)
        result = result + neighbours
    return np.asarray(result)


def _compiled(
    loops: ctypes.CDLL, block: Array, axes: tuple[Sums, Sums, Sums]
) -> npt.NDArray[np.float32]:
    kind = block.dtype.newbyteorder("=")
    kind = kind if kind.name in _TYPES else np.dtype(np.float32)
    if block.dtype != kind or block.strides[2] != block.itemsize:
        block = np.ascontiguousarray(block, dtype=kind)
    size = tuple(len(its.starts) for its in axes)
    result = np.empty(size, dtype=np.float32)
    starts = np.concatenate([its.starts for its in axes])
    weights = np.concatenate([its.weights.ravel() for its in axes])
    whole = ctypes.c_int64
    failed = loops.medssl_separable(
        ctypes.c_void_p(block.ctypes.data),
        _TYPES[kind.name],
        (whole * 3)(*block.shape),
        (whole * 2)(*(stride // block.itemsize for stride in block.strides[:2])),
        (whole * 3)(*size),
        (whole * 3)(*(its.weights.shape[1] for its in axes)),
        (whole * 3)(*(its.step for its in axes)),
        ctypes.c_void_p(starts.ctypes.data),
        ctypes.c_void_p(weights.ctypes.data),
        ctypes.c_void_p(result.ctypes.data),
    )
    if failed:
        raise MemoryError(f"no memory for rows of {block.shape[2]} voxels")
    return result
